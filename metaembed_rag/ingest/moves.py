"""What has moved in one run: pages that were written in a new place, and old ones that go then.

New records are written first, and old ones removed at the end of the run. Between the two a line
of a small file says which go: after a kill, the next run removes them.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from metaembed_rag.ingest.target import Target
from metaembed_rag.ingest.whereabouts import Whereabouts, bare_folder, is_loaded, source_of
from metaembed_rag.store import records
from metaembed_rag.store.privacy import make_folder
from metaembed_rag.store.records import Record
from metaembed_rag.store.requests import slices

_AT_ONCE = 1000
_log = logging.getLogger(__name__)


class Taken(NamedTuple):
    """A page that was written with the vectors of another one.

    Attributes:
        old: Id of the page that had them.
        new: Its own id.
        hash: Of the content of both.
    """

    old: str
    new: str
    hash: str


class Moved(NamedTuple):
    """Old pages that a run has found in new places.

    Attributes:
        ids: Of those that go.
        left: Folders that have moved, each with the ids of pages of files in it that were not found
            again.
    """

    ids: list[str]
    left: dict[Path, list[str]]


class Moves:
    """Follows what moves in one run.

    Args:
        target: The index.
        there: Says which files are still there.
    """

    def __init__(self, target: Target, there: Whereabouts) -> None:
        self._target, self._there = target, there
        readings = target.store.places.readings
        self._path = None if readings is None else readings.with_suffix(".moved")
        self._noted: list[Taken] = []
        self._added: set[str] = set()
        self._before = list(self._read())

    def note(self, taken: Iterable[Taken], replaced: Container[str]) -> None:
        """Keep which pages are about to be written with the vectors of others.

        Args:
            taken: Those pages.
            replaced: Ids under which other pages are stored now.
        """
        new = [one for one in taken if self._is_gone(one.old)]
        self._noted += new
        self._added |= {one.new for one in new if one.new not in replaced}
        self._keep(new)

    def found(self, ids: Callable[[], Sequence[str]]) -> Moved:
        """The old pages that go, now that all that was named has been read.

        A file's pages go when the file is gone, and all of them were found in a new place; or
        others of the very same bytes were; or the folder of the file has moved, and in its new
        place there is a file of the same name in it.

        Args:
            ids: Gives those of all pages; called only where something may have moved.
        """
        noted = [one for one in (*self._before, *self._noted) if self._is_gone(one.old)]
        stored = set(ids()) if noted else set()
        taken = [one for one in noted if {one.old, one.new} <= stored]
        sources = sorted({source_of(one.old) for one in taken})
        hashes = {one.hash for one in taken}
        gone = set(self._whole(sources, hashes))
        follow, left = self._followers(_folders(taken), stored)
        gone |= follow
        stays = {folder: sorted(more - gone) for folder, more in left.items()}
        return Moved(sorted(gone), {folder: ids for folder, ids in stays.items() if ids})

    def count(self, gone: Iterable[str]) -> int:
        """How many pages were moved, of which those have gone."""
        return min(len(self._added), len(set(gone)))

    def finish(self) -> None:
        """Forget them: the old pages are gone."""
        self._noted, self._before = [], []
        if self._path is not None:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)

    def _is_gone(self, id: str) -> bool:
        source = source_of(id)
        return bool(source) and self._there.is_gone(source)

    def _whole(self, sources: Sequence[str], hashes: set[str]) -> Iterator[str]:
        """Ids of the pages of files whose content was found again as a whole."""
        digests: set[str] = set()
        for source in sources:
            pages = self._pages({records.SOURCE: source})
            if all(record.content_hash in hashes for record in pages):
                yield from (record.page.id for record in pages)
                digests |= {record.page.source_digest for record in pages} - {""}
        for digest in sorted(digests):  # several files of the same bytes
            pages = self._pages({records.DIGEST: digest})
            yield from (one.page.id for one in pages if self._there.is_gone(one.page.source))

    def _pages(self, where: Mapping[str, str]) -> list[Record]:
        """Pages that :func:`load_pages` has read."""
        found = self._target.store.get(self._target.store.ids(where), vectors=False)
        return [record for record in found.values() if is_loaded(record.page)]

    def _followers(
        self, places: Mapping[str, Sequence[str]], stored: set[str]
    ) -> tuple[set[str], dict[Path, set[str]]]:
        """Pages of files that have a file of the same name in a folder's new place, and others.

        Args:
            places: Folders that have gone, each with its new places.
            stored: The ids of all pages.
        """
        sources = {source_of(id) for id in stored} if places else set()
        follow: set[str] = set()
        left: dict[Path, set[str]] = {}
        for id in stored if places else ():
            source = source_of(id)
            old = next((folder for folder in _above(source) if folder in places), None)
            if old is None or not self._there.is_gone(source):
                continue
            if any(f"{new}{source.removeprefix(old)}" in sources for new in places[old]):
                follow.add(id)
            else:
                left.setdefault(Path(old), set()).add(id)
        return self._loaded(follow), {old: self._loaded(ids) for old, ids in left.items()}

    def _loaded(self, ids: set[str]) -> set[str]:
        """Those of the ids under which pages are that :func:`load_pages` has read."""
        every, store = sorted(ids), self._target.store
        found = [store.get(every[part], vectors=False) for part in slices(len(every), _AT_ONCE)]
        return {id for some in found for id, record in some.items() if is_loaded(record.page)}

    def _read(self) -> Iterator[Taken]:
        """What a run before has noted that did not end."""
        try:
            lines = [] if self._path is None else self._path.read_text("utf-8").splitlines()
        except (OSError, ValueError):
            lines = []
        for line in lines:
            with suppress(ValueError, TypeError):
                entry = json.loads(line)
                if all(isinstance(one, str) for one in entry):
                    yield Taken(*entry)

    def _keep(self, new: Sequence[Taken]) -> None:
        if self._path is None or not new:
            return
        try:
            make_folder(self._path.parent)
            with self._path.open("a", encoding="utf-8") as file:
                # The line's end comes first: a line that a killed process left torn ends there.
                file.write("".join("\n" + json.dumps(one) for one in new))
        except OSError as error:  # without it a kill leaves old pages until `prune`
            _log.warning("what moves cannot be noted: %s", error)


def _folders(taken: Iterable[Taken]) -> dict[str, list[str]]:
    """Folders of this machine's disk that have gone, each with its new places."""
    bare: dict[str, Path | None] = {}
    places: dict[str, list[str]] = {}
    for old, new in dict.fromkeys((source_of(one.old), source_of(one.new)) for one in taken):
        if not (old.startswith("/") and new.startswith("/")):
            continue
        parent = old.rpartition("/")[0]
        if parent not in bare:
            bare[parent] = bare_folder(old)
        if (top := bare[parent]) is not None:
            for before, now in _place(old, new, top):
                if now not in places.setdefault(before, []):
                    places[before].append(now)
    return places


def _above(source: str) -> Iterator[str]:
    """The folders above a file, the nearest first."""
    while source := source.rpartition("/")[0]:
        yield source


def _place(old: str, new: str, top: Path) -> Iterator[tuple[str, str]]:
    """The uppermost folder from ``top`` down to a file that lies in another place as it was."""
    inside = Path(old).relative_to(top).parts
    for depth in range(len(inside)):
        below = "/" + "/".join(inside[depth:])
        if new.endswith(below):
            yield old.removesuffix(below), new.removesuffix(below)
            return
