"""A page: the unit that is encoded, stored, found and shown."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from metaembed_rag import html
from metaembed_rag.errors import PageError
from metaembed_rag.pages.pictures import open_picture, to_rgb

DIGEST_BYTES = 16
"""Length of every hash here: 128 bits, so that two different pages never meet by chance."""


def default_id(source: str, number: int) -> str:
    """The id of a page that was given none."""
    return f"{source}#{number}"


@dataclass(frozen=True)
class Page:
    """A page of a PDF, a picture, or a chunk of a text; with its text, its picture, or both.

    Args:
        source: Absolute POSIX path of the file, or any string that names where the page is from.
        number: Counts from 1: page of a PDF, frame of a TIFF, chunk of a text.
        text: Text layer, chunk, or text read by OCR; ``""`` when there is none.
        image: RGB picture, or None for text; a picture of another mode is converted, with
            transparent parts on white, or on black where white would hide what is there.
            `load_pages` bounds its size, a page made by hand keeps it.
        metadata: str, int, float or bool by name, passed through (title, author, label, section).
        id: Unique in an index; ``"<source>#<number>"`` by default.
        page_count: Pages of the source, when it was loaded from a file.
        image_path: Where a kept picture is, on pages that come back from an index.
        settings: How the page was made (``"pdf:896"``); part of the content hash.
        text_from_ocr: The text was read from the picture, so it is no content of its own.
        source_digest: `file_digest` of the file that the page is from; ``""`` when there is none.
        image_hash: `picture_hash` of the picture, on pages that come back from an index without
            it, so that their content hash is that of the page as it was loaded.

    Raises:
        PageError: No source, or a number below 1.
    """

    source: str
    number: int = 1
    text: str = ""
    image: Image.Image | None = field(default=None, hash=False, repr=False)
    metadata: Mapping[str, Any] = field(default_factory=dict, hash=False)
    id: str = ""
    page_count: int | None = None
    image_path: str | None = None
    settings: str = ""
    text_from_ocr: bool = False
    source_digest: str = ""
    image_hash: str = ""

    def __post_init__(self) -> None:
        if not self.source:
            raise PageError("a page", "has no source: say where it is from, e.g. a file name")
        if self.number < 1:
            raise PageError(self.source, f"page numbers count from 1, not {self.number}")
        object.__setattr__(self, "metadata", dict(self.metadata))
        object.__setattr__(self, "id", self.id or default_id(self.source, self.number))
        if self.image is not None and self.image.mode != "RGB":
            object.__setattr__(self, "image", to_rgb(self.image))

    def content_hash(self, picture: str | None = None) -> str:
        """Hash of what is encoded: text, pixels and settings, but not source, number or metadata.

        Text read by OCR does not count, because it follows from the pixels: a page has the same
        hash before and after OCR, and before and after it was stored.

        Args:
            picture: The `picture_hash`, where it is known already.

        Returns:
            32 hexadecimal digits (BLAKE2b).
        """
        text = "" if self.text_from_ocr else self.text
        digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
        for part in (self.settings, text, self.picture_hash() if picture is None else picture):
            data = part.encode("utf-8", "surrogatepass")
            digest.update(len(data).to_bytes(8, "little") + data)
        return digest.hexdigest()

    def picture_hash(self) -> str:
        """Hash of the picture's mode, size and pixels; ``""`` where there is no picture.

        Returns:
            32 hexadecimal digits (BLAKE2b); about 2 ms for a picture of 634 x 896 pixels.
        """
        if self.image is None:
            return self.image_hash
        digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
        digest.update(f"{self.image.mode}:{self.image.size}".encode())
        digest.update(self.image.tobytes())
        return digest.hexdigest()

    def load_image(self) -> Image.Image | None:
        """The picture: `image`, or else what is at `image_path`, or else None.

        Raises:
            UnreadableFileError: The kept picture is missing or damaged.
        """
        if self.image is not None or self.image_path is None:
            return self.image
        return open_picture(Path(self.image_path))

    def _repr_html_(self) -> str:
        """Show the page's card in a notebook."""
        return html.fragment(html.row([page_card(self)]))


def page_card(page: Page, *, score: str = "", max_side: int = 520) -> str:
    """Show a page as a card of HTML: its picture or text, the file, the number, the section.

    The whole path of the source is left out, so that a shared notebook says nothing of a disk.

    Args:
        page: The page; the text stands in for a kept picture that was deleted.
        score: What stands before the name of the file; ``""`` for nothing.
        max_side: Longest side of the embedded picture in pixels.
    """
    section = page.metadata.get("section") or page.metadata.get("title") or ""
    try:
        image = page.load_image()
    except PageError:
        image = None
    return html.card(
        name=Path(page.source).name or page.source,
        number=page.number,
        section=str(section),
        score=score,
        image=image,
        text=page.text,
        max_side=max_side,
    )
