"""The supervised path on real frames with LiDAR: read, learned by heart, scored by the protocols.

A number here says that LiDAR, pictures, network and metrics fit together, nothing about a network's
worth: the frames scored are those learned.

The same by hand, with `2011_09_26/2011_09_26_drive_sfnd_sync 0 l` and so on in L/train_files.txt:

    nightrain ingest nuscenes ../shared/data/nuscenes --version v1.0-mini --split all --out N
    nightrain train real-overfit N --out R
    nightrain evaluate R/model N --protocol md4all-nuscenes --split train    # front camera alone
    nightrain ingest kitti ../shared/data/kitti --split-files L --split train --out K
    nightrain train real-overfit K --out S
    nightrain evaluate S/model K --protocol kitti-eigen --split train
"""

import json
from pathlib import Path

import pytest
import torch

from nightrain.datasets.sources.base import FrameSource
from nightrain.datasets.sources.kitti.config import KittiConfig
from nightrain.datasets.sources.kitti.source import KittiSource
from nightrain.datasets.sources.nuscenes.config import NuScenesConfig
from nightrain.datasets.sources.nuscenes.source import NuScenesSource
from nightrain.depthmodel.evaluation.results import Evaluation
from nightrain.depthmodel.evaluation.settings import (
    MEDIAN_DEPTH,
    EvaluationSettings,
    kitti_eigen,
    md4all_nuscenes,
)
from nightrain.depthmodel.network.model import DepthModel
from nightrain.depthmodel.network.model_card import ModelCard
from nightrain.depthmodel.network.presets import world_depth
from nightrain.pipelines.depth.evaluation_folder import ERROR_MAPS_FILE, evaluate_into
from nightrain.pipelines.depth.train_job import TrainJob, train_network
from nightrain.pipelines.ingest.job import ingest_frames
from nightrain.pipelines.runs.executors import SerialExecutor
from nightrain.pipelines.runs.stop import Stop
from support.paths import REAL_DATA

DATA = REAL_DATA
NUSCENES, KITTI = DATA / "nuscenes", DATA / "kitti"
DRIVE = "2011_09_26/2011_09_26_drive_sfnd_sync"

# By heart 0.083 (60 steps) and below 0.1 (80; 0.102 after 60) were reached; the median picture has
# 0.276 and 0.126 (in KITTI's traffic jam all frames look alike), an untrained network 0.525, 0.460.
BY_HEART, MEDIAN, UNTRAINED = 0.1, 0.12, 0.3

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (NUSCENES.exists() and KITTI.exists()), reason="no real frames beside this checkout"
    ),
]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)  # the sums of a step, and so its numbers, depend on it


FRONT_CAMERAS = ("CAM_FRONT", "CAM_FRONT_LEFT", "CAM_FRONT_RIGHT")


@pytest.mark.parametrize(
    ("cameras", "num_steps"),
    [(FRONT_CAMERAS, 60), pytest.param(("all",), None, marks=pytest.mark.campaign)],
    ids=["front", "all"],
)
def test_nuscenes_is_learned_by_heart(
    tmp_path: Path, cameras: tuple[str, ...], num_steps: int | None
) -> None:
    """md4all's protocol scores the front camera; all three or six are scored by it here."""
    num_cameras = 6 if cameras == ("all",) else len(cameras)
    config = NuScenesConfig(root=NUSCENES, version="v1.0-mini", cameras=cameras)
    read(tmp_path, NuScenesSource(config), split="all", num_frames=num_cameras)
    settings = md4all_nuscenes().model_copy(update={"split": "train"})
    every_camera = settings.model_copy(update={"cameras": ()})
    train(tmp_path, num_steps)
    scored = check_scores(tmp_path, every_camera, num_images=num_cameras)
    front = evaluate(tmp_path, str(tmp_path / "run" / "model"), settings)
    among_all = {image.frame_id: image for image in scored.images if image.scaling == "metric"}
    assert len(front.images) == len(settings.scalings)
    again = among_all[front.images[0].frame_id].metrics.abs_rel
    assert abs_rel(front) == pytest.approx(again, rel=1e-4)  # a batch of one, another last bit


@pytest.mark.parametrize(
    ("numbers", "num_steps"),
    [((0, 12, 24), 80), pytest.param(tuple(range(0, 25, 3)), None, marks=pytest.mark.campaign)],
    ids=["three", "all"],
)
def test_kitti_is_learned_by_heart(
    tmp_path: Path, numbers: tuple[int, ...], num_steps: int | None
) -> None:
    """Three or all nine of the frames with a scan, in Garg's crop, from 0.001 to 80 m."""
    lists = tmp_path / "lists"
    lists.mkdir()
    lines = [f"{DRIVE} {number:010d} l" for number in numbers]
    (lists / "train_files.txt").write_text("\n".join(lines))
    read(
        tmp_path,
        KittiSource(KittiConfig(root=KITTI, split_files=lists)),
        split="train",
        num_frames=len(numbers),
    )
    train(tmp_path, num_steps)
    settings = kitti_eigen().model_copy(update={"split": "train"})
    check_scores(tmp_path, settings, num_images=len(numbers))


def read(folder: Path, source: FrameSource, *, split: str, num_frames: int) -> None:
    stop = Stop()
    refs, executor = source.select(split), SerialExecutor(stop)
    report = ingest_frames(folder / "dataset", source, refs, {}, executor=executor, stop=stop)
    assert report.num_rows == num_frames and not report.num_quarantined
    assert {ref.split for ref in refs} == {"train"}


def train(folder: Path, num_steps: int | None = None) -> None:
    """The preset's run: LiDAR alone, neither augmentation nor average."""
    job = TrainJob(
        preset="real-overfit",
        dataset=folder / "dataset",
        out=folder / "run",
        device="cpu",
        steps=num_steps,
    )
    assert train_network(job, stop=Stop()).status == "finished"
    lines = (folder / "run" / "metrics.jsonl").read_text().splitlines()
    losses = [json.loads(line)["silog"] for line in lines]
    assert losses[-1] < 0.5 * losses[0]


def check_scores(folder: Path, settings: EvaluationSettings, *, num_images: int) -> Evaluation:
    """By heart below the bound that neither an untrained network nor the median reaches."""
    untrained = folder / "untrained"
    card = ModelCard(title="untrained", description="Random numbers.", data_set="none")
    DepthModel(world_depth()).save_pretrained(untrained, card)
    learned = evaluate(folder, str(folder / "run" / "model"), settings)
    assert (
        learned.score("day-clear", 80.0, "metric").num_images == num_images and not learned.skipped
    )
    assert (folder / f"scores-{learned.model}" / ERROR_MAPS_FILE).exists()
    assert abs_rel(learned) < BY_HEART
    assert abs_rel(evaluate(folder, MEDIAN_DEPTH, settings)) > MEDIAN
    assert abs_rel(evaluate(folder, str(untrained), settings)) > UNTRAINED
    return learned


def evaluate(folder: Path, model: str, settings: EvaluationSettings) -> Evaluation:
    out = folder / f"scores-{Path(model).name}"
    return evaluate_into(out, model, folder / "dataset", settings)


def abs_rel(evaluation: Evaluation) -> float:
    metrics = evaluation.score("all", 80.0, "metric").metrics
    assert metrics is not None
    return metrics["abs_rel"].mean
