"""The command `nightrain label` with a network of the true layout."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from nightrain.datasets.io.images import decode_jpeg
from nightrain.datasets.shards.label_rows import label_from_row, labels_of
from nightrain.datasets.shards.manifest import FRAMES, Manifest
from nightrain.depthmodel.network import model, predict
from nightrain.flows.cli import app
from support.synthetic import all_rows
from support.tiny_depth_models import save_teacher


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    return save_teacher(tmp_path / "Tiny Teacher", seed=0)


def run(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    return done.exit_code, done.stdout


def test_label_writes_what_the_network_predicts(dataset: Path, teacher: Path) -> None:
    options = (
        "label",
        dataset,
        "--teacher",
        teacher,
        "--runner",
        "local",
        "--device",
        "cpu",
        "--batch-size",
        3,
    )
    code, text = run(*options, "--json")
    report = json.loads(text)
    (table,) = report["tables"]
    assert code == 0 and table.startswith("labels/tiny-teacher-")
    assert report["tables"][table]["num_rows"] == 10
    network = model.DepthModel.from_pretrained(teacher)
    manifest = Manifest(dataset)
    frames = all_rows(dataset, FRAMES)
    for entry in manifest.entries(FRAMES):
        for row in labels_of(manifest, entry.shard, table).rows():
            image = decode_jpeg(frames[row["frame_id"]]["image"]["bytes"])
            made = label_from_row(row)
            assert made is not None and row["teacher_sha256"] == network.digest
            assert (
                np.abs(made.depth_m - predict.predict(network, [image])[0]).max() <= 1 / 512 + 1e-4
            )
            assert 0 < made.confidence.min() <= made.confidence.max() <= 1
    code, text = run(*options)
    assert code == 0 and "3 shards were already committed" in text
    assert run("verify", dataset)[0] == 0
    code, text = run("stats", dataset)
    assert code == 0 and f"{table}: depth in 100.0% of the pixels" in text
    assert table in (dataset / "README.md").read_text()


def test_a_network_that_was_trained_on_writes_another_table(dataset: Path, teacher: Path) -> None:
    run("label", dataset, "--teacher", teacher, "--runner", "local", "--device", "cpu")
    save_teacher(teacher, seed=1)  # in the same folder
    run("label", dataset, "--teacher", teacher, "--runner", "local", "--device", "cpu")
    assert len(Manifest(dataset).tables("labels/")) == 2
    digests = {row["teacher_sha256"] for row in _rows_of_both(dataset)}
    assert len(digests) == 2


def _rows_of_both(dataset: Path) -> list[dict]:
    manifest = Manifest(dataset)
    tables = manifest.tables("labels/")
    return [row for table in tables for row in all_rows(dataset, table).values()]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--condition", "mist"), "--condition is 'mist'"),
        (("--confidence", "guess"), "--confidence is 'guess'"),
        (("--runner", "cloud"), "--runner is 'cloud'"),
        (("--size", "big"), "--size is 'big'"),
    ],
)
def test_wrong_options_are_named(
    dataset: Path, teacher: Path, option: tuple[str, str], message: str
) -> None:
    arguments = [
        "label",
        str(dataset),
        "--teacher",
        str(teacher),
        "--runner",
        "local",
        *option,
    ]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2 and message in done.output.replace("\n", " ")
