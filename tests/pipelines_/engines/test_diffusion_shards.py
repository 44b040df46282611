"""The diffusion engine on the way of every engine: recipe, shards, resume, kill, replay."""

import json
import random
import shutil
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
import torch

from nightrain.benchmarks.random_family import (
    IP_ADAPTER_FILE,
    write_tiny_family,
)
from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.images import decode_jpeg
from nightrain.datasets.shards.manifest import FRAMES, Manifest
from nightrain.datasets.shards.pinned import pin, pinned
from nightrain.datasets.shards.verify import verify
from nightrain.datasets.sources.nuscenes.config import NuScenesConfig
from nightrain.datasets.sources.nuscenes.source import NuScenesSource
from nightrain.pipelines.engines.diffusion.engine import DiffusionEngine
from nightrain.pipelines.engines.diffusion.models.settings import DiffusionSettings
from nightrain.pipelines.engines.registry import load_engine
from nightrain.pipelines.generate.job import GenerateJob, generate
from nightrain.pipelines.generate.replay import psnr_db, replay
from nightrain.pipelines.ingest.job import ingest_frames
from nightrain.pipelines.recipes.recipe import Recipe
from nightrain.pipelines.recipes.recipe_file import built_in_recipes, load_recipe
from nightrain.pipelines.runs.executors import SerialExecutor
from nightrain.pipelines.runs.stop import Stop
from support.hub_cache import cached
from support.paths import REAL_DATA
from support.processes import DEADLINE_S, nightrain, start, wait_until
from support.synthetic import SyntheticSource, all_rows, ingest_synthetic
from support.tiny_depth_networks import save_road_dpt
from support.tiny_diffusion import family, make, picture, write_recipe

REAL = REAL_DATA / "nuscenes"
NUM_FRAMES = 7


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("diffusion")
    ingest_synthetic(root / "dataset", SyntheticSource(NUM_FRAMES))
    write_recipe(root)
    return root


