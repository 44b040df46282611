"""Leases: one holder, taken over soon after its death, wherever it was, and never before."""

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from nightrain.datasets.io import process
from nightrain.datasets.io.atomic import create_exclusively
from nightrain.datasets.io.process import Owner
from nightrain.datasets.shards import leases
from nightrain.datasets.shards.leases import (
    LEASE_SECONDS,
    SILENT_SECONDS,
    Lease,
    held_by,
    holder,
    is_held,
    remove_stale_leases,
)
from support.network_disk import lose_answers_of_links
from support.processes import wait_until

OTHER = "0" * 8  # host, boot or PID namespace


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "BEAT_SECONDS", 0.02)


@pytest.fixture
def mine(tmp_path: Path) -> Iterator[Lease]:
    lease = Lease.take(tmp_path, "a")
    assert lease is not None
    with lease:
        yield lease


def dead_owner() -> Owner:
    code = "from nightrain.datasets.io.process import Owner; print(Owner.me().token())"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return Owner.parse(run.stdout.strip())


def hold(root: Path, owner: Owner, *, silent_seconds: float = 0.0) -> Path:
    """A lease of another process."""
    path = root / "_leases" / "a.lease"
    assert create_exclusively(root, path, f"{owner.token()}\nfox\n2026-03-01 14:03 UTC".encode())
    age(path, silent_seconds)
    return path


def age(path: Path, seconds: float) -> None:
    os.utime(path, (0, path.stat().st_mtime - seconds))


def test_an_owner_is_told_from_a_later_process_with_its_number() -> None:
    me = Owner.me()
    assert me.alive() and Owner.parse(me.token()) == me
    assert Owner.parse(f"{me.token()}\n") == me
    assert replace(me, started="1").alive() is False
    assert dead_owner().alive() is False
    for unreadable in ("", "x", "a-b-c-d-e", "1-2-3", "\0"):
        assert Owner.parse(unreadable).alive() is False


def test_an_owner_of_an_earlier_boot_of_this_host_is_dead() -> None:
    assert replace(Owner.me(), boot=OTHER).alive() is False


def test_an_owner_in_another_container_or_on_another_host_cannot_be_seen() -> None:
    assert replace(Owner.me(), namespace=OTHER).alive() is None
    assert replace(Owner.me(), host=OTHER, boot=OTHER).alive() is None


def test_a_host_that_changes_its_name_still_knows_its_processes() -> None:
    assert replace(Owner.me(), host=OTHER).alive()


def test_another_users_hidden_process_is_not_taken_for_dead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """/proc mounted with hidepid shows nothing of it, and kill is not permitted."""
    read = process._read

    def refused(_pid: int, _signal: int) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(process, "_read", lambda p: "" if p.name == "stat" else read(p))
    monkeypatch.setattr(os, "kill", refused)
    assert replace(Owner.me(), pid=1).alive() is None


def test_a_lease_is_held_by_one(tmp_path: Path, mine: Lease) -> None:
    assert Lease.take(tmp_path, "a") is None and is_held(tmp_path, "a")
    other = Lease.take(tmp_path, "b")
    assert other is not None
    other.release()
    mine.release()
    assert not is_held(tmp_path, "a") and not list((tmp_path / "_leases").iterdir())


def test_a_lease_says_who_holds_it_and_since_when(tmp_path: Path, mine: Lease) -> None:
    found = holder(tmp_path, "a")
    assert found is not None and found.owner == Owner.me()
    assert held_by(tmp_path, "a") == f"process {os.getpid()} on {found.host} since {found.since}"
    assert found.since.endswith(" UTC")
    mine.release()
    assert held_by(tmp_path, "a") == "a process that has just ended"


def test_a_lease_that_was_taken_over_is_not_released(tmp_path: Path, mine: Lease) -> None:
    """A process that was silent for too long must not free what another process holds now."""
    mine.path.unlink()
    hold(tmp_path, replace(Owner.me(), host=OTHER, boot=OTHER))
    text = mine.path.read_text()
    mine.release()
    assert mine.path.read_text() == text and is_held(tmp_path, "a")
    assert Lease.take(tmp_path, "a") is None


