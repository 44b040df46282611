"""Control maps: made once per frame, whatever the recipe asks of them, and kept like any table."""

import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from nightrain.datasets.errors import DamagedInput, InvalidRequest
from nightrain.datasets.frame import Frame, FrameRef
from nightrain.datasets.shards.control_maps import ControlMap, map_from_row, map_rows, map_to_row
from nightrain.datasets.shards.manifest import FRAMES, Manifest, Shard
from nightrain.datasets.shards.verify import verify
from nightrain.datasets.upkeep.prune import PruneSelection, plan_prune, prune
from nightrain.datasets.upkeep.repair import find_damage, repair
from nightrain.depthmodel.network.model import DepthModel
from nightrain.flows.cli import app
from nightrain.pipelines.controls import trained_model as teachers
from nightrain.pipelines.controls.map_shard import forget_held
from nightrain.pipelines.controls.metric_scale import metric_depth
from nightrain.pipelines.generate.control_maps import ControlJob, controls
from nightrain.pipelines.generate.replay import replay
from nightrain.pipelines.recipes.recipe_file import load_recipe
from nightrain.pipelines.runs.executors import SerialExecutor
from nightrain.pipelines.runs.run import RunReport
from nightrain.pipelines.runs.stop import Stop
from support.synthetic import SyntheticSource, all_rows, ingest_synthetic
from support.tiny_depth_models import save_teacher
from support.tiny_diffusion import make, write_recipe

NUM_FRAMES = 5


