"""The objects of both frameworks are pickled and copied by place and model."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from langchain_core.documents import Document
from llama_index.core.callbacks import CallbackManager, LlamaDebugHandler
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.core.storage.kvstore import SimpleKVStore
from llama_index.core.vector_stores import MetadataFilter, MetadataFilters
from llama_index.core.vector_stores.types import VectorStoreQuery

from metaembed_rag import langchain, llama_index
from metaembed_rag.adapters import LazyEncoder
from metaembed_rag.errors import ModelMismatchError, PageError, StoreError
from metaembed_rag.index import PageIndex
from metaembed_rag.pages import Page
from metaembed_rag.testing import FakeEncoder
from tests.support.files import encrypt, pdf_bytes

pytestmark = pytest.mark.integration

ASKED = "red apples"


def pickled(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


every_way = pytest.mark.parametrize("again", [pickled, copy.deepcopy])


@pytest.fixture
def stored(tmp_path, encoder) -> PageIndex:
    index = PageIndex.open(tmp_path / "index", encoder, collection="fruit")
    index.add([Page(source="a", text="red apples"), Page(source="b", text="green pears")])
    return index


TEXTS = ["red apples", "green pears", "blue whales"]


def documents() -> list[Document]:
    return [Document(text, id=text) for text in TEXTS]


def nodes() -> list[NodeWithScore]:
    return [NodeWithScore(node=TextNode(id_=text, text=text)) for text in TEXTS]


def filters() -> MetadataFilters:
    return MetadataFilters(filters=[MetadataFilter(key="source", value="a")])


OF_AN_INDEX: dict[str, tuple[Callable[[PageIndex], Any], Callable[[Any], Any]]] = {
    "langchain retriever": (
        lambda index: langchain.MetaEmbedRetriever(index=index, k=1, budget="4,8"),
        lambda it: [dict(found.metadata) for found in it.invoke(ASKED)],
    ),
    "langchain vector store": (
        lambda index: langchain.MetaEmbedVectorStore(index, r_q=4, filter={"source": "a"}),
        lambda it: [(found.id, score) for found, score in it.similarity_search_with_score(ASKED)],
    ),
    "langchain store's retriever": (
        lambda index: langchain.MetaEmbedVectorStore(index).as_retriever(k=1),
        lambda it: [dict(found.metadata) for found in it.invoke(ASKED)],
    ),
    "langchain reranker": (
        lambda index: langchain.MetaEmbedReranker(index=index, top_n=2, r_q=1),
        lambda it: [dict(found.metadata) for found in it.compress_documents(documents(), ASKED)],
    ),
    "llama_index retriever": (
        lambda index: llama_index.MetaEmbedRetriever(index, filters=filters(), budget="4,8"),
        lambda it: [(found.node_id, found.score) for found in it.retrieve(ASKED)],
    ),
    "llama_index vector store": (
        lambda index: llama_index.MetaEmbedVectorStore(index, mode="text", budget="4,8"),
        lambda it: (it.mode, it.query(VectorStoreQuery(query_str=ASKED)).similarities),
    ),
    "llama_index reranker": (
        lambda index: llama_index.MetaEmbedRerank(index, top_n=2, r_q=1),
        lambda it: [one.score for one in it.postprocess_nodes(nodes(), query_str=ASKED)],
    ),
}
"""How each is made of an index, and what it says."""

of_an_index = pytest.mark.parametrize(("made", "says"), OF_AN_INDEX.values(), ids=OF_AN_INDEX)


@every_way
@of_an_index
def test_fault_17_what_holds_an_index_opens_it_again(stored, again, made, says):
    first = made(stored)
    second = again(first)
    assert says(second) == says(first)
    stored.add([Page(source="a", number=2, text="red apples in spring")])
    expected = says(first)
    assert says(second) == expected  # the same place
    stored.close()
    assert says(second) == expected  # which it opened by itself


@every_way
@of_an_index
def test_fault_17_an_index_in_memory_says_what_to_do(index, again, made, says):
    says(made(index))
    with pytest.raises(
        StoreError, match="in memory cannot be copied or pickled.*open it in a folder"
    ):
        again(made(index))


@of_an_index
def test_fault_17_a_pickle_is_small_and_holds_no_page(stored, made, says):
    stored.add([Page(source=str(number), text="words " * 999) for number in range(9)])
    it = made(stored)
    says(it)
    stored.encoder.encoded.clear()  # type: ignore[attr-defined]  # which this model remembers
    assert len(pickle.dumps(it)) < 4_000


_ELSEWHERE = """
    import pickle, sys
    from pathlib import Path

    folder = Path(sys.argv[1])
    for path in sorted(folder.glob("*.pickle")):
        it = pickle.loads(path.read_bytes())
        found = it.invoke("red apples") if hasattr(it, "invoke") else it.retrieve("red apples")
        print(path.stem, found[0].id if hasattr(found[0], "page_content") else found[0].node_id)
