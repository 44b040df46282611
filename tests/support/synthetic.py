"""A source of small frames with exact depth, and what tests need to run jobs on them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import DamagedInput, Reason
from nightrain.datasets.frame import Frame, FrameRef
from nightrain.datasets.ids import frame_id
from nightrain.datasets.io.images import JpegImage, encode_jpeg
from nightrain.datasets.shards.manifest import Manifest
from nightrain.datasets.shards.parquet import Row
from nightrain.datasets.sources.base import FrameSource
from nightrain.pipelines.engines.base import HostEngine, Request, Variant
from nightrain.pipelines.ingest.ingest_shard import ingest_work, plan_ingest
from nightrain.pipelines.recipes.recipe import Recipe, SeverityRange
from nightrain.pipelines.runs.executors import SerialExecutor
from nightrain.pipelines.runs.run import RunReport, run
from nightrain.pipelines.runs.stop import Stop

SIZE = (64, 40)  # (width, height)
INTRINSICS = np.array([[50.0, 0.0, 31.5], [0.0, 50.0, 19.5], [0.0, 0.0, 1.0]])


@dataclass(frozen=True)
class SyntheticSource(FrameSource):
    """Frames of a ground plane before a sky; `damaged` ones raise as a broken file would."""

    num_frames: int
    split: str = "train"
    condition: Condition = Condition.CLEAR
    damaged: frozenset[int] = frozenset()
    name: str = "synthetic"
    licence: str = "Apache-2.0"
    attribution: str = "Made for tests."

    def select(self, split: str) -> Sequence[FrameRef]:
        return [self.ref(i) for i in range(self.num_frames)]

    def ref(self, index: int) -> FrameRef:
        return FrameRef(
            frame_id=frame_id(self.name, f"{self.split}-{index}"),
            source_id=str(index),
            split=self.split,
            scene_id=f"scene-{index // 4:04d}",
            camera="CAM_FRONT",
            condition=self.condition,
            timestamp_us=1_000_000 * index,
        )

    def load(self, ref: FrameRef) -> Frame:
        if int(ref.source_id) in self.damaged:
            raise DamagedInput(Reason.UNDECODABLE_IMAGE, f"frame {ref.source_id} is damaged")
        depth_m = ground_depth_m()
        return Frame(
            frame_id=ref.frame_id,
            source_dataset=self.name,
            source_id=ref.source_id,
            split=ref.split,
            scene_id=ref.scene_id,
            description="synthetic",
            camera=ref.camera,
            condition=ref.condition,
            timestamp_us=ref.timestamp_us,
            image=JpegImage(encode_jpeg(picture(int(ref.source_id)))),
            intrinsics=INTRINSICS,
            T_world_camera=np.eye(4),
            T_ego_camera=np.eye(4),
            lidar_depth_m=np.where(np.isfinite(depth_m), depth_m, 0).astype(np.float32),
            exact_depth_m=np.where(np.isfinite(depth_m), depth_m, 0).astype(np.float32),
        )


def ground_depth_m() -> np.ndarray:
    """Depth (H, W) of a plane 1.5 m below a level camera; inf above the horizon."""
    rows = np.arange(SIZE[1], dtype=np.float64) - INTRINSICS[1, 2]
    with np.errstate(divide="ignore"):
        column = np.where(rows > 0.5, 1.5 * INTRINSICS[1, 1] / np.maximum(rows, 0.5), np.inf)
    return np.repeat(column[:, None], SIZE[0], axis=1).astype(np.float32)


def picture(seed: int) -> np.ndarray:
    """A smooth random picture (H, W, 3) uint8."""
    coarse = np.random.default_rng(seed).integers(40, 220, (5, 8, 3))
    return np.kron(coarse, np.ones((8, 8, 1))).astype(np.uint8)


def ingest_synthetic(root: Path, source: FrameSource, frames_per_shard: int = 4) -> RunReport:
    root.mkdir(parents=True, exist_ok=True)
    refs = source.select("all")
    plan = plan_ingest(root, source, refs, {}, frames_per_shard=frames_per_shard)
    shards, work = ingest_work(root, source, refs, plan)
    stop = Stop()
    return run(root, shards, work, executor=SerialExecutor(stop), stop=stop)


def recipe(*conditions: Condition, **changes: object) -> Recipe:
    """A recipe with exact depth at the frames' own size."""
    wanted = conditions or (Condition.NIGHT, Condition.FOG)
    values: dict[str, object] = {
        "name": "test",
        "conditions": {c: SeverityRange(lowest=0.2, highest=0.8) for c in wanted},
        "depth": "exact",
        "batch_size": 3,
        "engine_versions": dict.fromkeys(wanted, "1"),
    }
    return Recipe.model_validate(values | changes)


@dataclass
class TintEngine(HostEngine):
    """An engine whose output is a pure function of the request, and that can be told to fail."""

    fail_on: set[str] = field(default_factory=set)
    calls: list[list[str]] = field(default_factory=list)

    def generate(self, requests: Sequence[Request]) -> list[Variant]:
        self.calls.append([r.sample_id for r in requests])
        if bad := [r.sample_id for r in requests if r.sample_id in self.fail_on]:
            raise RuntimeError(f"cannot make {bad}")
        return [self._variant(r) for r in requests]

    def _variant(self, request: Request) -> Variant:
        noise = np.random.default_rng(request.seed).integers(0, 8, request.image.shape)
        image = (request.image * (1.0 - request.severity) + noise).astype(np.uint8)
        return Variant(image=image, physical={"visibility_m": 100.0 * (1.0 - request.severity)})


def all_rows(root: Path, prefix: str = "variants") -> dict[str, Row]:
    """Committed rows by key, without timing columns; fails on a key that is there twice."""
    from nightrain.datasets.shards.schema import TIMING_COLUMNS

    manifest, rows = Manifest(root), {}
    for table in manifest.tables(prefix):
        for entry in manifest.entries(table):
            for row in manifest.reader(entry.rows).rows():
                key = next(iter(row.values()))
                assert key not in rows, f"{key} is there twice"
                rows[key] = {k: v for k, v in row.items() if k not in TIMING_COLUMNS}
    return rows


def variant_row(index: int, num_bytes: int = 3000) -> Row:
    data = np.random.default_rng(index).bytes(num_bytes)
    return {
        "sample_id": f"{index:020x}",
        "frame_id": f"{index:020x}",
        "condition": "night",
        "image": {"bytes": data, "path": f"{index}.jpg"},
        "intrinsics": [float(index)] * 9,
        "physical": {"visibility_m": 3.0},
        "seed": index,
    }
