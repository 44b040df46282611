"""The paper's recipe, end to end, on a small random network for each of its pinned models."""

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml

from nightrain.benchmarks.random_family import IP_ADAPTER_FILE
from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.frame import FrameRef
from nightrain.datasets.ids import frame_id
from nightrain.datasets.io.images import decode_jpeg, encode_jpeg
from nightrain.datasets.protocols.leakage import find_overlaps, read_set
from nightrain.datasets.shards.manifest import FRAMES, Manifest
from nightrain.datasets.shards.verify import verify
from nightrain.datasets.sources.nuscenes.config import WorldConfig
from nightrain.datasets.world.sensors.rig import CAMERAS
from nightrain.pipelines.captions.job import CaptionJob, caption
from nightrain.pipelines.generate.preview import preview_lines
from nightrain.pipelines.generate.replay import replay
from nightrain.pipelines.recipes.recipe_file import load_recipe, read_recipe
from nightrain.pipelines.runs.executors import SerialExecutor
from nightrain.pipelines.runs.stop import Stop
from nightrain.pipelines.styles.leakage import style_set
from nightrain.pipelines.styles.make_pool import RECORD, StylesJob, make_pool, read_pool
from support.paths import ROOT
from support.synthetic import SyntheticSource, all_rows, ingest_synthetic
from support.tiny_captioners import save_blip2
from support.tiny_depth_networks import save_road_dpt
from support.tiny_diffusion import family, make, make_and_stop
from support.world import six_camera_world

NAMES = ("gdt-nuscenes", "gdt-robotcar")
CLEAR, NIGHT, RAIN = Condition.CLEAR, Condition.NIGHT, Condition.RAIN
KINDS = [("train", CLEAR), ("train", NIGHT), ("train", RAIN), ("val", NIGHT), ("val", CLEAR)]
EACH = 3


