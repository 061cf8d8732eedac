"""In which format the pictures of pages are kept: WebP, and JPEG from before.

A page of text takes half the bytes of a JPEG of the same fidelity; letters on white, as most pages
are, take even less without any loss. So each picture is kept in the smaller of both ways, and
nothing is lost where that costs nothing: ``results/pictures.json``.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

SUFFIX = ".webp"
"""Of the names of pictures that are written now."""
SUFFIXES = (SUFFIX, ".jpg")
"""Of those that may be there."""
MEDIA_TYPES = {".webp": "image/webp", ".jpg": "image/jpeg"}
FORMATS = ("WEBP", "JPEG")
"""As Pillow calls them."""

_QUALITY = 80
_EFFORT = 2
"""Of 0 to 6; 4 takes twice the time for 3 % of the bytes."""
_MOST_SIDE = 16_383
"""Pixels: WebP has no longer side, and JPEG has."""
_JPEG_QUALITY = 85
_RIFF, _WEBP = b"RIFF", b"WEBP"
_JPEG_BEGIN, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
HEAD, TAIL = 12, 2
"""Bytes at both ends of a file that :func:`is_whole` looks at."""


def encoded(image: Image.Image) -> bytes:
    """The bytes of the file that a picture is kept as."""
    image = image.convert("RGB")
    if max(image.size) > _MOST_SIDE:
        return _saved(image, "JPEG", quality=_JPEG_QUALITY)
    lossy = _saved(image, "WEBP", quality=_QUALITY, method=_EFFORT)
    exact = _saved(image, "WEBP", lossless=True, quality=50, method=_EFFORT)
    return min(exact, lossy, key=len)


def is_whole(head: bytes, tail: bytes, size: int) -> bool:
    """Whether a file is a picture from its beginning to its end, as far as both tell.

    Args:
        head: Its first :data:`HEAD` bytes.
        tail: Its last :data:`TAIL` bytes.
        size: Its bytes.
    """
    if head.startswith(_RIFF):
        said = int.from_bytes(head[4:8], "little") + 8
        return head[8:12] == _WEBP and said == size
    return head.startswith(_JPEG_BEGIN) and tail == _JPEG_END


def suffix_of(data: bytes) -> str:
    """The suffix of the name of a picture with these bytes."""
    return SUFFIX if data.startswith(_RIFF) else SUFFIXES[-1]


def _saved(image: Image.Image, format: str, **settings: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **settings)
    return file.getvalue()
