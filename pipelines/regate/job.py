"""Regating jobs: apply a recipe's limits to variants that were generated with other ones."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, Field

from nightrain.datasets.shards.manifest import Manifest, Shard
from nightrain.datasets.shards.recipe_records import record_recipe
from nightrain.datasets.shards.transaction import OnRows, ignore_rows
from nightrain.datasets.validation import Settings
from nightrain.pipelines.inspect.dataset_card import write_card
from nightrain.pipelines.recipes.recipe import Recipe
from nightrain.pipelines.recipes.recipe_file import built_in_recipes, load_recipe
from nightrain.pipelines.regate.shard import RegateShard, attempts
from nightrain.pipelines.regate.sources import Source, find_sources
from nightrain.pipelines.runs.executors import Executor
from nightrain.pipelines.runs.one_run import record_run
from nightrain.pipelines.runs.run import RunReport, run
from nightrain.pipelines.runs.stop import Stop


class RegateJob(Settings):
    """Options of `nightrain regate`."""

    dataset: Path = Field(
        description="Dataset folder", json_schema_extra={"cli": "argument", "must_exist": True}
    )
    recipe: str = Field(
        description="Recipe with the limits to apply: built-in, or path of a YAML file",
        examples=built_in_recipes(),
    )

    @property
    def title(self) -> str:
        """What the job makes, for lists of runs: "strict limits on nuscenes"."""
        return f"{Path(self.recipe).stem} limits on {self.dataset.name}"

    def load_recipe(self) -> Recipe:
        """Load the recipe; raises InvalidRequest."""
        return load_recipe(self.recipe, self.dataset)


class Regated(BaseModel):
    """What changed in one condition."""

    source: str  # table
    target: str
    accepted: int = 0  # variants that are accepted as before
    newly_accepted: int = 0
    newly_rejected: int = 0
    rejected: int = 0  # as before, or failed before


class RegateReport(BaseModel):
    """Outcome of a regating."""

    run: RunReport = RunReport()
    conditions: dict[str, Regated] = {}


def regate(
    job: RegateJob,
    *,
    executor: Executor,
    stop: Stop,
    on_planned: OnRows = ignore_rows,
    on_rows: OnRows = ignore_rows,
) -> RegateReport:
    """Judge stored scores by the limits of a recipe; nothing is generated.

    Accepted variants become rows of the recipe's tables, and the others go to quarantine. Raises
    InvalidRequest where scores are missing, CorruptShard, DiskFull.
    """
    manifest, recipe = Manifest(job.dataset), job.load_recipe()
    sources, report = find_sources(manifest, recipe), RegateReport()
    started_at = datetime.now(UTC)
    for condition, source in sources.items():
        num_rows = dict(_shards(manifest, source))
        report.run = run(
            job.dataset,
            tuple(num_rows),
            RegateShard(job.dataset, recipe, source.table),
            executor=executor,
            stop=stop,
            num_rows=num_rows,
            on_planned=on_planned,
            on_rows=on_rows,
            report=report.run,
        )
        report.conditions[str(condition)] = _changes(manifest, source)
    record_run("regate", job, report.run, started_at)
    if sources and not report.run.stopped and not report.run.failed:
        record_recipe(job.dataset, recipe.name, recipe.tables)
        write_card(job.dataset)
    return report


def _shards(manifest: Manifest, source: Source) -> Iterator[tuple[Shard, int]]:
    """Yield the shards to make, with the number of their rows."""
    for number in sorted({entry.shard.number for entry in manifest.entries(source.table)}):
        entries = attempts(manifest, source.table, number)
        num_rows = sum(entry.rows.num_rows for entry in entries)
        yield (
            Shard(table=source.target, number=number),
            num_rows + sum(entries[-1].counts.values()),
        )


def _changes(manifest: Manifest, source: Source) -> Regated:
    (before, rejected_before), (now, rejected_now) = (
        _variants(manifest, table) for table in (source.table, source.target)
    )
    return Regated(
        source=source.table,
        target=source.target,
        accepted=len(before & now),
        newly_accepted=len(rejected_before & now),
        newly_rejected=len(before & rejected_now),
        rejected=len(rejected_before & rejected_now),
    )


Variants = set[tuple[str, int]]  # frame and variant index


def _variants(manifest: Manifest, table: str) -> tuple[Variants, Variants]:
    """Variants of a table that are accepted, and those that are not."""
    accepted, rejected = set[tuple[str, int]](), set[tuple[str, int]]()
    columns = ("frame_id", "variant_index")
    for entry in manifest.entries(table):
        files = ((entry.rows, accepted), (entry.quarantine, rejected))
        for file, found in files:
            if file is not None:
                rows = manifest.reader(file).table(columns)
                found |= set(zip(*(rows.column(name).to_pylist() for name in columns), strict=True))
    return accepted, rejected - accepted  # a retry may have accepted what failed before
