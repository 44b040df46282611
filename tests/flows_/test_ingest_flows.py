"""The flows that ingest each source: loaded by import path, with the source's own parameters."""

import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from nightrain.datasets.sources.registry import SOURCES
from nightrain.pipelines.ingest.job import IngestJob, ingest_job_model
from support.plugins import install
from support.sources import nuscenes as fixture

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
PACKAGE = """
from typing import ClassVar
from pydantic import Field
from nightrain.datasets.sources.base import FrameSource, SourceConfig
from support.synthetic import SyntheticSource

class Settings(SourceConfig):
    source: ClassVar[str] = "support.synthetic:SyntheticSource"
    summary: ClassVar[str] = "Read a grid."
    num_frames: int = Field(default=3, ge=1, description="Frames to list")

    def open(self) -> FrameSource:
        return SyntheticSource(num_frames=self.num_frames)
"""


def load(name: str):  # type: ignore[no-untyped-def]
    from prefect.flows import load_flow_from_entrypoint

    return load_flow_from_entrypoint(f"nightrain.flows.ingest:{name}", use_placeholder_flow=False)


@pytest.mark.parametrize("source", SOURCES.built_in)
def test_each_source_has_a_flow_with_its_options(source: str) -> None:
    flow = load(f"ingest_{source}")
    assert flow.name == f"ingest-{source}"
    assert flow._entrypoint == f"nightrain.flows.ingest:ingest_{source}"
    definitions = flow.parameters.model_dump()["definitions"]
    config = SOURCES.load(source)
    assert set(definitions[config.__name__]["properties"]) == set(config.model_fields)
    (job,) = [d for name, d in definitions.items() if name.endswith("IngestJob")]
    assert {"dataset", "split", "num_workers", "retry_failed"} <= set(job["properties"])
    assert job["properties"]["source"]["const"] == source


def test_the_flow_of_any_source_accepts_the_options_of_every_source() -> None:
    from prefect.utilities.schema_tools import validate

    schema = load("ingest_frames").parameters.model_dump()
    config = {"root": "/data", "version": "v1.0-mini", "cameras": ["CAM_FRONT"]}
    job = {"source": "nuscenes", "config": config, "dataset": "/out"}
    assert validate({"job": job}, schema) == []
    for wrong in ({**job, "frames": 3}, {**job, "config": {}}):
        assert validate({"job": wrong}, schema)


@pytest.fixture
def grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Installs a package with the source "grid-2"."""
    names = {"group": "nightrain.sources", "name": "grid-2", "module": "grid_package"}
    install(tmp_path / "site", monkeypatch, code=PACKAGE, **names)
    yield
    module = importlib.import_module("nightrain.flows.ingest")
    vars(module).pop("ingest_grid_2", None)


@pytest.mark.usefixtures("grid")
def test_a_source_of_an_installed_package_has_a_flow_too() -> None:
    from prefect.exceptions import MissingFlowError

    flow = load("ingest_grid_2")
    assert flow.name == "ingest-grid-2" and flow.description == "Read a grid."
    assert "num_frames" in flow.parameters.model_dump()["definitions"]["Settings"]["properties"]
    with pytest.raises(MissingFlowError):
        load("ingest_lyft")


def test_validated_parameters_are_those_of_the_source(tmp_path: Path) -> None:
    from prefect.exceptions import ParameterTypeError

    folder = fixture.build(tmp_path / "in", scenes=fixture.SCENES[:1])
    job = {"dataset": str(tmp_path / "out"), "config": {"root": str(folder.root)}, "split": "all"}
    flow = load("ingest_nuscenes")
    checked = flow.validate_parameters({"job": job})["job"]
    assert checked.config.version == fixture.VERSION and checked.source == "nuscenes"
    for other in (ingest_job_model("nuscenes"), IngestJob):
        given = other.model_validate({"source": "nuscenes", **job})
        assert flow.validate_parameters({"job": given})["job"] == checked
    with pytest.raises(ParameterTypeError, match="source"):
        flow.validate_parameters({"job": IngestJob.model_validate({**job, "source": "kitti"})})
