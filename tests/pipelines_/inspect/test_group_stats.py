"""Statistics by group: DuckDB's numbers are those of a plain recomputation, whatever is damaged."""

import hashlib
import json
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence, Set
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any, get_args

import pyarrow as pa
import pytest

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.shards.manifest import FRAMES, Manifest, Shard, quarantine_table
from nightrain.datasets.shards.parquet import Row
from nightrain.datasets.shards.recipe_records import record_recipe
from nightrain.datasets.shards.schema import FRAMES as FRAMES_SCHEMA
from nightrain.datasets.shards.schema import LABELS, QUARANTINE, VARIANTS
from nightrain.pipelines.inspect.groups.group_stats import Group, GroupReport, group_stats_by
from nightrain.pipelines.inspect.groups.keys import GROUP_KEYS, GroupKey

NIGHT, FOG, OLD = (
    "variants/weather-1a2b3c4d/night",
    "variants/blur-5e6f7a8b/fog",
    "variants/o-1/fog",
)
PICTURE = {"bytes": b"no picture", "path": "picture.jpg"}
START_US = 1_532_402_927_600_000  # 2018-07-24 03:28 UTC: 11:28 in Singapore, 23:28 in Boston
HOUR_US = 3_600_000_000
LOGS = {"scene-0": "n015-2018", "scene-1": "n008-2018", "scene-2": ""}
LABEL_TABLE = "labels/teacher-00112233"


def origin(index: int) -> Row:
    return {
        "frame_id": f"{index:020x}",
        "source_dataset": "nuscenes",
        "split": "train" if index % 5 else None,
        "scene_id": f"scene-{index // 4 % 3}",
        "camera": f"CAM_{index % 2}",
        "timestamp_us": START_US + index * HOUR_US if index % 7 else index,
    }


def frame(index: int) -> Row:
    return origin(index) | {
        "condition": "clear",
        "image": PICTURE,
        "width": 64 if index % 3 else 32,
        "height": 40,
        "intrinsics": [1.0] * 9,
        "T_world_camera": [1.0] * 16,
        "lidar_depth": PICTURE if index % 4 else None,
        "exact_depth": None,
    }


def variant(index: int, condition: str, numbers: random.Random) -> Row:
    name = hashlib.sha256(f"{index} {condition}".encode()).hexdigest()[:20]
    scores = {"faults": {"highlight": numbers.uniform(0, 255), "spread": numbers.uniform(0, 80)}}
    return origin(index) | {
        "sample_id": name,
        "condition": condition,
        "image": PICTURE,
        "width": 64,
        "height": 40,
        "intrinsics": [1.0] * 9,
        "severity": round(numbers.random(), 1),
        "physical": {"visibility_m": numbers.uniform(10, 500) if index % 3 else None},
        "seed": index // 2,
        "prompt": f"At night, {index % 3}" if condition == "night" else None,
        "gates": "faults 1" if condition == "night" else None,
        "gate_scores": json.dumps(scores) if condition == "night" else None,
        "gen_seconds": numbers.random(),
        "engine": "another name",  # the folder decides, as for what is in quarantine
    }


def rejected(row: Row, reason: str, codes: list[str] | None) -> Row:
    kept = ("sample_id", "condition", *origin(0))
    rest = {k: v for k, v in row.items() if k != "image"} if codes else None
    return {k: row[k] for k in kept} | {
        "reason": reason,
        "codes": codes,
        "variant": json.dumps(rest) if rest else None,
        "created_at": datetime.now(UTC),
    }


