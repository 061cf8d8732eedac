"""What pooling must beat, and that it does."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.pooling import references
from metaembed_rag.model.pooling import nested_pooling
from tests.model.test_pooling import AXES, coverage, tokens

NAMES = ("tree", "first", "random")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n", [1, 2, 7, 40])
@pytest.mark.parametrize("vectors", [1, 5, 12])
def test_every_reference_gives_as_many_unit_vectors_as_asked(name, n, vectors):
    method = references.METHODS[name]
    for page in (np.repeat(tokens(1), n, axis=0), tokens(n, seed=n)):
        pooled = nested_pooling(page, vectors, method)
        assert pooled.shape == (vectors, 8) and pooled.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(pooled, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("n", [1, 2, 7, 15])
def test_with_fewer_tokens_than_vectors_the_first_ones_are_all_there(n):
    page = tokens(n)
    best = (page @ nested_pooling(page, 16, references.first).T).max(1)
    np.testing.assert_allclose(best, 1, atol=1e-5)


def test_what_is_missing_is_filled_by_repeating_from_the_first_on():
    page = tokens(3)
    expected = page[[0, 1, 2, 0, 1, 2, 0, 1]]
    np.testing.assert_allclose(nested_pooling(page, 8, references.first), expected, atol=1e-6)


def test_the_first_vector_of_the_tree_is_the_mean_direction():
    page = tokens(30)
    mean = page.sum(0) / np.linalg.norm(page.sum(0))
    np.testing.assert_allclose(nested_pooling(page, 4, references.tree)[0], mean, atol=1e-5)


def test_tokens_that_cancel_each_other_out_give_no_zeros():
    page = np.concatenate([AXES[:1], -AXES[:1]])
    for vectors in (1, 2, 3):
        lengths = np.linalg.norm(nested_pooling(page, vectors, references.tree), axis=1)
        np.testing.assert_allclose(lengths, 1, atol=1e-5)


def test_coverage_covers_more_over_all_prefixes_than_the_other_orders():
    centres = tokens(12, dimension=16, seed=1)
    page = np.repeat(centres, 20, axis=0) + 0.5 * tokens(240, dimension=16, seed=2)
    page /= np.linalg.norm(page, axis=1, keepdims=True)
    covered = {}
    for name in references.NESTED:
        pooled = nested_pooling(page, 16, references.METHODS[name])
        covered[name] = sum(coverage(page, pooled[:size]) for size in range(1, 17))
    assert max(covered, key=lambda name: covered[name]) == "coverage", covered
