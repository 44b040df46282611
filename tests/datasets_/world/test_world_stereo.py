"""The front camera's stereo partner: rendered, read as an auxiliary view, kept in the shards."""

import json
from pathlib import Path

import numpy as np
import pytest

from nightrain.datasets.errors import DamagedInput, InvalidRequest, Reason
from nightrain.datasets.io.images import decode_depth_png
from nightrain.datasets.shards.manifest import Manifest
from nightrain.datasets.shards.rows import frame_from_row, frame_to_row
from nightrain.datasets.sources.nuscenes.config import NuScenesConfig
from nightrain.datasets.sources.nuscenes.source import NuScenesSource
from nightrain.datasets.world.export import truth
from nightrain.datasets.world.export.plan import SceneSpec
from nightrain.datasets.world.export.writer import VERSION, write_world
from nightrain.datasets.world.sensors.rig import STEREO_BASELINE_M
from nightrain.pipelines.ingest.job import ingest_frames
from nightrain.pipelines.runs.executors import SerialExecutor
from nightrain.pipelines.runs.stop import Stop

SIZE = (192, 112)
PARTNER = "CAM_FRONT_STEREO"


@pytest.fixture
def world(tmp_path: Path, shared_world: Path) -> Path:
    """A copy that a test may damage; links, so that it costs nothing."""
    import shutil

    return Path(shutil.copytree(shared_world, tmp_path / "world"))


@pytest.fixture(scope="module")
def shared_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("stereo") / "world"
    report = write_world(
        out, scenes=[SceneSpec(place=1)], frames=2, seed=2, size=SIZE, stereo=True, truth=("depth",)
    )
    assert report.num_images == 8  # 3 for each keyframe, and its partner's
    return out


@pytest.mark.parametrize("cameras", [("all",), ("CAM_FRONT",)], ids=["all", "front"])
def test_the_partner_is_a_view_of_a_frame_and_no_frame(
    shared_world: Path, cameras: tuple[str, ...]
) -> None:
    source = NuScenesSource(NuScenesConfig(root=shared_world, version=VERSION, cameras=cameras))
    refs = source.select("all")
    assert [ref.camera for ref in refs] == ["CAM_FRONT"] * 2
    for ref in refs:
        frame = source.load(ref)
        assert frame.stereo is not None and frame.previous is not None
        assert frame.stereo.timestamp_us == frame.timestamp_us
        assert np.array_equal(frame.stereo.intrinsics, frame.intrinsics)
        baseline = np.eye(4)
        baseline[0, 3] = -STEREO_BASELINE_M  # what is ahead lies to the left of the right camera
        assert np.allclose(frame.stereo.T_neighbour_camera, baseline, atol=1e-9)
        assert frame.stereo.image.size() == SIZE
        assert not np.array_equal(frame.stereo.image.pixels(), frame.image.pixels())


def test_disparity_is_focal_length_times_baseline_over_depth(shared_world: Path) -> None:
    source = NuScenesSource(NuScenesConfig(root=shared_world, version=VERSION))
    for ref in source.select("all"):
        frame = source.load(ref)
        assert frame.exact_depth_m is not None and frame.stereo is not None
        left_m = frame.exact_depth_m
        names = sorted((shared_world / "truth/depth" / PARTNER).iterdir())
        path = next(p for p in names if str(frame.timestamp_us) in p.name)
        right_m = decode_depth_png(path.read_bytes())
        v, u = np.nonzero((left_m > 3) & (left_m < 60))
        z = left_m[v, u]
        right_u = np.rint(u - frame.intrinsics[0, 0] * STEREO_BASELINE_M / z).astype(int)
        v, z, right_u = v[right_u >= 0], z[right_u >= 0], right_u[right_u >= 0]
        error = np.abs(right_m[v, right_u] / z - 1)
        assert len(z) > 5000
        assert np.median(error) < 0.005 and (error < 0.05).mean() > 0.85  # the rest is hidden


