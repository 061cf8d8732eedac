"""The languages of pages, of parts of pages and of queries, for word search.

They are found by py3langid, which is small (4.5 MB) and asks nobody; ``docs/languages.md`` compares
it with others.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metaembed_rag.errors import require
from metaembed_rag.metadata.languages import DEFAULT, NAMES, OTHER, said_language

_LEAST_CONFIDENCE = 0.5
"""Of a page's language; below it a page is one of code, names or numbers, and counts as written in
the language of most pages. On pages of TeX manuals sentences are above, bare code below."""
_LEAST_OF_PART = 0.9
"""Of a part's language, where it is another one than the page's."""
_CHARACTERS_READ = 3000
"""Of a page, to find its language: 0.8 ms."""
_PART = 400
"""Characters of a part: an abstract is longer, a foreign name or a line of code is not."""
_PIECE = re.compile(rf"(?s).{{{_PART}}}.{{,100}}?(?=\s|\Z)|.{{1,{_PART + 100}}}")
"""Parts end between words, where a script has spaces."""


@dataclass(frozen=True)
class Part:
    """A part of a page in one language.

    Attributes:
        language: Its name.
        start: Where it begins in the text.
        text: It.
    """

    language: str
    start: int
    text: str


@dataclass(frozen=True)
class PageLanguages:
    """Which language each page is read in, and which parts of it in another one.

    Attributes:
        names: The languages, that of most pages first.
        of_page: Place of each page's language in ``names``, uint8 of shape (pages,).
        mixed: By the place of a page that is in several languages its parts: the place of each
            one's language in ``names``, and where it ends in the text.
    """

    names: tuple[str, ...]
    of_page: NDArray[np.uint8]
    mixed: Mapping[int, Sequence[tuple[int, int]]] = field(default_factory=dict)

    @classmethod
    def found(cls, texts: Sequence[str], said: Sequence[str] = ()) -> PageLanguages:
        """Of one text a page.

        Args:
            texts: The pages' texts.
            said: What each page's metadata call its language, ``""`` for nothing; what is no
                language is looked for in the text.

        Raises:
            MissingExtraError: The extra ``hybrid`` is not installed.
        """
        told = said or [""] * len(texts)
        names, others = [], {}
        for page, (text, one) in enumerate(zip(texts, told, strict=True)):
            names.append(said_language(one) or _written(text[:_CHARACTERS_READ]))
            if not said_language(one) and len(parts := _parts(text, names[-1])) > 1:
                others[page] = parts
        counts = Counter(name for name in names if name)
        counts |= Counter({name: 1 for parts in others.values() for name, _ in parts if name})
        order = sorted(counts, key=lambda name: (-counts[name], name)) or [DEFAULT]
        places = {name: place for place, name in enumerate(order)} | {"": 0}
        return cls(
            tuple(order),
            np.array([places[name] for name in names], dtype=np.uint8),
            {page: [(places[one], end) for one, end in parts] for page, parts in others.items()},
        )

    def pages_in(self, place: int) -> NDArray[np.bool_]:
        """Which pages are in a language, by its place, whole or in part; shape (pages,)."""
        found: NDArray[np.bool_] = self.of_page == place
        for page, parts in self.mixed.items():
            found[page] |= any(place == one for one, _ in parts)
        return found

    def parts_of(self, page: int, text: str) -> list[Part]:
        """The parts of a page's text, by the page's place."""
        parts = self.mixed.get(page, [(int(self.of_page[page]), len(text))])
        starts = [0, *(end for _, end in parts)]
        return [
            Part(self.names[place], start, text[start:end])
            for start, (place, end) in zip(starts, parts, strict=False)
        ]

    def of_query(self, query: str) -> str:
        """The language that a query is most likely asked in, of those that pages are in."""
        if len(self.names) == 1:
            return self.names[0]
        codes = {code for code, name in NAMES.items() if name in self.names} & _known_codes()
        if not codes:
            return self.names[0]
        ranked = _classify(query, frozenset(codes))
        return NAMES[ranked[0]] if ranked[1] >= _LEAST_CONFIDENCE else self.names[0]


def _written(text: str, least: float = _LEAST_CONFIDENCE) -> str:
    """The name of the language that a text is written in; ``""`` where that is not sure."""
    code, confidence = _classify(text, frozenset())
    return NAMES.get(code, OTHER) if confidence >= least else ""


def _parts(text: str, language: str) -> list[tuple[str, int]]:
    """The language of each part of a text, and where it ends; one part where all are alike.

    A part that is in no language for sure belongs to the page's.
    """
    parts: list[tuple[str, int]] = []
    if len(text) < 2 * _PART:
        return [(language, len(text))]
    for piece in _PIECE.finditer(text):
        found = _written(piece[0], _LEAST_OF_PART)
        name = language if found in ("", OTHER) else found
        if parts and parts[-1][0] == name:
            parts.pop()
        parts.append((name, piece.end()))
    return parts


_detecting = threading.Lock()
"""One model serves all, and is told for each text which languages there are."""


def _classify(text: str, codes: frozenset[str]) -> tuple[str, float]:
    """The code of a text's language and how sure that is, in [0, 1]; among all without codes."""
    with _detecting:
        detector = _detector()
        detector.set_languages(sorted(codes) or None)
        code, confidence = detector.classify(text)
    return str(code), float(confidence)


@cache
def _known_codes() -> frozenset[str]:
    with _detecting:
        detector = _detector()
        detector.set_languages(None)
        return frozenset(detector.labels)


@cache
def _detector() -> Any:
    require("py3langid")
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def detector_version() -> str:
    """What languages were found by.

    Raises:
        MissingExtraError: The extra ``hybrid`` is not installed.
    """
    require("py3langid")
    return version("py3langid")
