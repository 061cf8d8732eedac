"""SIGKILL at random points of everything that writes.

After each kill another process looks whether every page that was acknowledged is there as it was
given, whether every other page is wholly old or wholly new, and whether searches find what an
exhaustive reading finds. Then it runs the same command again, which has to do the rest and to
encode nothing that is stored.
"""

from __future__ import annotations

import io
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from metaembed_rag import cli
from metaembed_rag.index import PageIndex
from metaembed_rag.testing import FakeEncoder
from metaembed_rag.training.run_folder import RunFolder
from tests.soak.checkpoints import look_at_checkpoints, save_checkpoints
from tests.soak.children import Kill, Notes, Outcome, run
from tests.soak.servers import server
from tests.soak.state import (
    checked,
    encoder,
    opened,
    page_of,
    pages_of,
    problems,
    text_of,
    versions,
)
from tests.soak.tally import Share, Tally

KIND = "kills"
_OLD, _NEW = range(20), range(20, 60)
_BATCH = 8
_LONGEST = 120.0
_GONE = -2
"""Stands for the version of a page that is not there."""


@dataclass(frozen=True)
class Target:
    """What is being killed.

    Attributes:
        act: Does it to a folder, and notes what it acknowledged.
        before: The version of each page before, by number.
        after: The version of each page afterwards; -2 for none.
        ready: Puts what it needs beside the index, before.
    """

    act: Callable[[Path, Notes], Any]
    before: dict[int, int]
    after: dict[int, int]
    ready: Callable[[Path], None] = field(default=lambda _: None)


ADDRESS, COLLECTION = "address", "collection"
"""Files that say where on a server a case has its pages."""


def _opened(folder: Path, made: FakeEncoder | None = None) -> PageIndex:
    """The index of a case: in its folder, or on the server whose address lies there."""
    if not (folder / ADDRESS).exists():
        return opened(folder / "index", made)
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    address, name = ((folder / one).read_text() for one in (ADDRESS, COLLECTION))
    return PageIndex.open(address, made or encoder(), collection=name)


def _checked(folder: Path) -> list[str]:
    if not (folder / ADDRESS).exists():
        return checked(str(folder / "index"))
    address, name = ((folder / one).read_text() for one in (ADDRESS, COLLECTION))
    return checked(address, "--collection", name)


def _add(folder: Path, notes: Notes) -> int:
    return _added(folder, notes, pages_of(_NEW, 1))


def _change(folder: Path, notes: Notes) -> int:
    return _added(folder, notes, pages_of([*_OLD, *_NEW], 2))


def _added(folder: Path, notes: Notes, pages: Any) -> int:
    made = encoder()
    with _opened(folder, made) as index:
        index.add(pages, batch_size=_BATCH, progress=lambda done: notes.add(*done.ids))
    return len(made.encoded)


def _add_to_server(folder: Path, notes: Notes) -> int:
    return _added(folder, notes, pages_of([*_OLD, *_NEW], 1))


def _sync(folder: Path, notes: Notes) -> int:
    made = encoder()
    with opened(folder / "index", made) as index:
        index.sync(folder / "files", batch_size=_BATCH, progress=lambda done: notes.add(*done.ids))
    return len(made.encoded)


def _files(folder: Path) -> None:
    """Files of the new versions; the last ten of the old pages are gone."""
    shutil.rmtree(folder / "files", ignore_errors=True)
    (folder / "files").mkdir()
    for number in (*_OLD[:10], *_NEW):
        (folder / "files" / f"doc{number}.txt").write_text(text_of(number, 2))


def _delete(folder: Path, notes: Notes) -> int:
    with opened(folder / "index") as index:
        for start in range(0, len(_OLD), 5):
            ids = [f"doc{number}#1" for number in _OLD[start : start + 5]]
            index.delete(ids)
            notes.add(*ids)
    return 0


def _compact(folder: Path, notes: Notes) -> int:
    with opened(folder / "index") as index:
        index.compact()
    return 0


def _rebuild(folder: Path, notes: Notes) -> int:
    for derived in ("cache", "lexical"):
        shutil.rmtree(folder / "index" / derived, ignore_errors=True)
    with opened(folder / "index") as index:
        index.search("apple river", hybrid=True)
    return 0


def _calibrate(folder: Path, notes: Notes) -> int:
    with opened(folder / "index") as index:
        index.calibrate(["apple", "river stone"], k=3)
        index.search("apple", 3, budget="auto")
    return 0


def _move(folder: Path, notes: Notes) -> int:
    """Out of the index into one file, and into another index."""
    place, file = str(folder / "index"), str(folder / "moved.metaembed")
    _command("export", file, "--index", place, "--force")
    _command("import", file, "--index", f"{place}2")
    return 0


def _repair(folder: Path, notes: Notes) -> int:
    shutil.rmtree(folder / "index" / "cache", ignore_errors=True)
    _command("repair", "--index", str(folder / "index"))
    return 0


