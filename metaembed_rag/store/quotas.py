"""The quotas of Chroma Cloud: requests are kept within them, and records that exceed them refused.

The numbers are those of https://docs.trychroma.com/cloud/quotas-limits as it stood in November
2026; they can be raised for an account on request. A server of one's own has none of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metaembed_rag.errors import StoreError
from metaembed_rag.store.places import is_cloud
from metaembed_rag.store.requests import slices

PAGE = "https://docs.trychroma.com/cloud/quotas-limits"
"""Where the numbers are from."""
_COLUMNS = ("documents", "metadatas", "embeddings", "uris")
_WHERE_BYTES = 4096
"""Of one filter as JSON, as Chroma's own guide to its data model has it."""
_LIST = "$nin"


@dataclass(frozen=True)
class Quotas:
    """What a record, a request and a collection may hold; lengths are bytes of UTF-8.

    Attributes:
        dimension: Values of the one vector that Chroma sees.
        document: Of a record's document.
        id: Of a record's id.
        value: Of a value in a record's metadata.
        key: Of a key in metadata.
        keys: Keys in metadata.
        collection_value: Of a value in a collection's metadata.
        name: Of a collection's name.
        predicates: Comparisons in one filter.
        records: Records that one request writes, reads or finds.
    """

    dimension: int = 4096
    document: int = 16_384
    id: int = 128
    value: int = 4096
    key: int = 36
    keys: int = 32
    collection_value: int = 256
    name: int = 128
    predicates: int = 8
    records: int = 300

    def check_collection(self, name: str, metadata: Mapping[str, Any]) -> None:
        """Refuse a collection that would exceed them, or whose every record would.

        Raises:
            StoreError: It says which quota, by how much, and what to do.
        """
        if _bytes(name) > self.name:
            raise StoreError(_exceeds(f"the collection's name has {_bytes(name)} bytes", self.name))
        for key, value in metadata.items():
            if isinstance(value, str) and _bytes(value) > self.collection_value:
                raise StoreError(
                    _exceeds(
                        f"{key} = {value!r:.60} has {_bytes(value)} bytes", self.collection_value
                    )
                    + ": load the model by a shorter name or path, or name a shorter pictures="
                )

    def check_vectors(self, bytes_a_page: int, vectors: int) -> None:
        """Refuse a collection no page of which could be stored.

        Args:
            bytes_a_page: Of a page's vectors, which are one value in the metadata, in base64.
            vectors: How many they are.

        Raises:
            StoreError: That is more than a value may have.
        """
        size = -(-bytes_a_page // 3) * 4
        if size > self.value:
            said = f"the {vectors} vectors of a page have {size:,} bytes in base64"
            fit = self.value // 4 * 3 * vectors // bytes_a_page
            raise StoreError(
                f"{_exceeds(said, self.value)}, which {fit} of them have{_advice(':vectors')}"
            )

    def check_records(
        self,
        ids: Sequence[str],
        metadatas: Sequence[Mapping[str, Any] | None] = (),
        documents: Sequence[str | None] = (),
        width: int = 0,
    ) -> None:
        """Refuse records that exceed them, before any is sent.

        Args:
            ids: Of the records.
            metadatas: One a record, or none at all.
            documents: One a record, or none at all.
            width: Values of their vectors.

        Raises:
            StoreError: It names the first of them, the number, the quota, and what to do.
        """
        if width > self.dimension:
            raise StoreError(
                _exceeds(f"a vector has {width} values", self.dimension) + ": open it with a "
                "smaller dimension="
            )
        for at, id in enumerate(ids):
            problem = self._problem(
                id, metadatas[at] if metadatas else {}, documents[at] if documents else None
            )
            if problem:
                raise StoreError(f"page {id!r:.200} was not stored: {problem}")

    def check_filter(self, where: Any) -> None:
        """Refuse a filter of too many comparisons.

        Raises:
            StoreError: It has too many.
        """
        count = _predicates(where)
        if count > self.predicates:
            raise StoreError(
                _exceeds(f"the filter has {count} comparisons", self.predicates)
                + ": say it with fewer, such as one '$in' for several values"
            )

    def _problem(self, id: str, metadata: Mapping[str, Any] | None, document: str | None) -> str:
        """What is too large of one record; empty where nothing is."""
        if _bytes(id) > self.id:
            return _exceeds(f"its id has {_bytes(id)} bytes", self.id) + (
                ": give pages shorter ids (Page(id=…)), or index from a shorter path"
            )
        if document is not None and _bytes(document) > self.document:
            return _exceeds(f"its document has {_bytes(document):,} bytes", self.document) + _TEXT
        there = {key: v for key, v in (metadata or {}).items() if v is not None}
        if len(there) > self.keys:
            return _exceeds(f"its metadata has {len(there)} keys", self.keys) + (
                ": keep fewer metadata of your own"
            )
        for key, value in there.items():
            if _bytes(key) > self.key:
                return _exceeds(f"the key {key!r:.80} has {_bytes(key)} bytes", self.key) + (
                    ": rename it"
                )
            size = _size(value)
            if size > self.value:
                return _exceeds(f"{key} has {size:,} bytes", self.value) + _advice(key)
        return ""


def quotas_at(where: str) -> Quotas | None:
    """Those of a server; None where it has none."""
    return Quotas() if is_cloud(where) else None


class QuotaCollection:
    """A collection of Chroma whose questions go out in parts that its server's quotas allow.

    It has those methods of ``chromadb.Collection`` that this package calls, and answers as that
    does.

    Args:
        collection: Chroma's.
        quotas: Of its server.
    """

    def __init__(self, collection: Any, quotas: Quotas) -> None:
        self._collection, self._quotas = collection, quotas

    @property
    def id(self) -> Any:
        """Chroma's id of it."""
        return self._collection.id

    @property
    def name(self) -> str:
        """Its name."""
        return str(self._collection.name)

    @property
    def metadata(self) -> Mapping[str, Any] | None:
        """What it says of itself."""
        found: Mapping[str, Any] | None = self._collection.metadata
        return found

    @property
    def tenant(self) -> str:
        """Its tenant."""
        return str(self._collection.tenant)

    @property
    def _client(self) -> Any:
        """Chroma's API, by which bundles are looked for that came with a copied collection."""
        return self._collection._client

    def modify(self, metadata: Mapping[str, Any]) -> None:
        """Say other things of it.

        Raises:
            StoreError: They are beyond the quotas.
        """
        self._quotas.check_collection(self.name, metadata)
        self._collection.modify(metadata=dict(metadata))

    def count(self) -> int:
        """Number of records."""
        return int(self._collection.count())

    def get(
        self,
        ids: Sequence[str] | None = None,
        where: Mapping[str, Any] | None = None,
        limit: int | None = None,
        offset: int | None = None,
        include: Sequence[str] = ("metadatas", "documents"),
    ) -> dict[str, Any]:
        """Records by id or by filter, all of them: a part at a time.

        Raises:
            StoreError: The filter is beyond the quotas.
        """
        answers: list[Mapping[str, Any]] = []
        if ids is not None:
            ids = self._possible(ids)
            for part in slices(len(ids), self._quotas.records):
                answers.append(
                    self._collection.get(ids=list(ids[part]), where=where, include=list(include))
                )
            return _joined(answers, include)
        smaller = self._smaller(where)
        if len(smaller) == 1:
            return _joined(self._pages(smaller[0], limit, offset, include), include)
        kept = set.intersection(*(self._ids(one) for one in smaller))
        return self.get(ids=sorted(kept)[offset or 0 :][:limit], include=include)

    def query(
        self, query_embeddings: Any, n_results: int, include: Sequence[str], **among: Any
    ) -> dict[str, Any]:
        """The nearest records of one query; ids that they are to be among are asked in parts.

        Raises:
            StoreError: More are wanted than one answer may hold, or the filter exceeds the quotas.
        """
        if n_results > self._quotas.records:
            raise StoreError(
                _exceeds(f"a search for {n_results} candidates", self._quotas.records)
                + ": ask for fewer candidates (--candidates), or search all pages (exhaustive=True)"
            )
        self._quotas.check_filter(among.get("where"))
        ids = self._possible(among.pop("ids")) if "ids" in among else None
        parts = (
            [{}]
            if ids is None
            else [{"ids": list(ids[part])} for part in slices(len(ids), self._quotas.records)]
        )
        found = [
            self._collection.query(
                query_embeddings=query_embeddings,
                n_results=n_results,
                include=list(include),
                **among,
                **part,
            )
            for part in parts
        ]
        if len(found) == 1:
            only: dict[str, Any] = found[0]
            return only
        names = ("ids", *(name for name in include))
        return {name: [[row for one in found for row in one[name][0]]] for name in names}

    def upsert(self, ids: Sequence[str], **columns: Any) -> None:
        """Write records.

        Raises:
            StoreError: One is beyond the quotas; none of these is written.
        """
        self._check(ids, columns)
        self._write(self._collection.upsert, ids, columns)

    def update(self, ids: Sequence[str], **columns: Any) -> None:
        """Change records.

        Raises:
            StoreError: One is beyond the quotas; none of these is written.
        """
        self._check(ids, columns)
        self._write(self._collection.update, ids, columns)

    def delete(self, ids: Sequence[str]) -> None:
        """Delete records."""
        self._write(self._collection.delete, self._possible(ids), {})

    def _possible(self, ids: Sequence[str]) -> list[str]:
        """Those that a record can have here: of others there is none, and to ask is refused."""
        return [id for id in ids if _bytes(id) <= self._quotas.id]

    def _check(self, ids: Sequence[str], columns: Mapping[str, Any]) -> None:
        rows = columns.get("embeddings")
        self._quotas.check_records(
            ids,
            columns.get("metadatas") or (),
            columns.get("documents") or (),
            0 if rows is None or not len(rows) else len(rows[0]),
        )

    def _write(
        self, send: Callable[..., Any], ids: Sequence[str], columns: Mapping[str, Any]
    ) -> None:
        for part in slices(len(ids), self._quotas.records):
            some = {key: value[part] for key, value in columns.items() if value is not None}
            send(ids=list(ids[part]), **some)

    def _pages(
        self,
        where: Mapping[str, Any] | None,
        limit: int | None,
        offset: int | None,
        include: Sequence[str],
    ) -> Iterable[Mapping[str, Any]]:
        self._quotas.check_filter(where)
        start, most = offset or 0, self._quotas.records
        while limit is None or limit > 0:
            size = most if limit is None else min(most, limit)
            found = self._collection.get(
                where=where, limit=size, offset=start, include=list(include)
            )
            yield found
            if len(found["ids"]) < size:
                return
            start, limit = start + size, None if limit is None else limit - size

    def _ids(self, where: Mapping[str, Any] | None) -> set[str]:
        return {id for page in self._pages(where, None, None, ()) for id in page["ids"]}

    def _smaller(self, where: Mapping[str, Any] | None) -> list[Mapping[str, Any] | None]:
        """Filters that all have to pass, each short enough, for one that may be too long.

        Long are only the lists of stamps of this package, by ``$nin``.
        """
        if where is None or len(json.dumps(where)) <= _WHERE_BYTES:
            return [where]
        long = _longest_list(where)
        if long is None:
            return [where]
        values = _list_at(where, long)
        half = len(values) // 2
        return [
            small
            for some in (values[:half], values[half:])
            for small in self._smaller(_with_list(where, long, some))
        ]


_TEXT = ": index smaller parts of the text as pages of their own"


def _advice(key: str) -> str:
    """What to do about a value that is too large."""
    if key.endswith(":vectors") or ":vectors" in key:
        return (
            ": index into a new collection with fewer vectors= (--vectors) or a smaller format= "
            "(--format int4 or bits), or use a Chroma server of your own, which has no such quota"
        )
    if key.startswith("metaembed:"):
        return f"{_TEXT}, or use a Chroma server of your own, which has no such quota"
    return ": shorten it"


def _exceeds(what: str, most: int) -> str:
    return f"{what}, and Chroma Cloud takes {most:,} at most ({PAGE})"


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def _size(value: Any) -> int:
    """Bytes of a value in metadata."""
    if isinstance(value, str):
        return _bytes(value)
    if isinstance(value, list | tuple):
        return sum(map(_size, value))
    return 8


def _predicates(where: Any) -> int:
    """Comparisons in a filter: a key with two of them counts twice."""
    if not isinstance(where, Mapping):
        return 0
    count = 0
    for key, value in where.items():
        if key in ("$and", "$or"):
            count += sum(map(_predicates, value))
        else:
            count += len(value) if isinstance(value, Mapping) else 1
    return count


def _longest_list(where: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """The way to the longest ``$nin`` in a filter that all of its parts have to pass."""
    found: list[tuple[int, tuple[Any, ...]]] = []

    def look(part: Mapping[str, Any], way: tuple[Any, ...]) -> None:
        for key, value in part.items():
            if key == "$and":
                for at, one in enumerate(value):
                    look(one, (*way, key, at))
            elif isinstance(value, Mapping) and len(value.get(_LIST, ())) > 1:
                found.append((len(value[_LIST]), (*way, key)))

    look(where, ())
    return max(found)[1] if found else None


def _list_at(where: Any, way: tuple[Any, ...]) -> list[Any]:
    for step in way:
        where = where[step]
    return list(where[_LIST])


def _with_list(where: Any, way: tuple[Any, ...], values: list[Any]) -> Any:
    """A copy of a filter with another list there."""
    if not way:
        return {**where, _LIST: values}
    step, rest = way[0], way[1:]
    changed = _with_list(where[step], rest, values)
    if isinstance(where, list):
        return [*where[:step], changed, *where[step + 1 :]]
    return {**where, step: changed}


def _joined(answers: Iterable[Mapping[str, Any]], include: Sequence[str]) -> dict[str, Any]:
    """Answers one behind the other."""
    joined: dict[str, Any] = {
        "ids": [],
        **{name: [] if name in include else None for name in _COLUMNS},
    }
    for answer in answers:
        joined["ids"].extend(answer["ids"])
        for name in _COLUMNS:
            if name in include and answer.get(name) is not None:
                joined[name].extend(answer[name])
    return joined
