"""A page: the unit that is encoded, stored, found and shown."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from metaembed_rag import html
from metaembed_rag.errors import PageError, kind_of_value
from metaembed_rag.metadata import values
from metaembed_rag.metadata.fields import path_below
from metaembed_rag.pages.figures import Figure
from metaembed_rag.pages.parts import PicturePart, origins
from metaembed_rag.pages.pictures import open_picture, to_rgb

DIGEST_BYTES = 16
"""Length of every hash here: 128 bits, so that two different pages never meet by chance."""

SCAN, UNDECODABLE, CIPHER = "scan", "undecodable", "cipher"
"""What `Page.unread` can be: pictures or outlines of letters cover the page and its text is short;
the text layer stands for no characters, and what could not be read was left out; the text layer may
be a cipher."""


_LARGEST = 2**63 - 1
"""A whole number beyond comes back from Chroma as a float."""

_TEXTS = (
    *("source", "id", "text", "settings", "source_digest", "image_hash", "text_layer", "unread"),
    "lines",
    "root",
    "figure_texts",
)
"""Fields of a page that are text, and are stored as it."""


def default_id(source: str, number: int) -> str:
    """The id of a page that was given none."""
    return f"{source}#{number}"


@dataclass(frozen=True)
class Page:
    """A page of a PDF, a picture, or a chunk of a text; with its text, its picture, or both.

    Args:
        source: Absolute POSIX path of the file, or any string that names where the page is from;
            a path is kept as text.
        number: Counts from 1: page of a PDF, frame of a TIFF, chunk of a text.
        text: Text layer, chunk, or text read by OCR; ``""`` when there is none.
        image: RGB picture, or None for text; a picture of another mode is converted, with
            transparent parts on white, or on black where white would hide what is there.
            `load_pages` bounds its size, a page made by hand keeps it.
        metadata: By name what is said of the page (title, author, label, section): text, numbers,
            true/false, lists of one of these, and what stands for one of them, such as a date.
        id: Unique in an index; ``"<source>#<number>"`` by default.
        page_count: Pages of the source, when it was loaded from a file.
        image_path: Where a kept picture is, on pages that come back from an index.
        settings: How the page was made (``"pdf:896"``); part of the content hash.
        text_from_ocr: The text, or all of it beyond `text_layer`, was read from the picture (by OCR
            or by what describes pictures), so it is no content of its own.
        source_digest: `file_digest` of the file that the page is from; ``""`` when there is none.
        image_hash: `picture_hash` of the picture, on pages that come back from an index without
            it, so that their content hash is that of the page as it was loaded.
        text_layer: The text that the page had before OCR or a description completed it; ``""`` when
            it had none, or when nothing was read.
        unread: Why the text is not all that the page shows: ``"scan"``, ``"undecodable"`` or
            ``"cipher"``; ``""`` when nothing is known to be missing, and once OCR has read it.
        doubtful: Characters at the start of the text that may be a cipher; 0 for all of them.
        described_by: Who has looked at the page to describe its picture (``Describer.way`` of
            :mod:`metaembed_rag.model.describing`); ``""`` for nobody.
        parts: What the text of a picture was made from, in its order, where that is more than one
            thing or not written on the picture; see :func:`metaembed_rag.pages.reading.with_part`.
        lines: Where the lines of the text stand on the picture, packed by
            :func:`metaembed_rag.pages.lines.packed`; ``""`` where that is not known. No part of the
            content hash.
        root: The folder that was named when the page was loaded from a file below it, as an
            absolute POSIX path or an address; ``""`` for none. No part of the content hash.
        figures: Pictures inside of a page that has a text, as they were found when it was loaded
            (:class:`metaembed_rag.pages.figures.Figure`); they are not stored.
        figure_texts: What OCR read of the figures, each by its hash, packed; ``""`` where nobody
            read them (:func:`metaembed_rag.pages.figure_texts.with_figure_texts`).
        turned: Degrees against the clock by which the picture was turned upright after it was
            loaded (90, 180 or 270), or 0; `image_hash` is then of the picture as it was.

    Raises:
        PageError: No source, a number below 1 or beyond 64 bits, text that is no Unicode, or a
            field of another type than is said here.
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
    text_layer: str = ""
    unread: str = ""
    doubtful: int = 0
    described_by: str = field(default="", repr=False)
    parts: tuple[PicturePart, ...] = field(default=(), repr=False)
    lines: str = field(default="", repr=False)
    root: str = field(default="", repr=False)
    figures: tuple[Figure, ...] = field(default=(), hash=False, repr=False, compare=False)
    figure_texts: str = field(default="", repr=False)
    turned: int = field(default=0, repr=False)

    def __post_init__(self) -> None:
        # Of a path, and of a number of numpy, what it means.
        for name in ("source", "number", "page_count"):
            with suppress(ValueError):
                object.__setattr__(self, name, values.plain(getattr(self, name)))
        if not isinstance(self.source, str) or not self.source:
            raise PageError("a page", "has no source: say where it is from, e.g. a file name")
        self._check_numbers()
        object.__setattr__(self, "id", self.id or default_id(self.source, self.number))
        for name in _TEXTS:
            _check_text(self.source, name, getattr(self, name))
        if not isinstance(self.metadata, Mapping):
            raise PageError(self.source, f"metadata are a dictionary, not {self.metadata!r:.80}")
        object.__setattr__(self, "metadata", dict(self.metadata))
        object.__setattr__(self, "parts", tuple(self.parts))
        object.__setattr__(self, "figures", tuple(self.figures))
        if not isinstance(self.image, Image.Image | None):
            kind = kind_of_value(self.image)
            raise PageError(self.source, f"its image is a PIL image or None, not {kind}")
        if self.image is not None and self.image.mode != "RGB":
            object.__setattr__(self, "image", to_rgb(self.image))

    def _check_numbers(self) -> None:
        """Refuse numbers that would not come back from an index as they are."""
        number, count = self.number, self.page_count
        if not _is_number(number) or number < 1:
            raise PageError(self.source, f"page numbers count from 1, not {number!r}")
        if count is not None and not (_is_number(count) and count >= 1):
            raise PageError(self.source, f"a source has 1 page or more, not {count!r}")
        for each in (number, count):
            if isinstance(each, int) and each > _LARGEST:
                raise PageError(self.source, f"{each} is beyond 64 bits; number its pages smaller")

    @property
    def is_picture_file(self) -> bool:
        """Whether it was loaded from a file of a picture."""
        return self.settings.startswith("image:")

    @property
    def file_path(self) -> str:
        """The path of the file below `root`; only its name where it was found in no folder."""
        return path_below(self.source, self.root)

    @property
    def text_from(self) -> str:
        """What the text was made from, such as ``"file name, exif, ocr"``.

        ``""`` where it is just the text that the source has.
        """
        if self.parts:
            return origins(self.parts)
        read = "text, ocr" if self.text_layer else "ocr"
        return read if self.text_from_ocr else ""

    def content_hash(self, picture: str | None = None) -> str:
        """Hash of what is encoded: text, pixels and settings, but not source, number or metadata.

        Text read from the picture does not count, because it follows from the pixels: a page has
        the same hash before and after OCR, and before and after it was stored.

        Args:
            picture: The `picture_hash`, where it is known already.

        Returns:
            32 hexadecimal digits (BLAKE2b).
        """
        text = self.text_layer if self.text_from_ocr else self.text
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
        if self.image is None or (self.turned and self.image_hash):
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


def _is_number(value: object) -> bool:
    """Whether it is a finite number, and not true or false."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _check_text(source: str, name: str, value: object) -> None:
    """Refuse what is no text, or text that cannot be stored.

    Raises:
        PageError: It says which field.
    """
    if isinstance(value, str) and (value.isascii() or values.is_unicode(value)):
        return
    shown = source.encode("utf-8", "backslashreplace").decode()
    if not isinstance(value, str):
        raise PageError(shown, f"its {name} is text, not {kind_of_value(value)}")
    raise PageError(
        shown, f"its {name} is not valid Unicode (a lone surrogate); check its encoding"
    )


def page_card(page: Page, *, score: str = "", snippet: str = "", max_side: int = 520) -> str:
    """Show a page as a card of HTML: its picture or text, the file, the number, the section.

    The whole path of the source is left out, so that a shared notebook says nothing of a disk.

    Args:
        page: The page; the text stands in for a kept picture that was deleted.
        score: What stands before the name of the file; ``""`` for nothing.
        snippet: What of the page matched; ``""`` for nothing.
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
        snippet=snippet,
        max_side=max_side,
    )
