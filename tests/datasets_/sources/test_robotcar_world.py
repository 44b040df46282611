"""The world in RobotCar's layout, through the reader, the engine and verify."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from nightrain.datasets.conditions import Condition
from nightrain.datasets.io.images import decode_depth_png
from nightrain.datasets.shards.manifest import FRAMES
from nightrain.datasets.shards.verify import verify
from nightrain.datasets.sources.robotcar.config import RobotCarConfig
from nightrain.datasets.sources.robotcar.source import RobotCarSource
from nightrain.datasets.world.export.robotcar_drive import DAY, NIGHT, export_robotcar
from nightrain.pipelines.generate.job import GenerateJob, generate
from nightrain.pipelines.ingest.job import ingest_frames
from nightrain.pipelines.runs.executors import SerialExecutor
from nightrain.pipelines.runs.stop import Stop
from support.synthetic import all_rows

pytestmark = [pytest.mark.slow]


def test_the_world_is_read_as_robotcar(tmp_path: Path) -> None:
    world, dataset = tmp_path / "world", tmp_path / "dataset"
    export_robotcar(world, seed=3, seconds=1.0, num_images=3, drives=[DAY], truth_of=[1])
    source = RobotCarSource(RobotCarConfig(root=world, sdk=world / "sdk", splits=world / "splits"))
    (train,) = source.select("train")
    assert train.scene_id == DAY and source.select("all") == [train]
    agrees_with_the_truth(source, world, train.timestamp_us)

    stop = Stop()
    executor = SerialExecutor(stop)
    ingest_frames(dataset, source, [train], {}, executor=executor, stop=stop)
    report = generate(GenerateJob(dataset=dataset), executor=executor, stop=stop)
    assert report.num_rows == 4 and report.num_quarantined == 0 and verify(dataset).accepted
    (row,) = all_rows(dataset, FRAMES).values()
    assert row["previous_image"] is not None and row["lidar_depth"] is not None


def agrees_with_the_truth(source: RobotCarSource, world: Path, time_us: int) -> None:
    frame = source.load(source.select("train")[0])
    truth_m = decode_depth_png((world / f"truth/{DAY}/{time_us}.depth.png").read_bytes())
    truth = cv2.imread(str(world / f"truth/{DAY}/{time_us}.png"))
    assert truth is not None and frame.lidar_depth_m is not None
    smooth = [cv2.GaussianBlur(i, (0, 0), 2.0) for i in (frame.image.pixels(), truth[..., ::-1])]
    difference = smooth[0].astype(np.float64) - smooth[1]
    difference -= difference.mean(
        axis=(0, 1)
    )  # the wider raw picture was exposed a little otherwise
    assert np.abs(difference).mean() < 3  # out of 255; the raw picture was sampled three times
    v, u = np.nonzero((frame.lidar_depth_m > 0) & (truth_m > 0))
    assert len(v) > 300  # half a second of scans ahead
    relative = np.abs(frame.lidar_depth_m - truth_m)[v, u] / truth_m[v, u]
    assert np.median(relative) < 0.01 and np.mean(relative < 0.05) > 0.85


@pytest.mark.campaign
def test_the_night_drive_is_for_the_test_and_dark(tmp_path: Path) -> None:
    export_robotcar(tmp_path, seed=5, seconds=0.25, num_images=3, drives=[NIGHT], truth_of=[])
    source = RobotCarSource(
        RobotCarConfig(root=tmp_path, sdk=tmp_path / "sdk", splits=tmp_path / "splits")
    )
    refs = source.select("test")
    assert len(refs) == 3 and {ref.condition for ref in refs} == {Condition.NIGHT}
    assert source.select("train") == []
    assert source.load(refs[1]).image.pixels().mean() < 90


def test_too_few_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="choose 3 to 17"):
        export_robotcar(tmp_path, seed=0, seconds=1.0, num_images=2)
