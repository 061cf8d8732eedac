"""Makes an index on disk as small as what it holds, and takes out what was deleted."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from metaembed_rag.errors import StoreError
from metaembed_rag.store import records
from metaembed_rag.store.chroma import ChromaStore
from metaembed_rag.store.disk import DiskBytes
from metaembed_rag.store.inspection import GraphWatch
from metaembed_rag.store.pictures import PictureFolder
from metaembed_rag.store.purge import blank_unused, purge
from metaembed_rag.store.readings import Readings
from metaembed_rag.store.requests import slices

_NAMES_AT_ONCE = 512


@dataclass(frozen=True)
class DiskUse:
    """Bytes of an index's files.

    Attributes:
        database: Chroma's database and nearest-neighbour graphs, of all collections in the folder.
        copies: What is derived for speed: mapped vectors, word indexes, and what OCR read.
        pictures: The pages' pictures; 0 where they are in an object store.
    """

    database: int
    copies: int
    pictures: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.database + self.copies + self.pictures


@dataclass(frozen=True)
class CompactReport:
    """What :meth:`metaembed_rag.PageIndex.compact` did.

    Attributes:
        before: Bytes on disk before.
        after: Bytes on disk afterwards.
        stray_pictures: Pictures that no page named any more, and that were deleted.
    """

    before: DiskUse
    after: DiskUse
    stray_pictures: int

    @property
    def freed(self) -> int:
        """Bytes that the disk has back; below 0 where a small index was tidy already."""
        return self.before.total - self.after.total


def compact(
    store: ChromaStore, pictures: PictureFolder, renew_vectors: Callable[[], object], timeout: float
) -> CompactReport:
    """See :meth:`metaembed_rag.PageIndex.compact`.

    Args:
        store: The records, in a folder.
        pictures: The pages' pictures.
        renew_vectors: Writes the mapped vectors without dead rows.
        timeout: Seconds to wait for another writer.

    Raises:
        StoreError: The index is on a server or in memory, it is damaged, or there is no room.
    """
    folder = store.places.folder
    if folder is None:
        raise StoreError(
            f"only an index in a folder can be compacted, not {store.where}: on a server, run "
            f"`chroma vacuum --path FOLDER` where its files are"
        )
    with store.writing(timeout):
        GraphWatch(folder, store.places.collection).check()
        before = _disk_use(store, pictures)
        store.tidy()
        with store.changing_files():
            purge(folder, store.places.collection, store.about.dimension)
        strays = _remove_strays(store, pictures)
        readings = Readings(store.places.readings)
        readings.refresh()
        readings.forget_texts()  # of a run that did not end
        if words := store.places.words:  # derived from texts, so it holds words of deleted pages
            shutil.rmtree(words, ignore_errors=True)
        renew_vectors()
        blank_unused(folder, store.places.collection)
        return CompactReport(before, _disk_use(store, pictures), strays)


def _disk_use(store: ChromaStore, pictures: PictureFolder) -> DiskUse:
    found = DiskBytes.of(store.places, pictures.folder)
    return DiskUse(found.database, found.copies, found.pictures if pictures.is_here else 0)


def _remove_strays(store: ChromaStore, pictures: PictureFolder) -> int:
    """Delete pictures that no record names, as a writer leaves them that is killed.

    Only where the folder belongs to this collection alone: in a folder that was given, another
    index may keep pictures, too.
    """
    if not pictures.is_alone(store.places):
        return 0
    names = pictures.names()
    strays = [
        stray
        for part in slices(len(names), _NAMES_AT_ONCE)
        for stray in _unnamed(store, names[part])
    ]
    pictures.remove(set(strays))
    return len(strays)


def _unnamed(store: ChromaStore, names: Sequence[str]) -> list[str]:
    """Those of the names that no record has; halves are asked for, because ids are the answer."""
    if len(store.ids({records.IMAGE: {"$in": list(names)}})) >= len(names):
        return []
    if len(names) == 1:
        return list(names)
    middle = len(names) // 2
    return _unnamed(store, names[:middle]) + _unnamed(store, names[middle:])
