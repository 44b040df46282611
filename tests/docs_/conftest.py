"""A small dataset with variants, shared by the tests of documentation and examples."""

import sys
import tomllib
from pathlib import Path

import pytest

from support.paths import ROOT
from support.synthetic import SyntheticSource, ingest_synthetic

sys.path.insert(0, str(ROOT / "examples"))


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset with 4 clear frames and the variants of the recipe `demo`; only read it."""
    from click.testing import CliRunner

    from nightrain.flows.cli import app

    root = tmp_path_factory.mktemp("generated") / "dataset"
    ingest_synthetic(root, SyntheticSource(num_frames=4))
    result = CliRunner().invoke(
        app, ["generate", str(root), "--recipe", "weather-demo", "--runner", "local"]
    )
    assert result.exit_code == 0, result.output
    return root


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """examples/plugins as pip would install it: its modules, and its entry points."""
    project = tomllib.loads((ROOT / "examples/plugins/pyproject.toml").read_text())["project"]
    info = tmp_path / "site" / f"nightrain_example_plugins-{project['version']}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    lines = (
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in points.items())
        for group, points in project["entry-points"].items()
    )
    (info / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(str(info.parent))
    monkeypatch.syspath_prepend(str(ROOT / "examples/plugins"))
