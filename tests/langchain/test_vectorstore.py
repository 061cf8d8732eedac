from __future__ import annotations

import asyncio
import math
import uuid
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.indexing import InMemoryRecordManager, aindex, index
from langchain_core.runnables import ConfigurableField
from PIL import Image

from metaembed_rag.errors import (
    BlankPageError,
    BudgetError,
    MetadataError,
    ModelError,
    StoreError,
    UnreadableFileError,
)
from metaembed_rag.index import PageIndex
from metaembed_rag.langchain import (
    MetaEmbedEmbeddings,
    MetaEmbedLoader,
    MetaEmbedReranker,
    MetaEmbedRetriever,
    MetaEmbedVectorStore,
    content_key,
)
from metaembed_rag.pages import Page
from metaembed_rag.testing import FakeEncoder
from tests.support.files import make_pdf

pytestmark = pytest.mark.integration


@pytest.fixture
def store(encoder) -> MetaEmbedVectorStore:
    return MetaEmbedVectorStore(PageIndex.open(":memory:", encoder))


@pytest.fixture
def fruit(store) -> MetaEmbedVectorStore:
    """A store of three texts."""
    texts = ["red apples", "green pears", "blue whales swim"]
    store.add_texts(texts, [{"year": 1}, {"year": 2}, {"year": 3}], ids=["a", "p", "w"])
    return store


def picture(path: Path, colour: str, size: tuple[int, int] = (40, 30)) -> str:
    Image.new("RGB", size, colour).save(path)
    return str(path)


def ids(documents: list[Document]) -> list[str | None]:
    return [document.id for document in documents]


def run(coroutine: Any) -> Any:
    return asyncio.run(coroutine)


# -- documents in, documents out -----------------------------------------------------------


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"source": "a.pdf", "page": 3, "page_count": 9, "title": "Fruit", "ok": True, "x": 0.5},
        {"source": "a.pdf", "page": 0},  # as PyPDF's loader counts
        {"page": "iv", "source": ""},
        {"source": None, "page": None, "author": None},
        {"loc": {"lines": {"from": 1, "to": 9}}, "tags": [], "big": 2**70, "mixed": [1, "a"]},
        {"metaembed:vectors": "mine", "$and": 1, "chroma:document": "x"},
    ],
)
def test_any_json_metadata_come_back_as_they_were(store, metadata):
    given = Document("apples", metadata=metadata, id="a")
    before = given.model_copy(deep=True)
    store.add_documents([given])
    assert store.get_by_ids(["a"]) == store.similarity_search("apples") == [before]
    assert given == before


@pytest.mark.parametrize("value", [object(), math.nan, b"bytes", {"when": {1, 2}}])
def test_metadata_that_cannot_be_kept_are_refused_by_name(store, value):
    with pytest.raises(MetadataError, match="document 'a': its metadata cannot be stored"):
        store.add_documents([Document("apples", metadata={"odd": value}, id="a")])
    assert store.get_by_ids(["a"]) == []


def test_a_picture_is_encoded_kept_and_hashed(store, encoder, tmp_path):
    path = picture(tmp_path / "red.png", "red")
    store.add_documents(
        [Document("a kite", metadata={"image_path": path, "mime_type": "image/png"}, id="k")]
    )
    assert encoder.encoded[0]["text"] == "a kite"
    assert encoder.encoded[0]["image"].size == (40, 30)
    Path(path).unlink()  # the store has its own
    (found,) = store.similarity_search({"image": Image.new("RGB", (9, 9), "red")})
    assert set(found.metadata) == {"page_id", "image_path", "mime_type", "content_hash"}
    assert found.metadata["mime_type"] == "image/webp"
    with Image.open(found.metadata["image_path"]) as kept:
        assert kept.size == (40, 30)


def test_a_large_picture_is_scaled_down(encoder, tmp_path):
    store = MetaEmbedVectorStore(PageIndex.open(":memory:", encoder), max_side=100)
    store.add_images([picture(tmp_path / "wide.png", "red", (400, 200))])
    assert encoder.encoded[0].size == (100, 50)


