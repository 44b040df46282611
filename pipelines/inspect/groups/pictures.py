"""Pictures of groups: luma and colour of a few evenly spaced pictures of each group, decoded."""

from pathlib import Path
from typing import NamedTuple

import duckdb
import numpy as np

from nightrain.datasets.errors import CorruptShard, UnreadableFile
from nightrain.datasets.io.images import decode_jpeg
from nightrain.datasets.shards.manifest import Manifest
from nightrain.datasets.shards.parquet import ShardFile, ShardReader
from nightrain.pipelines.inspect.current_entries import Problems
from nightrain.pipelines.inspect.picture_measures import picture_measures

_CHOSEN = """
SELECT COLUMNS('^key[0-9]+$'), filename, file_row_number FROM (
    SELECT *, count(*) OVER of_group AS num_rows,
        row_number() OVER (PARTITION BY COLUMNS('^key[0-9]+$')
            ORDER BY filename, file_row_number) - 1 AS place
    FROM samples WINDOW of_group AS (PARTITION BY COLUMNS('^key[0-9]+$')))
WHERE place * $most // num_rows <> (place - 1) * $most // num_rows OR place = 0
ORDER BY filename, file_row_number
"""


class PicturesOfGroup(NamedTuple):
    """Means over the pictures of a group that were decoded."""

    num_pictures: int
    luma: float  # 0 to 255
    luma_span: float  # 95th less 5th percentile
    red_over_blue: float


def pictures_of_groups(
    connection: duckdb.DuckDBPyConnection,
    root: Path,
    files: list[ShardFile],
    most: int,
    problems: Problems,
) -> dict[tuple[str, ...], PicturesOfGroup]:
    """Measure at most so many pictures of each group of the table `samples`; see rows.py.

    A file that cannot be read is added to `problems`, and its pictures are left out.
    """
    manifest = Manifest(root)
    of_name = {str(root.absolute() / file.path): file for file in files}
    found: dict[tuple[str, ...], list[dict[str, float]]] = {}
    reader: ShardReader | None = None
    for *keys, filename, row in _chosen(connection, most):
        file = of_name[filename]
        if file.path in problems:
            continue
        try:
            if reader is None or reader.file != file:
                reader = manifest.reader(file)
            picture = reader.row(row, ("image",))["image"]["bytes"]
            measures = picture_measures(decode_jpeg(picture))
        except (CorruptShard, UnreadableFile) as error:
            problems[file.path] = str(error)
            continue
        found.setdefault(tuple(keys), []).append(measures)
    return {keys: _means(of_group) for keys, of_group in found.items()}


def _chosen(connection: duckdb.DuckDBPyConnection, most: int) -> list[tuple]:
    return connection.execute(_CHOSEN, {"most": most}).fetchall()


def _means(of_group: list[dict[str, float]]) -> PicturesOfGroup:
    names = ("luma", "span of luma", "red over blue")
    means = (float(np.mean([one[name] for one in of_group])) for name in names)
    return PicturesOfGroup(len(of_group), *means)
