"""Generation jobs: generate the variants of a recipe that are still missing."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.shards.manifest import Manifest
from nightrain.datasets.shards.recipe_records import (
    Superseded,
    condition_of,
    folder_of,
    record_recipe,
)
from nightrain.datasets.shards.transaction import OnRows, ignore_rows
from nightrain.datasets.validation import Settings
from nightrain.pipelines.generate.control_maps import make_maps_of_recipe
from nightrain.pipelines.generate.plan import (
    GenerationPlan,
    plan_generation,
    plan_retry,
)
from nightrain.pipelines.generate.preflight import preflight
from nightrain.pipelines.generate.variant_shard import GenerateShard
from nightrain.pipelines.inspect.dataset_card import write_card
from nightrain.pipelines.recipes.recipe import Recipe
from nightrain.pipelines.recipes.recipe_file import built_in_recipes, load_recipe, recipe_choices
from nightrain.pipelines.runs import stop as stopping
from nightrain.pipelines.runs.budget.amounts import (
    NO_BUDGET,
    AmountText,
    RunBudget,
    budget_of,
    needs_devices,
)
from nightrain.pipelines.runs.budget.spending import spending
from nightrain.pipelines.runs.devices import visible_devices
from nightrain.pipelines.runs.executors import Executor, PlanOnly
from nightrain.pipelines.runs.one_run import IfRunning, one_run_at_a_time
from nightrain.pipelines.runs.quarantine import (
    MAX_QUARANTINED,
    MAX_REJECTED,
    MaxQuarantined,
    MaxRejected,
    check_quarantine,
)
from nightrain.pipelines.runs.run import RunReport, run
from nightrain.pipelines.runs.stop import Stop
from nightrain.pipelines.styles.leakage import require_no_held_out_styles


class GenerateJob(Settings):
    """Options of `nightrain generate` and parameters of the flow `generate-variants`."""

    dataset: Path = Field(
        description="Dataset folder with committed frames",
        json_schema_extra={"cli": "argument", "must_exist": True},
    )
    recipe: str = Field(
        default="weather",
        description="Built-in recipe or path of a YAML file",
        examples=built_in_recipes(),
        json_schema_extra=recipe_choices,
    )
    num_workers: int = Field(
        default=1,
        ge=1,
        description="Number of shards generated in parallel; an engine on GPUs has one worker per "
        "GPU instead",
    )
    retry_failed: bool = Field(default=False, description="Regenerate only quarantined variants")
    reprobe: bool = Field(
        default=False,
        description="Probe the largest batch size of this device model again, such as after memory "
        "was freed; finished variants stay as they are",
    )
    include_evaluation_scenes: bool = Field(
        default=False, description="Also use val and test scenes; never train on these variants"
    )
    gpu_limit: str | None = Field(
        default=None,
        min_length=1,
        description="Prefect global concurrency limit; each shard on a GPU holds one slot, so "
        "that machines and flows take turns",
    )
    no_gates: bool = Field(
        default=False,
        description="Leave out the recipe's gates; the variants go to tables of their own, and "
        "their column `gates` is null",
    )
    max_quarantined: MaxQuarantined = MAX_QUARANTINED
    max_rejected: MaxRejected = MAX_REJECTED
    if_running: IfRunning = "share"
    budget: tuple[AmountText, ...] = Field(
        default=(),
        description="End the run in order when it has spent this: 2h, 4device-h, 10GB or 20EUR; "
        "the next run continues",
        examples=["2h", "10GB"],
    )
    price_per_hour: float | None = Field(
        default=None,
        gt=0,
        description="Price of one device, or worker on the CPU, for a budget of money",
    )

    @model_validator(mode="after")
    def _can_be_spent(self) -> Self:
        budget_of(self.budget, 1, self.price_per_hour)
        return self

    def load_recipe(self) -> Recipe:
        """Load the recipe, without its gates if the job leaves them out; raises InvalidRequest."""
        recipe = load_recipe(self.recipe, self.dataset)
        return recipe.without_gates() if self.no_gates else recipe

    @property
    def title(self) -> str:
        """What the job makes, for lists of runs: "weather-1a2b3c4d on nuscenes"."""
        try:
            recipe = _named(self.load_recipe())
        except InvalidRequest:  # the job itself will say what is wrong
            recipe = self.recipe
        return f"{recipe} on {self.dataset.name}"

    @property
    def tags(self) -> tuple[str, ...]:
        """Words to find the job's runs by: the recipe, with and without hash, its conditions."""
        recipe = self.load_recipe()
        return (recipe.name, _named(recipe), *map(str, recipe.conditions))

    @property
    def recipe_hash(self) -> str:
        """Hash of the whole recipe: 16 hex digits. Raises InvalidRequest."""
        return self.load_recipe().hash

    def held_limit(self) -> str | None:
        """Return `gpu_limit` if the recipe's engine uses a GPU; raises InvalidRequest."""
        if self.gpu_limit is None or not self.load_recipe().engine.uses_gpu:
            return None
        return self.gpu_limit

    def devices(self) -> tuple[str, ...]:
        """Return the GPUs, one worker process for each; none for an engine on the CPU.

        Raises InvalidRequest.
        """
        return visible_devices() if self.load_recipe().engine.uses_gpu else ()

    def budget_of_run(self, executor: Executor) -> RunBudget:
        """Return the limits of a run on an executor, which only plans for free.

        Raises InvalidRequest.
        """
        if isinstance(executor, PlanOnly):
            return NO_BUDGET
        devices = self.devices() if needs_devices(self.budget) else ()
        return budget_of(self.budget, len(devices) or self.num_workers, self.price_per_hour)

    def plan(self) -> GenerationPlan:
        """Plan the job's shards, committed or not; raises InvalidRequest."""
        recipe = self.load_recipe()
        recipe.engine.prepare_process()
        return plan_generation(
            Manifest(self.dataset),
            recipe,
            include_evaluation_scenes=self.include_evaluation_scenes,
        )