def test_add_images(store, tmp_path):
    red, blue = (picture(tmp_path / f"{name}.png", name) for name in ("red", "blue"))
    assert store.add_images([red, Path(blue)], [{"n": 1}, {"n": 2}], ids=["r", "b"]) == ["r", "b"]
    (found,) = store.similarity_search({"image": blue}, k=1)
    assert (found.id, found.metadata["source"], found.metadata["n"]) == ("b", blue, 2)
    assert run(store.aadd_images([red], ids=["r2"])) == ["r2"]
    with pytest.raises(MetadataError, match="1 metadata were given for 2 pictures"):
        store.add_images([red, blue], [{}])


def test_ids_of_the_call_go_over_those_of_documents_over_new_ones(store):
    documents = [Document("a", id="one"), Document("b", id="two"), Document("c")]
    added = store.add_documents(documents, ids=["1", None, None])
    assert added[:2] == ["1", "two"]
    assert uuid.UUID(added[2])
    with pytest.raises(MetadataError, match="1 ids were given for 3 documents"):
        store.add_documents(documents, ids=["1"])


def test_unchanged_documents_are_not_encoded_again(fruit, encoder):
    before = len(encoder.encoded)
    fruit.add_texts(["red apples", "green plums"], [{"year": 1}, {"year": 2}], ids=["a", "p"])
    assert encoder.encoded[before:] == ["green plums"]
    assert len(fruit.index) == 3


def test_adding_one_page_of_a_source_leaves_its_other_pages(store):
    """Loaders' ``page_count`` must not be read as "this is the whole source"."""
    for page in (1, 2):
        metadata = {"source": "a.pdf", "page": page, "page_count": 2}
        store.add_documents([Document(f"page {page}", metadata=metadata, id=str(page))])
    assert store.index.ids() == ["1", "2"]


def test_a_document_without_anything_to_encode_is_reported(store, encoder, tmp_path):
    documents = [
        Document("apples", id="a"),
        Document(" ", id="blank"),
        Document("", metadata={"image_path": str(tmp_path / "gone.png")}, id="gone"),
    ]
    with pytest.raises(UnreadableFileError, match=r"gone\.png.*2 of 3 documents could not be"):
        store.add_documents(documents)
    assert store.index.ids() == ["a"]
    skipped = []
    patient = MetaEmbedVectorStore(store.index, on_skip=skipped.append)
    assert patient.add_documents(documents) == ["a"]
    assert [type(error) for error in skipped] == [UnreadableFileError, BlankPageError]


def test_a_text_only_model_reads_pictures_by_ocr(monkeypatch, tmp_path):
    from metaembed_rag.pages import ocr

    monkeypatch.setattr(ocr, "read_text", lambda image: "seen by ocr")
    encoder = FakeEncoder(modalities=["text"])
    store = MetaEmbedVectorStore(PageIndex.open(":memory:", encoder))
    (id,) = store.add_images([picture(tmp_path / "red.png", "red")])
    (found,) = store.get_by_ids([id])
    assert found.page_content == "seen by ocr"
    assert found.metadata["text_from_ocr"] is True
    store.add_documents([found])  # a copy of itself
    assert store.get_by_ids([id])[0].metadata["text_from_ocr"] is True


def test_delete_by_id_by_filter_and_all(fruit):
    assert fruit.delete(["p", "never there"]) is True
    assert fruit.index.ids() == ["a", "w"]
    assert fruit.delete([]) is True
    assert fruit.index.ids() == ["a", "w"]
    fruit.delete(filter={"year": 3})
    assert fruit.index.ids() == ["a"]
    with pytest.raises(TypeError, match="where"):
        fruit.delete(where={"year": 3})
    assert run(fruit.adelete()) is True
    assert len(fruit.index) == 0


