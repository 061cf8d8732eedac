"""Makes an index whole again, as far as what is left of it says how."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from metaembed_rag.errors import MissingExtraError, PageError, StoreError
from metaembed_rag.maintenance.checking import Counter, Look, alone
from metaembed_rag.maintenance.files import left_in_store, left_over
from metaembed_rag.maintenance.findings import (
    CALIBRATION,
    GRAPH,
    OF_PAGES,
    PICTURE,
    Finding,
    RepairReport,
)
from metaembed_rag.maintenance.rows import without_writing
from metaembed_rag.maintenance.scan import AT_ONCE
from metaembed_rag.maintenance.sources import Restored, restore
from metaembed_rag.pages.reading import turned_picture
from metaembed_rag.pages.roots import Roots
from metaembed_rag.search.lexical_cache import LexicalCache
from metaembed_rag.store import records
from metaembed_rag.store.chroma import ChromaStore
from metaembed_rag.store.pictures import PictureFolder
from metaembed_rag.store.places import WRITING
from metaembed_rag.store.raw import RawRecord
from metaembed_rag.store.reading import checked_record
from metaembed_rag.store.requests import slices

_OLD_SECONDS = 3600
"""After so long a file on the way to a server's index is nobody's any more."""

Confirm = Callable[[Sequence[Finding]], bool]


@dataclass(frozen=True)
class RepairOptions:
    """How an index is repaired.

    Attributes:
        dry_run: Change nothing, say what would be done.
        confirm: Asked before damaged pages are taken out; without it they are.
        lock_timeout: Seconds to wait for another writer.
        roots: Where folders are on this machine.
    """

    dry_run: bool = False
    confirm: Confirm | None = None
    lock_timeout: float = 0.0
    roots: Roots = field(default_factory=Roots)


@dataclass(frozen=True)
class Parts:
    """What of an opened index a repair needs.

    Attributes:
        store: Its records.
        pictures: Their pictures.
        lexical: Their words.
        renew_vectors: Makes the mapped copy of the vectors again.
    """

    store: ChromaStore
    pictures: PictureFolder
    lexical: LexicalCache
    renew_vectors: Callable[[], object]


def repair(parts: Parts, counter: Counter, options: RepairOptions) -> RepairReport:
    """See :meth:`metaembed_rag.PageIndex.repair`."""
    with alone(parts.store, options.lock_timeout):
        look = Look(parts.store, parts.pictures)
        readable = look.at_files()
        if look.inspection.database:  # whatever is written to it now may be lost
            return RepairReport(left=look.findings, dry_run=options.dry_run)
        run = _Repair(parts, look, options.dry_run, options.roots)
        if not readable:
            run.drop_graph()
        if readable or not options.dry_run:
            with counter as look.progress:
                look.at_everything()
        run.drop(options.confirm)
        run.mend_graph()
        run.restore_pictures()
        if readable or not options.dry_run:
            run.tidy()
            run.tidy_store()
        run.rebuild()
    return run.report()


@dataclass
class _Repair:
    """One repair, a step after the other; each can be ended anywhere and done again."""

    parts: Parts
    look: Look
    dry_run: bool
    roots: Roots
    dropped: list[Finding] = field(default_factory=list)
    restored: list[str] = field(default_factory=list)
    rewritten: list[str] = field(default_factory=list)
    rebuilt: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    mended: set[Finding] = field(default_factory=set)

    def drop(self, confirm: Confirm | None) -> None:
        """Take out records that cannot be read or are not what was encoded, then their pictures."""
        wrong = [one for one in self.look.findings if one.kind in OF_PAGES]
        if not wrong or (confirm is not None and not confirm(wrong)):
            return
        ids = sorted({one.id for one in wrong})
        self.dropped = wrong
        gone = set(ids)
        self.mended.update(one for one in self.look.findings if one.id in gone)
        if self.dry_run:
            return
        store = self.parts.store
        for part in slices(len(ids), AT_ONCE):
            held = store.stored(ids[part]).values()
            names = [records.picture_name(metadata) for metadata in held]
            store.delete(ids[part])
            self.parts.pictures.remove({name for name in names if name and self.look.is_last(name)})

    def drop_graph(self) -> None:
        """Remove a graph with which nothing can be read; what it held is found to be lost then."""
        folder = self.look.inspection.graph_folder
        assert folder is not None, "it was found there"
        self.mended.update(self.look.findings)
        self.rebuilt.append(GRAPH)
        if not self.dry_run:
            with self.parts.store.changing_files():
                shutil.rmtree(folder)

    def mend_graph(self) -> None:
        """Write vectors again that Chroma's graph lacks, as the page's stored ones have them."""
        wrong = [one for one in self.look.findings if one.kind == GRAPH]
        self.mended.update(wrong)
        gone = {one.id for one in self.dropped}
        self.rewritten = sorted({one.id for one in wrong if one.id} - gone)
        for part in slices(len(self.rewritten), AT_ONCE) if not self.dry_run else ():
            self._rewrite(self.parts.store.raw(self.rewritten[part], vectors=False))

    def restore_pictures(self) -> None:
        """Make pictures again from files that still show what they showed."""
        broken = {one.id: one for one in self.look.findings if one.kind == PICTURE and one.id}
        ids = sorted(broken.keys() - {one.id for one in self.dropped})
        found = self.parts.store.get(ids) if ids else {}
        for one in restore(found.values(), self.roots):
            if not self.dry_run:
                self._save(one)
            self.restored.append(one.record.page.id)
            self.mended.add(broken[one.record.page.id])

    def tidy(self) -> None:
        """Remove what is left over, and a calibration that cannot be read."""
        store = self.parts.store
        calibration = store.places.calibration
        broken = [one for one in self.look.findings if one.kind == CALIBRATION]
        if broken and calibration is not None:
            self.mended.update(broken)
            self._remove(calibration)
        for path, _ in list(left_over(store, self.parts.pictures, self.look.named)):
            if path.name != WRITING:
                self._remove(path)
                continue
            self.removed.append(str(path))
            if not self.dry_run:
                store.delete([])  # a new mark, so that nothing derived before counts any more

    def tidy_store(self) -> None:
        """Remove pictures from a store that no record names."""
        try:
            names = {name for name, _ in left_in_store(self.parts.pictures, self.look.named)}
        except (StoreError, MissingExtraError):
            return  # the look at it has said so
        if not self.dry_run:
            self.parts.pictures.remove(names)
        self.removed += [f"{self.parts.pictures.place}: {name}" for name in sorted(names)]

    def rebuild(self) -> None:
        """Make the mapped copy and the index of words again, from the records."""
        places, lexical = self.parts.store.places, self.parts.lexical
        self.mended.update(one for one in self.look.findings if one.kind in ("cache", "words"))
        self.rebuilt += ["cache", "words"]
        if self.dry_run:
            return
        for place in (places.vectors, places.words):
            if place is not None:
                shutil.rmtree(place, ignore_errors=True)
        self.parts.renew_vectors()
        lexical.close()
        try:
            lexical.current()
        except MissingExtraError:
            self.rebuilt.remove("words")

    def report(self) -> RepairReport:
        """What was done."""
        left = [one for one in self.look.findings if one not in self.mended]
        lists = (self.dropped, self.restored, self.rewritten, self.rebuilt, self.removed, left)
        return RepairReport(*lists, dry_run=self.dry_run)

    def _rewrite(self, raw: Sequence[RawRecord]) -> None:
        about = self.parts.store.about
        kept = []
        for one in raw:
            try:
                kept.append((one, checked_record(one.id, one.metadata, about.unpack)))
            except (ValueError, PageError):
                continue  # nobody wanted it to be taken out
        if kept:
            first = about.unpack([record for _, record in kept], 1).decode()[:, 0]
            metadatas = [without_writing(one.metadata) for one, _ in kept]
            self.parts.store.upsert([one.id for one, _ in kept], np.asarray(first), metadatas)

    def _save(self, one: Restored) -> None:
        """Put a picture in its place, and its name into the record where that is another."""
        record, pictures = one.record, self.parts.pictures
        old = record.page.image_path
        if old is not None and self.look.is_last(old):  # a damaged record may name another's
            pictures.remove({old})
        image = turned_picture(one.image, record.page.turned)
        name = pictures.save(image, record.page.id, record.content_hash)
        self.look.named[name] += 1
        if name != old:
            self.parts.store.update_metadata([record.page.id], [{records.IMAGE: name}])

    def _remove(self, path: Path) -> None:
        on_server = self.parts.store.places.folder is None
        try:
            if on_server and time.time() - path.stat().st_mtime < _OLD_SECONDS:
                return  # it may be on its way: nobody can be kept from writing
            if not self.dry_run:
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        except OSError:
            return
        self.removed.append(str(path))
