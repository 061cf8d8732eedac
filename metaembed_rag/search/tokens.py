"""The words of a text: stems without stop words, and pairs of characters where no space divides.

Chinese, Japanese, Thai, Lao, Khmer and Burmese write no spaces between words, and Korean writes
endings to them. A run of such characters is read as every two neighbours: a query finds a page that
has its words, without a dictionary. This is decided by the script, in every language: a Chinese
name on an English page is found too.
"""

from __future__ import annotations

import itertools
import logging
import re
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from metaembed_rag.errors import StoreError, require
from metaembed_rag.metadata.languages import AUTO, UNSTEMMED

_HAN = "\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_KANA = "\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f"
_HANGUL = "\u1100-\u11ff\u3130-\u318f\uac00-\ud7a3"
_SOUTH_EAST = "\u0e01-\u0e30\u0e32\u0e33\u0e40-\u0e46\u0e81-\u0eb0\u0eb2\u0eb3\u0ebd-\u0ec6"
_SOUTH_EAST += "\u0edc-\u0edf\u1000-\u102a\u103f\u1050-\u1055\u1780-\u17b3"
_MARKS = "\u3099\u309a\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ece"
_MARKS += "\u102b-\u103e\u1056-\u1059\u17b4-\u17d3"
"""Vowels and tones that belong to the character before them."""
_BASES = _HAN + _KANA + _HANGUL + _SOUTH_EAST

_UNIT = re.compile(f"[{_BASES}][{_MARKS}]*")
_ONE_RUN = f"(?:[{_BASES}][{_MARKS}]*)+"
_RUN = re.compile(rf"{_ONE_RUN}(?:[ \t]*\r?\n[ \t]*{_ONE_RUN})*")
"""The end of a line is no end of a word in these scripts."""
_HAN_UNIT = re.compile(f"[{_HAN}]")
_WORD = re.compile(r"\b\w\w+\b")
"""What bm25s takes for a word."""
_PATTERN = rf"(?u)[{_BASES}{_MARKS}]+|\b\w\w+\b"

_STOP_LISTS = {
    "danish": "DANISH", "dutch": "DUTCH", "english": "EN", "french": "FRENCH", "german": "GERMAN",
    "italian": "ITALIAN", "norwegian": "NORWEGIAN", "portuguese": "PORTUGUESE",
    "russian": "RUSSIAN", "spanish": "SPANISH", "swedish": "SWEDISH", "turkish": "TURKISH",
    None: "EN",
}  # fmt: skip
"""bm25s' lists; its English one goes with whole words too. Other languages keep all their words."""


@dataclass(frozen=True)
class Token:
    """A word of a text that counts, or two characters.

    Attributes:
        stem: What it counts as.
        start: Where it stands in the text.
        end: Where it ends.
    """

    stem: str
    start: int
    end: int


def page_words(texts: list[str], reading: str | None) -> Any:
    """The words of pages in one language: bm25s' object with ``ids``, a list of numbers for each
    text, and ``vocab``, the number of each word.

    A Chinese character of a longer run counts by itself too, behind all others, so that a query of
    one character finds it.

    Raises:
        MissingExtraError: The extra ``hybrid`` is not installed.
        StoreError: There is no such stemmer.
    """
    return _tokenized([_for_page(text) for text in texts], reading, return_ids=True)


def query_words(query: str, reading: str | None, without: Collection[str] = ()) -> list[str]:
    """The words of a query as they count on pages of one language, in order.

    Args:
        query: The text.
        reading: The pages' language.
        without: More words that count for nothing.
    """
    [words] = _tokenized([_spaced(query)], reading, without=without)
    return list(words)


def tokens(text: str, reading: str | None, without: Collection[str] = ()) -> Iterator[Token]:
    """The words of a text that count, in order, with their places; as :func:`query_words`."""
    words = list(_located(text))
    different = sorted({word for word, _, _ in words})
    stems = _tokenized(different, reading, without=without) if different else []
    known = {word: "".join(stem) for word, stem in zip(different, stems, strict=True)}
    for word, start, end in words:
        if stem := known[word]:
            yield Token(stem, start, end)


def characters(text: str) -> list[Token]:
    """The Chinese characters of a text that are in no run of one, with their places."""
    runs = ([*_UNIT.finditer(text, *run.span())] for run in _RUN.finditer(text))
    units = (unit for run in runs if len(run) > 1 for unit in run if _HAN_UNIT.match(unit[0]))
    return [Token(unit[0], *unit.span()) for unit in units]


def stop_words(reading: str | None) -> list[str]:
    """Words of a language that count for nothing; none where bm25s has no list."""
    name = _STOP_LISTS.get(reading)
    return list(getattr(bm25s().stopwords, f"STOPWORDS_{name}", ())) if name else []


def check_reading(reading: str | None) -> None:
    """Refuse what cannot be read, before any text is.

    Raises:
        MissingExtraError: The extra ``hybrid`` is not installed.
        StoreError: There is no such stemmer.
    """
    bm25s()
    if reading == AUTO:
        require("Stemmer")
        require("py3langid")
    else:
        _stemmer(reading)


def bm25s() -> Any:
    """The library; its logger asks for every debug line when it is imported, which is undone."""
    is_new = "bm25s" not in sys.modules
    found = require("bm25s")
    if is_new:
        logging.getLogger("bm25s").setLevel(logging.NOTSET)
    return found


def _tokenized(
    texts: list[str],
    reading: str | None,
    *,
    without: Collection[str] = (),
    return_ids: bool = False,
) -> Any:
    return bm25s().tokenize(
        texts,
        token_pattern=_PATTERN,
        stopwords=[*stop_words(reading), *without],
        stemmer=_stemmer(reading),
        return_ids=return_ids,
        show_progress=False,
    )


def _stemmer(language: str | None) -> Any:
    if language is None or language in UNSTEMMED:
        return None
    snowball = require("Stemmer")
    if language not in snowball.algorithms():
        raise StoreError(
            f"there is no stemmer {language!r}; use None for plain words, or one of "
            f"{', '.join(snowball.algorithms())}"
        )
    return snowball.Stemmer(language)


def _spaced(text: str) -> str:
    """A text where every two neighbours of a run stand alone."""
    return _RUN.sub(lambda run: f" {' '.join(_neighbours(run[0]))} ", text)


def _for_page(text: str) -> str:
    """:func:`_spaced`, and behind it the Chinese characters that are in no run of one."""
    if not _RUN.search(text):
        return text
    return " ".join([_spaced(text), *(one.stem for one in characters(text))])


def _neighbours(run: str) -> list[str]:
    units = _UNIT.findall(run)
    return [one + other for one, other in itertools.pairwise(units)] or units


def _located(text: str) -> Iterator[tuple[str, int, int]]:
    """Every word of a text, lower case, and its place; of a run every two neighbours."""
    done = 0
    for run in _RUN.finditer(text):
        yield from _words_between(text, done, run.start())
        yield from _neighbours_at(text, *run.span())
        done = run.end()
    yield from _words_between(text, done, len(text))


def _words_between(text: str, start: int, end: int) -> Iterator[tuple[str, int, int]]:
    for match in _WORD.finditer(text[start:end]):
        yield match[0].lower(), start + match.start(), start + match.end()


def _neighbours_at(text: str, start: int, end: int) -> Iterator[tuple[str, int, int]]:
    units = [(match[0], *match.span()) for match in _UNIT.finditer(text, start, end)]
    if len(units) == 1:
        yield units[0]
    for (one, begin, _), (other, _, stop) in itertools.pairwise(units):
        yield one + other, begin, stop
