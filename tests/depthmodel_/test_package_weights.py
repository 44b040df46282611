"""Weights of Python packages: found by name, and loaded only if every file is as listed."""

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.package_weights import SUMS, write_sums
from nightrain.depthmodel.weights import Weights, resolve, resolve_file, weights_name

NAME = "package:shipped_weights.inner/files"
NET = "net/model.safetensors"


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of package weights with one network."""
    package = tmp_path / "shipped_weights" / "inner"
    folder = package / "files"
    (folder / "net").mkdir(parents=True)
    (package.parent / "__init__.py").touch()
    (package / "__init__.py").touch()
    save_file({"a": torch.arange(4.0)}, folder / NET)
    (folder / "net" / "config.json").write_text("{}")
    (folder / "README.md").write_text("not listed, not loaded")
    write_sums(folder)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "shipped_weights", raising=False)
    monkeypatch.delitem(sys.modules, "shipped_weights.inner", raising=False)
    return folder


def test_intact_weights_are_named_by_the_digest_of_all_files(files: Path) -> None:
    weights = Weights(NAME, subfolder="net")
    found = resolve(weights)
    assert found.folder == files / "net" and found.name == weights_name(weights)
    assert found.name.startswith("inner@") and found.name.endswith("/net")
    assert resolve_file(weights, "config.json") == files / "net" / "config.json"
    (files / "net" / "config.json").write_text("{ }")
    write_sums(files)
    assert weights_name(weights) != found.name


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def change(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def leave_a_pointer(path: Path) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (Path.unlink, "is missing. Restore it with `git checkout -- "),
        (cut, "was cut or changed: its "),
        (change, "was cut or changed: its "),
        (
            leave_a_pointer,
            "is a Git LFS pointer, not the file itself. Fetch it with `git lfs pull`",
        ),
    ],
)
def test_damaged_weights_are_never_loaded(files: Path, damage: object, words: str) -> None:
    assert callable(damage)
    damage(files / NET)
    for subfolder in ("net", ""):  # the whole set belongs together
        with pytest.raises(InvalidRequest) as caught:
            resolve(Weights(NAME, subfolder=subfolder))
        assert str(caught.value).startswith(f"{files / NET} {words}")
    with pytest.raises(InvalidRequest):
        resolve_file(Weights(NAME), NET)


def test_an_unlisted_file_is_refused(files: Path) -> None:
    save_file({"a": torch.zeros(1)}, files / "net" / "other.safetensors")
    with pytest.raises(InvalidRequest, match=r"other\.safetensors is not listed in SHA256SUMS"):
        resolve(Weights(NAME, subfolder="net"))


@pytest.mark.parametrize("line", ["", "0" * 64 + "  ../../secret", "0" * 63 + "  net/a", "\xff"])
def test_an_invalid_list_is_refused(files: Path, line: str) -> None:
    with (files / SUMS).open("a") as file:
        file.write(line + "\n")
    with pytest.raises(InvalidRequest, match="SHA256SUMS has an invalid line"):
        resolve(Weights(NAME, subfolder="net"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("package:shipped_weights.inner/absent", "does not include the weights package:shipped_we"),
        ("package:no_such_package/files", "package no_such_package is not installed"),
        ("package:shipped_weights/../files", "is not a valid name of package weights"),
        ("package:/etc", "is not a valid name of package weights"),
        ("package:", "is not a valid name of package weights"),
    ],
)
def test_a_wrong_name_is_one_sentence(files: Path, name: str, words: str) -> None:
    for call in (resolve, weights_name):
        with pytest.raises(InvalidRequest) as caught:
            call(Weights(name))
        assert words in str(caught.value)
