"""Long texts of records, some pages' together, where Chroma keeps a text once.

Chroma 1.5.9 writes each text of a record's metadata twice: into a table, and whole once more into
an index of it. Packed vectors are such a text, and nobody looks for one. The metadata of a
*collection* are in no index. So a bundle is a collection without records, and its metadata are the
texts of some pages; a record names its bundle and its row there. Bundles lie in a Chroma database
of their own beside that of the index, so that no list of collections shows them.

A bundle is never changed: a page that is written again goes into another one. It is written before
the records that name it, and deleted after the last of them, so that a kill leaves at most a bundle
that no record names, which :func:`metaembed_rag.store.compaction.compact` takes out.
"""

from __future__ import annotations

import threading
import uuid
from collections import OrderedDict
from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from typing import Any, NamedTuple

import pybase64
from chromadb.errors import ChromaError, InvalidArgumentError, NotFoundError, UniqueConstraintError

from metaembed_rag.errors import StoreError
from metaembed_rag.store.packing import pack_text, unpack_text

_BYTES = 1_000_000
"""Of a bundle's texts, 30 pages of 64 x 384 in int8. A commit takes 20 ms whatever it holds; a page
that is read alone costs the reading of a bundle, 4 ms."""
_PAGES = 512
_MOST_VECTORS = 256
"""Of a page of which a vector's number is one byte."""
_KEPT = 8
"""Bundles that were read last and stay in memory."""
_PACKED = "metaembed:vectors"
_DISTINCT, _CODED, _CODED_DISTINCT = "distinct", "coded", "coded distinct"
"""Of a page's packed vectors in a bundle: as :mod:`metaembed_rag.store.packing` makes a text of
them or in base64, as they are or without repeats."""

Fields = Mapping[str, str]
"""The texts of one page by their key in its record."""


class Row(NamedTuple):
    """Where the texts of one page are.

    Attributes:
        bundle: Name of the bundle; ends in the number of its pages.
        row: Which of these.
    """

    bundle: str
    row: int


def pages_of(bundle: str) -> int:
    """How many pages were written into a bundle of that name; 0 for a name that is none."""
    count = bundle.rpartition("-")[2]
    return int(count) if count.isdecimal() else 0


class Bundles:
    """The bundles that a process reads and writes; what it read last it keeps in memory."""

    def __init__(self) -> None:
        self._recent: OrderedDict[str, Fields] = OrderedDict()
        self._lock = threading.Lock()

    @staticmethod
    def make_database(collection: Any, database: str) -> None:
        """Make the database that holds a collection's bundles, where it is not there.

        Raises:
            ChromaError: The server refuses it.
            StoreError: The server refuses it, or does not answer.
        """
        with suppress(UniqueConstraintError):
            collection._client.create_database(database, collection.tenant)

    def put(
        self, collection: Any, database: str, pages: Sequence[Fields], vectors: int, *, coded: bool
    ) -> list[Row]:
        """Write the texts of pages.

        Args:
            collection: That of their records.
            database: Of its bundles.
            pages: Their texts.
            vectors: R, the vectors a page: those that are repeated are written once.
            coded: In the form of :mod:`metaembed_rag.store.packing`, which versions before it
                do not read.

        Returns:
            Where the texts of each page are.
        """
        rows: list[Row] = []
        try:
            for part in _parts(pages):
                rows += self._put(collection, database, part, vectors, coded)
        except (ChromaError, StoreError):
            self.drop_unnamed(collection, database, {row.bundle for row in rows})
            raise
        return rows

    def _put(
        self, collection: Any, database: str, part: Sequence[Fields], vectors: int, coded: bool
    ) -> list[Row]:
        name = f"{uuid.uuid4().hex}-{len(part)}"
        texts = {
            f"{row}:{key}": text
            for row, fields in enumerate(part)
            for key, text in _short(fields, vectors, coded=coded).items()
        }
        try:
            _make(collection, database, name, texts)
        except (InvalidArgumentError, NotFoundError):
            # Whoever made the index was ended before it made the database.
            self.make_database(collection, database)
            _make(collection, database, name, texts)
        return [Row(name, row) for row in range(len(part))]

    def get(self, collection: Any, database: str, row: Row) -> Fields | None:
        """The texts of a page; None where its bundle is gone.

        Raises:
            ValueError: They are damaged.
        """
        texts = self._read(collection, database, row.bundle)
        if texts is None:
            return None
        start = f"{row.row}:"
        own = {key[len(start) :]: text for key, text in texts.items() if key.startswith(start)}
        return _whole(own)

    def drop(self, collection: Any, database: str, name: str) -> None:
        """Delete a bundle; one that is gone does not matter."""
        with self._lock:
            self._recent.pop(name, None)
        with suppress(NotFoundError):
            collection._client.delete_collection(name=name, **_place(collection, database))

    def drop_unnamed(self, collection: Any, database: str, names: Set[str]) -> None:
        """Delete what was written for records that were refused then; a failure is passed over."""
        for name in names:
            with suppress(ChromaError, StoreError):
                self.drop(collection, database, name)

    def _read(self, collection: Any, database: str, name: str) -> Fields | None:
        with self._lock:
            if name in self._recent:
                self._recent.move_to_end(name)
                return self._recent[name]
        try:
            found = collection._client.get_collection(name=name, **_place(collection, database))
        except NotFoundError:
            return None
        texts = {key: text for key, text in (found.metadata or {}).items() if isinstance(text, str)}
        with self._lock:
            self._recent[name] = texts
            while len(self._recent) > _KEPT:
                self._recent.popitem(last=False)
        return texts