def some(*values: Any) -> Iterator[Any]:
    """What can be iterated over once."""
    return (value for value in values)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_fault_08_what_is_added_may_come_from_generators(store, tmp_path, asynchronous):
    def call(name: str, *given: Any, **keywords: Any) -> Any:
        if asynchronous:
            return run(getattr(store, f"a{name}")(*given, **keywords))
        return getattr(store, name)(*given, **keywords)

    red, blue = (picture(tmp_path / f"{name}.png", name) for name in ("red", "blue"))
    assert len(call("add_texts", some("figs", "dates"))) == 2
    metadatas = [{"year": 1}, {"year": 2}]
    assert call("add_texts", some("a", "b"), some(*metadatas), ids=some("1", "2")) == ["1", "2"]
    documents = some(Document("c", id="3"), Document("d"))
    assert call("add_documents", documents, ids=some(None, "4")) == ["3", "4"]
    pictures = call("add_images", some(red, blue), some({"n": 5}, {"n": 6}), some("5", "6"))
    assert pictures == ["5", "6"]
    assert len(store.index) == 8
    found = call("get_by_ids", some("1", "2", "5", "6"))
    assert [one.metadata.get("year", one.metadata.get("n")) for one in found] == [1, 2, 5, 6]
    call("delete", some("1", "2", "3"))
    assert len(store.index) == 5


@pytest.mark.parametrize("asynchronous", [False, True])
def test_fault_08_a_store_may_be_made_of_generators(encoder, asynchronous):
    def made(name: str, *given: Any, **keywords: Any) -> MetaEmbedVectorStore:
        embeddings = MetaEmbedEmbeddings(encoder)
        if asynchronous:
            way = getattr(MetaEmbedVectorStore, f"a{name}")
            return run(way(given[0], embeddings, *given[1:], **keywords))
        return getattr(MetaEmbedVectorStore, name)(given[0], embeddings, *given[1:], **keywords)

    texts = made("from_texts", some("a", "b"), some({"n": 1}, {"n": 2}), ids=some("1", "2"))
    assert [one.metadata["n"] for one in texts.get_by_ids(["1", "2"])] == [1, 2]
    documents = made("from_documents", some(Document("a", id="1"), Document("b")))
    assert len(documents.index) == 2
    assert documents.get_by_ids(["1"])[0].page_content == "a"


@pytest.mark.parametrize("asynchronous", [False, True])
def test_fault_08_wrong_numbers_are_refused_and_nothing_is_stored(store, asynchronous):
    add = (lambda *a, **k: run(store.aadd_texts(*a, **k))) if asynchronous else store.add_texts
    with pytest.raises(MetadataError, match="1 metadata were given for 2 texts"):
        add(some("a", "b"), some({}))
    with pytest.raises(MetadataError, match="3 ids were given for 2 documents"):
        add(some("a", "b"), ids=some("1", "2", "3"))
    assert len(store.index) == 0


def test_fault_08_embeddings_and_the_reranker_take_generators(fruit, tmp_path):
    embeddings, red = fruit.embeddings, picture(tmp_path / "red.png", "red")
    assert embeddings.embed_documents(some("a", "b")) == embeddings.embed_documents(["a", "b"])
    assert embeddings.embed_image(some(red)) == embeddings.embed_image([red])
    assert embeddings.embed_documents(some()) == []
    documents = fruit.get_by_ids(["a", "p", "w"])
    ranked = MetaEmbedReranker(index=fruit.index).compress_documents(some(*documents), "apples")
    assert sorted(ids(ranked)) == ["a", "p", "w"]


def test_from_texts_and_from_documents_open_a_place(encoder, tmp_path):
    embeddings = MetaEmbedEmbeddings(encoder)
    documents = [Document("red apples", id="a"), Document("pears", metadata={"n": 1})]
    made = MetaEmbedVectorStore.from_documents(documents, embeddings, where=tmp_path / "i", r_q=4)
    assert made.options.r_q == 4
    again = MetaEmbedVectorStore.from_texts(["plums"], embeddings, where=tmp_path / "i")
    assert ids(again.similarity_search("red apples", k=1)) == ["a"]
    assert len(again.index) == 3
    other = run(MetaEmbedVectorStore.afrom_texts(["figs"], embeddings, ids=["f"], vectors=8))
    assert (other.index.ids(), other.index.vectors_per_page) == (["f"], 8)
    with pytest.raises(ModelError, match="not DeterministicFakeEmbedding"):
        MetaEmbedVectorStore.from_texts(["a"], DeterministicFakeEmbedding(size=4))
    with pytest.raises(TypeError, match="persist_directory"):
        MetaEmbedVectorStore.from_texts(["a"], embeddings, persist_directory="x")


