"""What docs/langchain.md and the examples promise to a new user."""

from __future__ import annotations

import re
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont

import metaembed_rag.langchain
from metaembed_rag.model import shipped_checkpoints

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "langchain.md").read_text(encoding="utf-8")


@pytest.mark.integration
@pytest.mark.skipif(
    "mini" not in shipped_checkpoints(), reason="the shipped checkpoint mini is not there"
)
def test_every_program_of_the_page_runs_in_its_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "papers").mkdir()
    shutil.copy(ROOT / "examples" / "files" / "bardiag.pdf", tmp_path / "papers")
    chart = Image.new("RGB", (600, 100), "white")
    ImageDraw.Draw(chart).text((9, 30), "sales by region", "black", ImageFont.load_default(40))
    chart.save("chart.png")
    programs = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, object] = {}
    for program in programs:
        exec(compile(program, "docs/langchain.md", "exec"), names)
    assert names["answer"] == "42"
    joined = [document.metadata["page_id"] for document in names["joined"]]  # type: ignore
    assert len(joined) == len(set(joined)) >= 3
    assert names["problems"] == []
    assert len(names["best"]) == 3  # type: ignore[arg-type]
    assert [block["type"] for block in names["blocks"]] == ["text", "image"] * 3  # type: ignore


def test_the_page_names_every_public_name():
    for name in metaembed_rag.langchain.__all__:
        if name not in ("document_to_page", "page_to_document"):
            assert f"`{name}`" in PAGE, name


def test_no_example_hides_a_package_that_it_imports():
    """A script's own folder comes first: langchain_openai.py would import itself."""
    for script in (ROOT / "examples").glob("*.py"):
        source = script.read_text(encoding="utf-8")
        assert not re.search(rf"^\s*(from|import) {script.stem}\b", source, re.MULTILINE), script


@pytest.mark.skipif(find_spec("langchain_openai") is not None, reason="langchain-openai is there")
def test_without_langchain_openai_the_example_says_what_to_install(monkeypatch):
    import runpy

    script = ROOT / "examples" / "langchain_chain_openai.py"
    monkeypatch.setattr(sys, "argv", [str(script), "a question"])
    with pytest.raises(SystemExit, match="pip install langchain-openai"):
        runpy.run_path(str(script), run_name="__main__")
