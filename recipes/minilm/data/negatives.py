"""Hard negatives without a model: the page of the same document that shares most with a query."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

_LOOKED_AT = 24
_COUNTED = 10
_MOST_SHARED = 0.8
"""A page with more of the query's weight is likely to answer it too."""


class Neighbours:
    """The pages of documents, and which of them share rare words with a query.

    Args:
        pages: Document and text of each page, in their order.
    """

    def __init__(self, pages: Iterable[tuple[str, str]]) -> None:
        self._documents: dict[str, list[str]] = defaultdict(list)
        counts: Counter[str] = Counter()
        counted = 0
        for number, (document, text) in enumerate(pages):
            self._documents[document].append(text)
            if number % _COUNTED == 0:  # a share of the pages tells well enough what is rare
                counts.update(_word_set(text))
                counted += 1
        self._weights = {word: math.log(1 + counted / count) for word, count in counts.items()}
        self._unseen = math.log(1 + counted)

    def hardest(self, document: str, query: str, answers: Sequence[str]) -> str | None:
        """The text that shares most with the query without holding it; None without a choice.

        Args:
            document: Of the answer.
            query: The query.
            answers: Texts that are no negatives.
        """
        asked = set(words_of(query))
        whole = sum(self._weights.get(word, self._unseen) for word in asked) or 1.0
        scored = [
            (shared, text)
            for text, found in self._near(document, answers)
            if (shared := self._weight(asked & found) / whole) <= _MOST_SHARED
        ]
        return max(scored)[1] if scored else None

    def _near(self, document: str, answers: Sequence[str]) -> Iterator[tuple[str, frozenset[str]]]:
        """Pages around the answer, without it, and their words."""
        pages = self._documents[document]
        place = next((i for i, text in enumerate(pages) if text in answers), 0)
        start = max(0, place - _LOOKED_AT // 2)
        for text in pages[start : start + _LOOKED_AT]:
            if text not in answers:
                yield text, _word_set(text)

    def _weight(self, words: Iterable[str]) -> float:
        return sum(self._weights.get(word, self._unseen) for word in words)


def words_of(text: str) -> list[str]:
    """Words of at least three letters in lower case, without a plural's ``s``."""
    return [word.rstrip("s") for word in re.findall(r"[a-z][a-z0-9_-]{2,}", text.lower())]


@lru_cache(maxsize=4096)
def _word_set(text: str) -> frozenset[str]:
    return frozenset(words_of(text))
