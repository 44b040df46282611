"""The flows of reports on a server: artifacts with the main numbers, and how a drift fails."""

from pathlib import Path
from typing import Any

import pytest

from nightrain.datasets.conditions import Condition
from nightrain.pipelines.drift.job import DriftJob
from nightrain.pipelines.recipes.recipe import SeverityRange
from nightrain.pipelines.report.job import ReportJob
from support.flow_server import MARKS, artifacts
from support.synthetic import SyntheticSource, ingest_synthetic, recipe
from support.training import add_variants

pytestmark = [*MARKS, pytest.mark.usefixtures("server")]


@pytest.fixture
def fogs(tmp_path: Path) -> Path:
    """Mild and severe fog of 24 frames."""
    root = tmp_path / "fogs"
    ingest_synthetic(root, SyntheticSource(num_frames=24), frames_per_shard=8)
    for name, lowest in (("mild", 0.1), ("severe", 0.7)):
        fog = SeverityRange(lowest=lowest, highest=lowest + 0.1)
        add_variants(root, recipe(Condition.FOG, name=name, conditions={Condition.FOG: fog}))
    return root


def ended(flow: Any, job: object) -> tuple[str, str]:
    """Name and message of the state in which a flow run ends, without another try."""
    state = flow.with_options(retries=0)(job, return_state=True)
    return state.name, state.message


def test_a_report_and_its_numbers_are_attached_to_the_run(fogs: Path, tmp_path: Path) -> None:
    from nightrain.flows.report import report_dataset

    job = ReportJob(dataset=fogs, out=tmp_path / "fogs.html", if_changed=True)
    name, message = ended(report_dataset, job)
    assert name == "Completed" and message.startswith(f"wrote {job.out}: ")
    markdown = artifacts()["dataset-report"]
    assert f"`{job.out}`" in markdown and "| frames | 3 | 24 | 0 |" in markdown
    assert ended(report_dataset, job)[1] == f"kept {job.out}: the dataset has not changed"


def test_a_drift_fails_and_nothing_to_compare_is_skipped(fogs: Path) -> None:
    from nightrain.flows.report import drift_of_variants

    name, message = ended(
        drift_of_variants, DriftJob(dataset=fogs, recipe="severe", against="mild")
    )
    assert name == "Failed" and message.startswith("Variants drifted against mild: ")
    assert "| fog " in artifacts()["drift-of-variants"]
    name, message = ended(drift_of_variants, DriftJob(dataset=fogs, recipe="severe"))
    assert name == "Skipped" and "all shards were committed on one day" in message


def test_a_report_of_no_dataset_fails_with_a_sentence(tmp_path: Path) -> None:
    from nightrain.flows.report import report_dataset

    name, message = ended(report_dataset, ReportJob(dataset=tmp_path))
    assert name == "Failed" and "holds no committed shards" in message
