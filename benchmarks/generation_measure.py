"""Measurement of the generation benchmark: rates, idle share of the device, FLOP and PSNR."""

import io
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch._dynamo.utils import counters
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from nightrain.datasets.conditions import Condition
from nightrain.pipelines.engines.base import Request, Variant
from nightrain.pipelines.engines.diffusion.engine import DiffusionEngine
from nightrain.pipelines.engines.diffusion.models.loading import Models
from nightrain.pipelines.engines.diffusion.models.settings import DiffusionSettings
from nightrain.pipelines.runs.overlap import overlapped

PROMPT = "At night, a street with cars"
COMPARED = 4  # images of a lossy line that are compared with exact ones
LEAST_BATCHES = 3  # the first and the last do not count
Spans = Sequence[tuple[float, float]]  # start and end of each kernel


@dataclass(frozen=True)
class Workload:
    """What every line generates."""

    size: tuple[int, int]  # (width, height)
    batch: int
    num_batches: int
    device: torch.device


@dataclass(frozen=True)
class Line:
    """One measured line of the table; None where a figure does not apply."""

    name: str
    images_per_s: float
    ratio: float  # speed-up over the naive loop
    tflop_per_image: float | None = None  # counted
    utilisation: float | None = None  # of the FLOP/s of a large matrix product
    peak_gib: float | None = None
    idle_share: float | None = None  # of the device
    compile_s: float | None = None  # time of the first batch minus that of a later one
    graphs: int = 0  # that were compiled for this line
    made_again: int = 0  # images with a defect, which the engine generated twice
    psnr_db: float | None = None  # against exact images with equal seeds


Batches = Callable[[int], list[float]]  # runs so many batches; returns when each was complete, s


class EngineBatches:
    """Runs the engine on batches in memory: prompts and controls in, JPEG bytes out."""

    def __init__(self, models: Models, settings: DiffusionSettings, load: Workload) -> None:
        self.engine = engine_with(models, settings, load)
        self.load = load
        self.made_again = 0

    def __call__(self, num_batches: int) -> list[float]:
        """Run batches; return when each was complete, in seconds."""
        size = self.load.batch
        batches = overlapped(
            range(num_batches),
            prepare=lambda n: self.engine.embed(requests(self.load, n * size, size)),
            begin=lambda embedded: self.engine.begin(embedded, size),
            finish=self.engine.finish,
            complete=self._encode,
        )
        return [time.perf_counter() for _ in batches]

    def _encode(self, outcomes: Sequence[Any]) -> None:
        for variant in variants(outcomes):
            encoded(variant.image, "JPEG")
            self.made_again += "made_again" in variant.provenance


def engine_with(models: Models, settings: DiffusionSettings, load: Workload) -> DiffusionEngine:
    """Engine on models that are loaded already."""
    engine = DiffusionEngine(settings, device=str(load.device), offline=True, batch_size=load.batch)
    engine.models = models
    return engine


def requests(load: Workload, first: int, count: int) -> list[Request]:
    """Requests of numbers from `first` on; equal numbers have equal bytes."""
    width, height = load.size
    clear = np.zeros((height, width, 3), np.uint8)
    return [
        Request(
            sample_id=f"sample-{number}",
            image=clear,
            depth_m=None,
            intrinsics=np.eye(3),
            condition=Condition.NIGHT,
            severity=0.5,
            seed=number,
            prompt=f"{PROMPT} {number}",
            control_images=(picture(number, load.size),),
        )
        for number in range(first, first + count)
    ]


def picture(number: int, size: tuple[int, int]) -> np.ndarray:
    """Random control image (H, W, 3) uint8."""
    rng = np.random.default_rng(number)
    return rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)


def variants(outcomes: Iterable[Any]) -> Iterator[Variant]:
    """Yield the variants; raises what the engine returned instead of one."""
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome
        yield outcome


