"""The writer lock of an index folder: one writing process at a time, its threads take turns."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from metaembed_rag.errors import IndexLockedError, StoreError
from metaembed_rag.store.places import LOCK


class WriterLock:
    """Held by whoever writes. The system gives it back when a process is killed.

    Args:
        folder: The index's; None, for a server and for memory, lets threads take turns only.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._file = None if folder is None else FileLock(folder / LOCK)
        self._threads = threading.RLock()
        self._process = os.getpid()

    @property
    def is_held(self) -> bool:
        """Whether this process holds the folder's lock."""
        return self._file is not None and self._file.is_locked

    @contextmanager
    def held(self, timeout: float) -> Iterator[None]:
        """Hold it.

        Raises:
            IndexLockedError: Another process holds it for longer than ``timeout`` seconds.
            StoreError: The folder cannot be written.
        """
        with self._threads:
            if self._file is not None:
                self._acquire(self._file, timeout)
            try:
                yield
            finally:
                # A child that was forked meanwhile would take it from its parent.
                if self._file is not None and os.getpid() == self._process:
                    self._file.release()

    def _acquire(self, file: FileLock, timeout: float) -> None:
        try:
            file.acquire(timeout=timeout)
        except Timeout:
            raise IndexLockedError(
                f"another process is writing to the index at {self._folder}; wait until it has "
                f"finished, or stop it, and try again"
            ) from None
        except OSError as error:
            raise StoreError(f"the index at {self._folder} cannot be written: {error}") from error
