"""What happens after a failure: a function of the user's, and retries of runs."""

from types import SimpleNamespace
from typing import Any

import pytest
from httpx import ConnectError

import nightrain.flows  # noqa: F401  (its settings must be there before prefect is imported)
from nightrain.datasets.errors import InvalidRequest
from nightrain.flows.runtime import failure, heartbeat, silent_runs
from nightrain.flows.runtime.failure import ON_FAILURE, call_failure_hook, flow_settings

called: list[tuple[Any, ...]] = []


def note(flow: Any, flow_run: Any, state: Any) -> None:
    called.append((flow, flow_run, state))


def test_the_users_function_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    assert flow_settings()["on_failure"] == []
    monkeypatch.setenv(ON_FAILURE, f"{__name__}:note")
    settings = flow_settings()
    for hook in (settings["on_failure"][0], settings["on_crashed"][0]):
        hook(flow="f", flow_run="r", state="s")  # the runner passes names
    assert called == [("f", "r", "s")] * 2 and call_failure_hook in settings["on_failure"]


@pytest.mark.parametrize("name", ["absent.module:note", f"{__name__}:absent", __name__, "json"])
def test_a_function_that_does_not_exist_is_an_error_at_once(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(ON_FAILURE, name)
    with pytest.raises(InvalidRequest, match=f"{ON_FAILURE}={name}.*package.module:function"):
        flow_settings()


@pytest.mark.parametrize(
    ("deployed", "num_crashed", "again"),
    [(True, 1, True), (True, 2, True), (True, 3, False), (False, 1, False)],
)
def test_a_crashed_run_of_a_deployment_is_run_again_twice(
    monkeypatch: pytest.MonkeyPatch, deployed: bool, num_crashed: int, again: bool
) -> None:
    from prefect.states import Crashed, Pending

    proposed: list[Any] = []

    class Client:
        def __enter__(self) -> "Client":
            return self

        def __exit__(self, *_: Any) -> None:
            pass

        def read_flow_run_states(self, _: Any) -> list[Any]:
            return [state for _ in range(num_crashed) for state in (Pending(), Crashed())]

        def set_flow_run_state(self, _: Any, state: Any, force: bool) -> None:
            proposed.append(state)

    ended: list[Any] = []
    monkeypatch.setattr(failure, "get_client", lambda **_: Client())
    monkeypatch.setattr(failure, "report_end", ended.append)
    run: Any = SimpleNamespace(id="r", deployment_id="d" if deployed else None)
    failure.run_again(flow=None, flow_run=run, state=None)  # type: ignore[arg-type]
    assert [state.is_scheduled() for state in proposed] == [True] * again
    assert ended == [run] * deployed  # its heartbeats are not missed while it waits


def test_a_run_sends_no_heartbeat_after_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[str, dict[str, str]]] = []

    def refuse(**_: Any) -> None:
        sent.append((heartbeat.END, {}))
        raise ConnectError("the server is away")

    monkeypatch.setattr(heartbeat, "emit_event", lambda e, resource: sent.append((e, resource)))
    monkeypatch.setattr(heartbeat, "get_client", refuse)
    heart = heartbeat.Heart(SimpleNamespace(id="r", name="streets"))  # type: ignore[arg-type]
    heart.beat()
    heart.end()  # does not fail without a server
    heart.beat()
    assert [event for event, _ in sent] == [heartbeat.HEARTBEAT, heartbeat.END]
    assert sent[0][1]["prefect.resource.id"] == "prefect.flow-run.r"


def test_silent_runs_are_recognised_by_events_that_follow_no_other() -> None:
    trigger: Any = silent_runs.automation().trigger
    assert trigger.within.seconds >= heartbeat.SECONDS_BETWEEN_HEARTBEATS * 3
    assert trigger.after == {"nightrain.flow-run.heartbeat"}
    assert {"nightrain.flow-run.ended", "prefect.flow-run.Skipped"} < trigger.expect


def test_a_form_offers_the_built_in_recipes_and_paths() -> None:
    from prefect.utilities.callables import parameter_schema

    from nightrain.flows.generate import generate_variants

    schema = parameter_schema(generate_variants.fn).model_dump()
    recipe = schema["definitions"]["GenerateJob"]["properties"]["recipe"]
    built_in, path = recipe["anyOf"]
    assert "weather" in built_in["enum"] and path["type"] == "string" and "type" not in recipe
