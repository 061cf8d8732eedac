"""Which words of a query stand on a page, what each adds to BM25, and where it stands."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

from metaembed_rag.search.words import PAIR_WEIGHT, LexicalIndex, stems

_WORD = re.compile(r"\b\w\w+\b")
"""What bm25s takes for a word."""
_Key = TypeVar("_Key", bound=Hashable)
_MOST_WORDS = 200
"""Words of a query that are looked for, each among all pages: a longer one is a whole text."""


@dataclass(frozen=True)
class Match:
    """A word of the query, or two in a row, that stand on a page.

    Attributes:
        word: As the query has it.
        weight: What it adds to BM25.
        spans: Where it stands in the text.
    """

    word: str
    weight: float
    spans: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class _Token:
    stem: str
    start: int
    end: int


def matched_words(index: LexicalIndex, query: str, id: str, text: str) -> list[Match]:
    """The words and pairs of words of a query on a page, by weight, ties in the query's order.

    Together the weights are the page's BM25.

    Args:
        index: The words of all pages.
        query: Its first 200 words count.
        id: Of the page.
        text: Of the same version of the page as the index has it.
    """
    place = index.places.get(id)
    if place is None:
        return []
    asked = list(_tokens(query, index.stemmer))[:_MOST_WORDS]
    on_page = list(_tokens(text, index.stemmer))
    found = []
    for stem, (first, times) in _counted([token.stem for token in asked]).items():
        word = query[asked[first].start : asked[first].end]
        weight = times * float(index.parts(word)[0][place])
        spans = [(token.start, token.end) for token in on_page if token.stem == stem]
        found.append(Match(word, weight, tuple(spans)))
    pairs = list(pairwise(asked))
    for two, (first, times) in _counted([(a.stem, b.stem) for a, b in pairs]).items():
        words = [query[token.start : token.end] for token in pairs[first]]
        weight = times * PAIR_WEIGHT * float(index.parts(" ".join(words))[1][place])
        neighbours = [(a, b) for a, b in pairwise(on_page) if (a.stem, b.stem) == two]
        spans = [(a.start, b.end) for a, b in neighbours]
        found.append(Match(" ".join(words), weight, tuple(spans)))
    return sorted((match for match in found if match.weight > 0), key=lambda one: -one.weight)


def _counted(keys: Sequence[_Key]) -> dict[_Key, tuple[int, int]]:
    """Of each key the place where it stands first, and how often it does."""
    counts = Counter(keys)
    return {key: (keys.index(key), count) for key, count in counts.items()}


def _tokens(text: str, stemmer: str | None) -> Iterator[_Token]:
    """The words of a text that count, in order."""
    words = [(match[0].lower(), *match.span()) for match in _WORD.finditer(text)]
    different = sorted({word for word, _, _ in words})
    known = dict(zip(different, stems(different, stemmer), strict=True))
    for word, start, end in words:
        if stem := known[word]:
            yield _Token(stem, start, end)
