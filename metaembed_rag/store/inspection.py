"""Looks into the files of Chroma's database.

SQLite checks its own file. The graph of nearest neighbours is checked here, because Chroma 1.5.9
believes it: a link that leads out of it ends the whole process (SIGSEGV), or hangs it, as soon as
anything is asked of the collection. So it is looked at before the first question, too.

SQLite is asked in a process of its own, for the reason told in :mod:`metaembed_rag.store.purge`.
Nothing is written.
"""

from __future__ import annotations

import itertools
import json
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from metaembed_rag.errors import StoreError
from metaembed_rag.store.places import DATABASE, WRITING

_HEADER = struct.Struct("<i6QiI3QdQ")
"""hnswlib's: version, offset, places, used, bytes a place, offset of labels, of vectors, highest
level, entry, and of links: most above, most at the ground, M; two more that do not matter here."""
_HEADER_FILE, _GROUND, _UPPER = "header.bin", "data_level0.bin", "link_lists.bin"
_LENGTHS = "length.bin"
_FILES = (_HEADER_FILE, _GROUND, _UPPER, _LENGTHS)
_ROWS_AT_ONCE = 16_384
_PAUSE, _LOOKS, _LOOKS_BESIDE_WRITER = 0.5, 3, 20
"""Seconds between two looks at a graph that seems damaged, and how many: it may be being saved."""
_LOOK = Path(__file__).with_name("database_look.py")


@dataclass(frozen=True)
class Inspection:
    """What is wrong with the files of a database.

    Attributes:
        database: What SQLite says of its file, a line each.
        graph: What is wrong with the collection's graph of neighbours; ``""`` for nothing.
        graph_folder: Where that graph lies; None where there is none yet.
    """

    database: tuple[str, ...] = ()
    graph: str = ""
    graph_folder: Path | None = None


def inspect(folder: Path, collection: str) -> Inspection:
    """Look into the files of an index folder; reads all of them.

    Args:
        folder: The index's folder.
        collection: Name of the collection.
    """
    told = _told(folder, collection, "all")
    if isinstance(told, str):
        return Inspection((f"it cannot be looked into: {told}",))
    there = next((folder / name for name in told["segments"] if (folder / name).is_dir()), None)
    graph = "" if there is None else _settled(folder, lambda: graph_problem(there))
    return Inspection(tuple(told["problems"]), graph, there)


def graph_of(folder: Path, collection: str) -> str:
    """What is wrong with a collection's graph; ``""`` for nothing. The rest is not looked at."""
    told = _told(folder, collection, "graph")
    names = [] if isinstance(told, str) else told["segments"]
    return next((p for name in names if (p := graph_problem(folder / name))), "")


def _settled(folder: Path, look: Callable[[], str]) -> str:
    """What is wrong with a graph, after some looks; ``""`` for nothing.

    Chroma writes its files in place, so one that seems damaged is looked at again, longer where
    somebody is writing to the index, or was ended and has left a child that still writes.
    """
    for number in itertools.count(1):
        problem = look()
        busy = (folder / WRITING).exists()
        if not problem or number >= (_LOOKS_BESIDE_WRITER if busy else _LOOKS):
            break
        time.sleep(_PAUSE)
    return problem


class GraphWatch:
    """Looks at the graphs of one index folder before Chroma is asked anything.

    What was found to be in order is read again only when its files have changed.

    Args:
        folder: The index's folder.
        collection: Name of the collection.
    """

    def __init__(self, folder: Path, collection: str) -> None:
        self._folder, self._collection = folder, collection
        self._in_order: dict[Path, Hashable] = {}

    def check(self) -> None:
        """See that the collection's graph leads nobody astray.

        Raises:
            StoreError: It is damaged; the message says how it is made again.
        """
        if problem := _settled(self._folder, self._problem_of_collection):
            raise StoreError(
                f"the index at {self._folder} is damaged: {problem}; run `metaembed repair "
                f"--index {self._folder}`, which makes the graph again from the records "
                f"(Chroma would end this process)"
            )

    def _problem_of_collection(self) -> str:
        """What is wrong with a graph, if one is the collection's."""
        problem = self._problem()
        return problem if problem and graph_of(self._folder, self._collection) else ""

    def _problem(self) -> str:
        """What is wrong with a graph in the folder, perhaps another collection's."""
        for graph in _graphs_in(self._folder):
            state = _state(graph)
            if self._in_order.get(graph) == state or _is_refused(graph):
                continue
            if problem := graph_problem(graph):
                return problem
            self._in_order[graph] = state
        return ""


def _graphs_in(folder: Path) -> list[Path]:
    try:
        return [one for one in folder.iterdir() if any((one / name).exists() for name in _FILES)]
    except OSError:  # who asks Chroma is told
        return []


def _is_refused(graph: Path) -> bool:
    """Whether Chroma itself says that it cannot read a graph, as of one that was being saved when
    the disk was full. A process that has it in memory goes on, and saves it again.
    """
    try:
        return (graph / _HEADER_FILE).stat().st_size < _HEADER.size
    except OSError:
        return False


