"""Requests hold as many records as Chroma takes, and no more bytes than servers do."""

from __future__ import annotations

import pytest

from metaembed_rag.store import requests
from metaembed_rag.store.requests import slices, slices_to_read, slices_to_write


def ends(parts) -> list[tuple[int, int]]:
    return [(part.start, part.stop) for part in parts]


def test_slices_cover_all_records_once():
    assert ends(slices(5, 2)) == [(0, 2), (2, 4), (4, 5)]
    assert slices(0, 2) == []


def test_records_are_read_by_the_smaller_of_both_limits(monkeypatch):
    monkeypatch.setattr(requests, "MAX_BYTES", 15_000)
    assert ends(slices_to_read(4, 100, 904)) == [(0, 3), (3, 4)]  # of 904 + 4,096 bytes each
    assert ends(slices_to_read(3, 2, 904)) == [(0, 2), (2, 3)]
    assert len(slices_to_read(2, 100, 10**9)) == 2


@pytest.mark.parametrize(
    ("most", "expected"), [(100, [(0, 2), (2, 3)]), (1, [(0, 1), (1, 2), (2, 3)])]
)
def test_records_are_written_by_the_smaller_of_both_limits(monkeypatch, most, expected):
    monkeypatch.setattr(requests, "MAX_BYTES", 100)
    parts = slices_to_write([{"text": "x" * 30, "page": 1}] * 3, lambda: most, 0)
    assert ends(parts) == expected


def test_what_a_refusal_teaches_counts_from_the_next_request_on():
    limits = iter([3, 3, 3, 1, 1])
    parts = slices_to_write([{"page": 1}] * 6, lambda: next(limits), 8)
    assert ends(parts) == [(0, 3), (3, 4), (4, 5), (5, 6)]
