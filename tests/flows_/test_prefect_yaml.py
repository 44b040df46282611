"""prefect.yaml: Prefect's own loader accepts it, and its jobs are those of the flows."""

import json
from typing import Any

import pytest
import yaml

from nightrain.flows.cli.server.standard import NIGHTLY, STUDENT, WEEKLY
from support.paths import ROOT

VARIABLES = {"nightrain_source": "/in", "nightrain_dataset": "/out", "nightrain_teacher": "/t"}


@pytest.fixture(scope="module")
def deployments() -> dict[str, dict[str, Any]]:
    import nightrain.flows  # noqa: F401, I001  (its settings must be there before prefect is imported)
    from prefect.cli.deploy._models import PrefectYamlModel

    loaded = PrefectYamlModel.model_validate(yaml.safe_load((ROOT / "prefect.yaml").read_text()))
    assert loaded.pull == []  # workers need no copy of the repository
    return {str(d.name): d.model_dump(exclude_unset=True, mode="json") for d in loaded.deployments}


def test_it_has_the_standard_deployments(deployments: dict[str, dict[str, Any]]) -> None:
    assert set(deployments) == {NIGHTLY, WEEKLY, STUDENT}
    assert [len(d.get("schedules", ())) for d in deployments.values()] == [1, 1, 0]
    for deployment in deployments.values():
        assert deployment["concurrency_limit"]["limit"] == 1
        assert deployment["work_pool"]["name"] == "{{ prefect.variables.nightrain_work_pool }}"


def test_its_entrypoints_are_flows(deployments: dict[str, dict[str, Any]]) -> None:
    from prefect.flows import load_flow_from_entrypoint

    assert {d["entrypoint"] for d in deployments.values()} == {"nightrain.flows.chain:chain"}
    assert load_flow_from_entrypoint("nightrain.flows.chain:chain").name == "chain"


def test_its_jobs_are_valid(deployments: dict[str, dict[str, Any]]) -> None:
    from nightrain.flows.chain import ChainJob

    for deployment in deployments.values():
        text = json.dumps(deployment["parameters"]["job"])
        for name, value in VARIABLES.items():
            text = text.replace(f"{{{{ prefect.variables.{name} }}}}", value)
        assert "{{" not in text
        for step in ChainJob.model_validate_json(text).steps:
            job = step.parsed_job({"NIGHTRAIN_RUN_TIME": "2026-11-28-0200"})
            assert str(job.model_dump()["dataset"]) == "/out"


def test_its_trigger_is_the_one_that_deploy_makes(deployments: dict[str, dict[str, Any]]) -> None:
    from uuid import uuid4

    from nightrain.flows.observe.automations import automations

    nightly, student = uuid4(), uuid4()
    (made,) = automations("x", [nightly, student], block=None, nightly=nightly, student=student)
    (trigger,) = deployments[STUDENT]["triggers"]
    ours = made.trigger.model_dump(mode="json")
    assert trigger["expect"] == ours["expect"] and trigger["match"] == ours["match"]
