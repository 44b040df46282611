"""Severity match: strengths at which a diffusion recipe looks as strong as another recipe.

Results: docs/studies/severity.md.

    python -m nightrain.benchmarks.severity_match DATASET --recipe diffusion-matched --like weather

Both recipes draw the same clear frames, image to image with every number of steps that may run, and
the other recipe at evenly spaced severities. One measure per condition is compared: mean luma at
night, else the contrast that is left beyond 27 m, as a share of what the fewest steps leave, since
the autoencoder loses some, too. The command prints `strength_by_condition` for the recipe, and how
near to the other recipe it comes.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np
import yaml

from nightrain.benchmarks.severity_response import Measures, measure
from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.splits import Split
from nightrain.pipelines.audit.good_variants import requests_of
from nightrain.pipelines.engines.base import Engine, Request
from nightrain.pipelines.engines.diffusion.models.settings import DiffusionSettings
from nightrain.pipelines.engines.registry import load_engine
from nightrain.pipelines.engines.retry import run_engine
from nightrain.pipelines.recipes.recipe_file import load_recipe

DARK = (Condition.NIGHT, Condition.NIGHT_RAIN)
KNOTS = tuple(step / 8 for step in range(9))  # severities of the strengths that are printed


class Match(NamedTuple):
    """Strengths of one condition, with the measures that they were chosen by."""

    strengths: tuple[float, ...]  # at KNOTS
    wanted: np.ndarray  # (9,) measures of the other recipe
    reached: np.ndarray  # (9,) measures at the strengths


def compared(condition: Condition, measures: Measures) -> float:
    """The measure by which two pictures of a condition are compared; it falls with severity."""
    return measures.luma if condition in DARK else measures.far_contrast


def match(wanted: Sequence[float] | np.ndarray, found: Sequence[float] | np.ndarray) -> Match:
    """Choose strengths whose measures are nearest to those wanted at KNOTS.

    `found` (S,) has the measures of 1 to S steps; both fall, and noise in them is levelled.
    """
    steps = np.arange(1, len(found) + 1)
    falling = np.minimum.accumulate(np.asarray(found, float))
    targets = np.minimum.accumulate(np.asarray(wanted, float))
    number = np.interp(-targets, -falling, steps)  # of steps, as a fraction
    number = np.maximum.accumulate(number)
    # Half a step more, because the engine rounds down
    strengths = np.minimum((number + 0.5) / len(found), 1.0)
    kept = np.minimum((strengths * len(found)).astype(int), len(found))
    reached = np.asarray(found, float)[kept - 1]
    return Match(tuple(round(float(one), 4) for one in strengths), np.asarray(wanted), reached)


def matches(
    dataset: Path, recipe_name: str, like: str, split: Split, num_frames: int
) -> dict[Condition, Match]:
    """Match every condition that both recipes have; raises InvalidRequest."""
    recipe, other = load_recipe(recipe_name, dataset), load_recipe(like, dataset)
    settings = recipe.engine
    if not isinstance(settings, DiffusionSettings) or settings.mode != "image2image":
        raise InvalidRequest(f"--recipe {recipe_name}: expected a diffusion recipe, image2image.")
    num_steps = settings.steps
    if num_steps < 2:
        raise InvalidRequest(f"--recipe {recipe_name}: one step has one strength; expected more.")
    swept = {"strength": (1 / num_steps, 1.0), "strength_by_condition": {}}
    engine = load_engine(settings.model_copy(update=swept))
    reference = load_engine(other.engine)
    wanted, found = defaultdict(list), defaultdict(list)
    sweep = [min(1.0, k / (num_steps - 1) + 1e-6) for k in range(num_steps)]
    for _, requests in requests_of(dataset, recipe, split, num_frames):
        for request in requests:
            if request.condition in other.conditions:
                wanted[request.condition].append(list(curve(reference, request, KNOTS)))
                found[request.condition].append(list(curve(engine, request, sweep)))
    return {
        condition: match(np.nanmean(wanted[condition], axis=0), _curve_of(condition, curves))
        for condition, curves in found.items()
    }


def _curve_of(condition: Condition, curves: list[list[float]]) -> np.ndarray:
    """Mean measures (S,) of 1 to S steps; contrasts relative to those of one step."""
    mean = np.nanmean(curves, axis=0)
    return mean if condition in DARK else mean / mean[0]


def curve(engine: Engine, request: Request, severities: Sequence[float]) -> Iterator[float]:
    """Yield the compared measure of a request at each severity; NaN where the engine fails."""
    for severity in severities:
        (made,) = run_engine(engine, [replace(request, severity=severity)], 1)
        if isinstance(made, Exception):
            yield float("nan")
        else:
            yield compared(request.condition, measure(request, made.image))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--recipe", default="diffusion-matched")
    parser.add_argument("--like", default="weather")
    parser.add_argument("--split", default="train", choices=get_args(Split))
    parser.add_argument("--frames", type=int, default=6)
    options = parser.parse_args()
    found = matches(options.dataset, options.recipe, options.like, options.split, options.frames)
    print(f"| condition | severity | {' | '.join(f'{knot:g}' for knot in KNOTS)} |")
    print("| --- | --- |" + " ---: |" * len(KNOTS))
    for condition, one in found.items():
        for words, values in ((options.like, one.wanted), (options.recipe, one.reached)):
            print(f"| {condition} | {words} | {' | '.join(f'{v:.3g}' for v in values)} |")
    strengths = {str(condition): list(one.strengths) for condition, one in found.items()}
    print(yaml.safe_dump({"strength_by_condition": strengths}, default_flow_style=None))


if __name__ == "__main__":
    main()
