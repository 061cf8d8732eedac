"""Threads that run a few calls at once, and the one writer."""

from __future__ import annotations

import asyncio
import threading

import pytest

from metaembed_rag.errors import StoreError
from metaembed_rag.serving.work import BusyError, GoneError, StoppingError, Threads, WriteQueue


async def stays() -> bool:
    return False


async def went() -> bool:
    return True


async def test_who_would_wait_behind_too_many_is_told_so_at_once():
    threads, go_on = Threads("test", running=1, waiting=1), threading.Event()
    first = asyncio.create_task(threads.run(stays, go_on.wait, 20))
    second = asyncio.create_task(threads.run(stays, lambda: "second"))
    await asyncio.sleep(0)
    with pytest.raises(BusyError, match="try again"):
        await threads.run(stays, lambda: "third")
    go_on.set()
    assert await first and await second == "second"
    assert await threads.run(stays, lambda: "there is room again") == "there is room again"
    threads.close()


async def test_what_nobody_waits_for_any_more_is_not_begun():
    threads, began = Threads("test", running=1, waiting=1), []
    with pytest.raises(GoneError):
        await threads.run(went, began.append, 1)
    assert began == []
    threads.close()


async def test_writes_come_one_after_the_other_in_their_order():
    queue, done = WriteQueue(waiting=8), []
    jobs = [queue.submit(lambda job, n=n: done.append(n) or n) for n in range(5)]
    assert [await job.result for job in jobs] == done == list(range(5))
    queue.close()


async def test_too_many_writes_are_refused_and_a_failure_is_handed_over():
    queue, go_on = WriteQueue(waiting=1), threading.Event()

    def fails(job):
        assert go_on.wait(20)
        raise StoreError("no room")

    first = queue.submit(fails)
    second = queue.submit(lambda job: "fine")
    with pytest.raises(BusyError):
        queue.submit(lambda job: None)
    go_on.set()
    with pytest.raises(StoreError, match="no room"):
        await first.result
    assert await second.result == "fine"
    assert [event async for event in first.events()] == []
    queue.close()


async def test_when_the_server_ends_a_write_stops_after_its_batch_and_others_do_not_begin():
    queue, stored = WriteQueue(waiting=4), []
    began, go_on = threading.Event(), threading.Event()

    def batches(job):
        for batch in range(3):
            stored.append(batch)
            job.tell("progress", done=batch)
            began.set()
            assert go_on.wait(20)
            queue.check_stopping()

    first = queue.submit(batches)
    second = queue.submit(lambda job: stored.append("second"))
    assert await asyncio.to_thread(began.wait, 20)
    queue.stop()
    go_on.set()
    with pytest.raises(StoppingError, match="what was acknowledged before is stored"):
        await first.result
    with pytest.raises(StoppingError):
        await second.result
    assert stored == [0]
    assert [event async for event in first.events()] == [("progress", {"done": 0})]
    with pytest.raises(StoppingError):
        queue.submit(lambda job: None)
    queue.close()


async def test_when_the_server_ends_nobody_waits_for_a_batch_that_does_not():
    queue, go_on = WriteQueue(waiting=4, patience=0.05), threading.Event()
    slow = queue.submit(lambda job: go_on.wait(20))
    queue.stop()
    with pytest.raises(StoppingError, match="the rest may not be"):
        await asyncio.wait_for(slow.result, 10)
    assert [event async for event in slow.events()] == []
    go_on.set()
    queue.close()
