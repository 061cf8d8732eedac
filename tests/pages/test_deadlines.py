"""One thread looks after all deadlines; what is over in time is never called late."""

from __future__ import annotations

import os
import threading
import time

import pytest

from metaembed_rag.pages.deadlines import Deadlines

SHORT, LONG = 0.05, 60.0


def test_what_takes_too_long_is_called_once() -> None:
    called = threading.Event()
    with Deadlines().within(SHORT, called.set):
        assert called.wait(LONG)


def test_what_is_over_in_time_is_not_called() -> None:
    deadlines, late = Deadlines(), threading.Event()
    with deadlines.within(SHORT, late.set):
        pass
    passed = threading.Event()
    with deadlines.within(2 * SHORT, passed.set):
        assert passed.wait(LONG)
    assert not late.is_set()


def test_a_nearer_deadline_wakes_the_thread_that_sleeps_for_a_farther_one() -> None:
    deadlines, late, called = Deadlines(), threading.Event(), threading.Event()
    with deadlines.within(LONG, late.set), deadlines.within(SHORT, called.set):
        assert called.wait(LONG / 2)
    assert not late.is_set()


def test_each_of_several_callers_has_a_deadline_of_its_own() -> None:
    deadlines, calls = Deadlines(), [threading.Event() for _ in range(8)]
    done = []

    def wait(called: threading.Event) -> None:
        with deadlines.within(SHORT, called.set):
            done.append(called.wait(LONG))

    threads = [threading.Thread(target=wait, args=(called,)) for called in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == [True] * len(calls)


def test_many_deadlines_take_one_thread_which_ends_when_there_is_none() -> None:
    deadlines, before = Deadlines(), threading.active_count()
    for _ in range(100):
        with deadlines.within(SHORT, lambda: None):
            assert threading.active_count() <= before + 1
    end = time.monotonic() + LONG
    while threading.active_count() > before and time.monotonic() < end:
        time.sleep(SHORT)
    assert threading.active_count() == before


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system forks no processes")
def test_a_forked_child_has_deadlines_of_its_own() -> None:
    deadlines = Deadlines()
    with deadlines.within(LONG, lambda: None):
        child = os.fork()
        if child == 0:
            called = threading.Event()
            with deadlines.within(SHORT, called.set):
                os._exit(0 if called.wait(LONG / 6) else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