def test_an_index_filled_by_other_means_is_served_too(store):
    store.index.add([Page(source="a.pdf", number=7, text="apples", metadata={"year": 1})])
    (found,) = store.similarity_search("apples", filter={"page": 7})
    assert (found.id, found.metadata["source"], found.metadata["page"]) == ("a.pdf#7", "a.pdf", 7)


def test_the_retriever_reads_what_the_store_wrote(fruit):
    first = MetaEmbedRetriever(index=fruit.index, k=1).invoke("red apples")[0]
    assert first.metadata.pop("score") == pytest.approx(1, abs=0.01)
    assert first == fruit.get_by_ids(["a"])[0]


# -- searching -----------------------------------------------------------------------------


def test_scores_are_maxsim_over_r_q_and_relevance_is_in_0_to_1(fruit):
    scored = fruit.similarity_search_with_score("red apples", k=3, hybrid=False)
    hits = fruit.index.search("red apples", k=3, hybrid=False)
    assert [(document.id, score) for document, score in scored] == [
        (hit.page.id, hit.score) for hit in hits
    ]
    relevant = fruit.similarity_search_with_relevance_scores("red apples", k=3)
    assert [score for _, score in relevant] == [(hit.score + 1) / 2 for hit in hits]
    kept = fruit.similarity_search_with_relevance_scores("red apples", score_threshold=0.9)
    assert ids([document for document, _ in kept]) == ["a"]


def test_a_hybrid_score_is_its_own_relevance(fruit):
    pytest.importorskip("bm25s")
    scored = fruit.similarity_search_with_score("green pears", k=3, hybrid=True)
    assert scored[0][0].id == "p"
    assert (scored[0][1], scored[-1][1]) == (1.0, 0.0)  # best and worst by meaning and by words
    relevant = fruit.similarity_search_with_relevance_scores("green pears", k=3, hybrid=True)
    assert relevant == scored


def test_async_equals_sync(fruit):
    vector = fruit.embeddings.embed_query("blue whales")

    async def searches():
        return [
            await fruit.asimilarity_search("blue whales", k=2),
            await fruit.asimilarity_search_with_score("blue whales", k=2),
            await fruit.asimilarity_search_with_relevance_scores("blue whales", k=2),
            await fruit.asimilarity_search_by_vector(vector, k=2),
            await fruit.amax_marginal_relevance_search("blue whales", k=2),
            await fruit.amax_marginal_relevance_search_by_vector(vector, k=2),
            await fruit.aget_by_ids(["w", "a"]),
            await fruit.as_retriever(k=2).ainvoke("blue whales"),
        ]

    assert run(searches()) == [
        fruit.similarity_search("blue whales", k=2),
        fruit.similarity_search_with_score("blue whales", k=2),
        fruit.similarity_search_with_relevance_scores("blue whales", k=2),
        fruit.similarity_search_by_vector(vector, k=2),
        fruit.max_marginal_relevance_search("blue whales", k=2),
        fruit.max_marginal_relevance_search_by_vector(vector, k=2),
        fruit.get_by_ids(["w", "a"]),
        fruit.as_retriever(k=2).invoke("blue whales"),
    ]


@pytest.mark.parametrize("method", ["asimilarity_search", "aadd_texts"])
def test_async_methods_leave_the_event_loop_free(fruit, loop_went_on, method):
    async def work():
        argument = "figs" if method == "asimilarity_search" else ["figs"]
        task = asyncio.create_task(getattr(fruit, method)(argument))
        await asyncio.sleep(0.001)
        loop_went_on.set()
        return await task

    assert run(work())


def test_a_flat_vector_is_the_first_and_rows_are_ordered_vectors(fruit, shapes):
    embeddings = fruit.embeddings
    assert ids(fruit.similarity_search_by_vector(embeddings.embed_query("pears"), k=1)) == ["p"]
    rows = embeddings.embed_query_vectors(["pears"])[0]
    assert ids(fruit.similarity_search_by_vector(rows, k=1)) == ["p"]
    assert ids(fruit.similarity_search_by_vector(7 * rows[:4], k=1, r_c=8)) == ["p"]
    assert shapes == [(1, 64), (16, 64), (4, 8)]
    with pytest.raises(StoreError, match="needs 64 numbers"):
        fruit.similarity_search_by_vector([1.0, 2.0])
    with pytest.raises(StoreError, match="zeros"):
        fruit.similarity_search_by_vector([0.0] * 64)
    with pytest.raises(BudgetError, match="4 query vectors"):
        fruit.similarity_search_by_vector([[1.0] * 64], r_q=4)


