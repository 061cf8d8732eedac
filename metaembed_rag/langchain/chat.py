"""Documents as content blocks for a chat model that reads pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from langchain_core.documents import Document

from metaembed_rag.adapters import said_confidence
from metaembed_rag.pages.sending import PictureLimits, pictures_to_send


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
    limits = PictureLimits(max_bytes, max_bytes_each, max_side)
    return blocks_within(given, limits, strict=True)


def blocks_within(
    documents: Sequence[Document], limits: PictureLimits, *, strict: bool
) -> list[dict[str, Any]]:
    """:func:`content_blocks`; of a picture that cannot be read the text says so, if not strict.

    Raises:
        UnreadableFileError: ``strict`` is true, and a picture is missing or damaged.
    """
    blocks: list[dict[str, Any]] = []
    paths = [document.metadata.get("image_path") for document in documents]
    pictures = pictures_to_send(paths, limits, strict=strict)
    for document, picture in zip(documents, pictures, strict=True):
        text = _text(document)
        if picture.left_out:
            text = f"{text}\n[{picture.left_out}]".lstrip("\n")
        if text:  # hosted models refuse empty text blocks
            blocks.append({"type": "text", "text": text})
        if picture.data:
            sent = {"base64": picture.base64, "mime_type": picture.mime_type}
            blocks.append({"type": "image", **sent})
    return blocks


def _text(document: Document) -> str:
    metadata = document.metadata
    name = Path(str(metadata["source"])).name if metadata.get("source") else document.id or ""
    if "page" in metadata:
        name = f"{name}, page {metadata['page']}"
    name += said_confidence(metadata)
    return "\n".join(part for part in (name, document.page_content) if part)


def message_content(question: str, documents: Sequence[Document], **limits: Any) -> list[Any]:
    """The content of a message: a question, then the pages that may answer it.

    Args:
        question: What the chat model is asked.
        documents: From a retriever.
        **limits: Of :func:`content_blocks`.
    """
    return [{"type": "text", "text": question}, *content_blocks(documents, **limits)]