@pytest.fixture(scope="module")
def made(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made") / "dataset"
    shutil.copytree(prepared / "dataset", root)
    assert make(root, prepared / "recipe.yaml").num_rows == 2 * NUM_FRAMES
    return root


def batch_size_records(recipe: Recipe) -> list[str]:
    return [f"variants/{recipe.folder_of(condition)}" for condition in recipe.conditions]


def test_rows_say_what_made_them(made: Path) -> None:
    assert verify(made).accepted
    for row in all_rows(made).values():
        phrase = {"night": "At night", "rain": "In a rainy day"}[row["condition"]]
        assert row["caption"] == "a street"  # without annotations; no description of the scene
        assert row["prompt"] == f"{phrase}, a street"
        assert row["engine"] == "diffusion" and row["device"] == "cpu" and row["batch_size"] == 3
        assert "diffusers" in row["builds"] and row["depth_source"] == "exact"
        assert json.loads(row["provenance"])["dtype"] == "float32"
        assert (row["width"], row["height"]) == (64, 40)


def test_running_again_makes_nothing_and_a_retry_has_nothing_to_do(
    made: Path, prepared: Path
) -> None:
    again = make(made, prepared / "recipe.yaml")
    assert again.num_rows == 0 and again.num_already > 0


def test_every_variant_is_made_again_byte_for_byte(made: Path) -> None:
    for sample_id in list(all_rows(made))[::5]:
        report = replay(made, sample_id)
        assert report.identical and report.psnr_db is None and not report.differences


def test_the_probed_batch_size_is_that_of_every_call_row_and_replay(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, calls, rows = tmp_path / "dataset", [], []
    shutil.copytree(prepared / "dataset", root)
    recipe = load_recipe(str(prepared / "recipe.yaml"))
    engine = load_engine(recipe.engine)
    assert isinstance(engine, DiffusionEngine)
    monkeypatch.setattr(
        DiffusionEngine, "probe", lambda _, request, limit: calls.append(limit) or 2
    )
    unet = engine.models.pipe.unet
    hook = unet.register_forward_pre_hook(lambda _, arguments: rows.append(len(arguments[0])))
    make(root, prepared / "recipe.yaml")
    facts = [pinned(root, name) or {} for name in batch_size_records(recipe)]
    assert calls == [3] and [fact["batch_size"] for fact in facts] == ["2", "2"]
    # Shards of 4 and 3 frames, two conditions: 2 + 2 batches each, of 2 steps and 2 x 2 rows.
    assert rows == [4] * (2 * (2 + 2) * 2)
    assert {row["batch_size"] for row in all_rows(root).values()} == {2}
    assert not any("split" in row["provenance"] for row in all_rows(root).values())
    rows.clear()
    report = replay(root, next(iter(all_rows(root))))
    hook.remove()
    assert report.identical and not report.differences and rows == [4, 4] and calls == [3]


def test_a_settled_size_that_does_not_fit_here_splits_and_marks(
    prepared: Path, made: Path, tmp_path: Path
) -> None:
    root = tmp_path / "dataset"
    shutil.copytree(prepared / "dataset", root)
    recipe = load_recipe(str(prepared / "recipe.yaml"))
    for name in batch_size_records(recipe):
        pin(root, name, pinned(made, name) or {})  # by a larger device, before it was interrupted
    engine = load_engine(recipe.engine)
    assert isinstance(engine, DiffusionEngine)

    def too_small(_: object, arguments: tuple) -> None:
        if len(arguments[0]) > 2 * 2:
            raise torch.OutOfMemoryError("injected")

    hook = engine.models.pipe.unet.register_forward_pre_hook(too_small)
    make(root, prepared / "recipe.yaml")
    hook.remove()
    rows, whole = all_rows(root), all_rows(made)
    assert rows.keys() == whole.keys() and verify(root).accepted
    for sample_id, row in rows.items():
        assert row["batch_size"] == 2 and "out of memory" in row["provenance"]
        before = decode_jpeg(whole[sample_id]["image"]["bytes"])
        assert (psnr_db(decode_jpeg(row["image"]["bytes"]), before) or 99) > 40
    report = replay(root, next(iter(rows)))
    assert report.identical and not report.differences


def test_a_stopped_run_goes_on_and_makes_the_same(
    prepared: Path, made: Path, tmp_path: Path
) -> None:
    root, stop, calls = tmp_path / "dataset", Stop(), []
    shutil.copytree(prepared / "dataset", root)
    engine = load_engine(load_recipe(str(prepared / "recipe.yaml")).engine)
    assert isinstance(engine, DiffusionEngine)

    def signal_at_third(*_: object) -> None:
        calls.append(1)
        if len(calls) == 3:  # in the second batch
            stop.request()

    hook = engine.models.pipe.unet.register_forward_pre_hook(signal_at_third)
    job = GenerateJob(dataset=root, recipe=str(prepared / "recipe.yaml"))
    first = generate(job, executor=SerialExecutor(stop), stop=stop)
    hook.remove()
    assert first.stopped and 0 < len(calls) < 2 * 2 * 4
    assert not list((root / "_leases").glob("*"))
    make(root, prepared / "recipe.yaml")
    assert all_rows(root) == all_rows(made) and verify(root).accepted


def test_replay_knows_only_committed_variants(made: Path) -> None:
    with pytest.raises(InvalidRequest, match="no committed variant 'nobody'"):
        replay(made, "nobody")


def test_other_weights_are_another_recipe_and_replay_says_so(made: Path, tmp_path: Path) -> None:
    other = write_tiny_family(tmp_path / "other", "sd15", seed=9)
    diffusion = {
        "base": {"id_or_folder": str(tmp_path / "base")},
        "controls": [{"weights": {"id_or_folder": str(family("sd15") / "controlnet-depth")}}],
        "scheduler": "ddim",
        "steps": 2,
    }
    recipe = write_recipe(tmp_path, engine=diffusion)
    shutil.copytree(family("sd15") / "base", tmp_path / "base")
    first = load_recipe(str(recipe))
    before = first.hash_of(Condition.NIGHT)
    root = tmp_path / "dataset"
    shutil.copytree(made, root)
    make(root, recipe)
    shutil.rmtree(tmp_path / "base")
    shutil.copytree(other / "base", tmp_path / "base")
    assert not load_recipe(str(recipe)).tables.keys() & first.tables
    sample_id = next(k for k, r in all_rows(root).items() if r["recipe_hash"] == before)
    assert [d for d in replay(root, sample_id).differences if d.startswith("engine: was 1-")]


def test_psnr_of_known_pictures() -> None:
    flat = np.full((4, 4, 3), 100, np.uint8)
    assert psnr_db(flat, flat) is None
    assert psnr_db(flat, flat + np.uint8(16)) == pytest.approx(20 * np.log10(255 / 16))


def test_pictures_are_stored_at_the_recipes_size(prepared: Path, tmp_path: Path) -> None:
    root = tmp_path / "dataset"
    shutil.copytree(prepared / "dataset", root)
    recipe = write_recipe(tmp_path, size=[32, 20], engine={"generation_width": 64})
    make(root, recipe)
    frame = next(iter(all_rows(root, FRAMES).values()))
    for row in all_rows(root).values():
        assert decode_jpeg(row["image"]["bytes"]).shape == (20, 32, 3)
        assert row["intrinsics"][0] == pytest.approx(frame["intrinsics"][0] / 2)


def test_what_cannot_be_made_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    missing = write_recipe(tmp_path, engine={"base": {"id_or_folder": str(tmp_path / "no")}})
    with pytest.raises(InvalidRequest, match="no"):
        load_recipe(str(missing))
    turbo = write_recipe(tmp_path, engine={"family": "sd-turbo", "steps": 30})
    with pytest.raises(InvalidRequest, match="does not offer"):
        load_recipe(str(turbo))
    lost = write_recipe(tmp_path, engine={"name": "weather"})
    with pytest.raises(InvalidRequest, match="base is not an option; expected one of name;"):
        load_recipe(str(lost))


def test_a_recipe_that_needs_captions_says_how_to_make_them(prepared: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, engine={"captioner": "blip2"})
    with pytest.raises(InvalidRequest, match=r"no captions of .*nightrain caption"):
        make(prepared / "dataset", recipe)


@pytest.mark.parametrize("name", [n for n in built_in_recipes() if n.startswith("diffusion")])
def test_built_in_recipes_are_whole_and_have_names_of_their_own(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All weights are pinned or in the package; pinned ones are not looked for on this machine."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    recipe = load_recipe(name)
    assert recipe.name == name and recipe.engine_versions.keys() == recipe.conditions.keys()
    assert all(version.startswith("1-") for version in recipe.engine_versions.values())
    assert isinstance(recipe.engine, DiffusionSettings)
    shipped = [w.id_or_folder for w in recipe.engine.all_weights() if w.in_package]
    sizes = recipe.working_size((1600, 900)), recipe.size_for((1600, 900))
    drawn = {
        "diffusion-world": ((256, 144), (1600, 900)),
        "diffusion-bench": ((256, 144), (224, 128)),
        "diffusion-matched": ((256, 144), (224, 128)),
    }
    assert sizes == drawn.get(name, ((768, 432), (768, 432)))
    loose = [w.id_or_folder for w in recipe.engine.all_weights() if not w.is_pinned]
    assert loose == shipped


def test_weights_without_a_commit_are_another_recipe_at_another_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    name = "pipeline-sd35-depth"
    unpinned = "stabilityai/stable-diffusion-3.5-large-controlnet-depth"
    snapshot = cached(tmp_path, unpinned)
    first = load_recipe(name)
    later = snapshot.with_name("b" * 40)
    shutil.copytree(snapshot, later)
    (snapshot.parents[1] / "refs/main").write_text("b" * 40)
    assert load_recipe(name).hash != first.hash


def test_a_control_of_a_network_needs_its_weights(tmp_path: Path) -> None:
    wrong = write_recipe(tmp_path, engine={"control_depth": {"source": "network"}})
    with pytest.raises(InvalidRequest, match="names the weights of source"):
        load_recipe(str(wrong))
    lost = {"source": "network", "network": {"id_or_folder": str(tmp_path / "gone")}}
    with pytest.raises(InvalidRequest, match="gone"):
        load_recipe(str(write_recipe(tmp_path, engine={"control_depth": lost})))


def test_a_control_by_a_network_in_tiles(prepared: Path, made: Path, tmp_path: Path) -> None:
    network = save_road_dpt(tmp_path / "dpt")
    depth = {"source": "network", "network": {"id_or_folder": str(network)}, "tile_grid": 2}
    root = tmp_path / "dataset"
    shutil.copytree(prepared / "dataset", root)
    report = make(root, write_recipe(tmp_path, engine={"control_depth": depth}))
    assert report.num_rows == 2 * NUM_FRAMES and not report.failed
    before = {r["frame_id"] + r["condition"]: r["image_sha256"] for r in all_rows(made).values()}
    for row in all_rows(root).values():
        assert before[row["frame_id"] + row["condition"]] != row["image_sha256"]
        assert row["depth_source"].endswith(":tiled9")


def wait_for_a_lease(root: Path, process: BaseProcess) -> None:
    """Until a process works on a shard, or has ended."""

    def is_at_work() -> bool:
        try:
            return any(f"-{process.pid}-" in p.read_text() for p in root.glob("_leases/*.lease"))
        except FileNotFoundError:
            return False

    wait_until(lambda: not process.is_alive() or is_at_work(), "work on a shard")


@pytest.mark.slow
@pytest.mark.parametrize("num_kills", [2, pytest.param(6, marks=pytest.mark.campaign)])
def test_sigkills_lose_nothing(prepared: Path, made: Path, tmp_path: Path, num_kills: int) -> None:
    """The command is killed before its first rows, and at random moments after."""
    root, rng, kills = tmp_path / "dataset", random.Random(1), 0
    shutil.copytree(prepared / "dataset", root)
    command = ("generate", root, "--recipe", prepared / "recipe.yaml", "--runner", "local")
    for number in range(num_kills):
        process = start(nightrain, *command)
        wait_for_a_lease(root, process)
        time.sleep(rng.uniform(0.0, 1.0) if number else 0.0)
        process.kill()
        process.join()
        kills += process.exitcode == -signal.SIGKILL
    assert kills > 0
    process = start(nightrain, *command)
    process.join(DEADLINE_S)
    assert process.exitcode == 0
    assert verify(root).accepted and all_rows(root) == all_rows(made)


@pytest.mark.skipif(not REAL.exists(), reason="no real keyframe beside this checkout")
@pytest.mark.slow
def test_six_real_cameras_with_completed_depth_as_control(tmp_path: Path) -> None:
    source, stop = NuScenesSource(NuScenesConfig(root=REAL, version="v1.0-mini")), Stop()
    root = tmp_path / "dataset"
    executor = SerialExecutor(stop)
    ingest_frames(root, source, source.select("all"), {}, executor=executor, stop=stop)
    pool = tmp_path / "styles/night"
    pool.mkdir(parents=True)
    from nightrain.datasets.io.images import encode_jpeg

    (pool / "a.jpg").write_bytes(encode_jpeg(picture(1)))
    tiny = family("sd15")
    diffusion = {
        "base": {"id_or_folder": str(tiny / "base")},
        "controls": [
            {"weights": {"id_or_folder": str(tiny / "controlnet-depth")}},
            {"weights": {"id_or_folder": str(tiny / "controlnet-canny")}, "kind": "canny"},
        ],
        "ip_adapter": {
            "weights": {"id_or_folder": str(tiny / "ip-adapter")},
            "file": IP_ADAPTER_FILE,
            "image_encoder": {
                "id_or_folder": str(tiny / "ip-adapter"),
                "subfolder": "image_encoder",
            },
        },
        "style_pool": str(tmp_path / "styles"),
        "night_brightness": {"levels": "style", "gamma": [0.2, 8.0]},
        "steps": 2,
    }
    recipe = write_recipe(
        tmp_path,
        depth="lidar",
        size=320,
        conditions={"night": {}},
        engine={**diffusion, "generation_width": 256},
    )
    report = make(root, recipe, include_evaluation_scenes=True)
    assert report.num_rows == 6 and not report.failed and verify(root).accepted
    rows = all_rows(root).values()
    assert {row["camera"] for row in rows} == {ref.camera for ref in source.select("all")}
    for row in rows:
        assert decode_jpeg(row["image"]["bytes"]).shape == (176, 320, 3)
        assert row["prompt"] == "At night, a street"  # the tables have no annotations
        assert json.loads(row["provenance"])["style"] == "night/a.jpg"
    assert len(Manifest(root).tables("variants")) == 1
