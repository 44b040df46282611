"""The training loop: batches in, checkpoints, metrics and a model folder out.

    RUN/run.json         what was asked for; another request does not fit into the same folder
    RUN/metrics.jsonl    one line per report
    RUN/checkpoints/     the latest ones; a run goes on from the last, bit for bit on a CPU
    RUN/pictures/        what the network made of a few samples
    RUN/model/           the result, written when the last step is done; RUN/pose/ beside it

The order of samples, their augmentation and every random number of a step are functions of
(seed, step), so a run that was stopped or killed ends as one that was not.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator
from pydantic import BaseModel
from torch import nn

from datasets.errors import Refused
from datasets.loader import TrainingLoader, TrainingSet, make_loader
from datasets.sampler import ResumableSampler
from depthmodel.assemble import make_objective
from depthmodel.average import Average
from depthmodel.checkpoint import (
    Checkpoint,
    checkpoints,
    load_checkpoint,
    load_optimizer_tensors,
    optimizer_tensors,
    save_checkpoint,
)
from depthmodel.objectives import Batch
from depthmodel.optimiser import make_optimizer, set_rate
from depthmodel.pictures import write_pictures
from depthmodel.run_folder import RunFolder
from depthmodel.runlog import RunLog
from depthmodel.training_config import TrainConfig

NUM_PICTURES = 4


class TrainReport(BaseModel):
    """How a run ended; small, so that a flow may return it."""

    status: Literal["finished", "already", "stopped"]
    run: str
    step: int
    num_steps: int
    seconds: float = 0.0  # of this process
    samples_per_s: float = 0.0
    loss: float | None = None  # the last report's
    digest: str = ""  # of the finished model

    @property
    def stopped(self) -> bool:
        """Whether it ended before its last step, on request."""
        return self.status == "stopped"

    @property
    def line(self) -> str:
        """What was done, in one line."""
        if self.status == "already":
            return f"{self.run} is finished already: model {self.digest}"
        at = f"step {self.step} of {self.num_steps} in {self.seconds:.0f} s"
        end = "; run it again to go on" if self.stopped else f": model {self.digest}"
        return f"{self.run}: {at} ({self.samples_per_s:.1f} samples/s){end}"


def train(
    config: TrainConfig,
    dataset: Path,
    run: Path,
    *,
    command: str = "",
    device: str | None = None,
    stopped: Callable[[], bool] = lambda: False,
    on_step: Callable[[int, int], None] = lambda _done, _total: None,
) -> TrainReport:
    """Train what `config` says on a dataset into the folder `run`, or go on with what is there.

    `device` "cpu" keeps it off a GPU. Raises Refused where the folder holds another run or
    somebody is at it, NonFiniteLoss, CorruptShard, DiskFull; the last checkpoint stays.
    """
    folder = RunFolder(run, config, dataset)
    if finished := folder.finished_digest():
        return TrainReport(
            status="already",
            run=str(run),
            step=config.num_steps,
            num_steps=config.num_steps,
            digest=finished,
        )
    with folder.claimed() as claim:
        accelerator = Accelerator(cpu=device == "cpu", mixed_precision=_precision(config, device))
        trainer = Trainer(config, dataset, run, accelerator)
        started, first = time.perf_counter(), trainer.step
        while trainer.step < config.num_steps and not stopped():
            trainer.do_step()
            on_step(trainer.step, config.num_steps)
            claim.renew()
        trainer.end()
        seconds = time.perf_counter() - started
        samples = (trainer.step - first) * config.batch_size * accelerator.num_processes
        report = TrainReport(
            status="finished" if trainer.step >= config.num_steps else "stopped",
            run=str(run),
            step=trainer.step,
            num_steps=config.num_steps,
            seconds=round(seconds, 1),
            samples_per_s=round(samples / max(seconds, 1e-9), 2),
            loss=trainer.loss,
        )
        if report.status == "finished" and accelerator.is_main_process:
            digest = folder.finish(trainer.objective, trainer.weights(), command)
            report = report.model_copy(update={"digest": digest})
        return report


class Trainer:
    """The state of a run between steps."""

    def __init__(
        self, config: TrainConfig, dataset: Path, run: Path, accelerator: Accelerator
    ) -> None:
        self.config, self.run, self.accelerator = config, run, accelerator
        self.step, self.loss = 0, float("nan")
        seeded(config.seed, 0)
        self.objective = make_objective(config)
        groups = self.objective.groups()
        self.optimizer = make_optimizer(groups, config.optimiser)
        self._parameters = [p for group in groups.values() for p in group]
        data = TrainingSet(dataset, config.data)
        rank, ranks = accelerator.process_index, accelerator.num_processes
        self.sampler = data.sampler(config.seed, rank=rank, world_size=ranks)
        if len(self.sampler) < config.batch_size:
            raise Refused(
                f"{len(self.sampler)} samples for each of {ranks} processes make no batch of "
                f"{config.batch_size}; take a smaller batch_size or more frames."
            )
        self._loader = make_loader(
            data,
            self.sampler,
            config.batch_size,
            num_workers=config.num_workers,
            start_method="fork" if accelerator.device.type == "cpu" else "spawn",
            pin_memory=accelerator.device.type == "cuda",
        )
        self.objective.to(accelerator.device)
        self.average = (
            Average(self.objective.trained, config.average_decay) if config.average_decay else None
        )
        self._resume()
        self._module, self.optimizer = self._prepared()
        main = accelerator.is_main_process
        self._log = (
            RunLog(run, first_step=self.step, tensorboard=config.tensorboard) if main else None
        )
        self._batches = batches(self._loader, self.sampler, config.batch_size * ranks)
        self._since, self._sums = (time.perf_counter(), self.step), dict[str, float]()

    def do_step(self) -> None:
        """One optimiser step; raises NonFiniteLoss before the weights are touched."""
        config = self.config
        batch = next(self._batches)
        seeded(config.seed, 1 + self.step, self.accelerator.process_index)
        set_rate(self.optimizer, config.optimiser.rate(self.step, config.num_steps))
        self._module.train()
        with self.accelerator.autocast():
            loss = self._module(to_device(batch, self.accelerator.device), self._epoch)
        values = loss.values(batch["sample_id"])
        self.optimizer.zero_grad(set_to_none=True)
        self.accelerator.backward(loss.total)
        norm = self.accelerator.clip_grad_norm_(self._parameters, config.optimiser.clip_norm)
        self.optimizer.step()
        self.step += 1
        if self.average is not None:
            self.average.update(self.objective.trained, self.step)
        self._report({**values, "gradient_norm": float(norm or 0.0)})
        if config.pictures_every and self.step % config.pictures_every == 0:
            self._write_pictures(batch)
        if self.step % config.checkpoint_every == 0:
            self.save()

    def end(self) -> None:
        """Save where the run is, unless that has just been done."""
        if self.step % self.config.checkpoint_every:
            self.save()
        if self._log:
            self._log.close()

    def save(self) -> None:
        """Write a checkpoint, by the main process alone."""
        if not self.accelerator.is_main_process:
            return
        parts = {
            "networks": dict(self.objective.trained.state_dict()),
            "optimizer": optimizer_tensors(self.optimizer),
        }
        if self.average is not None:
            parts["average"] = self.average.tensors
        facts: dict[str, Any] = {"sampler": self.sampler.state_dict()}
        save_checkpoint(self.run / "checkpoints", Checkpoint(self.step, facts, parts))

    def weights(self) -> dict[str, torch.Tensor]:
        """What the run ends with: the averaged weights where an average is kept."""
        if self.average is not None:
            return self.average.tensors
        return dict(self.objective.trained.state_dict())

    @property
    def _epoch(self) -> int:
        return self.sampler.epoch

    def _resume(self) -> None:
        found = checkpoints(self.run / "checkpoints")
        if not found:
            return
        before = load_checkpoint(found[-1])
        self.objective.trained.load_state_dict(before.parts["networks"])
        load_optimizer_tensors(self.optimizer, before.parts["optimizer"])
        if self.average is not None:
            self.average.tensors = {
                k: t.to(self.accelerator.device) for k, t in before.parts["average"].items()
            }
        self.sampler.load_state_dict(before.facts["sampler"])
        self.step = before.step

    def _prepared(self) -> tuple[nn.Module, Any]:
        module: nn.Module = self.objective
        if self.config.compile:
            module.compile()
        return self.accelerator.prepare(module, self.optimizer)

    def _report(self, values: dict[str, float]) -> None:
        """Mean of the steps since the last report."""
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self.loss = values["loss"]
        if self.step % self.config.report_every and self.step != self.config.num_steps:
            return
        now, (then, step) = time.perf_counter(), self._since
        num_steps = self.step - step
        means = {name: total / num_steps for name, total in self._sums.items()}
        rate = num_steps * self.config.batch_size * self.accelerator.num_processes / (now - then)
        facts = {"epoch": float(self._epoch), "samples_per_s": rate}
        if self._log:
            self._log.report(
                self.step, means | facts | {"lr": self.optimizer.param_groups[0]["lr"]}
            )
        self._since, self._sums = (now, self.step), {}

    def _write_pictures(self, batch: Batch) -> None:
        if not self.accelerator.is_main_process:
            return
        image = batch["image"][:NUM_PICTURES]
        model = self.objective.model
        model.eval()
        with torch.no_grad():
            depth_m = model(image.to(self.accelerator.device)).depth_m
        truth = batch.get("label_depth_m", batch.get("lidar_depth_m"))
        path = self.run / "pictures" / f"step-{self.step:07d}.png"
        write_pictures(path, image, depth_m, None if truth is None else truth[:NUM_PICTURES])


def batches(
    loader: TrainingLoader, sampler: ResumableSampler, global_batch: int
) -> Iterator[Batch]:
    """Batches without end, epoch after epoch; the sampler's state moves with them."""
    while True:
        for batch in loader:
            sampler.advance(global_batch)
            yield batch
        sampler.next_epoch()


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The batch with its tensors on a device."""
    return {
        k: v.to(device, non_blocking=True) if isinstance(v, torch.Tensor) else v
        for k, v in batch.items()
    }


def seeded(seed: int, *numbers: int) -> None:
    """Seed torch's generators with a hash of all the numbers."""
    state = torch.Generator().initial_seed()  # a constant of torch, mixed in once
    for number in (seed, *numbers):
        state = (state * 6364136223846793005 + number + 1442695040888963407) % 2**63
    torch.manual_seed(state)


def _precision(config: TrainConfig, device: str | None) -> str:
    if config.precision == "float32":
        return "no"
    has_it = device != "cpu" and torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    return "bf16" if has_it or config.precision == "bfloat16" else "no"
