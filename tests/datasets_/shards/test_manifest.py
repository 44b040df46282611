"""Manifest: one commit per shard, even if processes race for it or die meanwhile."""

import errno
import hashlib
import multiprocessing
import os
from dataclasses import replace
from pathlib import Path

import pytest

from nightrain.datasets.errors import CorruptShard, DiskFull, PlanMismatch, UnreadableFile
from nightrain.datasets.io import atomic as disk
from nightrain.datasets.io.atomic import no_space_is_disk_full, require_free
from nightrain.datasets.io.process import Owner
from nightrain.datasets.io.record import record_bytes
from nightrain.datasets.shards.manifest import Entry, Manifest, Shard, quarantine_table
from nightrain.datasets.shards.parquet import ShardWriter, shard_metadata
from nightrain.datasets.shards.schema import SCHEMA_VERSION, VARIANTS
from nightrain.datasets.shards.verify import verify
from support.permissions import deny
from support.power_cut import Disk
from support.synthetic import variant_row

SHARD = Shard(table="variants/r-1/night", number=3)


def commit(manifest: Manifest, shard: Shard = SHARD, rows: range = range(5)) -> Entry:
    with manifest.writer(shard.table, VARIANTS, {"recipe": "r"}) as writer:
        for index in rows:
            writer.add(variant_row(index))
        writer.close()
        return commit_writer(manifest, shard, writer)


def commit_writer(manifest: Manifest, shard: Shard, writer: ShardWriter) -> Entry:
    return manifest.commit(shard, writer, about={"recipe": "r"}, counts={}, seconds=1.0)


def test_nothing_is_there_before_the_commit(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path)
    assert manifest.entry(SHARD) is None and manifest.tables() == []
    entry = commit(manifest)
    assert manifest.entry(SHARD) == entry and manifest.tables() == [SHARD.table]
    assert (tmp_path / "variants/r-1/night/00003.parquet").exists()
    assert not list((tmp_path / "_tmp").iterdir())
    assert verify(tmp_path).accepted


def test_the_second_commit_gets_the_first_entry(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path)
    first = commit(manifest)
    again, other = commit(manifest), commit(manifest, rows=range(2))
    assert again == other == first
    assert manifest.orphans() == [] and verify(tmp_path).num_rows == 5


def test_a_file_whose_owner_died_before_the_entry_is_taken_over(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path)
    commit(manifest)
    entry_path = tmp_path / "_manifest" / f"{SHARD.name}.json"
    entry_path.unlink()
    assert manifest.orphans() == ["variants/r-1/night/00003.parquet"]
    assert manifest.sweep() == []  # its owner might be about to commit it
    assert commit(manifest).rows.path == "variants/r-1/night/00003.parquet"
    assert verify(tmp_path).accepted and manifest.orphans() == []


@pytest.mark.parametrize("differs", ["rows", "recipe"])
def test_an_orphan_of_other_rows_is_left_aside(tmp_path: Path, differs: str) -> None:
    """The entry names the file that its own process wrote, whatever is at the first name."""
    manifest = Manifest(tmp_path)
    about = {"recipe": "another" if differs == "recipe" else "r"}
    with manifest.writer(SHARD.table, VARIANTS, about) as writer:
        for index in range(5) if differs == "recipe" else range(3, 9):
            writer.add(variant_row(index))
        writer.close()
        commit_writer(manifest, SHARD, writer)
    (tmp_path / "_manifest" / f"{SHARD.name}.json").unlink()
    entry = commit(manifest)
    assert entry.rows.path != "variants/r-1/night/00003.parquet" and entry.rows.num_rows == 5
    keys = [row["sample_id"] for row in manifest.reader(entry.rows).rows(["sample_id"])]
    assert keys == [variant_row(index)["sample_id"] for index in range(5)]
    assert shard_metadata(tmp_path / entry.rows.path)["recipe"] == "r"
    assert verify(tmp_path).problems == []
    assert manifest.orphans() == ["variants/r-1/night/00003.parquet"]


def test_a_damaged_orphan_is_left_aside(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path)
    commit(manifest)
    (tmp_path / "_manifest" / f"{SHARD.name}.json").unlink()
    path = tmp_path / "variants/r-1/night/00003.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    entry = commit(manifest)
    assert entry.rows.path != "variants/r-1/night/00003.parquet"
    assert verify(tmp_path).problems == []
    assert manifest.orphans() == ["variants/r-1/night/00003.parquet"]
    assert manifest.sweep() == [path] and manifest.orphans() == []


