"""Promise 7: one process writes at a time; another waits for it, or is told who it is."""

from __future__ import annotations

import json
import os
import threading
import time

import pytest

from metaembed_rag import PageIndex
from metaembed_rag.errors import IndexLockedError
from metaembed_rag.store.places import HOLDER
from tests.soak.children import start
from tests.soak.state import opened, pages_of

pytestmark = pytest.mark.integration


def _hold(folder):
    with opened(folder) as index, index._store.writing():
        (folder / "held").touch()
        while not (folder / "let go").exists():
            time.sleep(0.05)


def held(folder):
    """A process that holds the lock of an index until it is told to let go, once it does."""
    first = start(_hold, folder)
    while not (folder / "held").exists():
        time.sleep(0.05)
    return first


def test_the_second_is_told_who_writes_and_may_wait(tmp_path, run):
    with opened(tmp_path / "i") as index:
        index.add(pages_of(range(3), 1))
    first = held(tmp_path / "i")
    with opened(tmp_path / "i") as index:
        with pytest.raises(IndexLockedError, match=f"process {first.process} .*--wait SECONDS"):
            index.delete("doc0#1")
        place = tmp_path / "i"
        _, err = run("delete", "--id", "doc0#1", "--index", place, code=1)
        assert f"process {first.process} " in err
        threading.Timer(1, (place / "let go").touch).start()
        out, _ = run("delete", "--id", "doc0#1", "--index", place, "--wait", 60, "--json")
        assert json.loads(out)["deleted"] == 1
    first.wait(30)


@pytest.mark.parametrize("words", [b"", b"\xff", b"[1, 2]", b'["\\u001b[31m", {}, [], 5]'])
def test_what_a_holder_says_of_itself_may_be_anything(tmp_path, words):
    with opened(tmp_path / "i") as index:
        index.add(pages_of(range(3), 1))
    first = held(tmp_path / "i")
    (tmp_path / "i" / HOLDER).write_bytes(words)
    with opened(tmp_path / "i") as index, pytest.raises(IndexLockedError) as caught:
        index.delete("doc0#1")
    assert "another process is writing" in str(caught.value)
    assert "\x1b" not in str(caught.value)
    first.kill()
    first.wait(30)


def test_the_holder_is_named_by_number_machine_program_and_time(tmp_path):
    with PageIndex.open(tmp_path / "i") as index, index._store.writing():
        process, host, _, since = json.loads((tmp_path / "i" / HOLDER).read_text())
    assert process == os.getpid()
    assert host
    assert since.startswith("2")
