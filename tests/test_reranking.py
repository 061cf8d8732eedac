"""Reranking goes through the index: the same scores, whichever door and whatever is stored."""

from __future__ import annotations

import copy

import pytest
from langchain_core.documents import Document
from llama_index.core.schema import NodeWithScore, TextNode

from metaembed_rag import langchain, llama_index
from metaembed_rag.errors import ModelMismatchError, NothingToReadError
from metaembed_rag.index import PageIndex
from metaembed_rag.pages import Page
from metaembed_rag.testing import FakeEncoder

pytestmark = pytest.mark.usefixtures("vectors_alone")
"""Scores of this module are those of vectors."""


ASKED = "red apples and whales"
TEXTS = {"a": "red apples", "b": "green pears and apples", "c": "blue whales swim"}
FORMATS = ["fp16", "int8", "int4", "bits"]


def made(format: str, dimension: int | None, stored: str = "abc") -> PageIndex:
    encoder = FakeEncoder(dimensions=(32, 64))
    index = PageIndex.open(":memory:", encoder, format=format, dimension=dimension)
    index.add(Page(source=id, id=id, text=TEXTS[id]) for id in stored)
    return index


def by_langchain(index: PageIndex, **options) -> dict[str, float]:
    documents = [Document(id=id, page_content=text) for id, text in TEXTS.items()]
    reranker = langchain.MetaEmbedReranker(index=index, top_n=None, **options)
    found = reranker.compress_documents(documents, ASKED)
    return {one.id: one.metadata["score"] for one in found}


def by_llama_index(index: PageIndex, **options) -> dict[str, float]:
    nodes = [NodeWithScore(node=TextNode(id_=id, text=text)) for id, text in TEXTS.items()]
    found = llama_index.MetaEmbedRerank(index, top_n=9, **options).postprocess_nodes(
        nodes, query_str=ASKED
    )
    return {one.node.node_id: one.score for one in found}


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("dimension", [None, 32])
@pytest.mark.parametrize("budget", ["1,1", "16,64"])
@pytest.mark.parametrize("stored", ["abc", "b", ""], ids=["all", "one", "none"])
def test_both_frameworks_score_as_the_index_does(format, dimension, budget, stored):
    index = made(format, dimension, stored)
    full = made(format, dimension)
    hits = full.score(ASKED, ["a", "b", "c"], budget=budget)
    expected = {hit.page.id: hit.score for hit in hits}
    searched = full.search(ASKED, budget=budget, exhaustive=True)
    assert {hit.page.id: hit.score for hit in searched} == pytest.approx(expected, abs=1e-6)
    assert by_langchain(index, budget=budget) == pytest.approx(expected, abs=1e-6)
    assert by_llama_index(index, budget=budget) == pytest.approx(expected, abs=1e-6)
    assert len(index) == len(stored)  # nothing was stored on the way


@pytest.mark.parametrize("format", FORMATS)
def test_a_page_scores_the_same_before_and_after_it_is_stored(format):
    index = made(format, 32, "ab")
    page = Page(source="c", id="c", text=TEXTS["c"])
    before = {hit.page.id: hit.score for hit in index.score(ASKED, ["a", page, "b"])}
    index.add([page])
    index.encoder.encoded.clear()
    after = {hit.page.id: hit.score for hit in index.score(ASKED, ["a", page, "b"])}
    assert list(before) == list(after)
    assert before == pytest.approx(after, abs=1e-6)
    assert index.encoder.encoded == []


def test_a_page_of_other_content_than_the_stored_one_is_encoded():
    index = made("int8", None)
    other = Page(source="a", id="a", text="yellow lemons")
    [hit] = index.score("yellow lemons", [other])
    assert (hit.page.text, hit.score) == ("yellow lemons", pytest.approx(1, abs=1e-2))
    assert index.score("yellow lemons", ["a"])[0].score < 0.5
    assert index.get(["a"])[0].text == TEXTS["a"]


def test_what_cannot_be_read_is_raised_or_reported():
    index = made("int8", None)
    empty = Page(source="nothing", text=" ")
    with pytest.raises(NothingToReadError, match="nothing#1"):
        index.score(ASKED, ["a", empty])
    seen: list[str] = []
    hits = index.score(ASKED, ["a", empty], on_skip=lambda error: seen.append(error.source))
    assert [hit.page.id for hit in hits] == ["a"]
    assert seen == ["nothing#1"]


def test_documents_of_one_id_and_different_texts_keep_scores_of_their_own():
    index = made("int8", None)
    documents = [Document(id="a", page_content=text) for text in (TEXTS["a"], TEXTS["c"], "x")]
    reranker = langchain.MetaEmbedReranker(index=index, top_n=None)
    best = reranker.compress_documents(documents, "blue whales swim")
    assert best[0].page_content == TEXTS["c"]
    assert len({one.metadata["score"] for one in best}) == 3


def test_an_encoder_that_is_not_the_indexs_is_refused():
    rerank = llama_index.MetaEmbedRerank(made("int8", None), FakeEncoder(seed=1))
    nodes = [NodeWithScore(node=TextNode(id_="a", text="red apples"))]
    with pytest.raises(ModelMismatchError, match="leave one of the two out"):
        rerank.postprocess_nodes(nodes, query_str=ASKED)


def test_any_iterable_of_pages_is_scored():
    index = made("int8", None)
    assert len(index.score(ASKED, iter(["a", "b"]))) == 2


def test_made_up_names_of_documents_never_take_another_ones():
    index = made("int8", None)
    documents = [
        Document(id="a (2)", page_content="whales"),
        Document(id="a", page_content="something else"),
    ]
    reranker = langchain.MetaEmbedReranker(index=index, top_n=None)
    best = reranker.compress_documents(documents, "whales")
    assert best[0].id == "a (2)"
    assert best[0].metadata["score"] > 0.9 > best[1].metadata["score"]


def test_a_budget_that_is_named_reads_no_environment(monkeypatch):
    index = made("int8", None)
    monkeypatch.setenv("METAEMBED_BUDGET", "nonsense")
    assert len(index.score(ASKED, ["a"], budget="fast")) == 1
    nodes = llama_index.MetaEmbedRetriever(index, r_q=1, r_c=1, node_ids=["a"]).retrieve(ASKED)
    assert len(nodes) == 1


def test_a_used_reranker_without_an_index_can_be_copied():
    rerank = llama_index.MetaEmbedRerank(encoder=FakeEncoder())
    nodes = [NodeWithScore(node=TextNode(id_="a", text="red apples"))]
    before = rerank.postprocess_nodes(nodes, query_str="apples")[0].score
    again = copy.deepcopy(rerank)
    assert again.postprocess_nodes(nodes, query_str="apples")[0].score == before
    assert rerank.postprocess_nodes(nodes, query_str="apples")[0].score == before
