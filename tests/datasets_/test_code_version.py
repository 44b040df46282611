"""The commit of the code: of this repository, and of no other that happens to hold the package."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from nightrain.datasets import code_version


def test_the_commit_is_that_of_the_repository_that_tracks_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copy(code_version.__file__, tmp_path)
    monkeypatch.setattr(code_version, "__file__", str(copy))
    assert code_version.code_commit() == ""
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    (tmp_path / "other").write_text("1")
    for words in (("init", "-q"), ("add", "other"), ("commit", "-qm", "Other")):
        subprocess.run([*git, *words], check=True)
    assert code_version.code_commit() == ""  # as in site-packages below somebody's repository
    for words in (("add", "."), ("commit", "-qm", "Ours")):
        subprocess.run([*git, *words], check=True)
    commit = code_version.code_commit()
    assert re.fullmatch("[0-9a-f]{12}", commit)
    (tmp_path / "other").write_text("2")
    assert code_version.code_commit() == f"{commit}+"
