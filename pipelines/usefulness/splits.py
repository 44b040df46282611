"""Splits of a study: what is selected on one is reported on another, of other places."""

from itertools import combinations
from typing import NamedTuple

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.protocols.leakage import read_set
from nightrain.datasets.shards.manifest import FRAMES, Manifest
from nightrain.datasets.splits import NO_SPLIT, Split

MAX_NAMED = 3


class StudySplits(NamedTuple):
    """Split that is reported, and the one on which the judged arm is selected (None: none is)."""

    reported: Split
    selected_on: Split | None


def study_splits(manifest: Manifest, wanted: Split | None) -> StudySplits:
    """Choose the splits of a study: test is reported where there is one, else val.

    Nothing is selected on the split that is reported. Raises InvalidRequest where train, val and
    test share a place.
    """
    entries = manifest.entries(FRAMES)
    there = {e.about.get("split", NO_SPLIT) for e in entries if e.rows.num_rows}
    reported: Split = wanted or ("test" if "test" in there else "val")
    splits = StudySplits(reported, "val" if reported == "test" and "val" in there else None)
    _require_other_places(manifest, tuple(s for s in ("train", "val", "test") if s in there))
    return splits


def _require_other_places(manifest: Manifest, splits: tuple[str, ...]) -> None:
    scenes = {s: read_set(manifest.root, (s,), images=False).scenes for s in splits}
    places = {s: {(one.source, one.drive) for one in found} for s, found in scenes.items()}
    for one, other in combinations(splits, 2):
        if shared := sorted(drive for _, drive in places[one] & places[other]):
            more = ", ..." if len(shared) > MAX_NAMED else ""
            number = f"{len(shared)} place{'s' if len(shared) > 1 else ''}"
            raise InvalidRequest(
                f"{manifest.root} has {number} in {one} and in {other} "
                f"({', '.join(shared[:MAX_NAMED])}{more}); a study needs train, val and test "
                "frames of different places, so ingest each place into one split."
            )
