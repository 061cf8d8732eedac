"""What is not installed is named with the command that brings it, and costs nobody else."""

from __future__ import annotations

import subprocess
import sys

import pytest

from metaembed_rag import errors
from metaembed_rag.errors import MissingExtraError
from metaembed_rag.store import systems

_WITHOUT = """
import sys
for name in {names}:
    sys.modules[name] = None
from metaembed_rag.errors import MissingExtraError
try:
    {statement}
except MissingExtraError as error:
    print(error)
else:
    print("done")
"""
_TORCH = ["torch", "transformers", "sentence_transformers", "scipy", "tokenizers"]


def said_without(names: list[str], statement: str) -> str:
    """What a process says in which these modules cannot be imported."""
    program = _WITHOUT.format(names=names, statement=statement)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    "statement",
    [
        "import metaembed_rag.index, metaembed_rag.langchain, metaembed_rag.llama_index",
        "import metaembed_rag.cli.search, metaembed_rag.cli.index, metaembed_rag.cli.serve",
        "from metaembed_rag import MetaEmbedEncoder; from metaembed_rag.model import RemoteEncoder",
    ],
)
def test_a_clients_modules_are_imported_without_torch(statement):
    assert said_without(_TORCH, statement) == "done"


@pytest.mark.parametrize(
    "call", ['from_pretrained("mini")', 'from_backbone("some/backbone")'], ids=lambda c: c[:15]
)
def test_a_model_on_this_machine_needs_the_extra_local(call):
    statement = f"from metaembed_rag import MetaEmbedEncoder; MetaEmbedEncoder.{call}"
    assert "'torch': pip install '.[local]' in a clone" in said_without(_TORCH, statement)


def test_an_index_in_a_folder_needs_no_torch(tmp_path):
    """What the extra `chroma` promises; `small` could not be loaded here."""
    statement = (
        "from metaembed_rag import Page, PageIndex; "
        "from metaembed_rag.testing import FakeEncoder; "
        f"index = PageIndex.open({str(tmp_path / 'index')!r}, FakeEncoder()); "
        "index.add([Page(source='a', text='red apples')]); "
        "assert index.search('red apples')[0].page.source == 'a'"
    )
    assert said_without(_TORCH, statement) == "done"


def test_an_index_needs_chroma_or_its_client():
    said = said_without(["chromadb"], "from metaembed_rag import PageIndex")
    assert "pip install '.[local]'" in said and "pip install '.[client]'" in said


def test_a_folder_needs_more_than_chromas_client(monkeypatch):
    monkeypatch.setattr(systems, "is_installed", lambda module: False)
    with pytest.raises(MissingExtraError, match=r"uninstall chromadb-client.*\.\[local\]"):
        systems._check_engine()


def test_chromas_client_beside_chroma_is_told_from_a_missing_one(monkeypatch):
    systems._check_engine()
    monkeypatch.setattr(systems, "is_thin_client", True)
    with pytest.raises(MissingExtraError, match="beside chromadb.*--force-reinstall"):
        systems._check_engine()


def test_what_is_installed_is_not_imported():
    assert errors.is_installed("numpy") and not errors.is_installed("no_such_module")
    said = said_without([], "from metaembed_rag.errors import is_installed; is_installed('torch')"
                        "; assert 'torch' not in sys.modules")  # fmt: skip
    assert said == "done"


def test_pooling_of_tokens_names_scipy():
    statement = (
        "import numpy; from metaembed_rag.model.pooling import nested_pooling; "
        "nested_pooling(numpy.eye(3, dtype='float32'), 2)"
    )
    assert "'scipy': pip install '.[pooling]'" in said_without(["scipy"], statement)
