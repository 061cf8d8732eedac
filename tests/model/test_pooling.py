"""Token vectors pooled into an order: shapes, exactness, the greedy choice, the settings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage

from metaembed_rag.errors import ModelError
from metaembed_rag.model import pooling
from metaembed_rag.model.pooling import METHODS, Pooling, nested_pooling, nested_pooling_batch

AXES = np.eye(4, dtype=np.float32)


def tokens(n: int, dimension: int = 8, seed: int = 0) -> np.ndarray:
    drawn = np.random.default_rng(seed).standard_normal((n, dimension)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def distinctness(page: np.ndarray) -> np.ndarray:
    """What a token counts: 1 - its cosine with the page's mean."""
    return 1 - page @ (page.sum(0) / np.linalg.norm(page.sum(0)))


def coverage(page: np.ndarray, vectors: np.ndarray) -> float:
    """MaxSim of a page with itself: what each token finds among the vectors."""
    return float(distinctness(page) @ (page @ vectors.T).max(1))


@pytest.mark.parametrize("method", METHODS)
@given(n=st.integers(1, 40), vectors=st.integers(1, 12), copies=st.booleans())
@settings(max_examples=15, deadline=None)
def test_every_method_gives_as_many_unit_vectors_as_asked(method, n, vectors, copies):
    page = np.repeat(tokens(1), n, axis=0) if copies else tokens(n, seed=n)
    pooled = nested_pooling(page, vectors, method)
    assert pooled.shape == (vectors, 8) and pooled.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(pooled, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("method", ["coverage", "ward"])
@pytest.mark.parametrize("n", [1, 2, 7, 15])
def test_with_fewer_tokens_than_vectors_each_token_is_there(method, n):
    page = tokens(n)
    best = (page @ nested_pooling(page, 16, method).T).max(1)
    np.testing.assert_allclose(best, 1, atol=1e-5)


def test_the_first_vector_of_the_default_is_the_mean_of_what_is_distinct():
    page = tokens(12)
    mean = distinctness(page) @ page
    expected = mean / np.linalg.norm(mean)
    np.testing.assert_allclose(nested_pooling(page, 4)[0], expected, atol=1e-5)


def test_the_first_vector_of_kmeans_is_the_mean_direction():
    page = tokens(30)
    mean = page.sum(0) / np.linalg.norm(page.sum(0))
    np.testing.assert_allclose(nested_pooling(page, 4, "kmeans")[0], mean, atol=1e-5)


def test_a_function_takes_the_place_of_a_method_and_what_it_leaves_out_is_filled():
    page = tokens(3)
    expected = page[[0, 1, 2, 0, 1, 2, 0, 1]]
    found = nested_pooling(page, 8, lambda tokens, vectors: tokens[:vectors])
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_three_groups_are_found_by_three_vectors_the_largest_first():
    page = AXES[[0, 1, 1, 2, 2, 2]]
    np.testing.assert_allclose(pooling.ward(page, 3), AXES[[2, 1, 0]], atol=1e-6)


def test_ward_gives_the_means_of_scipys_clusters():
    page = tokens(50)
    labels = fcluster(linkage(page.astype(float), "ward"), 7, "maxclust")
    sums = np.stack([page[labels == label].sum(0) for label in np.unique(labels)])
    expected = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    found = pooling.ward(page, 7)
    np.testing.assert_allclose((expected @ found.T).max(1), 1, atol=1e-4)


def test_the_lazy_greedy_choice_is_the_plain_one(monkeypatch):
    monkeypatch.setattr(pooling, "_POLISHING", 0)
    page = tokens(40)
    greedy = pooling._Greedy(page, page)
    best = np.full(40, -1.0)
    for _ in range(10):
        gains = [np.maximum(page @ one - best, 0).sum() for one in page]
        expected = page[int(np.argmax(gains))]
        greedy.add(only_leaves=False)
        np.testing.assert_allclose(greedy.chosen[-1], expected)
        best = np.maximum(best, page @ expected)


def test_every_added_vector_of_the_default_raises_the_coverage():
    page = tokens(100)
    pooled = nested_pooling(page, 32)
    values = [coverage(page, pooled[:size]) for size in range(1, 33)]
    assert np.all(np.diff(values) > 0)


@pytest.mark.parametrize("method", METHODS)
def test_tokens_that_cancel_each_other_out_give_no_zeros(method):
    page = np.concatenate([AXES[:1], -AXES[:1]])
    for vectors in (1, 2, 3):
        lengths = np.linalg.norm(nested_pooling(page, vectors, method), axis=1)
        np.testing.assert_allclose(lengths, 1, atol=1e-5)


def test_a_batch_of_pages_of_any_lengths_is_what_its_pages_are():
    pages = [tokens(5, seed=1), tokens(90, seed=2)]
    together = nested_pooling_batch(pages, 16)
    for page, pooled in zip(pages, together, strict=True):
        np.testing.assert_array_equal(nested_pooling(page, 16), pooled)


def test_lengths_of_the_tokens_do_not_matter():
    page = tokens(20)
    np.testing.assert_allclose(nested_pooling(3 * page, 8), nested_pooling(page, 8), atol=1e-5)


@pytest.mark.parametrize(
    ("page", "message"),
    [
        (np.zeros((0, 8)), r"shape \(n, D\), not \(0, 8\)"),
        (np.zeros(8), r"not \(8,\)"),
        (np.zeros((2, 8)), "length 0; leave out padding"),
        (np.full((2, 8), np.nan), "not finite"),
    ],
)
def test_what_are_no_token_vectors_is_refused(page, message):
    with pytest.raises(ModelError, match=message):
        nested_pooling(page, 4)


def test_an_unknown_method_names_those_that_there_are():
    with pytest.raises(ModelError, match="'mean' is unknown; use one of coverage, kmeans"):
        nested_pooling(tokens(3), 4, "mean")
    with pytest.raises(ModelError, match="1 vector or more"):
        nested_pooling(tokens(3), 0)
    with pytest.raises(ModelError, match="no pages"):
        nested_pooling_batch([], 4)


def test_settings_are_read_back_from_a_models_name():
    chosen = Pooling("ward", query_vectors=32, dimensions=(64, 128))
    options = {"pooling": "ward", "query_vectors": "32", "dimensions": "64,128"}
    assert chosen.options() == options
    assert Pooling.from_options(options) == chosen
    assert Pooling().options() == {}
    assert str(chosen) == "ward, 32 a query and 64 a page"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pool": "ward"}, "'pool' is unknown; there are pooling, query_vectors"),
        ({"query_vectors": "many"}, "whole numbers"),
        ({"query_vectors": "0"}, "at least 1, not 0"),
        ({"dimensions": "64,x"}, "whole numbers"),
        ({"pooling": "mean"}, "'mean' is no choice"),
        ({"pooling": "tree"}, "'tree' is no choice; use one of coverage, kmeans, ward"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(options, message):
    with pytest.raises(ModelError, match=message):
        Pooling.from_options(options)


def test_pooling_is_asked_for_in_one_place_only():
    assert Pooling.chosen("ward", {}) == Pooling("ward")
    assert Pooling.chosen(None, {"pooling": "ward"}) == Pooling("ward")
    with pytest.raises(ModelError, match="not both"):
        Pooling.chosen("ward", {"pooling": "kmeans"})
