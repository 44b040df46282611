"""Verification accepts a dataset only if everything in it could be read."""

import os
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.shards.manifest import Manifest, Shard
from nightrain.datasets.shards.verify import verify
from nightrain.datasets.validation import parse_since
from support.permissions import deny

FIRST = "frames/00000.parquet"


def problems(root: Path) -> dict[str, str]:
    report = verify(root)
    assert not report.accepted
    return {problem.path: problem.message for problem in report.problems}


def test_a_whole_dataset_is_accepted(dataset: Path) -> None:
    report = verify(dataset)
    assert report.accepted and report.num_shards == 3 and report.num_rows == 10
    assert report.num_unread == 0 and report.orphans == report.in_progress == []


def test_a_folder_without_a_manifest_is_refused(dataset: Path) -> None:
    (dataset / "_manifest").rename(dataset / "elsewhere")
    with pytest.raises(InvalidRequest, match="no folder _manifest"):
        verify(dataset)
    (dataset / "_manifest").mkdir()
    report = verify(dataset)
    assert not report.accepted and len(report.orphans) == 3


def test_an_empty_dataset_is_not_accepted(tmp_path: Path) -> None:
    (tmp_path / "_manifest").mkdir()
    assert not verify(tmp_path).accepted


@pytest.mark.parametrize("folder", ["_manifest", "_manifest/frames", "frames"])
def test_a_folder_that_cannot_be_listed_is_a_problem(
    dataset: Path, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    deny(monkeypatch, dataset / folder)
    assert "cannot be listed: Permission denied" in problems(dataset)[folder]


@pytest.mark.parametrize("name", ["_manifest/frames/00001.json", FIRST])
def test_a_file_that_cannot_be_read_is_a_problem(
    dataset: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    deny(monkeypatch, dataset / name)
    assert "cannot be read: Permission denied" in problems(dataset)[name]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("folder", ["_manifest", "_manifest/frames", "frames"])
def test_another_user_without_permission_is_not_told_accepted(dataset: Path, folder: str) -> None:
    """With real permissions, in a child process that is not root."""
    for path in (dataset.parent.parent, dataset.parent, dataset):
        path.chmod(0o755)
    (dataset / folder).chmod(0o700)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setuid(65534)
            code = 7 if not verify(dataset).accepted else 0
        except Exception:  # raised in words: also not accepted
            code = 7
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_files_without_entries_are_not_accepted(dataset: Path) -> None:
    (dataset / "_manifest/frames/00000.json").unlink()
    report = verify(dataset)
    assert report.orphans == [FIRST] and report.problems == [] and not report.accepted
    lease = Manifest(dataset).lease(Shard(table="frames", number=0))
    assert lease is not None
    report = verify(dataset)
    assert report.in_progress == [FIRST] and report.orphans == [] and report.accepted
    lease.release()
    stray = dataset / "variants/r-1/night/not-a-shard.parquet"
    stray.parent.mkdir(parents=True)
    stray.touch()
    assert verify(dataset).orphans == [FIRST, str(stray.relative_to(dataset))]


@pytest.mark.parametrize("name", [FIRST, "_manifest/frames/00000.json"])
@pytest.mark.parametrize(
    "kind", ["fifo", "folder", "socket", "zero", "outside", "dangling", "loop", "gone"]
)
def test_other_things_in_the_place_of_a_file_are_problems(
    dataset: Path, name: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = dataset / name
    (tmp_path / "outside").write_bytes(path.read_bytes())
    path.unlink()
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "socket":
        monkeypatch.chdir(path.parent)  # the path of a socket has at most 107 bytes
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    elif kind != "gone":
        targets = {"zero": "/dev/zero", "outside": tmp_path / "outside", "loop": path}
        path.symlink_to(targets.get(kind, "dangling"))
    if name != FIRST and kind == "outside":
        assert verify(dataset).accepted  # its digest tells that it is the committed entry
        return
    report = verify(dataset)
    assert not report.accepted
    expected = {"gone": FIRST, "folder": name if name == FIRST else "_manifest"}.get(kind, name)
    assert [p.path for p in report.problems] + report.orphans == [expected]


def test_a_link_inside_the_dataset_is_fine(dataset: Path) -> None:
    (dataset / "pool").mkdir()
    (dataset / FIRST).rename(dataset / "pool/a")
    (dataset / FIRST).symlink_to("../pool/a")
    assert verify(dataset).accepted


def test_damaged_plans_are_problems(dataset: Path) -> None:
    plan = dataset / "_plan/00000.json"
    plan.write_bytes(plan.read_bytes()[:-9])
    assert "plan of frames" in problems(dataset)["_plan"]


def test_a_lost_last_plan_is_a_problem(dataset: Path) -> None:
    (last,) = (dataset / "_plan").iterdir()
    last.unlink()
    message = problems(dataset)["_plan"]
    assert "is committed, but no plan in" in message and "nightrain repair" in message


def test_a_sample_says_what_it_left_out(dataset: Path) -> None:
    report = verify(dataset, share=0.3, seed=1)
    assert report.accepted and report.num_unread == 2 and report.num_shards == 3
    chosen = {verify(dataset, share=0.01).num_bytes for _ in range(40)}
    assert len(chosen) > 1  # another shard at other calls
    for number in range(3):
        (dataset / f"frames/{number:05d}.parquet").write_bytes(b"PAR1")
    assert len(problems_of(verify(dataset, share=0.3))) == 3  # sizes are always compared


def problems_of(report: object) -> list:
    return report.problems  # type: ignore[attr-defined]


def test_since_reads_what_is_new(dataset: Path) -> None:
    now = datetime.now(UTC)
    assert verify(dataset, since=now - timedelta(hours=1)).num_unread == 0
    report = verify(dataset, since=now + timedelta(hours=1))
    assert report.num_unread == 3 and report.num_bytes == 0 and report.accepted


def test_times_are_parsed() -> None:
    now = datetime(2026, 11, 26, tzinfo=UTC)
    assert parse_since("7d", now) == datetime(2026, 11, 19, tzinfo=UTC)
    assert parse_since("12h", now) == datetime(2026, 11, 25, 12, tzinfo=UTC)
    assert parse_since("2026-11-20") == datetime(2026, 11, 20, tzinfo=UTC)
    assert parse_since("2026-11-20T10:00+02:00") == datetime(2026, 11, 20, 8, tzinfo=UTC)
    for text in ("yesterday", "7", "d", "-1d", "9" * 30 + "d"):
        with pytest.raises(ValueError, match="expected a date such as"):
            parse_since(text)
