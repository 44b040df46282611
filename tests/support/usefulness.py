"""A dataset with all that a usefulness study needs, a few small frames of everything."""

import zlib
from dataclasses import dataclass, replace
from pathlib import Path

from nightrain.datasets.conditions import Condition
from nightrain.datasets.frame import Frame, FrameRef
from nightrain.datasets.ids import frame_id
from nightrain.datasets.io.images import JpegImage, encode_jpeg
from nightrain.datasets.shards.manifest import FRAMES, Manifest
from nightrain.pipelines.labels.job import plan_labels
from nightrain.pipelines.labels.labelling_model import load_labelling_model
from nightrain.pipelines.labels.settings import LabelSettings
from nightrain.pipelines.labels.shard import LabelShard
from nightrain.pipelines.runs.executors import SerialExecutor
from nightrain.pipelines.runs.run import run
from nightrain.pipelines.runs.stop import Stop
from support.synthetic import ingest_synthetic, picture, recipe
from support.tiny_depth_models import save_teacher
from support.training import NeighbourSource, add_variants

NUM_CLEAR, NUM_ADVERSE = 6, 2  # train frames, the latter of each other condition
NUM_TESTED = 2  # val frames, and test frames, of each condition of TESTED
SHOWN = (Condition.NIGHT, Condition.RAIN)  # by the variants
TESTED = (Condition.CLEAR, Condition.NIGHT, Condition.NIGHT_RAIN, Condition.RAIN)


@dataclass(frozen=True)
class DrivenSource(NeighbourSource):
    """Every frame of a split is a place, which all conditions share: twins at the same time."""

    places: str = ""  # start of the places' names; "": the split

    def ref(self, index: int) -> FrameRef:
        place, name = f"{self.places or self.split}-place-{index}", f"{self.split}-{self.condition}"
        return replace(
            super().ref(index),
            frame_id=frame_id(self.name, f"{name}-{index}"),
            scene_id=f"{place}-{self.condition}",
            log_id=place,
        )

    def load(self, ref: FrameRef) -> Frame:
        seed = zlib.crc32(f"{self.split}-{self.condition} {ref.source_id}".encode())
        return replace(super().load(ref), image=JpegImage(encode_jpeg(picture(seed))))


def source(num_frames: int, split: str, condition: Condition, places: str = "") -> DrivenSource:
    return DrivenSource(num_frames, split, condition, places=places)


def make_labels(
    root: Path,
    teacher: Path,
    name: str = "",
    conditions: tuple[Condition, ...] = (Condition.CLEAR,),
) -> None:
    """Label the train frames of these conditions."""
    labeller, settings = (
        load_labelling_model(teacher, name, device="cpu"),
        LabelSettings(confidence="flip"),
    )
    shards = plan_labels(Manifest(root), labeller, settings, conditions=conditions).shards
    stop = Stop()
    work = LabelShard(root, labeller, settings)
    run(root, shards, work, executor=SerialExecutor(stop), stop=stop)


def make_study_dataset(root: Path) -> tuple[Path, Path]:
    """A dataset with train, val and test frames, variants and labels of clear ones; its teacher."""
    ingest_synthetic(root, source(NUM_CLEAR, "train", Condition.CLEAR))
    clear_shards = tuple(entry.shard.number for entry in Manifest(root).entries(FRAMES))
    for condition in Condition:
        if condition != Condition.CLEAR:
            ingest_synthetic(root, source(NUM_ADVERSE, "train", condition))
    for split in ("val", "test"):
        for condition in TESTED:
            ingest_synthetic(root, source(NUM_TESTED, split, condition))
    add_variants(root, recipe(*SHOWN), clear_shards)
    teacher = save_teacher(root.parent / "teacher")
    make_labels(root, teacher)
    return root, teacher
