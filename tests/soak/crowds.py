"""Many at once: a writer beside eight readers, two writers, threads, asyncio; nothing leaks.

Every page names its version. So a reader knows of each hit which version it is, and makes its score
again from that version's text alone. A table in shared memory says of each page which version was
acknowledged and which was begun: a search that begins after an acknowledgement must find that
version or a later one, and of pages that nobody is writing just the best must be found.
"""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.errors import IndexLockedError
from metaembed_rag.index import PageIndex
from metaembed_rag.search.sources import scores_of
from metaembed_rag.vectors.formats import Encoded, vector_format
from tests.soak.children import run, start
from tests.soak.state import (
    QUERIES,
    WORDS,
    encoder,
    expected_vectors,
    opened,
    page_of,
    pages_of,
    text_of,
    version_of,
)
from tests.soak.tally import Share, Tally, tell_line
from tests.support.processes import CONTEXT

READERS, THREADS, LEAKS = "one writer, 8 readers", "threads and asyncio", "leaks"
_PAGES = 60
_AT_ONCE = 16
"""Threads that search at once, and openings, before the state of the process is measured."""
_WRITTEN = 40
"""So many of them are written again and again; the rest stays."""
_ALL = RetrievalBudget(4, 8)
_NEAR = 1e-5
_READING = 4
"""Processes, of two readers each."""


class Board:
    """What was acknowledged and what was begun, of each page, for all processes."""

    def __init__(self) -> None:
        self.acknowledged = CONTEXT.RawArray("i", _PAGES)
        self.begun = CONTEXT.RawArray("i", _PAGES)
        self.stop = CONTEXT.RawValue("i", 0)
        self.writes = CONTEXT.RawValue("i", 0)
        self.searches = CONTEXT.RawArray("i", _AT_ONCE)
        """Of each reader."""

    def made(self) -> int:
        """Searches of all readers."""
        return sum(self.searches)


@lru_cache(maxsize=100_000)
def _vectors_of(number: int, version: int) -> Encoded:
    """A page's vectors as an index rounds them, from its text and picture alone."""
    page = page_of(number, version)
    given = {"text": page.text, "image": page.image} if page.image else page.text
    return vector_format("int8").encode(encoder().encode_document([given]))


@lru_cache(maxsize=1000)
def _query(text: str) -> np.ndarray:
    return encoder().encode_query([text])[0]


@lru_cache(maxsize=1_000_000)
def _score(query: str, number: int, version: int) -> float:
    found = float(scores_of(_query(query), _vectors_of(number, version), _ALL)[0])
    return min(1.0, found / _ALL.r_q)


