"""Dataset card: README.md and croissant.json of a dataset, generated from the manifest."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path

import yaml

from nightrain.datasets.column_descriptions import describe
from nightrain.datasets.io.atomic import replace_file
from nightrain.datasets.shards.manifest import FRAMES, Entry, Manifest
from nightrain.datasets.shards.recipe_records import (
    VARIANTS,
    recipe_records,
    superseded_tables,
)
from nightrain.datasets.shards.schema import SCHEMA_VERSION
from nightrain.datasets.splits import NO_SPLIT
from nightrain.pipelines.inspect.croissant import SCHEMAS, croissant_json

LICENCE_NAMES = {
    "CC-BY-NC-SA-4.0": "cc-by-nc-sa-4.0",
    "CC-BY-NC-SA-3.0": "cc-by-nc-sa-3.0",
    "Apache-2.0": "apache-2.0",
}
LICENCE_ADDRESSES = {
    "CC-BY-NC-SA-4.0": "https://creativecommons.org/licenses/by-nc-sa/4.0/",
    "CC-BY-NC-SA-3.0": "https://creativecommons.org/licenses/by-nc-sa/3.0/",
    "Apache-2.0": "https://www.apache.org/licenses/LICENSE-2.0",
}
TITLE = "Clear frames and their night, rain, snow and fog variants"
ALL_VARIANTS = "variants"  # configuration of all that are not superseded, which is the default
CARD, CROISSANT = "README.md", "croissant.json"
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (10**6, "100K<n<1M"))

Tables = dict[str, list[Entry]]


def write_card(root: Path) -> Path:
    """Write DATASET/README.md and DATASET/croissant.json unless they are up to date.

    They name the tables, the format and the licence. Returns the path of the card.
    """
    manifest = Manifest(root)
    tables = {name: manifest.entries(name) for name in manifest.tables()}
    names = config_names(root, tables)
    configs = card_configs(tables, names)
    _write(root, root / CROISSANT, _croissant(tables, configs))
    return _write(root, root / CARD, _card(tables, names, configs))


def _write(root: Path, path: Path, text: str) -> Path:
    if not path.is_file() or path.read_bytes() != text.encode():
        replace_file(root, path, text.encode())
    return path


def card_configs(tables: Tables, names: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Tables of each configuration, the default one first: all variants, or without any, frames."""
    current = [table for table in tables if table.startswith(VARIANTS) and names[table]]
    single = {name: [table] for table in tables for name in names[table]}
    if current:
        return {ALL_VARIANTS: current} | single
    return {name: single[name] for name in sorted(single, key=lambda name: name != FRAMES)}


def licences_of(tables: Tables) -> list[str]:
    """Licences of the frames, sorted."""
    return sorted({e.about["licence"] for e in tables.get(FRAMES, []) if "licence" in e.about})


def _croissant(tables: Tables, configs: Mapping[str, Sequence[str]]) -> str:
    sources = sorted({e.about["source"] for e in tables.get(FRAMES, []) if "source" in e.about})
    days = [e.created_at[:10] for entries in tables.values() for e in entries if e.created_at]
    return croissant_json(
        re.sub(r"[^A-Za-z0-9_-]+", "-", f"nightrain-{'-'.join(sources) or 'dataset'}"),
        f"{TITLE}. {CONVENTIONS}",
        [LICENCE_ADDRESSES.get(name, name) for name in licences_of(tables)] or ["unknown"],
        configs,
        date=max(days, default="2026-01-01"),
        cite_as=f"Frames of {', '.join(sources) or 'unknown sources'}; the column attribution says "
        "who is to be named. Variants by nightrain.",
    )


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


def _card(
    tables: Tables, names: Mapping[str, Sequence[str]], configs: Mapping[str, Sequence[str]]
) -> str:
    licences = licences_of(tables)
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
        f"---\n{yaml.safe_dump(_front(tables, configs), sort_keys=False)}---\n\n"
        f"# {TITLE}\n\n"
        f"Written by nightrain, schema version {SCHEMA_VERSION}. {CONVENTIONS} Row i of a shard of "
        "`labels/` is a teacher's depth of row i of the frames shard of the same number. "
        "`_manifest/` lists the committed files; check them with `nightrain verify`. A superseded "
        "table was generated with settings that its recipe no longer has.\n\n"
        f"{_loading(configs)}"
        + "\n".join(lines)
        + f"\n\n{_variants_view([t for t in tables if t.startswith(VARIANTS) and names[t]])}"
        f"{_columns(tables)}"
        f"## Licence\n\nLicence of the source frames: {', '.join(licences) or 'unknown'}. Variants "
        "are derivatives of the frames: the same terms, attribution and restrictions apply to "
        "them. This is not legal advice.\n"
    )


