from __future__ import annotations

import base64

import chromadb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from metaembed_rag import PageIndex
from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.errors import ModelMismatchError, StoreError
from metaembed_rag.model.settings import Settings
from metaembed_rag.pages import Page
from metaembed_rag.store.chroma import ChromaStore
from metaembed_rag.testing import FakeEncoder
from metaembed_rag.vectors.formats import FORMATS, cut_dimension, pack, unpack, vector_format
from metaembed_rag.vectors.maxsim import maxsim
from tests.support.vectors import unit_vectors

pytestmark = pytest.mark.usefixtures("vectors_alone")
"""Scores of this module are those of vectors."""


FLOATS = st.floats(-1, 1, width=32)
SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 19))


def one(name: str, values: list[float]) -> list[float]:
    """A single vector, encoded and decoded."""
    return vector_format(name).encode(np.array([[values]], np.float32)).decode()[0, 0].tolist()


# -- the slow, obvious definition of each format: one vector, one value at a time ----------


def reference(name: str, vector: np.ndarray, scale: float) -> list[float]:
    if name == "fp16":
        return [float(np.float16(value)) for value in vector]
    if name == "int8":
        return [round(float(np.float32(v) / np.float32(scale or 1))) * scale for v in vector]
    if name == "int4":
        odd = range(-15, 16, 2)
        steps = [float(np.float32(v) / np.float32(2 * scale or 2)) for v in vector]
        return [odd[min(15, int(np.floor(step)) + 8)] * scale for step in steps]
    return [scale if value >= 0 else -scale for value in vector]


def bound(name: str, vector: np.ndarray, scale: float) -> float:
    largest = float(np.abs(vector).max())
    return {
        "fp16": largest * 2**-11 + 2**-25,
        "int8": scale / 2,
        "int4": scale,
        "bits": max(scale, largest - scale),
    }[name]


@pytest.mark.parametrize("name", FORMATS)
@given(data=st.data())
def test_every_value_is_that_of_the_definition_and_within_the_bound(name, data):
    vectors = data.draw(arrays(np.float32, SHAPES, elements=FLOATS))
    encoded = vector_format(name).encode(vectors)
    decoded = encoded.decode()
    assert decoded.dtype == np.float32
    for at in np.ndindex(vectors.shape[:2]):
        scale = float(encoded.scales[at])
        assert decoded[at] == pytest.approx(reference(name, vectors[at], scale), rel=1e-6)
        error = np.abs(decoded[at] - vectors[at]).max()
        assert error <= bound(name, vectors[at], scale) * (1 + 1e-5) + 1e-36


@given(vectors=arrays(np.float32, SHAPES, elements=FLOATS))
def test_scales_of_whole_numbers_are_no_larger_than_they_have_to_be(vectors):
    largest = np.abs(vectors).max(axis=-1)
    for name, steps in (("int8", 127), ("int4", 16)):
        scales = vector_format(name).encode(vectors).scales.astype(np.float32)
        assert np.all(scales * steps >= largest * (1 - 1e-6) - 1e-36)
        assert np.all(scales <= largest / steps * (1 + 2**-10) + 2**-24)


def test_values_that_can_be_computed_by_hand():
    assert one("int8", [0, 127, -63.5, 1]) == [0, 127, -64, 1]
    assert one("int4", [16, 0.5, -0.5, -16, 3]) == [15, 1, -1, -15, 3]
    assert one("bits", [3, -1, 0, -4]) == [2, -2, 2, -2]
    assert one("fp16", [1, -0.5, 0.1, 0]) == [1, -0.5, float(np.float16(0.1)), 0]


@pytest.mark.parametrize("name", FORMATS)
def test_zeros_stay_zeros(name):
    assert not any(one(name, [0] * 9))


def test_signs_and_mean_are_the_nearest_of_all_scaled_signs():
    vectors = unit_vectors(5, 4, 32)
    decoded = vector_format("bits").encode(vectors).decode()
    error = ((vectors - decoded) ** 2).sum(-1)
    for factor in (0.9, 1.1):
        assert np.all(((vectors - factor * decoded) ** 2).sum(-1) > error)