def test_the_partner_has_depth_as_its_only_truth(tmp_path: Path) -> None:
    write_world(tmp_path / "w", scenes=1, frames=1, seed=2, size=(48, 32), stereo=True)
    kinds = {p.parent.parent.name for p in tmp_path.rglob("*.png") if p.parent.name == PARTNER}
    assert kinds == {"depth"}
    front = {p.parent.parent.name for p in tmp_path.rglob("*.png") if p.parent.name == "CAM_FRONT"}
    assert front == {"depth", "semantic", "instance", "flow"}


def test_a_frame_keeps_its_partner_as_a_row_and_in_a_shard(
    shared_world: Path, tmp_path: Path
) -> None:
    source = NuScenesSource(NuScenesConfig(root=shared_world, version=VERSION))
    refs = source.select("all")
    frame = source.load(refs[0])
    ingest_frames(tmp_path, source, refs, {}, executor=SerialExecutor(Stop()), stop=Stop())
    manifest = Manifest(tmp_path)
    stored = [r for e in manifest.entries("frames") for r in manifest.reader(e.rows).rows()]
    row = next(r for r in stored if r["frame_id"] == frame.frame_id)
    for back in (
        frame_from_row(row),
        frame_from_row(frame_to_row(frame, source.licence, source.attribution)),
    ):
        assert back.stereo is not None and frame.stereo is not None
        assert back.stereo.image.data == frame.stereo.image.data
        assert back.stereo.source_id == frame.stereo.source_id
        assert back.stereo.timestamp_us == frame.stereo.timestamp_us
        assert np.array_equal(back.stereo.intrinsics, frame.stereo.intrinsics)
        assert np.array_equal(back.stereo.T_neighbour_camera, frame.stereo.T_neighbour_camera)


def test_frames_without_neighbours_keep_their_partner(world: Path) -> None:
    source = NuScenesSource(NuScenesConfig(root=world, version=VERSION, neighbours=False))
    frame = source.load(source.select("all")[0])
    assert frame.previous is None and frame.stereo is not None


def test_a_frame_without_a_partner_has_none(world: Path) -> None:
    sweeps = NuScenesSource(NuScenesConfig(root=world, version=VERSION, frames="sweeps"))
    assert len(sweeps.select("all")) == 4
    frame = sweeps.load(sweeps.select("all")[0])
    assert frame.stereo is None
    assert frame_from_row(frame_to_row(frame, "", "")).stereo is None


def test_a_damaged_partner_damages_its_frame(world: Path) -> None:
    first = min((world / "samples" / PARTNER).iterdir())
    first.write_bytes(first.read_bytes()[:-200])
    source = NuScenesSource(NuScenesConfig(root=world, version=VERSION))
    bad, good = source.select("all")
    with pytest.raises(DamagedInput, match="its stereo image"):
        source.load(bad)
    assert source.load(good).stereo is not None


def test_a_broken_record_of_a_partner_damages_its_frame(world: Path) -> None:
    (world / "SHA256SUMS").unlink()
    path = world / VERSION / "sample_data.json"
    records = json.loads(path.read_text())
    broken = next(r for r in records if PARTNER in r["filename"])
    broken["ego_pose_token"] = "none"
    path.write_text(json.dumps(records))
    source = NuScenesSource(NuScenesConfig(root=world, version=VERSION))
    with pytest.raises(DamagedInput, match="its stereo image") as caught:
        source.load(source.select("all")[0])
    assert caught.value.reason is Reason.BAD_POSE
    assert source.load(source.select("all")[1]).stereo is not None


def test_only_a_camera_with_a_partner_has_stereo(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="no stereo partner: add CAM_FRONT"):
        write_world(tmp_path / "w", scenes=1, frames=1, seed=0, cameras=("CAM_BACK",), stereo=True)
    with pytest.raises(InvalidRequest, match="truth"):
        write_world(tmp_path / "w", scenes=1, frames=1, seed=0, truth=("height",))  # type: ignore[arg-type]
    assert truth.truth_file("depth", f"samples/{PARTNER}/a.jpg") == f"truth/depth/{PARTNER}/a.png"