def _state(graph: Path) -> Hashable:
    """What changes when somebody writes to a graph's files; nothing is equal to a lost one's."""
    try:
        stats = [(graph / name).stat() for name in _FILES]
    except OSError:
        return object()
    return tuple((one.st_ino, one.st_size, one.st_mtime_ns) for one in stats)


def _told(folder: Path, collection: str, what: str) -> dict[str, list[str]] | str:
    """The answer of a process that looks into the database, or why there is none."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(_LOOK), str(folder / DATABASE), collection, what],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    try:
        told: dict[str, list[str]] = json.loads(done.stdout)
        return told
    except ValueError:
        return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]


def graph_problem(folder: Path) -> str:
    """What of a graph's files would lead Chroma astray; ``""`` for nothing, or another layout."""
    try:
        return next(_graph_problems(folder), "") if folder.is_dir() else ""
    except OSError as error:
        return f"its graph of neighbours cannot be read ({error.strerror})"


def _graph_problems(folder: Path) -> Iterator[str]:
    lost = [name for name in _FILES if not (folder / name).is_file()]
    if len(lost) == len(_FILES):
        return
    if lost:
        yield f"its graph of neighbours lacks {', '.join(lost)}"
        return
    header = (folder / _HEADER_FILE).read_bytes()
    if len(header) != _HEADER.size:
        yield f"{_HEADER_FILE} of its graph of neighbours has {len(header)} bytes"
        return
    (version, _, places, used, size, label, vectors, highest, entry, most, most_ground, *_) = (
        _HEADER.unpack(header)
    )
    if version != 1:
        yield f"its graph of neighbours is of version {version}, which is not known here"
        return
    if vectors != 4 + 4 * most_ground or not vectors < label <= size - 8 or used > places:
        yield f"{_HEADER_FILE} of its graph of neighbours makes no sense"
        return
    # More than the header says is no harm: of a save that a kill cut off, or empty places.
    for name, one in ((_GROUND, size), (_LENGTHS, 4)):
        found = (folder / name).stat().st_size
        if found < used * one:
            yield f"{name} of its graph of neighbours has {found:,} bytes for {used:,} nodes"
            return
    if used and (entry >= used or highest < 0):
        yield "its graph of neighbours is entered at a place that does not exist"
    yield from _ground_problems(folder / _GROUND, used, size, label, most_ground)
    yield from _upper_problems(folder / _UPPER, used, most, (entry, highest))


def _ground_problems(path: Path, used: int, size: int, label: int, most: int) -> Iterator[str]:
    """Wrong links of the lowest level, where every node is; and labels that come twice."""
    labels: list[NDArray[np.uint64]] = []
    for rows in _rows(path, used, size):
        counts = np.ascontiguousarray(rows[:, :2]).view("<u2")[:, 0]
        links = np.ascontiguousarray(rows[:, 4 : 4 + 4 * most]).view("<u4")
        if (counts > most).any() or (links[np.arange(most) < counts[:, None]] >= used).any():
            yield "its graph of neighbours has links that lead nowhere"
            return
        labels.append(np.ascontiguousarray(rows[:, label : label + 8]).view("<u8")[:, 0])
    if sum(map(len, labels)) < used:
        yield f"{path.name} of its graph of neighbours was cut off"
    elif used and len(np.unique(np.concatenate(labels))) < used:
        yield "its graph of neighbours has two nodes of one name"


def _rows(path: Path, count: int, size: int) -> Iterator[NDArray[np.uint8]]:
    """Rows of a file, shape (some, size); read, not mapped: another process may cut it off."""
    with path.open("rb") as file:
        while count > 0:
            data = file.read(min(count, _ROWS_AT_ONCE) * size)
            whole = len(data) // size
            if not whole:
                return
            count -= whole
            yield np.frombuffer(data, np.uint8, whole * size).reshape(whole, size)


def _upper_problems(path: Path, used: int, most: int, top: tuple[int, int]) -> Iterator[str]:
    """Wrong links of the levels above: for each node the bytes of its levels, then these.

    The node at which the graph is entered has to be on the highest level: both are in ``top``.
    """
    data, at, level = path.read_bytes(), 0, 4 + 4 * most
    for node in range(used):
        if at + 4 > len(data):
            yield f"{_UPPER} of its graph of neighbours is too short"
            return
        size = int.from_bytes(data[at : at + 4], "little")
        at += 4
        wanted = top[1] * level if node == top[0] else size
        if size % level or size != wanted or at + size > len(data):
            yield f"{_UPPER} of its graph of neighbours makes no sense"
            return
        for start in range(at, at + size, level):
            count = int.from_bytes(data[start : start + 2], "little")
            links = np.frombuffer(data, "<u4", min(count, most), start + 4)
            if count > most or (links >= used).any():
                yield "its graph of neighbours has links above the ground that lead nowhere"
                return
        at += size
