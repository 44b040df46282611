"""Matching of pictures with frames by name."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nightrain.datasets.io.pairing import Name, pair
from nightrain.datasets.shards.manifest import Entry, Manifest
from nightrain.pipelines.engines.imported.listing import PictureListing
from nightrain.pipelines.import_variants.found import Found

COLUMNS = ("frame_id", "source_id", "scene_id", "camera", "timestamp_us")


@dataclass(frozen=True, slots=True)
class Matched:
    """Listing of the pictures of frames, and the pictures that are of none."""

    listing: PictureListing
    num_frames: int  # to generate from
    unmatched: list[str]
    unclear: dict[str, list[str]]  # source ids of the frames that a picture may be of
    elsewhere: int  # pictures of frames that no variants are generated from

    @property
    def num_without(self) -> int:
        """Number of frames without a picture, or with several."""
        return self.num_frames - len(self.listing.pictures)


def match_frames(
    manifest: Manifest,
    folder: Path,
    found: Found,
    selected: Sequence[Entry],
    every: Sequence[Entry],
) -> Matched:
    """Match pictures with the selected frames; `every` is all frames, which may explain others."""
    of_frame: dict[str, dict[str, object]] = {}
    for entry in every:
        table = manifest.reader(entry.rows).scan(list(COLUMNS))
        of_frame |= {row["frame_id"]: row for row in table.to_pylist()}
    wanted = {
        name
        for entry in selected
        for name in manifest.reader(entry.rows).scan(["frame_id"]).column(0).to_pylist()
    }
    paired = pair(found.names, {name: list(_names(row)) for name, row in of_frame.items()})
    ours = {name: place for name, place in sorted(paired.found.items()) if name in wanted}
    problems = {
        name: f"found {len(places)} pictures of this frame, {' and '.join(places[:2])}; expected "
        "one. Import them from folders of their own, under other names"
        for name, places in sorted(paired.doubled.items())
        if name in wanted
    }
    listing = PictureListing(
        folder=str(folder.resolve()),
        column=found.column,
        pictures={name: found.pictures[place] for name, place in ours.items()},
        problems=problems,
    )
    return Matched(
        listing=listing,
        num_frames=len(wanted),
        unmatched=paired.unmatched,
        unclear={
            place: [str(of_frame[name]["source_id"]) for name in names]
            for place, names in paired.unclear.items()
        },
        elsewhere=len(paired.found) - len(ours),
    )


def _names(row: dict[str, object]) -> Iterator[Name]:
    """Names that a frame goes by: its id, its name in the source, its channel and time."""
    folders = (str(row["scene_id"]), str(row["camera"]))
    yield (*folders, str(row["frame_id"]))
    yield (*folders, *str(row["source_id"]).split("/"))
    yield (*folders, f"{row['camera']}__{row['timestamp_us']}")