@dataclass
class Teacher:
    """A depth network that counts the images it sees, and their sizes."""

    digest: str = "5eed"
    most: int = 100  # images in a batch that fit into memory
    sizes: list[int] = field(default_factory=list)  # of the batches
    seen: list[tuple[int, int]] = field(default_factory=list)
    on_image: Callable[[int], None] = lambda number: None

    def predict(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        depths = []
        self.sizes.append(len(images))
        if len(images) > self.most:
            raise torch.OutOfMemoryError("injected")
        for image in images:
            self.on_image(len(self.seen))
            self.seen.append((image.shape[1], image.shape[0]))
            rows = 1 / np.linspace(1 / 60, 1 / 2, len(image), dtype=np.float32)[:, None]
            depths.append(np.repeat(rows, image.shape[1], axis=1))
        return depths


@pytest.fixture
def teacher(monkeypatch: pytest.MonkeyPatch) -> Teacher:
    found = Teacher()
    monkeypatch.setattr(teachers, "_load", lambda folder: found)
    monkeypatch.setattr(teachers, "_digest", lambda folder: found.digest)
    return found


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    ingest_synthetic(tmp_path / "dataset", SyntheticSource(NUM_FRAMES))
    return tmp_path / "dataset"


SEEN = {"source": "teacher", "teacher": "/models/ours"}


def make_controls(root: Path, recipe: Path) -> RunReport:
    stop = Stop()
    job = ControlJob(dataset=root, recipe=str(recipe))
    return controls(job, executor=SerialExecutor(stop), stop=stop)


def maps_table(root: Path) -> str:
    (table,) = Manifest(root).tables("controls/")
    return table


def all_maps(root: Path) -> list[dict[str, Any]]:
    manifest = Manifest(root)
    return [
        row
        for entry in manifest.entries(FRAMES)
        for row in map_rows(manifest, entry, maps_table(root))
    ]


def test_a_map_is_made_once_per_frame_whatever_the_recipe_asks(
    dataset: Path, teacher: Teacher, tmp_path: Path
) -> None:
    changes = {"variants_per_frame": 2, "conditions": {"night": {}, "rain": {}, "snow": {}}}
    path = write_recipe(tmp_path, engine={"control_depth": SEEN}, **changes)
    report = make(dataset, path)
    assert not report.failed and report.inputs[maps_table(dataset)].num_rows == NUM_FRAMES
    assert len(all_rows(dataset)) == 3 * 2 * NUM_FRAMES
    assert len(teacher.seen) == NUM_FRAMES  # the polarity check's maps are used, too
    (tmp_path / "other").mkdir()
    make(dataset, write_recipe(tmp_path / "other", engine={"control_depth": SEEN}, seed=3))
    assert len(teacher.seen) == NUM_FRAMES  # another recipe reads the same maps
    tiled = {**SEEN, "tile_grid": 2}
    make(dataset, write_recipe(tmp_path / "other", engine={"control_depth": tiled}))
    assert len(teacher.seen) == NUM_FRAMES * (1 + 1 + 9)  # another source: whole and nine tiles


def test_maps_have_the_frames_own_size_and_so_do_tiles(
    dataset: Path, teacher: Teacher, tmp_path: Path
) -> None:
    tiled = {**SEEN, "tile_grid": 4}
    path = write_recipe(tmp_path, engine={"control_depth": tiled, "generation_width": 32})
    make_controls(dataset, path)
    width, height = teacher.seen[0]
    assert {row["width"] for row in all_rows_of(dataset)} == {width}
    assert width > 32 and map_from_row(all_maps(dataset)[0]).inverse_depth.shape == (height, width)
    tiles = [size for size in teacher.seen if size != (width, height)]
    assert len(tiles) == 49 * NUM_FRAMES
    assert max(abs(w - width / 4) + abs(h - height / 4) for w, h in tiles) <= 2


def all_rows_of(root: Path) -> list[dict[str, Any]]:
    manifest = Manifest(root)
    entries = manifest.entries(maps_table(root))
    return [row for entry in entries for row in manifest.reader(entry.rows).rows()]


def test_a_shard_of_maps_that_is_interrupted_resumes_to_the_same_rows(
    dataset: Path, teacher: Teacher, tmp_path: Path
) -> None:
    path = write_recipe(tmp_path, engine={"control_depth": SEEN})
    ingest_synthetic(tmp_path / "twin", SyntheticSource(NUM_FRAMES))
    make_controls(tmp_path / "twin", path)
    stop = Stop()
    teacher.on_image = lambda number: stop.request() if number > NUM_FRAMES else None
    job = ControlJob(dataset=dataset, recipe=str(path))
    report = controls(job, executor=SerialExecutor(stop), stop=stop)
    assert report.stopped and not Manifest(dataset).tables("controls/")
    make_controls(dataset, path)
    maps = [
        [row["inverse_depth"] for row in all_maps(root)] for root in (dataset, tmp_path / "twin")
    ]
    assert maps[0] == maps[1]


def test_memory_that_runs_out_halves_the_batch(
    dataset: Path, teacher: Teacher, tmp_path: Path
) -> None:
    path = write_recipe(tmp_path, engine={"control_depth": SEEN})
    ingest_synthetic(tmp_path / "twin", SyntheticSource(NUM_FRAMES))
    make_controls(tmp_path / "twin", path)
    teacher.most = 2
    teacher.sizes.clear()
    report = make_controls(dataset, path)
    assert report.num_rows == NUM_FRAMES and not report.num_quarantined
    assert teacher.sizes == [5, 3, 2, 2, 3, 2]  # of the polarity check, whose maps are used
    assert [r["inverse_depth"] for r in all_maps(dataset)] == [
        r["inverse_depth"] for r in all_maps(tmp_path / "twin")
    ]


@pytest.mark.parametrize("first", [0, 8])
def test_a_network_that_fails_at_everything_ends_the_run(
    teacher: Teacher, tmp_path: Path, first: int
) -> None:
    """In the polarity check on 8 frames, or in a shard after it."""
    root = tmp_path / "dataset"
    ingest_synthetic(root, SyntheticSource(12), frames_per_shard=12)

    def fail(number: int) -> None:
        if number >= first:
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied (1x3 and 4x5)")

    teacher.on_image = fail
    recipe = write_recipe(tmp_path, engine={"control_depth": SEEN})
    for command in ("controls", "generate"):
        teacher.seen.clear()
        words = [command, str(root), "--recipe", str(recipe), "--runner", "local"]
        said = CliRunner().invoke(app, words)
        assert said.exit_code == 1 and "failed alike" in said.stderr and "mat1" in said.stderr
        assert "Traceback" not in said.stderr and len(said.stderr.strip().splitlines()) == 1
    manifest = Manifest(root)
    assert not [t for t in manifest.tables() if t != FRAMES] and verify(root).accepted


def test_the_network_is_loaded_where_the_shards_are_made(
    dataset: Path, teacher: Teacher, tmp_path: Path
) -> None:
    """The parent of worker processes plans, and sends them the polarity check."""
    checks: list[Callable[[], None]] = []

    class Elsewhere(SerialExecutor):
        def check(self, check: Callable[[], None]) -> None:
            assert not teacher.seen
            checks.append(pickle.loads(pickle.dumps(check)))
            raise InterruptedError

    job = ControlJob(
        dataset=dataset, recipe=str(write_recipe(tmp_path, engine={"control_depth": SEEN}))
    )
    with pytest.raises(InterruptedError):
        controls(job, executor=Elsewhere(), stop=Stop())
    assert not teacher.seen
    (check,) = checks
    check()
    assert len(teacher.seen) == NUM_FRAMES
    forget_held()


def test_the_name_of_a_teacher_is_read_without_its_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_teacher(tmp_path / "teacher")
    expected = f"teacher:{DepthModel.from_pretrained(folder).digest}"
    monkeypatch.setattr(DepthModel, "from_pretrained", None)
    assert teachers.TeacherDepth(str(folder)).name == expected
    with pytest.raises(InvalidRequest, match=r"`teacher` .*gone.: there is no such folder"):
        _ = teachers.TeacherDepth(str(tmp_path / "gone")).name


def test_upkeep_knows_the_table(dataset: Path, teacher: Teacher, tmp_path: Path) -> None:
    path = write_recipe(tmp_path, engine={"control_depth": SEEN})
    make(dataset, path)
    assert verify(dataset).accepted
    table = maps_table(dataset)
    one = next(iter(all_rows(dataset)))
    assert replay(dataset, one).identical
    entry = Manifest(dataset).entries(table)[0]
    data = bytearray((dataset / entry.rows.path).read_bytes())
    data[len(data) // 2] ^= 1
    (dataset / entry.rows.path).write_bytes(data)
    assert not verify(dataset).accepted
    (finding,) = repair(dataset, find_damage(dataset)).findings
    assert "nightrain controls" in str(finding.command)
    before = len(teacher.seen)
    make_controls(dataset, path)
    assert verify(dataset).accepted and len(teacher.seen) == before + entry.rows.num_rows
    plan = plan_prune(dataset, PruneSelection(controls=table.partition("/")[2]))
    prune(dataset, plan)
    assert not Manifest(dataset).tables("controls/")


def test_a_map_is_stored_to_a_millionth_of_its_range() -> None:
    rng = np.random.default_rng(0)
    values = rng.uniform(-3, 700, (40, 60)).astype(np.float32)
    row = map_to_row(ControlMap(inverse_depth=values, is_metric=False), "frame")
    found = map_from_row(row).inverse_depth
    assert np.abs(found - values).max() <= 1.001 * np.ptp(values) / 65535 / 2 + 1e-4
    flat = ControlMap(inverse_depth=np.full((4, 5), 2.5, np.float32), is_metric=True)
    assert (flat.stored().inverse_depth == 2.5).all() and flat.stored().is_metric


def test_a_recipe_without_a_network_needs_no_maps(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="has no depth network"):
        make_controls(dataset, write_recipe(tmp_path))


def test_variants_without_maps_say_which_command_makes_them(
    dataset: Path, teacher: Teacher, tmp_path: Path
) -> None:
    from nightrain.pipelines.generate.variant_shard import GenerateShard

    recipe = load_recipe(str(write_recipe(tmp_path, engine={"control_depth": SEEN})))
    (table, *_) = recipe.tables
    with pytest.raises(InvalidRequest, match=r"Run `nightrain controls .* --recipe"):
        GenerateShard(dataset, recipe)(Shard(table=table, number=0))


@dataclass(frozen=True)
class Sparse(SyntheticSource):
    """Frames with LiDAR that is twice as far as the teacher says, or without LiDAR and mounting."""

    lidar: bool = True

    def load(self, ref: FrameRef) -> Frame:
        frame = super().load(ref)
        width, height = frame.image.size()
        depth_m = 2 / np.linspace(1 / 60, 1 / 2, height, dtype=np.float32)[:, None]
        sparse = np.zeros((height, width), np.float32)
        sparse[::3, ::4] = np.repeat(depth_m, width, axis=1)[::3, ::4]
        return replace(
            frame,
            lidar_depth_m=sparse if self.lidar else None,
            exact_depth_m=None,
            T_ego_camera=None,
        )


@pytest.mark.parametrize("lidar", [True, False])
def test_weather_takes_a_network_as_its_depth(
    teacher: Teacher, tmp_path: Path, lidar: bool
) -> None:
    root = tmp_path / "dataset"
    ingest_synthetic(root, Sparse(NUM_FRAMES, lidar=lidar))
    path = tmp_path / "weather.yaml"
    path.write_text(
        "{name: wet, depth: network, conditions: {rain: {}, night: {}, fog: {}},"
        " depth_network: {source: teacher, teacher: /models/ours}}"
    )
    report = make(root, path)
    assert not report.num_quarantined and len(teacher.seen) == NUM_FRAMES
    rows = all_rows(root)
    assert len(rows) == 3 * NUM_FRAMES
    scale = "lidar" if lidar else "network"
    assert {row["depth_source"] for row in rows.values()} == {f"teacher:5eed scaled by {scale}"}


def test_relative_depth_takes_its_scale_from_lidar_else_from_the_road() -> None:
    inverse = np.repeat(np.linspace(0.004, 0.4, 90, dtype=np.float32)[:, None], 160, axis=1)
    relative = 37.0 * inverse - 1.5
    lidar_m = np.zeros_like(inverse)
    lidar_m[10::5, ::7] = 1 / inverse[10::5, ::7]
    lidar_m[40, ::7] = 3.0  # returns of something that the network does not see
    for lidar, road in ((lidar_m, None), (None, inverse)):
        depth_m, scale = metric_depth(
            relative, is_metric=False, lidar_depth_m=lidar, road_inverse=road
        )
        assert scale == ("road" if lidar is None else "lidar")
        np.testing.assert_allclose(depth_m[5:], 1 / inverse[5:], rtol=0.02)
    assert (
        np.isinf(
            metric_depth(
                relative - 0.2, is_metric=False, lidar_depth_m=None, road_inverse=inverse + 0.0
            )[0]
        ).mean()
        < 0.1
    )
    with pytest.raises(DamagedInput, match="neither LiDAR nor"):
        metric_depth(relative, is_metric=False, lidar_depth_m=None, road_inverse=None)
    with pytest.raises(DamagedInput, match="cannot be scaled to lidar"):
        metric_depth(-relative, is_metric=False, lidar_depth_m=lidar_m, road_inverse=None)
