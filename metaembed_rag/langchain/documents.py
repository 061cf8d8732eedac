"""Pages as LangChain documents, and images as users give them."""

from __future__ import annotations

import hashlib
import io
import mimetypes
from pathlib import Path
from typing import Any

from langchain_core.documents import Document
from PIL import Image, ImageOps

from metaembed_rag.errors import UnreadableFileError
from metaembed_rag.pages import Page
from metaembed_rag.pages.pictures import DAMAGE, FORMATS, to_rgb


def page_to_document(page: Page, score: float | None = None) -> Document:
    """A page as a document: its text, and in the metadata everything else.

    A ``Document`` is text only by design, so the picture goes along as a path and never as data.
    The metadata are the page's own, then ``source``, ``page`` (counts from 1), ``content_hash``
    and, where known, ``page_count``, ``image_path``, ``mime_type`` of the picture,
    ``text_from_ocr`` and ``score``; of the page's own, one that has such a name is renamed to
    ``user_<name>``. The document's id is the page's id.

    Args:
        page: From an index.
        score: MaxSim / r_q, in [-1, 1].
    """
    return Document(id=page.id, page_content=page.text, metadata=_metadata(page, score))


def open_image(value: str | Path | bytes | io.BytesIO | Image.Image) -> Image.Image:
    """An image as users give it (a path, bytes, an open file or a PIL image) as RGB.

    Raises:
        UnreadableFileError: It is missing, damaged or of another format.
    """
    if isinstance(value, Image.Image):
        return to_rgb(value)
    try:
        file = io.BytesIO(value) if isinstance(value, bytes) else value
        with Image.open(file, formats=FORMATS) as image:
            return to_rgb(ImageOps.exif_transpose(image))
    except (*DAMAGE, Image.DecompressionBombError) as error:
        name = str(value) if isinstance(value, str | Path) else "an image given as bytes"
        raise UnreadableFileError(name, f"cannot be opened as a picture ({error})") from error


def _metadata(page: Page, score: float | None) -> dict[str, Any]:
    path = page.image_path
    ours: dict[str, Any] = {
        "source": page.source,
        "page": page.number,
        "page_count": page.page_count,
        "content_hash": _content_hash(page),
        "image_path": path,
        "mime_type": None if path is None else mimetypes.guess_type(path)[0],
        "text_from_ocr": page.text_from_ocr or None,
        "score": score,
    }
    theirs = {f"user_{key}" if key in ours else key: value for key, value in page.metadata.items()}
    return theirs | {key: value for key, value in ours.items() if value is not None}


def _content_hash(page: Page) -> str:
    """Hexadecimal digits that change when the page's text or picture does.

    A kept picture is not opened for it: the name of its file depends on the content.
    """
    if page.image_path is None:
        return page.content_hash()
    parts = f"{page.content_hash()}/{Path(page.image_path).name}"
    return hashlib.blake2b(parts.encode(), digest_size=16).hexdigest()
