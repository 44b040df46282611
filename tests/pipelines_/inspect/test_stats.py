"""Dataset statistics: DuckDB's numbers are those of a plain recomputation over all rows."""

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import CorruptShard
from nightrain.datasets.io.images import decode_jpeg, encode_jpeg
from nightrain.datasets.shards.manifest import FRAMES, Manifest, Shard
from nightrain.datasets.shards.parquet import Row, ShardReader
from nightrain.datasets.shards.schema import FRAMES as FRAMES_SCHEMA
from nightrain.datasets.shards.schema import VARIANTS
from nightrain.flows.cli import app
from nightrain.pipelines.inspect.columns import Spread
from nightrain.pipelines.inspect.stats import LUMA, dataset_stats
from support.synthetic import SyntheticSource, ingest_synthetic, picture, variant_row

TABLE = "variants/r-1/night"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Frames of two sources and splits, one in quarantine, and variants with gaps in columns."""
    ingest_synthetic(tmp_path, SyntheticSource(num_frames=6, damaged=frozenset({2})))
    ingest_synthetic(tmp_path, SyntheticSource(num_frames=3, split="it's", name="other"))
    night = SyntheticSource(num_frames=2, split="val", condition=Condition.NIGHT, name="other")
    ingest_synthetic(tmp_path, night)
    frames = rows_of(tmp_path, FRAMES)
    changed = [with_neighbours(row, number) for number, row in enumerate(frames)]
    commit(tmp_path, Shard(table=FRAMES, number=50), FRAMES_SCHEMA, changed, source="third")
    numbers = random.Random(3)
    variants = [variant(index, numbers) for index in range(41)]
    for number, part in enumerate((variants[:25], variants[25:])):
        commit(tmp_path, Shard(table=TABLE, number=number), VARIANTS, part, recipe="r")
    return tmp_path


def with_neighbours(row: Row, number: int) -> Row:
    return row | {
        "frame_id": f"{number:020x}",
        "camera": f"CAM_{number % 3}",
        "width": 64 + number % 2,
        "previous_id": "before" if number % 2 else None,
        "stereo_id": "beside" if number % 3 else "",
        "lidar_depth": row["lidar_depth"] if number % 4 else None,
        "exact_depth": row["exact_depth"] if number % 5 else None,
    }


def variant(index: int, numbers: random.Random) -> Row:
    physical = {"visibility_m": numbers.uniform(10, 500) if index % 3 else None}
    if index % 2:
        physical["ambient_lux"] = numbers.lognormvariate(0, 3)
    return variant_row(index) | {
        "image": {"bytes": encode_jpeg(picture(index)), "path": f"{index}.jpg"},
        "split": "train" if index % 4 else None,
        "camera": f"CAM_{index % 3}",
        "severity": numbers.random(),
        "physical": physical,
        "gen_seconds": numbers.lognormvariate(0, 2) if index % 5 else None,
    }


def commit(root: Path, shard: Shard, schema: Any, rows: Sequence[Row], **about: str) -> None:
    manifest = Manifest(root)
    with manifest.writer(shard.table, schema, about) as writer:
        for row in rows:
            writer.add(row)
        writer.close()
        manifest.commit(shard, writer, about=about, counts={"no_depth": 2}, seconds=1.0)


def rows_of(root: Path, table: str, source: str | None = None) -> list[Row]:
    manifest = Manifest(root)
    entries = [e for e in manifest.entries(table) if source in (None, e.about.get("source"))]
    return [row for entry in entries for row in manifest.reader(entry.rows).rows()]


def spread(values: Iterable[float | None]) -> Spread | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    return Spread.model_construct(
        count=len(known),
        lowest=min(known),
        median=median(known),
        mean=pytest.approx(fmean(known), rel=1e-14),
        highest=max(known),
    )


def counted(values: Iterable[str | None]) -> dict[str, int]:
    return dict(sorted(Counter(value or "none" for value in values).items()))


def largest_first(values: Iterable[str]) -> list[tuple[str, int]]:
    return sorted(Counter(values).items(), key=lambda item: (-item[1], item[0]))


@pytest.mark.parametrize("table", [FRAMES, TABLE])
def test_a_table_has_the_counts_and_spreads_of_its_rows(root: Path, table: str) -> None:
    rows, stats = rows_of(root, table), dataset_stats(root).tables[table]
    assert stats.num_rows == len(rows) > 0
    assert stats.by_condition == counted(row["condition"] for row in rows)
    assert list(stats.by_split.items()) == list(counted(row["split"] for row in rows).items())
    assert stats.by_camera == counted(row["camera"] for row in rows)
    assert stats.severity == spread(row.get("severity") for row in rows)
    assert stats.gen_seconds == spread(row.get("gen_seconds") for row in rows)
    assert stats.depth_share is None and stats.luminance is not None
    expected = {
        name: spread((row["physical"] or {}).get(name) for row in rows)
        for name in ("ambient_lux", "visibility_m")
        if table == TABLE
    }
    assert stats.physical == expected and list(stats.physical) == sorted(expected)
    manifest = Manifest(root)
    quarantined = sum((Counter(e.counts) for e in manifest.entries(table)), Counter[str]())
    assert stats.quarantined == quarantined and len(quarantined) == (2 if table == FRAMES else 1)


def present(row: Row, columns: dict[str, str]) -> str:
    return " and ".join(name for name, column in columns.items() if row[column]) or "none"


def test_a_source_has_the_counts_of_its_frames(root: Path) -> None:
    sources = dataset_stats(root).sources
    assert {name: s.num_quarantined for name, s in sources.items()} == {
        "other": 0,
        "synthetic": 1,
        "third": 0,
    }
    depths = {"LiDAR": "lidar_depth", "exact": "exact_depth"}
    neighbours = {"t-1": "previous_id", "t+1": "next_id", "stereo": "stereo_id"}
    for name, stats in sources.items():
        rows = rows_of(root, FRAMES, name)
        assert stats.num_frames == len(rows) > 0
        assert stats.num_scenes == len({row["scene_id"] for row in rows})
        for found, values in (
            (stats.by_split, [row["split"] for row in rows]),
            (stats.by_condition, [row["condition"] for row in rows]),
            (stats.by_camera, [row["camera"] for row in rows]),
            (stats.by_size, [f"{row['width']}x{row['height']}" for row in rows]),
            (stats.by_depth, [present(row, depths) for row in rows]),
            (stats.by_neighbours, [present(row, neighbours) for row in rows]),
        ):
            assert list(found.items()) == largest_first(values)
        for split, found in stats.by_split_and_condition.items():
            of_split = [row["condition"] for row in rows if row["split"] == split]
            assert list(found.items()) == largest_first(of_split)
        assert list(stats.by_split_and_condition) == sorted({row["split"] for row in rows})
    assert len(sources["third"].by_neighbours) == 4 and len(sources["third"].by_depth) >= 3


def test_no_images_are_read_for_counts(root: Path) -> None:
    stats = dataset_stats(root, sampled_rows=0)
    assert stats.tables[TABLE].luminance is None and stats.tables[TABLE].num_rows == 41


@pytest.mark.parametrize("damage", ["cut", "gone", "other rows", "no table left"])
def test_a_lost_file_is_named_and_left_out(root: Path, damage: str) -> None:
    first, second = (root / f"{TABLE}/0000{n}.parquet" for n in (0, 1))
    if damage == "cut":
        first.write_bytes(first.read_bytes()[:-100])
    elif damage == "other rows":
        first.write_bytes(second.read_bytes())
    else:
        first.unlink()
    if damage == "no table left":
        second.unlink()
    stats = dataset_stats(root)
    missing = damage in ("gone", "no table left")
    problem = stats.lost[f"{TABLE}/00000.parquet"]
    assert ("the file is missing" if missing else "bytes; expected") in problem
    if damage == "no table left":
        assert TABLE not in stats.tables and len(stats.lost) == 2
    else:
        assert stats.tables[TABLE].num_rows == 16 and len(stats.lost) == 1
    assert stats.tables[FRAMES].num_rows == sum(s.num_frames for s in stats.sources.values())


def test_a_changed_file_is_refused(root: Path) -> None:
    path = root / f"{TABLE}/00000.parquet"
    path.write_bytes(path.read_bytes()[:-8] + bytes(8))
    with pytest.raises(CorruptShard, match="nightrain verify"):
        dataset_stats(root)


def test_quantiles_and_cameras_by_condition(root: Path) -> None:
    rows, stats = rows_of(root, TABLE), dataset_stats(root).tables[TABLE]
    severities = np.array([row["severity"] for row in rows], np.float64)
    assert list(stats.severity_quantiles) == [0.05, 0.25, 0.5, 0.75, 0.95]
    for share, value in stats.severity_quantiles.items():
        assert value == pytest.approx(np.quantile(severities, share))
    cameras = Counter(row["camera"] for row in rows)
    condition = rows[0]["condition"]
    assert stats.by_condition_and_camera == {condition: dict(sorted(cameras.items()))}


def test_the_sample_is_evenly_spaced_and_close_to_all_images(root: Path) -> None:
    rows = rows_of(root, TABLE)
    every = dataset_stats(root).tables[TABLE].luminance
    some = dataset_stats(root, sampled_rows=7).tables[TABLE].luminance
    assert every is not None and some is not None
    assert (every.count, some.count) == (41, 7)
    values = [decode_jpeg(row["image"]["bytes"]).reshape(-1, 3).mean(0) @ LUMA for row in rows]
    assert every.mean == pytest.approx(fmean(values), abs=1.0)


def test_pictures_are_not_read_to_check_them(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = ShardReader._verify_group

    def only_quarantine(reader: ShardReader, index: int) -> None:
        assert reader.file.path.startswith("quarantine/")  # rows without pictures
        real(reader, index)

    monkeypatch.setattr(ShardReader, "_verify_group", only_quarantine)
    stats = dataset_stats(root)
    assert stats.tables[TABLE].luminance is not None and stats.depth_share


def test_the_text_names_units_samples_and_reasons(root: Path) -> None:
    run = CliRunner().invoke(app, ["stats", str(root)], env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert run.exit_code == 0, run.output
    printed = " ".join(run.output.split())
    for heading in ("size (MB)", "mean luma (0-255)", "severity (0-1)", "time (ms per variant)"):
        assert heading in printed
    assert "at most 500 evenly spaced rows" in printed
    assert "bad rows of r-1/night: no_depth 4" in printed
    assert "severity quantiles of r-1/night: 5% 0." in printed and "depth in metres" in printed
    assert "rows by condition and camera" in printed
