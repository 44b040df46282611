import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightrain.datasets.errors import BrokenSource, DamagedInput, Reason
from nightrain.datasets.io.untrusted import (
    Checksums,
    Files,
    LinkRule,
    decode_text,
    read_bytes,
    safe_join,
)

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


# ---------------------------------------------------------------- links to other disks


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """A data set with `samples` on another disk, which itself has a link to a third place."""
    root, disk = tmp_path / "root", tmp_path / "disk2"
    for folder in (root, disk / "samples", tmp_path / "elsewhere"):
        folder.mkdir(parents=True)
    (disk / "samples" / "x.jpg").write_bytes(b"x")
    (tmp_path / "elsewhere" / "y.jpg").write_bytes(b"y")
    (root / "samples").symlink_to(disk / "samples")
    (disk / "samples" / "y.jpg").symlink_to(tmp_path / "elsewhere" / "y.jpg")
    (root / "up").symlink_to("..")
    return root


def test_a_link_to_another_disk_is_named_with_the_options_that_allow_it(linked: Path) -> None:
    with pytest.raises(DamagedInput) as caught:
        read_bytes(linked, "samples/x.jpg", 9)
    assert caught.value.reason is Reason.UNSAFE_PATH
    target = linked.parent / "disk2" / "samples"
    message = str(caught.value)
    assert f"samples is a symlink to {target}" in message
    assert f"--allow-root {target}" in message and "--follow-links" in message


def test_an_allowed_root_admits_its_own_files_only(linked: Path) -> None:
    files = Files.below(linked, LinkRule((linked.parent / "disk2",)))
    assert files.read("samples/x.jpg", 9) == b"x"
    assert files.path("samples").is_dir()
    with pytest.raises(DamagedInput, match=r"samples/y.jpg is a symlink to .*elsewhere"):
        files.read("samples/y.jpg", 9)
    with pytest.raises(DamagedInput, match=r"up is a symlink to \.\."):
        files.read("up/elsewhere/y.jpg", 9)


def test_follow_links_admits_links_but_no_hostile_name(linked: Path) -> None:
    files = Files.below(linked, LinkRule(anywhere=True))
    assert files.read("samples/x.jpg", 9) == b"x" and files.read("samples/y.jpg", 9) == b"y"
    hostile = ["../disk2/samples/x.jpg", "samples/../../elsewhere/y.jpg", "/etc/passwd", "~/x", "."]
    for name in [*hostile, "..\\disk2\\samples\\x.jpg"]:
        with pytest.raises(DamagedInput) as caught:
            files.read(name, 9)
        assert caught.value.reason is Reason.UNSAFE_PATH


def test_a_folder_that_becomes_a_link_after_the_check_is_refused(
    linked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = linked / "own"
    folder.mkdir()
    (folder / "y.jpg").write_bytes(b"mine")
    really_open = os.open

    def swap(path: Path, flags: int) -> int:
        folder.rename(linked / "gone")
        folder.symlink_to(linked.parent / "elsewhere")
        return really_open(path, flags)

    monkeypatch.setattr("nightrain.datasets.io.untrusted.os.open", swap)
    with pytest.raises(DamagedInput, match="replaced while it was opened") as caught:
        read_bytes(linked, "own/y.jpg", 9)
    assert caught.value.reason is Reason.UNSAFE_PATH


# ---------------------------------------------------------------- text from other systems


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_text_of_any_system_has_the_same_lines(encoding: str, line_end: str) -> None:
    lines = ["S_rect_02: 1.0", "späces", "", "x"]
    data = line_end.join(lines).encode(encoding)
    assert decode_text(data).split("\n") == lines


def test_a_name_with_backslashes_is_read(linked: Path) -> None:
    (linked / "maps").mkdir()
    (linked / "maps" / "a b.png").write_bytes(b"map")
    assert read_bytes(linked, "maps\\a b.png", 9) == b"map"
    digest = hashlib.sha256(b"map").hexdigest()
    sums = f"\ufeff{digest} *maps\\a b.png\r\n".encode()
    (linked / "SHA256SUMS").write_bytes(sums)
    files = Files.below(linked)
    assert len(files.sums) == 1 and files.read("maps/a b.png", 9) == b"map"
    (linked / "maps" / "a b.png").write_bytes(b"mop")
    with pytest.raises(DamagedInput) as caught:
        files.read("maps\\a b.png", 9)
    assert caught.value.reason is Reason.CHECKSUM_MISMATCH
