"""Names of languages, as users, metadata and indexes say them.

How word search reads words is said by one name: that of a Snowball stemmer (``"german"``), of a
language that has none (``"chinese"``), ``"auto"`` for each page's own, or None for whole words.
"""

from __future__ import annotations

from metaembed_rag.errors import StoreError, kind_of_value

AUTO = "auto"
"""Each page by its own language."""
NONE = "none"
"""What users say for whole words, whose endings count."""
DEFAULT = "english"
OTHER = "other"
"""A language without a stemmer here: whole words, all of them."""

NAMES = {
    "ar": "arabic", "hy": "armenian", "eu": "basque", "ca": "catalan", "da": "danish",
    "nl": "dutch", "en": "english", "eo": "esperanto", "et": "estonian", "fi": "finnish",
    "fr": "french", "de": "german", "el": "greek", "hi": "hindi", "hu": "hungarian",
    "id": "indonesian", "ga": "irish", "it": "italian", "lt": "lithuanian", "ne": "nepali",
    "no": "norwegian", "nb": "norwegian", "nn": "norwegian", "pt": "portuguese", "ro": "romanian",
    "ru": "russian", "sr": "serbian", "es": "spanish", "sv": "swedish", "ta": "tamil",
    "tr": "turkish", "yi": "yiddish",
    "zh": "chinese", "yue": "chinese", "wuu": "chinese", "ja": "japanese", "ko": "korean",
    "th": "thai", "lo": "lao", "km": "khmer", "my": "burmese",
}  # fmt: skip
"""The name of each language code (ISO 639): first those that PyStemmer 2.2 has a stemmer for, then
those whose words are not set apart, or that are read by pairs of characters all the same."""
_NEWER = ("czech", "dutch_porter", "persian", "polish", "porter", "sesotho")
"""Stemmers of PyStemmer 3, by name only."""
UNSTEMMED = frozenset({"chinese", "japanese", "korean", "thai", "lao", "khmer", "burmese", OTHER})


def language_name(given: object) -> str | None:
    """How words are read, by what a user calls it; None for whole words.

    Args:
        given: A name (``"german"``), a code (``"de"``, ``"de-AT"``), ``"auto"`` or ``"none"``.

    Raises:
        StoreError: It is none of these.
    """
    if not isinstance(given, str):
        raise StoreError(f"a language is a name or a code, not {kind_of_value(given)}")
    text = given.strip().lower()
    if text == NONE:
        return None
    known = {AUTO, *UNSTEMMED, *_NEWER, *NAMES.values()}
    found = text if text in known else NAMES.get(text.replace("_", "-").partition("-")[0])
    if found is None:
        raise StoreError(
            f"there is no language {given!r} for words; use auto, none, a code such as de, or one "
            f"of {', '.join(sorted(known - {AUTO, OTHER}))}"
        )
    return found


def reading_of(language: str | None, stemmer: str | None, remembered: str) -> str | None:
    """How an index reads words: as this opening says, else as the index remembers.

    Args:
        language: As given; None where nothing was.
        stemmer: As given.
        remembered: By the index; ``""`` where it remembers none.

    Raises:
        StoreError: There is no such language.
    """
    if language is not None:
        return language_name(language)
    if stemmer != DEFAULT or not remembered:
        return stemmer
    return None if remembered == NONE else remembered


def remembered_as(language: str) -> str:
    """How an index writes down a language that a user gave.

    Raises:
        StoreError: There is no such language.
    """
    return language_name(language) or NONE


def said_language(language: str) -> str:
    """The name of a language that metadata tell; ``""`` for none that is known."""
    text = language.strip().lower().replace("_", "-").partition("-")[0]
    return text if text in NAMES.values() else NAMES.get(text, "")
