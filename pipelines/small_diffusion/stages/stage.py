"""One training stage: a loop with a budget, a moving average of the weights and checkpoints.

A step has two parts. `draw` chooses the inputs of the step by a random generator; `losses` computes
on them alone, so that on a GPU forward pass, backward pass and optimiser become one CUDA graph.
"""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from diffusers.training_utils import EMAModel
from torch import nn

from nightrain.depthmodel.training.checkpoint import (
    Checkpoint,
    checkpoints,
    load_checkpoint,
    load_optimizer_tensors,
    optimizer_tensors,
    save_checkpoint,
)
from nightrain.pipelines.small_diffusion.stages.graphs import GraphedStep, Tensors

WARM_UP = 0.03  # share of the budget
LAST_RATE = 0.02  # of the peak learning rate
Losses = Mapping[str, torch.Tensor]  # "loss" is minimised
Draw = Callable[[torch.Generator], Tensors]  # the generator is on the device of the networks
LossFunction = Callable[[Tensors], Losses]


def autocast(device: torch.device) -> torch.autocast:
    """Autocast to bfloat16 on a GPU, without its cache as graphs need; no effect on a CPU."""
    on_gpu = device.type == "cuda"
    return torch.autocast(
        device.type, dtype=torch.bfloat16, enabled=on_gpu, cache_enabled=not on_gpu
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Length of a stage: a number of steps, or minutes if given; the learning rate follows it."""

    steps: int
    minutes: float | None = None

    def share(self, step: int, seconds: float) -> float:
        """Share of the budget that is used up."""
        if self.minutes is None:
            return min(1.0, step / max(1, self.steps))
        return min(1.0, seconds / (60 * self.minutes))


@dataclass(kw_only=True)
class Stage:
    """Settings and networks of a stage; `networks` are trained, with their names in checkpoints."""

    name: str
    folder: Path  # of the run; the stage's checkpoints and log are below it
    networks: Mapping[str, nn.Module]
    budget: Budget
    rate: float  # peak learning rate
    seed: int = 0
    average: float = 0.999  # decay of the weights' moving average
    save_minutes: float = 10.0
    log_seconds: float = 15.0
    max_norm: float = 1.0
    every_log: Callable[[], Mapping[str, float]] | None = None  # held-out metrics
    refresh: Callable[[], object] | None = None  # called before each log, e.g. to read new data
    seconds: float = 0.0  # spent, over all runs
    step: int = 0
    _device: torch.device = field(init=False)
    _ema: EMAModel = field(init=False)
    _optimizer: torch.optim.Optimizer = field(init=False)

    def __post_init__(self) -> None:
        weights = self._weights()
        self._device = weights[0].device
        on_gpu = self._device.type == "cuda"
        self._optimizer = torch.optim.AdamW(
            weights,
            lr=torch.tensor(self.rate, device=self._device) if on_gpu else self.rate,
            betas=(0.9, 0.99),
            weight_decay=0.01,
            fused=on_gpu,
            capturable=on_gpu,
        )
        self._ema = EMAModel(
            weights, decay=self.average, use_ema_warmup=True, power=0.75, foreach=True
        )
        self._resume()

    def run(self, draw: Draw, losses: LossFunction) -> None:
        """Train until the budget is used up, then load the averaged weights."""
        step = GraphedStep(lambda inputs: self._update(losses(inputs)), self._device)
        with step.stream():
            self._loop(draw, step)
            self._ema.copy_to(self._weights())

    def _loop(self, draw: Draw, step: GraphedStep) -> None:
        generator = torch.Generator(self._device)
        started, saved, logged = time.monotonic() - self.seconds, self.seconds, -math.inf
        sums: dict[str, torch.Tensor] = {}
        count = 0
        while (share := self.budget.share(self.step, self.seconds)) < 1.0:
            generator.manual_seed(self.seed * 1_000_003 + self.step)
            self._set_rate(share)
            for name, value in step(draw(generator)).items():
                sums[name] = sums.get(name, 0) + value.detach()
            self._ema.step(self._weights())
            self.step += 1
            count += 1
            self._wait()
            self.seconds = time.monotonic() - started
            if self.seconds - logged >= self.log_seconds:
                self._log({name: float(value) / count for name, value in sums.items()})
                logged, sums, count = self.seconds, {}, 0
                if self.refresh is not None:
                    self.refresh()
            if self.seconds - saved >= 60 * self.save_minutes:
                self.save()
                saved = self.seconds
        self._log({name: float(value) / max(1, count) for name, value in sums.items()})
        self.save()

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Use the averaged weights inside a with block."""
        weights = self._weights()
        self._ema.store(weights)
        self._ema.copy_to(weights)
        try:
            yield
        finally:
            self._ema.restore(weights)

    def save(self) -> None:
        """Write a checkpoint from which the stage resumes."""
        parts = {
            "networks": self._named(),
            "average": {str(n): p for n, p in enumerate(self._ema.shadow_params)},
            "optimizer": optimizer_tensors(self._optimizer),
        }
        facts = {"seconds": self.seconds, "ema_steps": self._ema.optimization_step}
        save_checkpoint(self._checkpoints, Checkpoint(self.step, facts, parts), keep=1)

    def _set_rate(self, share: float) -> None:
        rate = self.rate * min(1.0, (share + 1e-3) / WARM_UP)
        rate *= LAST_RATE + (1 - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * share))
        for group in self._optimizer.param_groups:
            if isinstance(group["lr"], torch.Tensor):
                group["lr"].fill_(rate)  # a graph reads it where it is
            else:
                group["lr"] = rate

    def _update(self, losses: Losses) -> Losses:
        self._optimizer.zero_grad(set_to_none=True)
        losses["loss"].backward()
        nn.utils.clip_grad_norm_(self._weights(), self.max_norm)
        self._optimizer.step()
        return {name: value.detach() for name, value in losses.items()}

    def _wait(self) -> None:
        """Wait for the GPU now and then: a budget in minutes counts work that is done."""
        if self._device.type == "cuda" and self.step % 20 == 0:
            torch.cuda.current_stream().synchronize()

    def _log(self, means: Mapping[str, float]) -> None:
        line: dict[str, object] = {"stage": self.name, "step": self.step}
        line |= {"seconds": round(self.seconds, 1)}
        if self.every_log is not None:
            with self.averaged(), torch.no_grad():
                means = {**means, **self.every_log()}
        line |= {name: round(value, 5) for name, value in means.items()}
        text = json.dumps(line)
        print(text, flush=True)
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(text + "\n")

    def _weights(self) -> list[nn.Parameter]:
        return [p for net in self.networks.values() for p in net.parameters() if p.requires_grad]

    def _named(self) -> dict[str, torch.Tensor]:
        return {
            f"{name}.{key}": tensor
            for name, net in self.networks.items()
            for key, tensor in net.state_dict().items()
        }

    @property
    def _checkpoints(self) -> Path:
        return self.folder / "checkpoints" / self.name

    def _resume(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        found = checkpoints(self._checkpoints)
        if not found:
            return
        checkpoint = load_checkpoint(found[-1])
        for name, net in self.networks.items():
            own = {k.removeprefix(f"{name}."): t for k, t in checkpoint.parts["networks"].items()}
            net.load_state_dict({k: own[k] for k in net.state_dict()})
        for number, shadow in enumerate(self._ema.shadow_params):
            shadow.data.copy_(checkpoint.parts["average"][str(number)])
        load_optimizer_tensors(self._optimizer, checkpoint.parts["optimizer"])
        self._ema.optimization_step = int(checkpoint.facts["ema_steps"])
        self.step, self.seconds = checkpoint.step, float(checkpoint.facts["seconds"])
