"""What the text of a page of a picture is made from: its parts, each with its origin."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from metaembed_rag.errors import PageError

ORIGINS = (
    "text",
    "file name",
    "folder",
    "iptc",
    "xmp",
    "exif",
    "comment",
    "description",
    "visual words",
    "ocr",
)
"""Where text can be from, in the order in which a page's text has it; others come last."""

VISUAL_WORDS = "visual words"
"""What a network sees on a picture; see :mod:`metaembed_rag.model.visual_words`."""

FROM_PIXELS = frozenset({"description", "visual words", "ocr"})
"""Origins of what was read from the picture itself: it follows from the pixels, so it is no content
of its own and the content hash leaves it out."""


@dataclass(frozen=True)
class PicturePart:
    """One part of the text of a page, and where it is from.

    Args:
        origin: One of `ORIGINS`, or another short name without a comma.
        text: As it stands in the page's text; may have several lines.

    Raises:
        PageError: There is no origin, or a comma in it, or no text.
    """

    origin: str
    text: str

    def __post_init__(self) -> None:
        if not self.origin.strip() or "," in self.origin:
            raise PageError("a part of a page", f"its origin is {self.origin!r}: give a short name")
        if not self.text.strip():
            raise PageError("a part of a page", f"there is no text in it (from {self.origin})")


def in_order(parts: Iterable[PicturePart]) -> tuple[PicturePart, ...]:
    """Parts as a page's text has them: by the place of their origin in `ORIGINS`."""
    return tuple(sorted(parts, key=lambda part: _place(part.origin)))


def joined(parts: Iterable[PicturePart]) -> str:
    """The text that parts make, one below the other."""
    return "\n".join(part.text for part in parts)


def origins(parts: Iterable[PicturePart]) -> str:
    """Where parts are from, such as ``"file name, exif, ocr"``."""
    return ", ".join(dict.fromkeys(part.origin for part in parts))


def _place(origin: str) -> int:
    return ORIGINS.index(origin) if origin in ORIGINS else len(ORIGINS)