def commit(
    root: Path,
    shard: Shard,
    schema: pa.Schema,
    rows: Iterable[Row],
    bad: Sequence[Row] = (),
    **a: str,
) -> None:
    manifest = Manifest(root)
    with (
        manifest.writer(shard.table, schema, a) as writer,
        manifest.writer(quarantine_table(shard.table), QUARANTINE, a) as quarantine,
    ):
        for row in rows:
            writer.add(row)
        for row in bad:
            quarantine.add(row)
        writer.close()
        quarantine.close()
        counts = dict(Counter(row["reason"] for row in bad))
        manifest.commit(shard, writer, quarantine, about=a, counts=counts, seconds=1.0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Frames in two shards with labels, and variants of two recipes with their quarantine."""
    numbers, bad = random.Random(5), list[Row]()
    about = {"source": "nuscenes", "log_of_scene": json.dumps(LOGS), "split": "train"}
    for number, ids in enumerate((range(12), range(12, 20))):
        commit(
            tmp_path,
            Shard(table=FRAMES, number=number),
            FRAMES_SCHEMA,
            map(frame, ids),
            (),
            **about,
        )
        labels = [
            origin(i)
            | {"intrinsics": [1.0] * 9, "condition": "clear", "confident_share": i / 20}
            | {"depth": PICTURE if i % 6 else None}
            for i in ids
        ]
        commit(tmp_path, Shard(table=LABEL_TABLE, number=number), LABELS, labels)
        night = [variant(i, "night", numbers) for i in ids]
        bad = [rejected(row, "gate_rejected", ["faults.flat", "faults.black"]) for row in night[:3]]
        bad.append(rejected(night[3], "engine_error", None))
        commit(tmp_path, Shard(table=NIGHT, number=number), VARIANTS, night[4:], bad)
        fog = [variant(i, "fog", numbers) for i in ids]
        commit(tmp_path, Shard(table=FOG, number=number), VARIANTS, fog)
    commit(tmp_path, Shard(table=NIGHT, number=0, retry=1), VARIANTS, (), bad[:1])
    commit(tmp_path, Shard(table=OLD, number=0), VARIANTS, [variant(90, "fog", numbers)])
    record_recipe(tmp_path, "old", {OLD: "{}"})
    record_recipe(tmp_path, "old", {FOG: "{}"})  # supersedes the first
    record_recipe(tmp_path, "nights", {NIGHT: "{}"})
    return tmp_path


def rows_of(root: Path, table: str, lost: Set[str] = frozenset()) -> list[Row]:
    manifest = Manifest(root)
    entries = [e for e in manifest.entries(table) if e.rows.path not in lost]
    return [
        row | {"table": table, "bytes": e.rows.num_bytes / e.rows.num_rows}
        for e in entries
        for row in manifest.reader(e.rows).rows()
    ]


def quarantine_of(root: Path) -> list[Row]:
    manifest = Manifest(root)
    last = {e.shard.number: e for e in manifest.entries(NIGHT)}.values()
    files = [e.quarantine for e in last if e.quarantine]
    return [row | {"table": NIGHT} for file in files for row in manifest.reader(file).rows()]


HOURS = {"scene-0": 8, "scene-1": -4, "scene-2": 0}  # of local time before UTC, in July
RECIPES = {NIGHT: "nights", FOG: "old"}
PLACES = {"scene-0": "Singapore", "scene-1": "Boston", "scene-2": "unknown"}


def severity_bin(row: Row) -> str | None:
    severity = row.get("severity")
    if row.get("variant"):
        severity = json.loads(row["variant"])["severity"]
    if severity is None:
        return None
    low = min(9, int(round(severity, 5) * 10 + 1e-6))
    return f"{low / 10:.1f} to {(low + 1) / 10:.1f}"


def hour(row: Row) -> str | None:
    if row["timestamp_us"] < START_US:
        return None
    return f"{(row['timestamp_us'] // HOUR_US + HOURS[row['scene_id']]) % 24:02d}"


KEYS: dict[GroupKey, Callable[[Row], str | None]] = {
    "condition": lambda row: row["condition"],
    "severity": severity_bin,
    "camera": lambda row: row["camera"],
    "location": lambda row: PLACES[row["scene_id"]],
    "scene": lambda row: row["scene_id"],
    "log": lambda row: LOGS[row["scene_id"]] or row["scene_id"],
    "hour": hour,
    "recipe": lambda row: RECIPES.get(row["table"]),
    "engine": lambda row: {NIGHT: "weather", FOG: "blur"}.get(row["table"]),
    "source": lambda row: row["source_dataset"],
    "split": lambda row: row["split"],
}


def mean(values: Iterable[Any]) -> Any:
    known = [value for value in values if value is not None]
    return pytest.approx(fmean(known), rel=1e-6) if known else None


def expected(root: Path, key: GroupKey, lost: Set[str] = frozenset()) -> dict[str, dict[str, Any]]:
    """Statistics of each group, computed row by row."""
    frames = rows_of(root, FRAMES, lost)
    lidar = {row["frame_id"]: row["lidar_depth"] is not None for row in frames}
    labels = {row["frame_id"]: row for row in rows_of(root, LABEL_TABLE, lost)}
    groups: dict[str, list[Row]] = {}
    for row in (*frames, *rows_of(root, NIGHT, lost), *rows_of(root, FOG, lost)):
        groups.setdefault(KEYS[key](row) or "none", []).append(row)
    bad: dict[str, list[Row]] = {}
    for row in quarantine_of(root):
        bad.setdefault(KEYS[key](row) or "none", []).append(row)
    found = {}
    for name in {*groups, *bad}:
        rows, refused = groups.get(name, []), bad.get(name, [])
        variants = [row for row in rows if "sample_id" in row]
        reasons = Counter(c for row in refused for c in row["codes"] or [row["reason"]])
        scores = [json.loads(row["gate_scores"]) for row in variants if row["gate_scores"]]
        severities = [row["severity"] for row in variants]
        known = [labels[row["frame_id"]] for row in rows if row["frame_id"] in labels]
        with_depth = {i for i, label in labels.items() if label["depth"] is not None}
        found[name] = {
            "num_frames": len(rows) - len(variants),
            "num_variants": len(variants),
            "num_accepted": sum(row["gates"] is not None for row in variants),
            "num_rejected": sum(row["reason"] == "gate_rejected" for row in refused),
            "num_failed": sum(row["reason"] != "gate_rejected" for row in refused),
            "reasons": dict(reasons),
            "severity": (
                {"lowest": min(severities), "mean": mean(severities), "highest": max(severities)}
                if severities
                else None
            ),
            "physical": {"visibility_m": mean(row["physical"]["visibility_m"] for row in variants)}
            if any(row["physical"]["visibility_m"] for row in variants)
            else {},
            "highlight_luma": mean(score["faults"]["highlight"] for score in scores),
            "luma_spread": mean(score["faults"]["spread"] for score in scores),
            "lidar_share": mean(lidar.get(row["frame_id"]) for row in rows),
            "exact_depth_share": mean(0.0 for row in rows if row["frame_id"] in lidar),
            "labelled_share": mean(row["frame_id"] in with_depth for row in rows),
            "confident_share": mean(label["confident_share"] for label in known),
            "num_prompts": len({row["prompt"] for row in variants} - {None}),
            "num_seeds": len({row["seed"] for row in variants}),
            "sizes": dict(Counter(f"{row['width']}x{row['height']}" for row in rows)),
            "gen_seconds": pytest.approx(sum(row["gen_seconds"] for row in variants), rel=1e-6),
            "gigabytes": pytest.approx(sum(row["bytes"] for row in rows) / 1e9),
        }
    return found


def measured(report: GroupReport) -> dict[str, dict[str, Any]]:
    def plain(group: Group) -> dict[str, Any]:
        of_pictures = {"luma", "luma_span", "red_over_blue", "num_pictures"}
        return group.model_dump(exclude={"keys", "accepted_share", *of_pictures})

    return {" ".join(group.keys.values()): plain(group) for group in report.groups}


@pytest.mark.parametrize("key", GROUP_KEYS)
def test_a_group_has_the_numbers_of_its_rows(root: Path, key: GroupKey) -> None:
    report = group_stats_by(root, (key,))
    wanted = expected(root, key)
    assert report.problems == {} and measured(report) == wanted
    for group in report.groups:
        judged = group.num_accepted + group.num_rejected
        share = group.num_accepted / judged if judged else None
        assert group.accepted_share == share
    names = [group.keys[key] for group in report.groups]
    assert names == sorted(names, key=lambda name: (name == "none", name))


def test_every_key_is_tested() -> None:
    assert get_args(GroupKey) == GROUP_KEYS == tuple(KEYS)


def test_several_keys_split_the_groups_of_one(root: Path) -> None:
    both = group_stats_by(root, ("condition", "camera"))
    (wanted,) = (g for g in group_stats_by(root, ("condition",)).groups if g.num_rejected)
    parts = [g for g in both.groups if g.keys["condition"] == "night"]
    assert [g.keys["camera"] for g in parts] == ["CAM_0", "CAM_1"]
    for name in ("num_variants", "num_accepted", "num_rejected", "num_failed"):
        assert sum(getattr(g, name) for g in parts) == getattr(wanted, name) > 0


@pytest.mark.parametrize("damage", ["gone", "cut", "zeros", "frames gone", "labels gone"])
def test_a_damaged_file_is_named_and_left_out(root: Path, damage: str) -> None:
    table = {"frames gone": FRAMES, "labels gone": LABEL_TABLE}.get(damage, NIGHT)
    entry = Manifest(root).entries(table)[0]
    path = root / entry.rows.path
    wanted = expected(root, "condition", {entry.rows.path})
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "zeros":
        path.write_bytes(bytes(entry.rows.num_bytes))
    else:
        path.unlink()
    report = group_stats_by(root, ("condition",))
    assert list(report.problems) == [entry.rows.path] and measured(report) == wanted


def test_a_damaged_entry_is_named_and_left_out(root: Path) -> None:
    manifest = Manifest(root)
    entry = manifest.entries(FOG)[1]
    wanted = expected(root, "condition", {entry.rows.path})
    path = manifest.entry_path(entry.shard)
    path.write_bytes(path.read_bytes().replace(b"seconds", b"minutes"))
    report = group_stats_by(root, ("condition",))
    assert list(report.problems) == [str(path.relative_to(root))] and measured(report) == wanted


def test_an_empty_dataset_says_what_to_do(root: Path, tmp_path: Path) -> None:
    (tmp_path / "empty" / "_manifest").mkdir(parents=True)
    with pytest.raises(InvalidRequest, match="no committed frame or variant yet"):
        group_stats_by(tmp_path / "empty", ("camera",))
    for path in root.rglob("*.parquet"):
        path.unlink()
    with pytest.raises(InvalidRequest, match=r"that can be read.*is missing"):
        group_stats_by(root, ("camera",))
