"""What LangChain's retrievers make of ours: each page once, and its ranks added up."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.language_models import FakeListLLM
from langchain_core.load import dumps, loads
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import InMemoryVectorStore
from PIL import Image

from metaembed_rag.index import PageIndex
from metaembed_rag.langchain import (
    MetaEmbedReranker,
    MetaEmbedRetriever,
    MetaEmbedVectorStore,
    document_to_page,
    page_to_document,
)
from metaembed_rag.pages import Page
from tests.support.calibrations import GOOD, calibrated
from tests.support.indexes import index_of

classic = pytest.importorskip(
    "langchain_classic.retrievers", reason="langchain-classic is not installed"
)

pytestmark = pytest.mark.integration

QUERIES = ["red apples", "green pears", "blue whales"]
"""Each finds other pages first and gives every page another score."""


@pytest.fixture
def index(encoder) -> PageIndex:
    """Three pages with text and two that are pictures alone."""
    red, blue = (Image.new("RGB", (40, 30), colour) for colour in ("red", "blue"))
    pages = [
        Page(source="fruit.pdf", number=1, text="red apples"),
        Page(source="fruit.pdf", number=2, text="green pears"),
        Page(source="sea.pdf", number=1, text="blue whales swim"),
        Page(source="red.png", image=red),
        Page(source="blue.png", image=blue),
    ]
    return index_of(pages, encoder)


class ByWords(BaseRetriever):
    """A retriever of another kind: documents of its own, by the number of words they share."""

    documents: list[Document]

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        def shared(document: Document) -> int:
            return len(set(query.split()) & set(document.page_content.split()))

        return sorted(self.documents, key=shared, reverse=True)


def plain(index: PageIndex) -> list[Document]:
    """The same pages as documents that are not ours."""
    ours = [page_to_document(page) for page in index.get(index.ids())]
    return [Document(one.page_content, id=one.id, metadata=dict(one.metadata)) for one in ours]


def multi_query(retriever: BaseRetriever) -> BaseRetriever:
    return classic.MultiQueryRetriever.from_llm(
        retriever, FakeListLLM(responses=["\n".join(QUERIES)])
    )


def ids(documents: Sequence[Document]) -> list[str | None]:
    return [document.id for document in documents]


def both_ways(retriever: BaseRetriever, query: str) -> list[Document]:
    found = retriever.invoke(query)
    assert ids(asyncio.run(retriever.ainvoke(query))) == ids(found)
    return found


def fused(rankings: Sequence[Sequence[Any]], weights: Sequence[float]) -> list[Any]:
    """Reciprocal rank fusion, as a pencil would: Σ weight / (60 + rank), best first."""
    values: Counter[Any] = Counter()
    for ranking, weight in zip(rankings, weights, strict=True):
        for rank, one in enumerate(ranking, start=1):
            values[one] += weight / (60 + rank)  # type: ignore[assignment]
    return sorted(values, key=lambda one: -values[one])


# -- each page once ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["retriever", "vector store", "reranked", "hybrid", "merged"])
def test_fault_07_multi_query_retriever_gives_each_page_once(index, kind):
    retriever: BaseRetriever = MetaEmbedRetriever(index=index)
    if kind == "vector store":
        retriever = MetaEmbedVectorStore(index).as_retriever(k=5)
    elif kind == "reranked":
        retriever = classic.ContextualCompressionRetriever(
            base_retriever=ByWords(documents=plain(index)),
            base_compressor=MetaEmbedReranker(index=index),
        )
    elif kind == "hybrid":
        pytest.importorskip("bm25s")
        retriever = MetaEmbedRetriever(index=index, hybrid=True)
    elif kind == "merged":
        others = [retriever, MetaEmbedRetriever(index=index, budget="fast")]
        retriever = classic.MergerRetriever(retrievers=[*others, ByWords(documents=plain(index))])
    found = both_ways(multi_query(retriever), "fruit")
    assert sorted(ids(found)) == sorted(index.ids())
    assert [one.metadata["page_id"] for one in found] == ids(found)


def test_fault_07_the_plan_of_a_search_does_not_double_pages(index):
    """Each of the two queries is searched with another limit, so their plans differ."""
    calibrated(index, GOOD)
    retrievers = [MetaEmbedRetriever(index=index, max_ms=limit) for limit in (50, 500)]
    first, second = (retriever.invoke("red apples") for retriever in retrievers)
    second[0].metadata["retrieval_plan"] = json.dumps({"ms": 7})
    assert first == second
    merged = classic.MergerRetriever(retrievers=retrievers)
    assert sorted(ids(both_ways(multi_query(merged), "fruit"))) == sorted(index.ids())


def test_fault_07_documents_of_one_page_are_equal_and_of_two_are_not(index):
    retriever = MetaEmbedRetriever(index=index, hybrid=False)
    first, again = (
        {one.id: one for one in retriever.invoke(query)} for query in ("red apples", "whales")
    )
    for id, document in first.items():
        assert document.metadata["score"] != again[id].metadata["score"]
        assert document == again[id]
        assert (document != again[id]) is False
        assert [other.id for other in again.values() if other == document] == [id]
    (stored,) = (one for one in plain(index) if one.id == "fruit.pdf#1")
    assert stored == first["fruit.pdf#1"] == stored  # whichever of the two is asked
    stored.metadata["year"] = 1
    assert stored != first["fruit.pdf#1"]


@pytest.mark.filterwarnings("ignore:The function `loads` is in beta")
def test_fault_07_the_score_stays_in_the_metadata_wherever_they_go(index):
    found = MetaEmbedRetriever(index=index).invoke("red apples")[0]
    score = index.search("red apples")[0].score
    copies = [
        found.model_copy(deep=True),
        copy.deepcopy(found),
        pickle.loads(pickle.dumps(found)),
        loads(dumps(found), allowed_objects="all"),
        Document.model_validate(found.model_dump()),
        Document.model_validate_json(found.model_dump_json()),
        Document(found.page_content, id=found.id, metadata=found.metadata),
    ]
    for one in copies:
        assert type(one) is Document
        assert dict(one.metadata) == dict(found.metadata)
        assert one == found
    assert found.metadata["score"] == json.loads(json.dumps(found.metadata))["score"] == score
    assert found.metadata != {**found.metadata, "score": 0.5}  # said, so it counts
    assert copies[2] == MetaEmbedRetriever(index=index, budget="fast").invoke("red apples")[0]


# -- ranks added up ------------------------------------------------------------------------


@pytest.mark.parametrize("store", [False, True])
@pytest.mark.parametrize("weights", [[0.5, 0.5], [0.9, 0.1]])
def test_fault_07_ensemble_retriever_adds_the_ranks_of_each_page(index, store, weights):
    memory = InMemoryVectorStore(DeterministicFakeEmbedding(size=8))
    memory.add_documents(plain(index))
    ours = MetaEmbedVectorStore(index).as_retriever(k=5) if store else None
    retrievers = [
        ours or MetaEmbedRetriever(index=index),
        memory.as_retriever(search_kwargs={"k": 5}),
    ]
    ensemble = classic.EnsembleRetriever(retrievers=retrievers, weights=weights, id_key="page_id")
    for query in QUERIES:
        found = both_ways(ensemble, query)
        rankings = [ids(retriever.invoke(query)) for retriever in retrievers]
        assert ids(found) == fused(rankings, weights)
        assert len(found) == 5


def test_fault_07_a_page_that_several_found_beats_one_that_is_first_in_one(index):
    """Page 1: 1/62 + 1/61 + 1/61; page 2, first in one of three: 1/61."""
    first = plain(index)[ids(plain(index)).index("fruit.pdf#1")]
    ours = MetaEmbedRetriever(index=index, filter={"source": "fruit.pdf"})
    assert ids(ours.invoke("green pears")) == ["fruit.pdf#2", "fruit.pdf#1"]
    others = [ByWords(documents=[first]), ByWords(documents=[first])]
    ensemble = classic.EnsembleRetriever(
        retrievers=[ours, *others], weights=[1, 1, 1], id_key="page_id"
    )
    assert ids(ensemble.invoke("green pears")) == ["fruit.pdf#1", "fruit.pdf#2"]


# -- the key -------------------------------------------------------------------------------


def test_fault_07_page_id_is_unique_and_lasts(index):
    stored = {one.id: one.metadata["page_id"] for one in plain(index)}
    assert stored == {id: id for id in index.ids()}
    for query in QUERIES:
        for found in (
            MetaEmbedRetriever(index=index).invoke(query),
            MetaEmbedVectorStore(index).similarity_search(query, k=5),
            [one for one, _ in MetaEmbedVectorStore(index).similarity_search_with_score(query)],
        ):
            assert {one.metadata["page_id"] for one in found} <= set(stored)
            assert [one.metadata["page_id"] for one in found] == ids(found)


def test_fault_07_a_document_keeps_the_page_id_that_it_came_with(encoder):
    """The indexing API gives documents ids of its own; what they are pages of stays."""
    given = Document("red apples", metadata={"page_id": "a.pdf#1", "score": "A"})
    store = MetaEmbedVectorStore(index_of([], encoder))
    store.add_documents([given, Document("green pears")], ids=["x", "y"])
    assert store.get_by_ids(["x"]) == [given.model_copy(update={"id": "x"})]
    assert [one.metadata["page_id"] for one in store.get_by_ids(["x", "y"])] == ["a.pdf#1", "y"]
    (found,) = store.as_retriever(k=1).invoke("red apples")
    assert found.metadata["score"] == "A"
    page = document_to_page(found, "x")
    assert page_to_document(page) == found


def test_fault_07_a_page_id_of_the_users_own_is_kept_beside(encoder):
    index = index_of([Page(source="a", text="apples", metadata={"page_id": 7})], encoder)
    metadata = MetaEmbedRetriever(index=index).invoke("apples")[0].metadata
    assert (metadata["page_id"], metadata["user_page_id"]) == ("a#1", 7)
