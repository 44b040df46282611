"""Damaged inputs: each is quarantined with a reason or read correctly, alone; 500 in a campaign."""

import json
import os
import random
import shutil
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from nightrain.datasets.errors import BrokenSource, DamagedInput
from nightrain.datasets.frame import FrameRef
from nightrain.datasets.shards.manifest import FRAMES, Manifest
from nightrain.datasets.shards.verify import verify
from nightrain.datasets.sources.nuscenes.config import NuScenesConfig
from nightrain.datasets.sources.nuscenes.source import NuScenesSource
from nightrain.datasets.world.export.writer import write_world
from nightrain.pipelines.ingest.job import ingest_frames
from nightrain.pipelines.runs.executors import SerialExecutor
from nightrain.pipelines.runs.stop import Stop
from support.synthetic import all_rows

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
NUM_ROUNDS, PER_ROUND = 63, 8  # 500 damaged inputs, of which a short run sees 80
NUM_SHORT = 10
NUM_FRAMES = 12
VERSION = "v1.0-world"

Rng = random.Random


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("world") / "world"
    write_world(root, scenes=1, frames=NUM_FRAMES, seed=3, size=(96, 64), truth=("depth",))
    return root


@pytest.fixture(scope="module")
def good_rows(world: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    out = tmp_path_factory.mktemp("good")
    read(world, out)
    rows = all_rows(out, FRAMES)
    assert len(rows) == NUM_FRAMES
    return rows


def read(world: Path, out: Path) -> None:
    stop = Stop()
    source = NuScenesSource(NuScenesConfig(root=world, version=VERSION))
    ingest_frames(out, source, source.select("all"), {}, executor=SerialExecutor(stop), stop=stop)


# Damage to a file. Each takes the path and a random source, and leaves the file wrong.


def truncate(path: Path, rng: Rng) -> None:
    path.write_bytes(path.read_bytes()[: rng.randrange(1, path.stat().st_size)])


def empty(path: Path, _: Rng) -> None:
    path.write_bytes(b"")


def flip_a_bit(path: Path, rng: Rng) -> None:
    data = bytearray(path.read_bytes())
    bit = rng.randrange(8 * len(data))
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def remove(path: Path, _: Rng) -> None:
    path.unlink()


def garbage(path: Path, rng: Rng) -> None:
    path.write_bytes(rng.randbytes(500))


def symlink_out(path: Path, _: Rng) -> None:
    outside = path.parents[3] / "outside" / "secret.jpg"
    outside.parent.mkdir(exist_ok=True)
    shutil.copy(path, outside)
    path.unlink()
    path.symlink_to(outside)


def fifo(path: Path, _: Rng) -> None:
    path.unlink()
    os.mkfifo(path)


def huge_header(path: Path, _: Rng) -> None:
    data = bytearray(path.read_bytes())
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", 50_000, 50_000)
    path.write_bytes(data)


def other_size(path: Path, _: Rng) -> None:
    cv2.imwrite(str(path), np.zeros((20, 20, 3), np.uint8))


def short_by_some_bytes(path: Path, rng: Rng) -> None:
    path.write_bytes(path.read_bytes()[: -rng.randrange(1, 20)])


def not_a_number(path: Path, rng: Rng) -> None:
    points = np.fromfile(path, np.float32).reshape(-1, 5)
    points[rng.randrange(len(points)), rng.randrange(3)] = rng.choice([np.nan, np.inf])
    points.tofile(path)


ANY_FILE = (truncate, empty, flip_a_bit, remove, garbage, symlink_out, fifo)
IMAGE_DAMAGE = (*ANY_FILE, huge_header, other_size)
LIDAR_DAMAGE = (*ANY_FILE, short_by_some_bytes, not_a_number)

# Damage to the record of an image. Each takes the record and the random source.

Record = dict


def hostile_name(record: Record, rng: Rng) -> None:
    record["filename"] = rng.choice(
        [
            "../outside/secret.jpg",
            "/etc/passwd",
            "samples/../../outside/secret.jpg",
            "samples/CAM_FRONT/\0.jpg",
            "samples/" + "x" * 5000,
            "samples/CAM_FRONT/ﬁ\u202e.jpg",
            "",
            "samples/CAM_FRONT",
            "file:///etc/passwd",
            "~/secret.jpg",
        ]
    )


def wrong_type(record: Record, rng: Rng) -> None:
    record[rng.choice(["filename", "width", "ego_pose_token"])] = rng.choice([None, 3.5, [], {}])


def missing_key(record: Record, rng: Rng) -> None:
    del record[rng.choice(["filename", "ego_pose_token", "calibrated_sensor_token", "height"])]


def dangling_token(record: Record, rng: Rng) -> None:
    record[rng.choice(["ego_pose_token", "calibrated_sensor_token"])] = "f" * 32


RECORD_DAMAGE = (hostile_name, hostile_name, hostile_name, wrong_type, missing_key, dangling_token)


@contextmanager
def opened_files() -> Iterator[list[str]]:
    """Names of the files that this process opens within the block."""
    names: list[str] = []
    _watchers.append(names)
    try:
        yield names
    finally:
        _watchers.remove(names)


_watchers: list[list[str]] = []


def _audit(event: str, arguments: tuple) -> None:
    if event == "open" and _watchers and isinstance(arguments[0], str | bytes | os.PathLike):
        for names in _watchers:
            names.append(os.path.realpath(os.fsdecode(arguments[0]).replace("\0", "?")))


sys.addaudithook(_audit)


def assert_nothing_outside_was_opened(names: list[str], *inside: Path) -> None:
    allowed = [*map(os.path.realpath, inside), sys.prefix, sys.base_prefix, "/proc", "/dev", "/usr"]
    allowed += [str(Path(__file__).resolve().parents[1])]
    synced = {os.path.realpath(path.parent) for path in inside}  # folders that got a new entry
    outside = [n for n in names if n not in synced and not n.startswith(tuple(allowed))]
    assert names and not outside


def damage_some_frames(root: Path, refs: list[FrameRef], rng: Rng) -> set[str]:
    """Damage one thing that each of the frames needs; returns the frames' ids."""
    path = root / VERSION / "sample_data.json"
    records = json.loads(path.read_text())
    by_token = {record["token"]: record for record in records}
    lidar = {r["sample_token"]: r for r in records if r["filename"].endswith(".bin")}
    for ref in refs:
        record = by_token[ref.source_id]
        kind = rng.randrange(4)
        if kind == 0:
            rng.choice(IMAGE_DAMAGE)(root / record["filename"], rng)
        elif kind == 1:
            beside = by_token[record[rng.choice(["prev", "next"])]]
            rng.choice(IMAGE_DAMAGE)(root / beside["filename"], rng)
        elif kind == 2:
            scan = root / lidar[record["sample_token"]]["filename"]
            rng.choice(LIDAR_DAMAGE)(scan, rng)
        else:
            rng.choice(RECORD_DAMAGE)(record, rng)
    path.write_text(json.dumps(records))
    return {ref.frame_id for ref in refs}


def without_table_sums(root: Path) -> None:
    """Whoever changes a table on purpose changes its sum too."""
    sums = root / "SHA256SUMS"
    lines = [line for line in sums.read_text().splitlines(True) if f"  {VERSION}/" not in line]
    sums.write_text("".join(lines))


@pytest.mark.parametrize("seed", range(NUM_SHORT))
def test_damaged_inputs(world: Path, good_rows: dict, tmp_path: Path, seed: int) -> None:
    damage_and_read(world, good_rows, tmp_path, seed)


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(NUM_SHORT, NUM_ROUNDS))
def test_500_damaged_inputs(world: Path, good_rows: dict, tmp_path: Path, seed: int) -> None:
    damage_and_read(world, good_rows, tmp_path, seed)