def _named(recipe: Recipe) -> str:
    """Name of a recipe in its present form: "weather-1a2b3c4d"."""
    return f"{recipe.name}-{recipe.hash[:8]}"


@one_run_at_a_time
def generate(
    job: GenerateJob,
    *,
    executor: Executor,
    stop: Stop,
    on_planned: OnRows = ignore_rows,
    on_rows: OnRows = ignore_rows,
) -> RunReport:
    """Generate the variants of a job that are still missing, or as many as its budget allows.

    What all samples need is loaded and checked before any shard is leased. Raises InvalidRequest,
    RunFailure, DiskFull, and WrongPolarity for a depth network of inverted polarity.
    """
    plan, recipe, manifest = job.plan(), job.load_recipe(), Manifest(job.dataset)
    num_rows = plan_retry(manifest, plan.shards) if job.retry_failed else plan.num_rows
    shards, budget = tuple(num_rows), job.budget_of_run(executor)
    if recipe.engine.conditioning is not None and recipe.engine.conditioning.style_pool:
        require_no_held_out_styles(manifest, recipe.engine.conditioning.style_pool)
    stopping.set_current(stop)  # ends a wait for the device
    with spending(budget, job.dataset, recipe.tables, stop):
        warnings = preflight(job.dataset, recipe, shards, executor, reprobe=job.reprobe)
        maps = make_maps_of_recipe(manifest, recipe, shards, executor=executor, stop=stop)
        if maps.failed or maps.stopped:
            maps.num_left = sum(num_rows[s] for s in shards if manifest.entry(s) is None)
            report = maps
        else:
            superseded = record_recipe(job.dataset, recipe.name, recipe.tables) if shards else []
            report = run(
                job.dataset,
                shards,
                GenerateShard(job.dataset, recipe),
                executor=executor,
                stop=stop,
                num_rows=num_rows,
                on_planned=on_planned,
                on_rows=on_rows,
            )
            report.inputs = maps.tables
            report.warnings += [w for s in superseded if (w := _superseded_words(manifest, s))]
    if stop.forget_budget():
        report.end_of_budget(budget.text, "variants")
    if report is maps:
        return maps
    report.skipped = plan.skipped
    report.warnings = [*warnings, *recipe.engine.warnings, *report.warnings]
    check_quarantine(
        report,
        manifest,
        plan.shards,
        job.max_quarantined,
        max_rejected=job.max_rejected,
        retried=job.retry_failed,
    )
    write_card(job.dataset)
    return report


def _superseded_words(manifest: Manifest, old: Superseded) -> str:
    """Sentence about a table that the recipe no longer uses; "" if it has no variants."""
    num_rows = sum(entry.rows.num_rows for entry in manifest.entries(old.table))
    if not num_rows:
        return ""
    condition, folder = condition_of(old.table), folder_of(old.table)
    change = (
        f"no longer has {condition}"
        if old.successor is None
        else f"was edited: {condition} {folder_of(old.successor)} supersedes {folder}"
    )
    return (
        f"recipe {old.recipe} {change}; the {num_rows} variants of {folder} stay until "
        "`nightrain prune --superseded`"
    )
