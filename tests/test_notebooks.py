"""Each notebook runs from top to bottom, and the committed one is small and names no machine.

Run them again and keep their outputs: ``jupyter execute --inplace notebooks/*.ipynb``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from metaembed_rag.model import shipped_checkpoints

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))

needs_mini = pytest.mark.skipif(
    "mini" not in shipped_checkpoints(), reason="the shipped checkpoint mini is not there"
)


def outputs(notebook: nbformat.NotebookNode) -> str:
    return "".join(json.dumps(c.outputs) for c in notebook.cells if c.cell_type == "code")


@pytest.fixture
def kernel(tmp_path, monkeypatch) -> str:
    """A kernel of this very interpreter, whatever kernels the machine has."""
    folder = tmp_path / "kernels" / "this-python"
    folder.mkdir(parents=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": command, "display_name": "this python", "language": "python"}
    (folder / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return folder.name


@needs_mini
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_page_pictures_at_every_budget(path, kernel):
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=120, kernel_name=kernel, resources=resources).execute()
    shown = outputs(notebook)
    for budget in ("(1,1)", "(2,4)", "(4,8)", "(8,16)", "(16,64)"):
        assert f"budget {budget}" in shown
    assert shown.count("data:image/jpeg;base64,") >= 6


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_committed_notebook_has_small_outputs_without_paths_of_a_machine(path):
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [o for cell in code for o in cell.outputs if o.output_type == "error"]
    assert path.stat().st_size < 1_000_000
    for private in ("/work/", "/home/", "/root/", "/Users/", "/tmp/", str(Path.home())):
        assert private not in outputs(notebook)
