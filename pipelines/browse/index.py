"""Sample index: filters, pages, counts and histograms of a dataset's samples, in memory."""

from collections import OrderedDict
from pathlib import Path
from threading import RLock
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from nightrain.datasets.shards.reviews import Review
from nightrain.pipelines.browse.sample_filter import FACETS, SEARCHED, SampleFilter
from nightrain.pipelines.browse.sample_rows import SampleRows
from nightrain.pipelines.browse.shown_files import KINDS, REJECTED, VARIANT
from nightrain.pipelines.browse.verdicts import Verdict, Verdicts

CACHED_FILTERS = 32
MOST_VALUES = 300  # of a facet
SHOWN = ("key", "frame_id", "kind", "condition", "recipe", "scene_id", "camera", "severity")
SHOWN += ("width", "height", "codes")
Counts = list[tuple[str, int]]


class SampleIndex:
    """Samples by number and key; every method may be called from several threads."""

    def __init__(self, root: Path, rows: SampleRows, reviewer: str = "") -> None:
        self.root, self.rows = root, rows
        self.verdicts = Verdicts(root, reviewer)
        self._numbers = {key: n for n, key in enumerate(rows.table.column("key").to_pylist())}
        self._found: OrderedDict[str, np.ndarray] = OrderedDict()
        self._lock = RLock()
        self._connection = duckdb.connect()
        self._connection.register("rows_in_memory", _queried(rows))
        searched = f"lower(concat_ws(chr(10), {', '.join(SEARCHED)})) AS searched"
        self._connection.execute(f"CREATE TABLE rows AS SELECT *, {searched} FROM rows_in_memory")
        self._connection.unregister("rows_in_memory")
        self.refresh()

    def __len__(self) -> int:
        return self.rows.table.num_rows

    @property
    def problems(self) -> dict[str, str]:
        """What cannot be read, by path."""
        reviews = {"_reviews": self.verdicts.problem} if self.verdicts.problem else {}
        return self.rows.problems | reviews

    def number(self, key: str) -> int | None:
        """Number of a sample; None for an unknown key."""
        return self._numbers.get(key)

    def row(self, number: int) -> dict[str, Any]:
        """Columns of a sample."""
        return self.rows.table.slice(number, 1).to_pylist()[0]

    def review(self, number: int) -> Review | None:
        """Verdict on a sample."""
        sample_id = self.rows.table.column("sample_id")[number].as_py()
        return self.verdicts.reviews.get(sample_id)

    def refresh(self) -> None:
        """Take up verdicts that this or another process has recorded."""
        with self._lock:
            if self.verdicts.refresh():
                reviews = self.verdicts.reviews
                table = pa.table(
                    {
                        "sample_id": pa.array(list(reviews), pa.string()),
                        "verdict": pa.array([r.verdict for r in reviews.values()], pa.string()),
                    }
                )
                self._connection.register("reviews_in_memory", table)
                self._connection.execute(
                    "CREATE OR REPLACE TABLE reviews AS SELECT * FROM reviews_in_memory"
                )
                self._connection.unregister("reviews_in_memory")
                self._found.clear()

    def record(self, number: int, verdict: Verdict, reason: str) -> Review | None:
        """Record a verdict on a sample; raises InvalidRequest, DiskFull."""
        sample_id = self.rows.table.column("sample_id")[number].as_py()
        with self._lock:
            recorded = self.verdicts.record(sample_id, verdict, reason)
            self.refresh()
        return recorded

    def numbers(self, chosen: SampleFilter) -> np.ndarray:
        """Numbers (M,) int64 of the samples that a filter shows, in order; raises InvalidRequest.

        The last filters are remembered, so that pages of one filter cost nothing.
        """
        with self._lock:
            text = chosen.model_dump_json(include={*SampleFilter.model_fields})
            if text in self._found:
                self._found.move_to_end(text)
                return self._found[text]
            where, values = chosen.where(self.rows.measures)
            order = chosen.order(self.rows.measures)
            sql = f"SELECT n FROM {_JOINED} WHERE {where} ORDER BY {order}"
            found = self._connection.execute(sql, values).fetchnumpy()["n"].astype(np.int64)
            self._found[text] = found
            while len(self._found) > CACHED_FILTERS:
                self._found.popitem(last=False)
            return found

    def page(self, numbers: np.ndarray) -> list[dict[str, Any]]:
        """What a grid shows of some samples."""
        rows = self.rows.table.select([*SHOWN, "sample_id"]).take(pa.array(numbers)).to_pylist()
        for row in rows:
            review = self.verdicts.reviews.get(row.pop("sample_id"))
            row["verdict"] = None if review is None else review.verdict
        return rows

    def facets(self, chosen: SampleFilter) -> dict[str, Counts]:
        """Values of each facet with the number of samples that all other conditions leave."""
        return {name: self._counts(chosen, name) for name in FACETS}

    def scenes(self) -> Counts:
        """First scenes by name, with their number of samples."""
        return self._query(
            "SELECT scene_id, count(*) FROM rows WHERE scene_id IS NOT NULL GROUP BY 1 ORDER BY 1 "
            f"LIMIT {MOST_VALUES}"
        )

    def counts_by_kind(self, chosen: SampleFilter, facet: str) -> dict[str, dict[str, int]]:
        """Number of shown samples by the value of a facet and their kind."""
        where, values = chosen.where(self.rows.measures)
        value = "unnest(codes)" if facet == "code" else f"coalesce({FACETS[facet]}, 'none')"
        sql = f"SELECT {value} AS value, kind, count(*) FROM {_JOINED} WHERE {where} GROUP BY 1, 2"
        found: dict[str, dict[str, int]] = {}
        for name, kind, count in self._query(f"{sql} ORDER BY 1, 2 LIMIT {MOST_VALUES}", values):
            found.setdefault(name, {})[kind] = count
        return found

    def of_frame(self, frame_id: str) -> list[dict[str, Any]]:
        """Samples of a clear frame: its variants, what was rejected, and itself."""
        return self.page(self.numbers(SampleFilter(frame=frame_id))[:MOST_VALUES])

    def _counts(self, chosen: SampleFilter, facet: str) -> Counts:
        where, values = chosen.where(self.rows.measures, without=facet)
        value = "unnest(codes)" if facet == "code" else f"coalesce({FACETS[facet]}, 'none')"
        sql = f"SELECT {value} AS value, count(*) AS many FROM {_JOINED} WHERE {where} GROUP BY 1"
        order = f"list_position({list(KINDS)}, value)" if facet == "kind" else "value"
        return self._query(f"{sql} ORDER BY {order} LIMIT {MOST_VALUES}", values)

    def _query(self, sql: str, values: list[Any] | None = None) -> list[Any]:
        with self._lock:
            return self._connection.execute(sql, values or []).fetchall()


_JOINED = (
    "(SELECT rows.*, coalesce(reviews.verdict, 'none') AS verdict FROM rows "
    "LEFT JOIN reviews USING (sample_id))"
)


def _queried(rows: SampleRows) -> pa.Table:
    """Columns that filters and counts use, with one per measure."""
    table = rows.table.drop_columns(["physical", "gate_scores", "severity", "seed_number"])
    table = table.drop_columns(["gen_seconds", "timestamp_us"])
    table = table.append_column("n", pa.array(np.arange(table.num_rows, dtype=np.int64)))
    first = {}
    for n, name in enumerate(rows.table.column("frame_id").to_pylist()):
        first.setdefault(name, rows.frame_at.get(name, n))
    frames = [first[name] for name in rows.table.column("frame_id").to_pylist()]
    table = table.append_column("frame_position", pa.array(frames, pa.int64()))
    for name, values in rows.measures.items():
        column = pa.array(values, pa.float64(), from_pandas=True)
        table = table.append_column(f"measure {name}", column)
    return table


def is_reviewable(kind: str) -> bool:
    """Whether people's verdicts apply to a sample: variants, accepted or rejected by gates."""
    return kind in (VARIANT, REJECTED)
