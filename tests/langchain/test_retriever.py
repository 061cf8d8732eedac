from __future__ import annotations

import asyncio
import importlib
import io
import sys
from typing import Any

import numpy as np
import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import ConfigurableField, RunnableLambda, RunnablePassthrough
from PIL import Image
from pydantic import ValidationError

from metaembed_rag import errors
from metaembed_rag.errors import BudgetError, ModelError, StoreError, UnreadableFileError
from metaembed_rag.index import PageIndex
from metaembed_rag.langchain import MetaEmbedEmbeddings, MetaEmbedRetriever, page_to_document
from metaembed_rag.pages import Page
from metaembed_rag.testing import FakeEncoder

RED, BLUE = Image.new("RGB", (40, 30), "red"), Image.new("RGB", (40, 30), "blue")


def ids(documents: list[Document]) -> list[str | None]:
    return [document.id for document in documents]


def whole(documents: list[Document]) -> list[Any]:
    """All that documents say, also what does not count when two are compared."""
    return [(one.id, one.page_content, dict(one.metadata)) for one in documents]


def run(coroutine: Any) -> Any:
    return asyncio.run(coroutine)


# -- the retriever -------------------------------------------------------------------------


def test_the_page_with_the_words_comes_first(index):
    retriever = MetaEmbedRetriever(index=index, k=2)
    assert isinstance(retriever, BaseRetriever)
    assert ids(retriever.invoke("red apples")) == ids(retriever.invoke("red apples", k=2))
    assert ids(retriever.invoke("red apples"))[0] == "fruit.pdf#1"
    assert len(retriever.invoke("red apples")) == 2


def test_a_document_keeps_text_picture_metadata_and_score(index):
    first = MetaEmbedRetriever(index=index).invoke("red apples")[0]
    path = first.metadata["image_path"]
    assert first.page_content == "red apples"
    with Image.open(path) as kept:
        assert kept.size == (40, 30)
    assert len(first.metadata.pop("content_hash")) == 32
    assert first.metadata == {
        "year": 1,
        "source": "fruit.pdf",
        "page": 1,
        "image_path": path,
        "mime_type": "image/webp",
        "score": index.search("red apples")[0].score,
    }


def test_the_passage_that_matched_is_in_the_metadata_only_where_it_is_asked_for(index):
    retriever = MetaEmbedRetriever(index=index, k=2)
    assert all("snippet" not in one.metadata for one in retriever.invoke("green pears"))
    asked = retriever.invoke("green pears", snippets=True)
    assert asked[0].metadata["snippet"] == "green pears"
    fixed = MetaEmbedRetriever(index=index, k=2, snippets=True).invoke("green pears")
    assert whole(fixed) == whole(asked)
    assert fixed == retriever.invoke("green pears")  # the same pages, whatever was asked


def test_a_page_without_a_picture_has_no_image_path(index):
    metadata = MetaEmbedRetriever(index=index).invoke("green pears")[0].metadata
    assert metadata["page"] == 2
    assert not {"image_path", "mime_type"} & set(metadata)


def test_the_content_hash_follows_the_picture(index):
    before = page_to_document(index.get(["fruit.pdf#1"])[0])
    index.add([Page(source="fruit.pdf", text="red apples", image=BLUE, metadata={"year": 1})])
    after = page_to_document(index.get(["fruit.pdf#1"])[0])
    assert after.page_content == before.page_content
    assert after.metadata["content_hash"] != before.metadata["content_hash"]


def test_a_name_of_ours_in_the_users_metadata_is_kept_beside(encoder):
    index = PageIndex.open(":memory:", encoder)
    index.add([Page(source="a", text="apples", metadata={"score": 7})])
    metadata = MetaEmbedRetriever(index=index, hybrid=False).invoke("apples")[0].metadata
    assert metadata["user_score"] == 7
    assert metadata["score"] == pytest.approx(1, abs=0.01)


def test_async_equals_sync(index):
    retriever = MetaEmbedRetriever(index=index, r_q=4, r_c=8)
    query = {"text": "whales", "image": BLUE}
    assert whole(run(retriever.ainvoke("whales", k=2))) == whole(retriever.invoke("whales", k=2))
    assert whole(run(retriever.ainvoke(query))) == whole(retriever.invoke(query))
    queries = ["apples", "whales"]
    assert [*map(whole, run(retriever.abatch(queries)))] == [*map(whole, retriever.batch(queries))]


def test_async_retrieval_leaves_the_event_loop_free(index, loop_went_on):
    async def search():
        task = asyncio.create_task(MetaEmbedRetriever(index=index).ainvoke("whales"))
        await asyncio.sleep(0.001)
        loop_went_on.set()
        return await task

    assert len(run(search())) == 3


