"""The kernels for whole numbers: every way of computing gives the same bits."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.errors import MetaEmbedError
from metaembed_rag.vectors import integers, native
from metaembed_rag.vectors.formats import Quantized, quantize, vector_format
from metaembed_rag.vectors.integers import (
    first_vectors,
    maxsim_levels,
    no_similarities,
    quantize_queries,
)
from metaembed_rag.vectors.maxsim import maxsim_quantized
from tests.support.vectors import unit_vectors

COUNTS = ([1], [1, 3, 4], [17], [1, 3, 4, 8, 48], [70])
"""Vectors a level: fewer than a tile of 16, just as many, more, and more than 64 at once."""


def definition(queries, levels):
    """The score as integers.py defines it, one rounded step after the other."""
    scores = np.zeros((len(queries), len(levels[0])), dtype=np.float32)
    values = np.concatenate([level.values for level in levels], axis=1).astype(np.int64)
    scales = np.concatenate([level.scales for level in levels], axis=1).astype(np.float32)
    for q, p in np.ndindex(*scores.shape):
        for vector, scale in zip(
            queries.values[q].astype(np.int64), queries.scales[q], strict=True
        ):
            best = max(
                np.float32(int(vector @ c)) * t for c, t in zip(values[p], scales[p], strict=True)
            )
            scores[q, p] = scores[q, p] + best * scale
    return scores


def in_format(name, counts, dimension, pages=5):
    levels = [unit_vectors(pages, n, dimension, seed=n) for n in counts]
    return [vector_format(name).encode(level) for level in levels]


@pytest.fixture(params=["portable", "portable float32", *native.INSTRUCTIONS])
def way(request, monkeypatch):
    """Each way of scoring that this machine has."""
    if request.param.startswith("portable"):
        monkeypatch.setenv(native.VARIABLE, "portable")
        if request.param == "portable float32":
            monkeypatch.setattr(integers, "int8_products", lambda: False)
        elif not integers.int8_products():
            pytest.skip("the processor has no int8 product, so there is one portable way")
        return
    monkeypatch.delenv(native.VARIABLE, raising=False)
    found = native.kernel()
    order = ["portable", *native.INSTRUCTIONS]
    if order.index(found.instructions) < order.index(request.param):
        pytest.skip(f"this machine has {found.instructions} {found.reason}")
    one = native.Kernel(found.library, request.param)
    monkeypatch.setattr(native, "kernel", lambda: one)


@pytest.mark.parametrize("format", native.KINDS)
@pytest.mark.parametrize("dimension", [1, 7, 64, 70, 128])
def test_every_way_gives_the_bits_of_the_definition(way, format, dimension):
    for counts in COUNTS:
        levels = in_format(format, counts, dimension, pages=3)
        for n_queries, r_q in ((1, 1), (3, 7), (1, 16)):
            queries = quantize_queries(unit_vectors(n_queries, r_q, dimension))
            expected = definition(queries, [level.as_int8() for level in levels])
            assert np.array_equal(maxsim_levels(queries, levels, threads=1), expected)


def test_long_vectors_whose_products_float32_cannot_add_exactly(way):
    values = np.full((1, 2, 4000), 127, dtype=np.int8)
    values[0, 1, 1:] -= 1
    levels = [Quantized(values, np.ones((1, 2), dtype=np.float16))]
    queries = quantize_queries(values[0].astype(np.float32))
    assert np.array_equal(maxsim_levels(queries, levels), definition(queries, levels))


@pytest.mark.parametrize("pages", [1, 63, 64, 65, 130])
def test_pages_by_the_tile_and_the_rest_of_them(way, pages):
    for counts in ([1], [1, 3]):
        levels = in_format("int8", counts, 64, pages)
        queries = quantize_queries(unit_vectors(2, 4, 64))
        together = maxsim_levels(queries, levels)
        alone = maxsim_levels(queries, levels, rows=np.arange(pages)[::-1], threads=1)[:, ::-1]
        assert np.array_equal(together, alone)
        assert np.array_equal(together, definition(queries, [level.as_int8() for level in levels]))


@pytest.mark.parametrize("budget", ["1,1", "2,4", "3,6", "4,8"])
def test_a_budget_is_a_prefix_of_both_sides_over_the_levels(way, budget):
    budget = RetrievalBudget.parse(budget)
    vectors, query = unit_vectors(9, 8, 32), quantize_queries(unit_vectors(4, 32, seed=1))
    whole = quantize(vectors)
    levels = [Quantized(whole.values[:, a:b], whole.scales[:, a:b]) for a, b in ((0, 1), (1, 8))]
    cut = Quantized(whole.values[:, : budget.r_c], whole.scales[:, : budget.r_c])
    expected = definition(query.first(budget.r_q), [cut])
    assert np.array_equal(maxsim_levels(query, levels, budget), expected)


def test_threads_and_rows_change_no_score(way):
    levels = in_format("int8", [1, 3, 16], 64, pages=40)
    query = unit_vectors(3, 5, 64)
    whole = maxsim_levels(query, levels, threads=1)
    rows = np.array([39, 0, 7, 7])
    assert np.array_equal(maxsim_levels(query, levels, threads=3), whole)
    assert np.array_equal(maxsim_levels(query, levels, rows=rows), whole[:, rows])


@pytest.mark.parametrize("format", native.KINDS)
def test_vectors_scored_some_at_a_time_give_the_bits_of_all_at_once(way, format):
    levels, query = in_format(format, [1, 3, 16], 70, pages=40), unit_vectors(2, 5, 70)
    for rows in (None, np.array([39, 0, 7, 7, *range(20)])):
        best = no_similarities(40 if rows is None else len(rows), 2, 5)
        for begin, end in ((0, 1), (1, 3), (3, 7), (7, 20)):  # levels end at 1, 4 and 20
            fresh = first_vectors(levels, end, after=begin)
            scores = maxsim_levels(query, fresh, rows=rows, best=best, threads=2)
            whole = maxsim_levels(query, levels, RetrievalBudget(5, end), rows=rows)
            assert np.array_equal(scores, whole)


def test_scores_are_those_of_the_exact_vectors_but_for_the_rounding_of_the_query(way):
    pages, query = quantize(unit_vectors(6, 8, 64)), unit_vectors(4, 64, seed=1)
    expected = maxsim_quantized(query, pages, RetrievalBudget(4, 8))
    # A value of the query is off by at most 1/254 of the largest, so 4 vectors by 4 * 8 / 254.
    assert np.allclose(maxsim_levels(query, [pages])[0], expected, atol=4 * 8 / 254)


def test_fp16_is_scored_in_float32_with_the_query_unrounded():
    vectors, query = unit_vectors(6, 8, 32), unit_vectors(4, 32, seed=1)
    levels = [vector_format("fp16").encode(vectors[:, a:b]) for a, b in ((0, 3), (3, 8))]
    expected = [sum(max(c @ q for c in page) for q in query) for page in vectors]
    assert np.allclose(maxsim_levels(query, levels)[0], expected, atol=4 * 2**-10)
    mixed = [levels[0], vector_format("int8").encode(vectors[:, 3:])]
    assert np.allclose(maxsim_levels(query, mixed)[0], expected, atol=4 * 8 / 254)


def test_a_zero_vector_scores_zero(way):
    levels = [quantize(np.zeros((2, 3, 8), dtype=np.float32))]
    assert maxsim_levels(np.zeros((2, 8), dtype=np.float32), levels).tolist() == [[0, 0]]
    assert maxsim_levels(unit_vectors(2, 8), levels).tolist() == [[0, 0]]


def test_no_pages_give_no_scores(way):
    levels = in_format("int8", [1, 3], 8)
    assert maxsim_levels(unit_vectors(2, 8), levels, rows=np.array([], int)).shape == (1, 0)


@pytest.mark.parametrize("rows", [[5], [-1]])
def test_a_row_that_does_not_exist_is_refused(rows):
    with pytest.raises(IndexError, match="0 to 4"):
        maxsim_levels(unit_vectors(2, 8), in_format("int8", [1], 8), rows=np.array(rows))


def test_the_environment_chooses_the_kernel(monkeypatch):
    monkeypatch.setenv(native.VARIABLE, "portable")
    assert native.kernel().library is None
    monkeypatch.setenv(native.VARIABLE, "fast")
    with pytest.raises(MetaEmbedError, match="native or portable"):
        native.kernel()


def test_without_a_compiler_the_portable_path_serves_and_native_says_why(monkeypatch, tmp_path):
    monkeypatch.setattr(native, "_folder", lambda: tmp_path)
    monkeypatch.setenv("CC", "no-such-compiler")
    monkeypatch.delenv(native.VARIABLE, raising=False)
    native._load.cache_clear()
    try:
        assert native.kernel().instructions == "portable"
        monkeypatch.setenv(native.VARIABLE, "native")
        with pytest.raises(MetaEmbedError, match="not to be had"):
            native.kernel()
    finally:
        native._load.cache_clear()


def test_a_library_that_is_there_needs_no_compiler(monkeypatch, tmp_path):
    """An image is built with a compiler and runs without one."""
    monkeypatch.setattr(native, "_folder", lambda: tmp_path)
    monkeypatch.delenv(native.VARIABLE, raising=False)
    native._load.cache_clear()
    try:
        built = native.kernel()
        native._load.cache_clear()
        monkeypatch.setenv("CC", "no-such-compiler")
        assert native.kernel().instructions == built.instructions
    finally:
        native._load.cache_clear()


def test_a_compiler_that_fails_leaves_no_library(monkeypatch, tmp_path):
    monkeypatch.setattr(native, "_folder", lambda: tmp_path / "kernels")
    monkeypatch.setenv("CC", "false")
    monkeypatch.delenv(native.VARIABLE, raising=False)
    native._load.cache_clear()
    try:
        assert native.kernel().instructions == "portable"
        assert not list(tmp_path.rglob("*.so"))
    finally:
        native._load.cache_clear()


@pytest.mark.integration
@pytest.mark.parametrize("damage", ["cut off", "empty", "a changed byte", "another file"])
def test_fault_31_a_damaged_library_is_built_again_and_not_loaded(tmp_path, damage):
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    environment.pop(native.VARIABLE, None)
    ask = "from metaembed_rag.vectors import native as n; print(n.kernel().instructions)"
    command = [sys.executable, "-c", ask]

    def asked():
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, (done.returncode, done.stderr)
        return done.stdout

    instructions = asked()
    found = list(tmp_path.rglob("*.so"))
    if not found:
        pytest.skip(f"there is no kernel here: {native.kernel().reason}")
    built = found[0].read_bytes()
    middle = len(built) // 2
    found[0].write_bytes(
        {
            "cut off": built[:8192],
            "empty": b"",
            "a changed byte": built[:middle] + bytes([built[middle] ^ 1]) + built[middle + 1 :],
            "another file": b"no library at all" * 100,
        }[damage]
    )
    assert asked() == instructions
    assert len(found[0].read_bytes()) == len(built)


@pytest.mark.parametrize("name", ["int8", "int4", "bits"])
@pytest.mark.parametrize("dimension", [64, 1500])
def test_numpy_scores_whole_numbers_to_the_bits_of_torch(name, dimension, monkeypatch):
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((9, 6, dimension)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    level = [vector_format(name).encode(vectors)]
    monkeypatch.setenv(native.VARIABLE, "portable")
    by_torch = integers.maxsim_levels(vectors[:2, :4], level)
    monkeypatch.setattr(integers, "is_installed", lambda module: False)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert np.array_equal(integers.maxsim_levels(vectors[:2, :4], level), by_torch)


def test_numpy_scores_halves_as_near_as_float32_sums_are(monkeypatch):
    vectors = np.random.default_rng(0).standard_normal((9, 6, 64)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    level = [vector_format("fp16").encode(vectors)]
    by_torch = integers.maxsim_levels(vectors[:2, :4], level)
    monkeypatch.setattr(integers, "is_installed", lambda module: False)
    np.testing.assert_allclose(integers.maxsim_levels(vectors[:2, :4], level), by_torch, atol=1e-5)
