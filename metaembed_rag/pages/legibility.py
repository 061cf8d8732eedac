"""Whether a text layer can be read at all: it may be codes without characters, or a cipher.

A PDF shows glyphs; which characters they are is written beside them, and may be missing or wrong.
Then the page looks right and its text is rubbish: codes that stand for no character, or letters
that stand for other letters. Both are told without knowing the language.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise

UNDECODABLE_SHARE = 0.2
"""Of the characters of a page. Some bullets, old-style figures and formulas of readable pages
stand for no characters, too; none of 1,618 pages of manuals has as many
(``benchmarks/quality/text_layers.py``)."""

ALTERNATION = 0.56
"""Of two letters that follow each other inside a word one is mostly a vowel and the other is not,
in every language of Latin script; in a cipher vowels are anywhere. Below this share of the pairs a
text is in doubt: 3 of 29,493 pieces of messages in 196 languages and 7 of 1,618 pages of manuals,
all lists of abbreviations, and 94 % of the ciphers made of these pages
(``benchmarks/quality/text_layers.py``)."""

_FEWEST_WORDS = 20  # fewer say nothing: a page of abbreviations would be in doubt
_LATIN_SHARE = 0.7  # of the letters; a Russian page has only abbreviations in Latin letters
_LETTER_SHARE = 0.3  # of a long text; below this, letters may have become punctuation
_FEWEST_CHARACTERS = 200
_VOWELS = frozenset("aeiouy")
_NO_CHARACTER = re.compile(r"[\x00\x01\x03-\x08\x0e-\x1f\x7f-\x9f\ufffd\ue000-\uf8ff]")
_CONSONANTS = re.compile(r"[^aeiouy]{6}")
_SPACE = re.compile(r"\s+")
_WORD = re.compile(r"(?<![^\W_])[a-z]{3,}(?![^\W_])")


def is_undecodable(text: str) -> bool:
    """Whether much of a text layer stands for no character: controls, U+FFFD, private use.

    Args:
        text: As PDFium gives it; the marks of hyphens (U+0002, U+FFFE) do not count.
    """
    shown = len(_SPACE.sub("", text))
    return shown > 0 and len(_NO_CHARACTER.findall(text)) >= UNDECODABLE_SHARE * shown


def decodable_lines(text: str) -> str:
    """The lines of a text without such characters, joined again."""
    return "\n".join(line for line in text.splitlines() if not _NO_CHARACTER.search(line))


def looks_enciphered(text: str) -> bool:
    """Whether a text in Latin letters may be no language: letters that stand for others.

    Code, tables of abbreviations and lists of parts are seldom in doubt, but can be: compare with
    what OCR reads (:func:`agrees`) before a text is thrown away.
    """
    if _is_punctuation(text):
        return True
    letters = [char for char in unicodedata.normalize("NFKD", text).casefold() if char.isalpha()]
    words = _distinct_words(text)
    is_latin = sum(map(str.isascii, letters)) >= _LATIN_SHARE * len(letters)
    if len(words) < _FEWEST_WORDS or not is_latin:
        return False
    pairs = [(a in _VOWELS) != (b in _VOWELS) for word in words for a, b in pairwise(word)]
    return sum(pairs) < ALTERNATION * len(pairs)


def agrees(text: str, read: str) -> bool:
    """Whether a text layer says what OCR read of the same page.

    Returns:
        True where at least half of the runs of five letters and digits that OCR read are in the
        text layer, too; and where OCR read too little to tell.
    """
    found = runs(read)
    return len(found) < _FEWEST_WORDS or len(found & runs(text)) >= 0.5 * len(found)


def legible(text: str) -> str:
    """The lines of what OCR read of a scene that are words or numbers, mostly.

    Of leaves, bricks and faces OCR makes single letters and rows of strokes. A word has a vowel, or
    is an abbreviation in capitals; of other scripts any two letters are one.
    """
    return "\n".join(line for line in text.split("\n") if _is_legible(line))


def _is_legible(line: str) -> bool:
    sizes = [(len(squeezed(token)), _is_word(token)) for token in line.split()]
    return any(is_word for _, is_word in sizes) and (
        2 * sum(size for size, is_word in sizes if is_word) >= sum(size for size, _ in sizes)
    )


def _is_word(token: str) -> bool:
    plain = squeezed(token)
    if len(plain) < 2 or (len(plain) > 2 and len(set(plain)) == 1):
        return False
    if plain.isdecimal() or not plain.isascii():
        return True
    if len(plain) < 3:
        return False
    if not plain.isalpha():
        return True
    is_short_name = token.isupper() and len(plain) <= 5
    return is_short_name or (not _VOWELS.isdisjoint(plain) and not _CONSONANTS.search(plain))


def runs(text: str, length: int = 5) -> set[str]:
    """All runs of so many letters and digits of a text, without spaces, marks and case."""
    plain = squeezed(text)
    return {plain[start : start + length] for start in range(len(plain) - length + 1)}


def squeezed(text: str) -> str:
    """The letters and digits of a text alone, without accents and case."""
    return "".join(c for c in unicodedata.normalize("NFKD", text).casefold() if c.isalnum())


def _distinct_words(text: str) -> set[str]:
    """Words of at least three letters, without accents and case, that touch no digit."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return set(_WORD.findall(plain.casefold()))


def _is_punctuation(text: str) -> bool:
    """Whether a long text has hardly a letter or digit; leaders of dots do not count."""
    shown = re.sub(r"[\s._\-\u2014\u2026]+", "", text)
    return len(shown) >= _FEWEST_CHARACTERS and sum(map(str.isalnum, shown)) < (
        _LETTER_SHARE * len(shown)
    )
