"""Previews: of a recipe, of what is committed, and of what is in quarantine."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io import atomic
from nightrain.datasets.io.images import decode_jpeg
from nightrain.datasets.shards.manifest import FRAMES, Manifest
from nightrain.pipelines.engines.base import Request, Variant
from nightrain.pipelines.generate import preview
from nightrain.pipelines.generate.plan import plan_generation
from nightrain.pipelines.generate.preview import (
    preview_lines,
    write_default_preview,
    write_preview,
)
from nightrain.pipelines.generate.variant_shard import GenerateShard
from nightrain.pipelines.inspect.committed_tiles import committed_lines, quarantine_lines
from nightrain.pipelines.inspect.contact_sheet import Tile, contact_sheet, text_tile
from nightrain.pipelines.recipes.recipe import Recipe
from nightrain.pipelines.runs.executors import SerialExecutor
from nightrain.pipelines.runs.run import run
from nightrain.pipelines.runs.stop import Stop
from support.synthetic import SyntheticSource, TintEngine, all_rows, ingest_synthetic, recipe

RECIPE = recipe(Condition.NIGHT, Condition.FOG)


class Foggy(TintEngine):
    """Fails on nights of low severity: on three of the first four frames."""

    def generate(self, requests: Sequence[Request]) -> list[Variant]:
        for request in requests:
            if request.condition is Condition.NIGHT and request.severity < 0.5:
                raise RuntimeError(f"a severity of {request.severity:.3f} is too dark")
        return super().generate(requests)


@pytest.fixture
def generated(dataset: Path) -> Path:
    """Ten train frames with fog; three nights of the first four frames are in quarantine."""
    ingest_synthetic(dataset, SyntheticSource(num_frames=3, split="val"))
    for engine, numbers in ((Foggy(), (0,)), (TintEngine(), (1, 2))):
        shards = plan_generation(Manifest(dataset), RECIPE).shards
        chosen, stop = [s for s in shards if s.number in numbers], Stop()
        work = GenerateShard(dataset, RECIPE, engine)
        run(dataset, chosen, work, executor=SerialExecutor(stop), stop=stop)
    return dataset


def frames_of(root: Path) -> list:
    return [e for e in Manifest(root).entries(FRAMES) if e.about["split"] == "train"]


def tables(of: Recipe = RECIPE) -> dict[str, str]:
    return {str(c): of.table(c) for c in of.conditions}


def test_committed_variants_are_shown_as_stored(generated: Path) -> None:
    lines = list(committed_lines(Manifest(generated), frames_of(generated), tables(), 10))
    assert [len(line) for line in lines] == [3] * 10
    stored = {
        (row["frame_id"], row["condition"]): decode_jpeg(row["image"]["bytes"])
        for row in all_rows(generated).values()
    }
    ids = [SyntheticSource(10).ref(i).frame_id for i in range(10)]
    for frame_id, (_, night, fog) in zip(ids, lines, strict=True):
        assert (fog.image == stored[frame_id, "fog"]).all() and fog.label.startswith("fog 0.")
        if (frame_id, "night") in stored:
            assert (night.image == stored[frame_id, "night"]).all()
        else:
            assert night.label == "night" and night.image.shape != fog.image.shape
    assert sum((frame_id, "night") in stored for frame_id in ids) == 7
    few = list(committed_lines(Manifest(generated), frames_of(generated), tables(), 3))
    assert len(few) == 3 and (few[-1][2].image == stored[ids[-1], "fog"]).all()


def test_quarantined_rows_are_shown_with_their_reasons(
    generated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts: list[str] = []

    def note(label: str, text: str, shape: Sequence[int]) -> Tile:
        texts.append(f"{label}: {text}")
        return text_tile(label, text, shape)

    monkeypatch.setattr("nightrain.pipelines.inspect.committed_tiles.text_tile", note)
    bad = SyntheticSource(4, name="bad", damaged=frozenset({2}))
    ingest_synthetic(generated, bad)
    names = [FRAMES, *tables().values()]
    lines = list(quarantine_lines(Manifest(generated), names, 99))
    assert [len(line) for line in lines] == [1, 2, 2, 2]  # the frame has no image
    assert texts[0] == "scene-0000 CAM_FRONT: undecodable_image: frame 2 is damaged"
    assert all(t.startswith("night CAM_FRONT: engine_error: ") for t in texts[1:])
    assert len(list(quarantine_lines(Manifest(generated), names, 2))) == 2
    ingest_synthetic(generated, SyntheticSource(4, name="bad"))  # frames in quarantine stay there
    assert len(list(quarantine_lines(Manifest(generated), names, 99))) == 4


@pytest.mark.parametrize("show", ["recipe", "committed", "quarantine"])
def test_each_sheet_is_written(
    generated: Path, tmp_path: Path, show: preview.Show, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preview, "load_engine", lambda _: TintEngine())
    path = write_preview(generated, RECIPE, tmp_path / "a" / "sheet.png", 2, show=show)
    assert np.asarray(Image.open(path)).std() > 1


@pytest.mark.parametrize(
    ("show", "message"),
    [("committed", "Run `nightrain generate`"), ("quarantine", "in quarantine")],
)
def test_nothing_to_show_is_one_sentence(
    dataset: Path, tmp_path: Path, show: preview.Show, message: str
) -> None:
    with pytest.raises(InvalidRequest, match=message):
        write_preview(dataset, RECIPE, tmp_path / "sheet.png", show=show)
    assert not (tmp_path / "sheet.png").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sheet.txt", r"sheet.txt'; expected a name that ends with .png or .jpg"),
        ("a file/sheet.png", "cannot be written .* Choose another file with --out"),
        ("a folder.png", r"cannot be written \(Is a directory\). Choose another file with --out"),
    ],
)
def test_a_sheet_that_cannot_be_written_is_one_sentence(
    dataset: Path, tmp_path: Path, name: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preview, "load_engine", lambda _: TintEngine())
    (tmp_path / "a file").touch()
    (tmp_path / "a folder.png").mkdir()
    with pytest.raises(InvalidRequest, match=message):
        write_preview(dataset, RECIPE, tmp_path / name, 1)


def test_evaluation_scenes_are_shown_only_where_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preview, "load_engine", lambda _: TintEngine())
    root = tmp_path / "dataset"
    ingest_synthetic(root, SyntheticSource(num_frames=4, split="val"))
    with pytest.raises(InvalidRequest, match="--include-evaluation-scenes"):
        list(preview_lines(root, RECIPE, 4))
    assert len(list(preview_lines(root, RECIPE, 4, include_evaluation_scenes=True))) == 4


@pytest.fixture
def sealed(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, int], None]:
    """Make the creation of files below a folder fail with an error number."""

    def seal(folder: Path, number: int) -> None:
        def refuse(root: Path, ending: str = "") -> Path:
            raise OSError(number, "sealed", str(root)) if root == folder else AssertionError

        monkeypatch.setattr(atomic, "temporary_path", refuse)

    return seal


@pytest.mark.parametrize("number", [30, 13, 1])
def test_a_dataset_that_cannot_be_written_is_previewed_elsewhere(
    dataset: Path,
    tmp_path: Path,
    number: int,
    sealed: Callable[[Path, int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)

    def write(path: Path) -> Path:
        path.write_bytes(b"sheet")
        return path

    assert write_default_preview(dataset, "sheet.png", write) == dataset / "sheet.png"
    sealed(dataset, number)
    assert write_default_preview(dataset, "sheet.png", write).resolve() == here / "sheet.png"


def test_a_long_label_ends_before_the_next_one() -> None:
    black = np.zeros((40, 384, 3), np.uint8)
    sheet = contact_sheet([[Tile(black, "W" * 400), Tile(black, "")]])
    assert sheet[:22, :384].max() > 200 and sheet[:22, 390:].max() < 60


def test_a_text_tile_keeps_the_shape_of_the_images() -> None:
    tile = text_tile("night", "word " * 500, (90, 160, 3))
    assert tile.image.shape == (216, 384, 3) and tile.image.max() > 200
