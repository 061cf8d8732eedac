"""Each example runs offline and prints what its reader is told to expect."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest

from metaembed_rag.model import shipped_checkpoints

EXAMPLES = Path(__file__).parents[2] / "examples"

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        "mini" not in shipped_checkpoints(), reason="the shipped checkpoint mini is not there"
    ),
]


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run an example as a script from another folder; what it printed."""
    monkeypatch.chdir(tmp_path)

    def running(name: str, *arguments: str) -> str:
        script = str(EXAMPLES / name)
        monkeypatch.setattr(sys, "argv", [script, *arguments])
        runpy.run_path(script, run_name="__main__")
        assert not list(tmp_path.iterdir())  # nothing is left behind
        return capsys.readouterr().out

    return running


def test_index_a_pdf(run):
    printed = run("index_a_pdf.py")
    assert "16 added, 0 updated" in printed
    assert re.search(r"^ *1\. [01]\.\d", printed, re.MULTILINE)
    assert "16 unchanged" in printed


def test_index_a_file_of_ones_own(run):
    notes = EXAMPLES / "files" / "retrieval_notes.md"
    assert "retrieval_notes.md, page 4" in run("index_a_pdf.py", str(notes), "backups")


def test_choose_a_budget(run):
    printed = run("choose_a_budget.py")
    rows = re.findall(r"^(\d+,\d+) +(\d+) +(\d+) +[\d.]+ +([\d,]+)$", printed, re.MULTILINE)
    assert [row[0] for row in rows] == ["1,1", "2,4", "4,8", "8,16", "16,64"]
    assert int(rows[-1][2]) >= 6, f"of 8 questions, at the full budget:\n{printed}"


def test_llama_index_query_engine(run):
    printed = run("llama_index_query_engine.py")
    assert printed.count("I was given 2 page pictures and ") == 2
    assert printed.count("bardiag.pdf, page ") == 4


def test_langchain_chain(run):
    printed = run("langchain_chain.py")
    assert printed.count("I was given 2 page pictures; the best page is bardiag.pdf, page ") == 3


def test_langchain_agent(run):
    printed = run("langchain_agent.py")
    seen = (
        r"I was given bardiag\.pdf, page \d+, its picture of 634 x 896 pixels, bardiag\.pdf, page "
    )
    assert re.search(seen, printed)
    assert len(re.findall(r"^  [01]\.\d{3}  bardiag\.pdf, page \d+$", printed, re.MULTILINE)) == 2


# LlamaIndex's workflows look at every attribute of an agent, those that pydantic has retired, too.
@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20")
@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince211")
def test_llama_index_agent(run):
    printed = run("llama_index_agent.py")
    seen = (
        r"I was given bardiag\.pdf, page \d+, its picture of 634 x 896 pixels, bardiag\.pdf, page "
    )
    assert re.search(seen, printed)
    assert len(re.findall(r"^  [01]\.\d{3}  bardiag\.pdf, page \d+$", printed, re.MULTILINE)) == 2
