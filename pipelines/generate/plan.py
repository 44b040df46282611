"""Generation plans: the shards that a recipe defines."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nightrain.datasets.conditions import Condition
from nightrain.datasets.shards.manifest import Entry, Manifest, Shard
from nightrain.pipelines.recipes.recipe import Recipe
from nightrain.pipelines.runs.selection import select_frames


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationPlan:
    """Shards to generate, and the frames that are left out."""

    num_rows: dict[Shard, int]  # variants of each shard
    num_frames: int
    skipped: dict[str, int]  # number of frames left out, by reason

    @property
    def shards(self) -> tuple[Shard, ...]:
        """The shards, in order."""
        return tuple(self.num_rows)

    @property
    def num_variants(self) -> int:
        """Number of variants, committed or not."""
        return sum(self.num_rows.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class TableLeft:
    """Planned shards and variants of one table, and those that are not committed."""

    num_variants: int
    num_shards: int
    num_variants_left: int
    num_shards_left: int


def plan_generation(
    manifest: Manifest, recipe: Recipe, *, include_evaluation_scenes: bool = False
) -> GenerationPlan:
    """Plan a recipe on the committed clear frames of a dataset.

    Frames of val and test scenes are left out by default: their variants would leak into training.
    Raises InvalidRequest if no frame is left.
    """
    selection = select_frames(
        manifest,
        (Condition.CLEAR,),
        product="variants",
        include_evaluation_scenes=include_evaluation_scenes,
    )
    tables = [recipe.table(condition) for condition in recipe.conditions]
    num_rows = {
        Shard(table=table, number=entry.shard.number): entry.rows.num_rows
        * recipe.variants_per_frame
        for entry in selection.kept
        for table in tables
    }
    return GenerationPlan(
        num_rows=num_rows, num_frames=selection.num_frames, skipped=selection.skipped
    )


def variants_left(manifest: Manifest, plan: GenerationPlan) -> dict[str, TableLeft]:
    """Count planned shards and variants by table; raises CorruptShard, UnreadableFile."""
    planned, left = Counter[str](), Counter[str]()
    shards, shards_left = Counter[str](), Counter[str]()
    committed = {entry.shard.name for entry in manifest.committed(plan.num_rows)}
    for shard, count in plan.num_rows.items():
        planned[shard.table] += count
        shards[shard.table] += 1
        if shard.name not in committed:
            left[shard.table] += count
            shards_left[shard.table] += 1
    return {
        table: TableLeft(
            num_variants=planned[table],
            num_shards=shards[table],
            num_variants_left=left[table],
            num_shards_left=shards_left[table],
        )
        for table in planned
    }


def plan_retry(manifest: Manifest, shards: Sequence[Shard]) -> dict[Shard, int]:
    """Return the next retry of each shard with quarantined rows, and the number of these rows.

    The rows of its latest attempt count.
    """
    return {
        entry.shard.model_copy(update={"retry": entry.shard.retry + 1}): sum(entry.counts.values())
        for entry in _latest_attempts(manifest, shards)
        if entry.quarantine is not None
    }


def _latest_attempts(manifest: Manifest, shards: Sequence[Shard]) -> Iterator[Entry]:
    """Yield the entry of the latest attempt of each shard that is committed."""
    latest = {
        (entry.shard.table, entry.shard.number): entry
        for table in dict.fromkeys(shard.table for shard in shards)
        for entry in manifest.entries(table)  # ordered by attempt
    }
    found = (latest.get((shard.table, shard.number)) for shard in shards)
    return (entry for entry in found if entry is not None)