@dataclass(frozen=True)
class Town(SyntheticSource):
    """A few frames of each split and condition."""

    def select(self, split: str) -> Sequence[FrameRef]:
        return [
            FrameRef(
                frame_id=frame_id(self.name, f"{part}-{condition}-{number}"),
                source_id=str(10 * place + number),
                split=part,
                scene_id=f"{part}-{condition}",
                camera="CAM_FRONT",
                condition=condition,
                timestamp_us=1_000_000 * number,
            )
            for place, (part, condition) in enumerate(KINDS)
            for number in range(EACH)
        ]


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("town") / "dataset"
    ingest_synthetic(root, Town(EACH))
    return root


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hub cache with a small random model for each id and commit that the recipes pin."""
    cache, tiny = tmp_path_factory.mktemp("hub"), family("sd15")

    def place(hub_id: str, commit: str) -> Path:
        return cache / f"models--{hub_id.replace('/', '--')}" / "snapshots" / commit

    engine = recipe_file("gdt-nuscenes")["engine"]
    depth, adapter = engine["control_depth"]["network"], engine["ip_adapter"]["weights"]
    control = engine["controls"][0]["weights"]
    blip2 = ("Salesforce/blip2-opt-2.7b", "59a1ef6c1e5117b3f65523d1c6066825bcf315e3")
    shutil.copytree(tiny / "base", place(*pin(engine["base"])))
    shutil.copytree(tiny / "controlnet-depth", place(*pin(control)))
    (save_road_dpt(cache / "dpt")).rename(made(place(*pin(depth))))
    save_blip2(cache / "blip2").rename(made(place(*blip2)))
    models = place(*pin(adapter)) / "models"
    shutil.copytree(tiny / "ip-adapter/image_encoder", models / "image_encoder")
    shutil.copy(tiny / "ip-adapter" / IP_ADAPTER_FILE, models / engine["ip_adapter"]["file"])
    return cache


def pin(weights: dict[str, str]) -> tuple[str, str]:
    return weights["id_or_folder"], weights["revision"]


def made(path: Path) -> Path:
    path.parent.mkdir(parents=True)
    return path


def recipe_file(name: str) -> dict:
    return yaml.safe_load((ROOT / f"pipelines/recipes/{name}.yaml").read_text())


def on_a_cpu(name: str, folder: Path, pool: Path | None = None) -> Path:
    """The recipe with the settings alone changed that a test cannot afford."""
    fields = recipe_file(name)
    fields["size"] = [64, 40]
    fields["engine"] |= {"compile": "off", "dtype": "float32", "channels_last": False}
    fields["engine"] |= {"steps": 2, "generation_width": 64}
    fields["engine"] |= {} if pool is None else {"style_pool": str(pool)}
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps(fields))
    return path


def caption_frames(root: Path) -> None:
    stop = Stop()
    report = caption(CaptionJob(dataset=root), executor=SerialExecutor(stop), stop=stop)
    assert not report.failed and not report.num_quarantined


@pytest.mark.parametrize(
    "name", ["gdt-nuscenes", pytest.param("gdt-robotcar", marks=pytest.mark.campaign)]
)
def test_the_recipe_runs_from_captions_to_variants(
    name: str, town: Path, hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(hub))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    root = tmp_path / "dataset"
    shutil.copytree(town, root)
    record = make_pool(StylesJob(dataset=root))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")  # as a worker on another machine runs
    assert {image.scene_id for image in record.images} == {"train-night", "train-rain"}
    path = on_a_cpu(name, tmp_path)
    with pytest.raises(InvalidRequest, match="Run `nightrain caption"):
        list(preview_lines(root, load_recipe(str(path), root), 1))
    caption_frames(root)
    report = make(root, path)
    assert report.num_rows == EACH * len(recipe_file(name)["conditions"])
    assert not report.num_quarantined and not report.failed
    (maps,) = report.inputs.values()
    assert maps.num_rows == EACH and verify(root).accepted
    rows = list(all_rows(root).values())
    assert {row["depth_source"].partition("@")[0] for row in rows} == {"network:Intel/dpt-large"}
    assert all("tiled49" in row["depth_source"] and row["severity"] is None for row in rows)
    levels = {image.name: image.mean_level for image in record.images}
    for row in rows:
        facts = json.loads(row["provenance"])
        assert facts["style"].startswith(f"{row['condition']}/") and facts["style"] in levels
        start = {"night": "At night", "rain": "In a rainy day"}[row["condition"]]
        assert row["prompt"].startswith(start) and row["caption"]
        if row["condition"] == "night":
            assert abs(float(facts["night_level"]) - levels[facts["style"]]) < 1e-3
            assert 0.5 <= float(facts["brightness_gamma"]) <= 3.0


@pytest.mark.campaign
def test_the_recipe_runs_over_six_cameras(
    hub: Path,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(hub))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    root = tmp_path / "dataset"
    world = WorldConfig(root=six_camera_world(tmp_path_factory), neighbours=False).open()
    ingest_synthetic(root, world)
    record = make_pool(StylesJob(dataset=root))
    assert {image.split for image in record.images} == {"train"}
    pool = style_set(root / "styles")
    assert not find_overlaps(read_set(root, ("train",)) + pool, read_set(root, ("val",)))
    caption_frames(root)
    path = on_a_cpu("gdt-nuscenes", tmp_path)
    stopped = make_and_stop(root, path, monkeypatch)
    assert stopped.stopped and 0 < stopped.num_rows < 2 * len(CAMERAS)
    (maps,) = stopped.inputs.values()
    report = make(root, path)
    assert not any(again.num_rows for again in report.inputs.values())  # maps are made once
    assert maps.num_rows == len(CAMERAS)
    assert stopped.num_rows + report.num_rows == 2 * len(CAMERAS)
    assert not report.num_quarantined and verify(root).accepted
    rows = list(all_rows(root).values())
    assert Counter(row["camera"] for row in rows) == dict.fromkeys(CAMERAS, 2)
    assert all(row["controlled"] and row["caption"] in row["prompt"] for row in rows)
    assert replay(root, next(iter(all_rows(root)))).identical
    assert not make(root, path).num_rows


def test_the_preview_shows_what_the_engine_sees(
    town: Path, hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(hub))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    root, pool = tmp_path / "dataset", tmp_path / "styles"
    shutil.copytree(town, root)
    make_pool(StylesJob(dataset=root, out=pool))
    caption_frames(root)
    recipe = load_recipe(str(on_a_cpu("gdt-nuscenes", tmp_path, pool)))
    (line,) = preview_lines(root, recipe, 1)
    labels = [tile.label for tile in line]
    assert [label.split()[0] for label in labels[1:]] == [
        *("control", "style", "night", "style", "rain")
    ]
    assert line[3].text.startswith("At night, ") and line[5].text.startswith("In a rainy day, ")
    control, style = line[1].image, line[2].image
    assert control.shape[2] == 3 and (control[..., 0] == control[..., 1]).all()
    names = {p.stem: decode_jpeg(p.read_bytes()) for p in (pool / "night").glob("*.jpg")}
    assert any(np.array_equal(style, image) for image in names.values())


@pytest.mark.parametrize("name", NAMES)
def test_the_recipes_pin_every_file_and_say_that_they_were_not_tried(name: str) -> None:
    recipe = read_recipe(name)
    engine = recipe.engine
    assert all(weights.is_pinned for weights in engine.all_weights())  # type: ignore[attr-defined]
    assert recipe.mapped_depth is not None and recipe.mapped_depth.network is not None
    assert recipe.mapped_depth.network.is_pinned and recipe.mapped_depth.tile_grid == 4
    assert "not tried on real weights" in recipe.description.lower()
    conditions = {NIGHT, RAIN} if name == "gdt-nuscenes" else {NIGHT}
    assert set(recipe.conditions) == conditions


def test_a_pool_with_a_held_out_image_is_refused(town: Path, hub: Path, tmp_path: Path) -> None:
    root, pool = tmp_path / "dataset", tmp_path / "styles"
    shutil.copytree(town, root)
    make_pool(StylesJob(dataset=root, out=pool))
    assert not find_overlaps(read_set(root, ("train",)) + style_set(pool), read_set(root, ("val",)))
    (entry,) = [
        e
        for e in Manifest(root).entries(FRAMES)
        if (e.about["split"], e.about["condition"]) == ("val", "night")
    ]
    row = next(Manifest(root).reader(entry.rows).rows())
    leaked = pool / "night/mine.jpg"
    leaked.write_bytes(row["image"]["bytes"])
    path = on_a_cpu("gdt-nuscenes", tmp_path, pool)
    with pytest.raises(InvalidRequest, match=r"holds night/mine.jpg, frame .* of a val or test"):
        make(root, path)
    leaked.write_bytes(encode_jpeg(decode_jpeg(row["image"]["bytes"]), 80))  # a changed copy
    found = find_overlaps(read_set(root, ("train",)) + style_set(pool), read_set(root, ("val",)))
    assert {overlap.kind for overlap in found} == {"near-duplicate"}
    leaked.unlink()
    record = read_pool(pool)
    assert record is not None
    image = record.images[0].model_copy(update={"split": "val"})
    changed = record.model_copy(update={"images": (image, *record.images[1:])})
    (pool / RECORD).write_text(changed.model_dump_json())
    with pytest.raises(InvalidRequest, match="of the val or test scene train-night"):
        make(root, path)
    assert not Manifest(root).tables("variants")


def test_a_relative_pool_is_below_the_dataset(
    town: Path, hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(hub))
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "dataset"
    shutil.copytree(town, root)
    path = str(on_a_cpu("gdt-nuscenes", tmp_path))
    tried = rf"^`style_pool` has no JPEG in {root}/styles/night\. .*nightrain styles"
    with pytest.raises(InvalidRequest, match=tried):
        load_recipe(path, Path("dataset"))
    make_pool(StylesJob(dataset=root))
    recipe = load_recipe(path, Path("dataset"))
    moved = root.rename(tmp_path / "moved")
    assert load_recipe(path, moved).hash == recipe.hash
    with pytest.raises(InvalidRequest, match=rf"no JPEG in {tmp_path}/styles/night"):
        load_recipe(path)  # without a dataset: below the current folder
    absolute = load_recipe(str(on_a_cpu("gdt-nuscenes", tmp_path, moved / "styles")), root)
    assert absolute.engine.conditioning is not None
    assert absolute.engine.conditioning.style_pool == moved / "styles"


def test_a_pool_is_made_of_train_frames_or_not_at_all(tmp_path: Path) -> None:
    root = tmp_path / "dataset"
    ingest_synthetic(root, SyntheticSource(3, split="val", condition=NIGHT))
    job = StylesJob(dataset=root, out=tmp_path / "styles", conditions=(NIGHT,))
    with pytest.raises(InvalidRequest, match=r"no night frames of train scenes .*: val\)"):
        make_pool(job)
    assert not (tmp_path / "styles").exists()


def test_a_pool_can_be_made_again_but_not_over_another_folder(town: Path, tmp_path: Path) -> None:
    job = StylesJob(dataset=town, out=tmp_path / "styles", num_images=2)
    first = make_pool(job)
    assert make_pool(job) == first and len(first.images) == 4
    assert len(first.mean_levels[NIGHT]) == 9
    (tmp_path / "styles/mine.txt").write_text("x")
    with pytest.raises(InvalidRequest, match=r"mine.txt, which is not part of this pool"):
        make_pool(job)
