"""Documents as content blocks for a chat model that reads pictures."""

from __future__ import annotations

import base64
import io
import mimetypes
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from langchain_core.documents import Document
from PIL import Image

from metaembed_rag.pages import bounded
from metaembed_rag.pages.pictures import picture_of

_SENT_AS_THEY_ARE = ("image/jpeg", "image/png", "image/webp")
"""What the models of all large providers read."""
_SMALLEST_SIDE = 64
"""Below that nothing can be recognised: the picture is left out instead."""
_QUALITY = 80


def content_blocks(
    documents: Iterable[Document],
    *,
    max_bytes: int = 10_000_000,
    max_bytes_each: int = 3_500_000,
    max_side: int | None = None,
) -> list[dict[str, Any]]:
    """Documents as the standard content blocks of LangChain's messages.

    Of each document a text block (its name, page number and text, which is never cut) and, where
    its metadata hold an ``image_path``, a picture block
    ``{"type": "image", "base64": …, "mime_type": …}``. A picture over a limit is shrunk until it
    fits; one that would be smaller than 64 pixels is left out, and the text block says so.

    Args:
        documents: From a retriever, best first.
        max_bytes: All pictures together, in characters of base64; what one does not need is left
            to those after it. 0 sends no pictures.
        max_bytes_each: One picture; hosted models refuse more than about 5 MB.
        max_side: Longest side of a picture in pixels; any by default.

    Raises:
        UnreadableFileError: A picture is missing or damaged.
    """
    given = list(documents)
    waiting = sum(bool(document.metadata.get("image_path")) for document in given)
    blocks: list[dict[str, Any]] = []
    for document in given:
        text, path = _text(document), document.metadata.get("image_path")
        picture = None
        if path:
            picture = _picture(Path(path), min(max_bytes_each, max_bytes // waiting), max_side)
            waiting -= 1
            if picture is None:
                text = f"{text}\n[its picture is left out: too large]".lstrip("\n")
        if text:  # hosted models refuse empty text blocks
            blocks.append({"type": "text", "text": text})
        if picture is not None:
            max_bytes -= len(picture["base64"])
            blocks.append(picture)
    return blocks


def _text(document: Document) -> str:
    metadata = document.metadata
    name = Path(str(metadata["source"])).name if metadata.get("source") else document.id or ""
    if "page" in metadata:
        name = f"{name}, page {metadata['page']}"
    return "\n".join(part for part in (name, document.page_content) if part)


def _picture(path: Path, limit: int, max_side: int | None) -> dict[str, Any] | None:
    image = picture_of(path)
    mime_type = mimetypes.guess_type(path)[0]
    data = path.read_bytes()
    fits = _base64_length(len(data)) <= limit and max(image.size) <= (max_side or max(image.size))
    if not fits or mime_type not in _SENT_AS_THEY_ARE:
        mime_type = "image/jpeg"
        smaller = next(_fitting(_shrinking(image, max_side), limit), None)
        if smaller is None:
            return None
        data = smaller
    return {"type": "image", "base64": base64.b64encode(data).decode(), "mime_type": mime_type}


def _shrinking(image: Image.Image, max_side: int | None) -> Iterator[Image.Image]:
    """The picture, smaller by a fifth each time."""
    side = min(max(image.size), max_side or max(image.size))
    while True:
        yield bounded(image, side)
        side = side * 4 // 5
        if side < _SMALLEST_SIDE:
            return


def _fitting(images: Iterable[Image.Image], limit: int) -> Iterator[bytes]:
    for image in images:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=_QUALITY)
        if _base64_length(buffer.tell()) <= limit:
            yield buffer.getvalue()


def _base64_length(size: int) -> int:
    return -(-size // 3) * 4


def message_content(question: str, documents: Sequence[Document], **limits: Any) -> list[Any]:
    """The content of a message: a question, then the pages that may answer it.

    Args:
        question: What the chat model is asked.
        documents: From a retriever.
        **limits: Of :func:`content_blocks`.
    """
    return [{"type": "text", "text": question}, *content_blocks(documents, **limits)]
