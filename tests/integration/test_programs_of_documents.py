"""Every program in the documents runs as it stands.

The programs of a document run one after the other in a folder of their own, in which there are
``report.pdf`` and the index ``my_index`` of its pages. They know the names of
:data:`metaembed_rag.__all__`, and ``index``, ``encoder``, ``pages``, ``queries`` and ``llm``.

Before one that cannot run stands ``<!-- not run: needs … -->``: what no test has, or what another
test has, which is named then. What is not run is compiled, and skipped here with its reason.
Documents in :data:`ELSEWHERE` have tests of their own, which say what comes out.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import metaembed_rag
from metaembed_rag.model import shipped_checkpoints
from tests.support.documents import Block, programs
from tests.support.files import make_pdf
from tests.support.house import ROOT

pytestmark = pytest.mark.integration

ELSEWHERE = {
    "docs/agents.md": "tests/integration/test_pages_of_docs.py",
    "docs/evaluate.md": "tests/integration/test_pages_of_docs.py",
    "docs/langchain.md": "tests/langchain/test_docs.py",
    "docs/llama_index.md": "tests/llama_index/test_docs.py",
    "docs/moves.md": "tests/test_ingest_moves.py",
    "docs/mteb.md": "tests/evaluation/test_mteb.py",
    "docs/training_data.md": "tests/training/test_data.py",
}
"""Document -> the test that runs its programs."""

SLOW = {"docs/serving.md"}
"""Documents with a program that starts processes."""

REASONS = re.compile(r"needs [\w ,]+(?:; (?P<test>tests/[\w/]+\.py) has [\w ]+)?")
"""What stands behind ``not run:``."""

EVERY = programs()
RUN: dict[str, list[Block]] = {}
for one in EVERY:
    if not one.reason and one.page not in ELSEWHERE:
        RUN.setdefault(one.page, []).append(one)
NOT_RUN = [one for one in EVERY if one.reason]
THEMES = ("revenue by region", "costs of travel", "people in research", "energy and water")
TEXTS = [f"{theme.capitalize()} {year}: Table {n}" for n, theme in enumerate(THEMES, 1) for year in
         (2019, 2020, 2021)]  # fmt: skip


def line_of(block: Block) -> str:
    return f"{block.page}:{block.line}"


@pytest.fixture(scope="module")
def encoder():
    if "small" not in shipped_checkpoints():
        pytest.skip("the shipped checkpoint small is not there")
    return metaembed_rag.MetaEmbedEncoder.from_pretrained("small", device="cpu")


@pytest.fixture(scope="module")
def indexed(encoder, tmp_path_factory) -> Path:
    """A folder with a report and an index of it."""
    folder = tmp_path_factory.mktemp("indexed")
    make_pdf(folder / "report.pdf", TEXTS)
    with (
        pytest.MonkeyPatch.context() as patch,
        metaembed_rag.PageIndex.open(folder / "my_index", encoder) as index,
    ):
        patch.chdir(folder)
        index.add(metaembed_rag.load_pages("report.pdf"))
    return folder


@pytest.fixture
def names(encoder, indexed, tmp_path, monkeypatch) -> Iterator[dict[str, object]]:
    """What a program may use without having made it, in a folder of its own."""
    from llama_index.core.llms import LLMMetadata, MockLLM

    class ChatLLM(MockLLM):
        """One that takes pictures, as a query engine over pages wants."""

        @property
        def metadata(self) -> LLMMetadata:
            return LLMMetadata(is_chat_model=True)

    folder = tmp_path / "here"
    shutil.copytree(indexed, folder)
    monkeypatch.chdir(folder)
    with metaembed_rag.PageIndex.open("my_index", encoder) as index:
        public = {name: getattr(metaembed_rag, name) for name in metaembed_rag.__all__}
        yield {
            **public,
            "index": index,
            "encoder": encoder,
            "pages": list(metaembed_rag.load_pages("report.pdf")),
            "queries": [f"{text} in numbers" for text in TEXTS * 2],
            "llm": ChatLLM(),
        }


@pytest.mark.parametrize(
    "page", [pytest.param(p, marks=pytest.mark.slow) if p in SLOW else p for p in RUN]
)
def test_the_programs_of_a_document_run_in_their_order(page, names):
    for block in RUN[page]:
        if "__main__" in block.code:
            run_as_script(block)
        else:
            exec(compiled(block), names)


def run_as_script(block: Block) -> None:
    """In a process of its own, as one that starts others has to be."""
    Path("program.py").write_text(block.code, encoding="utf-8")
    subprocess.run([sys.executable, "program.py"], check=True, timeout=200)


def compiled(block: Block):
    """The program; its lines are counted as in the document."""
    return compile("\n" * (block.line - 1) + block.code, block.page, "exec")


@pytest.mark.parametrize("block", NOT_RUN, ids=line_of)
def test_a_program_that_is_not_run_says_why(block):
    compiled(block)
    said = REASONS.fullmatch(block.reason)
    assert said, f"{line_of(block)}: write <!-- not run: needs …; tests/….py has one -->"
    assert said["test"] is None or (ROOT / said["test"]).is_file()
    pytest.skip(f"{line_of(block)}: {block.reason}")


@pytest.mark.parametrize(("page", "test"), ELSEWHERE.items())
def test_a_document_with_a_test_of_its_own_is_named_there(page, test):
    assert Path(page).name in (ROOT / test).read_text(encoding="utf-8")
