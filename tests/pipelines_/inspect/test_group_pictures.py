"""Luma and colour by group: those of pictures that are decoded, and of no more than asked."""

from pathlib import Path

import numpy as np
import pytest

from nightrain.datasets.io.images import decode_jpeg
from nightrain.pipelines.generate.job import GenerateJob, generate
from nightrain.pipelines.inspect.groups.group_stats import Group, group_stats_by
from nightrain.pipelines.inspect.picture_measures import picture_measures
from nightrain.pipelines.runs.executors import SerialExecutor
from nightrain.pipelines.runs.stop import Stop
from support.synthetic import all_rows


@pytest.fixture
def generated(dataset: Path, tmp_path: Path) -> Path:
    """Ten clear frames, and a night and a fog variant of each."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("name: both\ndepth: exact\nconditions: {night: {}, fog: {}}\n")
    stop = Stop()
    generate(
        GenerateJob(dataset=dataset, recipe=str(recipe)), executor=SerialExecutor(stop), stop=stop
    )
    return dataset


def groups(dataset: Path, pictures: int) -> dict[str, Group]:
    report = group_stats_by(dataset, ("condition",), pictures)
    return {one.keys["condition"]: one for one in report.groups}


def test_all_pictures_of_a_group_give_the_mean_of_all(generated: Path) -> None:
    found = groups(generated, 1000)
    for prefix, condition in (("variants", "night"), ("variants", "fog"), ("frames", "clear")):
        rows = [row for row in all_rows(generated, prefix).values()]
        measured = [
            picture_measures(decode_jpeg(row["image"]["bytes"]))
            for row in rows
            if row["condition"] == condition
        ]
        of = found[condition]
        assert of.num_pictures == len(measured) == 10
        assert of.luma == pytest.approx(np.mean([one["luma"] for one in measured]))
        warm = np.mean([one["red over blue"] for one in measured])
        assert of.red_over_blue == pytest.approx(warm)


@pytest.mark.parametrize("most", [1, 3, 10])
def test_no_more_pictures_are_decoded_than_asked(generated: Path, most: int) -> None:
    assert [one.num_pictures for one in groups(generated, most).values()] == [most] * 3
    assert [one.num_pictures for one in groups(generated, 0).values()] == [0] * 3


def test_a_picture_whose_bytes_were_changed_is_named_and_the_others_count(generated: Path) -> None:
    path = next(generated.glob("variants/*/night/*.parquet"))
    data = bytearray(path.read_bytes())
    data[data.index(b"\xff\xd8\xff") + 400] ^= 0xFF
    path.write_bytes(data)
    report = group_stats_by(generated, ("condition",), 1000)
    assert [name for name in report.problems if "night" in name]
    counts = {one.keys["condition"]: one.num_pictures for one in report.groups}
    assert counts["clear"] == counts["fog"] == 10 and counts["night"] < 10