def read_beside_a_writer(share: Share) -> Tally:
    """Search in eight readers while another process writes."""
    tally, begun = Tally(READERS), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="soak_") as scratch:
        folder = Path(scratch) / "index"
        with opened(folder) as index:
            index.add(pages_of(range(_PAGES), 0))
        _lock_out(tally, share, folder)
        board = Board()
        each = -(-share.cases // _READING)
        readers = [
            start(_read, folder, board, share.seed, n, each, share.seconds) for n in range(_READING)
        ]
        writer = start(_write, folder, board, share.seed)
        with share.telling(READERS, board.made):
            for number, reader in enumerate(readers):
                done = reader.wait(share.seconds + 120)
                _count(tally, f"{share.name(READERS, 0)}, reader {number}", done)
        board.stop.value = 1
        done = writer.wait(share.seconds + 240)  # of its whole life
        if done.hung or done.error:
            tally.fail("hangs" if done.hung else "tracebacks", "the writer", done.error)
        tally.faults += board.writes.value
        with opened(folder) as index:
            _check_end(tally, index, board)
    tally.seconds = time.monotonic() - begun
    return tally


def _lock_out(tally: Tally, share: Share, folder: Path) -> None:
    """A second writer is refused with the first one's name, or waits for it."""
    first = start(_hold, folder, 3.0)
    deadline = time.monotonic() + 60
    while not (folder / "held").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    with opened(folder) as index:
        case = f"{share.name(READERS, 0)}, two writers"
        try:
            index.delete(["nobody"])
            tally.fail("wrong", case, "the second writer was not refused")
        except IndexLockedError as error:
            if f"process {first.process} " not in str(error):
                tally.fail("wrong", case, f"no holder {first.process} in: {error}")
        index.delete(["nobody"], lock_timeout=60)
    tally.cases += 2
    first.wait(60)


def _hold(folder: Path, seconds: float) -> None:
    with opened(folder) as index, index._store.writing():
        (folder / "held").touch()
        time.sleep(seconds)


def _count(tally: Tally, case: str, done: Any) -> None:
    if done.hung or done.killed:
        tally.fail("hangs", case, "a reader did not end")
    elif done.error:
        tally.fail("tracebacks", case, done.error)
    else:
        searches, wrong = done.value
        tally.cases += searches
        for why in wrong:
            tally.fail("wrong", case, why)


def _write(folder: Path, board: Board, seed: int) -> None:
    draw = random.Random(seed)
    with opened(folder) as index:
        version = 0
        while not board.stop.value:
            version += 1
            numbers = draw.sample(range(_WRITTEN), draw.choice((1, 3, 10)))
            for number in numbers:
                board.begun[number] = version
            index.add(pages_of(numbers, version))
            for number in numbers:
                board.acknowledged[number] = version
            board.writes.value += 1
            time.sleep(draw.choice((0, 0.002, 0.02)))


def _read(
    folder: Path, board: Board, seed: int, process: int, count: int, seconds: float
) -> tuple[int, list[str]]:
    """Two readers of one index: threads, or in every other process tasks of asyncio."""
    end = time.monotonic() + seconds
    with opened(folder) as index:
        numbers = (process * 2, process * 2 + 1)
        readers = [_Reader(index, board, seed, n, -(-count // 2), end) for n in numbers]
        if process % 2:
            asyncio.run(_together(readers))
        else:
            with ThreadPoolExecutor(2) as pool:
                for done in [pool.submit(reader.read) for reader in readers]:
                    done.result()
    return sum(one.searches for one in readers), [why for one in readers for why in one.wrong]


async def _together(readers: Sequence[_Reader]) -> None:
    await asyncio.gather(*(reader.read_in_turns() for reader in readers))


class _Reader:
    """Searches, and compares each with an exhaustive reading of the versions that it names."""

    def __init__(
        self, index: PageIndex, board: Board, seed: int, number: int, count: int, end: float
    ) -> None:
        self.index, self.board, self.count, self.end = index, board, count, end
        self.number, self.draw = number, random.Random(f"{seed} {number}")
        self.searches, self.wrong = 0, list[str]()

    def read(self) -> None:
        while self.searches < self.count and time.monotonic() < self.end:
            self.search()

    async def read_in_turns(self) -> None:
        while self.searches < self.count and time.monotonic() < self.end:
            await asyncio.to_thread(self.search)

    def search(self) -> None:
        query = " ".join(self.draw.sample(WORDS, 2))
        ways: list[dict[str, Any]] = [{}, {"exhaustive": True}, {"candidates": 50}]
        way = {**self.draw.choice(ways), "hybrid": self.draw.random() < 0.2}
        before = list(self.board.acknowledged)
        hits = self.index.search(query, 5, **way)
        begun = list(self.board.begun)
        self.searches += 1
        self.board.searches[self.number] = self.searches
        seen = {int(hit.page.source[3:]): version_of(hit.page.text) for hit in hits}
        scores = [hit.score if hit.maxsim is None else hit.maxsim for hit in hits]
        for (number, version), given in zip(seen.items(), scores, strict=True):
            if abs(given - _score(query, number, version)) > _NEAR:
                right = _score(query, number, version)
                self._note(f"{query!r} {way}: {number} is {version} with {given}, not {right}")
            if version < before[number] or version > begun[number]:
                self._note(f"{query!r} {way}: {number} is {version}, there was {before[number]}")
        if not way["hybrid"] and "candidates" not in way:
            self._check_complete(query, way, seen, scores, before, begun)

    def _check_complete(self, query, way, seen, scores, before, begun) -> None:  # type: ignore[no-untyped-def]
        """No page that nobody wrote meanwhile is better than the last hit, and left out."""
        least = min(scores, default=2.0) + _NEAR
        for number in range(_PAGES):
            known = before[number] == begun[number]
            if known and number not in seen and _score(query, number, before[number]) > least:
                self._note(f"{query!r} {way}: {number} at {before[number]} is missing")

    def _note(self, why: str) -> None:
        self.wrong.append(why)


def _check_end(tally: Tally, index: PageIndex, board: Board) -> None:
    have = {int(page.source[3:]): page for page in index.get(index.ids())}
    for number, version in enumerate(board.acknowledged):
        if number not in have or have[number].text != text_of(number, version):
            tally.fail("lost", "at the end", f"{number} was acknowledged as {version}")
    pages = list(have.values())
    stored = index.vectors([page.id for page in pages])
    if not np.array_equal(stored, expected_vectors(index, pages)):
        tally.fail("wrong", "at the end", "vectors are not those of the texts")


# -- one index for many threads -----------------------------------------------------------------


def share_one_index(share: Share) -> Tally:
    """Eight threads, and tasks of asyncio, on one index of this process's child."""
    tally = Tally(THREADS)
    with tempfile.TemporaryDirectory(prefix="soak_") as scratch:
        done = run(_share, Path(scratch) / "index", share, seconds=share.seconds + 120)
        _count(tally, share.name(THREADS, 0), done)
    return tally


def _share(folder: Path, share: Share) -> tuple[int, list[str]]:
    board, end = Board(), time.monotonic() + share.seconds
    each = -(-share.cases // 10)
    with opened(folder) as index:
        index.add(pages_of(range(_PAGES), 0))
        readers = [_Reader(index, board, share.seed, n, each, end) for n in range(10)]
        with share.telling(THREADS, board.made), ThreadPoolExecutor(8) as pool:
            tasks = [pool.submit(reader.read) for reader in readers[:8]]
            asyncio.run(_together(readers[8:]))
            for task in tasks:
                task.result()
    return sum(one.searches for one in readers), [why for one in readers for why in one.wrong]


# -- what is left ----------------------------------------------------------------------------------


def open_and_close(share: Share) -> Tally:
    """Memory, open files and threads stay what they are: of searches, then of openings."""
    tally = Tally(LEAKS)
    openings = max(20, share.cases * 500 // 20_500)
    with tempfile.TemporaryDirectory(prefix="soak_") as scratch:
        parts = (("searches", share.cases - openings, 0.7), ("openings", openings, 0.3))
        for what, count, part in parts:
            done = run(
                _measure,
                what,
                Path(scratch) / "index",
                replace(share, cases=count, seconds=share.seconds * part),
                seconds=share.seconds + 120,
            )
            if done.hung or done.error:
                tally.fail("hangs" if done.hung else "tracebacks", what, done.error)
                continue
            made, before, after = done.value
            tally.cases += made
            tally.notes[what] = {"count": made, "before": before, "after": after}
            grown = {name for name in before if after[name] > _bound(name, before[name])}
            if grown:
                tally.fail("wrong", share.name(LEAKS, 0), f"{what}: {before} became {after}")
    return tally


def _bound(name: str, before: float) -> float:
    """20 MB of memory, and a few files and threads that others of the process come and go with."""
    return before + (20 if name == "megabytes" else 4)


def _measure(
    what: str, folder: Path, share: Share
) -> tuple[int, dict[str, float], dict[str, float]]:
    """How many were made, and the process's state after a tenth and after all of them."""
    with opened(folder) as index:
        if not len(index):
            index.add(pages_of(range(_PAGES), 0))
    _warm_up(folder)
    index = opened(folder)
    with ThreadPoolExecutor(_AT_ONCE) as pool:  # Chroma opens connections, with threads, on demand
        list(pool.map(lambda one: index.search(one, 5), QUERIES * _AT_ONCE))
    before, made, begun = None, 0, time.monotonic()
    for made in range(1, share.cases + 1):
        if what == "openings":
            index.close()
            index = opened(folder)
        index.search(QUERIES[made % len(QUERIES)], 5, hybrid=made % 4 == 0)
        spent = time.monotonic() - begun
        if before is None and (made >= share.cases // 10 or spent > share.seconds / 10):
            before = _process_state()
        if share.tells and made % (share.cases // 5) == 0:
            tell_line(f"{LEAKS}: {made:,} of {share.cases:,} {what}", spent)
        if spent > share.seconds:
            break
    after = _process_state()
    index.close()
    return made, before or after, after


def _warm_up(folder: Path) -> None:
    """Open and close often enough that what is made once in a process is made."""
    for number in range(_AT_ONCE):
        with opened(folder) as index:
            index.search(QUERIES[number % len(QUERIES)], 5, hybrid=True)


def _process_state() -> dict[str, float]:
    process = psutil.Process(os.getpid())
    return {
        "megabytes": round(process.memory_info().rss / 1e6, 1),
        "files": process.num_fds(),
        "threads": threading.active_count()
        if not hasattr(process, "num_threads")
        else (process.num_threads()),
    }
