"""Pages as LangChain documents, and documents as pages, with nothing lost on the way."""

from __future__ import annotations

import hashlib
import json
import mimetypes
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from langchain_core.documents import Document

from metaembed_rag.adapters import (
    OF_ONE_SEARCH,
    PAGE_ID,
    SCORE,
    TEXT_FROM,
    is_page_number,
    page_fields,
    text_from_of,
)
from metaembed_rag.errors import MetadataError
from metaembed_rag.metadata import values
from metaembed_rag.pages import Page, bounded
from metaembed_rag.pages.pictures import picture_of
from metaembed_rag.pages.reading import as_unread
from metaembed_rag.store import records

MAX_SIDE = 896
"""Longest side of a picture that is encoded and kept, as for :func:`metaembed_rag.load_pages`."""

DOCUMENT = "langchain"
"""Begins the settings of a page that was made of a document."""
UNSOURCED = ":unsourced"
"""In such settings: the document named no source, so the page's is its id."""
UNPAGED = ":unpaged"
"""In such settings: the document's page is no whole number from 1, so the page's number is 1."""
OWN_PAGE = "langchain:page"
"""Metadata of a page: what an unpaged document calls its page (0, "iv")."""
_JSON: Mapping[str, Any] = {"sort_keys": True, "allow_nan": False}
_REST = "langchain:rest"
"""Metadata of a page: what Chroma cannot hold (None, dictionaries), as JSON."""


class PageMetadata(dict[str, Any]):
    """Metadata of a document, equal to others where they tell of the same page.

    LangChain drops doubles by the equality of whole documents, and would take a page that two
    queries found for two. So ``score``, the other scores and ``retrieval_plan`` do not count
    between two of this class. Beside a plain dictionary they and ``page_id`` count where it names
    them: the document of another retriever that has none of them is the same document.

    In everything else it is a dictionary: to JSON, to ``dumps`` and to a copy by ``dict()``.
    """

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, dict):
            return NotImplemented
        uncounted = (
            OF_ONE_SEARCH
            if isinstance(other, PageMetadata)
            else {*OF_ONE_SEARCH, PAGE_ID} - other.keys()
        )
        mine, theirs = (
            {key: value for key, value in one.items() if key not in uncounted}
            for one in (self, other)
        )
        return mine == theirs

    def __ne__(self, other: object) -> bool:
        return not self == other


def page_to_document(page: Page, score: float | None = None) -> Document:
    """A page as a document: its text, and in the metadata everything else.

    A ``Document`` is text only by design, so the picture goes along as a path and never as data.
    The id is the page's id, and so is ``page_id`` in the metadata. The metadata of a page that was
    loaded from a file are :func:`metaembed_rag.adapters.page_fields`; those of a page that
    :func:`document_to_page` made are the document's own, also a ``page_id`` that it brought along,
    and beside a picture its ``image_path``, ``mime_type`` and ``content_hash``. They are
    :class:`PageMetadata`.

    Args:
        page: From an index.
        score: As ``score`` in the metadata: MaxSim / r_q, in [-1, 1].
    """
    foreign = page.settings.startswith(DOCUMENT)
    metadata = _document_fields(page, score) if foreign else page_fields(page, score)
    document = Document(id=page.id, page_content=page.text)
    document.metadata = PageMetadata(metadata)  # the constructor would make a plain dictionary
    return document


def _document_fields(page: Page, score: float | None) -> dict[str, Any]:
    """The metadata of a page that was made of a document."""
    metadata = _own_metadata(page)
    metadata.setdefault(PAGE_ID, page.id)
    metadata.pop("image_path", None)  # a record does not say which of the user's files is its
    if page.image_path is not None:
        metadata["image_path"] = page.image_path
        metadata["mime_type"] = mimetypes.guess_type(page.image_path, strict=False)[0]
        metadata.setdefault("content_hash", page.content_hash())
    if page.text_from_ocr:
        metadata["text_from_ocr"] = True
    if text_from := text_from_of(page, metadata.get(TEXT_FROM)):
        metadata[TEXT_FROM] = text_from
    if page.unread:
        metadata["unread"] = page.unread
    if score is not None:
        if SCORE in metadata:
            metadata[f"user_{SCORE}"] = metadata[SCORE]
        metadata[SCORE] = score
    return metadata


