"""The main job on a real nuScenes keyframe, where a checkout has it beside it."""

from pathlib import Path

import numpy as np
import pytest

from nightrain.datasets.conditions import Condition
from nightrain.datasets.io.images import decode_jpeg
from nightrain.datasets.shards.manifest import FRAMES
from nightrain.datasets.shards.verify import verify
from nightrain.datasets.sources.nuscenes.config import NuScenesConfig
from nightrain.datasets.sources.nuscenes.source import NuScenesSource
from nightrain.pipelines.generate.job import GenerateJob, generate
from nightrain.pipelines.ingest.job import ingest_frames
from nightrain.pipelines.inspect.stats import mean_luminance
from nightrain.pipelines.runs.executors import SerialExecutor
from nightrain.pipelines.runs.stop import Stop
from support.paths import REAL_DATA
from support.synthetic import all_rows

KEYFRAME = REAL_DATA / "nuscenes"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not KEYFRAME.exists(), reason="no real keyframe beside this checkout"),
]


def test_six_cameras_give_24_variants(tmp_path: Path) -> None:
    source, stop = NuScenesSource(NuScenesConfig(root=KEYFRAME, version="v1.0-mini")), Stop()
    executor = SerialExecutor(stop)
    ingest_frames(tmp_path, source, source.select("all"), {}, executor=executor, stop=stop)
    report = generate(GenerateJob(dataset=tmp_path), executor=executor, stop=stop)
    assert report.num_rows == 24 and report.num_quarantined == 0 and verify(tmp_path).accepted

    frames, variants = all_rows(tmp_path, FRAMES), all_rows(tmp_path)
    assert len({frame["camera"] for frame in frames.values()}) == 6
    for row in variants.values():
        image, frame = decode_jpeg(row["image"]["bytes"]), frames[row["frame_id"]]
        assert image.shape == (432, 768, 3) and row["licence"] == "CC-BY-NC-SA-4.0"
        clear = decode_jpeg(frame["image"]["bytes"])
        looks_right(Condition(row["condition"]), row["severity"], image, clear)
        scale = 768 / frame["width"]
        assert row["intrinsics"][0] == pytest.approx(scale * frame["intrinsics"][0])


def looks_right(
    condition: Condition, severity: float, image: np.ndarray, clear: np.ndarray
) -> None:
    """The plainest thing that each condition does to a picture."""
    if condition is Condition.NIGHT:
        assert mean_luminance(image) < 0.6 * mean_luminance(clear)
        assert mean_luminance(image) == pytest.approx(62 - 24 * severity, abs=5)  # metered
    elif condition is Condition.FOG:
        assert image.std() < 0.8 * clear.std()
    else:
        saturation = [np.ptp(picture.reshape(-1, 3), axis=1).mean() for picture in (image, clear)]
        assert saturation[0] < saturation[1]
