"""How many records go into one request: under Chroma's limit of records, and under one of bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

MAX_BYTES = 16_000_000
"""Bytes of one request; servers refuse bodies of about 40 MB."""
_OTHER_BYTES = 4096
"""Of a record beside its vectors, where only their size is known."""


def slices(count: int, size: int) -> list[slice]:
    """Slices of ``count`` records, of this size but for the last one."""
    return [slice(at, min(at + size, count)) for at in range(0, count, size)]


def slices_to_read(count: int, most: int, vector_bytes: int) -> list[slice]:
    """Slices of ``count`` records to be read.

    Args:
        count: Of records.
        most: Records in one request.
        vector_bytes: Of a record's vectors as text.
    """
    return slices(count, max(1, min(most, MAX_BYTES // (vector_bytes + _OTHER_BYTES))))


def slices_to_write(
    metadatas: Sequence[Mapping[str, Any]], most: Callable[[], int], dimension: int
) -> Iterator[slice]:
    """Slices of records to be written, with their metadata.

    Args:
        metadatas: Of the records.
        most: Tells how many records one request takes, which refusals meanwhile may change.
        dimension: Values of the one vector that goes with each.
    """
    start, size = 0, 0
    for end, metadata in enumerate(metadatas):
        bytes_ = dimension * 8 + sum(
            len(v) if isinstance(v, str) else 16 for v in metadata.values()
        )
        if end > start and (size + bytes_ > MAX_BYTES or end - start >= most()):
            yield slice(start, end)
            start, size = end, 0
        size += bytes_
    if start < len(metadatas):
        yield slice(start, len(metadatas))
