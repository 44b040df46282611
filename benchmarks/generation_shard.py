"""Whole way of the generation benchmark: frames of a shard in, rows of a variant shard out.

Frames are JPEG images, 1600 pixels wide as those of nuScenes, with LiDAR points of a flat road.
Reading, preparing, depth completion, control images, gates, JPEG and Parquet are those of
`nightrain generate`.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from nightrain.benchmarks.generation_measure import Workload, engine_with
from nightrain.datasets.conditions import Condition
from nightrain.datasets.frame import Frame
from nightrain.datasets.ids import frame_id
from nightrain.datasets.io.images import JpegImage, encode_jpeg
from nightrain.datasets.shards.manifest import FRAMES, Manifest, Shard
from nightrain.datasets.shards.parquet import Row
from nightrain.datasets.shards.rows import frame_to_row
from nightrain.datasets.shards.schema import FRAMES as FRAMES_SCHEMA
from nightrain.datasets.shards.transaction import make_shard
from nightrain.pipelines.engines.diffusion.models.loading import Models
from nightrain.pipelines.engines.diffusion.models.settings import DiffusionSettings
from nightrain.pipelines.generate.variant_shard import GenerateShard
from nightrain.pipelines.recipes.recipe import Recipe, SeverityRange

FRAME_WIDTH, CAMERA_HEIGHT_M = 1600, 1.5
FOCAL = 0.79  # image widths
NUM_POINTS = 3000  # LiDAR points in an image
NUM_PICTURES = 8  # different images; frames differ in their intrinsics, too


class ShardBatches:
    """Generates shards of variants from shards of frames below a folder."""

    def __init__(
        self, models: Models, settings: DiffusionSettings, load: Workload, root: Path
    ) -> None:
        self._engine, self._load = engine_with(models, settings, load), load
        self._manifest, self._number = Manifest(root), 0
        width, _ = load.size
        self._recipe = Recipe(
            name="benchmark",
            engine=settings.model_copy(update={"generation_width": width}),
            conditions={Condition.NIGHT: SeverityRange()},
            size=width,
            batch_size=load.batch,
        )
        height = round(load.size[1] * FRAME_WIDTH / width)  # so that variants have the load's size
        self._pictures = [_row(number, height) for number in range(NUM_PICTURES)]

    def __call__(self, num_batches: int) -> list[float]:
        """Make a shard of so many batches; return when each was written, in seconds."""
        self._number += 1
        rows = list(self._frames(num_batches * self._load.batch))
        frames = Shard(table=FRAMES, number=self._number)
        about = {"source": "benchmark", "split": "train", "condition": "clear"}
        make_shard(self._manifest, frames, FRAMES_SCHEMA, about, lambda _: rows)
        written_s: list[float] = []
        shard = Shard(table=self._recipe.table(Condition.NIGHT), number=self._number)
        work = GenerateShard(self._manifest.root, self._recipe, self._engine)
        report = work(shard, lambda count: written_s.extend([time.perf_counter()] * count))
        if report.num_rows != len(rows):
            raise RuntimeError(f"{len(rows)} frames gave {report.num_rows} variants: {report}")
        return written_s[self._load.batch - 1 :: self._load.batch]

    def _frames(self, count: int) -> Iterator[Row]:
        """Rows of frames, each with intrinsics of its own, so that each is prepared."""
        for index in range(count):
            name = frame_id("benchmark", f"{self._number}-{index}")
            row = dict(self._pictures[index % NUM_PICTURES])
            intrinsics = list(row["intrinsics"])
            intrinsics[2] += 1e-6 * (index + 1)
            yield row | {"frame_id": name, "source_id": name, "intrinsics": intrinsics}


def _row(number: int, height: int) -> Row:
    width, focal_px, rng = FRAME_WIDTH, FOCAL * FRAME_WIDTH, np.random.default_rng(number)
    blocks = rng.integers(0, 256, (height // 20 + 1, width // 20, 3), np.uint8)
    image = blocks.repeat(20, axis=0).repeat(20, axis=1)[:height]
    centre = ((width - 1) / 2, (height - 1) / 2)
    frame = Frame(
        frame_id=str(number),
        source_dataset="benchmark",
        source_id=str(number),
        split="train",
        scene_id="scene-0001",
        description="A street with cars",
        camera="CAM_FRONT",
        condition=Condition.CLEAR,
        timestamp_us=number,
        image=JpegImage(encode_jpeg(image)),
        intrinsics=np.array([[focal_px, 0, centre[0]], [0, focal_px, centre[1]], [0, 0, 1]]),
        T_world_camera=np.eye(4),
        lidar_depth_m=_road_points(height, rng),
    )
    return frame_to_row(frame, "Apache-2.0", "Random frames of a benchmark.")


def _road_points(height: int, rng: np.random.Generator) -> np.ndarray:
    """Depth (H, W) float32 in metres of points on a flat road, 0 elsewhere."""
    depth_m = np.zeros((height, FRAME_WIDTH), np.float32)
    scale = FOCAL * FRAME_WIDTH * CAMERA_HEIGHT_M  # pixels below the horizon x metres
    below_px = scale / rng.uniform(3, 80, NUM_POINTS)
    rows = np.minimum(np.rint((height - 1) / 2 + below_px).astype(int), height - 1)
    columns = rng.integers(0, FRAME_WIDTH, NUM_POINTS)
    depth_m[rows, columns] = scale / (rows - (height - 1) / 2)
    return depth_m
