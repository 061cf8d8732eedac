"""Whether a text layer can be read at all: it may be codes without characters, or a cipher.

A PDF shows glyphs; which characters they are is written beside them, and may be missing or wrong.
Then the page looks right and its text is rubbish: codes that stand for no character, or letters
that stand for other letters. Both are told without knowing the language.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Sequence
from contextlib import suppress
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
_SCRIPT_SHARE = 0.7  # of the letters; a Russian page has only abbreviations in Latin letters
_MIXED_SHARE = 0.3  # of the words; units and formulas have a Greek letter beside Latin ones
_FEWEST_LETTERS = 5
_FEWEST_HAN = 50
_COMMON_SHARE = 0.8
"""Of Chinese characters that are of a first level: of 2,000 characters of messages in Chinese and
Japanese at least 98 % are, and a third of those drawn at random."""
_FIRST_LEVELS = (("gb2312", 0xB0, 0xD7), ("big5", 0xA4, 0xC6), ("euc_jp", 0xB0, 0xCF))
_LETTER_SHARE = 0.3  # of a long text; below this, letters may have become punctuation
_FEWEST_CHARACTERS = 200
_VOWELS = frozenset("aeiouy")
_ALL_VOWELS = (
    _VOWELS
    | frozenset("\u0430\u0435\u0451\u0438\u043e\u0443\u044b\u044d\u044e\u044f\u0456\u0457\u0454")
    | (frozenset("\u03b1\u03b5\u03b7\u03b9\u03bf\u03c5\u03c9"))
)
"""Latin, Cyrillic and Greek ones, without accents."""
_NO_CHARACTER = re.compile(r"[\x00\x01\x03-\x08\x0e-\x1f\x7f-\x9f\ufffd\ue000-\uf8ff]")
_NAME_OF_GLYPH = re.compile(r"\(cid:\d+\)|(?:/[A-Za-z]{1,4}\d{1,3}){3,}")
"""What some programs write for a glyph that has no character."""
_CONSONANTS = re.compile(r"[^aeiouy]{6}")
_SPACE = re.compile(r"\s+")
_LETTERS = re.compile(r"[^\W\d_]{3,}")
_WITH_VOWELS = {
    script: re.compile(rf"(?<![^\W_])[{letters}]{{3,}}(?![^\W_])")
    for script, letters in (
        ("Latin", "a-z"),
        ("Cyrillic", "\u0430-\u045f"),
        ("Greek", "\u03b1-\u03c9"),
    )
}
"""Scripts with vowels, and what their words are. One Bulgarian piece of 775 and none of 5,700 in
other languages of Cyrillic and Greek letters has fewer syllables than `ALTERNATION` says."""
_UNSPACED = frozenset({"", "Han", "Kana", "Hangul", "Thai"})
_SCRIPTS = (
    (0x41, "Latin"),
    (0x370, "Greek"),
    (0x400, "Cyrillic"),
    (0x530, "Armenian"),
    (0x590, "Hebrew"),
    (0x600, "Arabic"),
    (0x780, ""),
    (0x900, "Indic"),
    (0xE00, "Thai"),
    (0xE80, ""),
    (0x10A0, "Georgian"),
    (0x1100, "Hangul"),
    (0x1200, ""),
    (0x1E00, "Latin"),
    (0x1F00, "Greek"),
    (0x2000, ""),
    (0x3040, "Kana"),
    (0x3100, ""),
    (0x3400, "Han"),
    (0xA000, ""),
    (0xAC00, "Hangul"),
    (0xD7B0, ""),
    (0xF900, "Han"),
    (0xFB00, ""),
    (0xFF21, "Latin"),
    (0xFF66, "Kana"),
    (0xFFA0, ""),
)
_STARTS = [start for start, _ in _SCRIPTS]


def is_undecodable(text: str) -> bool:
    """Whether much of a text layer stands for no character: controls, U+FFFD, private use.

    Args:
        text: As PDFium gives it; the marks of hyphens (U+0002, U+FFFE) do not count.
    """
    shown = len(_SPACE.sub("", text))
    without = len(_NO_CHARACTER.findall(text)) + sum(map(len, _NAME_OF_GLYPH.findall(text)))
    return shown > 0 and without >= UNDECODABLE_SHARE * shown


def decodable_lines(text: str) -> str:
    """The lines of a text without such characters, joined again."""
    lines = text.splitlines()
    return "\n".join(
        line for line in lines if not (_NO_CHARACTER.search(line) or _NAME_OF_GLYPH.search(line))
    )


def looks_enciphered(text: str) -> bool:
    """Whether a text may be no language: letters, or Chinese characters, that stand for others.

    Code, tables of abbreviations and lists of parts are seldom in doubt, but can be: compare with
    what OCR reads (:func:`agrees`) before a text is thrown away.
    """
    if _is_punctuation(text):
        return True
    letters = [char for char in unicodedata.normalize("NFKD", text).casefold() if char.isalpha()]
    return (
        _is_monotonous(letters)
        or _is_of_rare_characters(letters)
        or _is_of_mixed_words(text)
        or any(_has_no_syllables(text, letters, script) for script in _WITH_VOWELS)
    )


def _is_monotonous(letters: Sequence[str]) -> bool:
    """Whether a long text has a handful of letters: all glyphs stand for the same ones."""
    return len(letters) >= _FEWEST_CHARACTERS and len(set(letters)) <= _FEWEST_LETTERS


def _is_of_rare_characters(letters: Sequence[str]) -> bool:
    """Whether many of its Chinese characters are ones that hardly anybody writes."""
    found = [char for char in letters if script_of(char) == "Han"]
    common = sum(map(_is_common, found))
    return len(found) >= _FEWEST_HAN and common < _COMMON_SHARE * len(found)


def _is_common(char: str) -> bool:
    """Whether a Chinese character is of the first level of the sets of China, Taiwan or Japan."""
    for encoding, first, last in _FIRST_LEVELS:
        with suppress(UnicodeEncodeError):
            code = char.encode(encoding)
            if len(code) == 2 and first <= code[0] <= last:
                return True
    return False


def _is_of_mixed_words(text: str) -> bool:
    """Whether many words have letters of several scripts."""
    scripts = [{script_of(char) for char in word} - _UNSPACED for word in _LETTERS.findall(text)]
    words = [found for found in scripts if found]
    mixed = sum(len(found) > 1 for found in words)
    return len(words) >= _FEWEST_WORDS and mixed >= _MIXED_SHARE * len(words)


def _has_no_syllables(text: str, letters: Sequence[str], script: str) -> bool:
    """Whether a text of a script has vowels anywhere in its words."""
    if sum(script_of(char) == script for char in letters) < _SCRIPT_SHARE * len(letters):
        return False
    words = _distinct_words(text, _WITH_VOWELS[script])
    pairs = [(a in _ALL_VOWELS) != (b in _ALL_VOWELS) for word in words for a, b in pairwise(word)]
    return len(words) >= _FEWEST_WORDS and sum(pairs) < ALTERNATION * len(pairs)


def script_of(char: str) -> str:
    """The script of a letter, such as ``"Latin"`` or ``"Han"``; ``""`` of others and of marks."""
    place = bisect_right(_STARTS, ord(char)) - 1
    return _SCRIPTS[place][1] if place >= 0 and char.isalpha() else ""


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


def _distinct_words(text: str, word: re.Pattern[str]) -> set[str]:
    """Words of at least three letters, without accents and case, that touch no digit."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return set(word.findall(plain.casefold()))


def _is_punctuation(text: str) -> bool:
    """Whether a long text has hardly a letter or digit; leaders of dots do not count."""
    shown = re.sub(r"[\s._\-\u2014\u2026]+", "", text)
    return len(shown) >= _FEWEST_CHARACTERS and sum(map(str.isalnum, shown)) < (
        _LETTER_SHARE * len(shown)
    )
