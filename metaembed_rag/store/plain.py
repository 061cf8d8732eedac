"""A Chroma collection that another program wrote: its texts and metadata, a part at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chromadb.errors import NotFoundError

from metaembed_rag.errors import IndexNotFoundError, StoreError
from metaembed_rag.store.access import PLAIN, ServerAccess
from metaembed_rag.store.collection import is_of_this_package
from metaembed_rag.store.connect import chroma_errors, connect, one_place
from metaembed_rag.store.given import ChromaClient
from metaembed_rag.store.places import DATABASE, MEMORY, is_server
from metaembed_rag.store.requests import slices

_AT_ONCE = 200
_NAMED = 10
"""Collections that a message names."""


@dataclass(frozen=True)
class PlainRecord:
    """A record of another program.

    Attributes:
        id: Chroma's id of it.
        text: Its document; ``""`` where it has none.
        metadata: What Chroma holds beside it.
    """

    id: str
    text: str
    metadata: Mapping[str, Any]


class PlainCollection:
    """The records of a collection, read in the order of their ids. Use :func:`plain_collection`."""

    def __init__(self, client: Any, collection: Any, where: str) -> None:
        self._client, self._collection, self._where = client, collection, where

    def __len__(self) -> int:
        with chroma_errors(self._where):
            return int(self._collection.count())

    def __iter__(self) -> Iterator[PlainRecord]:
        """The records.

        Raises:
            StoreError: None of them has a document.
        """
        seen = texts = 0
        with chroma_errors(self._where):
            ids = sorted(self._collection.get(include=[])["ids"])
        for part in slices(len(ids), min(_AT_ONCE, self._client.get_max_batch_size())):
            for record in self._read(ids[part]):
                seen, texts = seen + 1, texts + bool(record.text.strip())
                if texts or seen < len(ids):
                    yield record
        if seen and not texts:
            raise StoreError(
                f"the collection {self._collection.name!r} at {self._where} holds {seen} records "
                f"and not one document: vectors of another model say nothing to this one, so index "
                f"the files that they were made of, `metaembed index PATH --index …`"
            )

    def _read(self, ids: list[str]) -> list[PlainRecord]:
        with chroma_errors(self._where):
            found = self._collection.get(ids=ids, include=["documents", "metadatas"])
        rows = zip(found["ids"], found["documents"], found["metadatas"], strict=True)
        return [PlainRecord(id, text or "", metadata or {}) for id, text, metadata in rows]


@contextmanager
def plain_collection(
    where: str | os.PathLike[str] | ChromaClient, name: str, access: ServerAccess = PLAIN
) -> Iterator[PlainCollection]:
    """A collection that another program wrote, at any place that an index may be at.

    Args:
        where: A folder that Chroma keeps, an address, or an open client of Chroma.
        name: Of the collection.
        access: How a server is asked.

    Raises:
        IndexNotFoundError: There is no such database or collection.
        StoreError: It was made by this package, or Chroma fails.
    """
    place, access = one_place(where, access)
    if place == MEMORY and access.client is None:
        raise StoreError("a database in memory is empty; name a folder, an address or a client")
    if access.client is None and not is_server(place) and not (Path(place) / DATABASE).exists():
        raise IndexNotFoundError(
            f"there is no Chroma database in {place}: name the folder in which a "
            f"{DATABASE} lies (persist_directory= in LangChain), or the address of a server"
        )
    with chroma_errors(place):
        client = connect(place, create=False, access=access)
        try:
            yield PlainCollection(client, _collection(client, name, place), place)
        finally:
            client.close()


def _collection(client: Any, name: str, place: str) -> Any:
    try:
        found = client.get_collection(name, embedding_function=None)
    except NotFoundError:
        raise IndexNotFoundError(
            f"there is no collection {name!r} at {place}{_others(client)}: name one by collection= "
            f"(--collection)"
        ) from None
    if is_of_this_package(found):
        raise StoreError(
            f"the collection {name!r} at {place} is an index of this package already: open it, or "
            f"copy it with `metaembed export` and `metaembed import`"
        )
    return found


def _others(client: Any) -> str:
    """How a sentence goes on that says which collections there are."""
    names = sorted(client.collection_names())
    if not names:
        return ", nor any other"
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"; there are {', '.join(map(repr, names[:_NAMED]))}{more}"
