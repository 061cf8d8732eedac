from __future__ import annotations

import asyncio

import pytest
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.embeddings import MultiModalEmbedding
from llama_index.core.schema import TextNode
from llama_index.embeddings.metaembed import MetaEmbedEmbedding
from PIL import Image

import metaembed_rag.llama_index
from metaembed_rag.testing import FakeEncoder


@pytest.fixture
def model() -> MetaEmbedEmbedding:
    return MetaEmbedEmbedding(FakeEncoder())


def test_class():
    names = [base.__name__ for base in MetaEmbedEmbedding.__mro__]
    assert BaseEmbedding.__name__ in names
    assert MultiModalEmbedding.__name__ in names
    assert MetaEmbedEmbedding is metaembed_rag.llama_index.MetaEmbedEmbedding


def test_a_text_a_query_and_a_picture_have_one_vector_of_one_length(model, tmp_path):
    Image.new("RGB", (8, 8), "red").save(tmp_path / "red.png")
    picture = model.get_image_embedding(str(tmp_path / "red.png"))
    lengths = {len(model.get_query_embedding("apples")), len(model.get_text_embedding("pears"))}
    assert lengths == {64} == {len(picture)}


def test_a_batch_is_its_texts_one_by_one_also_async(model):
    texts = ["red apples", "green pears"]
    one_by_one = [model.get_text_embedding(text) for text in texts]
    assert model.get_text_embedding_batch(texts) == one_by_one
    assert asyncio.run(model.aget_text_embedding_batch(texts)) == one_by_one


def test_words_that_are_shared_bring_texts_together(model):
    query = model.get_query_embedding("red apples")
    near, far = (model.get_text_embedding(text) for text in ("red apples", "green pears"))
    assert model.similarity(query, near) > model.similarity(query, far)


def test_nodes_are_given_their_vectors(model):
    (node,) = model([TextNode(text="red apples")])
    assert node.embedding == model.get_text_embedding("red apples")


def test_all_ordered_vectors_are_there_beside_the_first(model):
    assert model.get_query_vectors(["red apples"]).shape == (1, 16, 64)
    assert model.get_document_vectors(["red apples"], budget="4,8").shape == (1, 8, 64)
