"""Controls from depth networks in whole runs: frames without depth, and networks upside down."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest, WrongPolarity
from nightrain.datasets.frame import Frame, FrameRef
from nightrain.datasets.shards.manifest import Manifest
from nightrain.flows.cli import app
from nightrain.pipelines.controls import trained_model as teachers
from nightrain.pipelines.engines.base import Request
from nightrain.pipelines.engines.weather.engine import WeatherEngine
from nightrain.pipelines.generate.prepare import prepare_frame
from nightrain.pipelines.generate.preview import preview_lines
from nightrain.pipelines.recipes.recipe_file import load_recipe
from support.synthetic import (
    INTRINSICS,
    SyntheticSource,
    all_rows,
    ingest_synthetic,
    picture,
    recipe,
)
from support.tiny_depth_networks import save_road_dpt
from support.tiny_diffusion import family, make, write_recipe

NUM_FRAMES = 5


@dataclass(frozen=True)
class WithoutDepth(SyntheticSource):
    """Stills: no LiDAR, no exact depth and no mounting of the camera."""

    def load(self, ref: FrameRef) -> Frame:
        frame = super().load(ref)
        return replace(frame, lidar_depth_m=None, exact_depth_m=None, T_ego_camera=None)


@pytest.fixture
def stills(tmp_path: Path) -> Path:
    ingest_synthetic(tmp_path / "stills", WithoutDepth(NUM_FRAMES))
    return tmp_path / "stills"


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The depth section of a recipe: a network that sees the road before the car."""
    folder = save_road_dpt(tmp_path_factory.mktemp("depth") / "road")
    return {"source": "network", "network": {"id_or_folder": str(folder)}}


@dataclass
class Trained:
    """What DepthModel does: metres that fall down the picture, or rise where `far_below`."""

    far_below: bool = False
    digest: str = "5eed"
    num_calls: int = 0

    def predict(self, images: list[np.ndarray]) -> list[np.ndarray]:
        self.num_calls += len(images)
        ends = (1 / 2, 1 / 60) if self.far_below else (1 / 60, 1 / 2)
        rows = [1 / np.linspace(*ends, len(image), dtype=np.float32)[:, None] for image in images]
        return [np.repeat(r, i.shape[1], axis=1) for r, i in zip(rows, images, strict=True)]


def test_a_network_finds_the_depth_of_frames_that_have_none(
    stills: Path, road: dict[str, Any], tmp_path: Path
) -> None:
    path = write_recipe(tmp_path, engine={"control_depth": road})
    report = make(stills, path)
    assert report.num_rows == 2 * NUM_FRAMES and not report.num_quarantined
    names = {row["depth_source"] for row in all_rows(stills).values()}
    assert len(names) == 1 and names.pop().startswith("network:road@")
    line = next(preview_lines(stills, load_recipe(str(path)), 1))
    assert [t.label.split()[0] for t in line[1:]] == ["control", "night", "rain"]
    assert line[1].image[34:].mean() > 1.3 * line[1].image[17:23].mean()  # near is white


def test_the_weather_engine_asks_for_depth() -> None:
    request = Request(
        sample_id="still",
        image=picture(0),
        depth_m=None,
        intrinsics=INTRINSICS,
        condition=Condition.RAIN,
        severity=0.5,
        seed=1,
    )
    with pytest.raises(ValueError, match="depth_m is None; the weather engine needs dense depth"):
        WeatherEngine().generate([request])


WEATHER = "{{name: wet, engine: weather, depth: {depth}, conditions: {{rain: {{}}}}{more}}}"
RELATIVE = ", depth_network: {{source: network, network: {{id_or_folder: {folder}}}}}"


@pytest.mark.parametrize(
    ("depth", "more", "said"),
    [
        ("exact", "", "None of the 5 frames has exact depth, .*'wet' needs. Set `depth: lidar`"),
        ("lidar", "", "has lidar depth, .*`depth: network` with .*`without_depth: road-plane`"),
        ("lidar", ", without_depth: road-plane", "has lidar depth or T_ego_camera, .*estimate"),
        ("network", RELATIVE, "has LiDAR depth or T_ego_camera to scale a network's relative"),
        ("controls", "", "has exact depth, .*'tiny' needs. .*`control_depth: {source: midas}`"),
    ],
)
@pytest.mark.parametrize("command", ["generate", "plan"])
def test_depth_that_no_frame_has_is_one_sentence_before_anything_runs(
    stills: Path,
    road: dict[str, Any],
    tmp_path: Path,
    command: str,
    depth: str,
    more: str,
    said: str,
) -> None:
    path = tmp_path / "weather.yaml"
    more = more.format(folder=road["network"]["id_or_folder"])
    path.write_text(WEATHER.format(depth=depth, more=more))
    path = write_recipe(tmp_path) if depth == "controls" else path
    before = sorted(stills.rglob("*"))
    local = ["--runner", "local"] if command == "generate" else []
    result = CliRunner().invoke(app, [command, str(stills), "--recipe", str(path), *local])
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("nightrain: ") and re.search(said, line), line
    assert sorted(stills.rglob("*")) == before


