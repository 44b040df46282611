"""The table of conditions, and what it costs to add one."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import nightrain
from nightrain.datasets.conditions import (
    CONDITIONS,
    NIGHT_CONDITIONS,
    QUANTITIES,
    SIMULATED_CONDITIONS,
    Condition,
    condition_named_in,
    physical_values,
)

PACKAGES = ("datasets", "depthmodel", "pipelines", "flows")
MAX_FILES_PATCHED = 3

# What a developer writes to add "smog": a member and a row, and what the engine makes of it.
PATCHES = {
    "datasets/conditions.py": (
        ('    DUSK = "dusk"\n', '    DUSK = "dusk"\n    SMOG = "smog"\n'),
        (
            '        buckets=("dusk",),\n    ),\n',
            '        buckets=("dusk",),\n    ),\n'
            "    Condition.SMOG: ConditionProperties(\n"
            '        words=_words("smog(gy)?"),\n'
            "        scales=(SeverityScale(VISIBILITY, 1000.0, 100.0),),\n"
            '        phrases=("In thick smog",),\n'
            '        caption_adjectives="smoky",\n'
            '        buckets=("smog",),\n'
            "    ),\n",
        ),
    ),
    "pipelines/engines/weather/engine.py": (
        ("case Condition.FOG:", "case Condition.FOG | Condition.SMOG:"),
    ),
}
USE = """
import json, sys
from pathlib import Path

from nightrain.datasets.conditions import Condition
from nightrain.datasets.sources.scene_conditions import condition_by_words
from nightrain.datasets.sources.robotcar.splits import condition_of
from nightrain.depthmodel.evaluation.settings import BUCKETS
from nightrain.pipelines.generate.job import GenerateJob, generate
from nightrain.pipelines.captions.prompts import prompt
from nightrain.pipelines.runs.executors import SerialExecutor
from nightrain.pipelines.runs.stop import Stop
from support.synthetic import SyntheticSource, all_rows, ingest_synthetic

root = Path(sys.argv[1])
smog = Condition("smog")
ingest_synthetic(root / "dataset", SyntheticSource(num_frames=1))
stop = Stop()
job = GenerateJob(dataset=root / "dataset", recipe=str(root / "smog.yaml"))
report = generate(job, executor=SerialExecutor(stop), stop=stop)
(row,) = all_rows(root / "dataset").values()
print(json.dumps({
    "quarantined": report.num_quarantined,
    "condition": row["condition"],
    "visibility_m": row["physical"]["visibility_m"],
    "bytes": len(row["image"]["bytes"]),
    "prompt": prompt(smog, "a smoky street"),
    "buckets": [b.name for b in BUCKETS if smog in b.conditions],
    "described": condition_by_words("Smoggy morning, parked cars"),
    "tagged": condition_of(["roadworks", "smog"]),
}))
"""
RECIPE = """
name: smog
engine: weather
depth: exact
conditions:
  smog: {lowest: 1.0, highest: 1.0}
"""


def test_a_condition_is_added_by_a_row_and_a_case_of_its_engine(tmp_path: Path) -> None:
    assert len(PATCHES) <= MAX_FILES_PATCHED
    library = copied_package(tmp_path / "library")
    for name, replacements in PATCHES.items():
        patch(library / "nightrain" / name, replacements)
    (tmp_path / "smog.yaml").write_text(RECIPE)
    made = run_with(library, USE, tmp_path)
    assert made.pop("bytes") > 0
    assert made.pop("visibility_m") == pytest.approx(100.0)
    assert made == {
        "quarantined": 0,
        "condition": "smog",
        "prompt": "In thick smog, a street",
        "buckets": ["smog", "all"],
        "described": "smog",
        "tagged": "smog",
    }


def test_every_condition_has_a_row_and_a_bucket() -> None:
    assert tuple(CONDITIONS) == tuple(Condition)
    assert all(row.buckets for row in CONDITIONS.values())
    assert NIGHT_CONDITIONS == (Condition.NIGHT, Condition.NIGHT_RAIN)


def test_every_scale_has_a_column() -> None:
    scaled = {scale.quantity for row in CONDITIONS.values() for scale in row.scales}
    assert scaled == set(QUANTITIES)
    for condition in SIMULATED_CONDITIONS:
        for severity in (0.0, 0.5, 1.0):
            assert min(physical_values(condition, severity).values()) > 0


@pytest.mark.parametrize("condition", [Condition.CLEAR, Condition.DUSK])
def test_a_condition_without_a_scale_is_refused(condition: Condition) -> None:
    with pytest.raises(ValueError, match=f"{condition}.*conditions with one: night, rain"):
        physical_values(condition, 0.5)


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("", None),
        ("Fortnight, brainy drivers", None),
        ("Rain at dusk", Condition.RAIN),
        ("Snow, night", Condition.NIGHT),
        ("Raining, nighttime, snow", Condition.NIGHT_RAIN),
        ("TWILIGHT", Condition.DUSK),
    ],
)
def test_a_combination_comes_first_then_the_order_decides(
    text: str, condition: Condition | None
) -> None:
    assert condition_named_in(text) == condition


def copied_package(folder: Path) -> Path:
    """Folder that holds a copy of the package `nightrain`, as code alone."""
    source = Path(str(nightrain.__file__)).parent
    (folder / "nightrain").mkdir(parents=True)
    shutil.copy(source / "__init__.py", folder / "nightrain")
    for package in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source / package, folder / "nightrain" / package, ignore=ignored)
    return folder


def patch(path: Path, replacements: tuple[tuple[str, str], ...]) -> None:
    text = path.read_text()
    for old, new in replacements:
        assert text.count(old) == 1, f"{path} has {text.count(old)} of {old!r}"
        text = text.replace(old, new)
    path.write_text(text)


def run_with(library: Path, code: str, *arguments: Path) -> dict[str, object]:
    """JSON object that code prints with a library before the installed one."""
    inherited = os.environ.get("PYTHONPATH", "")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(library), inherited])}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])
