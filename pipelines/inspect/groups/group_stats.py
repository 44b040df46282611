"""Group statistics: counts, means and shares of frames and variants, one row per group of keys.

They come from stored columns, so that 100,000 rows take one or two seconds; some pictures of each
group are decoded on request.
"""

from pathlib import Path
from typing import Any

import duckdb
from pydantic import BaseModel, computed_field

from nightrain.datasets.errors import InvalidRequest, Reason
from nightrain.pipelines.inspect.current_entries import Problems
from nightrain.pipelines.inspect.groups.files import group_files
from nightrain.pipelines.inspect.groups.keys import NONE, GroupKey
from nightrain.pipelines.inspect.groups.pictures import pictures_of_groups
from nightrain.pipelines.inspect.groups.rows import LUMA_SCORES, PHYSICAL_NAMES, load_rows

Found = dict[str, Any]  # a row of a query, by column


class SeverityOfGroup(BaseModel):
    """Range and mean of the severity, 0 to 1, of a group's variants."""

    lowest: float
    mean: float
    highest: float


class Group(BaseModel):
    """Statistics of one group; a share or a mean is None where nothing has a value.

    A variant has the LiDAR, depth and label of its clear frame.
    """

    keys: dict[GroupKey, str]
    num_frames: int = 0
    num_variants: int = 0
    num_accepted: int = 0  # variants that gates judged and accepted
    num_rejected: int = 0  # variants that gates rejected with their last seed, in quarantine now
    num_failed: int = 0  # frames and variants in quarantine for any other reason
    reasons: dict[str, int] = {}  # codes of gates and other reasons, most frequent first
    severity: SeverityOfGroup | None = None
    physical: dict[str, float] = {}  # means, by names that end with their units
    highlight_luma: float | None = None  # mean of the 99th percentile of luma, 0 to 255
    luma_spread: float | None = None  # mean of the standard deviation of luma, 0 to 255
    luma: float | None = None  # mean over the decoded pictures, 0 to 255
    luma_span: float | None = None  # mean of the 95th less the 5th percentile
    red_over_blue: float | None = None  # mean red over mean blue: above 1 is warm
    num_pictures: int = 0  # that were decoded
    lidar_share: float | None = None  # share of frames and variants with LiDAR depth
    exact_depth_share: float | None = None
    labelled_share: float | None = None  # share of frames and variants with a label
    confident_share: float | None = None  # mean share of a label's pixels with confidence >= 0.5
    num_prompts: int = 0
    num_seeds: int = 0
    sizes: dict[str, int] = {}  # rows by "1600x900", most frequent first
    gen_seconds: float = 0.0  # spent in engines
    gigabytes: float = 0.0  # of committed files; a shard's bytes count in equal parts for its rows

    @computed_field
    @property
    def accepted_share(self) -> float | None:
        """Share of the variants judged by gates that were accepted; None if none was judged."""
        judged = self.num_accepted + self.num_rejected
        return self.num_accepted / judged if judged else None


class GroupReport(BaseModel):
    """Statistics by group, in the order of the keys' texts."""

    by: tuple[GroupKey, ...]
    problems: Problems = {}  # files that cannot be read, and why; left out of the rest
    groups: list[Group] = []


def group_stats_by(root: Path, by: tuple[GroupKey, ...], pictures: int = 0) -> GroupReport:
    """Compute statistics by the values of some keys, and decode some pictures of each group.

    Raises InvalidRequest for a dataset without a committed frame or variant, and PlanMismatch for
    one of another schema version.
    """
    problems: Problems = {}
    files = group_files(root, by, problems)
    with duckdb.connect() as connection:
        load_rows(connection, root, files, by, problems)
        groups = _groups(connection, by)
        if pictures:
            shown = [*files.frames, *files.variants]
            seen = pictures_of_groups(connection, root, shown, pictures, problems)
            for keys, means in seen.items():
                groups[keys] = groups[keys].model_copy(update=means._asdict())
    if not groups:
        raise InvalidRequest(_nothing(root, problems))
    ordered = sorted(groups.items(), key=lambda item: tuple((t == NONE, t) for t in item[0]))
    return GroupReport(by=by, problems=problems, groups=[group for _, group in ordered])


