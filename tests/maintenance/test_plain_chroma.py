"""Collections that LangChain, LlamaIndex and other programs wrote to Chroma become pages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import chromadb
import pytest

from metaembed_rag import PageIndex
from metaembed_rag.errors import IndexNotFoundError, StoreError
from metaembed_rag.langchain import documents
from metaembed_rag.llama_index import nodes, searching
from metaembed_rag.maintenance import plain_chroma
from metaembed_rag.maintenance.plain_chroma import page_of
from metaembed_rag.store.plain import PlainRecord
from metaembed_rag.testing import FakeEncoder

ROWS = {
    "a": ("red foxes run", {"source": "fox.pdf", "page": 3, "year": 2020, "tags": ["x", "y"]}),
    "b": ("blue whales swim", {"page": 0}),
    "c": ("green parrots talk", None),
}


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def plain(client: Any, rows: dict[str, Any] | None = None, name: str = "notes") -> None:
    """Write a collection of texts with one vector each."""
    made = client.get_or_create_collection(name, embedding_function=None)
    for id, (text, metadata) in (ROWS if rows is None else rows).items():
        more = {"documents": [text]} if text is not None else {}
        made.upsert(ids=[id], embeddings=[[0.1, 0.2]], metadatas=[metadata], **more)


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder with a plain collection ``notes``."""
    client = chromadb.PersistentClient(str(tmp_path / "plain"))
    plain(client)
    client.close()
    return tmp_path / "plain"


def memory() -> PageIndex:
    return PageIndex.open(":memory:", FakeEncoder())


# -- what is kept --------------------------------------------------------------------------------


def test_texts_ids_and_metadata_are_kept_and_found(folder):
    index = memory()
    report = index.import_chroma(folder, collection="notes")
    assert (report.added, index.ids()) == (3, ["a", "b", "c"])
    hit = index.search("red foxes run", k=1)[0].page
    assert (hit.id, hit.source, hit.number) == ("a", "fox.pdf", 3)
    assert hit.metadata == {"year": 2020, "tags": ["x", "y"]}
    assert index.ids({"year": {"$gte": 2020}}) == ["a"]


def test_again_nothing_is_encoded_and_only_what_changed_is(folder):
    index, done = memory(), []
    index.import_chroma(folder, collection="notes", batch_size=2, progress=done.append)
    assert sum(done) == 3
    index.encoder.encode_document = None  # whoever calls it fails
    assert index.import_chroma(folder, collection="notes").unchanged == 3
    del index.encoder.encode_document
    client = chromadb.PersistentClient(str(folder))
    plain(client, {"b": ("black whales dive", {"page": 0})})
    client.close()
    report = index.import_chroma(folder, collection="notes")
    assert (report.updated, report.unchanged, report.added) == (1, 2, 0)


def test_an_import_that_was_ended_goes_on_where_it_was(folder):
    index = memory()

    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index.import_chroma(folder, collection="notes", batch_size=1, progress=stop)
    there = len(index)
    assert 1 <= there < 3
    report = index.import_chroma(folder, collection="notes")
    assert (report.unchanged, report.added) == (there, 3 - there)


def test_the_source_is_only_read(folder):
    client = chromadb.PersistentClient(str(folder))
    columns = ["documents", "metadatas", "embeddings"]
    before = client.get_collection("notes").get(include=columns)
    memory().import_chroma(client, collection="notes")
    after = client.get_collection("notes").get(include=columns)
    assert after.pop("embeddings").tolist() == before.pop("embeddings").tolist()
    assert after == before
    client.close()


def test_an_index_in_the_folder_of_the_collection_imports_from_beside_it(folder):
    with PageIndex.open(folder, FakeEncoder()) as index:
        assert index.import_chroma(folder, collection="notes").added == 3
    with PageIndex.open(folder, FakeEncoder(), create=False) as again:
        assert len(again) == 3


# -- what cannot be imported ---------------------------------------------------------------------


def test_a_collection_without_documents_is_a_sentence():
    client = chromadb.EphemeralClient()
    plain(client, {"a": (None, {"n": 1}), "b": (None, {"n": 2})}, "bare")
    index = memory()
    with pytest.raises(StoreError, match="'bare' .* holds 2 records and not one document"):
        index.import_chroma(client, collection="bare")
    assert len(index) == 0


