"""Trainer: the state of a run between steps (networks, optimiser, average, data position)."""

import logging
import threading
import time
from collections.abc import Iterator
from itertools import islice
from math import isfinite
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator
from torch import nn

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.loader.loader import TrainingLoader, TrainingSet, make_loader
from nightrain.datasets.loader.packing import as_float
from nightrain.datasets.loader.sampler import ResumableSampler
from nightrain.depthmodel.losses.weighted_sum import NonFiniteLoss
from nightrain.depthmodel.roles.objective import Batch
from nightrain.depthmodel.training.checkpoint import (
    Checkpoint,
    checkpoints,
    load_checkpoint,
    load_optimizer_tensors,
    optimizer_tensors,
    save_checkpoint,
)
from nightrain.depthmodel.training.config import TrainConfig
from nightrain.depthmodel.training.metrics_log import Means, MetricsLog
from nightrain.depthmodel.training.optimiser import make_average, make_optimizer, set_rate
from nightrain.depthmodel.training.sample_sheet import write_sample_sheet
from nightrain.depthmodel.training.trackers import finish_trackers, log_to_trackers, start_trackers

NUM_SAMPLES = 4
CALIBRATION_BATCHES = 16  # for the feature statistics of a new restoration

logger = logging.getLogger(__name__)


class Trainer:
    """One optimiser step at a time; resumes from the run's last checkpoint.

    Raises InvalidRequest, CorruptShard.
    """

    def __init__(
        self, config: TrainConfig, dataset: Path, run: Path, accelerator: Accelerator
    ) -> None:
        self.config, self.run, self.accelerator = config, run, accelerator
        self.step, self._saved_step, self.means = 0, -1, Means()
        self.loss: float | None = None  # of the last step of this process
        seed_torch(config.seed, 0)
        self.objective = config.objective()
        groups = self.objective.groups()
        self.optimizer = make_optimizer(groups, config.optimiser)
        self._parameters = [p for group in groups.values() for p in group]
        self.data = data = TrainingSet(dataset, config.data)
        if number := data.index.num_uncontrolled:
            logger.warning(
                "%d variants are not trained on, because no control kept the geometry of their "
                "frame (column `controlled`); --include-uncontrolled adds them",
                number,
            )
        if number := data.index.num_reviewed_out:
            logger.warning("%d variants are not trained on, because people rejected them", number)
        if data.index.labels is not None and config.data.labels is not None:
            config.role.check_labels(config.data.labels, data.index.labels)
        rank, ranks = accelerator.process_index, accelerator.num_processes
        self.sampler = data.sampler(config.seed, rank=rank, world_size=ranks)
        if len(self.sampler) < config.batch_size:
            raise InvalidRequest(
                f"found {len(self.sampler)} samples for each of {ranks} processes, expected at "
                f"least a batch of {config.batch_size}: reduce batch_size, or add frames."
            )
        self._loader = make_loader(
            data,
            self.sampler,
            config.batch_size,
            num_workers=config.num_workers,
            start_method=_start_method(accelerator.device),
            pin_memory=accelerator.device.type == "cuda",
        )
        self.objective.to(accelerator.device)
        if not checkpoints(run / "checkpoints"):
            self.objective.eval().calibrate(self._first_batches())
        trained, decay = self.objective.trained, config.average_decay
        self.average = None if decay is None else make_average(trained, decay)
        self._resume()
        self._module, self.optimizer = self._prepared()
        main = accelerator.is_main_process
        self._log = MetricsLog(run, first_step=self.step) if main else None
        start_trackers(accelerator, config, run, self.step)
        self._batches = batches(
            self._loader, self.sampler, config.batch_size * ranks, accelerator.device
        )
        self._since = time.perf_counter(), self.step

    def do_step(self) -> None:
        """Take one optimiser step; raises NonFiniteLoss before the weights are changed."""
        config = self.config
        batch = next(self._batches)
        seed_torch(config.seed, 1 + self.step, self.accelerator.process_index)
        set_rate(self.optimizer, config.optimiser.rate(self.step, config.num_steps))
        self._module.train()
        with self.accelerator.autocast():
            loss = self._module(batch, self._epoch)
        values = loss.values(batch["sample_id"])
        self.optimizer.zero_grad(set_to_none=True)
        self.accelerator.backward(loss.total)
        norm = self.accelerator.clip_grad_norm_(self._parameters, config.optimiser.clip_norm)
        values["gradient_norm"] = float(norm if norm is not None else 0.0)
        if not isfinite(values["gradient_norm"]):
            raise NonFiniteLoss(_gradient_message(values, batch["sample_id"]))
        self.optimizer.step()
        self.step += 1
        if self.average is not None:
            self.average.update_parameters(self.objective.trained)
        self.means.add(values)
        self.loss = values["loss"]
        if self.step % config.report_every == 0 or self.step == config.num_steps:
            self._report()
        if config.pictures_every and self.step % config.pictures_every == 0:
            self._write_sample_sheet(batch)
        if self.step % config.checkpoint_every == 0:
            self.save()

    def close(self) -> None:
        """Close the trackers, also after a failure."""
        finish_trackers(self.accelerator)

    def save(self) -> None:
        """Write a checkpoint of this step, once and by the main process only."""
        if not self.accelerator.is_main_process or self._saved_step == self.step:
            return
        parts = {
            "networks": dict(self.objective.trained.state_dict()),
            "optimizer": optimizer_tensors(self.optimizer),
        }
        if self.average is not None:
            parts["average"] = dict(self.average.state_dict())
        facts: dict[str, Any] = {
            "sampler": self.sampler.state_dict(),
            "means": self.means.state_dict(),
        }
        save_checkpoint(self.run / "checkpoints", Checkpoint(self.step, facts, parts))
        self._saved_step = self.step

    def weights(self) -> dict[str, torch.Tensor]:
        """Weights of the finished model: the averaged ones where an average is kept."""
        if self.average is not None:
            return dict(self.average.module.state_dict())
        return dict(self.objective.trained.state_dict())

    @property
    def _epoch(self) -> int:
        return self.sampler.epoch

    def _first_batches(self) -> Iterator[Batch]:
        """Yield a few batches of the first epoch, the same in every process."""
        sampler = self.data.sampler(self.config.seed)
        loader = make_loader(self.data, sampler, self.config.batch_size)
        for batch in islice(loader, CALIBRATION_BATCHES):
            yield to_device(batch, self.accelerator.device)

    def _resume(self) -> None:
        found = checkpoints(self.run / "checkpoints")
        if not found:
            return
        before = load_checkpoint(found[-1])
        try:
            self.objective.trained.load_state_dict(before.parts["networks"])
            load_optimizer_tensors(self.optimizer, before.parts["optimizer"])
            if self.average is not None:
                self.average.load_state_dict(before.parts["average"])
            self.sampler.load_state_dict(before.facts["sampler"])
            self.means = Means(before.facts["means"])
        except (RuntimeError, KeyError, ValueError, TypeError) as error:
            raise InvalidRequest(
                f"{found[-1]} is a checkpoint of another network or optimiser: {error}. Remove it "
                "to resume from the previous one, or name another folder."
            ) from error
        self.step = self._saved_step = before.step

    def _prepared(self) -> tuple[nn.Module, Any]:
        module: nn.Module = self.objective
        if self.config.compile:
            module.compile()
        return self.accelerator.prepare(module, self.optimizer)

    def _report(self) -> None:
        """Log the means over the steps since the last report and over all processes."""
        means = _over_ranks(self.accelerator, self.means.take())
        now, (then, step) = time.perf_counter(), self._since
        samples = (self.step - step) * self.config.batch_size * self.accelerator.num_processes
        facts = {
            "epoch": float(self._epoch),
            "samples_per_s": samples / max(now - then, 1e-9),
            "lr": self.optimizer.param_groups[0]["lr"],
        }
        if self._log:
            self._log.report(self.step, means | facts)
        log_to_trackers(self.accelerator, means | facts, self.step)
        self._since = now, self.step

    def _write_sample_sheet(self, batch: Batch) -> None:
        if not self.accelerator.is_main_process:
            return
        image = batch["image"][:NUM_SAMPLES]
        model = self.objective.model
        model.eval()
        with torch.no_grad():
            depth_m = model(image).depth_m
        truth = batch.get("label_depth_m", batch.get("lidar_depth_m"))
        path = self.run / "pictures" / f"step-{self.step:07d}.png"
        write_sample_sheet(path, image, depth_m, None if truth is None else truth[:NUM_SAMPLES])