def test_a_lease_that_was_taken_over_gets_no_sign_of_life(
    tmp_path: Path, quick: None, mine: Lease
) -> None:
    mine.path.unlink()
    path = hold(tmp_path, replace(Owner.me(), host=OTHER, boot=OTHER), silent_seconds=30)
    before = path.stat().st_mtime
    time.sleep(0.3)
    assert path.stat().st_mtime == before


def test_the_lease_of_a_dead_process_is_free_at_once(tmp_path: Path) -> None:
    hold(tmp_path, dead_owner())
    assert not is_held(tmp_path, "a")
    lease = Lease.take(tmp_path, "a")
    assert lease is not None
    lease.release()


def test_the_lease_of_an_earlier_boot_is_free_at_once(tmp_path: Path) -> None:
    hold(tmp_path, replace(Owner.me(), boot=OTHER))
    assert not is_held(tmp_path, "a")


@pytest.mark.parametrize("changes", [{"namespace": OTHER}, {"host": OTHER, "boot": OTHER}])
def test_a_silent_lease_of_another_container_or_host_lapses_in_seconds(
    tmp_path: Path, changes: dict[str, str]
) -> None:
    path = hold(tmp_path, replace(Owner.me(), **changes), silent_seconds=SILENT_SECONDS / 2)
    assert is_held(tmp_path, "a") and SILENT_SECONDS <= 60
    age(path, SILENT_SECONDS)
    assert not is_held(tmp_path, "a")
    assert remove_stale_leases(tmp_path) == [path] and not path.exists()


def test_a_suspended_process_of_this_machine_keeps_its_lease_for_minutes(tmp_path: Path) -> None:
    path = hold(tmp_path, replace(Owner.me()), silent_seconds=SILENT_SECONDS * 2)
    assert is_held(tmp_path, "a")
    age(path, LEASE_SECONDS)
    assert not is_held(tmp_path, "a")


def test_a_lease_shows_signs_of_life_until_its_release(
    tmp_path: Path, quick: None, mine: Lease
) -> None:
    age(mine.path, 2 * LEASE_SECONDS)
    wait_until(lambda: is_held(tmp_path, "a"), "a sign of life")
    mine.release()
    names = [f"lease {mine.path.stem}"]
    wait_until(lambda: not [t for t in threading.enumerate() if t.name in names], "the thread")


def test_a_holder_without_progress_gives_no_more_signs_of_life(
    tmp_path: Path, quick: None, mine: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "STUCK_SECONDS", 0.0)
    time.sleep(0.1)  # a sign that was being given
    age(mine.path, 2 * LEASE_SECONDS)
    time.sleep(0.3)
    assert not is_held(tmp_path, "a")
    monkeypatch.setattr(leases, "STUCK_SECONDS", 60.0)
    mine.renew()
    wait_until(lambda: is_held(tmp_path, "a"), "a sign of life")


@pytest.mark.parametrize("ahead_seconds", [-7200.0, 7200.0])
def test_a_clock_that_differs_from_the_servers_frees_no_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead_seconds: float
) -> None:
    """Only times that the file server set are compared."""
    path = hold(tmp_path, replace(Owner.me(), host=OTHER, boot=OTHER))
    clock = time.time
    monkeypatch.setattr(time, "time", lambda: clock() + ahead_seconds)
    assert is_held(tmp_path, "a")
    age(path, SILENT_SECONDS + 1)
    assert not is_held(tmp_path, "a")


def test_a_lease_taken_while_a_stale_one_is_removed_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look and the removal, another process has removed it and taken the lease."""
    path = hold(tmp_path, dead_owner())
    stale = leases._read(path)
    path.unlink()
    hold(tmp_path, replace(Owner.me(), host=OTHER, boot=OTHER))
    leases._remove_stale(tmp_path, path, stale)
    assert is_held(tmp_path, "a") and not list((tmp_path / "_tmp").iterdir())


def test_a_link_that_was_done_and_refused_is_the_own_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_answers_of_links(monkeypatch)
    lease = Lease.take(tmp_path, "a")
    assert lease is not None
    lease.release()
    assert not list((tmp_path / "_leases").iterdir())


def test_a_read_only_dataset_can_be_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hold(tmp_path, replace(Owner.me(), host=OTHER, boot=OTHER))

    def refused(*_: object) -> Path:
        raise PermissionError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(leases, "temporary_path", refused)
    assert is_held(tmp_path, "a")
