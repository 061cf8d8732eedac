"""Which words of a query stand on a page, what each adds to BM25, and where it stands."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

from numpy.typing import NDArray

from metaembed_rag.search.tokens import Token, characters, tokens
from metaembed_rag.search.words import PAIR_WEIGHT, LexicalIndex

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
    language, without = index.language_for(query, id), index.words_without_weight(query)
    asked = list(tokens(query, language, without))[:_MOST_WORDS]
    on_page = index.page_tokens(id, text)
    places = _places([*on_page, *characters(text)])
    found = []
    for stem, (first, times) in _counted([token.stem for token in asked]).items():
        word = query[asked[first].start : asked[first].end]
        weight = times * _word_weight(index, stem, place)
        found.append(Match(word, weight, tuple(places[stem])))
    pairs = list(pairwise(asked))
    for two, (first, times) in _counted([(a.stem, b.stem) for a, b in pairs]).items():
        weight = times * PAIR_WEIGHT * _pair_weight(index, two, place)
        neighbours = [(a, b) for a, b in pairwise(on_page) if (a.stem, b.stem) == two]
        spans = [(a.start, b.end) for a, b in neighbours]
        found.append(Match(_spoken(query, *pairs[first]), weight, tuple(spans)))
    return sorted((match for match in found if match.weight > 0), key=lambda one: -one.weight)


def _places(tokens: Sequence[Token]) -> Mapping[str, list[tuple[int, int]]]:
    """Where each word stands."""
    found = defaultdict(list)
    for token in tokens:
        found[token.stem].append((token.start, token.end))
    return found


def _word_weight(index: LexicalIndex, stem: str, place: int) -> float:
    """What a word adds to the score of one page."""
    number = index.number(stem)
    return 0.0 if number is None else _at(place, *index.column(number))


def _pair_weight(index: LexicalIndex, stems: tuple[str, str], place: int) -> float:
    return _at(place, *index.pairs.impacts_of(*map(index.number, stems)))


def _at(place: int, places: NDArray[Any], impacts: NDArray[Any]) -> float:
    return float(impacts[places == place].sum())  # a page is there once, or not at all


def _spoken(query: str, one: Token, other: Token) -> str:
    """Two words of a query; of characters that overlap the part that both cover."""
    if other.start < one.end:
        return query[one.start : other.end]
    return f"{query[one.start : one.end]} {query[other.start : other.end]}"


def _counted(keys: Sequence[_Key]) -> dict[_Key, tuple[int, int]]:
    """Of each key the place where it stands first, and how often it does."""
    counts = Counter(keys)
    return {key: (keys.index(key), count) for key, count in counts.items()}
