"""The page on LlamaIndex is true: its programs run, its table is complete."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest

import metaembed_rag.llama_index as ours
from metaembed_rag.model import shipped_checkpoints
from tests.support.files import make_pdf

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "llama_index.md").read_text(encoding="utf-8")


@pytest.mark.integration
@pytest.mark.skipif("mini" not in shipped_checkpoints(), reason="mini is not there")
def test_the_programs_of_the_page_run_in_order(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    pages = ["How a legend is added", "How a table is made"]
    make_pdf(tmp_path / "report.pdf", pages, title="Report")
    names: dict[str, object] = {}
    for program in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL):
        exec(program, names)
    lines = capsys.readouterr().out.splitlines()
    assert re.match(r"1\.000  report\.pdf, page 1: .+\.webp", lines[0])
    assert [one.score for one in names["fused"]] == [2 / 60, 2 / 61]  # type: ignore[attr-defined]
    assert names["best"][0].metadata["page"] == 1  # type: ignore[index]
    assert len(names["store"].index) == 2  # type: ignore[attr-defined]
    assert len(names["per_user"].retrieve("legend")) == 2  # type: ignore[attr-defined]


def test_the_first_program_has_about_twenty_lines():
    program = re.search(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert program is not None
    assert len([line for line in program[1].splitlines() if line.strip()]) <= 20


def test_every_public_name_has_its_place_and_a_docstring():
    for name in ours.__all__:
        assert f"`{name}`" in TEXT, name
        assert (getattr(ours, name).__doc__ or "").strip(), name


def test_without_its_client_the_example_says_what_to_install(monkeypatch):
    script = str(ROOT / "examples" / "llama_index_openai.py")
    monkeypatch.setitem(sys.modules, "llama_index.llms.openai_like", None)
    monkeypatch.setattr(sys, "argv", [script])
    with pytest.raises(SystemExit, match="pip install llama-index-llms-openai-like"):
        runpy.run_path(script, run_name="__main__")