def _make(collection: Any, database: str, name: str, texts: Fields) -> None:
    """Write a bundle."""
    collection._client.create_collection(
        name=name, metadata=texts, get_or_create=True, **_place(collection, database)
    )


def _place(collection: Any, database: str) -> dict[str, str]:
    return {"tenant": collection.tenant, "database": database}


def _parts(pages: Sequence[Fields]) -> list[list[Fields]]:
    """Pages in parts that are not too large; a single one may be."""
    parts: list[list[Fields]] = []
    size = 0
    for fields in pages:
        bytes_ = sum(map(len, fields.values()))
        if not parts or size + bytes_ > _BYTES or len(parts[-1]) >= _PAGES:
            parts.append([])
            size = 0
        parts[-1].append(fields)
        size += bytes_
    return parts


def _short(fields: Fields, vectors: int, *, coded: bool) -> Fields:
    """A page's texts, with its packed vectors in fewer characters.

    Of vectors that are repeated each is written once: a model that gives a short text fewer
    vectors than an index stores repeats them.

    Args:
        fields: The texts.
        vectors: R, how many vectors the page has.
        coded: In the form of :mod:`metaembed_rag.store.packing`, not in base64.
    """
    packed = fields.get(_PACKED, "")
    try:
        data = pybase64.b64decode(packed, validate=True)
    except ValueError:
        return fields
    if not data or pybase64.b64encode_as_string(data) != packed:
        return fields
    distinct = _without_repeats(data, vectors)
    others = {key: text for key, text in fields.items() if key != _PACKED}
    if coded:
        key = _CODED if distinct is None else _CODED_DISTINCT
        return {**others, key: pack_text(data if distinct is None else distinct)}
    if distinct is None:
        return fields
    return {**others, _DISTINCT: pybase64.b64encode_as_string(distinct)}


def _whole(fields: Fields) -> Fields:
    """The texts that were given to :func:`_short`.

    Raises:
        ValueError: They are damaged.
    """
    key = next((key for key in (_CODED, _CODED_DISTINCT, _DISTINCT) if key in fields), None)
    if key is None:
        return fields
    text = fields[key]
    data = pybase64.b64decode(text, validate=True) if key == _DISTINCT else unpack_text(text)
    whole = data if key == _CODED else _with_repeats(data)
    others = {name: text for name, text in fields.items() if name != key}
    return {**others, _PACKED: pybase64.b64encode_as_string(whole)}


def _without_repeats(data: bytes, vectors: int) -> bytes | None:
    """The vectors of a page, each once behind their order; None where that is not shorter."""
    size, over = divmod(len(data), max(vectors, 1))
    if over or not size or not 0 < vectors <= _MOST_VECTORS:
        return None
    each = [data[at : at + size] for at in range(0, len(data), size)]
    numbers = {one: number for number, one in enumerate(dict.fromkeys(each))}
    if len(numbers) + 1 >= vectors:
        return None
    return bytes([vectors - 1, *(numbers[one] for one in each)]) + b"".join(numbers)


def _with_repeats(data: bytes) -> bytes:
    """The vectors of which :func:`_without_repeats` made this.

    Raises:
        ValueError: They are damaged.
    """
    vectors = data[0] + 1 if data else 0
    order, rest = data[1 : vectors + 1], data[vectors + 1 :]
    size, over = divmod(len(rest), max(order, default=0) + 1)
    if over or not size or len(order) != vectors:
        raise ValueError("its vectors were cut off")
    return b"".join(rest[number * size : (number + 1) * size] for number in order)
