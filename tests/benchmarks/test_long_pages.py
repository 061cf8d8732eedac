"""Long pages are joined texts, and every third of each is quoted."""

from __future__ import annotations

import numpy as np

from benchmarks.quality.long_pages import long_pages, measured, quotations, shares
from metaembed_rag.testing import FakeEncoder

TEXTS = [" ".join(f"w{i}x{j}" for j in range(70)) for i in range(8)]


def test_pages_have_so_many_words_and_share_none():
    pages = long_pages(TEXTS, words=120, pages=3)
    assert [len(page.split()) for page in pages] == [120, 120, 120]
    assert len({word for page in pages for word in page.split()}) == 360


def test_quotations_stand_in_their_third():
    pages = long_pages(TEXTS, words=120, pages=2)
    found = quotations(pages, each=2)
    assert [(place, third) for place, third, _ in found[:6]] == [
        (0, third) for third in ("first", "middle", "last") for _ in range(2)
    ]
    for place, third, words in found:
        assert words in " ".join(pages[place].split())
        start = pages[place].split().index(words.split()[0])
        assert ("first", "middle", "last")[start // 40] == third


def test_a_share_is_of_quotations_whose_page_is_first():
    asked = [(0, "first", ""), (1, "first", ""), (0, "middle", ""), (1, "last", "")]
    scores = np.array([[2, 1], [2, 1], [2, 1], [2, 1]])
    assert shares(scores, asked) == {"first": 0.5, "middle": 1.0, "last": 0.0}


def test_every_way_is_measured():
    found = measured("toy", [text + " end" for text in TEXTS * 40], FakeEncoder(dimension=16))
    assert (found["pages"], found["unread_tokens"]) == (8, 0)
    assert len(found["rows"]) == 9
