"""The registry of sources: what is built in, what packages bring, and what is refused."""

from pathlib import Path

import pytest

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.shards.manifest import FRAMES
from nightrain.datasets.sources.base import SourceConfig
from nightrain.datasets.sources.registry import SOURCES
from nightrain.pipelines.ingest.job import ingest_frames
from nightrain.pipelines.runs.executors import ProcessExecutor, SerialExecutor
from nightrain.pipelines.runs.stop import Stop
from support.described_folder import described
from support.synthetic import all_rows

GRID = """
from pydantic import Field

from nightrain.datasets.sources.base import SourceConfig
from support.synthetic import SyntheticSource


class GridSource(SyntheticSource):
    def __init__(self, config):
        super().__init__(num_frames=config.num_frames, name="grid")


class GridConfig(SourceConfig):
    source = "grid_source:GridSource"
    summary = "Read a grid."
    num_frames: int = Field(default=3, ge=1, description="Frames to list")


class NoConfig:
    pass


class NoSummary(SourceConfig):
    source = "grid_source:GridSource"


class NoClass(GridConfig):
    source = "grid_source:Nowhere"
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package that offers sources, good and bad."""
    (tmp_path / "grid_source.py").write_text(GRID)
    info = tmp_path / "grid_source-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: grid-source\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[nightrain.sources]\n"
        "grid = grid_source:GridConfig\n"
        "not-a-config = grid_source:NoConfig\n"
        "absent = grid_source_absent:GridConfig\n"
        "no-summary = grid_source:NoSummary\n"
        "no-class = grid_source:NoClass\n"
        "kitti = grid_source:GridConfig\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_source_of_a_package_is_ingested(package: Path, num_workers: int) -> None:
    config = SOURCES.load("grid")(root=package, num_frames=4)  # type: ignore[call-arg]
    source, stop = config.open(), Stop()
    executor = SerialExecutor(stop) if num_workers == 1 else ProcessExecutor(num_workers, stop)
    refs, out = source.select(config.default_split), package / "dataset"
    report = ingest_frames(out, source, refs, config.record(), executor=executor, stop=stop)
    assert report.num_rows == len(all_rows(out, FRAMES)) == 4 and not report.unplaced
    assert config.record() == {"neighbours": "true", "num_frames": "4"}


def test_built_in_and_installed_sources_are_offered(package: Path) -> None:
    assert set(SOURCES.names()) == {
        *SOURCES.built_in,
        "absent",
        "grid",
        "no-class",
        "no-summary",
        "not-a-config",
    }
    with pytest.raises(InvalidRequest, match=r"packages nightrain, grid-source; .* uninstall"):
        SOURCES.load("kitti")  # a package cannot replace it
    assert SOURCES.load("nuscenes").__name__ == "NuScenesConfig"


@pytest.mark.parametrize(
    ("name", "found", "what_to_do"),
    [
        (
            "cityscapes",
            "no source 'cityscapes'. Installed: absent, folder, grid, kitti",
            "Name one of these",
        ),
        ("absent", "grid_source_absent cannot be imported", "Install its package"),
        ("not-a-config", "not a subclass of .*SourceConfig", "derive it from that class"),
        ("no-summary", "'no-summary' of the package grid-source.*does not define summary", ""),
    ],
)
def test_a_source_that_cannot_be_had_is_refused_in_one_sentence(
    package: Path, name: str, found: str, what_to_do: str
) -> None:
    with pytest.raises(InvalidRequest, match=f"{found}.*{what_to_do}.*"):
        SOURCES.load(name)


def test_a_config_of_a_missing_class_is_refused_when_it_is_opened(package: Path) -> None:
    config = SOURCES.load("no-class")(root=package)  # type: ignore[call-arg]
    with pytest.raises(InvalidRequest, match="grid_source has no Nowhere, only Grid"):
        config.open()


def test_a_source_without_frames_leaves_no_dataset(package: Path) -> None:
    config, stop = SOURCES.load("grid")(root=package), Stop()  # type: ignore[call-arg]
    with pytest.raises(InvalidRequest, match=r"'grid' lists no frames \(options: neighbours true"):
        ingest_frames(
            package / "out",
            config.open(),
            [],
            config.record(),
            executor=SerialExecutor(stop),
            stop=stop,
        )
    assert not (package / "out").exists()


@pytest.mark.parametrize("name", SOURCES.built_in)
def test_every_option_has_help_and_the_plan_records_it(name: str, tmp_path: Path) -> None:
    model = SOURCES.load(name)
    assert model.summary.endswith(".") and model.split_help
    assert all(field.description for field in model.model_fields.values())
    root = tmp_path
    if name == "folder":
        root = described(tmp_path)
    config = opened(model, root)
    added = {"description"} if name == "folder" else set()  # digest of the YAML file
    assert config.record().keys() == (model.model_fields.keys() - model.not_recorded) | added
    assert str(tmp_path) not in str(config.record())  # folders differ between machines


def test_a_plan_records_options_as_texts(tmp_path: Path) -> None:
    config = opened(SOURCES.load("robotcar"), tmp_path, splits=tmp_path, traverses="a,b")
    assert config.default_split == "train" and opened(type(config), tmp_path).default_split == "all"
    assert config.record() == {
        "neighbours": "true",
        "splits": "given",
        "traverses": "a,b",
        "camera": "stereo/left",
        "undistorted": "auto",
        "crop_bonnet": "true",
        "lms_window_s": "4.0",
        "train_filter": "md4all",
    }


def opened(model: type[SourceConfig], root: Path, **options: object) -> SourceConfig:
    sdk = {"sdk": root} if "sdk" in model.model_fields else {}
    return model.model_validate({"root": root, **sdk, **options})
