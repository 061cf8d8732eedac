"""The writer lock of an index folder: one writing process at a time, its threads take turns."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from metaembed_rag.errors import IndexLockedError, StoreError
from metaembed_rag.store.places import HOLDER, LOCK, replace_file

_LONGEST = 1_000
"""Bytes that are read of what a holder says of itself."""

_LOOK_EVERY = 1.0


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
        assert self._folder is not None
        is_ours = file.is_locked
        try:
            file.acquire(timeout=timeout)
        except Timeout:
            raise IndexLockedError(
                f"another process is writing to the index at {self._folder}"
                f"{_holder(self._folder)}; wait until it has finished (--wait SECONDS, in Python "
                f"lock_timeout=SECONDS), or stop it, and try again"
            ) from None
        except OSError as error:
            what = f"{self._folder / LOCK}: {error.strerror or error}"
            raise StoreError(
                f"the index at {self._folder} cannot be written ({what}); mend the folder's "
                f"permissions; where that is a folder or a link, delete it"
            ) from error
        if not is_ours:
            _name_holder(self._folder)


def _name_holder(folder: Path) -> None:
    """Say beside the lock who holds it; what stays there afterwards is read by nobody."""
    program = Path(sys.argv[0]).name if sys.argv else ""
    about = [os.getpid(), socket.gethostname(), program, time.strftime("%Y-%m-%d %H:%M:%S")]
    with suppress(OSError):  # the name is a help, the lock is what counts
        replace_file(folder / HOLDER, json.dumps(about))


def _holder(folder: Path) -> str:
    """How the sentence goes on that says who holds the lock, as it said itself."""
    try:
        with (folder / HOLDER).open("rb") as file:
            process, host, program, since = json.loads(file.read(_LONGEST))
    except (OSError, ValueError, TypeError, RecursionError):
        return ""
    named = f" ({str(program)!r:.80})" if program else ""
    return f": process {process!r:.20}{named} on {str(host)!r:.80}, since {str(since)!r:.30}"


@contextmanager
def held_in_turn(lock: Path, stalled: float, most: float) -> Iterator[None]:
    """Hold a file lock; wait for the process that holds it as long as that one gets on.

    Args:
        lock: The file; who holds it writes to files beside it, or in folders beside it.
        stalled: Seconds without any such write after which it counts as stopped.
        most: Seconds to wait at all.

    Raises:
        Timeout: It is held for too long.
        OSError: The file cannot be written.
    """
    file, begin = FileLock(lock), time.monotonic()
    seen, since = _last_change(lock.parent), begin
    while not file.is_locked:
        try:
            file.acquire(timeout=min(stalled, _LOOK_EVERY))
        except Timeout:
            now, before = time.monotonic(), seen
            seen = _last_change(lock.parent)
            since = now if seen != before else since
            if now - since >= stalled or now - begin >= most:
                raise
    try:
        yield
    finally:
        file.release()


def _last_change(folder: Path) -> int:
    """When a file of a folder, or of a folder in it, was last written, in nanoseconds."""
    times = [0]
    for path in [*folder.glob("*"), *folder.glob("*/*")]:
        with suppress(OSError):  # it has just gone
            times.append(path.stat().st_mtime_ns)
    return max(times)
