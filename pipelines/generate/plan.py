"""Which committed frames may be used, and which shards a recipe asks for of them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.shards.manifest import FRAMES, Entry, Manifest, Shard
from nightrain.pipelines.recipes.recipe import Recipe

EVALUATION_SPLITS = ("val", "test")


@dataclass(frozen=True, slots=True)
class Selection:
    """Frames shards to make something of, and what was left out on purpose."""

    kept: list[Entry]
    skipped: dict[str, int]  # frames left out, by the reason in words

    @property
    def num_frames(self) -> int:
        """Frames of the kept shards."""
        return sum(entry.rows.num_rows for entry in self.kept)


def select_frames(
    manifest: Manifest,
    conditions: Collection[Condition],
    *,
    of_other_conditions: str,
    what: str,
    may_be: str,
    or_else: str,
    include_evaluation_scenes: bool,
) -> Selection:
    """The committed frames shards of some conditions, without those of val and test scenes.

    What is made of those would leak into training, so it must be asked for in words. The texts say
    what happens to frames: why others are left out, `what` is made ("variants"), what they `may_be`
    ("labelled"), and what to do beside ingesting the train split. Raises InvalidRequest where
    nothing is left.
    """
    selection = Selection([], {})
    for entry in manifest.entries(FRAMES):
        split, condition = entry.about.get("split", "none"), entry.about.get("condition", "clear")
        reason = ""
        if condition not in conditions:
            reason = f"{condition} frames: {of_other_conditions}"
        elif split in EVALUATION_SPLITS and not include_evaluation_scenes:
            reason = f"{split} scenes: training on their {what} would leak the evaluation"
        if reason:
            count = selection.skipped.get(reason, 0) + entry.rows.num_rows
            selection.skipped[reason] = count
        elif entry.rows.num_rows:
            selection.kept.append(entry)
    if selection.kept:
        return selection
    if not selection.skipped:
        raise InvalidRequest(
            f"{manifest.root} holds no committed frames. Run `nightrain ingest ... --out "
            f"{manifest.root}` first."
        )
    reasons = "; ".join(f"{n} frames of {reason}" for reason, n in selection.skipped.items())
    raise InvalidRequest(
        f"No frame of {manifest.root} may be {may_be}: {reasons}. Ingest the train split, "
        f"{or_else} "
        f"if these {what} will never be trained on."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationPlan:
    """The shards to make, and what was left out on purpose."""

    shards: tuple[Shard, ...]
    num_frames: int
    num_variants: int
    skipped: dict[str, int]  # frames left out, by the reason in words


def plan_generation(
    manifest: Manifest, recipe: Recipe, *, include_evaluation_scenes: bool = False
) -> GenerationPlan:
    """Plan a recipe on the committed clear frames of a dataset.

    Frames of validation and test scenes are left out unless asked for in words: what is generated
    from them would leak into training. Raises InvalidRequest where nothing is left.
    """
    selection = select_frames(
        manifest,
        (Condition.CLEAR,),
        of_other_conditions="only clear frames are turned into variants",
        what="variants",
        may_be="turned into variants",
        or_else="or say --include-evaluation-scenes",
        include_evaluation_scenes=include_evaluation_scenes,
    )
    shards = tuple(
        Shard(table=recipe.table(condition), number=entry.shard.number)
        for entry in selection.kept
        for condition in recipe.conditions
    )
    num_frames = selection.num_frames
    num_variants = num_frames * len(recipe.conditions) * recipe.variants_per_frame
    return GenerationPlan(
        shards=shards, num_frames=num_frames, num_variants=num_variants, skipped=selection.skipped
    )


def plan_retry(manifest: Manifest, shards: Sequence[Shard]) -> list[Shard]:
    """The next retry of every planned shard whose last attempt left rows in quarantine."""
    last_attempts = {
        (entry.shard.table, entry.shard.number): entry
        for table in dict.fromkeys(shard.table for shard in shards)
        for entry in manifest.entries(table)  # in the order of their attempts
    }
    retries = []
    for shard in shards:
        last = last_attempts.get((shard.table, shard.number))
        if last is not None and last.quarantine is not None:
            retries.append(last.shard.model_copy(update={"retry": last.shard.retry + 1}))
    return retries
