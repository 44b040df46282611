"""`verify`, `repair`, `prune` and `upgrade` as a user meets them: output and exit codes."""

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.shards.manifest import Manifest
from support.command import Command
from support.synthetic import SyntheticSource, ingest_synthetic

RECIPE = """
name: upkeep
depth: exact
conditions:
  fog: {lowest: 0.2, highest: 0.8}
"""
OLD = Path(__file__).parents[2] / "support" / "old_datasets" / "schema1.tar.gz"


@pytest.fixture
def root(tmp_path: Path, nightrain: Command) -> Path:
    root = tmp_path / "dataset"
    ingest_synthetic(root, SyntheticSource(6), 3)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    assert generate(nightrain, root)[0] == 0
    return root


def generate(nightrain: Command, root: Path) -> tuple[Any, str]:
    recipe = root.parent / "recipe.yaml"
    return nightrain("generate", root, "--recipe", recipe, "--runner", "local")


def test_a_lost_file_is_noticed_repaired_and_made_again(root: Path, nightrain: Command) -> None:
    (table,) = Manifest(root).tables("variants/")
    lost = f"{table}/00000.parquet"
    (root / lost).unlink()
    code, said = generate(nightrain, root)
    assert code == 3 and f"{lost}: the file is missing" in said and "nightrain repair" in said
    code, said = nightrain("verify", root)
    assert code == 3 and f"damaged  {lost}: the file is missing" in said
    code, said = nightrain("repair", root)
    assert code == 3 and "would be repaired" in said and "--yes" in said
    code, said = nightrain("repair", root, "--yes")
    assert code == 0 and "run `nightrain generate` as before to make it again" in said
    code, said = nightrain("repair", root)
    assert code == 0 and "nothing to repair" in said
    code, said = generate(nightrain, root)
    assert code == 0 and "3 variants in 1 shard" in said
    assert nightrain("verify", root)[0] == 0


def test_verify_says_what_it_left_out(root: Path, nightrain: Command) -> None:
    code, said = nightrain("verify", root, "--sample", "0.5", "--since", "1d")
    assert code == 0 and "not checked the content of 2 of 4 shards" in said
    assert "accepted as far as checked: 4 shards" in said
    report = json.loads(nightrain("verify", root, "--sample", "0.5", "--json")[1])
    assert report["num_unread"] == 2
    for options in (["--since", "soon"], ["--sample", "0"], ["--sample", "2"]):
        code, said = nightrain("verify", root, *options)
        assert code == 2 and options[0] in said


def test_prune_says_what_it_removes(root: Path, nightrain: Command) -> None:
    code, said = nightrain("prune", root, "--variants", "upkeep")
    assert code == 0 and "would remove variants/weather-" in said and "6 rows" in said
    assert "MB. Nothing was removed; run the same command with --yes" in said
    code, said = nightrain("prune", root, "--variants", "upkeep", "--yes")
    assert code == 0 and "removed variants/weather-" in said
    assert Manifest(root).tables() == ["frames"]
    assert "variants/weather" not in (root / "README.md").read_text()
    assert nightrain("prune", root)[0] == 2
    assert nightrain("prune", root, "--superseded")[1].startswith("There is nothing to remove")


def test_upgrade_brings_an_old_dataset_up_to_date(tmp_path: Path, nightrain: Command) -> None:
    with tarfile.open(OLD) as archive:
        archive.extractall(tmp_path, filter="data")
    code, said = nightrain("stats", tmp_path)
    assert code == 2 and f"Run `nightrain upgrade {tmp_path}`" in said
    code, said = nightrain("upgrade", tmp_path)
    assert code == 0 and "upgraded 6 shards from schema version 1" in said
    assert nightrain("verify", tmp_path)[0] == 0
    assert nightrain("upgrade", tmp_path)[0] == 0


@pytest.mark.parametrize("command", ["repair", "prune", "upgrade"])
def test_no_dataset_is_refused(tmp_path: Path, command: str, nightrain: Command) -> None:
    code, said = nightrain(command, tmp_path)
    assert code == 2 and "no folder _manifest" in said


@pytest.mark.parametrize("change", ["prune", "repair"])
def test_a_read_only_dataset_is_refused_in_one_sentence(
    root: Path, change: str, nightrain: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    (table,) = Manifest(root).tables("variants/")
    (root / table / "00000.parquet").unlink()
    options = {"prune": ["--variants", "upkeep", "--yes"], "repair": ["--yes"]}[change]

    def refuse(root: Path) -> None:
        raise InvalidRequest(f"{root} is read-only.")

    monkeypatch.setattr("nightrain.datasets.upkeep.changes.require_writable", refuse)
    code, said = nightrain(change, root, *options)
    assert code == 2 and f"nightrain: {root} is read-only." in said
