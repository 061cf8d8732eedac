from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from metaembed_rag.errors import IndexClosedError
from metaembed_rag.store import systems
from metaembed_rag.store.chroma import ChromaStore
from metaembed_rag.store.collection import CollectionModel
from metaembed_rag.store.places import MARK

ABOUT = CollectionModel("model", "f" * 32, dimension=4, vectors=3)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ChromaStore]:
    with closing(ChromaStore.open(tmp_path / "i", lambda: ABOUT)) as store:
        yield store


def written(store: ChromaStore, id: str) -> None:
    connection = store._link._connection
    with store._writes.write(connection.seen):
        connection.collection.upsert(ids=[id], embeddings=[[1.0, 0, 0, 0]], metadatas=[{"a": 1}])


def test_connecting_anew_closes_what_was_before(store):
    written(store, "a")
    store.reconnect()
    assert store.ids() == ["a"]
    store.close()
    assert store.places.folder not in {system.folder for system in systems._running}
    for use in (store.reconnect, store.origin, store.check_open):
        with pytest.raises(IndexClosedError):
            use()


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="looks into /proc")
def test_fault_31_a_reader_without_a_cache_beside_a_writer_keeps_no_files_open(store):
    written(store, "a")
    folder, counts = store.places.folder, []
    for number in range(12):
        (folder / MARK).write_text(f"another-process-{number}")
        store._link.see_writes(store._writes.is_behind)
        assert store.ids() == ["a"]
        counts.append(len(list(Path("/proc/self/fd").iterdir())))
    assert max(counts[2:]) <= counts[1] + 2
    assert [system.folder for system in systems._running].count(folder.resolve()) == 1
