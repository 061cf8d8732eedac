"""What an encoder is, and what it is given of a page or a query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from metaembed_rag.errors import MissingExtraError, ModalityError, ModelError, NothingToReadError
from metaembed_rag.pages import Page

if TYPE_CHECKING:
    from PIL import Image

Mode = Literal["fused", "image", "text"]
"""What of a page is encoded: picture and text in one input, the picture, or the text."""
Input = Any
"""What an encoder takes: text, a PIL image, or a dictionary of ``"text"`` and ``"image"``."""


class Encoder(Protocol):
    """What the index needs of a model; :class:`metaembed_rag.MetaEmbedEncoder` is one."""

    @property
    def name(self) -> str:
        """What loads it again: a shipped name, a folder or a hub id."""

    @property
    def fingerprint(self) -> str:
        """Changes when the vectors would."""

    @property
    def dimension(self) -> int:
        """D."""

    @property
    def query_vectors(self) -> int:
        """R_q."""

    @property
    def document_vectors(self) -> int:
        """R_c."""

    @property
    def modalities(self) -> frozenset[str]:
        """Of ``"text"``, ``"image"`` and ``"fused"`` (both in one input), what it reads."""

    def encode_query(
        self, queries: Sequence[Input], *, batch_size: int = 32, show_progress: bool = False
    ) -> NDArray[np.float32]:
        """Float32 unit vectors, shape (queries, R_q, D)."""

    def encode_document(
        self, documents: Sequence[Input], *, batch_size: int = 32, show_progress: bool = False
    ) -> NDArray[np.float32]:
        """Float32 unit vectors, shape (documents, R_c, D)."""


def dimensions(encoder: Encoder) -> tuple[int, ...]:
    """The numbers of leading values with which an encoder's vectors work, the last one D.

    An encoder that was trained so (Kusupati et al., Matryoshka Representation Learning, NeurIPS
    2022) says it by an attribute ``dimensions``; one without it has D only.
    """
    return tuple(getattr(encoder, "dimensions", ())) or (encoder.dimension,)


def page_input(
    page: Page, mode: Mode, modalities: frozenset[str], *, ocr: bool = True
) -> tuple[Page, Input]:
    """What an encoder of these modalities is given of a page.

    ``fused`` gives picture and text together, ``image`` the picture, ``text`` the text. What is
    missing is made up for: a page without a picture is encoded by its text, a page without text
    by its picture, and so is every page with one in ``fused`` mode where the model reads pictures
    but not both together (ColPali); and where the model cannot read pictures, or ``text`` was
    asked of a page that has none, the picture is read by OCR. In ``image`` mode the text layer is
    never encoded while there is a picture.

    Returns:
        The page, with the OCR text where it had none, and the encoder's input.

    Raises:
        NothingToReadError: There is nothing to encode; the reason says what would help.
    """
    text = page.text.strip()
    image = page.load_image() if mode != "text" or not text else None
    if image is None:
        if not text:
            raise NothingToReadError(page.id, "the page has neither text nor a picture")
        return page, page.text
    if mode == "fused" and text and "fused" in modalities:
        return page, {"text": page.text, "image": image}
    if mode == "fused" and text and "image" not in modalities:
        return page, page.text
    if mode != "text" and "image" in modalities:
        return page, image
    read = _read_by_ocr(page, image, ocr)
    return (page, read) if text else (replace(page, text=read, text_from_ocr=True), read)


def _read_by_ocr(page: Page, image: Image.Image, ocr: bool) -> str:
    if not ocr:
        raise NothingToReadError(page.id, "the page is a picture without text, and OCR is off")
    from metaembed_rag.pages.ocr import read_text

    try:
        text = read_text(image)
    except MissingExtraError as error:
        raise NothingToReadError(
            page.id, f"the model reads text only and the page is a picture; {error}"
        ) from error
    if not text.strip():
        raise NothingToReadError(page.id, "no text was found on the picture (blank page?)")
    return text


def query_input(query: Input, modalities: frozenset[str]) -> Input:
    """What an encoder of these modalities is given of a query.

    A picture is read by OCR where the model reads text only, as pages are.

    Raises:
        ModalityError: There is no text on the picture, or OCR is not installed.
    """
    image = query.get("image") if isinstance(query, Mapping) else query
    if image is None or isinstance(image, str) or "image" in modalities:
        return query
    text = query.get("text") or "" if isinstance(query, Mapping) else ""
    try:
        read = _read_by_ocr(Page(source="the query's picture"), image, ocr=True)
    except NothingToReadError as error:
        if text.strip():
            return text
        raise ModalityError(f"the model reads text only: {error}") from error
    return f"{text}\n{read}".strip()


def query_text(query: Input) -> str:
    """The words of a query; none where it is a picture."""
    text = query.get("text") if isinstance(query, Mapping) else query
    return text if isinstance(text, str) else ""


def check_query(query: Input) -> None:
    """Refuse a query that is empty or of an unknown form.

    Raises:
        ModelError: It says what a query is.
    """
    parts = [query.get("text"), query.get("image")] if isinstance(query, Mapping) else [query]
    for part in parts:
        if isinstance(part, str):
            _check_unicode(part)
        elif part is not None and not hasattr(part, "convert"):
            raise ModelError(
                f'a query is text, a PIL image, or {{"text": …, "image": …}}, not a '
                f"{type(part).__name__}"
            )
    empty = (isinstance(query, str) and not query.strip()) or query is None
    if isinstance(query, Mapping):
        unknown = set(query) - {"text", "image"}
        if unknown:
            raise ModelError(f'a query has the keys "text" and "image", not {sorted(unknown)}')
        empty = not (query.get("text") or "").strip() and query.get("image") is None
    if empty:
        raise ModelError("the query is empty; give some text or an image")


def _check_unicode(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ModelError("the query is not valid Unicode text; check its encoding") from None
