"""RobotCar's published split files and a real day still, where a checkout has them beside it."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import BrokenSource, InvalidRequest
from nightrain.datasets.io.images import decode_jpeg
from nightrain.datasets.io.untrusted import Checksums, Files
from nightrain.datasets.protocols.published import MD4ALL_ROBOTCAR, count_protocol
from nightrain.datasets.shards.manifest import FRAMES
from nightrain.datasets.shards.verify import verify
from nightrain.datasets.sources.robotcar.camera import T_ego_vehicle, read_camera, read_extrinsics
from nightrain.datasets.sources.robotcar.config import RobotCarConfig
from nightrain.datasets.sources.robotcar.source import RobotCarSource
from nightrain.pipelines.generate.job import GenerateJob, generate
from nightrain.pipelines.ingest.job import ingest_frames
from nightrain.pipelines.recipes.recipe_file import load_recipe
from nightrain.pipelines.runs.executors import SerialExecutor
from nightrain.pipelines.runs.stop import Stop
from support.paths import REAL_DATA
from support.synthetic import all_rows

ROOT = REAL_DATA / "robotcar"
STILL = "2014-12-09-13-21-02/stereo/left/1418132504537582"

pytestmark = pytest.mark.skipif(not ROOT.exists(), reason="no RobotCar data beside this checkout")


def test_the_published_split_files_have_the_published_counts() -> None:
    """The images are not here, so nothing can be filtered and 17,790 of 17,790 triplets stay."""
    source = RobotCarSource(
        RobotCarConfig(root=ROOT, sdk=ROOT / "sdk", splits=ROOT / "splits", skip_bad=True)
    )
    report = count_protocol(MD4ALL_ROBOTCAR, source)
    assert [c.here for c in report.counts] == [702, 709, 17_790, 17_790]
    assert [c.published for c in report.counts] == [702, 709, 17_790, 16_563]
    strict = RobotCarSource(RobotCarConfig(root=ROOT, sdk=ROOT / "sdk", splits=ROOT / "splits"))
    with pytest.raises(BrokenSource, match="1411 frames are listed but have no image"):
        strict.select("test")


def test_the_still_is_read_as_it_is() -> None:
    source = RobotCarSource(RobotCarConfig(root=ROOT, sdk=ROOT / "sdk"))
    (ref,) = source.select("all")
    frame = source.load(ref)
    assert ref.source_id == STILL and frame.condition is Condition.CLEAR
    path = ROOT / "2014-12-09-13-21-02/stereo/left_rgb/1418132504537582.png"
    original = cv2.imread(str(path))
    assert original is not None
    pixels = frame.image.pixels()
    assert pixels.shape == (768, 1280, 3)
    assert np.abs(pixels.astype(int) - original[:768, :, ::-1]).mean() < 1.5  # JPEG
    assert frame.intrinsics[0, 0] == frame.intrinsics[1, 1] == 983.044006
    assert frame.lidar_depth_m is None and frame.previous is None
    assert frame.T_ego_camera is not None
    # The road's horizon, seen at row 439, should be where a level line meets the picture.
    level = frame.T_ego_camera[:3, :3].T @ [1.0, 0.0, 0.0]
    row = frame.intrinsics[1, 1] * level[1] / level[2] + frame.intrinsics[1, 2]
    assert row == pytest.approx(439, abs=20)  # 20 rows are 1.2 degrees of the car's own pitch


@pytest.mark.parametrize(
    ("camera", "looks_to"),
    [("mono_left", (0, 1, 0)), ("mono_right", (0, -1, 0)), ("mono_rear", (-1, 0, 0))],
)
def test_the_published_extrinsics_point_where_the_cameras_names_say(
    camera: str, looks_to: tuple[int, int, int]
) -> None:
    sdk = Files(ROOT / "sdk", Checksums(ROOT / "sdk"))
    T_ego = T_ego_vehicle(read_extrinsics(sdk, "ins"))
    T = T_ego @ read_camera(sdk, camera).T_vehicle_camera
    assert T[:3, 2] @ looks_to > 0.9
    assert T[:3, 3] @ looks_to > 0.3 and 1.0 < T[2, 3] < 1.8
    assert (T_ego @ read_extrinsics(sdk, "lms_front"))[0, 3] > 1.5  # on the front bumper


@pytest.mark.slow
def test_the_still_goes_through_ingest_generate_and_verify(tmp_path: Path) -> None:
    """Without a laser there is no depth: refused, or made on the guess of a flat road."""
    source, stop = RobotCarSource(RobotCarConfig(root=ROOT, sdk=ROOT / "sdk")), Stop()
    executor = SerialExecutor(stop)
    ingest_frames(tmp_path, source, source.select("all"), {}, executor=executor, stop=stop)
    with pytest.raises(InvalidRequest, match="has lidar depth"):
        generate(GenerateJob(dataset=tmp_path), executor=executor, stop=stop)
    (row,) = all_rows(tmp_path, FRAMES).values()
    assert decode_jpeg(row["image"]["bytes"]).shape == (768, 1280, 3)
    assert row["licence"] == "CC-BY-NC-SA-4.0" and row["lidar_depth"] is None
    guess = tmp_path / "guess.yaml"
    guess.write_text(
        "name: guess\nsize: 768\nwithout_depth: road-plane\nconditions: {night: {}, rain: {}}"
    )
    job = GenerateJob(dataset=tmp_path, recipe=str(guess))
    report = generate(job, executor=executor, stop=stop)
    assert report.num_rows == 2 and not report.failed and verify(tmp_path).accepted
    recipe = load_recipe(str(guess))
    folders = {recipe.folder_of(condition) for condition in recipe.conditions}
    variants = [r for r in all_rows(tmp_path).values() if r["recipe"] in folders]
    assert {(r["depth_source"], r["width"], r["height"]) for r in variants} == {
        ("road-plane", 768, 464)
    }