def _nothing(root: Path, problems: Problems) -> str:
    if problems:
        path, problem = next(iter(problems.items()))
        return (
            f"{root} has no frame or variant that can be read; {len(problems)} files cannot: "
            f"{path}: {problem}. Run `nightrain repair {root}` to see what can be done."
        )
    return (
        f"{root} has no committed frame or variant yet. Run the same `nightrain ingest` or "
        "`nightrain generate` again: it finishes what was interrupted."
    )


def _groups(
    connection: duckdb.DuckDBPyConnection, by: tuple[GroupKey, ...]
) -> dict[tuple[str, ...], Group]:
    groups: dict[tuple[str, ...], Group] = {}

    def group(row: Found) -> Group:
        texts = tuple(row.pop(f"key{number}") for number in range(len(by)))
        return groups.setdefault(texts, Group(keys=dict(zip(by, texts, strict=True))))

    for row in _query(connection, _SAMPLES):
        of = group(row)
        groups[tuple(of.keys.values())] = of.model_copy(update=_measures(row))
    for row in _query(connection, _REJECTED.format("reason")):
        of, reason, count = group(row), row["value"], row["num"]
        if reason == Reason.GATE_REJECTED:
            of.num_rejected += count
        else:
            of.num_failed += count
            of.reasons[reason] = count
    for row in _query(connection, _REJECTED.format("unnest(codes)")):
        group(row).reasons[row["value"]] = row["num"]
    for of in groups.values():
        of.reasons = _most_first(of.reasons)
    return groups


_MEANS = (*PHYSICAL_NAMES, *LUMA_SCORES)
_SAMPLES = f"""
SELECT COLUMNS('^key[0-9]+$'),
    count(*) FILTER (NOT is_variant) AS num_frames,
    count(*) FILTER (is_variant) AS num_variants, count(*) FILTER (judged) AS num_accepted,
    min(severity) AS lowest, avg(severity) AS mean, max(severity) AS highest,
    {", ".join(f"avg({name}) AS {name}" for name in _MEANS)},
    avg(lidar::INT) AS lidar_share, avg(exact::INT) AS exact_depth_share,
    avg(coalesce(labelled, false)::INT) AS labelled_share, avg(confident) AS confident_share,
    count(DISTINCT prompt) AS num_prompts, count(DISTINCT seed) AS num_seeds,
    histogram(width || 'x' || height) AS sizes,
    coalesce(sum(gen_seconds), 0) AS gen_seconds, coalesce(sum(row_bytes), 0) / 1e9 AS gigabytes
FROM samples LEFT JOIN frame_facts USING (frame_id) LEFT JOIN (
    SELECT frame_id, bool_or(labelled) AS labelled, avg(confident) AS confident
    FROM label_facts GROUP BY frame_id) USING (frame_id)
GROUP BY ALL
"""
_REJECTED = """
SELECT COLUMNS('^key[0-9]+$'), value, count(*) AS num
FROM (SELECT *, {} AS value FROM rejected) GROUP BY ALL
"""


def _query(connection: duckdb.DuckDBPyConnection, sql: str) -> list[Found]:
    cursor = connection.execute(sql)
    names = [name for name, *_ in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _measures(row: Found) -> Found:
    """Fields of a group from a row of `_SAMPLES`."""
    lowest, mean, highest = (row.pop(name) for name in ("lowest", "mean", "highest"))
    severity = None if mean is None else SeverityOfGroup(lowest=lowest, mean=mean, highest=highest)
    physical = {name: value for name in PHYSICAL_NAMES if (value := row.pop(name)) is not None}
    return row | {"severity": severity, "physical": physical, "sizes": _most_first(row["sizes"])}


def _most_first(counts: dict[str, int] | None) -> dict[str, int]:
    return dict(sorted((counts or {}).items(), key=lambda item: (-item[1], item[0])))
