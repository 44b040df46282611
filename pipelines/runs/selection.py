"""Selection of committed frames: those that something may be made of."""

from collections.abc import Collection
from dataclasses import dataclass

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.shards.manifest import FRAMES, Entry, Manifest

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
