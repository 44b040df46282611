"""Monotone action of the sampling settings: guidance, control scale and strength."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np

from nightrain.datasets.conditions import Condition
from nightrain.pipelines.small_diffusion.data.views import CONDITIONS
from nightrain.pipelines.small_diffusion.measure.depth_network import aligned_errors
from nightrain.pipelines.small_diffusion.measure.figures import Figure
from nightrain.pipelines.small_diffusion.measure.frames import log_inverse_depth
from nightrain.pipelines.small_diffusion.measure.judges import Judges
from nightrain.pipelines.small_diffusion.measure.samples import SEED, Samples
from nightrain.pipelines.small_diffusion.sampling import Sampling

GUIDANCE = (1.0, 2.0, 3.0, 5.0)
CONTROL_SCALES = (0.0, 0.5, 1.0)
STRENGTHS = (0.3, 0.5, 0.7, 0.9)
PROMPTED = (Condition.NIGHT, Condition.RAIN, Condition.SNOW, Condition.FOG)
NUM_SAMPLES = 8


def monotone_figures(samples: Samples, judges: Judges) -> Iterator[Figure]:
    """Share of steps of each setting that move the measured value in the expected direction."""
    count = min(NUM_SAMPLES, len(samples.frames))
    asked = [PROMPTED[n % len(PROMPTED)] for n in range(count)]
    labels = [CONDITIONS.index(condition) for condition in asked]
    targets = log_inverse_depth(samples.frames.controls[:count])
    clear = samples.frames.true(Condition.CLEAR)[:count].astype(np.float32)
    drawings = [samples.drawing(n, condition) for n, condition in enumerate(asked)]
    usual = samples.numbers.sampling("text2image")

    def series(
        name: str, settings: Mapping[float, Sampling], measure: Callable[[np.ndarray], float]
    ) -> dict[float, float]:
        return {
            value: measure(samples.drawn(_name(name, value, one, usual), drawings, one))
            for value, one in settings.items()
        }

    yield _figure(
        "guidance: probability of the prompt's condition rises",
        series(
            "guidance",
            {value: replace(usual, guidance=value) for value in GUIDANCE},
            lambda images: float(judges.probabilities(images)[range(count), labels].mean()),
        ),
        count,
        sign=1,
    )
    yield _figure(
        "control scale: depth error falls",
        series(
            "control",
            {value: replace(usual, control_scale=value) for value in CONTROL_SCALES},
            lambda images: float(aligned_errors(judges.log_inverse_depth(images), targets).mean()),
        ),
        count,
        sign=-1,
    )
    yield _figure(
        "strength: mean difference from the clear picture rises (levels of 255)",
        series(
            "strength",
            {value: replace(usual, strength=value) for value in STRENGTHS},
            lambda images: float(np.abs(images - clear).mean()),
        ),
        count,
        sign=1,
    )


def _name(name: str, value: float, settings: Sampling, usual: Sampling) -> str:
    return "usual" if settings == usual else f"{name}-{value:g}"


def _figure(name: str, values: Mapping[float, float], count: int, sign: int) -> Figure:
    return Figure(
        measure="monotone",
        name=name,
        value=ordered_share(list(values.values()), sign),
        goal=1.0,
        references={f"{setting:g}:": value for setting, value in values.items()},
        samples=count,
        seeds=f"{SEED} + 1000 x condition + frame",
    )


def ordered_share(values: list[float], sign: int) -> float:
    """Share of neighbouring pairs that rise (sign 1) or fall (sign -1)."""
    return float((sign * np.diff(values) > 0).mean())