def test_marginal_relevance_avoids_repetition(store):
    store.add_texts(["red apples", "red apples", "red pears"], ids=["1", "2", "3"])
    assert ids(store.similarity_search("red apples", k=2)) == ["1", "2"]
    assert ids(store.max_marginal_relevance_search("red apples", k=2)) == ["1", "3"]
    alike = store.max_marginal_relevance_search("red apples", k=2, lambda_mult=1.0)
    assert ids(alike) == ["1", "2"]
    assert ids(store.as_retriever(search_type="mmr", k=2).invoke("red apples")) == ["1", "3"]
    assert len(store.max_marginal_relevance_search("red apples", k=9, r_q=1, r_c=1)) == 3
    store.delete()
    assert store.max_marginal_relevance_search("red apples") == []


def test_pictures_and_fused_queries(store, tmp_path):
    red, blue = (picture(tmp_path / f"{name}.png", name) for name in ("red", "blue"))
    store.add_documents(
        [
            Document("kite", metadata={"image_path": red}, id="red kite"),
            Document("kite", metadata={"image_path": blue}, id="blue kite"),
        ]
    )
    assert ids(store.similarity_search({"text": "kite", "image": blue}, k=1)) == ["blue kite"]
    assert ids(store.as_retriever(k=1).invoke({"text": "kite", "image": red})) == ["red kite"]


@pytest.mark.parametrize("page", [0, 1, 2, "iv", None])
def test_a_filter_on_the_page_means_what_the_documents_say(store, page):
    """PyPDF's loader counts pages from 0, which must not be taken for the first."""
    pages = [0, 1, 2, "iv"]
    for value in pages:
        metadata = {"source": "a.pdf", "page": value, "kind": "paged"}
        store.add_texts(["apples"], [metadata], ids=[str(value)])
    store.add_texts(["apples"], [{"kind": "paged"}], ids=["no page"])
    if page is not None:
        assert ids(store.similarity_search("apples", filter={"page": page})) == [str(page)]
        others = store.similarity_search("apples", k=9, filter={"page": {"$ne": page}})
        assert sorted(ids(others)) == sorted([*map(str, set(pages) - {page}), "no page"])
    else:
        both = {"$and": [{"kind": "paged"}, {"$or": [{"page": {"$lt": 2}}, {"page": "iv"}]}]}
        found = store.similarity_search("apples", k=9, filter=both)
        assert sorted(ids(found)) == ["0", "1", "iv"]


# -- the budget, and retrievers ------------------------------------------------------------


def test_the_budget_comes_from_every_direction(encoder, fruit, shapes, monkeypatch):
    def search(**keywords):
        return fruit.similarity_search("apples", **keywords)

    search()
    monkeypatch.setenv("METAEMBED_BUDGET", "2,4")
    search()
    search(r_q=3)
    fruit = MetaEmbedVectorStore(fruit.index, budget="balanced")
    search()
    search(r_c=16)
    search(budget=(1, 1))
    retriever = fruit.as_retriever(search_kwargs={"r_q": 5, "r_c": 6})
    retriever.invoke("apples")
    retriever.invoke("apples", r_q=7)
    configurable = retriever.configurable_fields(search_kwargs=ConfigurableField("search"))
    configurable.with_config(configurable={"search": {"budget": "fast"}}).invoke("apples")
    run(fruit.as_retriever(budget="2,2").ainvoke("apples"))
    assert shapes == [
        (16, 64),
        (2, 4),
        (3, 4),
        (4, 8),
        (4, 16),
        (1, 1),
        (5, 6),
        (7, 6),
        (1, 1),
        (2, 2),
    ]


