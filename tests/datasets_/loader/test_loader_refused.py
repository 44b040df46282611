"""What a training set refuses, and the damage that it finds."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pydantic import ValidationError

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import CorruptShard, InvalidRequest
from nightrain.datasets.loader.corruptions import Corruptions
from nightrain.datasets.loader.loader import TrainingSet, make_loader
from nightrain.datasets.shards.manifest import FRAMES, Manifest
from nightrain.datasets.shards.verify import verify
from nightrain.flows.cli import app
from nightrain.flows.cli.look.stats import print_stats
from nightrain.pipelines.engines.base import Request, Variant
from nightrain.pipelines.inspect.stats import dataset_stats
from support.loader import RECIPE, MixedSource, config, frame_rows, joined, make_root
from support.synthetic import SyntheticSource, TintEngine, all_rows, ingest_synthetic, recipe
from support.training import (
    add_labels,
    add_variants,
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_root(tmp_path_factory.mktemp("training"))


def test_an_empty_condition_is_refused(root: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"no rain frames in split 'train'.*train/clear"):
        TrainingSet(root, config(conditions=("clear", "rain")))
    with pytest.raises(InvalidRequest, match="no clear frames in split 'val'"):
        TrainingSet(root, config(split="val"))


def test_a_recipe_without_variants_is_refused(root: Path) -> None:
    folder = RECIPE.folder_of(Condition.NIGHT)
    with pytest.raises(
        InvalidRequest, match=f"no variants called 'other-00000000'. Recipes: test; .*{folder}"
    ):
        TrainingSet(root, config(recipes=("other-00000000",)))
    with pytest.raises(InvalidRequest, match="no snow variants of test; it has: night, fog"):
        joined(root, variant_conditions=("night", "snow"))


def test_variants_of_other_frames_are_refused(tmp_path: Path) -> None:
    ingest_synthetic(tmp_path, MixedSource(8), frames_per_shard=4)
    night = recipe(Condition.FOG)
    shard_of_night = next(
        e.shard.number
        for e in Manifest(tmp_path).entries(FRAMES)
        if e.about["condition"] == "night"
    )
    add_variants(tmp_path, night, numbers=(shard_of_night,))
    with pytest.raises(InvalidRequest, match="holds no variant of the 4 selected frames"):
        TrainingSet(tmp_path, config(recipes=(night.name,)))


def test_missing_labels_are_refused(root: Path) -> None:
    with pytest.raises(InvalidRequest, match="no labels of 'absent'; it has: labels/tiny"):
        joined(root, labels="absent")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda n, rows: [r | {"frame_id": f"{r['frame_id'][:-1]}!"} for r in rows],
            "another frame",
        ),
        (lambda n, rows: rows if n else rows[1:], "no label for 1 of 4 frames"),
        (lambda n, rows: [rows[0] | {"teacher_sha256": "x"}, *rows[1:]], "labels of 2 teachers"),
    ],
)
def test_labels_that_do_not_fit_are_refused(tmp_path: Path, change: Any, message: str) -> None:
    ingest_synthetic(tmp_path, SyntheticSource(4))
    add_labels(tmp_path, change=change)
    with pytest.raises(InvalidRequest, match=message):
        TrainingSet(tmp_path, config(labels="tiny"))


def test_labels_in_another_order_still_find_their_frames(tmp_path: Path) -> None:
    ingest_synthetic(tmp_path, SyntheticSource(4))
    add_labels(tmp_path, change=lambda n, rows: rows[::-1])
    dataset = TrainingSet(tmp_path, config(labels="tiny"))
    labels = dataset.index.labels
    assert labels is not None and labels.row.tolist() == [3, 2, 1, 0]
    assert dataset[1]["frame_id"] == labels.columns["frame_id"][1]


def test_frames_whose_label_is_in_quarantine_are_left_out_and_counted(tmp_path: Path) -> None:
    ingest_synthetic(tmp_path, SyntheticSource(4))
    add_variants(tmp_path, RECIPE)
    add_labels(tmp_path, reject=(1,))
    dataset = TrainingSet(tmp_path, config(labels="tiny", recipes=(RECIPE.name,), p_clear=0.0))
    rejected = TrainingSet(tmp_path, config()).index.frames.columns["frame_id"][1]
    assert len(dataset) == 3 and dataset.index.num_without_label == 1
    samples = [dataset[i] for i in range(3)]  # reading finds rows that do not belong together
    assert rejected not in {s["frame_id"] for s in samples} and all(
        s["is_variant"] for s in samples
    )


@dataclass
class Loose(TintEngine):
    """Reports that a control acted on some variants only: those whose seed is a multiple."""

    every: int = 2

    def _variant(self, request: Request) -> Variant:
        acted = 4 * (request.seed % self.every == 0)
        return replace(super()._variant(request), num_steps=4, control_steps=(4, acted))


def test_variants_without_control_are_left_out_and_counted_unless_included(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ingest_synthetic(tmp_path, SyntheticSource(8))
    add_variants(tmp_path, RECIPE, engine=Loose())
    rows = all_rows(tmp_path)
    loose = {name for name, row in rows.items() if row["controlled"] is False}
    assert 0 < len(loose) < len(rows)
    chosen = config(recipes=(RECIPE.name,), p_clear=0.0)
    index = TrainingSet(tmp_path, chosen).index
    shown = set(index.variants.columns["sample_id"].tolist())
    assert shown == rows.keys() - loose and index.num_uncontrolled == len(loose)
    included = chosen.model_copy(update={"include_uncontrolled": True})
    index = TrainingSet(tmp_path, included).index
    assert len(index.variants) == len(rows) and index.num_uncontrolled == 0
    stats = dataset_stats(tmp_path)
    assert sum(table.num_uncontrolled for table in stats.tables.values()) == len(loose)
    assert verify(tmp_path).num_uncontrolled == len(loose)
    said = CliRunner().invoke(app, ["verify", str(tmp_path)])
    line = f"without control: {len(loose)} variants; not trained on unless included"
    assert said.exit_code == 0 and line in said.output.splitlines()
    print_stats(stats)
    assert "without control: " in capsys.readouterr().out


def test_a_training_set_of_variants_without_control_is_refused(tmp_path: Path) -> None:
    ingest_synthetic(tmp_path, SyntheticSource(4))
    add_variants(tmp_path, RECIPE, engine=Loose(every=2**62))
    chosen = config(recipes=(RECIPE.name,))
    with pytest.raises(InvalidRequest, match=r"none of the 8 variants .* --include-uncontrolled"):
        TrainingSet(tmp_path, chosen)
    TrainingSet(tmp_path, chosen.model_copy(update={"include_uncontrolled": True}))


def test_a_depth_that_is_not_there_is_refused(tmp_path: Path) -> None:
    ingest_synthetic(tmp_path, SyntheticSource(4))
    add_labels(tmp_path, change=lambda n, rows: [r | {"depth": None} for r in rows])
    dataset = TrainingSet(tmp_path, config(labels="tiny"))
    with pytest.raises(InvalidRequest, match="has no depth, which the training set needs"):
        dataset[0]


@pytest.mark.parametrize("table", ["frames", RECIPE.table(Condition.NIGHT), "labels/tiny"])
def test_a_flipped_byte_is_found_by_the_worker(tmp_path: Path, table: str) -> None:
    ingest_synthetic(tmp_path, SyntheticSource(4))
    add_variants(tmp_path, RECIPE)
    add_labels(tmp_path)
    fields = {"recipes": (RECIPE.name,), "variant_conditions": ("night",), "p_clear": 0.0}
    dataset = TrainingSet(tmp_path, config(**fields, labels="tiny"))
    path = tmp_path / table / "00000.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 0x10
    path.write_bytes(data)
    for num_workers in (0, 1):
        with pytest.raises(CorruptShard, match=table):
            next(iter(make_loader(dataset, dataset.sampler(0), 2, num_workers=num_workers)))


def test_keys_that_changed_are_found_at_once(tmp_path: Path) -> None:
    ingest_synthetic(tmp_path, SyntheticSource(4))
    path = tmp_path / "frames" / "00000.parquet"
    key = next(iter(frame_rows(tmp_path))).encode()
    path.write_bytes(path.read_bytes()[: -len(key)])
    with pytest.raises(CorruptShard, match=r"frames/00000.parquet"):
        TrainingSet(tmp_path, config())


@pytest.mark.parametrize(
    "changes",
    [
        {"p_clear": 1.5},
        {"p_clear": "mostly"},
        {"variant_conditions": ("night",)},
        {"recipes": ("a-1",), "variant_conditions": ("clear",)},
        {"recipes": ("a-1",), "corruptions": Corruptions()},
        {"recipes": ("../up",)},
        {"conditions": ("clear", "clear")},
        {"conditions": ()},
        {"input_size": (0, 10)},
        {"unknown": 1},
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        config(**changes)
