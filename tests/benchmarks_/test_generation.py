"""Benchmark of generation: every line in small on a CPU, and its figures from known inputs."""

import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from nightrain.benchmarks import generation, generation_shard
from nightrain.benchmarks.generation_lines import lines
from nightrain.benchmarks.generation_measure import idle_share, measure, psnr_db

Command = Callable[..., list[dict[str, object]]]


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Command:
    """Run the command on the tiny family; returns one object per printed line."""

    def run(*words: str) -> list[dict[str, object]]:
        small = ["--tiny", "--batches", "3", "--steps", "2", "--json", "--models", str(tmp_path)]
        monkeypatch.setattr(generation_shard, "FRAME_WIDTH", 320)
        monkeypatch.setattr(sys, "argv", ["generation", *small, *words])
        generation.main()
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return run


@pytest.mark.slow
def test_every_line_is_measured_and_printed_as_json(command: Command, tmp_path: Path) -> None:
    rows = command()
    assert not [row for row in rows if "failed" in row]
    measured = {str(row["name"]): row for row in rows if "name" in row}
    assert [*measured] == ["naive", *(line.name for line in lines("off"))]
    kinds = [row["encoding"] for row in rows if "encoding" in row]
    assert kinds == ["JPEG", "PNG"]  # apart: all lines write JPEG
    for name, row in measured.items():
        assert row["images_per_s"] > 0  # type: ignore[operator]
        assert row["made_again"] == 0  # else the rate is that of another engine
        assert (row["psnr_db"] is not None) == name.startswith("lossy")
    exact, few = measured["batches"], measured["lossy: 4 steps"]
    assert 0 < few["tflop_per_image"] < exact["tflop_per_image"]  # type: ignore[operator]
    assert exact["utilisation"] > 0  # type: ignore[operator]
    assert not (tmp_path / "ip-adapter").exists() and not (tmp_path / "controlnet-canny").exists()


def test_models_are_kept_and_only_those_that_are_used_are_written(
    command: Command, tmp_path: Path
) -> None:
    command("--only", "batches")
    weights = tmp_path / "base/unet/diffusion_pytorch_model.safetensors"
    written_ns = weights.stat().st_mtime_ns
    assert not (tmp_path / "taesd").exists()
    command("--only", "4 steps, tiny")
    assert (tmp_path / "taesd").is_dir()
    assert weights.stat().st_mtime_ns == written_ns


@pytest.mark.slow
@pytest.mark.campaign
def test_lossy_lines_of_other_steps_compile_nothing(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    traced = functools.partial(torch.compile, backend="eager")  # no code: seconds, not minutes
    monkeypatch.setattr(torch, "compile", traced)
    rows = command("--compile", "default", "--only", "torch.compile", "20 steps", "--steps", "2")
    graphs = {str(row["name"]): row["graphs"] for row in rows if "graphs" in row}
    assert graphs["+ torch.compile"] == 3  # UNet, ControlNet and decoder
    assert graphs["+ torch.compile, frames and variants in shards"] == 0
    assert graphs["lossy: 20 steps"] == 0
    assert graphs["lossy: 20 steps, guidance until 0.5"] == 2  # half the rows: UNet and ControlNet


def test_a_line_that_fails_is_named_and_the_others_are_measured(
    command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(a: np.ndarray, b: np.ndarray) -> float:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(generation, "psnr_db", broken)
    with pytest.raises(SystemExit, match="1 lines failed"):
        command("--only", "batches", "lossy: control", "--steps", "2")
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {"name": "lossy: control until 0.7", "failed": "RuntimeError: no such kernel"} in rows
    assert [row["name"] for row in rows if "images_per_s" in row] == ["naive", "batches"]


def test_unknown_lines_and_too_few_batches_are_refused(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, message in {
        ("--only", "fast"): "no line has such a name; there are: batches; ",
        ("--batches", "2"): "the ends are dropped",
    }.items():
        with pytest.raises(SystemExit):
            command(*words)
        assert message in capsys.readouterr().err


def test_models_of_another_architecture_are_not_mixed(command: Command, tmp_path: Path) -> None:
    (tmp_path / "family").write_text("SDXL")
    with pytest.raises(SystemExit, match="models of another architecture"):
        command("--only", "batches")


def test_the_recipe_gives_size_and_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["generation"])
    load = generation.workload(generation.parse(), torch.device("cpu"))
    assert (load.size, load.batch, load.num_batches) == ((768, 432), 16, 10)


def test_idle_share_leaves_out_the_first_and_the_last_batch() -> None:
    first, last = [(0.0, 1.0), (500.0, 501.0)], [(950.0, 951.0), (2000.0, 2001.0)]
    middle = [(600.0 + 10 * n, 609.0 + 10 * n) for n in range(4)]  # 9 of every 10
    assert idle_share([*last, *middle, *first], 4) == pytest.approx(3 / 39)
    nested = [(0.0, 1.0), (10.0, 20.0), (12.0, 14.0), (40.0, 41.0)]
    assert idle_share(nested, 4) == 0.0
    assert idle_share([], 4) == 1.0


def test_rates_leave_out_the_first_and_the_last_batch() -> None:
    load = generation.Workload((8, 8), batch=4, num_batches=5, device=torch.device("cpu"))
    rate = measure(lambda num_batches: [9.0, 10.0, 11.0, 12.0, 99.0][:num_batches], load)
    assert rate.images_per_s == 4.0
    assert rate.peak_gib is None and rate.idle_share is None


def test_psnr_of_equal_images_is_infinite_and_of_others_in_decibels() -> None:
    black = np.zeros((2, 4, 4, 3), np.uint8)
    assert psnr_db(black, black) == float("inf")
    assert psnr_db(black, black + np.uint8(51)) == pytest.approx(20 * np.log10(5))
