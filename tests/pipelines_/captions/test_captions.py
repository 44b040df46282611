"""Captions: networks of the true layout by the ordinary path, and one table row per frame."""

import pickle
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from nightrain.datasets.errors import InvalidRequest, NightrainError, RunFailure
from nightrain.datasets.shards.manifest import FRAMES, Manifest
from nightrain.datasets.shards.verify import verify
from nightrain.datasets.sources.nuscenes.objects import count_names
from nightrain.depthmodel.weights import Weights
from nightrain.pipelines.captions.caption_shard import CaptionShard, captions_of, plan_captions
from nightrain.pipelines.captions.captioner import Captioner, captions_table
from nightrain.pipelines.captions.metadata import MetadataCaptioner, about_frame
from nightrain.pipelines.captions.vision import BLIP2, FLORENCE2, Blip2Captioner, SmallCaptioner
from nightrain.pipelines.runs.executors import ProcessExecutor, SerialExecutor
from nightrain.pipelines.runs.run import RunReport, run
from nightrain.pipelines.runs.stop import Stop
from support.paths import ROOT
from support.synthetic import SyntheticSource, all_rows, ingest_synthetic, picture
from support.tiny_captioners import save_blip, save_blip2, save_florence2

NETWORKS = [
    (save_blip2, Blip2Captioner),
    (save_blip, SmallCaptioner),
    (save_florence2, SmallCaptioner),
]


@dataclass
class Echo:
    """Says the scene's words and the picture's mean; fails where it is told to."""

    name: str = "echo"
    version: str = "1"
    weights: str = ""
    runs_on: str = "cpu"
    fail_on: frozenset[int] = frozenset()  # means of pictures
    calls: list[int] = field(default_factory=list)
    stop: Stop | None = None
    error: type[Exception] = RuntimeError

    def caption(self, images: Sequence[np.ndarray], about: Sequence[str]) -> list[str]:
        self.calls.append(len(images))
        means = [int(image.mean() * 100) for image in images]
        if bad := self.fail_on & set(means):
            raise self.error(f"cannot see {bad}")
        if self.stop is not None:
            self.stop.request()
        return [f"{text} {mean}" for text, mean in zip(about, means, strict=True)]


def caption(
    root: Path, captioner: Captioner, stop: Stop | None = None, batch_size: int = 2
) -> RunReport:
    stop = stop or Stop()
    plan = plan_captions(Manifest(root), captioner)
    work = CaptionShard(root, captioner, batch_size)
    return run(root, plan, work, executor=SerialExecutor(stop), stop=stop)


def captions(root: Path, captioner: Captioner) -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in Manifest(root).entries(FRAMES):
        found |= captions_of(Manifest(root), entry.shard, captioner)
    return found


# Networks


@pytest.mark.parametrize(("save", "kind"), NETWORKS)
def test_captions_are_those_of_a_plain_beam_search(
    tmp_path: Path, save: Callable[[Path], Path], kind: type[Blip2Captioner | SmallCaptioner]
) -> None:
    folder = save(tmp_path / "net")
    captioner = kind(Weights(str(folder)), batch_size=3, max_new_tokens=8, device="cpu")
    images = [picture(seed) for seed in range(5)]
    made = captioner.caption(images, [""] * 5)
    assert made == [_plain(folder, image) for image in images]
    assert len(set(made)) > 1  # they depend on the picture
    assert captioner.caption(images[4:], ["x"]) + captioner.caption(images[:1], [""]) == [
        made[4],
        made[0],
    ]


def _plain(folder: Path, image: np.ndarray) -> str:
    """What transformers alone says of one picture."""
    import torch
    from PIL import Image
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor = AutoProcessor.from_pretrained(folder)
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    text = {"text": "<CAPTION>"} if model.config.model_type == "florence2" else {}
    inputs = processor(images=Image.fromarray(image), return_tensors="pt", **text)
    tokens = model.generate(**inputs, num_beams=3, do_sample=False, max_new_tokens=8)
    return " ".join(processor.batch_decode(tokens, skip_special_tokens=True)[0].split())


