"""What fails around an index: disks, folders, memory, clocks, servers.

Each scenario runs in a process of its own. It injects one fault into something that worked, and
what is asked then ends in an answer or in an error of this package, in time. When the fault is
over, everything that was acknowledged is there, and writing goes on.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from metaembed_rag.index import PageIndex
from metaembed_rag.pages import Page
from metaembed_rag.testing import FakeEncoder
from tests.soak.children import run
from tests.soak.promises import PAGES, Wrong, ends, everything, new_index, whole
from tests.soak.server_faults import (
    a_model_server_that_answers_nonsense,
    a_server_that_answers_nonsense,
    a_server_that_falls_silent,
    a_server_that_is_killed,
    a_server_that_is_not_there,
)
from tests.soak.state import opened, pages_of, problems
from tests.soak.tally import Share, Tally

KIND = "faults"
_LONGEST = 120.0
"""Seconds after which a scenario is given up."""


@contextmanager
def _no_file_over(size: int) -> Iterator[None]:
    """As a full disk: no file can grow beyond so many bytes."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


def _full_disk(folder: Path, room: int) -> None:
    place = new_index(folder)
    size = (place / "chroma.sqlite3").stat().st_size
    with opened(place) as index:
        with _no_file_over(max(0, size + room)):
            everything(index)
        _goes_on(index)
    whole(place)


def _goes_on(index: PageIndex) -> None:
    """Once there is room again, the index that met the full disk is used as before."""
    for what, call in (
        ("search", lambda: index.search("apple", hybrid=False)),
        ("add", lambda: index.add(pages_of([200], 1))),
        ("delete", lambda: index.delete(["doc200#1"])),
    ):
        if not ends(f"{what} afterwards", call):
            raise Wrong("wrong", f"{what} fails when there is room again")
    if found := problems(index):
        raise Wrong("wrong", found[0])


def full_disk_now(folder: Path) -> None:
    _full_disk(folder, -(10**9))


def full_disk_at_the_database(folder: Path) -> None:
    _full_disk(folder, 0)


def full_disk_soon(folder: Path) -> None:
    _full_disk(folder, 16_384)


def a_file_system_without_room(folder: Path) -> None:
    """Of three megabytes; where it may not be mounted, files that may not grow stand for it."""
    small = folder / "small"
    small.mkdir()
    if os.system(f"mount -t tmpfs -o size=3m tmpfs '{small}' 2>/dev/null"):
        full_disk_soon(folder)
        return
    try:
        place = new_index(small)
        with opened(place) as index:
            _fill(small / "filling")
            everything(index)
            (small / "filling").unlink(missing_ok=True)
            _goes_on(index)
        whole(place)
    finally:
        os.system(f"umount -l '{small}'")


def _fill(path: Path) -> None:
    """Write until there is no room."""
    with suppress(OSError), path.open("ab", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def read_only(folder: Path) -> None:
    place = new_index(folder)
    every = [place, *place.rglob("*")]
    for path in every:
        path.chmod(0o555 if path.is_dir() else 0o444)
    ends("opening", lambda: everything(opened(place)))
    for path in every:
        if path.exists():
            path.chmod(0o755 if path.is_dir() else 0o644)
    whole(place)


def deleted_while_open(folder: Path) -> None:
    place = new_index(folder)
    with opened(place) as index:
        shutil.rmtree(place)
        everything(index)
        if place.exists() and (place / "chroma.sqlite3").exists():
            raise Wrong("wrong", "what was deleted is there again")


def replaced_while_open(folder: Path) -> None:
    place, other = new_index(folder), folder / "other"
    with opened(other) as index:
        index.add([Page("strange", text="a strange page")])
    with opened(place) as index:
        place.rename(folder / "away")
        other.rename(place)
        everything(index)
        found = {hit.page.source for hit in index.search("apple", 50, hybrid=False)}
        if "doc1" in found:
            raise Wrong("wrong", "an answer of the index that was replaced")
    whole(folder / "away")


def unmounted_while_open(folder: Path) -> None:
    place = new_index(folder)
    with opened(place) as index:
        place.rename(folder / "away")
        place.mkdir()
        everything(index)
        place.rename(folder / "empty")
        (folder / "away").rename(place)
        ends("search when it is back", lambda: index.search("apple", hybrid=False))
    whole(place)


def pictures_gone(folder: Path) -> None:
    place = new_index(folder)
    with opened(place) as index:
        shutil.rmtree(place / "pictures")
        everything(index)
        for page in index.get(index.ids()):
            ends("a picture", page.load_image)
        index.add(pages_of(range(PAGES), 1))
        back = index.get(["doc0#1"])[0]
        if back.image_path is None:
            raise Wrong("lost", "a picture that was added again")
    whole(place)


def _in_the_way(folder: Path, name: str, make: Callable[[Path], None]) -> None:
    place = new_index(folder)
    path = place / name
    path.unlink(missing_ok=True)
    make(path)
    with opened(place) as index:
        everything(index)
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path)
    whole(place)


