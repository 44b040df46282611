"""A small dataset with variants, labels and neighbours, written through the public manifest."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa

from nightrain.datasets.frame import Frame, FrameRef, Neighbour
from nightrain.datasets.io.images import JpegImage, encode_depth_png, encode_jpeg
from nightrain.datasets.shards.manifest import FRAMES, Manifest, Shard, quarantine_table
from nightrain.datasets.shards.parquet import Row
from nightrain.datasets.shards.recipe_records import record_recipe
from nightrain.datasets.shards.schema import IMAGE, NAME, QUARANTINE
from nightrain.pipelines.generate.variant_shard import GenerateShard
from nightrain.pipelines.recipes.recipe import Recipe
from nightrain.pipelines.runs.executors import SerialExecutor
from nightrain.pipelines.runs.run import run
from nightrain.pipelines.runs.stop import Stop
from support.synthetic import INTRINSICS, SIZE, SyntheticSource, TintEngine, picture

LABELS = pa.schema(
    [
        pa.field("frame_id", pa.string(), nullable=False),
        pa.field("depth", IMAGE),
        pa.field("confidence", IMAGE),
        pa.field("teacher", NAME),
        pa.field("teacher_sha256", NAME),
    ]
)

T_PREVIOUS = np.array([[1, 0, 0, 0.05], [0, 1, 0, 0.02], [0, 0, 1, 0.5], [0, 0, 0, 1]], float)
T_NEXT = np.array([[1, 0, 0, -0.05], [0, 1, 0, 0.01], [0, 0, 1, -0.5], [0, 0, 0, 1]], float)


@dataclass(frozen=True)
class NeighbourSource(SyntheticSource):
    """The synthetic source with neighbours; the first frame has no previous one."""

    def load(self, ref: FrameRef) -> Frame:
        frame, index = super().load(ref), int(ref.source_id)
        return dataclasses.replace(
            frame,
            previous=None if index == 0 else _neighbour(index, "previous", T_PREVIOUS),
            next=_neighbour(index, "next", T_NEXT),
        )


STEREO_DEPTH_M = 10.0
STEREO_INTRINSICS = INTRINSICS + np.array([[0, 0, 1.5], [0, 0, 0], [0, 0, 0]])  # as rectified ones
T_STEREO = np.array([[1, 0, 0, -1.0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], float)  # to right


@dataclass(frozen=True)
class StereoSource(SyntheticSource):
    """A striped wall 10 m ahead, seen by a frame and its right partner; the last has no partner."""

    def load(self, ref: FrameRef) -> Frame:
        frame, index = super().load(ref), int(ref.source_id)
        partner = Neighbour(
            source_id=f"{index}-stereo",
            timestamp_us=index,
            image=JpegImage(encode_jpeg(_stripes(index, STEREO_INTRINSICS, T_STEREO))),
            intrinsics=STEREO_INTRINSICS,
            T_neighbour_camera=T_STEREO,
        )
        return dataclasses.replace(
            frame,
            image=JpegImage(encode_jpeg(_stripes(index, INTRINSICS, np.eye(4)))),
            stereo=None if index == self.num_frames - 1 else partner,
        )


@dataclass(frozen=True)
class RectifiedSource(StereoSource):
    """The same with partners of the same intrinsics."""

    def load(self, ref: FrameRef) -> Frame:
        frame = super().load(ref)
        pair = frame.stereo and dataclasses.replace(frame.stereo, intrinsics=INTRINSICS)
        return dataclasses.replace(frame, stereo=pair)


def _stripes(index: int, intrinsics: np.ndarray, transform: np.ndarray) -> np.ndarray:
    """What a camera moved sideways sees (H, W, 3) uint8 of the wall, lit from the left."""
    u = np.arange(SIZE[0])
    across_m = (u - intrinsics[0, 2]) / intrinsics[0, 0] * STEREO_DEPTH_M - transform[0, 3]
    grey = 120 + 60 * np.sin(1.6 * across_m + index) - 4 * across_m
    return np.repeat(np.tile(grey, (SIZE[1], 1))[..., None], 3, 2).astype(np.uint8)


def _neighbour(index: int, side: str, transform: np.ndarray) -> Neighbour:
    return Neighbour(
        source_id=f"{index}-{side}",
        timestamp_us=index,
        image=JpegImage(encode_jpeg(picture(1000 * index + len(side)))),
        intrinsics=INTRINSICS,
        T_neighbour_camera=transform,
    )


def add_variants(
    root: Path,
    recipe: Recipe,
    numbers: tuple[int, ...] | None = None,
    engine: TintEngine | None = None,
) -> None:
    """Variants of all frame shards, or of some, by the tint engine or another one."""
    shards = [
        Shard(table=recipe.table(c), number=e.shard.number)
        for c in recipe.conditions
        for e in Manifest(root).entries(FRAMES)
        if numbers is None or e.shard.number in numbers
    ]
    engine = engine or TintEngine()
    stop = Stop()
    record_recipe(root, recipe.name, recipe.tables)
    run(root, shards, GenerateShard(root, recipe, engine), executor=SerialExecutor(stop), stop=stop)


def label_row(frame_id: str, teacher_sha256: str = "abc") -> Row:
    """A label whose depth rises to the right and whose confidence falls."""
    ramp = np.tile(np.linspace(2.0, 60.0, SIZE[0], dtype=np.float32), (SIZE[1], 1))
    ok, png = cv2.imencode(".png", np.tile(np.arange(SIZE[0])[::-1] * 4, (SIZE[1], 1)).astype("u1"))
    assert ok
    return {
        "frame_id": frame_id,
        "depth": {"bytes": encode_depth_png(ramp), "path": f"{frame_id}.png"},
        "confidence": {"bytes": png.tobytes(), "path": f"{frame_id}.confidence.png"},
        "teacher": "tiny",
        "teacher_sha256": teacher_sha256,
    }


def add_labels(
    root: Path,
    teacher: str = "tiny",
    change: Callable[[int, list[Row]], list[Row]] = lambda number, rows: rows,
    reject: tuple[int, ...] = (),
) -> None:
    """Labels row by row as the frames; `change` spoils a shard's rows, `reject` sets some aside."""
    manifest = Manifest(root)
    for entry in manifest.entries(FRAMES):
        table = manifest.reader(entry.rows).table(["frame_id"])
        rows = [label_row(key) for key in table.column(0).to_pylist()]
        shard = Shard(table=f"labels/{teacher}", number=entry.shard.number)
        with (
            manifest.writer(shard.table, LABELS, {}) as writer,
            manifest.writer(quarantine_table(shard.table), QUARANTINE, {}) as rejected,
        ):
            for i, row in enumerate(change(entry.shard.number, rows)):
                if i in reject:
                    key = row["frame_id"]
                    rejected.add({"sample_id": key, "frame_id": key, "reason": "bad_output"})
                else:
                    writer.add(row)
            writer.close()
            rejected.close()
            manifest.commit(shard, writer, rejected, about={}, counts={}, seconds=0.0)