@pytest.mark.parametrize("budget", [{"r_q": 17}, {"r_c": 65}, {"budget": (16, 128)}])
def test_more_vectors_than_stored_are_refused(fruit, budget):
    with pytest.raises(BudgetError, match="use a budget of at most 16,64"):
        fruit.similarity_search("apples", **budget)
    with pytest.raises(BudgetError, match="use a budget of at most 16,64"):
        run(fruit.as_retriever(**budget).ainvoke("apples"))
    with pytest.raises(BudgetError, match="use a budget of at most 16,64"):
        MetaEmbedVectorStore(fruit.index, **budget).max_marginal_relevance_search("apples")


def test_an_unknown_keyword_is_refused(fruit):
    """LangChain's as_retriever drops keywords that it does not know."""
    calls = [
        lambda: fruit.similarity_search("apples", top_k=3),
        lambda: fruit.similarity_search_by_vector([1.0] * 64, top_k=3),
        lambda: fruit.as_retriever(top_k=3),
        lambda: fruit.as_retriever(search_kwargs={"top_k": 3}),
        lambda: fruit.as_retriever().invoke("apples", top_k=3),
        lambda: run(fruit.asimilarity_search_with_score("apples", top_k=3)),
        lambda: fruit.add_texts(["apples"], top_k=3),
        lambda: MetaEmbedVectorStore(fruit.index, top_k=3),
    ]
    for call in calls:
        with pytest.raises(TypeError, match="no keyword top_k"):
            call()


def test_a_retrievers_threshold_and_tags(fruit):
    retriever = fruit.as_retriever(search_type="similarity_score_threshold", score_threshold=0.9)
    assert ids(retriever.invoke("red apples")) == ["a"]
    assert retriever.tags == ["MetaEmbedVectorStore", "MetaEmbedEmbeddings"]


# -- tenants -------------------------------------------------------------------------------


def both_tenants(store: MetaEmbedVectorStore) -> None:
    for tenant in ("ours", "theirs"):
        metadatas = [{"tenant": tenant}] * 2
        store.add_texts(["the secret"] * 2, metadatas, ids=[f"{tenant}{i}" for i in "12"])


LOOSENING = [
    {"tenant": "theirs"},
    {"tenant": {"$ne": "ours"}},
    {"tenant": {"$in": ["ours", "theirs"]}},
    {"$or": [{"tenant": "theirs"}, {"tenant": "ours"}]},
    {"$or": [{"tenant": "ours"}, {"page": {"$ne": 99}}]},
    {},
    None,
]


@pytest.mark.parametrize("filter", LOOSENING, ids=str)
@pytest.mark.parametrize("hybrid", [False, True])
def test_a_tenants_filter_cannot_be_loosened_by_a_call(store, filter, hybrid):
    """LangChain's own retriever lets a call's filter replace the one of search_kwargs."""
    if hybrid:
        pytest.importorskip("bm25s")
    both_tenants(store)
    wall = {"tenant": "ours"}
    for retriever in (
        store.as_retriever(search_kwargs={"k": 9, "filter": wall}),
        store.as_retriever(k=9, filter=wall, search_type="mmr"),
        MetaEmbedVectorStore(store.index, filter=wall).as_retriever(k=9),
        MetaEmbedRetriever(index=store.index, k=9, filter=wall),
    ):
        for options in ({"hybrid": hybrid}, {"exhaustive": True, "r_q": 1, "hybrid": hybrid}):
            found = retriever.invoke("the secret", filter=filter, **options)
            found += run(retriever.ainvoke("the secret", filter=filter, **options))
            assert {document.metadata["tenant"] for document in found} <= {"ours"}
    assert len(store.as_retriever(k=9, filter=wall).invoke("the secret")) == 2


def test_tenants_in_collections_do_not_see_each_other(encoder, tmp_path):
    embeddings = MetaEmbedEmbeddings(encoder)
    ours, theirs = (
        MetaEmbedVectorStore.from_texts(
            [f"the secret of {name}"], embeddings, ids=["1"], where=tmp_path, collection=name
        )
        for name in ("ours", "theirs")
    )
    for store, name in ((ours, "ours"), (theirs, "theirs")):
        searches = [
            store.similarity_search("the secret", k=9, exhaustive=True),
            store.similarity_search("the secret", k=9),
            store.get_by_ids(["1"]),
        ]
        assert [[d.page_content for d in found] for found in searches] == [
            [f"the secret of {name}"]
        ] * 3
    ours.delete()
    assert len(theirs.index) == 1


