"""Copies and pickles of what holds an index."""

from __future__ import annotations

import copy
import pickle

import pytest

from metaembed_rag.errors import StoreError
from metaembed_rag.index import PageIndex
from metaembed_rag.llama_index import MetaEmbedRerank, MetaEmbedRetriever, MetaEmbedVectorStore
from metaembed_rag.pages import Page
from metaembed_rag.testing import FakeEncoder

KINDS = {
    "retriever": lambda index: MetaEmbedRetriever(index, similarity_top_k=1, budget="4,8"),
    "store": lambda index: MetaEmbedVectorStore(index, budget="4,8"),
    "reranker": lambda index: MetaEmbedRerank(index, budget="4,8"),
}

COPYING = {"deepcopy": copy.deepcopy, "pickle": lambda value: pickle.loads(pickle.dumps(value))}


def index_in(value) -> PageIndex:
    found = getattr(value, "index", None) or value._index
    assert isinstance(found, PageIndex)
    return found


@pytest.mark.parametrize("copying", COPYING.values(), ids=COPYING)
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_fault_17_a_copy_searches_the_same_index(tmp_path, kind, copying):
    with PageIndex.open(tmp_path / "i", FakeEncoder()) as index:
        index.add([Page(source="apples", text="apples"), Page(source="whales", text="whales")])
        again = copying(kind(index))
    with index_in(again) as copied:
        assert copied.search("whales")[0].page.id == "whales#1"
        assert getattr(again, "budget", None) == getattr(kind(copied), "budget", None)


@pytest.mark.parametrize("copying", COPYING.values(), ids=COPYING)
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_fault_17_an_index_in_memory_is_never_lost_from_a_copy(index, kind, copying):
    with pytest.raises(StoreError, match="open it in a folder"):
        copying(kind(index))
