"""Something of every page in memory, as the pages are now.

Chroma looks neither into a page's text nor at what follows from its source. So what filters ask for
is read once and kept until the process ends; later only pages that were written since are read. It
is not written anywhere.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

from metaembed_rag.store import records
from metaembed_rag.store.requests import slices

_Value = TypeVar("_Value")


class StampedStore(Protocol):
    """Pages that say which request wrote them."""

    def ids(self) -> list[str]:
        """Ids of all pages."""

    def written_since(self, stamps: Collection[str]) -> list[str]:
        """Ids of pages that carry none of these stamps."""

    def with_stamp(self, stamp: str) -> list[str]:
        """Ids of pages that carry this stamp."""

    def revision(self) -> Hashable | None:
        """Changes with every write; None where that is not known cheaply."""

    def origin(self) -> Hashable:
        """Changes when another index is put in the place of this one."""


class KeptValues(Generic[_Value]):
    """One value of each page.

    Args:
        store: Holds the pages.
        read: Value and stamp of those of these pages that can be read.
        at_once: Pages that are read at a time.
        changed: Pages whose value may have changed though their stamp has not.
    """

    def __init__(
        self,
        store: StampedStore,
        read: Callable[[Sequence[str]], Mapping[str, tuple[_Value, str]]],
        at_once: Callable[[], int],
        changed: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        self._store = store
        self._read_some = read
        self._at_once = at_once
        self._changed = changed
        self._lock = threading.Lock()
        self._kept: dict[str, tuple[_Value, str]] = {}
        """Value and stamp of each page that was read."""
        self._every: list[str] | None = None
        """Ids of all pages, as of this revision."""
        self._revision: Hashable | None = None
        self._origin: Hashable | None = None

    def passing(self, test: Callable[[_Value], bool], among: set[str] | None) -> set[str]:
        """Ids of the pages whose value passes a test.

        Args:
            test: Of one value.
            among: Only these pages; None for every page.
        """
        with self._lock:
            self._forget_changed()
            ids = self._all() if among is None else sorted(among)
            missing = [id for id in ids if id not in self._kept]
            while missing:
                missing = self._read(missing)
            kept = self._kept
            return {id for id in ids if id in kept and test(kept[id][0])}

    def known(self, among: set[str] | None) -> list[_Value]:
        """The values that were read so far, of these pages; of all for None."""
        with self._lock:
            ids = self._all() if among is None else among
            return [self._kept[id][0] for id in ids if id in self._kept]

    def _all(self) -> list[str]:
        """Ids of all pages; listed again where a write cannot be told from none."""
        if self._every is None or self._revision is None:
            self._every = self._store.ids()
            for id in self._kept.keys() - set(self._every):
                del self._kept[id]
        return self._every

    def _forget_changed(self) -> None:
        """Drop the values of pages that were written since, or of another index."""
        origin, revision = self._store.origin(), self._store.revision()
        if origin != self._origin:
            self._kept.clear()
        if origin != self._origin or revision != self._revision:
            self._every = None
        self._origin = origin
        if revision is None or revision != self._revision:
            stamps = {stamp for _, stamp in self._kept.values()} - {""}
            changed = self._changed()
            for id in (*self._store.written_since(stamps), *changed) if self._kept else ():
                self._kept.pop(id, None)
        self._revision = revision

    def _read(self, ids: Sequence[str]) -> list[str]:
        """Read values; those to be read again, because somebody wrote meanwhile."""
        known = {stamp for _, stamp in self._kept.values()}
        for part in slices(len(ids), self._at_once()):
            self._kept.update(self._read_some(ids[part]))
        return self._outdated({stamp for _, stamp in self._kept.values()} - known - {""})

    def _outdated(self, stamps: set[str]) -> list[str]:
        """Drop values of before a request of which other pages have been read by now.

        Its stamp is known from now on, so nobody would look for them again.
        """
        sizes = Counter(stamp for _, stamp in self._kept.values() if stamp in stamps)
        seen_in_part = [s for s, size in sizes.items() if size != records.request_size(s)]
        there = [(id, stamp) for stamp in seen_in_part for id in self._store.with_stamp(stamp)]
        found = [id for id, stamp in there if id in self._kept and self._kept[id][1] != stamp]
        for id in found:
            del self._kept[id]
        return found
