"""The words of one query over several indexes: how rare each is among the pages of all of them.

An index has counted its words by what it holds alone. What a word gives a page is how rare the word
is, times how much of the page it is; so another rarity is a factor. How long pages are on average
stays that of each index.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from metaembed_rag.search.word_scores import WordScores
from metaembed_rag.search.words import FOUND_PAIRS, FOUND_WORDS, PAIR_WEIGHT, LexicalIndex


@dataclass(frozen=True)
class QueryWords:
    """In how many pages the words of one query are.

    Attributes:
        pages: Number of pages.
        words: Of these, those with each word of the query, in its order.
        pairs: Those with each pair of neighbouring words.
    """

    pages: int
    words: tuple[int, ...]
    pairs: tuple[int, ...]

    @classmethod
    def of(cls, index: LexicalIndex, query: str) -> QueryWords:
        """In how many pages of an index they are."""
        numbers = index.numbers(query)
        words = [0 if n is None else len(index.column(n)[0]) for n in numbers]
        pairs = [len(index.pairs.impacts_of(*pair)[0]) for pair in pairwise(numbers)]
        return cls(len(index.ids), tuple(words), tuple(pairs))

    def __add__(self, other: QueryWords) -> QueryWords:
        """In how many pages of both they are."""
        words = zip(self.words, other.words, strict=True)
        pairs = zip(self.pairs, other.pairs, strict=True)
        return QueryWords(self.pages + other.pages, _sums(words), _sums(pairs))

    def rarity(self, pages: Sequence[int]) -> NDArray[np.float64]:
        """BM25's idf of what so many pages have each."""
        holding = np.array(pages, dtype=np.float64)
        return np.log1p((self.pages - holding + 0.5) / (holding + 0.5))


def search_among(index: LexicalIndex, query: str, among: QueryWords) -> WordScores:
    """:meth:`LexicalIndex.search` with the rarity that words have among the pages of all indexes.

    Args:
        index: One of them.
        query: The text.
        among: In how many pages of all of them its words are.
    """
    numbers, own = index.numbers(query), QueryWords.of(index, query)
    words, pairs = (np.zeros(len(index.ids), dtype=np.float32) for _ in range(2))
    for number, factor in zip(numbers, _factors(own, among, "words"), strict=True):
        if number is not None:
            places, impacts = index.column(number)
            words[places] += impacts * factor
    neighbours = zip(pairwise(numbers), _factors(own, among, "pairs"), strict=True)
    for pair, factor in neighbours:
        places, impacts = index.pairs.impacts_of(*pair)
        pairs[places] += impacts * factor
    most = (among.rarity(one).sum() for one in (among.words, among.pairs))
    shares = [
        part / np.float32(of) if part.any() else part
        for part, of in zip((words, pairs), most, strict=True)
    ]
    if len(numbers) == 1:  # which has no pairs: it stands for them
        shares[1] = shares[0]
    found = np.float32(FOUND_WORDS) * shares[0] + np.float32(FOUND_PAIRS) * shares[1]
    scores = words + np.float32(PAIR_WEIGHT) * pairs
    return WordScores(index.places, index.ids, scores, found, index.stamps)


def _factors(own: QueryWords, among: QueryWords, name: str) -> NDArray[np.float32]:
    mine, all_of_them = (one.rarity(getattr(one, name)) for one in (own, among))
    return np.asarray(all_of_them / mine, dtype=np.float32)


def _sums(pairs: zip[tuple[int, int]]) -> tuple[int, ...]:
    return tuple(one + other for one, other in pairs)
