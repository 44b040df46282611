"""Variables in a chain's jobs: replaced where the chain runs, and only those of this package."""

from pathlib import Path

import pytest

from nightrain.datasets.errors import InvalidRequest


def test_variables_are_replaced_in_every_text() -> None:
    from nightrain.flows.chain import with_variables

    job = {
        "dataset": "$NIGHTRAIN_DATA/shards",
        "out": "${NIGHTRAIN_DATA}-report.html",
        "config": {"allow_root": ["$NIGHTRAIN_DATA/a", "$HOME/b"], "neighbours": True},
        "changes": ["a=$PASSWORD"],
    }
    found = with_variables(job, {"NIGHTRAIN_DATA": "/data", "HOME": "/root", "PASSWORD": "x"})
    assert found == {
        "dataset": "/data/shards",
        "out": "/data-report.html",
        "config": {"allow_root": ["/data/a", "$HOME/b"], "neighbours": True},
        "changes": ["a=$PASSWORD"],
    }


def test_a_worker_without_the_variable_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from nightrain.flows.chain import Step

    step = Step(command="verify", job={"dataset": "$NIGHTRAIN_DISK/shards"})
    monkeypatch.delenv("NIGHTRAIN_DISK", raising=False)
    with pytest.raises(InvalidRequest, match="needs the environment variable NIGHTRAIN_DISK"):
        step.parsed_job()
    monkeypatch.setenv("NIGHTRAIN_DISK", "/disk")
    assert step.parsed_job().model_dump()["dataset"] == Path("/disk/shards")


def test_an_empty_dataset_is_refused() -> None:
    """What Prefect makes of a variable in prefect.yaml that is not set."""
    from nightrain.flows.chain import Step

    with pytest.raises(InvalidRequest, match="'generate' has an empty dataset folder"):
        Step(command="generate", job={"dataset": "", "recipe": "weather"}).parsed_job()
