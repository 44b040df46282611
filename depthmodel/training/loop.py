"""Training loop: from a configuration and a dataset to checkpoints, metrics and a model.

    RUN/run.json         everything the result depends on; a folder holds one run
    RUN/metrics.jsonl    one line per report
    RUN/checkpoints/     the latest two; a run resumes from the last, bit for bit on a CPU
    RUN/pictures/        predictions on a few training samples
    RUN/model/           the finished model; RUN/pose/ next to it where a pose network was trained

The order of samples, their augmentation and every random number of a step are functions of
(seed, step), so an interrupted run ends with the same weights as one without interruption.
"""

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Literal

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState
from pydantic import BaseModel

from nightrain.depthmodel.training.config import TrainConfig
from nightrain.depthmodel.training.run_folder import RunFolder
from nightrain.depthmodel.training.trackers import require_tracker
from nightrain.depthmodel.training.trainer import Trainer


class TrainReport(BaseModel):
    """Result of a run in a few numbers, which a flow can return."""

    status: Literal["finished", "already", "stopped"]
    run: str
    step: int
    num_steps: int
    seconds: float = 0.0  # of this process
    samples_per_s: float = 0.0
    batch: int = 0  # samples per step, of all processes together
    num_processes: int = 1
    loss: float | None = None  # of the last step
    num_frames: int = 0  # training frames per epoch
    num_without_label: int = 0  # skipped because their label is in quarantine
    num_uncontrolled: int = 0  # variants skipped because no control kept the frame's geometry
    num_reviewed_out: int = 0  # variants skipped because people rejected them
    digest: str = ""  # of the finished model

    @property
    def stopped(self) -> bool:
        """Whether the run was stopped before its last step."""
        return self.status == "stopped"

    @property
    def line(self) -> str:
        """Summary in one line."""
        if self.status == "already":
            return f"{self.run} is already finished: model {self.digest}"
        at = f"step {self.step} of {self.num_steps} in {self.seconds:.0f} s"
        end = "; run it again to resume" if self.stopped else f": model {self.digest}"
        skipped = (
            (self.num_without_label, "frames without label"),
            (self.num_uncontrolled, "variants without control"),
            (self.num_reviewed_out, "variants that people rejected"),
        )
        out = "".join(f", {count} {what} skipped" for count, what in skipped if count)
        shared = f" in {self.num_processes} processes" if self.num_processes > 1 else ""
        rate = f"{self.samples_per_s:.1f} samples/s, {self.batch} per step{shared}{out}"
        return f"{self.run}: {at} ({rate}){end}"


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
    """Train a configuration on a dataset into the folder `run`, or resume the run there.

    `device` "cpu" never uses a GPU. Raises InvalidRequest where the folder holds another run, its
    last checkpoint is damaged or another process trains in it; NonFiniteLoss, CorruptShard,
    DiskFull. The last checkpoint is kept. More `num_steps` than the run in the folder had continue
    it, at the learning rates that a run of so many steps has from there on.
    """
    require_tracker(config.tracker)
    folder = RunFolder(run, config, dataset)
    if finished := folder.finished_digest():
        return TrainReport(
            status="already",
            run=str(run),
            step=config.num_steps,
            num_steps=config.num_steps,
            digest=finished,
        )
    with (
        folder.leased() as lease,
        closing(Trainer(config, dataset, run, make_accelerator(config, device, run))) as trainer,
    ):
        folder.begin(trainer.step)
        started, first = time.perf_counter(), trainer.step
        while trainer.step < config.num_steps and not _any_process(trainer.accelerator, stopped()):
            trainer.do_step()
            on_step(trainer.step, config.num_steps)
            lease.renew()
        trainer.save()
        report = _report(trainer, first, time.perf_counter() - started)
        if report.status == "finished" and trainer.accelerator.is_main_process:
            skipped = {"num_uncontrolled": report.num_uncontrolled}
            folder.finish(trainer.objective, trainer.weights(), command, skipped)
        trainer.accelerator.wait_for_everyone()  # a process that resumes must find what was saved
        return report.model_copy(update={"digest": folder.finished_digest()})


def make_accelerator(
    config: TrainConfig, device: str | None, run: Path | None = None
) -> Accelerator:
    """Build the accelerator of a run: device, processes, precision and tracker."""
    if AcceleratorState._shared_state and AcceleratorState().num_processes == 1:
        AcceleratorState._reset_state(
            reset_partial_state=True
        )  # otherwise the precision of this process's first run persists
    # An auxiliary view hidden in a rank's whole batch leaves its parameters without gradients.
    uneven = DistributedDataParallelKwargs(find_unused_parameters=config.model.auxview is not None)
    return Accelerator(
        cpu=device == "cpu",
        mixed_precision=_precision(config, device),
        kwargs_handlers=[uneven],
        log_with=config.tracker,
        project_dir=None if run is None else str(run),
    )


def _report(trainer: Trainer, first_step: int, seconds: float) -> TrainReport:
    config, index = trainer.config, trainer.data.index
    per_step = config.batch_size * trainer.accelerator.num_processes
    return TrainReport(
        status="finished" if trainer.step >= config.num_steps else "stopped",
        run=str(trainer.run),
        step=trainer.step,
        num_steps=config.num_steps,
        seconds=round(seconds, 1),
        samples_per_s=round((trainer.step - first_step) * per_step / max(seconds, 1e-9), 2),
        batch=per_step,
        num_processes=trainer.accelerator.num_processes,
        loss=trainer.loss,
        num_frames=len(index.frames),
        num_without_label=index.num_without_label,
        num_uncontrolled=index.num_uncontrolled,
        num_reviewed_out=index.num_reviewed_out,
    )


def _any_process(accelerator: Accelerator, stopped: bool) -> bool:
    """Whether any process should stop; all stop together, so that none waits for another."""
    if accelerator.num_processes == 1:
        return stopped
    if stopped:
        accelerator.set_trigger()
    return accelerator.check_trigger()


def _precision(config: TrainConfig, device: str | None) -> str:
    if config.precision == "float32":
        return "no"
    has_it = device != "cpu" and torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    return "bf16" if has_it or config.precision == "bfloat16" else "no"
