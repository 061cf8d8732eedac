"""Chroma inside this process: one system a folder, shared and counted, stopped with its last user.

Chroma's own clients share systems too, by a table that every client of the process can change
without a lock: opening one folder in two threads fails there, and a client with other settings is
refused. The systems here are in no table but this module's, so a ``chromadb.PersistentClient`` that
a user has on the same folder and the stores of this package do not disturb each other.

A system costs a dozen open files and several threads. A forked child has the files and not the
threads, and could never stop it; it lets it lie.
"""

from __future__ import annotations

import ctypes
import functools
import os
import threading
import uuid
from collections import deque
from pathlib import Path
from typing import Any

from chromadb.api import ServerAPI
from chromadb.api.models.Collection import Collection
from chromadb.config import DEFAULT_DATABASE, DEFAULT_TENANT, Settings, System, is_thin_client

from metaembed_rag import forks
from metaembed_rag.errors import (
    IndexClosedError,
    IndexNotFoundError,
    MissingExtraError,
    StoreError,
    install_line,
    is_installed,
)
from metaembed_rag.store.places import DATABASE, read_mark
from metaembed_rag.store.requests import slices

CHROMA = "chroma"
"""The name of Chroma's threads in :mod:`metaembed_rag.forks`."""

_MARKS_KEPT = 8

_MEMORY = ""
"""Stands for memory where a folder's path would."""

Identity = tuple[int, int]
"""Device and inode of a database: another file has another one while this one is open."""

_lock = threading.Lock()
_shared: dict[str, _System] = {}
_running: set[_System] = set()
_let_go: deque[_System] = deque()


def database_identity(folder: Path) -> Identity:
    """Which file the database of a folder is.

    Raises:
        IndexNotFoundError: There is none.
        StoreError: The folder cannot be looked into.
    """
    try:
        stat = (folder / DATABASE).stat()
    except (FileNotFoundError, NotADirectoryError):
        raise IndexNotFoundError(
            f"there is no index at {folder} any more: it was moved or deleted; put it back, or "
            f"make it again with `metaembed index PATH --index {folder}`"
        ) from None
    except OSError as error:
        raise StoreError(f"the index at {folder} cannot be reached: {error}") from error
    return stat.st_dev, stat.st_ino


class LocalClient:
    """Chroma on a folder or in memory, with those methods of its clients that a store calls.

    Attributes:
        identity: The database's; None for memory.
        seen: The last marks of writes up to which the system knows everything.
    """

    def __init__(self, system: _System, database: str = DEFAULT_DATABASE) -> None:
        self._system = system
        self._database = database
        self._closed = False
        self.identity, self.seen = system.identity, system.seen

    def get_collection(self, name: str, embedding_function: None = None) -> Collection:
        """The collection of that name; raises Chroma's NotFoundError."""
        place = {"tenant": DEFAULT_TENANT, "database": self._database}
        return self._collection(self._system.api.get_collection(name=name, **place))

    def get_or_create_collection(
        self,
        name: str,
        embedding_function: None = None,
        metadata: dict[str, Any] | None = None,
        configuration: Any = None,
    ) -> Collection:
        """The collection of that name, made if there is none."""
        return self._collection(
            self._system.api.create_collection(
                name=name,
                metadata=metadata,
                configuration=configuration,
                get_or_create=True,
                tenant=DEFAULT_TENANT,
                database=self._database,
            )
        )

    def collection_names(self) -> list[str]:
        """Of all collections of the database."""
        place = {"tenant": DEFAULT_TENANT, "database": self._database}
        return [str(found.name) for found in self._system.api.list_collections(**place)]

    def get_max_batch_size(self) -> int:
        """Records that one request may write."""
        return int(self._system.api.get_max_batch_size())

    @property
    def is_doubtful(self) -> bool:
        """Whether a write has failed since Chroma opened the folder; see :meth:`doubt`."""
        return self._system.is_doubtful

    def doubt(self) -> None:
        """A write failed: nobody begins to use this system of a folder any more.

        After a full disk, one of Chroma 1.5.9's connections to SQLite may stay in the middle of
        its transaction, and later writes that get another one wait for it for ever.
        """
        self._system.is_doubtful = self._system.folder is not None

    def close(self) -> None:
        """Let go of the system; a database in memory is deleted."""
        if self._closed:
            return
        self._closed, self.identity = True, None
        if self._database != DEFAULT_DATABASE:
            self._delete_records()
            self._system.api.delete_database(self._database, DEFAULT_TENANT)
        _release(self._system)

    def _delete_records(self) -> None:
        """Delete each record by its id.

        Chroma 1.5.9 leaves metadata that are lists behind where a whole collection or database is
        deleted, and gives them to later records that happen to get the same number.
        """
        place = {"tenant": DEFAULT_TENANT, "database": self._database}
        for model in self._system.api.list_collections(**place):
            collection, size = self._collection(model), self.get_max_batch_size()
            ids = collection.get(include=[])["ids"]
            for part in slices(len(ids), size):
                collection.delete(ids=ids[part])

    def _collection(self, model: Any) -> Collection:
        return Collection(self._system.api, model, embedding_function=None, data_loader=None)


