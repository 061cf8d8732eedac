"""Processes that are forked once an index is open: each program runs in a process of its own."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from metaembed_rag import forks
from metaembed_rag.index import PageIndex
from metaembed_rag.pages import Page
from metaembed_rag.testing import FakeEncoder

pytestmark = pytest.mark.integration

BEGIN = """
import os, signal, sys, threading
from pathlib import Path
from metaembed_rag.errors import IndexClosedError, ModelError
from metaembed_rag.index import PageIndex
from metaembed_rag.pages import Page
from metaembed_rag.testing import FakeEncoder

def in_child(work):
    '''The exit code of a forked child, which ends as programs do; one that hangs is killed.'''
    child = os.fork()
    if child == 0:
        signal.alarm(100)
        work()
        sys.exit(7)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def refused(use, error=IndexClosedError):
    try:
        use()
    except error as found:
        assert "after the fork" in str(found) and "'spawn'" in str(found), found
    else:
        raise AssertionError("it was not refused")

def opened(where):
    index = PageIndex.open(where, FakeEncoder())
    index.add([Page(source=text, text=text) for text in ("apples", "whales")])
    index.search("apples", candidates=5)
    return index

where = sys.argv[1]
"""


def program(body: str, *arguments: object) -> None:
    """Run a program to its end."""
    code = BEGIN + textwrap.dedent(body)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=280,
        cwd=Path(__file__).parents[1],
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("where", ["folder", ":memory:"])
def test_fault_12_a_forked_child_is_told_to_open_after_the_fork(tmp_path, where):
    program(
        """
        import asyncio, copy
        import numpy as np
        index = opened(where)

        def work():
            for use in (
                lambda: index.search("apples"),
                lambda: index.search("apples", candidates=2, k=1),
                lambda: index.search("apples", hybrid=True),
                lambda: index.search_vectors(np.eye(16, 64, dtype=np.float32)),
                lambda: index.score("apples", ["apples#1"]),
                lambda: index.recall(["apples"]),
                lambda: index.calibrate(["apples"]),
                lambda: index.add([Page(source="x", text="x")]),
                lambda: index.sync([]),
                lambda: index.delete("apples#1"),
                lambda: index.get(["apples#1"]),
                lambda: index.vectors(["apples#1"]),
                index.ids,
                index.info,
                index.__len__,
                lambda: PageIndex.open(where, FakeEncoder()),
                lambda: PageIndex.open(":memory:", FakeEncoder()),
            ):
                refused(use)
            index.close()

        assert in_child(work) == 7
        assert index.search("apples", candidates=5)[0].page.id == "apples#1"
        index.add([Page(source="x", text="x")])
        index.close()
        assert in_child(lambda: refused(lambda: PageIndex.open(where, FakeEncoder()))) == 7
        """,
        tmp_path / "i" if where == "folder" else where,
    )


def test_fault_12_a_child_takes_neither_lock_nor_files_from_its_parent(tmp_path):
    program(
        """
        from filelock import FileLock, Timeout
        index, memory = opened(where), opened(":memory:")
        picture = memory._pictures.folder
        copied = memory._searcher.vectors()._folder

        def fork(done):
            assert in_child(lambda: None) == 7  # it leaves the block that holds the lock
            try:
                FileLock(Path(where) / ".metaembed.lock").acquire(timeout=0)
            except Timeout:
                return
            raise AssertionError("the lock was lost")

        index.add([Page(source="x", text="x")], progress=fork)
        assert picture.exists() and copied.exists()
        assert memory.search("apples")[0].page.id == "apples#1"
        """,
        tmp_path / "i",
    )


def test_fault_12_locks_that_were_held_at_the_fork_keep_nobody_waiting(tmp_path):
    program(
        """
        index = opened(where)
        store = index._store
        locks = [store._link._lock, index._searcher._opening, index._searcher._cache._lock]
        held, done = threading.Event(), threading.Event()

        def hold():
            for lock in locks:
                lock.acquire()
            held.set()
            done.wait()
            for lock in locks:
                lock.release()

        thread = threading.Thread(target=hold)
        thread.start()
        held.wait()
        code = in_child(lambda: (refused(lambda: index.search("apples")), os._exit(7)))
        done.set()
        thread.join()
        assert code == 7
        """,
        tmp_path / "i",
    )


def test_fault_12_an_index_is_opened_after_the_fork(tmp_path):
    program(
        """
        def work():
            with opened(where) as index:
                assert len(index) == 2
                assert index.search("apples", candidates=5)[0].page.id == "apples#1"

        assert in_child(work) == 7
        assert in_child(work) == 7
        assert len(opened(where)) == 2
        """,
        tmp_path / "i",
    )


def test_fault_12_a_child_searches_in_threads_of_its_own(tmp_path):
    program(
        """
        import asyncio
        from metaembed_rag.adapters import in_search_thread
        asyncio.run(in_search_thread(len, "ab"))

        def work():
            assert asyncio.run(in_search_thread(len, "abc")) == 3

        assert in_child(work) == 7
        """,
        tmp_path,
    )


def test_fault_12_a_model_in_a_forked_child_does_not_wait_for_threads(tmp_path):
    program(
        """
        import torch
        from metaembed_rag.model import MetaEmbedEncoder
        torch.set_num_threads(2)
        encoder = MetaEmbedEncoder.from_pretrained("mini", device="cpu")
        encoder.encode_query(["apples"])

        def work():
            refused(lambda: encoder.encode_query(["apples"]), ModelError)
            refused(lambda: MetaEmbedEncoder.from_pretrained("mini"), ModelError)
            torch.set_num_threads(1)
            assert encoder.encode_query(["apples"]).shape[0] == 1

        assert in_child(work) == 7
        assert encoder.encode_query(["apples"]).shape[0] == 1
        """,
        tmp_path,
    )


def count(index: PageIndex, answer) -> None:
    with index:
        answer.put((len(index), index.search("apples")[0].page.id))


def test_fault_12_a_spawned_process_is_handed_an_index(tmp_path):
    with PageIndex.open(tmp_path / "i", FakeEncoder()) as index:
        index.add([Page(source="apples", text="apples"), Page(source="whales", text="whales")])
        context = multiprocessing.get_context("spawn")
        answer = context.Queue()
        child = context.Process(target=count, args=(index, answer))
        child.start()
        assert answer.get(timeout=60) == (2, "apples#1")
        child.join()


def test_threads_are_lost_only_in_another_process(monkeypatch):
    monkeypatch.setattr(forks, "_STARTED", {})
    assert not forks.lost_threads("library")
    forks.note_threads("library")
    assert not forks.lost_threads("library")
    monkeypatch.setattr(forks.os, "getpid", lambda: -1)
    forks.note_threads("library")
    assert forks.lost_threads("library")
