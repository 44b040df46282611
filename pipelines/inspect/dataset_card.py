"""Dataset card: the README.md of a dataset, generated from the manifest."""

from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

import yaml

from nightrain.datasets.io.atomic import replace_file
from nightrain.datasets.shards.manifest import FRAMES, Entry, Manifest
from nightrain.datasets.shards.recipe_records import (
    VARIANTS,
    recipe_records,
    superseded_tables,
)
from nightrain.datasets.shards.schema import SCHEMA_VERSION
from nightrain.datasets.splits import NO_SPLIT

LICENCE_NAMES = {
    "CC-BY-NC-SA-4.0": "cc-by-nc-sa-4.0",
    "CC-BY-NC-SA-3.0": "cc-by-nc-sa-3.0",
    "Apache-2.0": "apache-2.0",
}


def write_card(root: Path) -> Path:
    """Write DATASET/README.md unless it is up to date; return its path.

    It names the tables, the format and the licence.
    """
    manifest = Manifest(root)
    tables = {name: manifest.entries(name) for name in manifest.tables()}
    path = root / "README.md"
    card = _card(tables, config_names(root, tables)).encode()
    if not path.is_file() or path.read_bytes() != card:
        replace_file(root, path, card)
    return path


def config_names(root: Path, tables: Iterable[str]) -> dict[str, list[str]]:
    """Names of each table for readers: "frames", "weather-night"; none for a superseded table.

    A table of variants is called after each recipe that uses it. Raises CorruptShard.
    """
    superseded = {found.table for found in superseded_tables(root)}
    names: dict[str, list[str]] = {table: [] for table in tables}
    for name, records in recipe_records(root).items():
        for condition, table in records[-1].tables.items():
            names.setdefault(table, []).append(f"{name}-{condition}")
    for table in names.keys() - superseded:
        names[table] = names[table] or [table.removeprefix("variants/").replace("/", "-")]
    return names


def _card(tables: dict[str, list[Entry]], names: dict[str, list[str]]) -> str:
    licences = sorted({e.about["licence"] for e in tables.get(FRAMES, []) if "licence" in e.about})
    front = {
        "license": LICENCE_NAMES.get(licences[0], "other") if len(licences) == 1 else "other",
        "task_categories": ["depth-estimation"],
        "tags": ["driving", "night", "rain", "snow", "fog", "nightrain"],
        "configs": [
            {"config_name": name, "data_files": _data_files(table, entries)}
            for table, entries in tables.items()
            for name in names[table]
        ],
    }
    lines = ["| table | name | shards | rows | quarantined | MB |", "|---|---|---|---|---|---|"]
    for name, entries in tables.items():
        rows = sum(e.rows.num_rows for e in entries)
        quarantined = sum(sum(e.counts.values()) for e in entries)
        megabytes = sum(e.rows.num_bytes for e in entries) / 1e6
        called = ", ".join(names[name]) or "superseded"
        lines.append(
            f"| {name} | {called} | {len(entries)} | {rows} | {quarantined} | {megabytes:.1f} |"
        )
    return (
        f"---\n{yaml.safe_dump(front, sort_keys=False)}---\n\n"
        "# Clear frames and their night, rain, snow and fog variants\n\n"
        f"Written by nightrain, schema version {SCHEMA_VERSION}. `variants.frame_id` is the "
        "frame that a variant was generated from; its geometry is that frame's. Depth maps are "
        "16-bit PNG, metres x 256, 0 = none. Row i of a shard of `labels/` is a teacher's depth of "
        "row i of the frames shard of the same number. `_manifest/` lists the committed files; "
        "check them with `nightrain verify`. A superseded table was generated with settings that "
        "its recipe no longer has.\n\n" + "\n".join(lines) + "\n\n"
        f"{_variants_view([t for t in tables if t.startswith(VARIANTS) and names[t]])}"
        f"Licence of the source frames: {', '.join(licences) or 'unknown'}. Variants are "
        "derivatives of the frames: the same terms, attribution and restrictions apply to them. "
        "This is not legal advice.\n"
    )


def _variants_view(current: list[str]) -> str:
    """SQL of a view of the variants that are not superseded; "" without any."""
    if not current:
        return ""
    globs = ",\n".join(f"  '{table}/*.parquet'" for table in current)
    return (
        "All variants except superseded ones, in DuckDB, run in this folder:\n\n```sql\n"
        f"create view variants as select * from read_parquet([\n{globs}\n]);\n```\n\n"
    )


def _data_files(table: str, entries: list[Entry]) -> list[dict[str, object]]:
    """Files by split, as Hugging Face's viewer expects them.

    They are patterns: one for a table of one split, and a few for each run of shards in a table of
    several splits, so that the card does not grow with the number of shards.
    """
    split_of = {entry.shard.number: entry.about.get("split", NO_SPLIT) for entry in entries}
    splits: dict[str, list[str]] = {}
    for split, numbers in groupby(sorted(split_of), key=lambda number: split_of[number]):
        run = list(numbers)
        found = splits.setdefault(split, [])
        found += [f"{table}/{p}[.-]*parquet" for p in number_patterns(run[0], run[-1])]
    if len(splits) == 1:
        splits = {split: [f"{table}/*.parquet"] for split in splits}
    return [{"split": split, "path": paths} for split, paths in sorted(splits.items())]


def number_patterns(first: int, last: int) -> Iterator[str]:
    """Yield glob patterns that together match the numbers of shards from `first` to `last`.

    `0001[2-9]` and `000[2-3][0-9]` are those of 12 to 39.
    """
    while first <= last:
        num_digits = max(5, len(str(first)))
        end = min(last, 10**num_digits - 1)
        zeros = 0  # last digits of a block of numbers, all of which are in the range
        while first % 10 ** (zeros + 1) == 0 and first + 10 ** (zeros + 1) - 1 <= end:
            zeros += 1
        zeros = min(zeros, num_digits - 1)
        rest, digit = divmod(first // 10**zeros, 10)
        num_blocks = min((end + 1 - first) // 10**zeros, 10 - digit)
        lead = f"{rest:0{num_digits - zeros - 1}d}" if num_digits > zeros + 1 else ""
        digits = str(digit) if num_blocks == 1 else f"[{digit}-{digit + num_blocks - 1}]"
        yield f"{lead}{digits}{'[0-9]' * zeros}"
        first += num_blocks * 10**zeros
