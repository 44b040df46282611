"""Layout `md4all`: translated images under the names of their clear frames.

    night/samples/CAM_FRONT/<file>.jpg                       nuScenes, 576 x 320 pixels
    night/<traverse>/stereo/left/<timestamp>.png             RobotCar, 544 x 320 pixels

md4all reads them from a folder `translated`, and neither resizes them nor has a place for a second
variant of a frame.
"""

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import cv2

from nightrain.datasets.errors import BrokenSource, DamagedInput, InvalidRequest
from nightrain.datasets.io.images import decode_jpeg, encode_jpeg, jpeg_size, resize_image
from nightrain.datasets.io.marks import marked, read_mark
from nightrain.datasets.io.untrusted import Files, check_name
from nightrain.datasets.shards.recipe_records import condition_of
from nightrain.datasets.sources.nuscenes.config import WORLD_VERSION
from nightrain.datasets.sources.nuscenes.tables import read_tables
from nightrain.pipelines.export.job import ExportDatasetJob
from nightrain.pipelines.export.layout import Names, TreeLayout
from nightrain.pipelines.export.payloads import Payload
from nightrain.pipelines.export.selection import ExportRow, ExportSelection, unique

NUSCENES_SIZE, ROBOTCAR_SIZE = (576, 320), (544, 320)
FURTHER_VARIANT = "further variants of a frame, for which md4all has no place"


class Md4AllLayout(TreeLayout):
    """Variants under the file names of their frames, at the size that md4all trains with."""

    def __init__(self, job: ExportDatasetJob, selection: ExportSelection) -> None:
        found = unique(selection, "source_dataset")
        if found not in (["nuscenes"], ["world"], ["robotcar"]):
            raise InvalidRequest(
                f"{job.dataset} holds frames of {', '.join(found) or 'no source'}; md4all reads "
                "nuScenes or RobotCar. Export the variants of one of these."
            )
        self._is_robotcar = found == ["robotcar"]
        self._size = job.size or (ROBOTCAR_SIZE if self._is_robotcar else NUSCENES_SIZE)
        _require_one_table_each(selection)
        self._name_of = {} if self._is_robotcar else _names(job, found[0], selection)
        self._first = _first_variants(selection)

    def is_left_out(self, row: ExportRow) -> str:
        """Reason why a row has no place."""
        is_first = self._first[row.facts["frame_id"], row.facts["condition"]] == row.key
        return "" if is_first else FURTHER_VARIANT

    def names(self, row: ExportRow) -> Names:
        """Name of the image."""
        facts, condition = row.facts, row.facts["condition"]
        if self._is_robotcar:
            name = f"{facts['scene_id']}/stereo/left/{facts['timestamp_us']}.png"
        elif (name := self._name_of.get(facts["source_id"], "")) == "":
            raise InvalidRequest(
                f"--source has no image {facts['source_id']!r:.60} of frame {facts['frame_id']}. "
                "Name the folder that the frames were ingested from."
            )
        return {"image": f"{condition}/{check_name(name)}"}

    def encoder(self, payload: Payload, data: bytes) -> Callable[[], bytes] | None:
        """Function that encodes an image at md4all's size; None for one that has it already."""
        if not self._is_robotcar and jpeg_size(data) == self._size:
            return None
        return partial(self._resized, data)

    def _resized(self, data: bytes) -> bytes:
        image = resize_image(decode_jpeg(data), self._size)
        if self._is_robotcar:
            ok, png = cv2.imencode(".png", image[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])
            assert ok
            made = png.tobytes()
        else:
            made = encode_jpeg(image)
        mark = read_mark(data)
        return made if mark is None else marked(made, mark)


def _require_one_table_each(selection: ExportSelection) -> None:
    """Raise InvalidRequest where two recipes would write the same files."""
    tables: dict[str, set[str]] = {}
    for group in selection.groups:
        for part in group.shown:
            table = part.file.path.rpartition("/")[0]
            tables.setdefault(condition_of(table), set()).add(table)
    if twice := [sorted(found) for found in tables.values() if len(found) > 1]:
        raise InvalidRequest(
            f"{' and '.join(twice[0])} would have the same file names. Choose one with --recipe."
        )


def _first_variants(selection: ExportSelection) -> Mapping[tuple[str, str], str]:
    """First variant that is not left out, by frame and condition."""
    found: dict[tuple[str, str], tuple[int, str]] = {}
    columns = ["frame_id", "condition", "variant_index", "sample_id"]
    for group in selection.groups:
        for part in group.shown:
            for facts in part.facts.select(columns).to_pylist():
                key = facts["frame_id"], facts["condition"]
                ours = facts["variant_index"] or 0, facts["sample_id"]
                found[key] = min(found.get(key, ours), ours)
    return {key: name for key, (_, name) in found.items()}


def _names(job: ExportDatasetJob, source: str, selection: ExportSelection) -> dict[str, str]:
    """File names of images by their tokens, from the tables of nuScenes."""
    if job.source is None:
        raise InvalidRequest(
            "md4all names translated images as nuScenes names its files, which are not in the "
            "dataset. Name the folder of nuScenes, or of the world, with --source."
        )
    version = WORLD_VERSION if source == "world" else _version(job.dataset)
    try:
        tables = read_tables(Files.below(job.source), version, unique(selection, "camera"))
    except DamagedInput as error:
        raise BrokenSource(f"{job.source}: {error}") from error
    return {record["token"]: record["filename"] for record in tables.records["sample_data"]}


def _version(dataset: Path) -> str:
    """Version folder that the frames were ingested from, as the plan records it."""
    from nightrain.datasets.shards.frame_plan import read_plans

    versions = {(plan.options or {}).get("version", "") for plan in read_plans(dataset)}
    if len(versions) != 1:
        raise InvalidRequest(
            f"{dataset} was ingested from several versions: {json.dumps(sorted(versions))}. "
            "Export a dataset with one of them."
        )
    return versions.pop()