def test_deleting_a_tenants_picture_leaves_the_other_tenants(encoder, tmp_path):
    red = picture(tmp_path / "red.png", "red")
    ours, theirs = (
        MetaEmbedVectorStore(PageIndex.open(tmp_path / "i", encoder, collection=name))
        for name in ("ours", "theirs")
    )
    for store in (ours, theirs):
        store.add_images([red], ids=["1"])
    ours.delete(["1"])
    assert Path(theirs.get_by_ids(["1"])[0].metadata["image_path"]).exists()


# -- the indexing API ----------------------------------------------------------------------


@pytest.fixture
def records() -> InMemoryRecordManager:
    manager = InMemoryRecordManager(namespace="test")
    manager.create_schema()
    return manager


def counts(result: dict[str, int]) -> tuple[int, int, int]:
    return result["num_added"], result["num_skipped"], result["num_deleted"]


@pytest.mark.parametrize("cleanup", ["incremental", "full", "scoped_full"])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_the_indexing_api_sees_changed_files(
    store, encoder, records, tmp_path, cleanup, asynchronous
):
    folder = tmp_path / "files"
    folder.mkdir()
    picture(folder / "kite.png", "red")
    make_pdf(folder / "report.pdf", ["apples", "pears"])
    (folder / "notes.txt").write_text("plums")

    def indexing() -> tuple[int, int, int]:
        loader = MetaEmbedLoader(folder, pictures=tmp_path / "pictures")
        options: Any = {"cleanup": cleanup, "source_id_key": "source", "key_encoder": "blake2b"}
        if asynchronous:
            return counts(run(aindex(loader.alazy_load(), records, store, **options)))
        return counts(index(loader, records, store, **options))

    assert indexing() == (4, 0, 0)
    assert indexing() == (0, 4, 0)
    encoded = len(encoder.encoded)
    picture(folder / "kite.png", "blue")  # the same path, the same text (none)
    assert indexing() == (1, 3, 1)
    make_pdf(folder / "report.pdf", ["apples", "figs"])
    assert indexing() == (1, 3, 1)
    assert len(encoder.encoded) == encoded + 2
    blue = Image.new("RGB", (9, 9), "blue")
    (found,) = store.similarity_search({"image": blue}, k=1)
    assert found.metadata["source"] == str(folder / "kite.png")
    with Image.open(found.metadata["image_path"]) as kept:
        assert kept.getpixel((0, 0))[2] > 200

    make_pdf(folder / "report.pdf", ["apples"])  # lost a page
    (folder / "notes.txt").unlink()
    gone = 2 if cleanup == "full" else 1  # the others only look at sources that they saw
    assert indexing() == (0, 2, gone)
    assert len(store.index) == 4 - gone


def test_content_key_sees_a_changed_picture_of_documents_made_by_hand(store, records, tmp_path):
    path = picture(tmp_path / "kite.png", "red")
    document = Document("a kite", metadata={"image_path": path, "source": "kite"})
    options: Any = {"cleanup": "incremental", "source_id_key": "source"}

    def indexing() -> tuple[int, int, int]:
        result = index([document], records, store, key_encoder=content_key, **options)
        return counts(result)

    assert indexing() == (1, 0, 0)
    assert indexing() == (0, 1, 0)
    picture(tmp_path / "kite.png", "blue")
    assert indexing() == (1, 0, 1)
    assert len(store.index) == 1


def test_content_key_depends_on_text_metadata_and_picture(tmp_path):
    red, same = (picture(tmp_path / f"{name}.png", "red") for name in ("red", "same"))
    keys = [
        content_key(Document("kite")),
        content_key(Document("kites")),
        content_key(Document("kite", metadata={"a": 1})),
        content_key(Document("kite", metadata={"image_path": red})),
    ]
    assert len(set(keys)) == 4
    assert keys[3] == content_key(Document("kite", metadata={"image_path": same}))


# -- metadata of other types, filters by their logic, texts ------------------------------------