"""


def test_fault_17_another_process_in_another_folder_opens_them(stored, tmp_path):
    folder, elsewhere = tmp_path / "pickles", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    for name in ("langchain retriever", "langchain store's retriever", "llama_index retriever"):
        (folder / f"{name}.pickle").write_bytes(pickle.dumps(OF_AN_INDEX[name][0](stored)))
    out = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_ELSEWHERE), str(folder)],
        capture_output=True,
        text=True,
        check=True,
        cwd=elsewhere,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert out.stdout.splitlines() == [
        "langchain retriever a#1",
        "langchain store's retriever a#1",
        "llama_index retriever a#1",
    ]


# -- models --------------------------------------------------------------------------------


def embeddings(kind: str, encoder: Any) -> Any:
    if kind == "langchain":
        return langchain.MetaEmbedEmbeddings(encoder, batch_size=7)
    return llama_index.MetaEmbedEmbedding(encoder, embed_batch_size=7)


def embedded(it: Any) -> Any:
    text = "apples"
    return it.embed_query(text) if hasattr(it, "embed_query") else it.get_query_embedding(text)


@pytest.fixture
def loads(monkeypatch) -> list[str]:
    """Names that were loaded; each is a model of the seed that its last character says."""
    names: list[str] = []

    def load(name: str, device: str | None = None) -> Any:
        names.append(name)
        return Named(name)

    monkeypatch.setattr("metaembed_rag.opening.load_encoder", load)
    monkeypatch.setattr("metaembed_rag.adapters.load_encoder", load)
    monkeypatch.setattr("metaembed_rag.reopening.load_encoder", load)
    return names


class Named(FakeEncoder):
    """A model of this package: loaded by its name and, as one with weights, never pickled."""

    loaded_by_name = True

    def __init__(self, name: str) -> None:
        super().__init__(seed=int(name[-1]))
        self.name = name

    def __reduce__(self):
        raise TypeError("cannot pickle weights")

    def __deepcopy__(self, memo):
        raise TypeError("cannot copy weights")


both = pytest.mark.parametrize("kind", ["langchain", "llama_index"])


@both
@every_way
def test_fault_17_embeddings_load_their_model_again_by_its_name(kind, again, loads):
    first = embeddings(kind, Named("model 1"))
    second = again(first)
    assert loads == []  # not before it is needed
    assert embedded(second) == embedded(first)
    assert loads == (["model 1"] if again is pickled else [])
    size = second.batch_size if kind == "langchain" else second.embed_batch_size
    assert (second.model_name, size) == ("model 1", 7)
    assert embedded(again(again(first))) == embedded(first)


@both
@every_way
def test_fault_17_embeddings_that_are_named_stay_unloaded(kind, again, loads):
    second = again(embeddings(kind, "model 1"))
    assert loads == []
    assert embedded(second) == embedded(embeddings(kind, Named("model 1")))


@both
@every_way
def test_fault_17_a_model_of_the_users_own_is_pickled_as_it_pickles_itself(kind, again, encoder):
    first = embeddings(kind, encoder)
    assert embedded(again(first)) == embedded(first)


@both
def test_fault_17_another_model_of_that_name_is_refused(kind, monkeypatch):
    data = pickle.dumps(embeddings(kind, Named("model 1")))
    monkeypatch.setattr("metaembed_rag.reopening.load_encoder", lambda *given: Named("model 2"))
    with pytest.raises(ModelMismatchError, match="'model 1' loads another model here"):
        embedded(pickle.loads(data))


@both
def test_fault_17_a_model_that_no_name_loads_says_what_to_do(kind, monkeypatch):
    monkeypatch.setattr(Named, "loaded_by_name", False)
    with pytest.raises(StoreError, match="'model 1'.* cannot be pickled: .* save it"):
        pickle.dumps(embeddings(kind, Named("model 1")))


def test_fault_17_a_reranker_without_an_index_keeps_its_model(loads):
    first = llama_index.MetaEmbedRerank(encoder=Named("model 1"), top_n=2)
    ranked = first.postprocess_nodes(nodes(), query_str=ASKED)
    for again in (pickled, copy.deepcopy):
        second = again(first)
        assert second.postprocess_nodes(nodes(), query_str=ASKED) == ranked
        assert second.top_n == 2
    assert loads == ["model 1"]


def test_an_encoder_that_was_given_is_not_loaded():
    assert LazyEncoder(None).given is None
    given = SimpleNamespace(name="x")
    assert LazyEncoder(given).load("another") is given  # type: ignore[arg-type]


# -- the rest ------------------------------------------------------------------------------


def note(error: PageError) -> None:
    """An ``on_skip`` that can be pickled."""


@every_way
def test_fault_17_readers_keep_password_settings_and_on_skip(tmp_path, again):
    files = tmp_path / "files"
    files.mkdir()
    (files / "locked.pdf").write_bytes(encrypt(pdf_bytes(["secret"]), "word"))
    (files / "broken.png").write_bytes(b"no picture")
    options: Any = {"password": "word", "pictures": tmp_path / "kept", "on_skip": note}
    loader = again(langchain.MetaEmbedLoader(files, **options))
    reader = again(llama_index.MetaEmbedReader(**options))
    assert [one.page_content.strip() for one in loader.load()] == ["secret"]
    assert [one.text.strip() for one in reader.load_data(files)] == ["secret"]
    (skipped,) = again(loader).skipped
    assert (type(skipped), str(skipped)) == (type(loader.skipped[0]), str(loader.skipped[0]))
    assert skipped.source == str(files / "broken.png")


@every_way
def test_fault_17_the_cache_of_embeddings_comes_along(encoder, again):
    first = llama_index.MetaEmbedEmbedding(encoder, embeddings_cache=SimpleKVStore())
    first.get_text_embedding("apples")
    encoder.encoded.clear()
    second = again(first)
    second.get_text_embedding("apples")
    assert second.encoder.encoded == []


def test_fault_17_callback_handlers_stay_in_their_process(stored):
    manager = CallbackManager([LlamaDebugHandler(print_trace_on_end=False)])
    rerank = llama_index.MetaEmbedRerank(stored, callback_manager=manager)
    assert pickled(rerank).callback_manager.handlers == []
    assert rerank.callback_manager.handlers == manager.handlers != []


@every_way
def test_fault_17_what_was_found_can_be_sent_on(stored, again):
    documents = langchain.MetaEmbedRetriever(index=stored).invoke(ASKED)
    found = llama_index.MetaEmbedRetriever(stored).retrieve(ASKED)
    assert [dict(one.metadata) for one in again(documents)] == [dict(d.metadata) for d in documents]
    assert again(found) == found
    bundle = llama_index.MetaEmbedQueryBundle(ASKED, budget="4,8", filters=filters())
    assert again(bundle) == bundle
