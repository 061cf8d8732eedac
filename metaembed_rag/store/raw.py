"""What Chroma holds of pages, as it is: damaged records too, and nothing is noted or told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from chromadb.errors import ChromaError, NotFoundError
from numpy.typing import NDArray

from metaembed_rag.store.link import Connection
from metaembed_rag.store.requests import slices_to_read
from metaembed_rag.store.server import send_halving
from metaembed_rag.store.table import RecordTable


@dataclass(frozen=True)
class RawRecord:
    """What Chroma answers about one id.

    Attributes:
        id: The id.
        metadata: Whatever lies there; empty where there is nothing.
        vector: The one vector that Chroma's own search uses, float32 of shape (D,); None where
            Chroma cannot give it, or was not asked.
    """

    id: str
    metadata: Mapping[str, Any]
    vector: NDArray[np.float32] | None = None


def read_raw(
    connection: Connection,
    table: RecordTable,
    ids: Sequence[str],
    bytes_a_page: int,
    *,
    vectors: bool,
) -> list[RawRecord]:
    """The records of those ids that exist.

    Args:
        connection: To the collection.
        table: Makes its records whole.
        ids: Without repeats.
        bytes_a_page: Of a page's vectors as text.
        vectors: Ask for Chroma's own vectors, too. A damaged graph ends the process that asks.

    Raises:
        ChromaError: Chroma cannot read them even without those vectors.
    """
    found: list[RawRecord] = []
    most = connection.client.get_max_batch_size()

    def send(part: slice) -> None:
        found.extend(_asked(connection.collection, table, ids[part], vectors))

    for part in slices_to_read(len(ids), most, bytes_a_page):
        send_halving(part, send, ids)
    return found


def _asked(
    collection: Any, table: RecordTable, ids: Sequence[str], vectors: bool
) -> Iterable[RawRecord]:
    """The records; where Chroma lacks the vector of one it refuses all, so halves are asked for."""
    try:
        got = collection.get(ids=list(ids), include=["embeddings"]) if vectors else None
        rows = table.rows(collection, ids)
    except NotFoundError:
        raise
    except ChromaError:
        if not vectors:
            raise
        middle = len(ids) // 2
        if not middle:
            return _asked(collection, table, ids, False)
        halves = (ids[:middle], ids[middle:])
        return [record for half in halves for record in _asked(collection, table, half, True)]
    given = {} if got is None else dict(zip(got["ids"], got["embeddings"], strict=True))
    return [RawRecord(id, metadata, _vector(given.get(id))) for id, metadata in rows]


def _vector(given: Any) -> NDArray[np.float32] | None:
    return None if given is None else np.asarray(given, dtype=np.float32)
