"""mteb's batches of columns as pages and queries."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from PIL import Image

from metaembed_rag.errors import ModalityError, ModelError, PageError
from metaembed_rag.model.inputs import Input, check_query, query_input
from metaembed_rag.model.protocol import Encoder
from metaembed_rag.pages import Page


class Row(NamedTuple):
    """One input: id and text (``""`` where there is none), picture (None where there is none)."""

    id: str
    text: str
    image: Image.Image | None


def rows_of(inputs: Iterable[Mapping[str, Sequence[Any]]], task: str) -> Iterator[Row]:
    """The inputs in mteb's batches of columns, one by one.

    Raises:
        ModalityError: They are neither texts nor pictures.
    """
    for batch in inputs:
        columns = [batch[name] for name in ("text", "image") if name in batch]
        if not columns:
            raise ModalityError(
                f"{task} holds neither text nor pictures but {', '.join(sorted(batch))}; "
                f"choose another task"
            )
        nothing = [None] * len(columns[0])
        ids, texts, images = (batch.get(name, nothing) for name in ("id", "text", "image"))
        for id, text, image in zip(ids, texts, images, strict=True):
            yield Row(id or "", text or "", image)


def pages_of(rows: Iterable[Row], task: str) -> Iterator[Page]:
    """The pages of a task's rows, numbered from 1. The task is their source."""
    for number, row in enumerate(rows, 1):
        yield Page(source=task, number=number, text=row.text, image=row.image, id=row.id)


def queries_of(rows: Iterable[Row], encoder: Encoder) -> Iterator[Input]:
    """What an encoder is given of queries.

    Raises:
        ModelError: One is empty.
        ModalityError: One is a picture, and the model reads none and OCR finds no text on it.
    """
    for _, text, image in rows:
        query = text if image is None else {"text": text, "image": image} if text.strip() else image
        check_query(query)
        yield query_input(query, encoder.modalities)


def encode_options(given: Mapping[str, Any]) -> tuple[int, bool]:
    """Batch size and whether to show progress, from mteb's ``encode_kwargs``.

    Raises:
        ModelError: A ``precision`` is asked for: mteb would record it, and it would not be true.
    """
    if given.get("precision") not in (None, "float32"):
        raise ModelError(
            f"encode_kwargs asks for precision={given['precision']!r}, which would not be applied; "
            f"leave it out (MTEBIndex stores int8 by itself)"
        )
    return int(given.get("batch_size", 32)), bool(given.get("show_progress_bar", True))


def warn_of_skipped(skipped: Sequence[PageError], task: str) -> None:
    """Say how many documents were left out, and why the first one was."""
    if skipped:
        warnings.warn(
            f"{task}: {len(skipped)} documents could not be read, so that no query finds them; "
            f"the first: {skipped[0]}",
            stacklevel=3,
        )
