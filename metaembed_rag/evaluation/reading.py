"""Pages -> what an encoder is given, with OCR texts that can be kept between runs."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import KW_ONLY, dataclass, field
from itertools import islice
from os import PathLike
from typing import TypedDict, TypeVar

import numpy as np
from numpy.typing import NDArray

from metaembed_rag.errors import PageError
from metaembed_rag.model.inputs import Input, Mode, check_mode, page_input
from metaembed_rag.model.protocol import Encoder
from metaembed_rag.pages import Page
from metaembed_rag.pages.reading import Ocr, ocr_policy
from metaembed_rag.store.ocr_texts import ocr_text

_T = TypeVar("_T")

BATCHES_READ = 4
"""Batches of inputs in memory at one time: enough to sort by length, few enough for pictures."""


def chunks(items: Iterable[_T], batch_size: int, batches: int = BATCHES_READ) -> Iterator[list[_T]]:
    """Lists of a few batches: no more pictures than these are open at a time."""
    iterator = iter(items)
    while chunk := list(islice(iterator, batches * batch_size)):
        yield chunk


def encode_queries(
    encoder: Encoder, queries: Iterable[Input], batch_size: int, r_q: int | None = None
) -> NDArray[np.float32]:
    """The first ``r_q`` vectors of each query (all by default): float32 (queries, r_q, D)."""
    parts = [
        encoder.encode_query(some, batch_size=batch_size)[:, :r_q]
        for some in chunks(queries, batch_size)
    ]
    return np.concatenate(parts)


class ReadingOptions(TypedDict, total=False):
    """How pages are read for an encoder.

    Attributes:
        mode: What of a page is encoded, as in an index: ``fused`` (default), ``image``, ``text``.
        ocr: When pictures are read by OCR, 1 to 3 seconds each, as in an index: ``auto`` (True, the
            default) where the model reads none, ``always``, or ``never`` (False).
        cache_dir: Keep OCR texts in this folder, so that a second run does not read again.
    """

    mode: Mode
    ocr: bool | Ocr
    cache_dir: str | PathLike[str] | None


@dataclass
class PageReader:
    """Reads pages as an index would, and keeps account of those that cannot be read.

    Args:
        encoder: Whose modalities decide what a page becomes; see :func:`page_input`.
        mode: :class:`ReadingOptions` explains it, and ``ocr`` and ``cache_dir``.

    Raises:
        ModelError: There is no such mode.
    """

    encoder: Encoder
    _: KW_ONLY
    mode: Mode = "fused"
    ocr: bool | Ocr = True
    cache_dir: str | PathLike[str] | None = None
    read_ids: list[str] = field(default_factory=list, init=False)
    """Ids of the pages that were yielded, in their order."""
    read_texts: list[str] = field(default_factory=list, init=False)
    """Their texts, as an index would store them."""
    skipped: list[PageError] = field(default_factory=list, init=False)
    """Why each of the other pages was not."""

    def __post_init__(self) -> None:
        check_mode(self.mode)
        self.ocr = ocr_policy(self.ocr)

    def read(self, pages: Iterable[Page]) -> Iterator[Input]:
        """Yield the encoder's input of each page that can be read, lazily."""
        modalities = self.encoder.modalities
        reader = functools.partial(ocr_text, cache_dir=self.cache_dir)
        for page in pages:
            try:
                page, value = page_input(page, self.mode, modalities, ocr=self.ocr, reader=reader)
            except PageError as error:
                self.skipped.append(error)
                continue
            self.read_ids.append(page.id)
            self.read_texts.append(page.text)
            yield value
