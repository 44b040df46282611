"""The command `world`: presets, what overrides them, and words for what cannot be."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from nightrain.flows.cli import app

TINY = ("--size", "32x24", "--frames", "1")


def world(*arguments: str | Path, code: int = 0) -> str:
    run = CliRunner().invoke(
        app, ["world", *map(str, arguments)], env={"COLUMNS": "200", "NO_COLOR": "1"}
    )
    assert run.exit_code == code, run.output
    return " ".join(run.output.split())


def scenes(out: Path) -> list[str]:
    return [s["name"] for s in json.loads((out / "v1.0-world" / "scene.json").read_text())]


def test_a_preset_is_rendered_and_summed_up(tmp_path: Path) -> None:
    printed = world("--out", tmp_path / "w", "--preset", "tiny", *TINY)
    assert "2 keyframes in 2 scenes (1 clear, 1 night), 8 images, 2 LiDAR sweeps" in printed
    assert scenes(tmp_path / "w") == ["world-0000", "world-0000-night"]


def test_options_override_the_preset(tmp_path: Path) -> None:
    options = ("--scenes", "2", "--conditions", "night, rain", "--pairs", "clear", "--no-stereo")
    printed = world("--out", tmp_path / "w", "--preset", "tiny", *TINY, *options)
    assert "(1 night, 2 clear, 1 rain), 12 images" in printed
    assert scenes(tmp_path / "w")[:2] == ["world-0000-night", "world-0000"]
    assert not (tmp_path / "w" / "samples" / "CAM_FRONT_STEREO").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--preset", "huge"), "no world preset 'huge'; choose one of tiny, small, demo, bench"),
        (("--conditions", "hail"), "--conditions is 'hail'; expected 'clear', 'night'"),
        (("--size", "wide"), "expected WIDTHxHEIGHT"),
    ],
)
def test_what_cannot_be_is_said(tmp_path: Path, options: tuple[str, ...], words: str) -> None:
    assert words in world("--out", tmp_path / "w", *options, code=2)
    assert not list(tmp_path.iterdir())