def test_fault_09_metadata_of_other_types_come_back_as_what_they_mean(store):
    odd = {"source": Path("a.pdf"), "page": np.int64(3), "when": date(2024, 2, 1), "tags": ("a",)}
    meant = {"source": "a.pdf", "page": 3, "when": "2024-02-01", "tags": ["a"]}
    store.add_documents(
        [Document("apples", metadata={**odd, "deep": {"when": odd["when"]}}, id="a")]
    )
    [found] = store.similarity_search("apples", filter={"when": odd["when"], "page": 3})
    assert found.metadata == {**meant, "deep": {"when": "2024-02-01"}}
    assert store.index.get(["a"])[0].source == "a.pdf"
    store.add_documents([found])
    assert store.index.add(store.index.get(["a"])).unchanged == 1


def test_fault_09_one_odd_document_of_a_hundred_stores_none(store):
    documents = [Document(f"text {n}", metadata={"n": n}) for n in range(100)]
    documents[99].metadata["bad"] = object()
    documents[99].id = "z"
    with pytest.raises(MetadataError, match="document 'z': .* key 'bad' is an object"):
        store.add_documents(documents)
    with pytest.raises(MetadataError, match="key 'bad' is an object"):
        store.add_texts([d.page_content for d in documents], [d.metadata for d in documents])
    assert len(store.index) == 0


@pytest.mark.parametrize(
    ("where_document", "expected"),
    [
        ({"$contains": "pears"}, {"p"}),
        ({"$not_contains": "pears"}, {"a", "w"}),
        ({"$or": [{"$contains": "apples"}, {"$regex": "^blue"}]}, {"a", "w"}),
    ],
)
def test_fault_10_documents_are_filtered_by_their_text(fruit, where_document, expected):
    asked = {"where_document": where_document}
    assert set(ids(fruit.similarity_search("x", **asked))) == expected
    assert set(ids(fruit.as_retriever(**asked).invoke("x"))) == expected
    retriever = MetaEmbedRetriever(index=fruit.index)
    assert set(ids(retriever.invoke("x", **asked))) == expected
    assert set(ids(MetaEmbedRetriever(index=fruit.index, **asked).invoke("x"))) == expected
    narrowed = fruit.as_retriever(filter={"year": {"$lt": 3}}).invoke("x", **asked)
    assert set(ids(narrowed)) == expected - {"w"}
    narrowed = fruit.as_retriever(**asked).invoke("x", where_document={"$contains": "e"})
    assert set(ids(narrowed)) == expected


def test_fault_10_filters_of_documents_mean_what_logic_says(fruit, caplog):
    assert set(ids(fruit.similarity_search("x", filter={"year": {"$gte": 2, "$lt": 4}}))) == {
        "p",
        "w",
    }
    assert ids(fruit.similarity_search("x", filter={"year": {"$in": []}})) == []
    assert ids(fruit.similarity_search("x", filter={"$or": [{"page": {"$in": []}}]})) == []
    assert "no page passes the filter" in caplog.text
    for every in ({}, {"page": {"$nin": []}}, {"$and": []}):
        with pytest.raises(StoreError, match="would delete every page"):
            fruit.delete(filter=every)
    assert len(fruit.index) == 3


def test_fault_01_a_document_that_is_too_long_is_logged_by_store_and_embeddings(
    encoder, store, monkeypatch, caplog
):
    monkeypatch.setattr(
        FakeEncoder, "unread_tokens", lambda _, given: [5000 * ("sea" in one) for one in given]
    )
    store.add_texts(["an apple", "the sea"], ids=["a", "b"])
    assert "b is too long: 5,000 tokens at its end were not read" in caplog.text
    MetaEmbedEmbeddings(encoder).embed_documents(["an apple", "the sea"])
    assert "1 of 2 texts are longer than fake reads" in caplog.text


def test_relevance_and_diversity_are_by_vectors_unless_words_are_asked_for(fruit):
    """A fused score is 1 for the best page, however far it is from an answer."""
    plain, words = (
        fruit.similarity_search_with_relevance_scores("green figs", k=1, **way)[0][1]
        for way in ({}, {"hybrid": True})
    )
    assert plain < words == 1
    assert fruit.similarity_search_with_score("green figs", k=1)[0][1] == 1
