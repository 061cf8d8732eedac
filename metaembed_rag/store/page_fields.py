"""What pages say of themselves beside their text, in memory, for filters that Chroma cannot answer.

No text and no vectors are read for it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from metaembed_rag.metadata.conditions import condition_test
from metaembed_rag.metadata.fields import Facts, said
from metaembed_rag.store import records
from metaembed_rag.store.kept import KeptValues, StampedStore

_READ_AT_ONCE = 2000
_CLOCKS_APART = 3600
"""Seconds by which the clocks of two writers may differ."""


class MetadataStore(StampedStore, Protocol):
    """What the fields come from."""

    def stored(self, ids: Sequence[str], *, bare: bool) -> dict[str, Mapping[str, Any]]:
        """What Chroma holds of those ids that exist; bare, without texts and vectors if it can."""

    def noted_since(self, seconds: int) -> list[str]:
        """Ids of pages of which metadata alone were replaced later."""


class PageFields:
    """What a store's pages say, as they are now.

    Args:
        store: Holds the records.
    """

    def __init__(self, store: MetadataStore) -> None:
        self._store = store
        self._facts = KeptValues(store, self._read, lambda: _READ_AT_ONCE, self._noted)
        self._looked = int(time.time())

    def matching(self, where: Mapping[str, Any], among: set[str] | None) -> set[str]:
        """Ids of pages that meet a condition on one key; see :func:`condition_test`.

        Args:
            where: Such as ``{"file_name": "report.pdf"}``.
            among: Only these; None for every page.
        """
        [(key, asked)] = where.items()
        return self._facts.passing(condition_test(key, asked), among)

    def values(self, key: str, among: set[str] | None = None) -> set[str]:
        """The texts under a key of those of these pages that were read so far."""
        every = [said(key, facts).shown for facts in self._facts.known(among)]
        return {one for one in every if isinstance(one, str)}

    def says(self, key: str) -> bool:
        """Whether any page says anything under a key, as far as pages were read."""
        return any(said(key, facts).shown is not None for facts in self._facts.known(None))

    def _noted(self) -> list[str]:
        """Pages of which metadata alone were replaced since this was asked before."""
        before, self._looked = self._looked, int(time.time())
        return self._store.noted_since(before - _CLOCKS_APART)

    def _read(self, ids: Sequence[str]) -> dict[str, tuple[Facts, str]]:
        found = self._store.stored(ids, bare=True)
        return {id: (_shared(id, one), records.stamp_of(one)) for id, one in found.items()}


def _shared(id: str, metadata: Mapping[str, Any]) -> Facts:
    """The facts of a page; texts that other pages of its file have too are kept once."""
    facts = records.facts_of(id, metadata)
    own = {sys.intern(key): _interned(value) for key, value in facts.own.items()}
    return facts._replace(own=own, source=_interned(facts.source), root=_interned(facts.root))


def _interned(value: Any) -> Any:
    return sys.intern(value) if type(value) is str else value
