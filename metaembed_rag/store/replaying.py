"""One process at a time asks Chroma something for the first time, or writes.

Chroma 1.5.9 keeps a log of writes in an index folder's database. A client that asks for records for
the first time reads what the log has beyond the records, and applies it. What another process wrote
and acknowledged between the two is overwritten by what was read before, a deleted page comes back,
and the log forgets that it was ever otherwise. So a first question and a request that writes
exclude each other, by a lock in the folder that is held for no longer than either takes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from metaembed_rag.errors import IndexLockedError
from metaembed_rag.store.places import LOG

_PATIENCE = 120.0
"""Seconds to wait for the request of another process."""
_LOOK_EVERY = 0.01
_NOBODY = "metaembed: the id of no page"

_log = logging.getLogger(__name__)


class ReplayLock:
    """Held by whoever asks an index folder for the first time, or writes to it.

    Args:
        folder: The index's; None, for a server and for memory, which one process serves, locks
            nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold it; where the folder cannot be written, nobody else writes there either.

        Raises:
            IndexLockedError: Another process holds it for too long.
        """
        if self._folder is None:
            yield
            return
        # One for each time: threads of this process exclude each other, too.
        lock = FileLock(self._folder / LOG)
        try:
            lock.acquire(timeout=_PATIENCE, poll_interval=_LOOK_EVERY)
        except Timeout:
            raise IndexLockedError(
                f"another process has been at the database of the index at {self._folder} for "
                f"{_PATIENCE:.0f} s; wait until it has finished, or stop it, and try again"
            ) from None
        except OSError as error:
            _log.info("%s is not locked: %s", self._folder / LOG, error)
        try:
            yield
        finally:
            lock.release()


def ask_first(collection: Any) -> None:
    """Let Chroma apply its log to a collection, by a question that costs next to nothing.

    Args:
        collection: A collection of Chroma.
    """
    collection.get(ids=[_NOBODY], include=[])
