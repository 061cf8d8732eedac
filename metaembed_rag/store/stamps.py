"""Which pages were written since, asked of their stamps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from metaembed_rag.store import records
from metaembed_rag.store.records import Record


class StampQuestions(ABC):
    """The part of a store that answers what was written when, and by which request."""

    @property
    @abstractmethod
    def unreadable(self) -> Mapping[str, Mapping[str, Any]]:
        """Records that could not be read, by id."""

    @abstractmethod
    def ids(self, where: Mapping[str, Any] | None = None) -> list[str]:
        """Ids of the pages that match a filter."""

    @abstractmethod
    def get(self, ids: Sequence[str], *, vectors: bool = True) -> dict[str, Record]:
        """The records of those ids that exist and can be read, by id."""

    def written_since(self, stamps: Collection[str], *, after: int | None = None) -> list[str]:
        """Ids of pages that were last written by none of the requests with these stamps.

        With :meth:`count` it says exactly whether a copy made from records with these stamps is
        current. It looks at every record; with ``after``, which is faster, only at those that were
        written later than that by their writers' clocks.
        """
        if not stamps:
            return self._but_unreadable(self.ids())
        found = [set(self.ids(one)) for one in records.written_by_others(stamps, after)]
        return self._but_unreadable(sorted(set.intersection(*found)))

    def noted_since(self, seconds: int) -> list[str]:
        """Ids of pages of which metadata alone were replaced later, by their writers' clocks."""
        return self.ids({records.NOTED: {"$gt": seconds}})

    def with_stamp(self, stamp: str) -> list[str]:
        """Ids of pages that were last written by the request with this stamp."""
        return self._but_unreadable(self.ids({records.STAMP: stamp}))

    def _but_unreadable(self, ids: Sequence[str]) -> list[str]:
        """Those that can be read, also those that somebody has mended since."""
        doubtful = [id for id in ids if id in self.unreadable]
        if doubtful:
            self.get(doubtful)
        return [id for id in ids if id not in self.unreadable]
