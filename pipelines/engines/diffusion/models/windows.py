"""Windows: the steps on which a control or guidance acts, as shares of the steps that run.

In image2image the first steps of the schedule do not run. A window is a share of the others, as in
diffusers' pipelines, so that it never falls into the steps that are left out.
"""

from collections.abc import Sequence
from typing import Protocol

from nightrain.datasets.errors import InvalidRequest


class Windowed(Protocol):
    """Control that acts in a window of the steps that run, unless its scale is 0."""

    @property
    def scale(self) -> float:
        """Weight of the control."""
        ...

    @property
    def start(self) -> float:
        """Start, as a share of the steps that run."""
        ...

    @property
    def end(self) -> float:
        """End, as a share of the steps that run."""
        ...


def num_kept(num_steps: int, strength: float) -> int:
    """Number of steps that run in image2image, the last ones of the schedule."""
    return min(int(num_steps * strength), num_steps)


def acts(step: int, num_steps: int, start: float, end: float) -> bool:
    """Whether a window covers a step; `step` counts those that run, from 0."""
    return start <= step / num_steps and (step + 1) / num_steps <= end


def num_acting(num_steps: int, start: float, end: float) -> int:
    """Number of steps that a window covers, of those that run."""
    return sum(acts(step, num_steps, start, end) for step in range(num_steps))


def steps_of_controls(controls: Sequence[Windowed], num_steps: int) -> tuple[int, ...]:
    """On how many of the steps that run each control acts."""
    return tuple(num_acting(num_steps, c.start, c.end) if c.scale else 0 for c in controls)


def all_act(controls: Sequence[Windowed], numbers_of_steps: Sequence[int]) -> bool:
    """Whether there are controls, and each acts whatever number of steps runs."""
    return bool(controls) and all(all(steps_of_controls(controls, n)) for n in numbers_of_steps)


def is_guided(step: int, num_steps: int, until: float) -> bool:
    """Whether guidance is still on at a step; `step` counts those that run, from 0."""
    return step / num_steps < until


def require_every_control(controls: Sequence[Windowed], numbers_of_steps: Sequence[int]) -> None:
    """Raise InvalidRequest if there is no control, or one that would not act at some strength.

    `numbers_of_steps` are those that may run.
    """
    if not controls:
        raise InvalidRequest(f"`controls` is empty, so nothing keeps the frame's geometry. {_WAYS}")
    for number, control in enumerate(controls):
        key = f"`controls[{number}]`"
        if control.scale == 0:
            raise InvalidRequest(f"{key} has scale 0, so it does not act. {_WAYS}")
        for steps in numbers_of_steps:
            if not num_acting(steps, control.start, control.end):
                raise InvalidRequest(
                    f"{key} acts from {control.start:g} to {control.end:g} of the steps that run, "
                    f"which is none of {steps} (see `steps` and `strength`). Widen its window, or "
                    f"run more steps. "
                    f"{_WAYS}"
                )


_WAYS = (
    "Without it, the variant does not have the frame's depth: add a ControlNet, or set "
    "`allow_no_control: true`, which marks every row."
)
NOT_CONTROLLED = (
    "no control image keeps the geometry of the frames (allow_no_control): the depth of a frame is "
    "no label of its variants, whose column `controlled` is false"
)