def test_the_defaults_are_the_papers_and_loading_waits_for_the_first_picture(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    captioner = Blip2Captioner(offline=True)
    assert (captioner.model, captioner.num_beams, captioner.max_new_tokens) == (BLIP2, 3, 30)
    assert captioner.weights == "Salesforce/blip2-opt-2.7b@59a1ef6c1e51"  # pinned: known unseen
    assert captions_table(captioner).startswith("captions/blip2-")
    assert pickle.loads(pickle.dumps(captioner)) == captioner
    with pytest.raises(InvalidRequest, match=f"hf download {BLIP2.id_or_folder} --revision"):
        captioner.caption([picture(0)], [""])
    assert captioner.dtype == "bfloat16"
    assert SmallCaptioner(offline=True).weights.endswith("@00921df66db7")
    with pytest.raises(InvalidRequest, match=f"hf download {FLORENCE2.id_or_folder} --revision"):
        SmallCaptioner(offline=True).caption([picture(0)], [""])


def test_every_setting_that_changes_words_changes_the_table(tmp_path: Path) -> None:
    folder = save_blip2(tmp_path / "net")
    weights = Weights(str(folder))
    made = [
        Blip2Captioner(weights),
        Blip2Captioner(weights, num_beams=1),
        Blip2Captioner(weights, max_new_tokens=9),
        Blip2Captioner(weights, batch_size=2),
        Blip2Captioner(weights, dtype="float32"),
        Blip2Captioner(Weights(str(save_blip(tmp_path / "other")))),
        MetadataCaptioner(),
    ]
    assert len({captions_table(captioner) for captioner in made}) == len(made)
    assert captions_table(Blip2Captioner(weights, device="cpu")) == captions_table(made[0])


def test_weights_of_another_family_are_refused(tmp_path: Path) -> None:
    folder = save_blip(tmp_path / "net")
    with pytest.raises(InvalidRequest, match="is of the family 'blip'"):
        Blip2Captioner(Weights(str(folder))).caption([picture(0)], [""])


# Metadata


def test_metadata_says_what_the_records_say() -> None:
    categories = ["vehicle.car"] * 3 + ["vehicle.bus.bendy"] + ["human.pedestrian.adult"] * 2
    counts = count_names([*categories, "human.pedestrian.child", "bus"]) | {"traffic cone": 0}
    about = about_frame(counts, "Parked truck, construction, following a van")
    assert about.startswith("3 cars, 3 pedestrians, 2 buses, Parked truck")
    assert about_frame(None) == about_frame({}) == ""
    images = [picture(0)] * 3
    made = MetadataCaptioner().caption(images, [about, "", "  Trees;\n trees, {x} %s "])
    assert made == [
        "a street with 3 cars, 3 pedestrians, 2 buses, parked truck, construction, following a van",
        "a street",
        "a street with trees, {x} %s",
    ]
    with pytest.raises(ValueError, match="do not match"):
        MetadataCaptioner().caption(images, ["one"])


def test_importing_captions_and_prompts_loads_no_network_library() -> None:
    code = (
        "import sys, nightrain.pipelines.captions.caption_shard\n"
        "import nightrain.pipelines.captions.vision\n"
        "import nightrain.pipelines.captions.prompts\n"
        "print(*(m.split('.')[0] for m in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert not {"torch", "transformers", "diffusers", "PIL"} & set(done.stdout.split())


# The table


def test_every_frame_gets_one_caption_in_the_frames_order(dataset: Path) -> None:
    report = caption(dataset, MetadataCaptioner())
    assert report.num_rows == 10 and not report.num_quarantined and verify(dataset).accepted
    manifest, table = Manifest(dataset), captions_table(MetadataCaptioner())
    for entry in manifest.entries(FRAMES):
        made = captions_of(manifest, entry.shard, MetadataCaptioner())
        ids = manifest.reader(entry.rows).table(["frame_id"]).column(0).to_pylist()
        assert list(made) == ids and set(made.values()) == {"a street"}
    rows, frames = all_rows(dataset, table), all_rows(dataset, FRAMES)
    for name, row in rows.items():
        shared = set(row) & set(frames[name])
        assert {"licence", "scene_id", "source_dataset", "split"} <= shared
        assert {k: row[k] for k in shared} == {k: frames[name][k] for k in shared}
        assert row["captioner"] == "metadata" and row["weights"] == "" and row["device"] == "cpu"


def test_captions_come_from_the_network_named_in_the_row(dataset: Path, tmp_path: Path) -> None:
    folder = save_blip2(tmp_path / "tiny-blip2")
    captioner = Blip2Captioner(Weights(str(folder)), max_new_tokens=5, device="cpu")
    assert caption(dataset, captioner).num_rows == 10
    made = captions(dataset, captioner)
    for row in all_rows(dataset, captions_table(captioner)).values():
        assert row["caption"] == made[row["frame_id"]]
        assert row["weights"].startswith("tiny-blip2@") and "transformers" in row["builds"]
        assert str(folder) not in str(row)  # a path of one machine says nothing on another
    assert len(set(made.values())) > 1


def test_running_again_asks_nothing(dataset: Path) -> None:
    caption(dataset, Echo())
    again = Echo()
    report = caption(dataset, again)
    assert report.num_already == 3 and not report.num_rows and not again.calls
    caption(dataset, Echo(version="2"))
    assert len(Manifest(dataset).tables("captions")) == 2 and verify(dataset).accepted


def test_a_stopped_run_goes_on_where_it_was(dataset: Path, tmp_path: Path) -> None:
    stop = Stop()
    first = Echo(stop=stop)
    report = caption(dataset, first, stop)
    assert report.stopped and not report.num_rows and first.calls == [2]  # half a shard is kept
    second = Echo()
    caption(dataset, second)
    assert sum(second.calls) == 8 and not list((dataset / "_partial").glob("*"))
    other = tmp_path / "other"
    ingest_synthetic(other, SyntheticSource(num_frames=10), frames_per_shard=7)
    caption(other, Echo(), batch_size=5)
    table = captions_table(Echo())
    assert all_rows(dataset, table) == all_rows(other, table) and verify(dataset).accepted


def test_two_workers_write_what_one_does(dataset: Path, tmp_path: Path) -> None:
    stop, captioner = Stop(), MetadataCaptioner()
    plan = plan_captions(Manifest(dataset), captioner)
    executor = ProcessExecutor(2, stop)
    report = run(dataset, plan, CaptionShard(dataset, captioner), executor=executor, stop=stop)
    assert report.num_rows == 10 and verify(dataset).accepted and not Manifest(dataset).orphans()


def test_a_picture_that_fails_is_quarantined_alone(dataset: Path) -> None:
    means = {int(caption_of.split()[-1]) for caption_of in _echo_of(dataset).values()}
    bad = sorted(means)[0]
    report = caption(dataset, Echo(fail_on=frozenset({bad}), version="2"))
    assert report.num_rows == 9 and report.num_quarantined == 1 and not report.failed
    manifest, table = Manifest(dataset), captions_table(Echo(version="2"))
    (quarantine,) = [e.quarantine for e in manifest.entries(table) if e.quarantine is not None]
    (row,) = manifest.reader(quarantine).rows()
    assert row["reason"] == "engine_error" and str(bad) in row["message"]
    assert quarantine.path.startswith(f"quarantine/{table}/") and verify(dataset).accepted
    left = {name: text for name, text in _echo_of(dataset).items() if name != row["frame_id"]}
    assert captions(dataset, Echo(version="2")) == left


def _echo_of(dataset: Path) -> dict[str, str]:
    caption(dataset, Echo())
    return captions(dataset, Echo())


def test_missing_weights_end_the_run_and_quarantine_nothing(dataset: Path) -> None:
    class Absent(Echo):
        def caption(self, images, about):  # type: ignore[no-untyped-def]
            raise InvalidRequest("The model x is not on this machine.")

    with pytest.raises(InvalidRequest, match="model x is not on this machine"):
        caption(dataset, Absent())
    assert not Manifest(dataset).tables("captions")
    assert caption(dataset, Echo()).num_rows == 10


def test_a_damaged_image_is_quarantined_with_its_reason(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nightrain.datasets.io.images import decode_jpeg

    broken = next(iter(all_rows(dataset, FRAMES).values()))["image"]["bytes"]

    def decode(data: bytes) -> np.ndarray:
        return decode_jpeg(data[:-40] if data == broken else data)

    monkeypatch.setattr("nightrain.pipelines.captions.caption_shard.decode_jpeg", decode)
    report = caption(dataset, Echo())
    (table,) = report.tables.values()
    assert report.num_rows == 9 and table.quarantined == {"undecodable_image": 1}


def test_leftovers_of_a_race_are_swept(dataset: Path) -> None:
    caption(dataset, Echo())
    table = captions_table(Echo())
    loser = dataset / table / "00000.deadbeef.parquet"
    loser.write_bytes(b"lost the race")
    foreign = dataset / "quarantine" / table / "00000.deadbeef.parquet"
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"lost the race")
    assert len(Manifest(dataset).orphans()) == 2
    Manifest(dataset).sweep()
    assert not Manifest(dataset).orphans() and not loser.exists()


def test_captions_that_are_not_there_are_asked_for_in_words(dataset: Path) -> None:
    (shard, *_) = [entry.shard for entry in Manifest(dataset).entries(FRAMES)]
    with pytest.raises(InvalidRequest, match=f"no captions of {shard.name} by 'echo'"):
        captions_of(Manifest(dataset), shard, Echo())
    (planned, *_) = plan_captions(Manifest(dataset), Echo())
    (dataset / "_manifest" / f"{shard.name}.json").unlink()
    with pytest.raises(NightrainError, match="nightrain ingest"):
        CaptionShard(dataset, Echo())(planned)


def test_too_few_captions_are_an_error_of_the_captioner(dataset: Path) -> None:
    class Short(Echo):
        def caption(self, images, about):  # type: ignore[no-untyped-def]
            return []

    with pytest.raises(RunFailure, match=r"All 2 samples of a batch failed alike.*found 0"):
        caption(dataset, Short())
    assert not Manifest(dataset).tables("captions") and not Manifest(dataset).tables("quarantine")
