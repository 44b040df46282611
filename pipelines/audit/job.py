"""Audit jobs: seed defects into good variants, and count what gates reject."""

from functools import partial
from pathlib import Path
from typing import Literal

from pydantic import Field

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.splits import Split
from nightrain.datasets.validation import Settings
from nightrain.pipelines.audit.fit import fitted
from nightrain.pipelines.audit.good_variants import (
    Paintings,
    good_variants,
    paintings_of,
    recorded_twins,
)
from nightrain.pipelines.audit.report import AuditReport, make_report
from nightrain.pipelines.audit.samples import measured
from nightrain.pipelines.gates.registry import GATES, load_gates
from nightrain.pipelines.recipes.recipe_file import built_in_recipes, load_recipe

WITHOUT_NETWORK = ("faults", "alignment", "structure")


class AuditJob(Settings):
    """Options of `nightrain audit-gates`."""

    dataset: Path = Field(
        description="Dataset folder", json_schema_extra={"cli": "argument", "must_exist": True}
    )
    recipe: str = Field(
        default="weather",
        description="Recipe that makes the variants: built-in, or path of a YAML file",
        examples=built_in_recipes(),
    )
    gates: tuple[str, ...] = Field(
        default=(),
        description="Gates to audit, by name (default: the recipe's, or else those that need no "
        "network)",
    )
    split: Split = Field(
        default="val", description="Split of the clear frames: train, val, test, none or all"
    )
    frames: int = Field(default=40, ge=4, description="Largest number of clear frames")
    world: Path | None = Field(
        default=None,
        description="Rendered folder that the dataset was read from, for defects of vehicles",
    )
    painter: str | None = Field(
        default=None,
        description="Diffusion recipe whose model paints a part of each variant with its control "
        "off, as a further defect",
    )
    limits: Literal["fitted", "recipe"] = Field(
        default="fitted",
        description="fitted: fit limits to every second scene and apply them to the others; "
        "recipe: use those of the recipe",
    )
    most_rejected: float = Field(
        default=0.03,
        gt=0,
        lt=1,
        description="Share of good variants that fitted limits may reject, by all gates together",
    )


def audit_gates(job: AuditJob) -> AuditReport:
    """Audit gates on the variants of a recipe; nothing is written.

    Raises InvalidRequest for a gate that is not installed or needs settings, and for a split
    without clear frames.
    """
    recipe = load_recipe(job.recipe, job.dataset)
    names = job.gates or (() if recipe.gates else WITHOUT_NETWORK)
    try:
        gates = [GATES.parse(name) for name in names] or list(recipe.gates)
    except ValueError as error:
        words = "Settings of gates are those of a recipe that lists them: --recipe"
        raise InvalidRequest(f"--gates: {error}. {words}.") from error
    paintings: Paintings = {}
    if job.painter is not None:
        painter = load_recipe(job.painter, job.dataset)
        paintings = paintings_of(job.dataset, painter, job.split, job.frames)
    goods = list(good_variants(job.dataset, recipe, job.split, job.frames, job.world, paintings))
    twins = list(recorded_twins(job.dataset, recipe, job.split, job.frames))
    samples = list(measured(goods, twins, load_gates(gates)))
    if job.limits == "recipe":
        return make_report(samples, (gates, gates), gates)
    fit = partial(fitted, gates, most_rejected=job.most_rejected)
    of_half = [fit([s for s in samples if s.half != half]) for half in (0, 1)]
    return make_report(samples, of_half, fit(samples))
