"""Chroma's first question of a process and the requests that write exclude each other."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from filelock import FileLock

from metaembed_rag import Page, PageIndex
from metaembed_rag.errors import IndexLockedError
from metaembed_rag.store import replaying
from metaembed_rag.store.places import LOG
from metaembed_rag.testing import FakeEncoder
from tests.support.indexes import index_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    where = tmp_path / "index"
    with PageIndex.open(where, FakeEncoder()) as index:
        index.add([Page("a", text="a fox")])
    return where


def opened_and_asked(folder: Path) -> list[str]:
    with PageIndex.open(folder, FakeEncoder()) as index:
        return index.ids()


def added(folder: Path) -> list[str]:
    with PageIndex.open(folder, FakeEncoder()) as index:
        return list(index.add([Page("b", text="a dog")]).acknowledged)


@pytest.mark.parametrize("act", [opened_and_asked, added])
def test_it_waits_while_another_process_is_at_the_log(folder: Path, act) -> None:
    done: list[list[str]] = []
    thread = threading.Thread(target=lambda: done.append(act(folder)))
    with FileLock(folder / LOG):
        thread.start()
        thread.join(0.5)
        assert thread.is_alive()
    thread.join(30)
    assert done


def test_a_request_that_writes_waits_though_its_process_has_asked_before(folder: Path) -> None:
    done: list[int] = []
    with PageIndex.open(folder, FakeEncoder()) as index:
        index.add([Page("b", text="a dog")])
        thread = threading.Thread(target=lambda: done.append(index.delete("b#1")))
        with FileLock(folder / LOG):
            thread.start()
            thread.join(0.5)
            assert thread.is_alive()
            assert index.ids() == ["a#1", "b#1"]  # who has asked before does not wait
        thread.join(30)
        assert done == [1]


def test_what_holds_it_too_long_is_a_sentence(folder: Path, monkeypatch) -> None:
    monkeypatch.setattr(replaying, "_PATIENCE", 0.1)
    with FileLock(folder / LOG), pytest.raises(IndexLockedError, match="or stop it, and try again"):
        opened_and_asked(folder)
    assert opened_and_asked(folder) == ["a#1"]


def test_a_folder_that_cannot_be_locked_is_read_all_the_same(folder: Path) -> None:
    (folder / LOG).unlink()
    (folder / LOG).mkdir()  # the root user may write everywhere, but not lock a folder
    assert opened_and_asked(folder) == ["a#1"]


def test_in_memory_nothing_is_locked() -> None:
    with index_of([Page("a", text="a fox")], FakeEncoder()) as index:
        assert len(index) == 1


_OPENS = """
import sys, time
from metaembed_rag import PageIndex
from metaembed_rag.testing import FakeEncoder
end = time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    with PageIndex.open(sys.argv[1], FakeEncoder()) as index:
        index.ids()
"""


@pytest.mark.slow
def test_no_opening_puts_an_earlier_version_in_the_place_of_one_that_was_acknowledged(
    folder: Path,
) -> None:
    """Without the lock about one write in a hundred is gone again, on two busy cores."""
    seconds = 40
    others = [
        subprocess.Popen([sys.executable, "-c", _OPENS, str(folder), str(seconds)])
        for _ in range(3)
    ]
    with PageIndex.open(folder, FakeEncoder()) as index:
        store, version, end = index._store, 0, time.monotonic() + seconds
        metadata, first = store.stored(["a#1"])["a#1"], index.vectors(["a#1"])[:, 0]
        while time.monotonic() < end:
            with store.writing():
                for _ in range(10):
                    version += 1
                    store.upsert(["a#1"], first, [{**metadata, "version": version}])
                    assert store.stored(["a#1"])["a#1"]["version"] == version
    assert [other.wait(60) for other in others] == [0, 0, 0]
