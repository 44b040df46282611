"""Details of a sample: every field of its row, its scores, provenance and pictures, as JSON."""

import math
from collections.abc import Mapping
from datetime import date
from typing import Any

from nightrain.datasets.errors import NightrainError
from nightrain.pipelines.browse.index import SampleIndex, is_reviewable
from nightrain.pipelines.browse.pictures import NamedPicture, Pictures, payload
from nightrain.pipelines.browse.sample_rows import flat_scores, json_list, json_object
from nightrain.pipelines.browse.shown_files import FRAME

PICTURE_COLUMNS = {"image", "confidence", "exact_depth", "lidar_depth", "depth", "inverse_depth"}
PICTURE_COLUMNS |= {"previous_image", "next_image", "stereo_image"}
MOST_EXACT = 2**53 - 1  # JavaScript rounds larger integers, such as seeds
OWN_PLACE = {"prompt", "caption", "gate_scores", "provenance", "rejected_seeds", "variant"}


def details(index: SampleIndex, pictures: Pictures, number: int) -> dict[str, Any]:
    """All that a sample's page shows; what cannot be read is listed, and the rest is returned."""
    known, problems = index.row(number), list[str]()
    rows = _Rows(pictures, problems)
    row = rows.read(index.rows.files[known["file"]], known["row"])
    variant = json_object(row.get("variant"))
    values = {**known, **variant, **{k: v for k, v in row.items() if v is not None}}
    named = [one for one in pictures.named(number) if rows.has(one)]
    review = index.review(number)
    return {
        "key": known["key"],
        "kind": known["kind"],
        "condition": known["condition"],
        "frame_id": known["frame_id"],
        "severity": plain(known["severity"]),
        "prompt": values.get("prompt"),
        "caption": values.get("caption"),
        "message": known["message"],
        "codes": known["codes"] or [],
        "gates": values.get("gates"),
        "scores": flat_scores(json_object(known["gate_scores"])),
        "rejected_seeds": plain(json_list(values.get("rejected_seeds"))),
        "provenance": plain(json_object(values.get("provenance"))),
        "fields": _fields(row, variant),
        "pictures": [{"name": one.name, "words": one.words} for one in named],
        "size": _size(index, known),
        "reviewable": is_reviewable(known["kind"]),
        "review": None if review is None else review.model_dump(mode="json"),
        "of_frame": index.of_frame(known["frame_id"]),
        "file": {"path": index.rows.files[known["file"]].path, "row": known["row"]},
        "problems": problems,
    }


class _Rows:
    """Reads rows, each once; puts what cannot be read in `problems`."""

    def __init__(self, pictures: Pictures, problems: list[str]) -> None:
        self._pictures, self._problems = pictures, problems
        self._read: dict[tuple[str, int], Mapping[str, Any]] = {}

    def read(self, file: Any, row: int) -> Mapping[str, Any]:
        if (file.path, row) not in self._read:
            try:
                self._read[file.path, row] = self._pictures.row(file, row)
            except NightrainError as error:
                self._read[file.path, row] = {}
                self._problems.append(str(error))
        return self._read[file.path, row]

    def has(self, picture: NamedPicture) -> bool:
        return payload(dict(self.read(picture.file, picture.row)), picture.column) is not None


def _fields(row: Mapping[str, Any], variant: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Names and values of all columns, without pictures and what has its own place."""
    left_out = PICTURE_COLUMNS | OWN_PLACE
    found = {name: value for name, value in row.items() if name not in left_out}
    found |= {f"variant.{k}": v for k, v in variant.items() if k not in left_out and k not in row}
    return [(name, plain(value)) for name, value in found.items()]


def _size(index: SampleIndex, known: Mapping[str, Any]) -> tuple[int, int] | None:
    """Width and height that pictures are shown at: those of the clear frame if it is there."""
    frame = index.rows.frame_at.get(known["frame_id"]) if known["kind"] != FRAME else None
    row = known if frame is None else index.row(frame)
    return (row["width"], row["height"]) if row["width"] and row["height"] else None


def plain(value: Any) -> Any:
    """Value that JavaScript has: times and large integers as text, null for what is not finite."""
    if isinstance(value, Mapping):
        return {str(name): plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int) and abs(value) > MOST_EXACT:
        return str(value)
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    return value.isoformat() if isinstance(value, date) else value