def _command(*words: str) -> None:
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(out):
        code = cli.main([*words, "--quiet"])
    if code:
        raise RuntimeError(f"{words} failed: {out.getvalue()[-500:]}")


SERVER = "server"
_BEFORE = dict.fromkeys(_OLD, 1)
_ADDED = _BEFORE | dict.fromkeys(_NEW, 1)

TARGETS = {
    "add": Target(_add, _BEFORE, _ADDED),
    SERVER: Target(_add_to_server, {}, _ADDED),
    "change": Target(_change, _ADDED, dict.fromkeys([*_OLD, *_NEW], 2)),
    "delete": Target(_delete, _ADDED, dict.fromkeys(_OLD, _GONE) | dict.fromkeys(_NEW, 1)),
    "compact": Target(_compact, _ADDED, _ADDED),
    "rebuild": Target(_rebuild, _ADDED, _ADDED),
    "calibrate": Target(_calibrate, _ADDED, _ADDED),
    "move": Target(_move, _ADDED, _ADDED),
    "repair": Target(_repair, _ADDED, _ADDED),
    "sync": Target(
        _sync,
        _BEFORE,
        dict.fromkeys(_OLD[:10], 2) | dict.fromkeys(_OLD[10:], _GONE) | dict.fromkeys(_NEW, 2),
        _files,
    ),
}
CHECKPOINT = "checkpoint"
ALL = (*TARGETS, CHECKPOINT)


def kill_all(share: Share) -> Tally:
    """Kill each target in turn; workers have targets of their own."""
    begun = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="soak_", ignore_cleanup_errors=True) as scratch,
        server(Path(scratch) / "chroma") as chroma,
        ThreadPoolExecutor(share.workers) as pool,
    ):
        workers = [
            _Worker(share, ALL[one :: share.workers], Path(scratch), chroma.address)
            for one in range(share.workers)
        ]
        with share.telling(KIND, lambda: sum(one.tally.cases for one in workers)):
            try:
                list(pool.map(_Worker.work, workers))
            finally:  # also after Ctrl-C
                for one in workers:
                    one.stopped = True
    tally = Tally(KIND, seconds=time.monotonic() - begun)
    for one in workers:
        tally.merge(one.tally)
    return tally


@dataclass(frozen=True)
class _Ready:
    """A folder to copy for each case, and how long its target takes, measured once."""

    folder: Path
    calls: int
    seconds: float

    @property
    def place(self) -> Path:
        """Where the copy is: always the same place, because ids of files are their paths."""
        return self.folder.parent / "case"

    def copy(self) -> Path:
        """What lies there before, once more; of a server a collection that is new."""
        shutil.rmtree(self.place, ignore_errors=True)
        shutil.copytree(self.folder, self.place)
        if (self.place / ADDRESS).exists():
            (self.place / COLLECTION).write_text(f"c{uuid4().hex}")
        return self.place


@dataclass
class _Worker:
    """Kills the targets that are its own, by name."""

    share: Share
    names: Sequence[str]
    scratch: Path
    address: str
    tally: Tally = field(default_factory=lambda: Tally(KIND))
    ready: dict[str, _Ready] = field(default_factory=dict)
    stopped: bool = False

    def work(self) -> None:
        for number in self.share.numbers():
            if self.stopped:
                return
            name = ALL[number % len(ALL)]
            if name in self.names:
                self._kill(number, name)

    def _kill(self, number: int, name: str) -> None:
        case = f"{name}: {self.share.name(KIND, number)}"
        if name not in self.ready:
            ready = self._prepared(name, case)
            if ready is None:
                return
            self.ready[name] = ready
        _one(self.tally, self.share.draw(KIND, number), case, name, self.ready[name])

    def _prepared(self, name: str, case: str) -> _Ready | None:
        """What is to be killed, done twice without; None where it fails, which is counted."""
        folder = self.scratch / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        first = _Ready(folder / "before", 0, 0.0)
        made = run(_make, name, first.place, self.address, seconds=_LONGEST)
        if not self._went_well(made, case):
            return None
        first.place.rename(first.folder)
        counted = []
        for kill in (Kill(calls=0), Kill()):
            done = run(_act, name, first.copy(), seconds=_LONGEST, kill=kill)
            if not self._went_well(done, case):
                return None
            counted.append(done)
        return _Ready(first.folder, int(counted[0].value), counted[1].seconds)

    def _went_well(self, done: Outcome, case: str) -> bool:
        if done.error or done.hung or done.killed:
            what = "tracebacks" if done.error else "hangs"
            self.tally.fail(what, case, f"without a kill: {done}")
        return not (done.error or done.hung or done.killed)