CONVENTIONS = (
    "`variants.frame_id` is the frame that a variant was generated from; its geometry is that "
    "frame's. Depth maps are 16-bit PNG, metres x 256, 0 = none. Cameras look along +z, with x to "
    "the right and y down; `T_to_from` takes points from one system to the other; pixel centres "
    "are at integers."
)


def _front(tables: Tables, configs: Mapping[str, Sequence[str]]) -> dict[str, object]:
    """Header of the card, as Hugging Face's hub and `load_dataset` read it."""
    licences = licences_of(tables)
    licence = LICENCE_NAMES.get(licences[0], "other") if len(licences) == 1 else "other"
    rows = sum(e.rows.num_rows for entries in tables.values() for e in entries)
    size = next((words for most, words in SIZES if rows < most), "n>1M")
    named = {"license_name": ", ".join(licences) or "unknown"} if licence == "other" else {}
    return {
        "license": licence,
        **named,
        "pretty_name": TITLE,
        "task_categories": ["depth-estimation"],
        "size_categories": [size],
        "tags": ["driving", "night", "rain", "snow", "fog", "nightrain"],
        "configs": [
            {
                "config_name": name,
                **({"default": True} if number == 0 else {}),
                "data_files": _data_files({t: tables[t] for t in of_config}),
            }
            for number, (name, of_config) in enumerate(configs.items())
        ],
    }


def _loading(configs: Mapping[str, Sequence[str]]) -> str:
    """Code that loads the default configuration and another one; "" without any."""
    if not configs:
        return ""
    default, *others = configs
    other = f'other = load_dataset("DATASET", "{others[-1]}")\n' if others else ""
    return (
        "```python\nfrom datasets import load_dataset\n\n"
        f'{default} = load_dataset("DATASET")  # by split\n{other}```\n\n'
    )


def _columns(tables: Tables) -> str:
    """Tables of the columns of each kind of table."""
    kinds = dict.fromkeys(table.partition("/")[0] for table in tables)
    parts = []
    for kind in (kind for kind in kinds if kind in SCHEMAS):
        rows = "\n".join(
            f"| `{field.name}` | {describe(kind, field.name)} |" for field in SCHEMAS[kind]
        )
        parts.append(f"## Columns of {kind}\n\n| column | meaning |\n|---|---|\n{rows}\n\n")
    return "".join(parts)


def _variants_view(current: list[str]) -> str:
    """SQL of a view of the variants that are not superseded; "" without any."""
    if not current:
        return ""
    globs = ",\n".join(f"  '{table}/*.parquet'" for table in current)
    return (
        "All variants except superseded ones, in DuckDB, run in this folder:\n\n```sql\n"
        f"create view variants as select * from read_parquet([\n{globs}\n]);\n```\n\n"
    )


def _data_files(tables: Tables) -> list[dict[str, object]]:
    """Files by split, as Hugging Face's viewer expects them.

    They are patterns: one for a table of one split, and a few for each run of shards in a table of
    several splits, so that the card does not grow with the number of shards.
    """
    splits: dict[str, list[str]] = {}
    for table, entries in tables.items():
        for split, patterns in _patterns(table, entries).items():
            splits.setdefault(split, []).extend(patterns)
    return [{"split": split, "path": paths} for split, paths in sorted(splits.items())]


def _patterns(table: str, entries: list[Entry]) -> dict[str, list[str]]:
    """Patterns of a table's files by split."""
    split_of = {entry.shard.number: entry.about.get("split", NO_SPLIT) for entry in entries}
    splits: dict[str, list[str]] = {}
    for split, numbers in groupby(sorted(split_of), key=lambda number: split_of[number]):
        run = list(numbers)
        found = splits.setdefault(split, [])
        found += [f"{table}/{p}[.-]*parquet" for p in number_patterns(run[0], run[-1])]
    if len(splits) == 1:
        return {split: [f"{table}/*.parquet"] for split in splits}
    return splits


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
