"""Marks of variants: every stored picture says that it is synthetic, and which recipe made it."""

from pathlib import Path

import pytest

from nightrain.datasets.io.marks import read_mark
from nightrain.pipelines.engines.diffusion.models.settings import DiffusionSettings
from nightrain.pipelines.engines.weather.settings import WeatherSettings
from nightrain.pipelines.export.job import ExportDatasetJob
from nightrain.pipelines.export.run import export_dataset
from nightrain.pipelines.runs.stop import Stop
from support.synthetic import all_rows, recipe
from support.training import add_variants


@pytest.fixture
def generated(dataset: Path) -> Path:
    add_variants(dataset, recipe())
    return dataset


def test_variants_say_what_made_them_and_whose_they_are(generated: Path) -> None:
    rows = all_rows(generated).values()
    assert rows
    for row in rows:
        mark = read_mark(row["image"]["bytes"])
        assert mark is not None and mark.source_type == "compositeSynthetic"
        assert mark.tool == f"nightrain {row['engine']} {row['recipe_hash']}"
        assert mark.licence == row["licence"]
    assert all(
        read_mark(row["image"]["bytes"]) is None for row in all_rows(generated, "frames").values()
    )


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("text2image", "trainedAlgorithmicMedia"),
        ("image2image", "compositeWithTrainedAlgorithmicMedia"),
    ],
)
def test_pictures_of_trained_models_say_so(mode: str, expected: str) -> None:
    base = {"id_or_folder": "org/base"}
    settings = {"family": "sd15", "base": base, "allow_no_control": True, "mode": mode}
    assert DiffusionSettings.model_validate(settings).source_type == expected
    assert WeatherSettings().source_type == "compositeSynthetic"


def test_marks_survive_an_export(generated: Path, tmp_path: Path) -> None:
    export_dataset(ExportDatasetJob(dataset=generated, to="folders", out=tmp_path / "out"), Stop())
    pictures = [p for p in (tmp_path / "out").rglob("*.jpg") if p.parent.name != "clear"]
    assert pictures and all(read_mark(p.read_bytes()) for p in pictures)
