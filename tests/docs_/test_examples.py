"""Every file in examples/ does what its first line says."""

import ast
from pathlib import Path
from typing import Any

import pytest

from support.paths import ROOT

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def test_there_are_examples_and_each_says_how_to_run_it() -> None:
    assert len(EXAMPLES) >= 3
    for path in EXAMPLES:
        docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
        assert f"python examples/{path.name}" in docstring, path.name


def test_read_shards_needs_no_nightrain_and_reads_with_every_library(
    generated: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import read_shards

    text = Path(read_shards.__file__).read_text()
    assert "import nightrain" not in text and "from nightrain" not in text
    read_shards.main(generated)
    printed = capsys.readouterr().out
    assert "night-rain" in printed and "ambient_lux" in printed
    assert "(2, 3, 40, 64)" in printed


def test_train_student_learns(generated: Path, recipe_folder: str) -> None:
    import train_student

    losses = train_student.train(generated, recipe_folder, num_steps=6)
    assert len(losses) == 6 and min(losses[1:]) < losses[0]


def test_schedule_nightly_is_a_deployment_whose_parameters_the_flow_accepts(
    generated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import schedule_nightly

    from nightrain.flows.generate import generate_variants

    wanted = schedule_nightly.deployment(generated, "weather")
    served: dict[str, Any] = {}
    monkeypatch.setattr(type(generate_variants), "serve", lambda _, **given: served.update(given))
    generate_variants.serve(**wanted)
    assert served == wanted
    deployment = generate_variants.to_deployment(
        wanted["name"], cron=wanted["cron"], parameters=wanted["parameters"]
    )
    schedules = deployment.schedules
    assert schedules[0].schedule.cron == "0 2 * * *"
    job = generate_variants.validate_parameters(wanted["parameters"])["job"]
    assert job.dataset == generated and job.recipe == "weather"