def _start_method(device: torch.device) -> Literal["fork", "spawn"]:
    """Start method of loader processes: fork is faster; CUDA and threads do not survive it."""
    return "fork" if device.type == "cpu" and threading.active_count() == 1 else "spawn"


def batches(
    loader: TrainingLoader,
    sampler: ResumableSampler,
    global_batch: int,
    device: torch.device | None = None,
) -> Iterator[Batch]:
    """Yield batches on a device (default: CPU) forever and advance the sampler with them."""
    while True:
        for batch in loader:
            sampler.advance(global_batch)
            yield to_device(batch, device or torch.device("cpu"))
        sampler.next_epoch()


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Move a batch's tensors to a device and convert its images to float32 in [0, 1]."""
    return {
        k: as_float(v.to(device, non_blocking=True)) if isinstance(v, torch.Tensor) else v
        for k, v in batch.items()
    }


def seed_torch(seed: int, *numbers: int) -> None:
    """Seed torch's generators with a hash of all numbers."""
    state = torch.Generator().initial_seed()  # a constant of torch
    for number in (seed, *numbers):
        state = (state * 6364136223846793005 + number + 1442695040888963407) % 2**63
    torch.manual_seed(state)


def _over_ranks(accelerator: Accelerator, values: dict[str, float]) -> dict[str, float]:
    """Mean of each value over all processes, which log the same names."""
    if accelerator.num_processes == 1:
        return values
    mine = torch.tensor(list(values.values()), device=accelerator.device)
    mean: Any = accelerator.reduce(mine, "mean")
    return dict(zip(values, mean.tolist(), strict=True))


def _gradient_message(values: dict[str, float], sample_ids: list[str]) -> str:
    return (
        f"the gradient's norm is {values['gradient_norm']}, of a loss of {values['loss']:g}; "
        f"samples: {', '.join(sample_ids)}. No step was taken: inspect these samples, or resume "
        "from the last checkpoint with a lower learning rate or without bfloat16"
    )
