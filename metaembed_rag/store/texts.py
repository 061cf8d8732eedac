"""The texts of pages in memory, to look for words in them.

Chroma holds a page's text beside its vectors and looks into neither. So the texts that a filter
asks for are read once (as long as reading the pages takes) and kept: 2 KB a page of prose, until
the process ends. They are not written anywhere.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Protocol

from metaembed_rag.metadata.filters import text_test
from metaembed_rag.store import records
from metaembed_rag.store.records import Record
from metaembed_rag.store.requests import slices

_READ_AT_ONCE = 1000


class RecordStore(Protocol):
    """What the texts come from."""

    def ids(self) -> list[str]:
        """Ids of all pages."""

    def get(self, ids: Sequence[str], *, vectors: bool = True) -> dict[str, Record]:
        """The records of those ids that can be read."""

    def written_since(self, stamps: Collection[str]) -> list[str]:
        """Ids of pages that carry none of these stamps."""

    def with_stamp(self, stamp: str) -> list[str]:
        """Ids of pages that carry this stamp."""

    def revision(self) -> Hashable | None:
        """Changes with every write; None where that is not known cheaply."""

    def origin(self) -> Hashable:
        """Changes when another index is put in the place of this one."""


class PageTexts:
    """The texts of a store's pages, as they are now.

    Args:
        store: Holds the records.
    """

    def __init__(self, store: RecordStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._kept: dict[str, tuple[str, str]] = {}
        """Text and stamp of each page that was read."""
        self._revision: Hashable | None = None
        self._origin: Hashable | None = None

    def matching(self, condition: Mapping[str, str], among: set[str] | None) -> set[str]:
        """Ids of pages whose text meets a condition; see :func:`text_test`.

        Args:
            condition: Such as ``{"$contains": "net revenue"}``.
            among: Only these; None for every page.
        """
        test = text_test(condition)
        with self._lock:
            ids = self._store.ids() if among is None else sorted(among)
            self._forget_changed()
            missing = [id for id in ids if id not in self._kept]
            while missing:
                missing = self._read(missing)
            return {id for id in ids if id in self._kept and test(self._kept[id][0])}

    def _forget_changed(self) -> None:
        """Drop the texts of pages that were written since, or of another index."""
        origin, revision = self._store.origin(), self._store.revision()
        if origin != self._origin:
            self._kept.clear()
        self._origin = origin
        if revision is None or revision != self._revision:
            stamps = {stamp for _, stamp in self._kept.values()} - {""}
            for id in self._store.written_since(stamps) if self._kept else ():
                self._kept.pop(id, None)
        self._revision = revision

    def _read(self, ids: Sequence[str]) -> list[str]:
        """Read texts; those to be read again, because somebody wrote meanwhile."""
        known = {stamp for _, stamp in self._kept.values()}
        for part in slices(len(ids), _READ_AT_ONCE):
            found = self._store.get(ids[part], vectors=False)
            self._kept |= {id: (one.page.text, one.stamp) for id, one in found.items()}
        return self._outdated({stamp for _, stamp in self._kept.values()} - known - {""})

    def _outdated(self, stamps: set[str]) -> list[str]:
        """Drop texts of before a request of which other pages have been read by now.

        Its stamp is known from now on, so nobody would look for them again.
        """
        sizes = Counter(stamp for _, stamp in self._kept.values() if stamp in stamps)
        seen_in_part = [s for s, size in sizes.items() if size != records.request_size(s)]
        there = [(id, stamp) for stamp in seen_in_part for id in self._store.with_stamp(stamp)]
        found = [id for id, stamp in there if self._kept.get(id, ("", stamp))[1] != stamp]
        for id in found:
            del self._kept[id]
        return found
