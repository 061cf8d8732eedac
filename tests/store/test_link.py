from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from chromadb.api.models.Collection import Collection
from chromadb.errors import InternalError

from metaembed_rag.errors import IndexClosedError, StoreError
from metaembed_rag.store import systems
from metaembed_rag.store.chroma import ChromaStore
from metaembed_rag.store.collection import CollectionModel
from metaembed_rag.store.places import MARK
from tests.support.counting import FILES, settled

ABOUT = CollectionModel("model", "f" * 32, dimension=4, vectors=3)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ChromaStore]:
    with closing(ChromaStore.open(tmp_path / "i", lambda: ABOUT)) as store:
        yield store


def written(store: ChromaStore, id: str) -> None:
    connection = store._link._connection
    with store._writes.write(connection.seen):
        connection.collection.upsert(ids=[id], embeddings=[[1.0, 0, 0, 0]], metadatas=[{"a": 1}])


def open_file(link: Path) -> Path:
    """The file behind an entry of :data:`FILES`; the entry itself where it has been closed."""
    try:
        return link.readlink()
    except OSError:
        return link


def test_connecting_anew_closes_what_was_before(store):
    written(store, "a")
    store.reconnect()
    assert store.ids() == ["a"]
    store.close()
    assert store.places.folder not in {system.folder for system in systems._running}
    for use in (store.reconnect, store.origin, store.check_open):
        with pytest.raises(IndexClosedError):
            use()


def test_after_a_write_that_failed_the_next_one_takes_another_connection(store, monkeypatch):
    """The first may be in the middle of its transaction, and a write would wait for it for ever."""
    written(store, "a")
    first = store._link._connection.client

    def failing(self, **given):
        raise InternalError("disk I/O error")

    with monkeypatch.context() as patch, pytest.raises(StoreError, match="make room"):
        patch.setattr(Collection, "delete", failing)
        store.delete(["a"])
    assert store.ids() == ["a"]  # what only reads goes on
    assert store._link._connection.client is first
    store.delete(["a"])
    assert store.ids() == []
    assert store._link._connection.client is not first
    second = store._link._connection.client
    store.delete(["a"])
    assert store._link._connection.client is second
    assert first._system not in systems._running


def test_an_index_in_memory_stays_when_a_write_failed(monkeypatch):
    def failing(self, **given):
        raise InternalError("no memory")

    with closing(ChromaStore.open(":memory:", lambda: ABOUT)) as store:
        written(store, "a")
        with monkeypatch.context() as patch, pytest.raises(StoreError):
            patch.setattr(Collection, "delete", failing)
            store.delete(["a"])
        store.delete(["b"])
        assert store.ids() == ["a"]


@pytest.mark.skipif(not FILES.is_dir(), reason="looks into /proc")
def test_fault_31_a_reader_without_a_cache_beside_a_writer_keeps_no_files_open(store):
    written(store, "a")
    folder, early, late = store.places.folder, [], []

    def files() -> int:
        return sum(folder.resolve() in open_file(one).parents for one in FILES.iterdir())

    for number in range(12):
        (folder / MARK).write_text(f"another-process-{number}")
        store._link.see_writes(store._writes.is_behind)
        assert store.ids() == ["a"]
        if 1 <= number < 5:
            early.append(settled(files))
        elif number >= 8:
            late.append(settled(files))
    # Chroma has now one and now two connections to SQLite, of three files each.
    assert min(late) <= max(early) + 3
    assert [system.folder for system in systems._running].count(folder.resolve()) == 1
