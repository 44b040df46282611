"""Scheduler steps as a table of numbers, so that the device never waits for the host.

Every scheduler here is linear in the latents, in the network's outputs and in the noise it draws.
One dry run of the diffusers scheduler on unit vectors therefore gives, for each step, the weights
of "latents after step k" over (start, outputs 0..k, noises 0..k). The loop then needs one weighted
sum per step, while the scheduler's own code reads sigmas on the host at each step. Rows of one
batch may start at different steps (image2image), each with its own table.
"""

import copy
import inspect
from dataclasses import dataclass
from typing import Any

import diffusers
import torch

from nightrain.datasets.errors import InvalidRequest
from nightrain.pipelines.engines.diffusion.models.parts import SchedulerName
from nightrain.pipelines.engines.diffusion.models.windows import num_kept

SCHEDULERS: dict[SchedulerName, tuple[str, dict[str, Any]]] = {
    "ddim": ("DDIMScheduler", {}),
    "ddim-trailing": ("DDIMScheduler", {"timestep_spacing": "trailing"}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "dpmpp-2m": ("DPMSolverMultistepScheduler", {}),
    "dpmpp-2m-karras": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler-trailing": ("EulerDiscreteScheduler", {"timestep_spacing": "trailing"}),
    "euler-ancestral": ("EulerAncestralDiscreteScheduler", {}),
    "lcm": ("LCMScheduler", {}),
    "tcd": ("TCDScheduler", {}),
}
ROUNDING = 1e-12  # smaller weights are rounding errors of zero


@dataclass(frozen=True, slots=True)
class Steps:
    """Schedule from step `first` on; all tensors on the host."""

    first: int  # steps before it are skipped (image2image)
    timesteps: torch.Tensor  # (S,) of the whole schedule
    input_scales: tuple[float, ...]  # S: factors of the latents before the network
    weights: torch.Tensor  # (S, 1 + 2 S) float64: over start, outputs, noises
    start_image: float  # start = start_image * latents of the image + start_noise * noise
    start_noise: float

    def __len__(self) -> int:
        return len(self.timesteps)

    @property
    def num_run(self) -> int:
        """Number of steps that run: all but those before `first`."""
        return len(self) - self.first

    def draws_noise(self, k: int) -> bool:
        """Whether step k adds fresh noise."""
        return bool(self.weights[:, 1 + len(self) + k].any())


def make_scheduler(name: SchedulerName, config: Any) -> Any:
    """Build a diffusers scheduler by name, with a base model's training schedule."""
    class_name, options = SCHEDULERS[name]
    kind = getattr(diffusers, class_name)
    accepted = inspect.signature(kind.__init__).parameters
    # Latents are not pixels: clipping them at 1 would be wrong, and it is not linear.
    safe = {k: False for k in ("clip_sample", "thresholding") if k in accepted}
    return kind.from_config(config, **(options | safe))


def tabulate(
    scheduler: Any, num_steps: int, strength: float | None = None, *, eta: float | None = None
) -> Steps:
    """Tabulate a scheduler; `strength` in (0, 1] starts from a noised image, None from noise.

    `eta` is passed to the scheduler's step, as diffusers' pipelines do; None: the scheduler's own.
    Raises InvalidRequest for a scheduler that is not linear or makes several calls per step.
    """
    scheduler = copy.deepcopy(scheduler)
    scheduler.set_timesteps(num_steps)
    timesteps = scheduler.timesteps.cpu()
    if len(timesteps) != num_steps:
        raise InvalidRequest(
            f"{type(scheduler).__name__} makes {len(timesteps)} calls for {num_steps} steps; "
            "use a scheduler with one call per step."
        )
    kept = num_steps if strength is None else num_kept(num_steps, strength)
    first = num_steps - kept
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(first)
    start_image, start_noise = 0.0, float(scheduler.init_noise_sigma)
    if strength is not None:
        start_image, start_noise = _noised(scheduler, timesteps[first : first + 1])
    scales, weights = _dry_run(scheduler, timesteps, first, eta)
    return Steps(first, timesteps, scales, weights, start_image, start_noise)


def _noised(scheduler: Any, timestep: torch.Tensor) -> tuple[float, float]:
    one, none = torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1, 1)
    image = scheduler.add_noise(one, none, timestep)
    return image.item(), scheduler.add_noise(none, one, timestep).item()


def _dry_run(
    scheduler: Any, timesteps: torch.Tensor, first: int, eta: float | None
) -> tuple[tuple[float, ...], torch.Tensor]:
    """Run the steps on unit vectors: coordinate 0 is the start, 1 + k output k, 1 + S + k noise k.

    One more coordinate is zero in every input: after a step, it contains only the noise.
    """
    size = len(timesteps)
    sample = torch.zeros(1, 2 + 2 * size, 1, 1, dtype=torch.float64)  # "channels" are coordinates
    sample[0, 0] = 1.0
    generator = torch.Generator().manual_seed(0)
    accepted = inspect.signature(scheduler.step).parameters
    given: dict[str, Any] = {"generator": generator, "eta": eta}
    options = {n: value for n, value in given.items() if n in accepted and value is not None}
    scales = [1.0] * size
    weights = torch.zeros(size, 1 + 2 * size, dtype=torch.float64)
    for k in range(first, size):
        one = torch.ones(1, 1, 1, 1, dtype=torch.float64)
        scales[k] = float(scheduler.scale_model_input(one, timesteps[k]))
        output = torch.zeros_like(sample)
        output[0, 1 + k] = 1.0
        before = generator.get_state()
        sample = scheduler.step(output, timesteps[k], sample, **options).prev_sample.double()
        sample = _separate_noise(sample, before, 1 + size + k)
        weights[k] = sample[0, :-1, 0, 0]
    return tuple(scales), weights


def _separate_noise(sample: torch.Tensor, state: torch.Tensor, place: int) -> torch.Tensor:
    """Move a step's added noise (one number times a repeatable draw) to coordinate `place`."""
    repeat = torch.Generator()
    repeat.set_state(state)
    draw = torch.randn(sample.shape, generator=repeat, dtype=torch.float64)
    amount = sample[0, -1] / draw[0, -1]
    sample = sample - amount * draw
    sample[0, place] += amount[0]
    return torch.where(sample.abs() < ROUNDING, 0.0, sample)
