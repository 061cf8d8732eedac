"""Vectors of pages; what the model makes none of, or has too little memory for, costs itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from metaembed_rag.errors import PageError, ResourceLimitError
from metaembed_rag.ingest.report import AddReport
from metaembed_rag.model.inputs import Input
from metaembed_rag.model.memory import is_out_of_memory
from metaembed_rag.model.protocol import Encoder, judged_vectors, unread_tokens
from metaembed_rag.pages import Page
from metaembed_rag.store.collection import CollectionModel


def encode_pages(
    encoder: Encoder,
    about: CollectionModel,
    pages: Sequence[Page],
    inputs: Sequence[Input],
    report: AddReport,
) -> tuple[list[Page], NDArray[np.float32]]:
    """Those pages of which the encoder makes vectors, and these; the rest is reported.

    Args:
        encoder: The model.
        about: How many vectors of how many values are kept.
        pages: Those that can be read.
        inputs: What is encoded of each.
        report: Told what is ``skipped`` and ``cut``.

    Returns:
        The pages; float32 of shape (pages, R, dimension), not yet rounded to a format.
    """
    try:
        made = encoder.encode_document(inputs)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        too_much = str(error) or "memory does not suffice for a single page"
    else:
        too_much = ""
    if too_much:
        return _encode_less(encoder, about, pages, inputs, report, too_much)
    found, unusable = judged_vectors(encoder, "document", made, len(inputs))
    for number, why in sorted(unusable.items()):
        help = "change the page, or take another model"
        report.skipped.append(PageError(pages[number].id, f"{why}; {help}"))
    kept = [number for number in range(len(pages)) if number not in unusable]
    unread = unread_tokens(encoder, inputs)
    report.cut |= {pages[number].id: unread[number] for number in kept if unread[number]}
    return [pages[number] for number in kept], about.cut(found[kept])


def _encode_less(
    encoder: Encoder,
    about: CollectionModel,
    pages: Sequence[Page],
    inputs: Sequence[Input],
    report: AddReport,
    why: str,
) -> tuple[list[Page], NDArray[np.float32]]:
    """As :func:`encode_pages`, half as many at a time; what is too much alone costs itself."""
    if len(pages) < 2:
        help = "divide the page, or take a smaller model"
        report.skipped.append(ResourceLimitError(pages[0].id, f"{why}; {help}"))
        return [], np.empty((0, about.vectors, about.dimension), np.float32)
    middle = len(pages) // 2
    first = encode_pages(encoder, about, pages[:middle], inputs[:middle], report)
    rest = encode_pages(encoder, about, pages[middle:], inputs[middle:], report)
    return first[0] + rest[0], np.concatenate([first[1], rest[1]])
