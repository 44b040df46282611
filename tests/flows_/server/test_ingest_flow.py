"""The ingest flows on a real Prefect server: a schedule of a source that grows."""

from pathlib import Path

import pytest

from nightrain.datasets.shards.verify import verify
from nightrain.pipelines.ingest.job import ingest_job_model
from support.flow_server import MARKS
from support.sources import nuscenes as fixture
from support.synthetic import all_rows

pytestmark = MARKS


def test_a_grown_source_is_appended_by_the_same_flow(server: None, tmp_path: Path) -> None:
    from nightrain.flows.ingest import ingest_nuscenes

    job = ingest_job_model("nuscenes").model_validate(
        {"dataset": tmp_path / "out", "config": {"root": tmp_path / "in"}, "split": "all"}
    )
    for scenes, number in ((1, 6), (2, 12), (2, 12)):
        fixture.build(tmp_path / "in", scenes=fixture.SCENES[:scenes])
        assert ingest_nuscenes(job, return_state=True).is_completed()
        assert len(all_rows(job.dataset, "frames")) == number
    assert verify(job.dataset).accepted


def test_a_deployment_by_import_path_checks_its_parameters(server: None, tmp_path: Path) -> None:
    from prefect.client.orchestration import get_client
    from prefect.deployments.runner import EntrypointType
    from prefect.exceptions import PrefectHTTPStatusError
    from prefect.flows import load_flow_from_entrypoint

    flow = load_flow_from_entrypoint("nightrain.flows.ingest:ingest_kitti")
    by_path = EntrypointType.MODULE_PATH  # valid in any folder
    deployment = flow.to_deployment(name="nightly", cron="0 1 * * *", entrypoint_type=by_path)
    identifier = deployment.apply()
    good = {"dataset": "/out", "config": {"root": "/data", "kb_crop": True}}
    with get_client(sync_client=True) as client:
        stored = client.read_deployment(identifier)
        assert stored.entrypoint == "nightrain.flows.ingest.ingest_kitti"
        run = client.create_flow_run_from_deployment(identifier, parameters={"job": good})
        assert run.parameters["job"]["config"]["kb_crop"] is True
        bad = {**good, "config": {"root": "/data", "cameras": ["image_09"]}}
        with pytest.raises(PrefectHTTPStatusError, match="image_09"):
            client.create_flow_run_from_deployment(identifier, parameters={"job": bad})
        client.delete_deployment(identifier)
