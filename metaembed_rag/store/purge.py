"""Takes what was deleted out of a folder's database: ``python -m metaembed_rag.store.purge``.

Chroma 1.5.9 writes every record twice: into the collection, and into a log (``embeddings_queue``)
from which the nearest-neighbour graph is made. It drops log entries only when the graph has been
saved, which happens every 1,000 writes (``sync_threshold``), and never makes the file smaller: so
deleted text stays readable. Here the graph is saved at once, which empties the log, and then SQLite
writes its file again without what is no longer used (``VACUUM``).

It runs in a process of its own: SQLite's locks belong to a process, so two copies of SQLite in one
(Python's and Chroma's) would take each other's away; and a Chroma client that is open in the
calling process keeps the settings of the collection as they were.
"""

from __future__ import annotations

import sqlite3
import struct
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from metaembed_rag.errors import StoreError
from metaembed_rag.store.places import DATABASE

_AT_ONCE, _USUAL = 2, 1000
"""``sync_threshold``: the smallest that Chroma takes, and that with which collections are made."""
_GRAPH, _GRAPH_HEADER = "data_level0.bin", "header.bin"
_HEADER = struct.Struct("<i6QiI3QdQ")
"""hnswlib's: version, offset, places, those in use, bytes a place, and what is not of use."""
_ORPHANS = "DELETE FROM embedding_metadata_array WHERE id NOT IN (SELECT id FROM embeddings)"
_OURS = f"name GLOB 'metaembed-{'[0-9a-f]' * 32}'"
_NAMED = "SELECT str_value FROM collection_metadata WHERE key = 'metaembed:bundles'"
_WAITING = "SELECT 1 FROM embeddings_queue WHERE instr(metadata, collections.name)"
"""A record of another collection that Chroma has in its log only, as after a kill."""
_BUNDLES = (
    f"SELECT id FROM collections WHERE database_id IN (SELECT id FROM databases WHERE {_OURS}) "  # nosec B608
    f"AND ((name NOT IN (SELECT string_value FROM embedding_metadata "
    f"WHERE key = 'metaembed:bundle') AND NOT EXISTS ({_WAITING})) "
    f"OR database_id NOT IN (SELECT id FROM databases WHERE name IN ({_NAMED})))"
)
_KNOWS_TRIGRAMS = 3, 34
_MERGE = "INSERT INTO embedding_fulltext_search(embedding_fulltext_search) VALUES ('optimize')"
"""SQLite takes pieces of a deleted text out of its index when it next merges parts of that."""
_LOST = (
    f"DELETE FROM collection_metadata WHERE collection_id IN ({_BUNDLES})",  # nosec B608
    f"DELETE FROM segments WHERE collection IN ({_BUNDLES})",  # nosec B608
    f"DELETE FROM collections WHERE id IN ({_BUNDLES})",  # nosec B608
    f"DELETE FROM databases WHERE {_OURS} AND name NOT IN ({_NAMED})",  # nosec B608
)
"""Bundles that no record names, as a writer leaves them that is killed, and those of collections
that were deleted; see :mod:`metaembed_rag.store.bundles`."""
_SEGMENTS = (
    "SELECT segments.id FROM segments JOIN collections ON segments.collection = collections.id "
    "WHERE collections.name = ? AND segments.scope = 'VECTOR'"
)
_PATIENCE = 60.0
"""Seconds to wait until no reader of the database is in the way."""


def purge(folder: Path, collection: str, dimension: int) -> None:
    """Empty the log of one collection, then shrink the database, each in a process of its own.

    Killed at any moment, the database is whole, and the same call does the rest.

    Args:
        folder: The index's folder; no one may write to it meanwhile.
        collection: Name of the collection.
        dimension: D of its vectors.

    Raises:
        StoreError: It failed, for example for want of room.
    """
    _run(folder, "log", collection, str(dimension))
    _run(folder, "file")


def blank_unused(folder: Path, collection: str) -> None:
    """Overwrite the places of a collection's graph file in which there is no node yet.

    They hold scraps of the memory of the process that made or saved the graph, texts among them.
    Chroma makes an empty graph again whenever it opens it, so this is the last thing to do.

    Raises:
        StoreError: It failed.
    """
    _run(folder, "graph", collection)


def _run(folder: Path, step: str, *more: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", __name__, step, str(folder), *more],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise StoreError(
            f"the index at {folder} could not be compacted: {reason}; nothing is lost: make "
            f"room for a second copy of {DATABASE}, stop other readers, and run it again"
        )


def _empty_log(folder: str, collection: str, dimension: str) -> None:
    """Have Chroma save the graph now, after which it drops what the log held for it."""
    _save_every(folder, collection, _AT_ONCE)
    try:
        found = _opened(folder, collection)
        found.query(query_embeddings=[[1.0] + [0.0] * (int(dimension) - 1)], n_results=1)
    finally:
        _save_every(folder, collection, _USUAL)


def _save_every(folder: str, collection: str, writes: int) -> None:
    """Set after how many writes the graph is saved; heeded by clients that are opened later."""
    _opened(folder, collection).modify(configuration={"hnsw": {"sync_threshold": writes}})


def _opened(folder: str, collection: str) -> Any:
    import chromadb
    from chromadb.api.shared_system_client import SharedSystemClient
    from chromadb.config import Settings

    SharedSystemClient.clear_system_cache()  # else the client before is used, with its settings
    client = chromadb.PersistentClient(folder, settings=Settings(anonymized_telemetry=False))
    return client.get_collection(collection, embedding_function=None)


def _shrink_file(folder: str) -> None:
    with closing(sqlite3.connect(Path(folder, DATABASE), timeout=_PATIENCE)) as database:
        with database:  # what Chroma leaves of a deleted collection, for others to inherit
            for statement in (_ORPHANS, *_LOST):
                database.execute(statement)
            if sqlite3.sqlite_version_info >= _KNOWS_TRIGRAMS:
                database.execute(_MERGE)
        database.execute("VACUUM")


def _blank_graph(folder: str, collection: str) -> None:
    with closing(sqlite3.connect(Path(folder, DATABASE), timeout=_PATIENCE)) as database:
        segments = database.execute(_SEGMENTS, [collection]).fetchall()
    for (segment,) in segments:  # of this collection only: others may be written to meanwhile
        graph = Path(folder, segment, _GRAPH)
        if graph.exists():
            _blank_unused(graph)


def _blank_unused(graph: Path) -> None:
    header = graph.with_name(_GRAPH_HEADER).read_bytes()
    if len(header) != _HEADER.size:
        return
    _, _, places, used, size, *_ = _HEADER.unpack(header)
    length = graph.stat().st_size
    if not size or length % size or not used * size <= length <= places * size:
        return  # another layout than the one that is known: leave it alone
    with graph.open("r+b") as file:  # a graph that is saved again has fewer places than it may
        file.seek(used * size)
        for _ in range(length // size - used):
            file.write(bytes(size))


_STEPS: Mapping[str, Any] = {"log": _empty_log, "file": _shrink_file, "graph": _blank_graph}

if __name__ == "__main__":
    _STEPS[sys.argv[1]](*sys.argv[2:])