def test_an_empty_index_gives_no_documents(encoder):
    assert MetaEmbedRetriever(index=PageIndex.open(":memory:", encoder)).invoke("anything") == []


# -- the budget ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "call", "expected"),
    [
        ({}, {}, (16, 64)),
        ({"r_q": 4, "r_c": 8}, {}, (4, 8)),
        ({"r_c": 4}, {}, (16, 4)),
        ({"r_q": 4, "r_c": 8}, {"r_q": 1, "r_c": 1}, (1, 1)),
        ({"r_q": 4, "r_c": 8}, {"r_c": 16}, (4, 16)),
        ({"budget": "balanced"}, {}, (4, 8)),
        ({"budget": "balanced", "r_c": 32}, {}, (4, 32)),
        ({"budget": "balanced"}, {"r_q": 1}, (1, 8)),
        ({"r_q": 16, "r_c": 8}, {"budget": (2, 4)}, (2, 4)),
    ],
)
def test_the_budget_is_what_reaches_maxsim(index, shapes, fields, call, expected):
    MetaEmbedRetriever(index=index, **fields).invoke("apples", **call)
    run(MetaEmbedRetriever(index=index, **fields).ainvoke("apples", **call))
    assert shapes == [expected, expected]


def configurable(retriever: MetaEmbedRetriever) -> Any:
    return retriever.configurable_fields(
        r_q=ConfigurableField(id="r_q"), r_c=ConfigurableField(id="r_c"), k=ConfigurableField("k")
    )


def test_the_environment_is_the_default_of_the_budget(index, shapes, monkeypatch):
    monkeypatch.setenv("METAEMBED_BUDGET", "2,4")
    MetaEmbedRetriever(index=index).invoke("apples")
    MetaEmbedRetriever(index=index, r_q=3).invoke("apples")
    MetaEmbedRetriever(index=index, budget="fast").invoke("apples")
    monkeypatch.setenv("METAEMBED_BUDGET", "")
    MetaEmbedRetriever(index=index).invoke("apples")
    assert shapes == [(2, 4), (3, 4), (1, 1), (16, 64)]
    monkeypatch.setenv("METAEMBED_BUDGET", "17,64")
    with pytest.raises(BudgetError, match="use a budget of at most 16,64"):
        MetaEmbedRetriever(index=index).invoke("apples")
    monkeypatch.setenv("METAEMBED_BUDGET", "much")
    with pytest.raises(BudgetError, match="METAEMBED_BUDGET: 'much' is not a retrieval budget"):
        MetaEmbedRetriever(index=index).invoke("apples")


def test_the_budget_can_be_switched_at_run_time(index, shapes):
    retriever = configurable(MetaEmbedRetriever(index=index))
    retriever.invoke("apples")
    retriever.invoke("apples", config={"configurable": {"r_q": 2, "r_c": 4}})
    found = retriever.with_config(configurable={"r_q": 4, "r_c": 8, "k": 1}).invoke("apples")
    assert shapes == [(16, 64), (2, 4), (4, 8)]
    assert len(found) == 1


def test_a_bound_budget_and_a_batch(index, shapes):
    bound = MetaEmbedRetriever(index=index).bind(r_q=2, r_c=4, k=1)
    assert [ids(found) for found in bound.batch(["red apples", "blue whales"])] == [
        ["fruit.pdf#1"],
        ["sea.pdf#1"],
    ]
    assert shapes == [(2, 4), (2, 4)]


def test_the_budget_of_a_chain_can_be_switched_at_run_time(index, shapes):
    prompt = ChatPromptTemplate.from_template("{context} | {question}")
    chain = (
        {
            "context": configurable(MetaEmbedRetriever(index=index, k=1))
            | (lambda documents: documents[0].page_content),
            "question": RunnablePassthrough(),
        }
        | prompt
        | RunnableLambda(lambda value: value.to_string())
        | StrOutputParser()
    )
    answer = chain.invoke("red apples", config={"configurable": {"r_q": 1, "r_c": 1}})
    assert answer == "Human: red apples | red apples"
    assert shapes == [(1, 1)]


def test_the_budget_changes_the_ranking(encoder):
    """One vector is the mixture of all words, so the page of one right word wins; more vectors
    find both words on the longer page."""
    index = PageIndex.open(":memory:", encoder)
    index.add(
        [
            Page(source="long", text="red apples grow beside an old stone bridge"),
            Page(source="short", text="red"),
        ]
    )
    retriever = MetaEmbedRetriever(index=index, hybrid=False)
    assert ids(retriever.invoke("red apples", r_q=1, r_c=1))[0] == "short#1"
    assert ids(retriever.invoke("red apples", r_q=16, r_c=64))[0] == "long#1"