def test_a_record_without_a_text_is_told_and_the_rest_goes_on():
    client = chromadb.EphemeralClient()
    plain(client, {"a": (None, {"n": 1}), "b": ("blue", {"n": 2})}, "half")
    index = memory()
    report = index.import_chroma(client, collection="half")
    assert index.ids() == ["b"]
    assert [error.source for error in report.blank] == ["a"]


def test_a_collection_that_is_not_there_is_told_with_those_that_are(folder, tmp_path):
    with pytest.raises(IndexNotFoundError, match=r"no collection 'x' .*there are 'notes'"):
        memory().import_chroma(folder, collection="x")
    with pytest.raises(IndexNotFoundError, match=r"no Chroma database in .*persist_directory="):
        memory().import_chroma(tmp_path / "nothing", collection="x")
    assert not (tmp_path / "nothing").exists()
    with pytest.raises(StoreError, match="in memory is empty"):
        memory().import_chroma(":memory:", collection="x")
    with pytest.raises(TypeError, match="no keyword tenants"):
        memory().import_chroma(folder, collection="x", tenants="y")  # type: ignore[call-arg]


def test_an_index_of_this_package_is_no_plain_collection(tmp_path):
    PageIndex.open(tmp_path / "i", FakeEncoder()).close()
    with pytest.raises(StoreError, match="is an index of this package already"):
        memory().import_chroma(tmp_path / "i", collection="pages")


# -- the frameworks' own stores ------------------------------------------------------------------


def test_the_names_are_those_of_the_adapters():
    assert (plain_chroma._DOCUMENT, plain_chroma._UNSOURCED, plain_chroma._UNPAGED) == (
        documents.DOCUMENT,
        documents.UNSOURCED,
        documents.UNPAGED,
    )
    assert (plain_chroma._OWN_PAGE, plain_chroma._REST) == (documents.OWN_PAGE, documents._REST)
    names = (searching.IS_NODE, nodes.KEPT_APART, searching.REF_DOC_ID, nodes.NODE)
    assert names == (
        plain_chroma._IS_NODE,
        plain_chroma._KEPT,
        plain_chroma._REF_DOC,
        plain_chroma._NODE,
    )
    assert nodes.NODE_CLASS == plain_chroma._CLASS


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"source": "a.pdf", "page": 2, "year": 1999, "good": True, "tags": ["x"]},
        {"source": "", "page": 0},
        {"page": "iv", "metaembed:x": "kept", "$y": 1.5},
    ],
)
def test_a_document_becomes_the_page_that_our_langchain_store_makes_of_it(metadata):
    from langchain_core.documents import Document

    document = Document(id="d", page_content="some text", metadata=metadata)
    page = page_of(PlainRecord("d", "some text", metadata))
    assert page == documents.document_to_page(document, "d")
    assert documents.page_to_document(page).metadata == {**metadata, "page_id": "d"}


def llama_nodes() -> list[Any]:
    from llama_index.core.schema import Document, NodeRelationship, RelatedNodeInfo, TextNode

    ref = Document(id_="doc1", text="all").as_related_node_info()
    one = TextNode(id_="n1", text="red foxes run", metadata={"source": "f.pdf", "page": 2})
    one.relationships[NodeRelationship.SOURCE] = ref
    one.relationships[NodeRelationship.NEXT] = RelatedNodeInfo(node_id="n2")
    two = TextNode(id_="n2", text="blue whales", metadata={"secret": "x", "none": None})
    two.excluded_embed_metadata_keys = ["secret"]
    two.relationships[NodeRelationship.SOURCE] = ref
    three = TextNode(id_="n3", text="{value} alone")
    return [one, two, three]


def as_stored(node: Any) -> PlainRecord:
    """What LlamaIndex's store for Chroma makes of a node."""
    from llama_index.core.vector_stores.utils import node_to_metadata_dict

    metadata = node_to_metadata_dict(node, remove_text=True, flat_metadata=True)
    metadata = {key: "" if value is None else value for key, value in metadata.items()}
    return PlainRecord(node.node_id, node.get_content(), metadata)


