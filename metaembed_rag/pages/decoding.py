"""The bytes of a text file -> text, whatever wrote them; what had to be guessed is logged."""

from __future__ import annotations

import codecs
import logging
import re
import unicodedata
from contextlib import suppress

import chardet

from metaembed_rag.errors import UnreadableFileError

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SHIFTED = ("iso2022_jp_ext", "iso2022_kr")
"""Seven-bit encodings whose bytes are valid UTF-8 as well; an escape sequence tells them."""

_MOST_BAD = 0.5
"""Invalid bytes for each valid sequence of several bytes, up to which a text counts as UTF-8."""
_MOST_CONTROL = 0.02
"""Share of control characters from which bytes are UTF-16 or no text."""
_WESTERN = "Windows-1252"
"""By far the most common: a text is in this unless another encoding is much more likely."""
_SURE, _TIMES = 0.08, 2.5
"""How likely another has to be, and how many times as likely as the Western one."""
_RARE, _SURE_OF_RARE = re.compile("mac|ibm|hp-|cp1006|cp720|cp[478]..$"), 0.25
"""Encodings of DOS and of old Macintoshes, which few signs of a Western text pass for."""
_FEWEST_LETTERS = 3
_NOT_PLAIN = frozenset({"Cc", "Cn", "Co", "Cs"})
_MARK = "\N{REPLACEMENT CHARACTER}"
_SAMPLE = 65_536
_BEFORE = 200  # of the sample, before the first letter that tells: much English would hide it

_HIGH = re.compile(rb"[\x80-\xff]")
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")

_log = logging.getLogger(__name__)


def decode(data: bytes, source: str) -> str:
    """Bytes -> text, with line ends ``\\n``.

    In this order: by the byte order mark; UTF-8; UTF-16 without a mark; UTF-8 with U+FFFD for
    single bad bytes where nearly all is valid; else Windows-1252, unless the library chardet finds
    another encoding much more likely. Replaced bytes and a guessed encoding are a warning of the
    logger ``metaembed_rag.pages.decoding`` that names the source, which Python prints to standard
    error unless logging was configured otherwise.

    Raises:
        UnreadableFileError: The bytes are not a text.
    """
    text = _by_mark(data, source)
    if text is None:
        text = _unmarked(data, source)
    if text.count(_MARK) > len(text) / 10:
        raise UnreadableFileError(
            source, "is not a text in its declared encoding; save it as UTF-8"
        )
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n\n")


def _by_mark(data: bytes, source: str) -> str | None:
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            text = data.decode(encoding, "replace")
            if _MARK in text:
                _log.warning("%s: what is not valid %s was replaced by U+FFFD", source, encoding)
            return text
    if b"\x1b$" in data:
        for encoding in _SHIFTED:
            with suppress(UnicodeDecodeError):
                return data.decode(encoding)
    return None


def _unmarked(data: bytes, source: str) -> str:
    zeros, sample = b"\0" in data, data[:_SAMPLE]
    strange = len(_CONTROL.findall(sample)) > _MOST_CONTROL * len(sample)
    column = strange and _has_control_column(sample)
    if not zeros and not column:
        with suppress(UnicodeDecodeError):
            return data.decode("utf-8")
    # Pairs of ASCII letters would pass for Chinese.
    text = _as_utf16(data) if column or (strange and not sample.isascii()) else None
    if text is not None:
        return text
    if zeros:
        raise UnreadableFileError(source, "is not a text (it has zero bytes); check its kind")
    text = _as_damaged_utf8(data, source)
    if text is None and strange:
        raise UnreadableFileError(source, "is not a text (control characters); check its kind")
    return _as_guessed(data, source) if text is None else text


def _has_control_column(sample: bytes) -> bool:
    """Whether most of the even or of the odd bytes are one control character.

    So Thai or Cyrillic is in UTF-16; a manual page with overstruck letters is not.
    """
    for column in (sample[::2], sample[1::2]):
        most = max(map(column.count, range(32)))
        if most > len(column) / 2:
            return True
    return False


def _as_utf16(data: bytes) -> str | None:
    """UTF-16 without a mark: every second byte is one of few, because a text has few scripts."""
    data = data[: len(data) // 2 * 2]
    scripts = {"utf-16-le": len(set(data[1:_SAMPLE:2])), "utf-16-be": len(set(data[0:_SAMPLE:2]))}
    for encoding in sorted(scripts, key=scripts.__getitem__):
        with suppress(UnicodeDecodeError):
            text = data.decode(encoding)
            if all(c.isspace() or unicodedata.category(c) not in _NOT_PLAIN for c in set(text)):
                return text
    return None


def _as_damaged_utf8(data: bytes, source: str) -> str | None:
    text = data.decode("utf-8", "replace")
    bad = text.count(_MARK) - data.count(_MARK.encode())
    valid = len(text) - len(text.encode("ascii", "ignore")) - bad
    if bad > _MOST_BAD * valid:
        return None
    if bad:
        what = "1 byte that is" if bad == 1 else f"{bad} bytes that are"
        replaced = "was" if bad == 1 else "were"
        _log.warning("%s: %s not valid UTF-8 %s replaced by U+FFFD", source, what, replaced)
    return text


def _as_guessed(data: bytes, source: str) -> str:
    encoding = _likely_encoding(data)
    _log.warning(
        "%s: is not UTF-8; it was read as %s; that is a guess; if it is wrong, save the file as "
        "UTF-8",
        source,
        encoding,
    )
    return data.decode(encoding, "replace")


def _likely_encoding(data: bytes) -> str:
    first = _HIGH.search(data)
    start = max(0, first.start() - _BEFORE) if first else 0
    sample = data[start : start + _SAMPLE]
    best = _most_likely(sample)
    try:
        if best != _WESTERN and not _has_letters(sample.decode(best, "replace")):
            best = _WESTERN
        data.decode(best)
    except UnicodeDecodeError:
        return "latin-1" if best == _WESTERN else best  # cp1252 leaves five bytes undefined
    except LookupError:
        return "latin-1"
    return best


def _most_likely(sample: bytes) -> str:
    era = chardet.EncodingEra.ALL & ~chardet.EncodingEra.MAINFRAME
    found = reversed(chardet.detect_all(sample, encoding_era=era))
    likely = {one["encoding"]: one["confidence"] for one in found if one["encoding"]}
    western = likely.get(_WESTERN, 0.0)
    likely = {
        name: share
        for name, share in likely.items()
        if share >= max(_SURE, _TIMES * western)
        and (share >= _SURE_OF_RARE or not _RARE.match(name.lower()))
    }
    return max(likely, key=likely.__getitem__, default=_WESTERN)


def _has_letters(text: str) -> bool:
    """Whether several letters beyond ASCII speak for an encoding, not two signs in a Western text.

    Letters of other scripts stand together, as words.
    """
    letters = [c for c in text if not c.isascii() and c.isalpha()]
    if all(unicodedata.name(c, "").startswith("LATIN") for c in letters):
        return len(letters) >= _FEWEST_LETTERS
    return re.search(rf"[^\x00-\x7f]{{{_FEWEST_LETTERS}}}", text) is not None
