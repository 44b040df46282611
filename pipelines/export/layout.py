"""Layouts of exported trees: the file of each payload, and a row of the metadata table."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from nightrain.pipelines.export.payloads import Payload, PayloadReader
from nightrain.pipelines.export.selection import ExportRow

Names = dict[Payload, str]  # below the folder of the export


class TreeLayout(ABC):
    """A tree of files; two rows may share a file, such as the depth of a frame."""

    @abstractmethod
    def names(self, row: ExportRow) -> Names:
        """Name of the file of each payload that a row could have."""

    def texts(self, row: ExportRow) -> Mapping[str, str]:
        """Text files that a row needs, such as a calibration."""
        return {}

    def encoder(self, payload: Payload, data: bytes) -> Callable[[], bytes] | None:
        """Function that makes the bytes to write; None where they are those of the shard.

        It runs in a thread.
        """
        return None

    def is_left_out(self, row: ExportRow) -> str:
        """Reason why the layout has no place for a row; "" if it has one."""
        return ""


def record(row: ExportRow, names: Mapping[Payload, str], payloads: PayloadReader) -> dict[str, Any]:
    """Row of the metadata table: names of the files, origin, settings, sizes and rights.

    The keys `file_name` and `..._file_name` are those of Hugging Face's image folders. Intrinsics
    are 3 x 3, row by row, in pixels of the file that they belong to.
    """
    facts = row.facts
    has = {kind: name for kind, name in names.items() if payloads.has(row, kind)}
    label = row.label or {}
    return {
        "file_name": names.get("image"),
        "sample_id": row.key,
        "frame_id": facts["frame_id"],
        "is_generated": row.is_generated,
        **{key: facts[key] for key in ("split", "condition")},
        **{key: facts.get(key) for key in _SETTINGS},
        **{key: facts[key] for key in _ORIGIN},
        "depth_file_name": has.get("depth"),
        "depth_kind": payloads.depth_kind(row) if "depth" in has else None,
        **_size("depth_", label if payloads.depth_kind(row) == "label" else row.frame),
        "lidar_file_name": has.get("velodyne"),
        "label_file_name": has.get("label"),
        "label_confidence_file_name": has.get("label_confidence"),
        **_size("label_", label),
        "teacher": label.get("teacher"),
        "confidence_file_name": has.get("confidence"),
        **{key: facts[key] for key in ("licence", "attribution")},
    }


_SETTINGS = (
    *("severity", "physical", "seed", "prompt", "recipe", "recipe_hash", "engine"),
    *("engine_version", "variant_index", "gates"),
)
_ORIGIN = (
    *("scene_id", "camera", "timestamp_us", "source_dataset", "source_id"),
    *("width", "height", "intrinsics"),
)


def _size(prefix: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{prefix}{key}": facts.get(key) for key in ("width", "height", "intrinsics")}