def folder_client(folder: Path) -> LocalClient:
    """A client that has seen everything that is stored in a folder.

    Args:
        folder: Resolved. Chroma makes its database there when there is none.

    Raises:
        IndexClosedError: This process was forked from one in which Chroma has run.
        ChromaError: Chroma cannot open it.
    """
    return LocalClient(_held(str(folder), folder))


def memory_client() -> LocalClient:
    """A client of a new database in memory, which shares nothing with any other.

    Raises:
        IndexClosedError: This process was forked from one in which Chroma has run.
    """
    system, database = _held(_MEMORY, None), uuid.uuid4().hex
    system.api.create_database(database, DEFAULT_TENANT)
    return LocalClient(system, database)


def _check_engine() -> None:
    """Refuse to open a folder by Chroma's client alone.

    Raises:
        MissingExtraError: Chroma itself is not installed, or its client stands in its way.
    """
    if not is_installed("chromadb_rust_bindings"):
        raise MissingExtraError(
            f"an index in a folder or in memory needs Chroma itself, and only its client is "
            f"installed: pip uninstall chromadb-client, then {install_line('local')}; or open an "
            f"index on a server, as http://host:8000"
        )
    if is_thin_client:
        raise MissingExtraError(
            "the package chromadb-client is installed beside chromadb and keeps it from opening "
            "folders: pip uninstall chromadb-client, then pip install --force-reinstall --no-deps "
            "chromadb"
        )


@functools.cache
def _settings() -> Settings:
    """Chroma's settings, for which it looks once through the environment: 3 ms, half an opening."""
    return Settings(anonymized_telemetry=False)


class _System:
    """Chroma's machinery on one database, and how many clients hold it."""

    def __init__(self, folder: Path | None) -> None:
        _check_engine()
        if forks.lost_threads(CHROMA):
            raise IndexClosedError(
                f"no index can be opened in this process: it was forked from one in which an index "
                f"had been opened, and {forks.ADVICE}"
            )
        forks.note_threads(CHROMA)
        self.folder = folder
        there = folder is not None and (folder / DATABASE).exists()
        # Before Chroma looks: what is written or replaced meanwhile counts as not seen.
        self.seen = deque([] if folder is None else [read_mark(folder)], maxlen=_MARKS_KEPT)
        self.identity = database_identity(folder) if folder is not None and there else None
        self.holders = 0
        self.is_doubtful = False
        place = {} if folder is None else {"persist_directory": str(folder)}
        where = {"is_persistent": folder is not None, **place}
        self._system = System(_settings().model_copy(update=where))
        self.api: Any = self._system.instance(ServerAPI)  # type: ignore[type-abstract]
        self._system.start()
        if folder is not None and not there:
            self.identity = database_identity(folder)
        _running.add(self)

    def has_seen_everything(self) -> bool:
        """Whether it is of the database that lies there now, no other process wrote since, and no
        write of this one failed."""
        if self.folder is None:
            return True
        if self.is_doubtful or not (self.folder / DATABASE).exists():
            return False
        same = database_identity(self.folder) == self.identity
        return same and read_mark(self.folder) in self.seen

    def stop(self) -> None:
        """End its threads and close its files."""
        _running.discard(self)
        self._system.stop()


def _held(key: str, folder: Path | None) -> _System:
    """The system of a place, counted for one more; a new one where there is no current one."""
    try:
        with _lock:
            system = _shared.get(key)
            if system is None or not system.has_seen_everything():
                _shared[key] = system = _System(folder)
            system.holders += 1
            return system
    finally:
        _stop_unused()


def _release(system: _System) -> None:
    """Count one holder less.

    The collector of garbage may call it in the middle of anything, so it never waits: who has the
    lock at that moment does the rest.
    """
    _let_go.append(system)
    _stop_unused()


def _stop_unused() -> None:
    while _let_go and _lock.acquire(blocking=False):
        unused = []
        try:
            while _let_go:
                system = _let_go.popleft()
                system.holders -= 1
                if not system.holders:
                    unused.append(system)
            for key in [key for key, system in _shared.items() if not system.holders]:
                del _shared[key]
        finally:
            _lock.release()
        for system in unused:
            system.stop()


def _leave_to_parent() -> None:
    """In a forked child: begin anew, and never end what has its threads in the parent.

    Ending it would wait for ever, also when Python clears up at its exit. So each gets a reference
    that nobody gives back.
    """
    global _lock
    _lock = threading.Lock()
    for system in _running:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(system.api))
    _shared.clear()
    _running.clear()
    _let_go.clear()


if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork either
    os.register_at_fork(after_in_child=_leave_to_parent)
