"""Which states a folder's database has been in, so that a backup of it is told from what it became.

Stamps and marks say whether something was written since; they cannot say that something was taken
back, as a ``chroma.sqlite3`` is that was restored beside what was derived of a later one. So the
first write of each session notes a new state in the metadata of the collection, in the database
itself, behind those before. What is derived notes the last state that it has seen: where the
database does not know that one, it is another past, and what was derived is made again.

A server has no such states: its writers take no turns, so one could overwrite another's note.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from metaembed_rag.store.link import Connection
from metaembed_rag.store.places import Places

KEY = "metaembed:states"
_KEPT = 256
"""States that are kept. What is derived and further behind is made again."""


def states_in(metadata: Mapping[str, Any] | None) -> list[str]:
    """The states that a collection's metadata note, the last one at the end."""
    noted = (metadata or {}).get(KEY, "")
    return noted.split() if isinstance(noted, str) else []


def knows(states: list[str], state: str) -> bool:
    """Whether a database with these states has been in ``state``; ``""`` stands for no state."""
    return not state or state in states


class Sessions:
    """Notes a new state in a collection with the first write of each session.

    Args:
        places: Of the collection.
    """

    def __init__(self, places: Places) -> None:
        self._places = places
        self._depth = 0
        self._noted = False

    @contextmanager
    def one(self) -> Iterator[None]:
        """What is written meanwhile, under the writer lock, is of one session."""
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            self._noted = self._noted and self._depth > 0

    def begin(self, connection: Connection) -> None:
        """Note a state before a write, where this session has not yet."""
        if self._places.folder is None or self._noted:
            return
        found = connection.client.get_collection(self._places.collection, embedding_function=None)
        after = [*states_in(found.metadata), uuid.uuid4().hex[:8]][-_KEPT:]
        found.modify(metadata={**(found.metadata or {}), KEY: " ".join(after)})
        self._noted = self._depth > 0
