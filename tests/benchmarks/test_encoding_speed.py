"""The benchmark of arithmetics on a model that the test makes, with times that it gives."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.quality import encoding_speed
from benchmarks.quality.encoding_speed import Times, nearness, rows, speed, whole_pages
from metaembed_rag.testing import FakeEncoder


def times(*pages: float, query: float) -> Times:
    return Times([np.array([one, 2 * one]) for one in pages], [np.array([query, query])])


def test_speed_is_told_by_medians_and_beside_float32_of_the_same_round():
    found = speed(times(1, 2, 4, query=0.01), times(2, 4, 4, query=0.03), pages=12)
    assert (found["pages_per_second"], found["pages_per_second_best"]) == (2, 4)
    assert (found["page_ms_cpu"], found["query_ms"]) == (1000, 10)
    assert (found["pages_times_as_fast"], found["queries_times_as_fast"]) == (2, 3)


def test_nearness_is_the_least_and_the_mean_cosine_of_pages_and_queries():
    x, y = np.eye(2, dtype=np.float32)
    page, query = np.stack([x, y])[None], np.stack([x])[None]
    found = nearness(([np.stack([x, x])[None]], [query]), ([page], [query]))
    assert (found["page_cosine_least"], found["page_cosine_mean"]) == (0, 0.5)
    assert found["query_cosine_least"] == 1


def test_every_arithmetic_encodes_every_text_once_and_float32_is_its_own_measure():
    encoders = {"float32": FakeEncoder(16, 4, 8), "other": FakeEncoder(16, 4, 8, seed=1)}
    texts = [f"text {'x' * i}" for i in range(5)]
    plain, other = rows(encoders, texts, texts, rounds=2)
    assert plain["page_cosine_least"] == pytest.approx(1)
    assert other["page_cosine_least"] < 0.99
    assert (plain["pages_times_as_fast"], other["arithmetic"]) == (1, "other")


def test_pages_are_those_nearest_to_a_thousand_tokens(monkeypatch):
    monkeypatch.setattr(encoding_speed, "TOKENS", 3)

    class Words:
        class backbone:
            @staticmethod
            def tokenizer(texts, verbose):
                return {"input_ids": [text.split() for text in texts]}

    texts = ["a", "a b c d", "a b c", "a b"]
    assert whole_pages(Words, texts, 3) == ["a b c", "a b c d", "a b"]