@pytest.mark.parametrize("budget", [{"r_q": 17}, {"r_c": 65}, {"r_q": 16, "r_c": 128}])
def test_more_vectors_than_stored_are_refused(index, budget):
    with pytest.raises(BudgetError, match="use a budget of at most 16,64"):
        MetaEmbedRetriever(index=index, **budget).invoke("apples")
    with pytest.raises(BudgetError, match="use a budget of at most 16,64"):
        run(MetaEmbedRetriever(index=index).ainvoke("apples", **budget))


def test_an_unknown_keyword_is_refused(index):
    retriever = MetaEmbedRetriever(index=index)
    with pytest.raises(TypeError, match="top_k"):
        retriever.invoke("apples", top_k=3)
    with pytest.raises(TypeError, match="budgett"):
        run(retriever.ainvoke("apples", budgett=3))
    with pytest.raises(TypeError, match="top_k"):
        retriever.bind(top_k=3).invoke("apples")
    with pytest.raises(TypeError, match="top_k"):
        configurable(retriever).invoke("apples", top_k=3)
    with pytest.raises(ValidationError, match="top_k"):
        MetaEmbedRetriever(index=index, top_k=3)


# -- words too ----------------------------------------------------------------------------


@pytest.mark.parametrize("hybrid", [True, 0.9, "rrf"])
def test_words_can_take_part(index, hybrid):
    pytest.importorskip("bm25s")
    for fields, call in (({"hybrid": hybrid}, {}), ({}, {"hybrid": hybrid})):
        retriever = MetaEmbedRetriever(index=index, k=1, **fields)
        for found in (retriever.invoke("green", **call), run(retriever.ainvoke("green", **call))):
            assert ids(found) == ["fruit.pdf#2"]
            assert found[0].metadata["score"] == 1.0  # the best page by meaning and by words
    plain = whole(MetaEmbedRetriever(index=index, hybrid=False).invoke("green"))
    assert plain != whole(MetaEmbedRetriever(index=index).invoke("green", hybrid=hybrid))
    off = MetaEmbedRetriever(index=index, hybrid=hybrid).invoke("green", hybrid=False)
    assert plain == whole(off)


def test_a_nonsensical_hybrid_is_refused(index):
    with pytest.raises(StoreError, match="hybrid is 'maybe'"):
        MetaEmbedRetriever(index=index, hybrid="maybe").invoke("green")


# -- filters and candidates ----------------------------------------------------------------


def test_a_filter_of_the_field_and_of_the_call_must_both_match(index):
    retriever = MetaEmbedRetriever(index=index, filter={"source": "fruit.pdf"})
    assert len(retriever.invoke("whales")) == 2
    assert ids(retriever.invoke("whales", filter={"year": 2})) == ["fruit.pdf#2"]
    assert ids(retriever.invoke("whales", filter={"year": 2, "page": 2})) == ["fruit.pdf#2"]
    assert retriever.invoke("whales", filter={"source": "sea.pdf"}) == []
    assert ids(run(retriever.ainvoke("whales", filter={"year": 1}))) == ["fruit.pdf#1"]


def test_candidates_limit_what_is_reranked(index):
    assert len(MetaEmbedRetriever(index=index, candidates=2, k=2).invoke("apples")) == 2
    with pytest.raises(StoreError, match=r"candidates \(2\) must be at least k \(3\)"):
        MetaEmbedRetriever(index=index, candidates=2, k=3).invoke("apples")


# -- pictures in the query -----------------------------------------------------------------


def test_text_and_picture_make_one_fused_query(index, encoder, tmp_path, monkeypatch):
    path = tmp_path / "blue.png"
    BLUE.save(path)
    seen = []
    real = encoder.encode_query
    monkeypatch.setattr(
        encoder, "encode_query", lambda queries, **o: seen.extend(queries) or real(queries)
    )
    retriever = MetaEmbedRetriever(index=index)
    for image in (BLUE, path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes())):
        assert ids(retriever.invoke({"text": "swim", "image": image}))[0] == "sea.pdf#1"
    assert [type(query["image"]) for query in seen] == [Image.Image] * 5
    assert ids(retriever.invoke({"image": BLUE}))[0] == "sea.pdf#1"
    assert ids(retriever.invoke(BLUE))[0] == "sea.pdf#1"


def test_a_malformed_query_is_named(index):
    retriever = MetaEmbedRetriever(index=index)
    with pytest.raises(ModelError, match="not \\['question'\\]"):
        retriever.invoke({"question": "apples"})
    with pytest.raises(ModelError, match="the query is empty"):
        retriever.invoke("  ")
    with pytest.raises(UnreadableFileError, match=r"nowhere\.png"):
        retriever.invoke({"image": "nowhere.png"})


# -- tracing -------------------------------------------------------------------------------


