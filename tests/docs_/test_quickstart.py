"""The quickstart notebook runs from top to bottom, and its outputs are committed."""

import os
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from support.paths import ROOT
from support.processes import DEADLINE_S

NOTEBOOK = ROOT / "docs/quickstart.ipynb"


def outputs(notebook: nbformat.NotebookNode) -> str:
    cells = (cell for cell in notebook.cells if cell.cell_type == "code")
    return "\n".join(str(output) for cell in cells for output in cell.outputs)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_quickstart_runs_in_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    source = [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(source))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(
        notebook,
        timeout=int(DEADLINE_S),
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    ).execute()
    text = outputs(notebook)
    assert "2 frames, 8 variants" in text and "accepted: 6 shards" in text


def test_its_outputs_are_committed_and_name_no_folder_of_a_machine() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    text = outputs(notebook)
    assert "2 frames, 8 variants" in text and "image/jpeg" in text
    assert str(ROOT) not in text and "Traceback" not in text
