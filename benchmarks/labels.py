"""A student step with labels from shards beside one that labels on line with a same-size teacher.

python -m nightrain.benchmarks.labels DATASET [--labels FOLDER] [--recipe FOLDER ...]
    [--network world | dinov2-small] [--batch 8] [--steps 4] [--repeats 5] [--plain] [--json]

Each arm reads its own batches (the same samples in the same order, no workers), steps forward,
backward and with AdamW. The arms take turns, so that whatever else the machine does falls on all of
them; the middle ratio of the turns counts. Weights are random: how long a step takes does not
depend on them. On line means at the size of the losses, in batches:

    depth alone        one forward pass of the teacher on the clear pictures
    with confidence    what `nightrain label` makes: the mirrored pictures, too, and whether the
                       neighbours are explained

`--plain` leaves out the reliability mask and the semantic loss, with its frozen encoder.
"""

import argparse
import dataclasses
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from nightrain.benchmarks.report import Figure, print_figures
from nightrain.datasets.loader.config import TrainingSetConfig
from nightrain.datasets.loader.loader import TrainingSet, make_loader
from nightrain.depthmodel.config import DepthConfig, EncoderConfig
from nightrain.depthmodel.decoder_config import DptConfig
from nightrain.depthmodel.evaluation.confidence import (
    SourceView,
    flip_confidence,
    photometric_confidence,
)
from nightrain.depthmodel.network.model import DepthModel
from nightrain.depthmodel.roles.objective import SIDES, Batch
from nightrain.depthmodel.roles.student import StudentObjective, StudentRole
from nightrain.depthmodel.training.distillation_presets import world_student, world_teacher
from nightrain.depthmodel.training.optimiser import make_optimizer
from nightrain.depthmodel.training.trainer import batches
from nightrain.pipelines.depth.train_job import only_labels, recipe_folder

SEED = 0
AFTER_WARM_UP = 1  # epoch from which the mask is on
LabelOnLine = Callable[[DepthModel, Batch], Batch]


def dinov2_small() -> DepthConfig:
    """ViT-S/14 with the DPT head of Depth Anything's ViT-S."""
    decoder = DptConfig(
        reassemble_channels=(48, 96, 192, 384), fusion_channels=64, head_channels=32, detail="full"
    )
    encoder = EncoderConfig(kind="dinov2", size="small")
    return DepthConfig(encoder=encoder, decoder=decoder, input_size=(518, 518))


# By name: the network and the size (width, height) of the losses.
NETWORKS = {
    "world": (world_student().model, (192, 112)),
    "dinov2-small": (dinov2_small(), (320, 320)),
}


class Arm:
    """A student and where its labels come from."""

    def __init__(
        self,
        root: Path,
        data: TrainingSetConfig,
        student: StudentObjective,
        batch_size: int,
        label: Callable[[Batch], Batch],
    ) -> None:
        samples = TrainingSet(root, data)
        sampler = samples.sampler(SEED)
        loader = make_loader(samples, sampler, batch_size)
        self._batches = batches(loader, sampler, batch_size)
        self._student, self._label = student.train(), label
        optimiser = world_teacher().optimiser
        self._parameters = [p for group in student.groups().values() for p in group]
        self._optimizer = make_optimizer(student.groups(), optimiser)

    def seconds(self, num_steps: int) -> tuple[float, float]:
        """Seconds per step by the clock and of CPU time of this process."""
        started, cpu_started = time.perf_counter(), time.process_time()
        for _ in range(num_steps):
            batch = self._label(next(self._batches))
            loss = self._student(batch, AFTER_WARM_UP)
            loss.values(batch["sample_id"])
            self._optimizer.zero_grad(set_to_none=True)
            loss.total.backward()
            torch.nn.utils.clip_grad_norm_(self._parameters, 1.0)
            self._optimizer.step()
        return (
            (time.perf_counter() - started) / num_steps,
            (time.process_time() - cpu_started) / num_steps,
        )


@torch.no_grad()
def depth_alone(teacher: DepthModel, batch: Batch) -> Batch:
    """The batch with the teacher's depth (B, h, w) in metres, trusted everywhere."""
    depth_m = _depth_m(teacher, batch["clear_image"], batch["target"].shape[-2:])
    return batch | {"label_depth_m": depth_m, "label_confidence": torch.ones_like(depth_m)}


