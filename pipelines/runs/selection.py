"""Frame selection: the committed frames shards that a run may use."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.shards.manifest import FRAMES, Entry, Manifest, Shard
from nightrain.datasets.splits import EVALUATION_SPLITS


@dataclass(frozen=True, slots=True)
class Selection:
    """The selected frames shards, and the frames that were left out on purpose."""

    kept: list[Entry]
    skipped: dict[str, int]  # number of frames left out, by reason

    @property
    def num_frames(self) -> int:
        """Number of selected frames."""
        return sum(entry.rows.num_rows for entry in self.kept)


def frames_entries(manifest: Manifest) -> list[Entry]:
    """Return the entries of the committed frames shards; raises InvalidRequest without any."""
    entries = manifest.entries(FRAMES)
    if not entries:
        raise InvalidRequest(
            f"{manifest.root} holds no committed frames. Run `nightrain ingest ... --out "
            f"{manifest.root}` first."
        )
    return entries


def shards_behind(entries: Iterable[Entry], table: str) -> dict[Shard, int]:
    """Plan one shard of a table per frames shard that has rows, with as many rows."""
    return {
        entry.shard.model_copy(update={"table": table}): entry.rows.num_rows
        for entry in entries
        if entry.rows.num_rows
    }


def select_frames(
    manifest: Manifest,
    conditions: Collection[Condition],
    *,
    product: str,
    include_evaluation_scenes: bool,
    other_conditions: str = "",
) -> Selection:
    """Select committed frames shards by condition, without those of val and test scenes.

    Anything made from val and test scenes would leak into training, so they must be included
    explicitly. `product` is the name of what will be made ("variants"); `other_conditions` is the
    advice in errors on using frames of other conditions, if possible. Raises InvalidRequest if no
    frame is left.
    """
    selection = Selection([], {})
    for entry in frames_entries(manifest):
        if reason := _reason_to_skip(entry, conditions, product, include_evaluation_scenes):
            count = selection.skipped.get(reason, 0) + entry.rows.num_rows
            selection.skipped[reason] = count
        elif entry.rows.num_rows:
            selection.kept.append(entry)
    if selection.kept:
        return selection
    reasons = "; ".join(f"{n} {reason}" for reason, n in selection.skipped.items()) or "all are bad"
    raise InvalidRequest(
        f"No frame of {manifest.root} is available for {product}: {reasons}. Ingest the train "
        f"split, {other_conditions and f'{other_conditions}, '}or pass "
        f"--include-evaluation-scenes if these {product} will never be used for training."
    )


def _reason_to_skip(
    entry: Entry, conditions: Collection[Condition], product: str, include_evaluation_scenes: bool
) -> str:
    """Reason to leave out a frames shard; "" if it may be used."""
    split, condition = entry.about.get("split", "none"), entry.about.get("condition", "clear")
    if condition not in conditions:
        return f"{condition} frames: {product} are made from {', '.join(conditions)} frames"
    if split in EVALUATION_SPLITS and not include_evaluation_scenes:
        return (
            f"frames of {split} scenes: training on their {product} would leak the evaluation "
            "(--include-evaluation-scenes uses them)"
        )
    return ""
