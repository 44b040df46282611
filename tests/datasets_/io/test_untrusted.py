import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightrain.datasets.errors import BrokenSource, DamagedInput, Reason
from nightrain.datasets.io.untrusted import Checksums, read_bytes, safe_join

HOSTILE_NAMES = [
    "",
    "  ",
    ".",
    "..",
    "../x",
    "a/../../x",
    "a/..",
    "/etc/passwd",
    "//etc/passwd",
    "~/x",
    "a\0b",
    "a\nb",
    "..\\..\\x",
    "a" * 300,
    "a/" * 600 + "b",
    "\ud800",
    None,
    7,
    ["a"],
    b"a",
]


def reason_of(root: Path, name: object, max_bytes: int = 1000) -> Reason:
    with pytest.raises(DamagedInput) as caught:
        read_bytes(root, name, max_bytes)
    return caught.value.reason


@pytest.mark.parametrize("name", HOSTILE_NAMES, ids=lambda n: ascii(n)[:20])
def test_hostile_names_are_refused(tmp_path: Path, name: object) -> None:
    assert reason_of(tmp_path, name) is Reason.UNSAFE_PATH


@pytest.mark.parametrize(
    "name", ["a.jpg", "samples/CAM_FRONT/n015+0800__x.jpg", "ü/日本.jpg", "..a"]
)
def test_plain_names_are_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(b"content")
    assert read_bytes(tmp_path, name, 7) == b"content"


@given(st.text())
def test_no_name_at_all_leads_out(name: str) -> None:
    root = Path("/nonexistent/root")
    try:
        assert safe_join(root, name).is_relative_to(root)
    except DamagedInput as error:
        assert error.reason is Reason.UNSAFE_PATH


def test_symlinks_out_of_the_root_are_refused_and_inside_followed(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "root-outside"
    root.mkdir()
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    (root / "real").write_bytes(b"fine")
    (root / "link").symlink_to("real")
    (root / "out").symlink_to(outside / "secret")
    (root / "folder").symlink_to(outside)
    (root / "loop").symlink_to("loop")
    assert read_bytes(root, "link", 10) == b"fine"
    for name in ("out", "folder/secret", "loop"):
        assert reason_of(root, name) is Reason.UNSAFE_PATH


def test_the_root_itself_may_be_a_symlink(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "x").write_bytes(b"1")
    (tmp_path / "root").symlink_to("real")
    assert read_bytes(tmp_path / "root", "x", 10) == b"1"


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")  # opening it for reading would wait for ever
    (tmp_path / "folder").mkdir()
    assert reason_of(tmp_path, "fifo") is Reason.UNSAFE_PATH
    assert reason_of(tmp_path, "folder") is Reason.UNSAFE_PATH


def test_missing_empty_and_long_files(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "long").write_bytes(b"12345")
    assert reason_of(tmp_path, "missing") is Reason.MISSING_FILE
    assert reason_of(tmp_path, "empty/below") is Reason.MISSING_FILE
    assert reason_of(tmp_path, "empty") is Reason.EMPTY_FILE
    assert reason_of(tmp_path, "long", 4) is Reason.TOO_LARGE
    assert read_bytes(tmp_path, "long", 5) == b"12345"


def test_checksums_find_a_flipped_bit(tmp_path: Path) -> None:
    digest = hashlib.sha256(b"right").hexdigest()
    (tmp_path / "SHA256SUMS").write_text(f"{digest}  ./a/x.jpg\n{digest} *b.jpg\n")
    sums = Checksums(tmp_path)
    assert len(sums) == 2
    sums.verify("a/x.jpg", b"right")
    sums.verify("not/listed", b"anything")
    for name in ("a/x.jpg", "b.jpg"):
        with pytest.raises(DamagedInput) as caught:
            sums.verify(name, b"sight")
        assert caught.value.reason is Reason.CHECKSUM_MISMATCH


def test_no_checksum_file_is_fine(tmp_path: Path) -> None:
    Checksums(tmp_path).verify("x", b"anything")


@pytest.mark.parametrize("text", ["", "abc  x\n", "z" * 64 + "  x\n", "0" * 64 + "\n", "\xff"])
def test_a_broken_checksum_file_breaks_the_source(tmp_path: Path, text: str) -> None:
    (tmp_path / "SHA256SUMS").write_bytes(text.encode("latin-1"))
    with pytest.raises(BrokenSource, match="SHA256SUMS"):
        Checksums(tmp_path)