@pytest.mark.parametrize("which", range(3))
def test_a_node_becomes_the_page_that_our_llama_index_store_makes_of_it(which):
    node = llama_nodes()[which]
    page, expected = page_of(as_stored(node)), nodes.node_to_page(node)
    again, wanted = nodes.page_to_node(page), nodes.page_to_node(expected)
    assert (page.id, page.source, page.number, page.text) == (
        expected.id,
        expected.source,
        expected.number,
        expected.text,
    )
    assert page.metadata.keys() - {nodes.NODE} == expected.metadata.keys() - {nodes.NODE}
    assert (again.text, again.metadata) == (wanted.text, wanted.metadata)
    assert again.relationships == wanted.relationships and again.ref_doc_id == wanted.ref_doc_id
    assert type(again) is type(wanted)


@pytest.mark.parametrize("content", ["no json", "[]", '{"metadata": 5}', 7])
def test_what_is_no_node_is_a_document(content):
    page = page_of(PlainRecord("x", "text", {"_node_content": content, "source": "s"}))
    assert (page.id, page.source, page.text) == ("x", "s", "text")


@pytest.mark.integration
def test_a_collection_of_langchain_chroma_comes_back_as_its_documents(tmp_path):
    chroma = pytest.importorskip("langchain_chroma")
    from langchain_core.embeddings import DeterministicFakeEmbedding

    from metaembed_rag.langchain import MetaEmbedVectorStore

    theirs = chroma.Chroma(
        collection_name="langchain",
        persist_directory=str(tmp_path / "langchain"),
        embedding_function=DeterministicFakeEmbedding(size=8),
    )
    metadata: list[Any] = [{"source": "a.pdf", "page": 1, "year": 5}, {"source": "b"}, {"n": 1}]
    theirs.add_texts(["red foxes run", "blue whales", "plain"], metadata, ids=["1", "2", "3"])
    index = memory()
    assert index.import_chroma(tmp_path / "langchain", collection="langchain").added == 3
    ours = MetaEmbedVectorStore(index)
    for document in ours.get_by_ids(["1", "2", "3"]):
        (same,) = theirs.get_by_ids([document.id])
        assert document.page_content == same.page_content
        assert document.metadata == {**same.metadata, "page_id": document.id}
    assert ours.similarity_search("red foxes run", 1)[0].id == "1"
    assert [d.id for d in ours.similarity_search("x", 3, filter={"year": 5})] == ["1"]


@pytest.mark.integration
def test_a_collection_of_llama_indexs_chroma_store_comes_back_as_its_nodes(tmp_path):
    chroma = pytest.importorskip("llama_index.vector_stores.chroma")
    from metaembed_rag.llama_index import MetaEmbedVectorStore

    client = chromadb.PersistentClient(str(tmp_path / "llamaindex"))
    theirs = chroma.ChromaVectorStore(client.get_or_create_collection("llamaindex"))
    written = llama_nodes()
    for node in written:
        node.embedding = [0.5, 0.5]
    theirs.add(written)
    index = memory()
    assert index.import_chroma(client, collection="llamaindex").added == 3
    client.close()
    ours = MetaEmbedVectorStore(index)
    back = {node.node_id: node for node in ours.get_nodes()}
    for node in written:
        found = back[node.node_id]
        assert (found.get_content(), found.ref_doc_id) == (node.get_content(), node.ref_doc_id)
        assert found.metadata == node.metadata
    assert back["n1"].next_node.node_id == "n2"
    ours.delete("doc1")
    assert index.ids() == ["n3"]


# -- the command ---------------------------------------------------------------------------------


def test_the_command_imports_and_says_how_much(run, loaded, folder, tmp_path):
    where = ["import-chroma", folder, "--collection", "notes", "--index", tmp_path / "i"]
    out, _ = run(*where, "--into", "mine", "--model", "mini", "--json", "--quiet")
    told = json.loads(out)
    assert (told["added"], told["pages"], told["collection"]) == (3, 3, "notes")
    out, _ = run(*where, "--into", "mine", "--quiet")
    assert "3 unchanged" in out and f"3 pages in {tmp_path / 'i'}" in out
    _, err = run(*where[:3], "other", "--index", tmp_path / "j", code=1)
    assert "there are 'notes'" in err
    assert not (tmp_path / "j").exists()  # nothing is left of an import that could not begin
