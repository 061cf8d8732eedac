from __future__ import annotations

import asyncio

import pytest
from llama_index.core import StorageContext, VectorStoreIndex
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    ExactMatchFilter,
    MetadataFilters,
    VectorStoreQuery,
)
from llama_index.vector_stores.metaembed import MetaEmbedVectorStore

import metaembed_rag.llama_index
from metaembed_rag.testing import FakeEncoder


@pytest.fixture
def store() -> MetaEmbedVectorStore:
    return MetaEmbedVectorStore(where=":memory:", encoder=FakeEncoder())


def fruits() -> list[TextNode]:
    """Three nodes of two documents."""
    given = (("a", "red apples", "first"), ("b", "green pears", "first"), ("c", "plums", "second"))
    return [
        TextNode(
            id_=id_,
            text=text,
            metadata={"document": document},
            relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=document)},
        )
        for id_, text, document in given
    ]


def found(store: MetaEmbedVectorStore, text: str, k: int = 1, **query: object) -> list[str]:
    asked = VectorStoreQuery(query_str=text, similarity_top_k=k, **query)
    return [node.node_id for node in store.query(asked).nodes]


def test_class():
    names = [base.__name__ for base in MetaEmbedVectorStore.__mro__]
    assert BasePydanticVectorStore.__name__ in names
    assert MetaEmbedVectorStore is metaembed_rag.llama_index.MetaEmbedVectorStore


def test_what_is_added_is_found(store):
    assert store.add(fruits()) == ["a", "b", "c"]
    assert found(store, "green pears") == ["b"]


def test_async_add_and_query(store):
    asyncio.run(store.async_add(fruits()))
    answer = asyncio.run(store.aquery(VectorStoreQuery(query_str="plums", similarity_top_k=1)))
    assert answer.ids == ["c"]


def test_a_filter_restricts_a_query(store):
    store.add(fruits())
    second = MetadataFilters(filters=[ExactMatchFilter(key="document", value="second")])
    assert found(store, "red apples", k=3, filters=second) == ["c"]


def test_a_document_is_deleted_with_its_nodes(store):
    store.add(fruits())
    store.delete("first")
    assert found(store, "red apples", k=3) == ["c"]


def test_nodes_are_fetched_and_deleted_by_id_and_all_at_once(store):
    store.add(fruits())
    assert [node.text for node in store.get_nodes(["a"])] == ["red apples"]
    store.delete_nodes(["a"])
    assert sorted(found(store, "red apples", k=3)) == ["b", "c"]
    store.clear()
    assert found(store, "red apples", k=3) == []


def test_a_folder_keeps_what_was_added(tmp_path):
    MetaEmbedVectorStore(where=tmp_path / "index", encoder=FakeEncoder()).add(fruits())
    again = MetaEmbedVectorStore(where=tmp_path / "index", encoder=FakeEncoder())
    assert found(again, "red apples") == ["a"]


def test_a_vector_store_index_is_built_on_it(store):
    context = StorageContext.from_defaults(vector_store=store)
    index = VectorStoreIndex(fruits(), storage_context=context, embed_model=store.embed_model)
    (best,) = index.as_retriever(similarity_top_k=1).retrieve("green pears")
    assert best.node.get_content() == "green pears"