# -- bytes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "bytes_"), [("fp16", 256), ("int8", 130), ("int4", 66), ("bits", 18)]
)
def test_bytes_of_a_vector_of_128(name, bytes_):
    assert vector_format(name).bytes_per_vector(128) == bytes_
    payload = pack(vector_format(name).encode(unit_vectors(1, 64, 128)))[0]
    assert len(base64.b64decode(payload)) == 64 * bytes_


def test_the_layout_of_a_packed_vector():
    vectors = np.array([[[3, -1, 0.5, -4, 2]]], dtype=np.float32)
    int4, bits = (
        base64.b64decode(pack(vector_format(n).encode(vectors))[0])
        for n in FORMATS
        if n in ("int4", "bits")
    )
    # scale 1/4: 3, -1, 0.5, -4, 2 are 12, -4, 2, -16, 8 of them; codes floor(v / 2) + 8
    assert int4 == np.float16(0.25).tobytes() + bytes([6 << 4 | 14, 0 << 4 | 9, 12])
    assert bits == np.float16(2.1).tobytes() + bytes([0b10101000])


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("dimension", [8, 5])
def test_a_prefix_is_a_slice_of_the_stored_bytes(name, count, dimension):
    encoded = vector_format(name).encode(unit_vectors(5, 4, dimension))
    payloads = pack(encoded)
    prefix = unpack(payloads, encoded.format, dimension, count)
    assert np.array_equal(prefix.values, encoded.values[:, :count])
    assert np.array_equal(prefix.scales, encoded.scales[:, :count])
    size = count * encoded.format.bytes_per_vector(dimension)
    cut = [base64.b64encode(base64.b64decode(text)[:size]).decode() for text in payloads]
    assert np.array_equal(unpack(cut, encoded.format, dimension, count).values, prefix.values)


@pytest.mark.parametrize("name", FORMATS)
def test_asking_for_more_vectors_than_are_packed_is_refused(name):
    encoded = vector_format(name).encode(unit_vectors(5, 4, 8))
    with pytest.raises(ValueError, match="fewer than 5 vectors"):
        unpack(pack(encoded), encoded.format, dimension=8, vectors=5)


@pytest.mark.parametrize("name", ["int8", "int4", "bits"])
@given(vectors=arrays(np.float32, SHAPES, elements=FLOATS))
def test_whole_number_formats_are_int8_without_loss(name, vectors):
    encoded = vector_format(name).encode(vectors)
    assert np.array_equal(encoded.as_int8().dequantize(), encoded.decode())
    assert encoded.as_int8().values.dtype == np.int8


def test_fp16_is_no_int8():
    with pytest.raises(ValueError, match="decode them"):
        vector_format("fp16").encode(unit_vectors(5, 4, 8)).as_int8()


def test_an_unknown_format_is_a_sentence():
    with pytest.raises(StoreError, match="'int2' is not one of fp16, int8, int4, bits"):
        vector_format("int2")


def test_a_cut_dimension_is_at_length_1_again():
    assert cut_dimension(np.array([3.0, 4.0, 12.0], np.float32), 2).tolist() == pytest.approx(
        [0.6, 0.8]
    )
    whole = unit_vectors(5, 4, 8)
    assert cut_dimension(whole, 8) is whole
    assert not cut_dimension(np.array([0, 0, 1], np.float32), 2).any()


# -- an index in a format ------------------------------------------------------------------

PAGES = [
    Page(source="book", number=n, text=text)
    for n, text in enumerate(
        ["apples and pears", "whales swim far", "trains run late", "apples fall"], start=1
    )
]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("budget", ["1,1", "4,8", "16,64"])
def test_an_index_scores_what_its_format_stores(tmp_path, name, budget):
    encoder = FakeEncoder(dimension=24)
    PageIndex.open(tmp_path, encoder, format=name).add(PAGES)
    index = PageIndex.open(tmp_path, encoder)
    budget = RetrievalBudget.parse(budget)
    [query] = encoder.encode_query(["whales"])
    stored = vector_format(name).encode(encoder.encode_document([p.text for p in PAGES])).decode()
    ids = [page.id for page in PAGES]
    assert np.array_equal(index.vectors(ids), stored)
    expected = np.clip(maxsim(query, stored, budget) / budget.r_q, -1, 1)
    hits = index.search("whales", 4, budget=budget)
    assert hits[0].page.id == "book#2"
    assert {hit.page.id: hit.score for hit in hits} == pytest.approx(
        dict(zip(ids, expected.tolist(), strict=True)), abs=1e-5
    )
    info = index.info()
    size = 64 * vector_format(name).bytes_per_vector(24)
    assert (info["vector_format"], info["bytes_per_page"]) == (name, size)


