"""Simulated power cuts: what of a folder is on the disk, if only what was synced is."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CALLS = ("link", "rename", "replace")


class Disk:
    """Notes what each fsync makes durable: the bytes of a file, or the names in a folder.

    `cuts` holds the disk as it was before each link or rename, by the name of its target.
    """

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.files: dict[int, bytes] = {}  # by inode
        self.folders: dict[int, dict[str, tuple[int, bool]]] = {}  # inodes, and whether folders
        self.cuts: list[tuple[str, dict[str, bytes | None]]] = []
        self._kept_open: list[int] = []  # so that no inode is used again
        self._note_folder(root)
        self._fsync = os.fsync
        monkeypatch.setattr(os, "fsync", self._noted)
        for name in CALLS:
            monkeypatch.setattr(os, name, self._cut_before(getattr(os, name)))

    def contents(self) -> dict[str, bytes | None]:
        """Paths that a power cut now would leave, with their bytes; None for a folder."""
        found: dict[str, bytes | None] = {}

        def visit(inode: int, prefix: str) -> None:
            for name, (child, is_folder) in self.folders.get(inode, {}).items():
                found[prefix + name] = None if is_folder else self.files.get(child, b"")
                visit(child, f"{prefix}{name}/")

        visit(self.root.stat().st_ino, "")
        return found

    def restore(self, target: Path) -> Path:
        """Write what a power cut now would leave to another folder."""
        target.mkdir()
        for name, data in sorted(self.contents().items()):
            (target / name).mkdir() if data is None else (target / name).write_bytes(data)
        return target

    def close(self) -> None:
        """Close the files that were kept open."""
        for descriptor in self._kept_open:
            os.close(descriptor)

    def _noted(self, descriptor: int) -> None:
        self._fsync(descriptor)
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        self._kept_open.append(os.dup(descriptor))
        if path.is_dir():
            self._note_folder(path)
        else:
            self.files[os.fstat(descriptor).st_ino] = path.read_bytes()

    def _note_folder(self, path: Path) -> None:
        self.folders[path.stat().st_ino] = {
            child.name: (child.lstat().st_ino, child.is_dir()) for child in path.iterdir()
        }

    def _cut_before(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def run(source: Any, target: Any, **options: Any) -> Any:
            self.cuts.append((Path(target).name, self.contents()))
            return call(source, target, **options)

        return run
