"""Each notebook runs from top to bottom; the committed one is small, clean, and names no machine.

Run them again and keep their outputs: ``make notebooks``.
"""

from __future__ import annotations

import asyncio
import copy
import importlib.util
import json
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook, new_output

from metaembed_rag.model import shipped_checkpoints

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
BUDGETS = ("(1,1)", "(2,4)", "(4,8)", "(8,16)", "(16,64)")
PICTURES = {"choosing_a_budget": 10, "langchain_rag": 2, "llama_index_rag": 4}
"""Page pictures that a notebook shows at the least."""
SAYS = {
    "choosing_a_budget": ["20 questions, 21 pages, 0 skipped", "image/png", "with 5 candidates"],
    "langchain_rag": ["[stand-in, not a language model] I was given", "co2_chart.png, page 1"],
    "llama_index_rag": ["I was given 2 page pictures", "bardiag.pdf, page 1", "Given the context"],
}

needs_mini = pytest.mark.skipif(
    "mini" not in shipped_checkpoints(), reason="the shipped checkpoint mini is not there"
)
pytestmark = pytest.mark.integration
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def load_cleaner():
    spec = importlib.util.spec_from_file_location("clean", FOLDER / "clean.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


cleaner = load_cleaner()


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs(notebook: nbformat.NotebookNode) -> str:
    return "".join(json.dumps(cell.outputs) for cell in code_cells(notebook))


def standard_error(notebook: nbformat.NotebookNode) -> list[str]:
    every = [output for cell in code_cells(notebook) for output in cell.outputs]
    return [o.text for o in every if o.output_type == "stream" and o.name == "stderr"]


def check(notebook: nbformat.NotebookNode, name: str) -> None:
    """What a reader should see, in a committed notebook and in one that just ran."""
    shown = outputs(notebook)
    for part in [*SAYS[name], *(f"budget {budget}" for budget in BUDGETS)]:
        assert part in shown, part
    assert shown.count("data:image/jpeg;base64,") >= PICTURES[name]
    [bar] = standard_error(notebook)  # and no warning
    assert bar.startswith("100%")
    assert "21/21 [" in bar


@pytest.fixture(scope="module")
def executed(tmp_path_factory) -> dict[str, nbformat.NotebookNode]:
    """All notebooks as they come out now, run side by side: most of the time is imports."""
    folder = tmp_path_factory.mktemp("jupyter")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("JUPYTER_PATH", str(folder))
        environment.setenv("OMP_NUM_THREADS", "1")
        environment.delenv("METAEMBED_BUDGET", raising=False)
        return asyncio.run(execute(NOTEBOOKS, this_python(folder)))


def this_python(folder: Path) -> str:
    """A kernel of this very interpreter, whatever kernels the machine has; its name."""
    place = folder / "kernels" / "this-python"
    place.mkdir(parents=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": command, "display_name": "this python", "language": "python"}
    (place / "kernel.json").write_text(json.dumps(spec))
    return place.name


async def execute(paths: list[Path], kernel: str) -> dict[str, nbformat.NotebookNode]:
    notebooks = {path.stem: nbformat.read(path, as_version=4) for path in paths}
    for notebook in notebooks.values():
        for cell in code_cells(notebook):
            cell.outputs = []
    options = {"timeout": 120, "kernel_name": kernel}
    resources = {"metadata": {"path": str(FOLDER)}}
    clients = [NotebookClient(n, resources=resources, **options) for n in notebooks.values()]
    await asyncio.gather(*(client.async_execute() for client in clients))
    return notebooks


def test_there_is_one_for_each_framework_and_one_for_the_budget():
    assert [path.stem for path in NOTEBOOKS] == list(PICTURES)


@needs_mini
@every_notebook
def test_a_notebook_runs_and_shows_pages_at_every_budget(path, executed):
    check(cleaner.clean(executed[path.stem]), path.stem)


@every_notebook
def test_a_committed_notebook_shows_the_same(path):
    check(nbformat.read(path, as_version=4), path.stem)


@every_notebook
def test_a_committed_notebook_ran_in_order_and_names_no_machine(path):
    notebook = nbformat.read(path, as_version=4)
    code = code_cells(notebook)
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [o for cell in code for o in cell.outputs if o.output_type == "error"]
    assert path.stat().st_size < 1_000_000
    text = path.read_text(encoding="utf-8")
    for private in ("/work/", "/home/", "/root/", "/Users/", "/tmp/", str(Path.home())):
        assert private not in text


@every_notebook
def test_a_committed_notebook_is_clean(path):
    notebook = nbformat.read(path, as_version=4)
    assert cleaner.clean(copy.deepcopy(notebook)) == notebook


def test_cleaning_keeps_outputs_and_drops_times_versions_widgets_and_steps_of_bars():
    bar = [new_output("stream", name="stderr", text=f"\r{step}0%") for step in (1, 5, 10)]
    said = [new_output("stream", name="stdout", text=f"{word}\n") for word in ("one", "two")]
    widget = new_output("display_data", data={cleaner.WIDGET: {}, "text/plain": "bar"})
    result = new_output("execute_result", data={"text/plain": "42"})
    cell = new_code_cell("6 * 7", outputs=[*bar[:2], said[0], widget, bar[2], said[1], result])
    cell.metadata["execution"] = {"iopub.execute_input": "2026-01-01T00:00:00Z"}
    about = {"language_info": {"name": "python", "version": "3.11.7"}, "widgets": {}}
    cleaned = cleaner.clean(new_notebook(cells=[cell], metadata=about))
    assert cleaned.metadata == {"language_info": {"name": "python"}}
    [cell] = cleaned.cells
    assert (cell.id, cell.metadata) == ("cell-1", {})
    assert [o.get("text") or o.data for o in cell.outputs] == [
        "100%",
        "one\ntwo\n",
        {"text/plain": "bar"},
        {"text/plain": "42"},
    ]