class Recorder(BaseCallbackHandler):
    def __init__(self) -> None:
        self.metadata: dict[str, Any] = {}
        self.found: list[Document] = []

    def on_retriever_start(self, serialized, query, *, metadata=None, **kwargs):
        self.metadata = metadata

    def on_retriever_end(self, documents, **kwargs):
        self.found = list(documents)


def test_tracing_says_what_retrieved(index):
    recorder = Recorder()
    found = MetaEmbedRetriever(index=index).invoke("apples", config={"callbacks": [recorder]})
    assert recorder.found == found
    assert {
        "ls_retriever_name": "metaembed",
        "ls_vector_store_provider": "chroma",
        "ls_embedding_provider": "metaembed",
        "ls_embedding_model": "fake",
    }.items() <= recorder.metadata.items()


# -- the embeddings ------------------------------------------------------------------------


@pytest.fixture
def embeddings(encoder) -> MetaEmbedEmbeddings:
    return MetaEmbedEmbeddings(encoder)


def test_the_standard_methods_give_the_first_vector(embeddings, encoder, tmp_path):
    path = tmp_path / "red.png"
    RED.save(path)
    assert isinstance(embeddings, Embeddings)
    assert np.allclose(
        embeddings.embed_documents(["apples", "pears"]),
        encoder.encode_document(["apples", "pears"])[:, 0],
    )
    assert np.allclose(embeddings.embed_query("apples"), encoder.encode_query(["apples"])[0, 0])
    assert np.allclose(
        embeddings.embed_image([str(path), path]), encoder.encode_document([RED, RED])[:, 0]
    )
    assert embeddings.embed_documents([]) == embeddings.embed_image([]) == []


def test_async_embeddings_equal_sync_ones(embeddings, tmp_path):
    path = tmp_path / "red.png"
    RED.save(path)

    async def all_of_them():
        return [
            await embeddings.aembed_documents(["apples"]),
            await embeddings.aembed_query("apples"),
            await embeddings.aembed_image([path]),
            (await embeddings.aembed_query_vectors(["apples"], "4,8")).tolist(),
            (await embeddings.aembed_document_vectors(["apples"])).tolist(),
        ]

    assert run(all_of_them()) == [
        embeddings.embed_documents(["apples"]),
        embeddings.embed_query("apples"),
        embeddings.embed_image([path]),
        embeddings.embed_query_vectors(["apples"], "4,8").tolist(),
        embeddings.embed_document_vectors(["apples"]).tolist(),
    ]


def test_all_ordered_vectors_are_at_hand(embeddings):
    assert embeddings.embed_query_vectors(["a", "b", "c"]).shape == (3, 16, 64)
    assert embeddings.embed_document_vectors(["a", RED]).shape == (2, 64, 64)
    assert embeddings.embed_query_vectors(["a"], budget="4,8").shape == (1, 4, 64)
    assert embeddings.embed_document_vectors(["a"], budget="4,8").shape == (1, 8, 64)


def test_a_text_only_model_reads_pictures_by_ocr(monkeypatch, tmp_path):
    from metaembed_rag.pages import ocr

    monkeypatch.setattr(ocr, "read_text", lambda image: "seen by ocr")
    encoder = FakeEncoder(modalities=["text"])
    path = tmp_path / "red.png"
    RED.save(path)
    vectors = MetaEmbedEmbeddings(encoder).embed_image([path])
    assert np.allclose(vectors, encoder.encode_document(["seen by ocr"])[:, 0])


def test_the_model_is_loaded_when_it_is_first_needed():
    embeddings = MetaEmbedEmbeddings("no such model anywhere")
    with pytest.raises(errors.CheckpointError, match="no such model anywhere"):
        embeddings.embed_query("apples")


# -- without the framework -----------------------------------------------------------------


def test_without_langchain_the_error_says_what_to_install(monkeypatch):
    for name in list(sys.modules):
        if name.startswith("metaembed_rag.langchain"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "langchain_core", None)
    with pytest.raises(errors.MissingExtraError, match=r"pip install 'metaembed-rag\[langchain"):
        importlib.import_module("metaembed_rag.langchain")


def test_words_count_by_default_and_both_scores_are_in_the_metadata(index, monkeypatch):
    found = MetaEmbedRetriever(index=index).invoke("green pears")[0]
    hit = index.search("green pears")[0]
    said = {name: found.metadata[name] for name in ("score", "maxsim_score", "bm25_score")}
    assert said == {"score": 1.0, "maxsim_score": hit.maxsim, "bm25_score": hit.bm25}
    assert found == MetaEmbedRetriever(index=index, hybrid=False).invoke("green pears")[0]
    monkeypatch.setitem(sys.modules, "bm25s", None)
    without = MetaEmbedRetriever(index=index).invoke("green pears")[0]
    assert "bm25_score" not in without.metadata
    assert without.metadata["score"] == pytest.approx(hit.maxsim)
