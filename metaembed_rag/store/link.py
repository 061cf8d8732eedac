"""A store's link to its collection: one connection after another, for as long as it is open.

An index folder may be made again, or another one be put in its place, while a process serves it;
Chroma would go on with the files that it has open. So each question first looks which database lies
at the place, by device and inode, and connects again where it is another one. A connection that is
replaced or closed lives until the last question that it was asked is answered.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterator, MutableSequence, Sequence
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from chromadb.errors import ChromaError, NotFoundError

from metaembed_rag import forks
from metaembed_rag.errors import IndexClosedError, IndexNotFoundError, StoreError
from metaembed_rag.store.connect import chroma_errors, one_maker
from metaembed_rag.store.inspection import GraphWatch
from metaembed_rag.store.places import Places
from metaembed_rag.store.replaying import ReplayLock, ask_first
from metaembed_rag.store.systems import database_identity

_About = TypeVar("_About")
_Answer = TypeVar("_Answer")


class Connection:
    """A client of Chroma and the collection that it found.

    Attributes:
        client: Closed when nobody holds the connection any more.
        collection: Another one once the first was deleted and made again.
        is_safe: Its files were looked at, Chroma may read them, and has applied its log.
        seen: Marks up to which the client knows everything.
    """

    def __init__(self, client: Any, collection: Any) -> None:
        self.client, self.collection = client, collection
        self.is_safe = False
        self.seen: MutableSequence[str] = getattr(client, "seen", deque(maxlen=1))
        self._holders = 1
        self._counting = threading.RLock()  # the collector may let go in the middle of it

    @property
    def is_doubtful(self) -> bool:
        """Whether a write by way of its client failed."""
        return bool(getattr(self.client, "is_doubtful", False))

    def doubt(self) -> None:
        """A write failed: the next one needs another connection, where it is to a folder."""
        getattr(self.client, "doubt", lambda: None)()

    @property
    def origin(self) -> Hashable:
        """Which database and which collection in it: others have another history."""
        return getattr(self.client, "identity", None), str(self.collection.id)

    def hold(self) -> Connection:
        """Keep it open until it is let go once more."""
        with self._counting:
            self._holders += 1
        return self

    def let_go(self) -> None:
        """Close the client with the last holder."""
        with self._counting:
            self._holders -= 1
            if not self._holders:
                self.client.close()


class Link(Generic[_About]):
    """Connects a store, and connects it again.

    Args:
        places: Of the collection.
        connect_again: Gives another client of Chroma at a place that is there.
        connection: The first one.
        read: What a collection says of itself; raises for one that cannot be used here.
        check_same: Given what the first collection said and what one in its place says; raises
            where the second cannot go on for the first.

    Attributes:
        replaying: Held around each request that writes.
    """

    def __init__(
        self,
        places: Places,
        connect_again: Callable[[str], Any],
        connection: Connection,
        read: Callable[[Any, str], _About],
        check_same: Callable[[_About, _About, str], None],
    ) -> None:
        self._places, self._connect_again = places, connect_again
        self._read, self._check_same = read, check_same
        self._connection = connection
        folder, name = places.folder, places.collection
        self._graphs = None if folder is None else GraphWatch(folder, name)
        self.replaying = ReplayLock(folder)
        self.about = read(connection.collection, places.where)
        self._process = os.getpid()
        self._closed = False
        self._lock = threading.RLock()
        self._pinned = 0

    def check_open(self) -> None:
        """See that it can be asked at all.

        Raises:
            IndexClosedError: It was closed, or is of the process that this one was forked from.
        """
        if os.getpid() != self._process:
            raise IndexClosedError(
                f"the index at {self._places.where} was opened before this process was forked, and "
                f"{forks.ADVICE}"
            )
        if self._closed:
            raise IndexClosedError(
                f"the index at {self._places.where} was closed; open it again, by PageIndex.open(…)"
            )

    @contextmanager
    def asking(self, *, records: bool = True) -> Iterator[Connection]:
        """The connection to what lies at the place now, kept open meanwhile.

        Args:
            records: Records are asked for or written, for which Chroma reads the graph of
                neighbours; not only what the collection is.

        Raises:
            IndexClosedError: It was closed, or is of another process.
            IndexNotFoundError: There is no index at the place any more.
            ModelMismatchError: There is one of another model.
            StoreError: Chroma failed, or its graph is damaged.
        """
        with chroma_errors(self._places.where):
            connection = self._current()
            try:
                if records:
                    self.make_safe(connection)
                yield connection
            finally:
                connection.let_go()

    def make_safe(self, connection: Connection) -> None:
        """See that Chroma can be asked for records, and has seen all, once for each connection.

        Raises:
            StoreError: Its graph of neighbours is damaged, and would end this process.
            IndexLockedError: Another process's request takes too long.
        """
        if self._graphs is None or connection.is_safe:
            return
        with self.replaying.held():
            self._graphs.check()
            ask_first(connection.collection)
        connection.is_safe = True

    def ask(self, question: Callable[[Connection], _Answer]) -> _Answer:
        """The answer of what lies at the place now; asked again where the collection is another.

        Raises:
            StoreError: As for :meth:`asking`.
        """
        with self.asking() as connection:
            try:
                return question(connection)
            except ChromaError as error:
                # Of a database that was written over, Chroma says that something internal is wrong.
                if not self._find_again(connection) and not isinstance(error, NotFoundError):
                    raise
                self.make_safe(connection)
                return question(connection)

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """As :meth:`asking`, for what writes: never by a connection by which a write has failed.

        Raises:
            StoreError: As for :meth:`asking`.
        """
        if self._connection.is_doubtful:
            self.reconnect()
        with self.asking() as connection:
            try:
                yield connection
            except StoreError:
                connection.doubt()
                raise

    def reconnect(self) -> None:
        """Connect anew to what lies at the place, having seen everything that is stored.

        Raises:
            StoreError: As for :meth:`asking`.
        """
        self.check_open()
        with self._lock, chroma_errors(self._places.where):
            self._replace(self._connected())

    def find_again(self) -> None:
        """Look whether the collection was deleted and made again, which only a question tells."""
        with self.asking(records=False) as connection:
            self._find_again(connection)

    def see_writes(self, is_behind: Callable[[Sequence[str]], bool]) -> None:
        """Connect anew where another process has written since.

        Chroma 1.5.9 keeps the nearest-neighbour graph in memory, so a process that has a folder
        open would never find what others add to it.

        Args:
            is_behind: Says of the marks that were seen whether there is another one.
        """
        self.check_open()
        with self._lock:
            if is_behind(self._connection.seen):
                self.reconnect()

    @contextmanager
    def pinned(self) -> Iterator[None]:
        """Refuse to go on with another database or collection meanwhile: half of each is no index.

        Raises:
            StoreError: There is another one, in the middle of this.
        """
        with self._lock:
            self._pinned += 1
        try:
            yield
        finally:
            with self._lock:
                self._pinned -= 1

    def close(self) -> None:
        """Let the connection go; again is no error. What a fork inherited is left to its owner."""
        if os.getpid() != self._process:
            return
        with self._lock:
            closing, self._closed = not self._closed, True
        if closing:
            self._connection.let_go()

    def _current(self) -> Connection:
        """The connection, held."""
        self.check_open()  # before the lock, which a fork may have left locked
        with self._lock:
            self.check_open()
            folder = self._places.folder
            if folder is not None and database_identity(folder) != self._connection.client.identity:
                self._check_not_pinned()
                self._replace(self._connected())
            return self._connection.hold()

    def _connected(self) -> Connection:
        where = str(self._places.folder or self._places.where)
        with one_maker(where, create=False):
            client = self._connect_again(where)
        try:
            return Connection(client, self._collection(client))
        except (NotFoundError, StoreError):
            client.close()
            raise

    def _replace(self, connection: Connection) -> None:
        old, self._connection = self._connection, connection
        old.let_go()

    def _find_again(self, connection: Connection) -> bool:
        """Whether the collection of that name is another, and then takes its place."""
        with self._lock:
            found = self._collection(connection.client)
            if found.id == connection.collection.id:
                return False
            self._check_not_pinned()
            connection.collection, connection.is_safe = found, False
            return True

    def _collection(self, client: Any) -> Any:
        """The collection by its name, seen to be as the first one was."""
        where, name = self._places.where, self._places.collection
        try:
            found = client.get_collection(name, embedding_function=None)
        except NotFoundError:
            raise IndexNotFoundError(
                f"there is no collection {name!r} at {where} any more: it was deleted; make it "
                f"again with {self._places.how_to_make}"
            ) from None
        about = self._read(found, where)
        self._check_same(self.about, about, where)
        self.about = about
        return found

    def _check_not_pinned(self) -> None:
        if self._pinned:
            raise StoreError(
                f"the index at {self._places.where} was replaced by another while it was being "
                f"written to; see which one is wanted there, and add to it again"
            )