def encoded(image: np.ndarray, kind: str) -> int:
    """Encode an image as JPEG of quality 95 or as PNG; return the number of bytes."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, **({"quality": 95} if kind == "JPEG" else {}))
    return buffer.tell()


@dataclass(frozen=True)
class Rate:
    """Measured rate of batches, without the first and the last."""

    images_per_s: float
    peak_gib: float | None
    idle_share: float | None
    compile_s: float
    graphs: int


def measure(run: Batches, load: Workload) -> Rate:
    """Measure a rate after one batch of warm-up, which compiles."""
    graphs = compiled_graphs()
    first_s = seconds(lambda: run(1), load.device)
    cuda = load.device.type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats(load.device)
    with kernels(load.device) as spans:
        done_s = run(load.num_batches)
    batch_s = (done_s[-2] - done_s[0]) / (load.num_batches - 2)
    return Rate(
        images_per_s=load.batch / batch_s,
        peak_gib=torch.cuda.max_memory_allocated(load.device) / 2**30 if cuda else None,
        idle_share=idle_share(spans, load.num_batches) if cuda else None,
        compile_s=max(0.0, first_s - batch_s),
        graphs=compiled_graphs() - graphs,
    )


def compiled_graphs() -> int:
    """Number of graphs that torch.compile has traced in this process."""
    return counters["stats"]["unique_graphs"]


@contextmanager
def kernels(device: torch.device) -> Iterator[list[tuple[float, float]]]:
    """Record the block's kernels: start and end of each in nanoseconds, after the block."""
    spans: list[tuple[float, float]] = []
    if device.type != "cuda":
        yield spans
        return
    with profile(activities=[ProfilerActivity.CUDA]) as trace:
        yield spans
        torch.cuda.synchronize(device)
    results: Any = trace.profiler
    for event in results.kineto_results.events():  # `trace.events()` is slow: 0.1 ms for each
        if "CUDA" in str(event.device_type()) and not event.is_user_annotation():
            spans.append((event.start_ns(), event.start_ns() + event.duration_ns()))


def idle_share(spans: Spans, num_batches: int) -> float:
    """Share of the time in which no kernel runs, in the batches between the first and the last.

    All batches have equally many kernels, so an equal share is dropped at both ends.
    """
    in_order = sorted(spans)
    ends = len(in_order) // num_batches
    inner = in_order[ends : len(in_order) - ends]
    if not inner:
        return 1.0
    busy, reached = 0.0, inner[0][0]
    for start, end in inner:
        busy += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return 1 - busy / (reached - inner[0][0])


def flops_per_image(models: Models, settings: DiffusionSettings, load: Workload) -> float:
    """2 x multiply-adds of one image, counted on networks that are not compiled."""
    engine = engine_with(models, settings.model_copy(update={"compile": "off"}), load)
    with FlopCounterMode(display=False) as counter:
        engine.finish(engine.begin(engine.embed(requests(load, 0, 1)), 1))
    return counter.get_total_flops()


def plain_images(models: Models, settings: DiffusionSettings, load: Workload) -> np.ndarray:
    """Images (B, H, W, 3) of the first requests, not compiled."""
    engine = engine_with(models, settings.model_copy(update={"compile": "off"}), load)
    begun = engine.begin(engine.embed(requests(load, 0, COMPARED)), COMPARED)
    return np.stack([variant.image for variant in variants(engine.finish(begun))])


def psnr_db(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio of two batches of uint8 images, decibels."""
    mean_square = float(((a.astype(np.float64) - b) ** 2).mean())
    return 10 * np.log10(255**2 / mean_square) if mean_square else float("inf")


def peak_flops(device: torch.device, repeats: int = 20) -> float:
    """FLOP/s of a large matrix product in the precision of the engine."""
    cuda = device.type == "cuda"
    side, dtype = (8192, torch.bfloat16) if cuda else (256, torch.float32)
    a = torch.randn(side, side, device=device, dtype=dtype)

    def products() -> None:
        for _ in range(repeats):
            torch.matmul(a, a)

    products()  # warm-up
    return 2 * side**3 * repeats / min(seconds(products, device) for _ in range(3))


def seconds(run: Callable[[], object], device: torch.device) -> float:
    """Wall time of a call, the device's work included."""
    synchronise = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    synchronise()
    started = time.perf_counter()
    run()
    synchronise()
    return time.perf_counter() - started
