"""The words of one query over several indexes: how rare each is among the pages of all of them.

An index has counted its words by what it holds alone. What a word gives a page is how rare the word
is, times how much of the page it is; so another rarity is a factor. How long pages are on average
stays that of each index.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from metaembed_rag.search.word_scores import WordScores
from metaembed_rag.search.words import FOUND_PAIRS, FOUND_WORDS, PAIR_WEIGHT, LexicalIndex, Reading


@dataclass(frozen=True)
class QueryWords:
    """In how many pages the words of one query are.

    Attributes:
        pages: Number of pages.
        words: Of these, those with each word of the query, in its order; where pages are read in
            several languages, of one reading after the other.
        pairs: Those with each pair of neighbouring words.
        languages: In which the query is read, with the number of its words in each.
    """

    pages: int
    words: tuple[int, ...]
    pairs: tuple[int, ...]
    languages: tuple[tuple[str | None, int], ...] = ()

    @classmethod
    def of(cls, index: LexicalIndex, query: str) -> QueryWords:
        """In how many pages of an index they are."""
        return cls._of(index, _in_order(index.asked(query)))

    @classmethod
    def _of(cls, index: LexicalIndex, asked: Sequence[Reading]) -> QueryWords:
        numbers = [number for one in asked for number in one.numbers]
        words = [0 if n is None else len(index.column(n)[0]) for n in numbers]
        neighbours = [pair for one in asked for pair in pairwise(one.numbers)]
        pairs = [len(index.pairs.impacts_of(*pair)[0]) for pair in neighbours]
        languages = tuple((one.language, len(one.numbers)) for one in asked)
        return cls(len(index.ids), tuple(words), tuple(pairs), languages)

    def __add__(self, other: QueryWords) -> QueryWords:
        """In how many pages of both they are; both read the query in the same languages."""
        words = zip(self.words, other.words, strict=True)
        pairs = zip(self.pairs, other.pairs, strict=True)
        pages = self.pages + other.pages
        return QueryWords(pages, _sums(words), _sums(pairs), self.languages)

    def by_language(self) -> Iterator[QueryWords]:
        """The same of each language alone."""
        word = pair = 0
        for language, count in self.languages:
            words = self.words[word : word + count]
            pairs = self.pairs[pair : pair + max(count - 1, 0)]
            yield QueryWords(self.pages, words, pairs, ((language, count),))
            word, pair = word + len(words), pair + len(pairs)

    def rarity(self, pages: Sequence[int]) -> NDArray[np.float64]:
        """BM25's idf of what so many pages have each."""
        holding = np.array(pages, dtype=np.float64)
        return np.log1p((self.pages - holding + 0.5) / (holding + 0.5))


def search_among(index: LexicalIndex, query: str, among: QueryWords) -> WordScores:
    """:meth:`LexicalIndex.search` with the rarity that words have among the pages of all indexes.

    Args:
        index: Holds the pages that are scored.
        query: The text.
        among: In how many pages of all of them its words are; read in the same languages.
    """
    asked = _in_order(index.asked(query))
    found = [
        (one, _reading_among(index, one, of_all))
        for one, of_all in zip(asked, among.by_language(), strict=True)
    ]
    words, pairs, *shares = index.merged(found)
    share = np.float32(FOUND_WORDS) * shares[0] + np.float32(FOUND_PAIRS) * shares[1]
    scores = words + np.float32(PAIR_WEIGHT) * pairs
    return WordScores(index.places, index.ids, scores, share, index.stamps)


def _reading_among(
    index: LexicalIndex, asked: Reading, among: QueryWords
) -> tuple[NDArray[np.float32], ...]:
    """Words, pairs and the shares of both, each of shape (pages,)."""
    numbers, own = asked.numbers, QueryWords._of(index, [asked])
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
    return words, pairs, shares[0], shares[1]


def _in_order(asked: Sequence[Reading]) -> list[Reading]:
    """Readings by the name of the language, which is the same in every index."""
    return sorted(asked, key=lambda one: one.language or "")


def _factors(own: QueryWords, among: QueryWords, name: str) -> NDArray[np.float32]:
    mine, all_of_them = (one.rarity(getattr(one, name)) for one in (own, among))
    return np.asarray(all_of_them / mine, dtype=np.float32)


def _sums(pairs: zip[tuple[int, int]]) -> tuple[int, ...]:
    return tuple(one + other for one, other in pairs)
