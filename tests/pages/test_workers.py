"""Worker processes that answer, misbehave, are used again and leave nothing behind."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from metaembed_rag.errors import EncryptedFileError, MissingExtraError
from metaembed_rag.pages import Page
from metaembed_rag.pages.frames import error_frame, error_of, page_frame, page_of
from metaembed_rag.pages.workers import Pool, Worker, WorkerLostError, WorkerStartError
from tests.support.files import two_colors

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="looks into /proc")

ODD = "tests.support.odd_worker"


@pytest.fixture
def pool() -> Iterator[Pool]:
    pool = Pool(ODD)
    yield pool
    pool.close()


def ask(worker: Worker, deed: str, seconds: float = 20.0, most: int = 10) -> int | None:
    worker.send({"do": deed})
    return worker.receive(seconds, lambda header, body: header.get("pid"), most)


def runs(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_a_worker_answers_and_is_used_again(pool: Pool) -> None:
    pids = []
    for _ in range(2):
        with pool.lease() as worker:
            pids.append(ask(worker, "answer"))
    assert pids == [worker.pid] * 2


def test_a_worker_belongs_to_one_caller_at_a_time_and_two_are_kept(pool: Pool) -> None:
    with pool.lease() as one, pool.lease() as two, pool.lease() as three:
        pids = [one.pid, two.pid, three.pid]
        assert len(set(pids)) == 3
    assert sorted(runs(pid) for pid in pids) == [False, True, True]


def test_a_worker_that_has_not_ended_its_answer_is_stopped(pool: Pool) -> None:
    with pool.lease() as worker:
        ask(worker, "begin")
    assert not runs(worker.pid)


def test_a_worker_that_died_while_it_was_idle_is_replaced(pool: Pool) -> None:
    with pool.lease() as worker:
        ask(worker, "answer")
    os.kill(worker.pid, 9)
    os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)
    with pool.lease() as other:
        assert ask(other, "answer") == other.pid != worker.pid


def test_a_new_worker_can_be_had_though_one_is_idle(pool: Pool) -> None:
    with pool.lease() as one:
        ask(one, "answer")
    with pool.lease(new=True) as other:
        assert other.pid != one.pid
        assert not other.used
    with pool.lease() as again:
        assert again.used


@pytest.mark.parametrize(
    ("deed", "cause", "how"),
    [
        ("abort", "memory", "SIGABRT"),
        ("crash", "crash", "SIGSEGV"),
        ("leave", "crash", "exit code 3"),
        ("fail", "crash", "KeyError: 'x'"),
        ("nonsense", "crash", "too long"),
        ("hang", "time", "no answer in time"),
    ],
)
def test_a_lost_worker_says_what_ended_it_and_is_gone(
    pool: Pool, deed: str, cause: str, how: str
) -> None:
    with pytest.raises(WorkerLostError, match=how) as caught, pool.lease() as worker:
        ask(worker, deed, seconds=0.1 if deed == "hang" else 20)
    assert caught.value.cause == cause
    assert not runs(worker.pid)


def test_a_body_over_what_was_expected_is_not_read(pool: Pool) -> None:
    with pytest.raises(WorkerLostError, match="too long"), pool.lease() as worker:
        ask(worker, "answer", most=3)


def test_pools_leave_no_process_no_pipe_and_no_zombie() -> None:
    before = sorted(Path("/proc/self/fd").iterdir())
    pool = Pool(ODD)
    with pool.lease() as one, pool.lease() as two:
        ask(one, "answer")
        with pytest.raises(WorkerLostError):
            ask(two, "abort")
    pool.close()
    assert [runs(worker.pid) for worker in (one, two)] == [False, False]
    assert len(sorted(Path("/proc/self/fd").iterdir())) == len(before)


@pytest.mark.parametrize("executable", ["", "/nowhere/python", "/bin/false"])
def test_a_program_that_brings_no_python_is_told(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, executable: str
) -> None:
    monkeypatch.setattr(sys, "executable", executable)
    with pytest.raises(WorkerStartError, match=r"own Python|nowhere|exit code 1"), pool.lease():
        pass


def test_a_page_comes_through_with_every_field_and_pixel() -> None:
    page = Page("a.pdf", 2, "text \u2603", two_colors(), {"year": 1, "of": 0.1}, page_count=3)
    assert page_of(*page_frame(page), "a.pdf") == page


def test_a_page_cannot_say_that_it_is_of_another_file_or_in_a_file() -> None:
    page = Page("other.pdf", text="x", id="other", image_path="/etc/passwd")
    came = page_of(*page_frame(page), "a.pdf")
    assert (came.source, came.id, came.image_path) == ("a.pdf", "a.pdf#1", None)


@pytest.mark.parametrize(
    ("header", "body"),
    [
        ({}, b""),
        ({"page": {"number": 0}}, b""),
        ({"page": {"nothing": 1}}, b""),
        ({"page": {}, "size": [2, 2]}, b"three"),
        ({"page": {}, "size": 2}, b""),
    ],
)
def test_nonsense_is_no_page(header: dict[str, object], body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        page_of(header, body, "a.pdf")


def test_errors_come_through_with_their_class_and_words() -> None:
    error = error_of(error_frame(EncryptedFileError("a.pdf", "is encrypted")))
    assert (type(error), str(error)) == (EncryptedFileError, "a.pdf: is encrypted")
    error = error_of(error_frame(MissingExtraError("pip install it")))
    assert (type(error), str(error)) == (MissingExtraError, "pip install it")


@pytest.mark.parametrize("kind", ["ValueError", "importlib", "Any", 3, None])
def test_an_error_of_another_kind_is_nonsense(kind: object) -> None:
    with pytest.raises(ValueError, match="a frame"):
        error_of({"error": {"kind": kind, "source": "a", "reason": "b", "text": "c"}})
