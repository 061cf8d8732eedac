"""Locks are waited for as long as whoever holds them gets on."""

from __future__ import annotations

import threading
import time

import pytest
from filelock import FileLock, Timeout

from metaembed_rag.index import PageIndex
from metaembed_rag.pages import Page
from metaembed_rag.store import cache
from metaembed_rag.store.lock import held_in_turn
from metaembed_rag.testing import FakeEncoder


def test_who_writes_nothing_is_waited_for_only_so_long(tmp_path):
    with FileLock(tmp_path / ".lock"):
        begin = time.monotonic()
        with pytest.raises(Timeout), held_in_turn(tmp_path / ".lock", 0.2, 100):
            pass
        assert time.monotonic() - begin < 10


def test_who_gets_on_is_waited_for(tmp_path):
    (tmp_path / "generation").mkdir()
    done = threading.Event()

    def work() -> None:
        with FileLock(tmp_path / ".lock"):
            held.set()
            for n in range(8):
                (tmp_path / "generation" / str(n)).touch()
                time.sleep(0.1)
            done.set()

    held = threading.Event()
    worker = threading.Thread(target=work)
    worker.start()
    held.wait()
    with held_in_turn(tmp_path / ".lock", 0.4, 100):
        assert done.is_set()
    worker.join()


def test_fault_30_a_process_that_stopped_with_the_lock_stops_no_search(
    tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(cache, "_STALLED", 0.2)
    encoder = FakeEncoder(dimension=16, query_vectors=4, document_vectors=8)
    with PageIndex.open(tmp_path, encoder) as index, PageIndex.open(tmp_path, encoder) as other:
        index.add([Page("a", text="red apple")])
        other.search("apple")
        with FileLock(index._searcher._cache.folder / ".lock"):
            other.add([Page("b", text="red whale")])
            found = other.search("whale", 2)
            assert {hit.page.source for hit in found} == {"a", "b"}
            assert found.plan.source == "chroma"
            assert "has written nothing for" in caplog.text
            assert "without the vector cache for now" in caplog.text