def _make(name: str, folder: Path, address: str) -> None:
    """What lies there before."""
    folder.mkdir()
    if name == CHECKPOINT:
        RunFolder(folder / "run").begin({})
        return
    if name == SERVER:
        (folder / ADDRESS).write_text(address)
        return
    target = TARGETS[name]
    with opened(folder / "index") as index:
        if name == "sync":
            _old_files(folder)
            index.sync(folder / "files")
        else:
            index.add([page_of(number, version) for number, version in target.before.items()])
        index.search("apple", hybrid=True)
    target.ready(folder)


def _old_files(folder: Path) -> None:
    (folder / "files").mkdir()
    for number in _OLD:
        (folder / "files" / f"doc{number}.txt").write_text(text_of(number, 1))


def _act(name: str, folder: Path) -> int:
    notes = Notes(folder / "notes")
    if name == CHECKPOINT:
        return save_checkpoints(folder, notes)
    return int(TARGETS[name].act(folder, notes))


def _one(tally: Tally, draw: random.Random, case: str, name: str, ready: _Ready) -> None:
    place = ready.copy()
    part = draw.uniform(0, 1.02)
    by_calls = draw.random() < 0.5
    kill = (
        Kill(calls=max(1, int(part * ready.calls)))
        if by_calls
        else Kill(seconds=part * ready.seconds)
    )
    done = run(_act, name, place, seconds=_LONGEST, kill=kill)
    tally.cases += 1
    tally.faults += done.killed
    if done.hung:
        tally.fail("hangs", case, "before the kill")
    if done.error:
        tally.fail("tracebacks", case, done.error)
    look = look_at_checkpoints if name == CHECKPOINT else _look
    seen = run(look, name, place, seconds=_LONGEST)
    if seen.hung or seen.killed:
        tally.fail("hangs", case, f"after the kill at {part:.3f}: {seen}")
    elif seen.error:
        tally.fail("tracebacks", case, f"after the kill at {part:.3f}: {seen.error}")
    else:
        for what, why in seen.value:
            tally.fail(what, case, f"after the kill at {part:.3f}: {why}")


# -- after the kill, in a process of its own ----------------------------------------------------


def _look(name: str, folder: Path) -> list[tuple[str, str]]:
    """What is wrong after a kill, and after the same command was run again."""
    target, acknowledged = TARGETS[name], set(Notes(folder / "notes").read())
    with _opened(folder) as index:
        found = _states(index, target, acknowledged, folder)
        missing = _missing(index, target, folder)
    found += [("wrong", why) for why in _checked(folder)]
    encoded = target.act(folder, Notes(folder / "notes"))
    if encoded != missing:
        found.append(("wrong", f"{encoded} pages were encoded, and {missing} were not stored"))
    found += _not_as_wanted(folder, target, folder)
    if (copy := folder / "index2").exists():  # what was imported
        (folder / "copy").mkdir()
        copy.rename(folder / "copy" / "index")
        found += _not_as_wanted(folder / "copy", target, folder)
    return found


def _not_as_wanted(place: Path, target: Target, folder: Path) -> list[tuple[str, str]]:
    """What is wrong when the command has come to its end."""
    found = []
    with _opened(place) as index:
        wanted = {_id(folder, target, n): v for n, v in target.after.items() if v != _GONE}
        if (have := versions(index)) != wanted:
            found.append(("lost", f"at the end there is {_difference(have, wanted)}"))
        found += [("wrong", f"at the end: {why}") for why in problems(index)]
    return found + [("wrong", f"at the end: {why}") for why in _checked(place)]


def _states(
    index: PageIndex, target: Target, acknowledged: set[str], folder: Path
) -> list[tuple[str, str]]:
    have, found = versions(index), []
    for number in target.before.keys() | target.after.keys():
        id = _id(folder, target, number)
        old, new = (one.get(number, _GONE) for one in (target.before, target.after))
        version = have.pop(id, _GONE)
        if id in acknowledged and version != new:
            found.append(("lost", f"{id} was acknowledged as {new} and is {version}"))
        elif version not in (old, new):
            found.append(("lost", f"{id} is {version}, neither {old} nor {new}"))
    found += [("wrong", f"{id} is there and was never given") for id in have]
    return found + [("wrong", why) for why in problems(index)]


def _missing(index: PageIndex, target: Target, folder: Path) -> int:
    """How many pages are still to be encoded."""
    have = versions(index)
    wanted = {_id(folder, target, n): v for n, v in target.after.items() if v != _GONE}
    return sum(have.get(id) != version for id, version in wanted.items())


def _id(folder: Path, target: Target, number: int) -> str:
    if target.act is not _sync:
        return f"doc{number}#1"
    return f"{(folder / 'files' / f'doc{number}.txt').resolve().as_posix()}#1"


def _difference(have: dict[str, int], wanted: dict[str, int]) -> str:
    ids = sorted(have.keys() | wanted.keys())
    return str([(id, have.get(id), wanted.get(id)) for id in ids if have.get(id) != wanted.get(id)])