def document_to_page(document: Document, id: str, *, max_side: int = MAX_SIDE) -> Page:
    """A document as a page that :func:`page_to_document` makes the same document of.

    ``image_path`` in the metadata is the page's picture; ``source`` and ``page`` are the page's,
    where they are a text and a whole number from 1. Metadata of other types are converted as those
    of every page (:mod:`metaembed_rag.metadata.values`); what Chroma cannot hold then is kept as
    JSON, and cannot be filtered on.

    Args:
        document: Any document.
        id: The page's id.
        max_side: Longest side of the picture in pixels; a larger one is scaled down.

    Raises:
        UnreadableFileError: The picture cannot be opened.
        MetadataError: The metadata have no form that can be stored.
    """
    metadata = _own_kinds(document.metadata)
    picture = metadata.get("image_path") and picture_of(metadata.pop("image_path"))
    if picture:
        metadata.pop("mime_type", None)  # of the file that it was, and no kept picture
    # A text that is also from elsewhere counts as content: all of it, as its parts are not known.
    all_read = bool(picture) and metadata.get(TEXT_FROM) in (None, "ocr")
    from_ocr = all_read and metadata.pop("text_from_ocr", False) is True
    unread = as_unread(metadata.get("unread")) if picture else ""
    if unread:
        del metadata["unread"]
    settings, source, number = DOCUMENT, id, 1
    if isinstance(metadata.get("source"), str) and metadata["source"]:
        source = metadata.pop("source")
    else:
        settings += UNSOURCED
    if is_page_number(metadata.get("page")):
        number = metadata.pop("page")
    else:
        settings += UNPAGED
    return Page(
        source=source,
        number=number,
        text=document.page_content,
        image=bounded(picture, max_side) if picture else None,
        metadata=_storable(metadata, id),
        id=id,
        settings=settings,
        text_from_ocr=from_ocr,
        unread=unread,
    )


def check_metadata(document: Document, id: str) -> None:
    """Refuse metadata that :func:`document_to_page` would refuse, without opening a picture.

    Raises:
        MetadataError: It names the document and the key.
    """
    metadata = _own_kinds(document.metadata)
    if metadata.get("image_path"):
        del metadata["image_path"]
    _storable(metadata, id)


def content_key(document: Document) -> str:
    """A key of a document's text, metadata and picture, for LangChain's indexing API.

    ``index(…, key_encoder=content_key)`` sees a changed picture also in documents whose metadata
    hold nothing but its path; the API's own keys are of text and metadata alone.

    Raises:
        MetadataError: The metadata are not JSON.
        OSError: The file at ``image_path`` cannot be read.
    """
    metadata = dict(document.metadata)
    path = metadata.get("image_path")
    if path:
        metadata["image_path"] = hashlib.blake2b(Path(path).read_bytes()).hexdigest()
    text = json.dumps(document.page_content) + _json(metadata, document.id or "")
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _own_metadata(page: Page) -> dict[str, Any]:
    """The metadata of the document that the page was made of."""
    metadata = dict(page.metadata)
    metadata |= json.loads(metadata.pop(_REST, "{}"))
    if UNSOURCED not in page.settings:
        metadata["source"] = page.source
    if UNPAGED not in page.settings:
        metadata["page"] = page.number
    elif OWN_PAGE in metadata:
        metadata["page"] = metadata.pop(OWN_PAGE)
    return metadata


def _own_kinds(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata with the fields of a page, source and number, as what they mean.

    A loader may give a path as the source and a number of numpy as the page.
    """
    found = dict(metadata)
    for key in ("source", "page"):
        with suppress(ValueError):  # told of below, with all other metadata
            if key in found:
                found[key] = values.plain(found[key])
    return found


def _storable(metadata: dict[str, Any], id: str) -> dict[str, Any]:
    """What Chroma can hold as it is, and the rest as JSON."""
    stored: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    for key, value in metadata.items():
        name = OWN_PAGE if key == "page" else key
        try:
            found = records.stored_metadata({name: value}, id)
        except MetadataError:
            found = {}
        if found:
            stored |= found
        else:  # None too, which is left out there
            rest[key] = value
    return stored | {_REST: _json(rest, id)} if rest else stored


def _json(metadata: dict[str, Any], id: str) -> str:
    return json.dumps({key: _as_json(key, value, id) for key, value in metadata.items()}, **_JSON)


def _as_json(key: Any, value: Any, id: str) -> Any:
    """A value of types that JSON knows."""
    if not isinstance(key, str):
        raise MetadataError(f"document {id!r}: a metadata key is not a text; rename it")
    problem = f"document {id!r}: its metadata cannot be stored: key {key!r}"
    try:
        found = values.plain(value)
    except ValueError as error:
        raise MetadataError(f"{problem} {error}") from error
    try:
        json.dumps(found, **_JSON)
    except (TypeError, ValueError) as error:
        raise MetadataError(f"{problem} holds what JSON does not know ({error})") from error
    return found