@dataclass(frozen=True)
class SomeDepth(SyntheticSource):
    """Every second frame has exact depth."""

    def load(self, ref: FrameRef) -> Frame:
        frame = super().load(ref)
        return frame if int(ref.source_id) % 2 else replace(frame, exact_depth_m=None)


def test_frames_that_lack_depth_among_others_are_counted(tmp_path: Path) -> None:
    root, path = tmp_path / "dataset", tmp_path / "weather.yaml"
    ingest_synthetic(root, SomeDepth(NUM_FRAMES))
    path.write_text(WEATHER.format(depth="exact", more=""))
    report = make(root, path, max_quarantined=1.0)
    assert report.num_rows == 2 and report.num_quarantined == 3 and not report.over_limit
    assert [w for w in report.warnings if "3 of 5 frames have no exact depth" in w]
    assert not make(root, path, max_quarantined=1.0).warnings  # nothing left to make
    ingest_synthetic(root, WithoutDepth(2, name="later"))  # of another source, to the same dataset
    assert make(root, path, max_quarantined=1.0).num_quarantined == 2


def test_depth_is_made_dense_only_where_it_is_looked_at(road: dict[str, Any]) -> None:
    source = SyntheticSource(1)
    frame = source.load(source.ref(0))
    assert prepare_frame(frame, recipe()).depth_source == "exact"
    tiny: dict[str, Any] = {"name": "diffusion", "generation_width": 64}
    given = prepare_frame(frame, recipe(engine=tiny))
    assert given.depth_m is not None and given.depth_source == "exact"
    seen = prepare_frame(frame, recipe(engine={**tiny, "control_depth": road}))
    assert seen.depth_m is None and seen.depth_source.startswith("network:road@")
    canny = {"controls": [{"weights": {"id_or_folder": "a/b"}, "kind": "canny"}]}
    edges = prepare_frame(frame, recipe(engine={**tiny, **canny}))
    assert edges.depth_m is None and edges.depth_source == "none"


def test_a_control_by_a_teacher_of_ours(
    stills: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = Trained()
    monkeypatch.setattr(teachers, "_load", lambda folder: trained)
    monkeypatch.setattr(teachers, "_digest", lambda folder: trained.digest)
    path = write_recipe(
        tmp_path, engine={"control_depth": {"source": "teacher", "teacher": "/models/ours"}}
    )
    report = make(stills, path)
    assert report.num_rows == 2 * NUM_FRAMES
    rows = all_rows(stills).values()
    assert {row["depth_source"] for row in rows} == {"teacher:5eed"}
    before = load_recipe(str(path)).hash
    calls = trained.num_calls
    assert make(stills, path).num_rows == 0 and trained.num_calls == calls  # nothing to judge for
    trained.digest = "other"
    assert load_recipe(str(path)).hash != before


@pytest.mark.parametrize("source", ["teacher", "network", "tiles"])
def test_a_network_upside_down_fails_the_run_and_not_every_sample(
    stills: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    trained = Trained(far_below=True)
    monkeypatch.setattr(teachers, "_load", lambda folder: trained)
    monkeypatch.setattr(teachers, "_digest", lambda folder: trained.digest)
    depth: dict[str, Any] = {"source": "teacher", "teacher": "/models/ours"}
    if source != "teacher":
        folder = save_road_dpt(tmp_path / "flipped", upside_down=True)
        depth = {"source": "network", "network": {"id_or_folder": str(folder)}}
        depth |= {"tile_grid": 2} if source == "tiles" else {}
    path = write_recipe(tmp_path, engine={"control_depth": depth})
    with pytest.raises(WrongPolarity, match=r"on 5 frames: the road .* inverted"):
        make(stills, path)
    assert not Manifest(stills).tables("variants")
    assert trained.num_calls == (NUM_FRAMES if source == "teacher" else 0)


@pytest.mark.parametrize("kind", ["pose", "normal", "segment"])
def test_kinds_that_nothing_draws_are_refused_before_anything_is_looked_for(
    tmp_path: Path, kind: str
) -> None:
    net = {"id_or_folder": str(tmp_path / "no such network")}
    diffusion = {
        "base": {"id_or_folder": str(tmp_path / "no such base")},
        "controls": [{"weights": {"id_or_folder": str(family("sd15"))}}, {"weights": net}],
    }
    diffusion["controls"][1]["kind"] = kind  # type: ignore[index]
    with pytest.raises(InvalidRequest, match=f"Control images of the kind '{kind}' cannot"):
        load_recipe(str(write_recipe(tmp_path, engine=diffusion)))
