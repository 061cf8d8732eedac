from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from metaembed_rag.errors import IndexClosedError, StoreError
from metaembed_rag.store.chroma import ChromaStore
from metaembed_rag.store.collection import CollectionModel
from metaembed_rag.store.systems import is_running

ABOUT = CollectionModel("model", "f" * 32, dimension=4, vectors=3)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ChromaStore]:
    with closing(ChromaStore.open(tmp_path / "i", lambda: ABOUT)) as store:
        yield store


def written(store: ChromaStore, id: str) -> None:
    connection = store._link._connection
    with store._writes.write(connection.seen):
        connection.collection.upsert(ids=[id], embeddings=[[1.0, 0, 0, 0]], metadatas=[{"a": 1}])


def test_a_released_folder_is_nobodys_and_is_connected_again(store):
    written(store, "a")
    with store.writing(), store.released():
        assert not is_running(store.places.folder)
        with closing(sqlite3.connect(store.places.folder / "chroma.sqlite3")) as database:
            database.execute("VACUUM")
    assert store.ids() == ["a"]


def test_questions_wait_while_a_folder_is_released(store):
    written(store, "a")
    asked = threading.Event()

    def count() -> int:
        asked.set()
        return store.count()

    with ThreadPoolExecutor(1) as pool:
        with store.released():
            answer = pool.submit(count)
            assert asked.wait(10)
            assert not answer.done()
        assert answer.result(timeout=30) == 1


def test_a_folder_that_is_open_twice_is_not_released(store):
    with closing(ChromaStore.open(store.where, None)) as other:
        with pytest.raises(StoreError, match="open elsewhere in this process"), store.released():
            pytest.fail("it was released")
        assert other.count() == store.count() == 0
    with store.released():
        pass
    assert store.count() == 0


def test_connecting_anew_closes_what_was_before(store):
    written(store, "a")
    store.reconnect()
    assert store.ids() == ["a"]
    store.close()
    assert not is_running(store.places.folder)
    for use in (store.reconnect, store.origin, store.check_open):
        with pytest.raises(IndexClosedError):
            use()