def damage_and_read(world: Path, good_rows: dict, tmp_path: Path, seed: int) -> None:
    """Damage PER_ROUND frames of a copy of the world; ingestion sets aside those and no others."""
    rng, root, out = Rng(seed), tmp_path / "world", tmp_path / "out"
    shutil.copytree(world, root)
    without_table_sums(root)
    refs = list(NuScenesSource(NuScenesConfig(root=root, version=VERSION)).select("all"))
    bad = damage_some_frames(root, rng.sample(refs, PER_ROUND), rng)
    with opened_files() as names:
        read(root, out)
    assert_nothing_outside_was_opened(names, root, out)
    rows = all_rows(out, FRAMES)
    for frame_id, row in rows.items():  # whatever was read was read as if nothing were wrong
        assert row == good_rows[frame_id]
    quarantined = quarantine_of(out)
    assert set(good_rows) - bad <= set(rows) | {r["frame_id"] for r in quarantined}
    assert {r["frame_id"] for r in quarantined} | set(rows) == set(good_rows)
    assert {r["frame_id"] for r in quarantined} >= bad - set(rows)
    assert all(row["reason"] and row["message"] for row in quarantined)
    assert len(set(good_rows) & bad & set(rows)) == 0, "a damaged input went unnoticed"
    assert not ({r["frame_id"] for r in quarantined} - bad), "a good frame was quarantined"
    assert verify(out).accepted


def quarantine_of(out: Path) -> list[dict]:
    manifest = Manifest(out)
    entries = [entry for entry in manifest.entries(FRAMES) if entry.quarantine is not None]
    return [row for e in entries for row in manifest.reader(e.quarantine).rows()]


Break = Callable[[Path, Rng], None]


@pytest.mark.parametrize("table", ["sample_data", "scene", "sensor", "sample", "ego_pose"])
@pytest.mark.parametrize("damage", [truncate, empty, remove, garbage, symlink_out, fifo])
def test_a_broken_table_is_one_clear_error(
    world: Path, tmp_path: Path, table: str, damage: Break
) -> None:
    root = tmp_path / "a" / "world"
    shutil.copytree(world, root)
    without_table_sums(root)
    damage(root / VERSION / f"{table}.json", Rng(1))
    with opened_files() as names, pytest.raises(BrokenSource, match=table):
        NuScenesSource(NuScenesConfig(root=root, version=VERSION)).select("all")
    assert_nothing_outside_was_opened(names, root)


def test_a_changed_table_is_found_by_its_checksum(world: Path, tmp_path: Path) -> None:
    root = tmp_path / "world"
    shutil.copytree(world, root)
    path = root / VERSION / "ego_pose.json"
    path.write_text(path.read_text().replace("1", "2", 1))
    with pytest.raises((BrokenSource, DamagedInput), match=r"(?i)sha256|checksum"):
        NuScenesSource(NuScenesConfig(root=root, version=VERSION)).select("all")
