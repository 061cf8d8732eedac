"""Pictures inside of a page that has a text of its own: figures, bitmap charts, screenshots.

A reader of PDFs finds where they are and draws each alone, larger than on the page's picture, so
that small letters can be read.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass
from functools import cached_property

from PIL import Image

from metaembed_rag.pages.lines import Box

MOST = 6
"""Figures of a page that are read: the largest ones."""
MAX_SIDE = 1_100
"""Pixels of the longer side of a figure's picture; OCR looks for lines on at most 736."""
MOST_PIXELS = 3_000_000
"""Of all figures of a page."""
_BYTES = 16  # of the hash


@dataclass(frozen=True)
class Figure:
    """A picture inside of a page.

    Args:
        box: Where it stands on the page's picture.
        size: Width and height of its own picture in pixels; (0, 0) where nobody drew it.
        data: Its pixels, RGB, packed by zlib: nothing else of a hostile file is decoded here.
    """

    box: Box
    size: tuple[int, int] = (0, 0)
    data: bytes = b""

    @classmethod
    def of(cls, box: Box, image: Image.Image) -> Figure:
        """A figure that was drawn.

        Args:
            box: Where it stands on the page's picture.
            image: Its own picture, RGB.
        """
        return cls(box, image.size, zlib.compress(image.tobytes(), level=1))

    @cached_property
    def hash(self) -> str:
        """Of the picture; ``""`` where there is none."""
        if not self.data:
            return ""
        digest = hashlib.blake2b(f"RGB:{self.size}".encode(), digest_size=_BYTES)
        digest.update(self._pixels)
        return digest.hexdigest()

    def check(self) -> None:
        """Refuse what a reader of hostile files may say in place of a figure.

        Raises:
            ValueError: Its sides are too long, or its pixels not as many as they say.
        """
        width, height = self.size
        if not self.data:
            return
        if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
            raise ValueError(f"a figure of {width} x {height} pixels")
        if len(self._pixels) != 3 * width * height:
            raise ValueError(f"a figure of {width} x {height} pixels has other pixels")

    @property
    def image(self) -> Image.Image:
        """The picture, RGB.

        Raises:
            ValueError: Its pixels are not as many as its size says.
        """
        return Image.frombytes("RGB", self.size, self._pixels)

    @property
    def _pixels(self) -> bytes:
        try:
            return zlib.decompressobj().decompress(self.data, 3 * self.size[0] * self.size[1])
        except zlib.error as error:
            raise ValueError(f"the pixels of a figure are damaged ({error})") from error
