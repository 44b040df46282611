"""Which shards a recipe asks for: one per frames shard and condition, in the frames' order."""

from collections.abc import Sequence
from dataclasses import dataclass

from datasets.catalog import FRAMES, Catalog, Entry, Shard
from datasets.errors import Refused
from datasets.frame import Condition
from pipelines.recipe import Recipe

EVALUATION_SPLITS = ("val", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationPlan:
    """The shards to make, and what was left out on purpose."""

    shards: tuple[Shard, ...]
    num_frames: int
    num_variants: int
    skipped: dict[str, int]  # frames left out, by the reason in words


def plan_generation(
    catalog: Catalog, recipe: Recipe, *, include_evaluation_scenes: bool = False
) -> GenerationPlan:
    """Plan a recipe on the committed clear frames of a dataset.

    Frames of validation and test scenes are left out unless asked for in words: what is generated
    from them would leak into training. Raises Refused where nothing is left.
    """
    kept: list[Entry] = []
    skipped: dict[str, int] = {}
    for entry in catalog.entries(FRAMES):
        reason = _left_out(entry, include_evaluation_scenes)
        if reason:
            skipped[reason] = skipped.get(reason, 0) + entry.rows.num_rows
        elif entry.rows.num_rows:
            kept.append(entry)
    if not kept:
        raise Refused(_nothing_left(catalog, skipped))
    shards = tuple(
        Shard(table=recipe.table(condition), number=entry.shard.number)
        for entry in kept
        for condition in recipe.conditions
    )
    num_frames = sum(entry.rows.num_rows for entry in kept)
    num_variants = num_frames * len(recipe.conditions) * recipe.variants_per_frame
    return GenerationPlan(
        shards=shards, num_frames=num_frames, num_variants=num_variants, skipped=skipped
    )


def plan_retry(catalog: Catalog, shards: Sequence[Shard]) -> list[Shard]:
    """The next retry of every planned shard whose last attempt left rows in quarantine."""
    last_attempts = {
        (entry.shard.table, entry.shard.number): entry
        for table in dict.fromkeys(shard.table for shard in shards)
        for entry in catalog.entries(table)  # in the order of their attempts
    }
    retries = []
    for shard in shards:
        last = last_attempts.get((shard.table, shard.number))
        if last is not None and last.quarantine is not None:
            retries.append(last.shard.model_copy(update={"retry": last.shard.retry + 1}))
    return retries


def _left_out(entry: Entry, include_evaluation_scenes: bool) -> str:
    """Why a frames shard is not a source of variants; "" where it is."""
    split, condition = entry.about.get("split", "none"), entry.about.get("condition", "clear")
    if condition != Condition.CLEAR:
        return f"{condition} frames: only clear frames are turned into variants"
    if split in EVALUATION_SPLITS and not include_evaluation_scenes:
        return f"{split} scenes: training on their variants would leak the evaluation"
    return ""


def _nothing_left(catalog: Catalog, skipped: dict[str, int]) -> str:
    if not skipped:
        return (
            f"{catalog.root} holds no committed frames. Run `nightrain ingest ... --out "
            f"{catalog.root}` first."
        )
    reasons = "; ".join(f"{count} frames of {reason}" for reason, count in skipped.items())
    return (
        f"No frame of {catalog.root} may be turned into variants: {reasons}. Ingest the train "
        "split, or say --include-evaluation-scenes if these variants will never be trained on."
    )
