"""Windows: the steps on which a control or guidance acts, as shares of the steps that run.

In image2image the first steps of the schedule do not run. A window is a share of the others, as in
diffusers' pipelines, so that it never falls into the steps that are left out.
"""

from collections.abc import Sequence

from nightrain.datasets.errors import InvalidRequest


def num_kept(num_steps: int, strength: float) -> int:
    """Number of steps that run in image2image, the last ones of the schedule."""
    return min(int(num_steps * strength), num_steps)


def acts(step: int, num_steps: int, start: float, end: float) -> bool:
    """Whether a window covers a step; `step` counts those that run, from 0."""
    return start <= step / num_steps and (step + 1) / num_steps <= end


def num_acting(num_steps: int, start: float, end: float) -> int:
    """Number of steps that a window covers, of those that run."""
    return sum(acts(step, num_steps, start, end) for step in range(num_steps))


def is_guided(step: int, num_steps: int, until: float) -> bool:
    """Whether guidance is still on at a step; `step` counts those that run, from 0."""
    return step / num_steps < until


def require_every_control(
    controls: Sequence[tuple[float, float, float]], numbers_of_steps: Sequence[int]
) -> None:
    """Raise InvalidRequest if there is no control, or one that would not act at some strength.

    `controls` are (scale, start, end), `numbers_of_steps` those that may run.
    """
    if not controls:
        raise InvalidRequest(f"`controls` is empty, so nothing keeps the frame's geometry. {_WAYS}")
    for number, (scale, start, end) in enumerate(controls):
        key = f"`controls[{number}]`"
        if scale == 0:
            raise InvalidRequest(f"{key} has scale 0, so it does not act. {_WAYS}")
        for steps in numbers_of_steps:
            if not num_acting(steps, start, end):
                raise InvalidRequest(
                    f"{key} acts from {start:g} to {end:g} of the steps that run, which is none of "
                    f"{steps} (see `steps` and `strength`). Widen its window, or run more steps. "
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
