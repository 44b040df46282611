"""Stored labels: time of a student step with them, against labelling online with the teacher.

    python -m nightrain.benchmarks.labels DATASET [--labels FOLDER] [--recipe NAME ...]
        [--network world | dinov2-small] [--batch 8] [--steps 4] [--repeats 5] [--plain] [--json]

Each arm loads its own batches (the same samples in the same order, no worker processes) and runs
forward, backward and AdamW. The arms take turns, so that other load on the machine affects all of
them alike; the median ratio over the turns is the result. Weights are random, because the time of a
step does not depend on them. The teacher has the student's architecture. Online labels are made per
batch, at the size of the losses:

    depth alone        one forward pass of the teacher on the clear images
    with confidence    the labels of `nightrain label`: also a pass on the flipped images and the
                       photometric check against the neighbouring frames

`--plain` trains without the reliability mask and without the semantic loss and its frozen encoder.
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
from nightrain.pipelines.depth.train_job import labels_folder, variant_folders

SEED = 0
AFTER_WARM_UP = 1  # epoch from which the mask is on
LabelOnLine = Callable[[DepthModel, Batch], Batch]


def dinov2_small() -> DepthConfig:
    """ViT-S/14 encoder with the DPT head of Depth Anything's ViT-S."""
    decoder = DptConfig(
        reassemble_channels=(48, 96, 192, 384), fusion_channels=64, head_channels=32, detail="full"
    )
    encoder = EncoderConfig(kind="dinov2", size="small")
    return DepthConfig(encoder=encoder, decoder=decoder, input_size=(518, 518))


# Network and size (width, height) of the losses, by name.
NETWORKS = {
    "world": (world_student().model, (192, 112)),
    "dinov2-small": (dinov2_small(), (320, 320)),
}


class Arm:
    """Arm of the comparison: a student with one source of labels."""

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
        """Return the wall time and this process's CPU time per step, in seconds."""
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
    """Add the teacher's depth (B, h, w) in metres to a batch, with confidence 1 everywhere."""
    depth_m = _depth_m(teacher, batch["clear_image"], batch["target"].shape[-2:])
    return batch | {"label_depth_m": depth_m, "label_confidence": torch.ones_like(depth_m)}


@torch.no_grad()
def with_confidence(teacher: DepthModel, batch: Batch) -> Batch:
    """Add the teacher's depth, and its flip and photometric confidence, to a batch."""
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
    """Measure the time of a step of each arm, and its ratio to the step with stored labels."""
    torch.manual_seed(SEED)
    teacher = DepthModel(model).eval().requires_grad_(False)
    on_line = data.model_copy(update={"labels": None})

    def arm(data: TrainingSetConfig, label: Callable[[Batch], Batch]) -> Arm:
        reference = teacher if student.loss.semantic else None
        return Arm(root, data, StudentObjective(model, student, reference), args.batch, label)

    arms = {
        "from shards": arm(data, lambda batch: batch),
        "online, depth alone": arm(on_line, lambda batch: depth_alone(teacher, batch)),
        "online, with confidence": arm(on_line, lambda batch: with_confidence(teacher, batch)),
    }
    for one in arms.values():  # warm-up: opens and checks files, allocates memory
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
            Figure(f"{name} / from shards, wall time", statistics.median(by_clock), "", wanted),
            Figure(f"{name}: lowest of {args.repeats} turns", min(by_clock), "", ""),
            Figure(f"{name}: highest", max(by_clock), "", ""),
            Figure(f"{name} / from shards, CPU time", statistics.median(by_cpu), "", ""),
        ]
    return figures


def _depth_m(teacher: DepthModel, image: torch.Tensor, size: torch.Size) -> torch.Tensor:
    """Return the teacher's depth (B, h, w) in metres, resized to `size`."""
    inverse_depth = teacher(image).inverse_depth
    return F.interpolate(inverse_depth, size, mode="bilinear", align_corners=False)[
        :, 0
    ].reciprocal()


def _uint8(image: torch.Tensor) -> np.ndarray:
    """Convert images (B, 3, h, w) in [0, 1] to (B, h, w, 3) uint8."""
    return (image * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()


def _is_geometry(name: str) -> bool:
    return name.endswith("intrinsics") or name.startswith("T_")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--labels", help="folder below labels/ (default: the only one)")
    parser.add_argument("--recipe", action="append", default=[], help="recipe, by name or hash")
    parser.add_argument("--network", choices=tuple(NETWORKS), default="world")
    parser.add_argument("--batch", type=int, default=8, help="batch size")
    parser.add_argument("--steps", type=int, default=4, help="steps per arm and turn")
    parser.add_argument("--repeats", type=int, default=5, help="number of turns")
    parser.add_argument("--plain", action="store_true", help="distillation loss only")
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
            "labels": labels_folder(args.dataset, args.labels),
            "recipes": tuple(
                f for name in args.recipe for f in variant_folders(args.dataset, name)
            ),
        }
    )
    figures = measure(args.dataset, data, student, model, args)
    what = "distillation only" if args.plain else "all losses"
    title = f"student step, {args.network}, batch {args.batch}, {what}"
    print_figures(title, figures, args.json)


if __name__ == "__main__":
    main()