def test_an_index_keeps_its_format(tmp_path):
    PageIndex.open(tmp_path, FakeEncoder(), format="int4")
    assert PageIndex.open(tmp_path, FakeEncoder(), format="int4").info()["vector_format"] == "int4"
    with pytest.raises(ModelMismatchError, match="stores int4 vectors, not bits; open it without"):
        PageIndex.open(tmp_path, FakeEncoder(), format="bits")


def test_an_index_from_before_there_were_formats_is_int8(tmp_path):
    index = PageIndex.open(tmp_path, FakeEncoder())
    collection = index._store._collection
    new = {"metaembed:vector_format", "metaembed:documents", "metaembed:bundles"}
    old = {key: value for key, value in collection.metadata.items() if key not in new}
    old["metaembed:format"] = 1
    client = chromadb.PersistentClient(str(tmp_path))
    client.delete_collection("pages")
    client.create_collection("pages", metadata=old, embedding_function=None)
    assert ChromaStore.open(tmp_path, None).about.format == "int8"


def test_older_versions_refuse_what_they_would_misread(tmp_path):
    index = PageIndex.open(tmp_path, FakeEncoder(), format="bits")
    assert index._store._collection.metadata["metaembed:format"] == 4


def test_a_dimension_prefix_is_stored_and_searched(tmp_path):
    encoder = FakeEncoder(dimension=32, dimensions=(16, 32))
    PageIndex.open(tmp_path, encoder, dimension=16, format="fp16").add(PAGES)
    index = PageIndex.open(tmp_path, encoder)
    hits = index.search("whales swim", 4)
    assert hits[0].page.id == "book#2"
    cut = cut_dimension(encoder.encode_document([PAGES[1].text]), 16)
    assert np.abs(index.vectors(["book#2"]) - cut).max() < 1e-3
    [query] = cut_dimension(encoder.encode_query(["whales swim"]), 16)
    assert hits[0].score == pytest.approx(float(maxsim(query, cut)[0]) / 16, abs=1e-3)
    assert index.score("whales swim", ["book#2"])[0].score == pytest.approx(hits[0].score)
    assert index.info()["dimension"] == 16
    whole = encoder.encode_query(["whales swim"])[0]
    assert index.search_vectors(whole)[0].score == pytest.approx(hits[0].score)
    assert index.search_vectors(query)[0].score == pytest.approx(hits[0].score)
    with pytest.raises(StoreError, match="vectors have 24 values, those of the index 16"):
        index.search_vectors(whole[:, :24])


def test_a_dimension_that_the_model_was_not_trained_for_is_refused(tmp_path):
    with pytest.raises(StoreError, match="cannot be cut to 16 values: it was trained for 32; use"):
        PageIndex.open(tmp_path / "a", FakeEncoder(dimension=32), dimension=16)
    PageIndex.open(tmp_path / "b", FakeEncoder(dimension=32))
    with pytest.raises(ModelMismatchError, match="stores 32 values a vector, not 16"):
        PageIndex.open(tmp_path / "b", FakeEncoder(dimension=32), dimension=16)


def test_settings_keep_dimensions_and_files_without_them_stay_as_they_were():
    assert "dimensions" not in Settings().to_dict()
    settings = Settings(dimensions=(64, 128))
    assert Settings.from_dict(settings.to_dict()) == settings
    with pytest.raises(Exception, match="dimensions must be ascending whole numbers"):
        Settings(dimensions=(128, 64))
