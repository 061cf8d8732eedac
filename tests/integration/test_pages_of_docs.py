"""The programs of docs/agents.md and docs/evaluate.md run as they stand."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from metaembed_rag.model import shipped_checkpoints

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        "mini" not in shipped_checkpoints(), reason="the shipped checkpoint mini is not there"
    ),
]


def programs(page: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


@pytest.fixture
def names(tmp_path, monkeypatch):
    """What the programs of the page on agents have defined, in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "examples" / "files" / "bardiag.pdf", "report.pdf")
    found: dict[str, object] = {}
    for program in programs("agents.md"):
        exec(compile(program, "docs/agents.md", "exec"), found)
    return found


def test_the_pages_on_agents_and_on_evaluating(names, tmp_path):
    assert names["kinds"] == ["text", "image"]
    assert len(names["found"]) == 1  # type: ignore[arg-type]
    assert [one.block_type for one in names["output"].blocks] == ["text", "image"]  # type: ignore
    ((budget, ms),) = names["spent"]  # type: ignore[misc]
    assert budget == (16, 64)
    assert ms > 0
    rows = ("question,file,page", "how is a legend added,report.pdf,14", "bars,report.pdf,1")
    (tmp_path / "q.csv").write_text("\n".join(rows))
    for program in programs("evaluate.md"):
        exec(compile(program, "docs/evaluate.md", "exec"), names)
    report = names["report"]
    assert report.questions == 2  # type: ignore[attr-defined]
    assert names["report_page"](report).startswith("<!doctype html>")  # type: ignore[operator]
