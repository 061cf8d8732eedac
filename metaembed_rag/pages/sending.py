"""Pictures of pages as a model is sent them: as bytes, within limits of size."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from metaembed_rag.errors import PageError
from metaembed_rag.pages.pictures import FORMATS, bounded, picture_of

_JPEG = "image/jpeg"
_SENT_AS_THEY_ARE = (_JPEG, "image/png", "image/webp")
"""What the models of all large providers read."""
_SMALLEST_SIDE = 64
"""Below that nothing can be recognised: the picture is left out instead."""
_QUALITY = 80
_TOO_LARGE = "its picture is left out: too large"


@dataclass(frozen=True)
class PictureLimits:
    """How large pictures may be that are sent together.

    Args:
        max_bytes: All of them, in characters of base64; what one does not need is left to those
            after it. 0 sends none.
        max_bytes_each: One picture; hosted models refuse more than about 5 MB.
        max_side: Longest side of a picture in pixels; any by default.

    Raises:
        ValueError: A limit is below 0, or the side below 1.
    """

    max_bytes: int = 10_000_000
    max_bytes_each: int = 3_500_000
    max_side: int | None = None

    def __post_init__(self) -> None:
        if min(self.max_bytes, self.max_bytes_each) < 0:
            raise ValueError("a limit of bytes is at least 0")
        if self.max_side is not None and self.max_side < 1:
            raise ValueError("the longest side of a picture has at least 1 pixel")


@dataclass(frozen=True)
class SentPicture:
    """A picture that is sent, or why it is not.

    Attributes:
        data: The bytes of a picture file; empty where nothing is sent.
        mime_type: Of these bytes, such as ``"image/jpeg"``.
        left_out: What the model is told in place of the picture; ``""`` where it is sent, and of a
            page that has none.
    """

    data: bytes = b""
    mime_type: str = ""
    left_out: str = ""

    @property
    def base64(self) -> str:
        """The bytes in characters that JSON can carry."""
        return base64.b64encode(self.data).decode("ascii")


def pictures_to_send(
    files: Sequence[str | Path | bytes | None], limits: PictureLimits, *, strict: bool = False
) -> Iterator[SentPicture]:
    """The picture of each file as bytes, in order; nothing where there is None.

    A picture over a limit is shrunk until it fits; one that would be smaller than 64 pixels is left
    out, and so is one that is missing or damaged.

    Args:
        files: Picture files, by path or as bytes.
        limits: How large they may be.
        strict: Raise where a picture is missing or damaged.

    Raises:
        UnreadableFileError: ``strict`` is true, and a picture is missing or damaged.
    """
    left = limits.max_bytes
    waiting = sum(bool(file) for file in files)
    for file in files:
        if not file:
            yield SentPicture()
            continue
        one = _picture(file, min(limits.max_bytes_each, left // waiting), limits, strict)
        waiting -= 1
        left -= _base64_length(len(one.data))
        yield one


def _picture(
    file: str | Path | bytes, most: int, limits: PictureLimits, strict: bool
) -> SentPicture:
    try:
        image = picture_of(file)
        data = file if isinstance(file, bytes) else Path(file).read_bytes()
    except (PageError, OSError):
        if strict:
            raise
        return SentPicture(left_out="its picture is gone or damaged")
    mime_type = _mime_type(data)
    longest = max(image.size)
    fits = _base64_length(len(data)) <= most and longest <= (limits.max_side or longest)
    if fits and mime_type in _SENT_AS_THEY_ARE:
        return SentPicture(data, mime_type)
    smaller = next(_fitting(_shrinking(image, limits.max_side), most), None)
    return SentPicture(left_out=_TOO_LARGE) if smaller is None else SentPicture(smaller, _JPEG)


def _mime_type(data: bytes) -> str:
    """Of a picture that can be opened, by what it is and not by its name."""
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        return Image.MIME.get(image.format or "", "")


def _shrinking(image: Image.Image, max_side: int | None) -> Iterator[Image.Image]:
    """The picture, smaller by a fifth each time."""
    side = min(max(image.size), max_side or max(image.size))
    while True:
        yield bounded(image, side)
        side = side * 4 // 5
        if side < _SMALLEST_SIDE:
            return


def _fitting(images: Iterable[Image.Image], most: int) -> Iterator[bytes]:
    for image in images:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=_QUALITY)
        if _base64_length(buffer.tell()) <= most:
            yield buffer.getvalue()


def _base64_length(size: int) -> int:
    return -(-size // 3) * 4