@torch.no_grad()
def with_confidence(teacher: DepthModel, batch: Batch) -> Batch:
    """The batch with the teacher's depth and its confidence by flip and by the neighbours."""
    clear, size = batch["clear_image"], batch["target"].shape[-2:]
    depth_m = _depth_m(teacher, clear, size)
    mirrored_m = _depth_m(teacher, clear.flip(-1), size)
    pictures = {name: _uint8(batch[name]) for name in ("target", *SIDES)}
    geometry = {name: values.numpy() for name, values in batch.items() if _is_geometry(name)}
    confidence = []
    for i, (depth, mirrored) in enumerate(zip(depth_m.numpy(), mirrored_m.numpy(), strict=True)):
        views = [
            SourceView(
                image=pictures[side][i],
                intrinsics=geometry[f"{side}_intrinsics"][i],
                T_view_camera=geometry[f"T_{side}_camera"][i],
            )
            for side in SIDES
            if batch[f"has_{side}"][i]
        ]
        seen = photometric_confidence(
            pictures["target"][i], depth, geometry["intrinsics"][i], views
        )
        confidence.append(flip_confidence(depth, mirrored) * seen)
    stacked = torch.from_numpy(np.stack(confidence).astype(np.float32))
    return batch | {"label_depth_m": depth_m, "label_confidence": stacked}


def measure(
    root: Path,
    data: TrainingSetConfig,
    student: StudentRole,
    model: DepthConfig,
    args: argparse.Namespace,
) -> list[Figure]:
    """Seconds of a step by arm, then the ratios to the step with labels from shards."""
    torch.manual_seed(SEED)
    teacher = DepthModel(model).eval().requires_grad_(False)
    on_line = data.model_copy(update={"labels": None})

    def arm(data: TrainingSetConfig, label: Callable[[Batch], Batch]) -> Arm:
        reference = teacher if student.loss.semantic else None
        return Arm(root, data, StudentObjective(model, student, reference), args.batch, label)

    arms = {
        "from shards": arm(data, lambda batch: batch),
        "on line, depth alone": arm(on_line, lambda batch: depth_alone(teacher, batch)),
        "on line, with confidence": arm(on_line, lambda batch: with_confidence(teacher, batch)),
    }
    for one in arms.values():  # files are checked and opened, memory is taken
        one.seconds(1)
    turns = [
        {name: one.seconds(args.steps) for name, one in arms.items()} for _ in range(args.repeats)
    ]
    figures = [
        Figure(f"labels {name}", statistics.median(t[name][0] for t in turns), "s/step", "")
        for name in arms
    ]
    first, *others = arms
    for name in others:
        by_clock = [t[name][0] / t[first][0] for t in turns]
        by_cpu = [t[name][1] / t[first][1] for t in turns]
        wanted = "at least 2" if name.endswith("with confidence") else ""
        figures += [
            Figure(f"{name} / from shards", statistics.median(by_clock), "", wanted),
            Figure(f"lowest of {args.repeats}", min(by_clock), "", ""),
            Figure("highest", max(by_clock), "", ""),
            Figure("by CPU time", statistics.median(by_cpu), "", ""),
        ]
    return figures


def _depth_m(teacher: DepthModel, image: torch.Tensor, size: torch.Size) -> torch.Tensor:
    """Depth (B, h, w) in metres at the size of the losses."""
    inverse_depth = teacher(image).inverse_depth
    return F.interpolate(inverse_depth, size, mode="bilinear", align_corners=False)[
        :, 0
    ].reciprocal()


def _uint8(image: torch.Tensor) -> np.ndarray:
    """Pictures (B, 3, h, w) in [0, 1] as (B, h, w, 3) uint8."""
    return (image * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()


def _is_geometry(name: str) -> bool:
    return name.endswith("intrinsics") or name.startswith("T_")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--labels", help="folder below labels/; not needed where there is one")
    parser.add_argument("--recipe", action="append", default=[])
    parser.add_argument("--network", choices=tuple(NETWORKS), default="world")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=4, help="of an arm in each turn")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--plain", action="store_true", help="distillation alone")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    preset = world_student()
    assert isinstance(preset.role, StudentRole)
    model, loss_size = NETWORKS[args.network]
    student = preset.role
    if args.plain:
        loss = dataclasses.replace(student.loss, semantic=0.0, mask_mode="none")
        student = student.model_copy(update={"loss": loss})
    data = preset.data.model_copy(
        update={
            "input_size": model.input_size,
            "loss_size": loss_size,
            "labels": args.labels or only_labels(args.dataset),
            "recipes": tuple(recipe_folder(args.dataset, name) for name in args.recipe),
        }
    )
    figures = measure(args.dataset, data, student, model, args)
    what = "distillation alone" if args.plain else "all losses"
    title = f"student step, {args.network}, batch {args.batch}, {what}"
    print_figures(title, figures, args.json)


if __name__ == "__main__":
    main()
