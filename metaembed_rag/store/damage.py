"""What is damaged of an index: every record, and what is derived from them, looked at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from metaembed_rag.store.chroma import ChromaStore
from metaembed_rag.store.collection import CollectionModel
from metaembed_rag.store.pictures import PictureFolder
from metaembed_rag.store.reading import checked_record
from metaembed_rag.store.records import Record
from metaembed_rag.store.requests import slices

_READ_AT_ONCE = 1000
_LENGTH_ERROR = 0.02
"""How far a vector's length may be from 1, the rounding of its format aside."""


class Damage(NamedTuple):
    """One thing that is wrong with one page.

    Attributes:
        id: The page's id.
        what: What is wrong, as the end of a sentence that begins with the page.
    """

    id: str
    what: str


def scan(
    store: ChromaStore,
    pictures: PictureFolder | None = None,
    progress: Callable[[int], None] | None = None,
) -> Iterator[Damage]:
    """Look at all records of an index, those of other programs too, and name what is wrong.

    A record is read whole: its keys, its checksum, the number, lengths and finiteness of its
    vectors. Nothing is changed, and no lock is needed; a page
    that is deleted meanwhile is passed over.

    Args:
        store: The records.
        pictures: Where the pages' pictures lie, to read these too, each whole; without it no
            picture is looked at.
        progress: Called with the number of records that were looked at since the last call.

    Raises:
        StoreError: The store cannot be read.
    """
    ids = store.ids()
    for part in slices(len(ids), _READ_AT_ONCE):
        found = store.stored(ids[part])
        for id in ids[part]:
            if id in found:
                yield from _problems(store.about, pictures, id, found[id])
        if progress is not None:
            progress(len(ids[part]))


def _problems(
    about: CollectionModel, pictures: PictureFolder | None, id: str, metadata: Mapping[str, Any]
) -> Iterator[Damage]:
    try:
        record = checked_record(id, metadata, about.unpack)
        _check_vectors(about, record)
    except ValueError as error:
        yield Damage(id, str(error))
        return
    name = record.page.image_path
    if pictures is not None and name is not None and (problem := pictures.problem(name)):
        yield Damage(id, problem)


def _check_vectors(about: CollectionModel, record: Record) -> None:
    """See that a page has just the vectors that it should have, each of length 1.

    Raises:
        ValueError: It has not.
    """
    size = 4 * -(-about.bytes_per_page // 3)
    if len(record.payload) != size:
        raise ValueError(f"its vectors take {len(record.payload)} characters, not {size}")
    vectors = about.unpack([record])
    lengths = np.linalg.norm(vectors.decode()[0], axis=-1)
    if not lengths.all():
        raise ValueError("its vectors hold one that is zero")
    steps = vectors.scales[0] if vectors.format.scaled else np.zeros(1)
    off = np.abs(lengths - 1) - steps * np.sqrt(about.dimension)  # a value is a scale off at most
    if off.max() > _LENGTH_ERROR:
        raise ValueError(f"its vectors are not of length 1 but of {lengths[off.argmax()]:.3f}")
