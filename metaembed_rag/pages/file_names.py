"""Names of files and folders -> words; names that cameras and programs give say nothing."""

from __future__ import annotations

import re
import unicodedata
from datetime import date
from itertools import zip_longest
from pathlib import Path

from metaembed_rag.pages.parts import PicturePart

_LEVELS = 3
"""How many folders above a file count, the nearest."""
_CAMERA = re.compile(
    r"(?:_?mg|img|imgp|imag|cimg|dsc|dscn|dscf|dscp|dcp|dcim|hpim|pict|pxl|mvi|mov|vid|gopr|dji|sam"
    r"|sany|kdc|wa|burst|fullsizerender)\d*|p\d{5,}|\d{3}(?:_?[a-z]{5}|[a-z]{4}_)",
    re.IGNORECASE,
)
"""What cameras begin names with, and their folders (``100CANON``)."""
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_HASH = re.compile(r"(?=.*\d)(?=.*[a-f])[0-9a-f]{8,}", re.IGNORECASE)
_DATE = re.compile(
    r"(?<!\d)((?:19|20)\d\d)([-_.]?)(0[1-9]|1[0-2])\2(0[1-9]|[12]\d|3[01])(?!\d)"
    r"(?:[ _T-]+(?:at )?\d\d[.:-]?\d\d(?:[.:-]?\d\d)?(?:[.]?\d{3})?(?!\d))?"  # and the time
)
_BREAK = re.compile(
    r"(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])"  # letters and digits
    r"|(?<=[a-z\u00df-\u00f6\u00f8-\u00ff])(?=[A-Z\u00c0-\u00d6\u00d8-\u00de])|(?<=[A-Z])(?=[A-Z][a-z])"
)
_GENERIC = frozenset(
    (
        *("image", "images", "img", "dsc", "dscn", "dscf", "imgp", "pxl", "pict", "photo"),
        *("photos", "foto", "fotos", "bild", "bilder", "picture", "pictures", "pic"),
        *("pics", "untitled", "unnamed", "unbenannt", "unknown", "scan", "scans"),
        *("scanned", "screenshot", "screenshots", "screen", "shot", "capture"),
        *("bildschirmfoto", "whatsapp", "whats", "app", "mp", "signal", "telegram"),
        *("download", "downloads", "export", "exports", "copy", "copies", "kopie", "tmp"),
        *("temp", "new", "file", "files", "page", "pages", "seite", "frame", "data"),
        *("media", "assets", "static", "upload", "uploads", "camera", "dcim", "raw"),
        *("edited", "edit", "original", "final", "default", "misc", "other", "at", "of"),
        *("jpg", "jpeg", "png", "tif", "tiff", "webp", "am", "pm", "and", "und"),
    )
)
"""Words that name any picture: a name of them alone says nothing."""


def name_parts(source: str, folder: Path | None) -> list[PicturePart]:
    """What the name of a picture says, and those of its folders.

    Args:
        source: Its path, or what an upload is called.
        folder: The folder that was to be read; only folders below it count, at most three. None
            for no folder.

    Returns:
        Parts from ``"file name"`` and ``"folder"``; none of a name that says nothing.
    """
    path = Path(source)
    found = {"file name": words(path.stem), "folder": ""}
    if folder is not None and path.is_relative_to(folder):
        above = path.relative_to(folder).parts[:-1][-_LEVELS:]
        found["folder"] = ", ".join(filter(None, map(words, above)))
    return [PicturePart(origin, text) for origin, text in found.items() if text]


_LEFT_OUT = "\0"


def words(name: str) -> str:
    """A name as words: ``"RedKite_2021-07-12"`` -> ``"Red Kite 12 July 2021"``.

    ``""`` where it says nothing, as ``"IMG_2041"``, a hash or ``"untitled 3"``.
    """
    name = _UUID.sub(" ", unicodedata.normalize("NFC", name))
    dates = [written for found in _DATE.finditer(name) if (written := _written(found))]
    tokens = "".join(map(_or_space, _DATE.sub(" ", name))).split()
    kept: list[str] = []
    for token, after in zip_longest(tokens, tokens[1:], fillvalue=""):
        if _CAMERA.fullmatch(token) and (after.isdecimal() or not token.isalpha()):
            kept.append(_LEFT_OUT)
        elif not (token.isdecimal() and (_LEFT_OUT in kept[-1:] or len(token) > 8)):
            kept += _pieces(token)
    kept = [word for word in kept if word != _LEFT_OUT]
    return " ".join([*(kept if any(map(_says, kept)) else []), *dates])


def in_words(day: date) -> str:
    """A date as people write it: ``"12 July 2021"``, in English in every locale."""
    return f"{day.day} {_MONTHS[day.month - 1]} {day.year}"


_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July", "August"),
    *("September", "October", "November", "December"),
)


def _written(found: re.Match[str]) -> str:
    year, _, month, day = found.groups()
    try:
        return in_words(date(int(year), int(month), int(day)))
    except ValueError:
        return ""


def _or_space(character: str) -> str:
    """Letters, digits, what stands on letters, and apostrophes; a space for all else."""
    kept = unicodedata.category(character)[0] in "LNM" or character in "'’"
    return character if kept else " "


def _pieces(token: str) -> list[str]:
    """The words of one that is written together; none of a hash or a code."""
    pieces = _BREAK.sub(" ", token).split()
    is_code = len(token) >= 10 and len(token) < 2.5 * len(pieces)
    return [] if is_code or _HASH.fullmatch(token) else pieces


def _says(word: str) -> bool:
    if word.isdecimal() or word.lower() in _GENERIC:
        return False
    return len(word) > 1 or not word.isascii()
