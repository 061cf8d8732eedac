"""Looks at everything in an index, and changes nothing."""

from __future__ import annotations

import time
from collections import Counter as Counts
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

from metaembed_rag.errors import MissingExtraError, StoreError
from metaembed_rag.maintenance.copies import CacheComparison, WordsComparison, calibration_problem
from metaembed_rag.maintenance.files import (
    left_in_store,
    left_over,
    lock_findings,
    picture_findings,
)
from metaembed_rag.maintenance.findings import (
    CONTENT,
    COUNT,
    DATABASE,
    GRAPH,
    KINDS,
    PICTURE,
    RECORD,
    VECTORS,
    CheckReport,
    Finding,
)
from metaembed_rag.maintenance.scan import Batch, scan
from metaembed_rag.store import records
from metaembed_rag.store.chroma import ChromaStore
from metaembed_rag.store.inspection import Inspection, inspect
from metaembed_rag.store.pictures import PictureFolder

_ANEW = "index the files again into a new folder, or import what was exported before"
_GRAPH_AGAIN = "`metaembed repair` makes it again"


Counter = AbstractContextManager[Callable[[int], None] | None]
"""Gives what is told how many records were looked at; entered when they can be counted."""


def check(
    store: ChromaStore, pictures: PictureFolder, counter: Counter, timeout: float
) -> CheckReport:
    """See :meth:`metaembed_rag.PageIndex.check`."""
    start = time.perf_counter()
    lock = list(lock_findings(store))
    with alone(store, timeout, known_broken=bool(lock)):
        look = Look(store, pictures)
        if look.at_files():
            with counter as look.progress:
                look.at_everything()
    order = list(KINDS)
    findings = sorted([*lock, *look.findings], key=lambda one: (order.index(one.kind), one.id))
    seconds = time.perf_counter() - start
    return CheckReport(look.pages, look.pictures_seen, findings, look.notes, seconds)


def alone(
    store: ChromaStore, timeout: float, *, known_broken: bool = False
) -> AbstractContextManager[None]:
    """Keep writers away from a folder meanwhile; a server knows no such thing.

    Args:
        store: Of the index.
        timeout: Seconds to wait for another writer.
        known_broken: Go on without the lock, because there is something else in its place.
    """
    if store.places.folder is None or known_broken:
        return nullcontext()
    return store.writing(timeout)


class Look:
    """One look at an index.

    Args:
        store: The records.
        pictures: Their pictures.

    Attributes:
        progress: Called with the number of records after each batch.
        pages: Records that were looked at.
        pictures_seen: Pictures that were looked at.
        named: Names of pictures that records have, those of unreadable records too, and how many
            have it.
        findings: What is wrong.
        notes: What is untidy only.
        inspection: Of the files of Chroma's database.
    """

    def __init__(self, store: ChromaStore, pictures: PictureFolder) -> None:
        self.progress: Callable[[int], None] | None = None
        self.pages = self.pictures_seen = 0
        self.named: Counts[str] = Counts()
        self.findings: list[Finding] = []
        self.notes: list[Finding] = []
        self.inspection = Inspection()
        self._store, self._pictures = store, pictures

    def at_files(self) -> bool:
        """Look into the files of Chroma's database; whether its records can be asked for.

        A damaged graph ends the process as soon as Chroma is asked for anything.
        """
        places = self._store.places
        if places.folder is not None:
            self.inspection = inspect(places.folder, places.collection)
        said = self.inspection
        self.findings += [Finding(DATABASE, what, _ANEW) for what in said.database]
        if said.graph:
            what = f"{said.graph}, so no record can be looked at"
            self.findings.append(Finding(GRAPH, what, _GRAPH_AGAIN))
        return not said.graph

    def at_everything(self) -> None:
        """Look at records, pictures, copies and left-over files, in this order.

        Raises:
            StoreError: Chroma cannot read its records, and SQLite finds nothing wrong.
        """
        try:
            self._at_records()
        except StoreError as error:
            if not self.inspection.database:
                raise
            self.findings.append(Finding(DATABASE, str(error), _ANEW))
            return
        if (problem := calibration_problem(self._store)) is not None:
            self.findings.append(problem)
        self.notes += [finding for _, finding in left_over(self._store, self._pictures, self.named)]
        with self._asking_store():
            self.notes += [finding for _, finding in left_in_store(self._pictures, self.named)]

    def at_pages(self, ids: Sequence[str]) -> None:
        """Look at the records and pictures of some pages."""
        for batch in scan(self._store, ids):
            self._at_batch(batch)

    def is_last(self, name: str) -> bool:
        """Note that a record has that picture no longer; whether no other one has it."""
        self.named[name] -= 1
        last = self.named[name] <= 0
        if last:
            del self.named[name]
        return last

    def _at_records(self) -> None:
        ids = self._store.ids()
        self._count(len(ids))
        cache, words = CacheComparison(self._store), WordsComparison(self._store)
        for batch in scan(self._store, ids):
            cache.compare(batch)
            words.compare(batch)
            self._at_batch(batch)
            if self.progress is not None:
                self.progress(len(batch.ids))
        for copy in (cache, words):
            copy.finish()
            self.findings += copy.findings
            self.notes += copy.notes
        if self._store.places.folder is None:
            self._look_again()

    def _at_batch(self, batch: Batch) -> None:
        self.findings += batch.findings
        self.pages += len(batch.raw)
        lost = set(batch.ids) - {one.id for one in batch.raw}
        what = "it is in the list of ids, and Chroma gives no record of it"
        self.findings += [Finding(COUNT, what, "run the check again", id) for id in sorted(lost)]
        names = [records.picture_name(one.metadata) for one in batch.raw]
        self.named.update(name for name in names if name is not None)
        self.pictures_seen += sum(one.page.image_path is not None for one in batch.records)
        with self._asking_store():
            self.findings += picture_findings(self._pictures, list(batch.records))

    @contextmanager
    def _asking_store(self) -> Iterator[None]:
        """Ask a store of pictures for something; where it fails, say so once and go on."""
        try:
            yield
        except (StoreError, MissingExtraError) as error:
            if self._pictures.is_here:
                raise
            found = Finding(PICTURE, str(error), "check it again when the store can be reached")
            self.findings += [found] if found not in self.findings else []

    def _count(self, listed: int) -> None:
        """Compare Chroma's number of records with its list of ids."""
        count = self._store.count() + len(self._store.unreadable)
        if count != listed and self._store.places.folder is not None:
            what = f"Chroma counts {count} records and lists {listed}"
            self.findings.append(Finding(COUNT, what, _ANEW))

    def _look_again(self) -> None:
        """Where nobody can be kept from writing, believe what is still so at a second look."""
        doubtful = sorted({one.id for one in self.findings if one.id})
        if not doubtful:
            return
        second = Look(self._store, self._pictures)
        second.at_pages(self._store.there(doubtful))
        of_pages = {(one.kind, one.id) for one in second.findings}
        self.findings = [
            one
            for one in self.findings
            if not one.id or one.kind not in _OF_RECORDS or (one.kind, one.id) in of_pages
        ]


_OF_RECORDS = frozenset({RECORD, VECTORS, CONTENT, PICTURE, GRAPH, COUNT})
"""Kinds of findings that a second look at a page finds again."""
