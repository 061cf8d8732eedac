"""Pages as an exported file holds them: a line of JSON, and rows of two arrays."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pybase64
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from metaembed_rag.errors import MetadataError, PageError
from metaembed_rag.store import records
from metaembed_rag.store.collection import CollectionModel
from metaembed_rag.store.pictures import own_picture
from metaembed_rag.store.reading import checked_record

_OF_A_WRITING = frozenset({records.STAMP, records.WRITTEN, records.SUM})
"""What a record has from the request that wrote it; another writing gives others."""
_FIRST, _PACKED = "first", "packed"


@dataclass(frozen=True)
class Row:
    """A page on its way from one index to another.

    Attributes:
        id: Of the page.
        metadata: Of its record, without what it has from the request that wrote it; its packed
            vectors are among them.
        first: The vector that Chroma searches, float32 of shape (D,).
    """

    id: str
    metadata: Mapping[str, Any]
    first: NDArray[np.float32]

    @property
    def picture(self) -> str | None:
        """The name of its picture."""
        return records.picture_name(self.metadata)

    @property
    def bytes(self) -> int:
        """About how many it takes in a file."""
        values = self.metadata.values()
        return self.first.nbytes + sum(len(v) if isinstance(v, str) else 32 for v in values)


def without_writing(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata of a record without what it has from the request that wrote it."""
    return {key: value for key, value in metadata.items() if key not in _OF_A_WRITING}


def is_same(row: Row, metadata: Mapping[str, Any]) -> bool:
    """Whether a record holds this very page; floats up to the last digit, as Chroma keeps them."""
    return records.same_metadata(without_writing(metadata), row.metadata)


def pack_rows(rows: Sequence[Row]) -> tuple[bytes, bytes]:
    """The two members of some pages: lines, and arrays in safetensors."""
    lines = []
    for row in rows:
        metadata = {key: value for key, value in row.metadata.items() if key != records.VECTORS}
        said = {"id": row.id, "metadata": metadata}
        lines.append(json.dumps(said, ensure_ascii=False, sort_keys=True))
    payloads = [pybase64.b64decode(row.metadata[records.VECTORS]) for row in rows]
    packed = np.frombuffer(b"".join(payloads), dtype=np.uint8).reshape(len(rows), -1)
    first = np.stack([row.first for row in rows])
    return "".join(f"{line}\n" for line in lines).encode(), save({_FIRST: first, _PACKED: packed})


def unpack_rows(lines: bytes, arrays: bytes, about: CollectionModel) -> list[Row]:
    """The pages of two members, each seen to be one that can be stored.

    Raises:
        ValueError: One is none; the message says why.
    """
    said = [_line(line) for line in lines.decode("utf-8").split("\n")[:-1]]
    first, packed = _arrays(arrays, about, len(said))
    payloads = [pybase64.b64encode_as_string(row.tobytes()) for row in packed]
    rows = []
    for (id, metadata), vector, payload in zip(said, first, payloads, strict=True):
        row = Row(id, {**metadata, records.VECTORS: payload}, vector)
        _check(row, about)
        rows.append(row)
    return rows


def _line(line: str) -> tuple[str, dict[str, Any]]:
    try:
        said = json.loads(line)
        id, metadata = said["id"], said["metadata"]
    except (LookupError, TypeError, RecursionError) as error:
        raise ValueError("a line is no page") from error
    if not isinstance(id, str) or not id or not isinstance(metadata, dict):
        raise ValueError("a line is no page")
    return id, metadata


def _arrays(
    data: bytes, about: CollectionModel, pages: int
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    try:
        found = load(data)
    except SafetensorError as error:
        raise ValueError(f"its vectors cannot be read ({error})") from error
    first, packed = found.get(_FIRST), found.get(_PACKED)
    wanted = [
        (first, np.dtype(np.float32), (pages, about.dimension)),
        (packed, np.dtype(np.uint8), (pages, about.bytes_per_page)),
    ]
    for array, dtype, shape in wanted:
        if array is None or array.dtype != dtype or array.shape != shape:
            raise ValueError("its vectors are of another number, dimension or format")
    assert first is not None
    assert packed is not None
    if not np.isfinite(first).all():
        raise ValueError("its vectors hold numbers that are not finite")
    return first, packed


def _check(row: Row, about: CollectionModel) -> None:
    """See that a page can be stored, and names no picture but its own.

    Raises:
        ValueError: It cannot.
    """
    if row.metadata.keys() & _OF_A_WRITING:
        raise ValueError(f"page {row.id!r} has what only a writing gives")
    try:
        record = checked_record(row.id, row.metadata, about.unpack)
        records.check_metadata(record.page.metadata, row.id)
    except (PageError, MetadataError, ValueError) as error:
        raise ValueError(f"page {row.id!r}: {error}") from error
    name = row.picture
    if name is not None and own_picture(name, row.id, record.content_hash) is None:
        raise ValueError(f"page {row.id!r} names a picture that is not its own")


def in_parts(rows: Iterable[Row], most_rows: int, most_bytes: int) -> Iterable[list[Row]]:
    """Rows in parts that are not too large; a single one may be."""
    part: list[Row] = []
    size = 0
    for row in rows:
        if part and (len(part) >= most_rows or size + row.bytes > most_bytes):
            yield part
            part, size = [], 0
        part.append(row)
        size += row.bytes
    if part:
        yield part
