"""A small dataset with variants, shared by the tests of documentation and examples."""

import sys
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
        app, ["generate", str(root), "--recipe", "demo", "--runner", "local"]
    )
    assert result.exit_code == 0, result.output
    return root


@pytest.fixture(scope="session")
def recipe_folder(generated: Path) -> str:
    """Name of the folder below variants/."""
    return next((generated / "variants").iterdir()).name
