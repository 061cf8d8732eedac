"""The texts of pages in memory, to look for words in them.

Chroma holds a page's text beside its vectors and looks into neither. So the texts that a filter
asks for are read once (as long as reading the pages takes) and kept: 2 KB a page of prose, until
the process ends. They are not written anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from metaembed_rag.metadata.filters import text_test
from metaembed_rag.store.kept import KeptValues, StampedStore
from metaembed_rag.store.records import Record

_READ_AT_ONCE = 1000


class RecordStore(StampedStore, Protocol):
    """What the texts come from."""

    def get(self, ids: Sequence[str], *, vectors: bool = True) -> dict[str, Record]:
        """The records of those ids that can be read."""


class PageTexts:
    """The texts of a store's pages, as they are now.

    Args:
        store: Holds the records.
    """

    def __init__(self, store: RecordStore) -> None:
        self._store = store
        self._texts = KeptValues(store, self._read, lambda: _READ_AT_ONCE)

    def matching(self, condition: Mapping[str, str], among: set[str] | None) -> set[str]:
        """Ids of pages whose text meets a condition; see :func:`text_test`.

        Args:
            condition: Such as ``{"$contains": "net revenue"}``.
            among: Only these; None for every page.
        """
        return self._texts.passing(text_test(condition), among)

    def _read(self, ids: Sequence[str]) -> dict[str, tuple[str, str]]:
        found = self._store.get(ids, vectors=False)
        return {id: (one.page.text, one.stamp) for id, one in found.items()}