def test_an_orphan_with_any_flipped_bit_is_made_again(tmp_path: Path) -> None:
    """Its rows may look the same in footer and keys; only every byte decides."""
    manifest = Manifest(tmp_path)
    intact = commit(manifest).rows
    path, entry = tmp_path / intact.path, tmp_path / "_manifest" / f"{SHARD.name}.json"
    data = path.read_bytes()
    for position in [*range(0, len(data), len(data) // 20), *range(len(data) - 12, len(data))]:
        entry.unlink()
        flipped = bytearray(data)
        flipped[position] ^= 1 << position % 8
        path.write_bytes(flipped)
        again = commit(manifest).rows
        assert again.path != intact.path and again.sha256 == intact.sha256
        assert len(list(manifest.reader(again).rows())) == 5
        assert manifest.sweep() == [path]
        (tmp_path / again.path).rename(path)


def test_an_orphan_that_is_a_fifo_does_not_hang(tmp_path: Path) -> None:
    path = tmp_path / f"{SHARD.name}.parquet"
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    assert commit(Manifest(tmp_path)).rows.path != f"{SHARD.name}.parquet"


def test_a_damaged_spare_of_an_earlier_attempt_is_not_committed(tmp_path: Path) -> None:
    manifest, entry = Manifest(tmp_path), tmp_path / "_manifest" / f"{SHARD.name}.json"
    first = tmp_path / commit(manifest).rows.path
    entry.unlink()
    first.write_bytes(b"another process's rows")
    spare = tmp_path / commit(manifest).rows.path
    entry.unlink()
    spare.write_bytes(b"damaged since")
    committed = commit(manifest).rows
    assert tmp_path / committed.path not in (first, spare)
    assert len(list(manifest.reader(committed).rows())) == 5


@pytest.mark.parametrize(
    "changes",
    [
        {"row_groups": []},
        {"num_rows": 4},
        {"num_rows": -5},
        {"num_bytes": 10},
        {"sha256": "x"},
        {"tail_sha256": None},
    ],
    ids=str,
)
def test_an_entry_that_does_not_add_up_is_refused(tmp_path: Path, changes: dict) -> None:
    """Even with a right digest: a reader would return fewer rows than the entry says."""
    manifest = Manifest(tmp_path)
    body = commit(manifest).model_dump(mode="json")
    body["rows"] |= changes
    (tmp_path / "_manifest" / f"{SHARD.name}.json").write_bytes(record_bytes("entry", body))
    with pytest.raises(CorruptShard, match="not a valid manifest entry"):
        manifest.entries(SHARD.table)


@pytest.mark.parametrize("changes", [{"offset": 10**30}, {"num_bytes": 10**30}, {"offset": -1}])
def test_a_row_group_outside_its_file_is_refused(tmp_path: Path, changes: dict) -> None:
    manifest = Manifest(tmp_path)
    body = commit(manifest).model_dump(mode="json")
    body["rows"]["row_groups"][0] |= changes
    (tmp_path / "_manifest" / f"{SHARD.name}.json").write_bytes(record_bytes("entry", body))
    with pytest.raises(CorruptShard, match="not a valid manifest entry"):
        manifest.entries(SHARD.table)


def test_an_entry_whose_row_groups_are_not_the_file_s_is_refused(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path)
    entry = commit(manifest)
    body = entry.model_dump(mode="json")
    (group,) = body["rows"]["row_groups"]
    body["rows"]["row_groups"] = [group | {"num_rows": 2, "num_bytes": 0}, group | {"num_rows": 3}]
    body["rows"]["row_groups"][0]["sha256"] = hashlib.sha256(b"").hexdigest()
    (tmp_path / "_manifest" / f"{SHARD.name}.json").write_bytes(record_bytes("entry", body))
    with pytest.raises(CorruptShard, match="other row groups"):
        list(manifest.reader(manifest.entries(SHARD.table)[0].rows).rows())


def test_a_manifest_that_cannot_be_listed_is_no_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = Manifest(tmp_path)
    commit(manifest)
    deny(monkeypatch, tmp_path / "_manifest" / "variants")
    for read in (manifest.tables, manifest.orphans, manifest.sweep):
        with pytest.raises(UnreadableFile, match="cannot be listed: Permission denied"):
            read()
    deny(monkeypatch, tmp_path / "_manifest" / SHARD.table)
    with pytest.raises(UnreadableFile, match="cannot be listed: Permission denied"):
        manifest.entries(SHARD.table)


def test_an_entry_that_cannot_be_read_is_not_uncommitted(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path)
    commit(manifest)
    path = tmp_path / "_manifest" / f"{SHARD.name}.json"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(UnreadableFile, match="is a FIFO; expected a regular file"):
        manifest.entry(SHARD)


def _commit_when_told(root: str, barrier: object, num_rows: int) -> None:
    barrier.wait()  # type: ignore[attr-defined]
    for number in range(8):
        rows = range(100 * number, 100 * number + num_rows)
        commit(Manifest(Path(root)), Shard(table=SHARD.table, number=number), rows)


def test_processes_that_commit_at_once_commit_once(tmp_path: Path) -> None:
    """Even with different rows under one name, each shard has one entry and verifies."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(3)
    processes = [
        context.Process(target=_commit_when_told, args=(str(tmp_path), barrier, 4 + n % 2))
        for n in range(3)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    manifest = Manifest(tmp_path)
    assert len(manifest.entries(SHARD.table)) == 8
    assert verify(tmp_path).accepted
    manifest.sweep()
    assert manifest.orphans() == []


@pytest.mark.parametrize("changes", [{"pid": 2**30}, {"boot": "0" * 8}])
def test_the_sweep_removes_what_the_dead_left_and_nothing_else(
    tmp_path: Path, changes: dict
) -> None:
    """A process that has ended, or whose boot of this host has."""
    manifest = Manifest(tmp_path)
    commit(manifest)
    owner = replace(Owner.me(), **changes)
    dead, mine = tmp_path / "_tmp" / f"{owner.token()}.x.parquet", None
    dead.write_bytes(b"half a shard")
    with manifest.writer(SHARD.table, VARIANTS, {}) as writer:
        mine = writer.path
        assert manifest.sweep() == [dead]
        assert mine.exists() and not dead.exists()
    assert not mine.exists() and verify(tmp_path).accepted


def test_a_full_disk_is_one_clear_error(tmp_path: Path) -> None:
    with (
        pytest.raises(DiskFull, match="run the same command again"),
        no_space_is_disk_full(tmp_path),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError, match="Permission"), no_space_is_disk_full(tmp_path):
        raise PermissionError(errno.EACCES, "Permission denied")
    with pytest.raises(DiskFull, match="MB free"):
        require_free(tmp_path, 1 << 60)


def test_a_disk_that_fills_at_any_step_of_the_commit_leaves_nothing_visible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fail the n-th fsync of a commit, for every n: readers see the whole shard or none of it."""
    real, fails = os.fsync, 0
    for n in range(60):
        calls = 0

        def full(descriptor: int, n: int = n) -> None:
            nonlocal calls
            calls += 1
            if calls == n + 1:
                raise OSError(errno.ENOSPC, "No space left on device")
            real(descriptor)

        root = tmp_path / str(n)
        root.mkdir()
        monkeypatch.setattr(disk.os, "fsync", full)
        try:
            commit(Manifest(root))
        except DiskFull:
            fails += 1
        monkeypatch.setattr(disk.os, "fsync", real)
        (root / "_manifest").mkdir(exist_ok=True)
        assert verify(root).problems == [] and not list((root / "_tmp").iterdir())
        assert commit(Manifest(root)).rows.num_rows == 5  # space is back: the same command works
        assert verify(root).accepted
        if fails == n:  # all its syncs were done
            break
    assert 4 <= fails < 60


def test_the_commit_survives_a_power_cut_at_any_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the entry gets its name, the data is on the disk under its own; then both are."""
    root = tmp_path / "new" / "dataset"
    disk = Disk(tmp_path, monkeypatch)
    entry = commit(Manifest(root))
    [_, (last, before)] = [cut for cut in disk.cuts if cut[0].startswith(SHARD.stem)]
    assert last == f"{SHARD.stem}.json"
    data = (root / entry.rows.path).read_bytes()
    assert before[f"new/dataset/{entry.rows.path}"] == data
    survivor = Manifest(disk.restore(tmp_path / "restored") / "new" / "dataset")
    disk.close()
    assert survivor.entry(SHARD) == entry and verify(survivor.root).accepted


def test_names_of_tables_stay_inside(tmp_path: Path) -> None:
    for name in ("../frames", "/frames", "a//b", "a/../b", "", "A b"):
        with pytest.raises(ValueError, match="table"):
            Shard(table=name, number=0)
    assert quarantine_table("variants/r-1/night") == "quarantine/r-1/night"
    assert quarantine_table("frames") == "quarantine/frames"


def test_an_entry_that_points_outside_is_refused(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path)
    entry = commit(manifest)
    for name in ("../secret.parquet", "/etc/passwd", "variants/../../secret", ".hidden", "a//b"):
        with pytest.raises(ValueError, match="path"):
            type(entry.rows).model_validate(entry.rows.model_dump() | {"path": name})


@pytest.mark.parametrize(
    "path",
    (
        "frames/00000.parquet",
        "quarantine/r-1/night/00003.parquet",
        "variants/r-1/night/00004.parquet",
        "variants/r-1/night/00003-retry-01.parquet",
    ),
)
def test_an_entry_that_names_the_file_of_another_shard_is_refused(
    tmp_path: Path, path: str
) -> None:
    manifest = Manifest(tmp_path)
    entry = commit(manifest)
    assert entry.rows.path != path
    body = entry.model_dump(mode="json")
    body["rows"]["path"] = path
    manifest.entry_path(entry.shard).write_bytes(record_bytes("entry", body))
    with pytest.raises(CorruptShard, match=f"{path} is not a file of {entry.shard.name}"):
        manifest.entry(entry.shard)


def test_another_schema_is_refused_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nightrain.datasets.shards.manifest.SCHEMA_VERSION", 0)
    commit(Manifest(tmp_path))
    monkeypatch.undo()
    with pytest.raises(PlanMismatch, match=rf"version 0.*version {SCHEMA_VERSION}"):
        Manifest(tmp_path).entries(SHARD.table)


def test_a_damaged_entry_says_so(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path)
    commit(manifest)
    path = tmp_path / "_manifest" / f"{SHARD.name}.json"
    path.write_text(path.read_text()[:-20])
    with pytest.raises(CorruptShard, match="not a valid manifest entry"):
        manifest.entries(SHARD.table)
