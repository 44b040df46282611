"""Commands of the small family: training by stages, and the overview picture."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.package_weights import package_folder
from nightrain.pipelines.small_diffusion import overview, train
from nightrain.pipelines.small_diffusion.data.views import CONDITIONS, NUM_HELD_OUT, place_file
from nightrain.pipelines.small_diffusion.family import has_adapter, require_family
from nightrain.pipelines.small_diffusion.sheet import TITLE_PX

FAMILY = package_folder("package:nightrain.pipelines.small_diffusion/weights")
HEIGHT, WIDTH, SHOTS = 32, 64, 2


def write_views(folder: Path, num_places: int) -> Path:
    """Write small random views of places 0 to num_places - 1."""
    folder.mkdir()
    count = SHOTS * len(CONDITIONS)
    for place in range(num_places):
        rng = np.random.default_rng(place)
        condition = np.repeat(np.arange(len(CONDITIONS)), SHOTS)
        np.savez(
            place_file(folder, place),
            image=rng.integers(0, 256, (count, HEIGHT, WIDTH, 3), np.uint8),
            control=rng.integers(0, 256, (count, HEIGHT, WIDTH), np.uint8),
            condition=condition,
            group=condition + place * len(CONDITIONS),
            prompts=np.array([["A street with 2 cars"] * 3] * count),
        )
    return folder


def options(run: Path, **changes: object) -> train.Options:
    """Options of a run of one step per stage."""
    values: dict[str, object] = {
        "run": run,
        "places": NUM_HELD_OUT + 1,
        "processes": 1,
        "device": torch.device("cpu"),
        "minutes": None,
        "batch": 2,
        "vae_batch": 1,
        "steps_scale": 0.0,
        "perceptual": False,
        "pieces": None,
        "sheet_rows": 0,
        "log_seconds": 60,
        "start": FAMILY,
        "stages": ("controlnet",),
        "rate_scale": 1.0,
    }
    return train.Options(**(values | changes))  # type: ignore[arg-type]


def same_bytes(name: str, a: Path, b: Path) -> bool:
    """Whether a file of two families holds the same bytes."""
    return (a / name).read_bytes() == (b / name).read_bytes()


def test_stages_without_style_keep_the_adapter_of_the_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    write_views(run / "views", NUM_HELD_OUT + 1)
    train.train(options(run))
    require_family(run / "family", adapter=True)  # as the command `measure` does
    for name in ("ip-adapter.safetensors", "image_encoder/model.safetensors"):
        assert same_bytes(f"ip-adapter/{name}", run / "family", FAMILY)
    weights = "controlnet-depth/diffusion_pytorch_model.safetensors"
    assert not same_bytes(weights, run / "family", FAMILY)  # it was trained
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (note,) = [line["ip-adapter"] for line in lines if "ip-adapter" in line]
    assert str(FAMILY) in note


def test_a_start_without_an_adapter_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start, family = tmp_path / "start", tmp_path / "family"
    start.mkdir()
    train.keep_adapter(start, family)
    assert f"none: {start} has none" in capsys.readouterr().out
    assert not family.exists()


def test_a_family_that_is_its_own_start_keeps_its_adapter(tmp_path: Path) -> None:
    shutil.copytree(FAMILY / "ip-adapter", tmp_path / "ip-adapter")
    train.keep_adapter(tmp_path, tmp_path)
    assert has_adapter(tmp_path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"places": NUM_HELD_OUT}, r"leave none to train on. Pass --places 21"),
        ({"start": Path("nowhere")}, r"nowhere is not a family folder: base/model_index.json"),
    ],
)
def test_options_that_cannot_train_are_refused_before_rendering(
    changes: dict[str, object], words: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidRequest, match=words):
        train.train(options(tmp_path / "run", **changes))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("num_places", [0, 1, 5])
def test_an_overview_of_too_few_places_is_refused(num_places: int, tmp_path: Path) -> None:
    views = write_views(tmp_path / "views", num_places)
    with pytest.raises(InvalidRequest, match=rf"{num_places} held-out places; at least 6 .*--plac"):
        overview.write_overview(FAMILY, views, tmp_path / "overview.jpg")


def test_an_overview_has_a_row_per_place_and_a_column_per_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overview, "STEPS", 1)
    views, out = write_views(tmp_path / "views", 6), tmp_path / "overview.jpg"
    overview.write_overview(FAMILY, views, out)
    columns = 3 + len(overview.BY_PROMPT) + 1
    with Image.open(out) as picture:
        assert picture.width == columns * WIDTH
        assert picture.height == len(overview.PLACES) * HEIGHT + TITLE_PX
    assert out.stat().st_size <= overview.MAX_BYTES


def test_the_overview_command_reports_a_missing_family(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["overview", str(tmp_path), "--views", str(tmp_path), "--out", str(tmp_path / "o.jpg")]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit, match=r"error: .* is not a family folder"):
        overview.main()