def locks_and_marks_that_are_folders(folder: Path) -> None:
    for name in (".metaembed.lock", ".metaembed.mark", ".metaembed.writing", ".metaembed.holder"):
        (folder / name[11:]).mkdir()
        _in_the_way(folder / name[11:], name, Path.mkdir)


def locks_and_marks_that_are_garbage(folder: Path) -> None:
    for name in (".metaembed.lock", ".metaembed.mark", ".metaembed.writing", ".metaembed.holder"):
        (folder / name[11:]).mkdir()
        _in_the_way(folder / name[11:], name, lambda path: path.write_bytes(b"\xff\0{[" * 99))


def a_mark_that_is_a_link(folder: Path) -> None:
    mine = folder / "mine.txt"
    mine.write_text("mine")
    for name in (".metaembed.mark", ".metaembed.holder"):
        (folder / name[11:]).mkdir()
        _in_the_way(folder / name[11:], name, lambda path: path.symlink_to(mine))
    if mine.read_text() != "mine":
        raise Wrong("wrong", "a file outside of the index was written")


def a_file_that_grows(folder: Path) -> None:
    files, stop = folder / "files", threading.Event()
    files.mkdir()
    (files / "log.txt").write_text("apple river\n\n" * 50)
    (files / "other.txt").write_text("stone")

    def grow() -> None:
        while not stop.is_set():
            with (files / "log.txt").open("a") as file:
                file.write("cloud night\n\n" * 20)
            time.sleep(0.01)

    writer = threading.Thread(target=grow, daemon=True)
    writer.start()
    with opened(folder / "index") as index:
        for _ in range(5):
            ends("sync", lambda: index.sync(files))
        stop.set()
        writer.join()
        ends("the last sync", lambda: index.sync(files))
        if not any(id.endswith("other.txt#1") for id in index.ids()):
            raise Wrong("lost", "the file that did not grow")
        if found := problems(index):
            raise Wrong("wrong", found[0])


# -- memory and time ------------------------------------------------------------


class _Small(FakeEncoder):
    """One whose memory takes three pages at a time, and no page that says so."""

    def _encode_batch(self, items: Any, side: str, count: int) -> Any:
        if len(items) > 3 or any("huge" in item.text for item in items):
            raise MemoryError
        return super()._encode_batch(items, side, count)


def no_memory_in_the_encoder(folder: Path) -> None:
    small = _Small(dimension=128, query_vectors=4, document_vectors=8)
    with PageIndex.open(folder / "index", small) as index:
        report = index.add([*pages_of(range(PAGES), 1), Page("huge", text="huge")])
        if [error.source for error in report.skipped] != ["huge#1"]:
            raise Wrong("wrong", f"skipped: {report.skipped}")
    whole(folder / "index")


def a_clock_that_is_set_back(folder: Path) -> None:
    place, now = new_index(folder), time.time
    time.time = lambda: now() - 10_000_000
    try:
        with opened(place) as index:
            index.add(pages_of(range(PAGES, PAGES + 5), 1))
            if found := problems(index):
                raise Wrong("wrong", found[0])
    finally:
        time.time = now
    whole(place, PAGES + 5)


SCENARIOS: dict[str, Callable[[Path], None]] = {
    one.__name__: one
    for one in (
        full_disk_now,
        full_disk_at_the_database,
        full_disk_soon,
        a_file_system_without_room,
        read_only,
        deleted_while_open,
        replaced_while_open,
        unmounted_while_open,
        pictures_gone,
        locks_and_marks_that_are_folders,
        locks_and_marks_that_are_garbage,
        a_mark_that_is_a_link,
        a_file_that_grows,
        no_memory_in_the_encoder,
        a_clock_that_is_set_back,
        a_server_that_answers_nonsense,
        a_server_that_falls_silent,
        a_server_that_is_killed,
        a_server_that_is_not_there,
        a_model_server_that_answers_nonsense,
    )
}


def fail_all(share: Share) -> Tally:
    """Run the scenarios, each in a process of its own."""
    tally = Tally(KIND)
    with share.telling(KIND, lambda: tally.cases):
        _fail(tally, share)
    return tally


def _fail(tally: Tally, share: Share) -> None:
    for number in share.numbers():
        name = [*SCENARIOS][number % len(SCENARIOS)]
        case = f"{name}: {share.name(KIND, number)}"
        with tempfile.TemporaryDirectory(prefix="soak_", ignore_cleanup_errors=True) as scratch:
            done = run(_scenario, name, Path(scratch), seconds=_LONGEST)
        tally.cases += 1
        tally.faults += 1
        if done.hung or done.killed:
            tally.fail("hangs", case, f"it did not end: {done}")
        elif done.error:
            tally.fail("tracebacks", case, done.error)
        elif done.value is not None:
            tally.fail(done.value[0], case, done.value[1])


def _scenario(name: str, folder: Path) -> tuple[str, str] | None:
    """What went wrong, as the column and the words; None for nothing."""
    try:
        SCENARIOS[name](folder)
    except Wrong as wrong:
        return str(wrong.args[0]), str(wrong.args[1])
    return None
