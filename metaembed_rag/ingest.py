"""Pages into the index: what is new or changed is encoded, the rest is left alone.

::

    pages -> which are new or changed -> vectors -> records in Chroma -> the mapped vectors

The way goes in one direction: vectors that were made are handed over to the mapped copy, and not
read back out of Chroma.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from metaembed_rag.errors import BlankFileError, BlankPageError, ModelError, PageError, StoreError
from metaembed_rag.metadata.filters import normalize_where
from metaembed_rag.model.base import Encoder, checked_vectors, unread_tokens
from metaembed_rag.model.inputs import Input, Mode, page_inputs, unread_note, wants_ocr
from metaembed_rag.pages import Page, list_files, load_pages
from metaembed_rag.pages.load import count_pages
from metaembed_rag.pages.page import default_id
from metaembed_rag.pages.reading import Ocr, completed, ocr_is_installed, ocr_policy
from metaembed_rag.pages.uploads import is_upload
from metaembed_rag.progress import page_counter
from metaembed_rag.store import records
from metaembed_rag.store.changes import Change
from metaembed_rag.store.chroma import ChromaStore
from metaembed_rag.store.pictures import PictureFolder
from metaembed_rag.store.readings import BlankPages, Readings, RunReadings, way_of
from metaembed_rag.store.records import Record
from metaembed_rag.vectors.formats import pack, vector_format

_HANDED_OVER_AT = 64_000_000
"""Bytes of changes that are gathered before they are handed over, so that memory stays bounded."""


@dataclass
class AddReport:
    """What :meth:`PageIndex.add` and :meth:`PageIndex.sync` did.

    Attributes:
        added: Pages that were not in the index.
        updated: Pages whose content or metadata had changed.
        unchanged: Pages that were there already and were not encoded again.
        removed: Pages that their source no longer has.
        skipped: What could not be read, with the reason.
        notes: What is missing of pages that are in the index, and why: OCR was to complete their
            text and is off or not installed. They are tried again by the next run.
        blank: Pages with nothing to read, which are not in the index and no failure: blank ones,
            and pictures without letters where the model reads text only. They are remembered, and
            not read again while they are unchanged.
        ignored: Files inside folders that are of a kind that is not read.
        cut: Ids of added or updated pages whose text is longer than what the encoder reads in its
            ``max_passes`` passes, each with the number of tokens at its end that no vector has
            seen. Hybrid search still reads their words.
        seconds: What :meth:`PageIndex.add` did or waited for: ``load``, ``hash``, ``ocr``,
            ``encode``, ``store``.
    """

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0
    skipped: list[PageError] = field(default_factory=list)
    notes: list[PageError] = field(default_factory=list)
    blank: list[BlankPageError] = field(default_factory=list)
    ignored: list[Path] = field(default_factory=list)
    cut: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(("load", "hash", "ocr", "encode", "store"), 0.0)
    )

    def __str__(self) -> str:
        parts = f"{self.added} added, {self.updated} updated, {self.unchanged} unchanged"
        blank = f", {len(self.blank)} blank" if self.blank else ""
        cut = f", {len(self.cut)} cut" if self.cut else ""
        return f"{parts}, {self.removed} removed, {len(self.skipped)} skipped{blank}{cut}"

    @property
    def unread(self) -> list[PageError]:
        """What is not in the index, with the reason: ``skipped``, then ``blank``."""
        return [*self.skipped, *self.blank]

    def leave_out(self, error: PageError) -> None:
        """Note what was not read: a blank page, or a failure."""
        if isinstance(error, BlankPageError):
            self.blank.append(error)
        else:
            self.skipped.append(error)


@dataclass(frozen=True)
class AddOptions:
    """How pages are added; :meth:`metaembed_rag.PageIndex.add` explains each.

    Raises:
        StoreError: ``batch_size`` is under 1.
        ModelError: There is no such mode, or no such policy of OCR.
    """

    mode: Mode = "fused"
    batch_size: int = 64
    ocr: bool | Ocr = True
    progress: Callable[[int], None] | None = None
    show_progress: bool = False
    lock_timeout: float = 0.0

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise StoreError(f"batch_size must be at least 1, not {self.batch_size}")
        if self.mode not in get_args(Mode):
            raise ModelError(f"mode {self.mode!r} is not one of {', '.join(get_args(Mode))}")
        object.__setattr__(self, "ocr", ocr_policy(self.ocr))


class Ingest:
    """Writes pages into one index, and takes them out again.

    Args:
        store: Holds the records.
        pictures: Holds the pages' pictures.
        encoder: Gives the model; called only when there is something to encode.
        hand_over: Given what was changed, in order; says whether more is of use.
    """

    def __init__(
        self,
        store: ChromaStore,
        pictures: PictureFolder,
        encoder: Callable[[], Encoder],
        hand_over: Callable[[Sequence[Change]], bool],
    ) -> None:
        self.store, self.pictures, self.encoder = store, pictures, encoder
        self.hand_over = hand_over
        self.readings = Readings(store.places.readings)

    def add(self, pages: Iterable[Page], options: AddOptions) -> AddReport:
        """See :meth:`metaembed_rag.PageIndex.add`."""
        if isinstance(pages, str | PathLike | Page) or is_upload(pages):
            raise _no_page(pages)
        if isinstance(pages, list | tuple):  # what cannot be stored is found before all else
            for page in (page for page in pages if isinstance(page, Page)):
                records.stored_metadata(page.metadata, page.id)
        length = len(pages) if isinstance(pages, Sized) else None
        bar = page_counter(options.progress, shown=options.show_progress, total=lambda: length)
        with (
            self.store.writing(options.lock_timeout),
            bar as count,
            closing(_AddRun(self, options, count)) as run,
        ):
            self.readings.refresh()
            for batch in run.batches(pages):
                run.batch(batch)
            run.finish()
        return run.report

    def sync(
        self,
        paths: str | Path | Iterable[str | Path],
        options: AddOptions,
        load_options: Mapping[str, Any],
    ) -> AddReport:
        """See :meth:`metaembed_rag.PageIndex.sync`."""
        named = [paths] if isinstance(paths, str | Path) else list(paths)
        for path in named:
            if not isinstance(path, str | PathLike):
                raise StoreError(
                    f"sync follows files and folders, and cannot follow a {type(path).__name__}; "
                    f"use add(load_pages(…)) for bytes and open files"
                )
        found = AddReport()

        def skip(source: str, digest: str) -> bool:
            if Path(source).is_relative_to(self.pictures.folder.resolve()):
                return True  # our own pictures are no pages, even where their folder is named
            unchanged = self._pages_of_unchanged(source, digest, options.mode)
            if unchanged is None:
                return False
            stored, blank = unchanged
            found.unchanged += stored
            found.blank += [BlankPageError(default_id(source, n), _STILL_BLANK) for n in blank]
            if count is not None:
                count(stored + len(blank))
            return True

        notes: dict[str, Any] = {"on_skip": found.leave_out, "on_ignore": found.ignored.append}
        pages = load_pages(named, skip=skip, **notes, **load_options)
        bar = page_counter(
            options.progress,
            shown=options.show_progress,
            total=lambda: count_pages(list_files(named)),
        )
        with self.store.writing(options.lock_timeout), bar as count:
            self.readings.refresh()
            within = replace(options, progress=count, show_progress=False, lock_timeout=0.0)
            report = self.add(pages, within)
            report.removed += self._remove_vanished(named) + self._remove_blanked(found.blank)
        report.unchanged += found.unchanged
        report.skipped = found.skipped + report.skipped
        report.blank = found.blank + report.blank
        report.ignored = found.ignored
        return report

    def delete(
        self,
        ids: Sequence[str] | str | None,
        source: str | Path | None,
        where: Mapping[str, Any] | None,
        lock_timeout: float,
    ) -> int:
        """See :meth:`metaembed_rag.PageIndex.delete`."""
        if where is not None and normalize_where(where) is None:
            raise StoreError("this filter would delete every page; name the pages to delete")
        if sum(value is not None for value in (ids, source, where)) != 1:
            raise StoreError("name the pages to delete by exactly one of ids, source and where")
        with self.store.writing(lock_timeout):
            if ids is not None:
                found = self.store.there([ids] if isinstance(ids, str) else list(ids))
            elif source is not None:
                found = self._ids_of_source(source)
            else:
                found = self.store.ids(where)
            self._remove(found)
            self.readings.refresh()
            self.readings.forget_texts()  # a deleted page's would stay
        return len(found)

    def _ids_of_source(self, source: str | Path) -> list[str]:
        found = self.store.ids({records.SOURCE: str(source)})
        return found or self.store.ids(
            {records.SOURCE: Path(source).expanduser().resolve().as_posix()}
        )

    def _pages_of_unchanged(
        self, source: str, digest: str, mode: str
    ) -> tuple[int, Sequence[int]] | None:
        """How many pages of a source are stored, and the numbers of those that are blank.

        None where these are not all, or not from these very bytes, so that it has to be read.
        """
        found = self.store.ids({records.SOURCE: source, records.DIGEST: digest, records.MODE: mode})
        way = way_of(mode, self.store.about.fingerprint)
        known = self.readings.blank_pages(digest, way) or BlankPages(0, ())
        count: int | None = known.page_count
        if found:
            first = self.store.get(found[:1]).get(found[0])
            if first is None or not self.store.unreadable.keys().isdisjoint(found):
                return None  # damaged pages come back by being read again
            name = first.page.image_path
            if name and not self.pictures.path(name).exists():
                return None
            count = first.page.page_count
        whole = len(found) + len(known.numbers) == count
        return (len(found), known.numbers) if whole and count else None

    def _remove_vanished(self, paths: Sequence[str | Path]) -> int:
        """Remove pages of files that have gone from the named folders, and count them."""
        named = [Path(path).expanduser().resolve() for path in paths]
        folders = [folder for folder in named if folder.is_dir() and list_files(folder)]
        every = self.store.ids() if folders else []
        gone = [id for id in every if any(_has_vanished(id, folder) for folder in folders)]
        self._remove(gone)
        return len(gone)

    def _remove_blanked(self, blank: Sequence[PageError]) -> int:
        """Remove the pages that files had which are blank as a whole now, and count them."""
        sources = [error.source for error in blank if isinstance(error, BlankFileError)]
        every = self.store.ids({records.SOURCE: {"$in": sources}}) if sources else []
        gone = [id for id in every if id.rpartition("#")[0] in sources]
        self._remove(gone)
        return len(gone)

    def _remove(self, ids: Sequence[str]) -> None:
        """Delete pages; the lock is held."""
        if ids:  # else a write would be recorded, and everybody look for it
            self.hand_over([self.take_out(ids)])

    def take_out(self, ids: Sequence[str]) -> Change:
        """Delete records, then pictures: a kill between leaves a stray file, no broken hit."""
        names = {record.page.image_path for record in self.store.get(ids).values()}
        damaged = self.store.unreadable
        names |= {records.picture_name(damaged[id]) for id in ids if id in damaged}
        change = self.store.delete(ids)
        self.pictures.remove(names)
        return change


_STILL_BLANK = "there was nothing to read on the page, and it is unchanged"

_Batch = dict[str, tuple[Page, "Future[str]"]]
"""Pages by id, each with the hash of its picture on the way."""


class _AddRun:
    """One run of :meth:`Ingest.add`.

    A batch is written in the background while the next one is being loaded, and is acknowledged
    when it has been written. The next batch is compared with the index only then. Pictures are
    hashed beside the loading, too.
    """

    def __init__(
        self, index: Ingest, options: AddOptions, progress: Callable[[int], None] | None
    ) -> None:
        self.index, self.store, self.pictures = index, index.store, index.pictures
        self.options, self.report, self.progress = options, AddReport(), progress
        self.page_counts: dict[str, int] = {}
        self.read = RunReadings(index.readings, index.store)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="metaembed-store")
        self._hasher = ThreadPoolExecutor(1, thread_name_prefix="metaembed-hash")
        self._writing: Future[None] | None = None
        self._unacknowledged = 0
        self._changes: list[Change] = []
        self._bytes = 0
        self._of_use = True

    def close(self) -> None:
        """Wait for what is being written."""
        self._writer.shutdown(wait=True)
        self._hasher.shutdown(wait=True, cancel_futures=True)

    def batches(self, pages: Iterable[Page]) -> Iterator[_Batch]:
        """At most ``batch_size`` pages at a time; of several with one id the last counts."""
        iterator = iter(pages)
        while True:
            batch: _Batch = {}
            with self._timed("load"):
                for page in islice(iterator, self.options.batch_size):
                    if not isinstance(page, Page):
                        raise _no_page(page)
                    batch[page.id] = page, self._hasher.submit(page.picture_hash)
            if not batch:
                return
            yield batch

    def batch(self, loaded: _Batch) -> None:
        """Store one batch of pages."""
        with self._timed("hash"):
            pages = [
                replace(
                    page,
                    image_hash=made.result(),
                    metadata=records.stored_metadata(page.metadata, page.id),
                )
                for page, made in loaded.values()
            ]
            hashes = {page.id: page.content_hash(page.image_hash) for page in pages}
        self._acknowledge()
        with self._timed("store"):
            stored = self.store.get([page.id for page in pages])
        changed = []
        for page in pages:
            if page.page_count is not None and page.id == default_id(page.source, page.number):
                self.page_counts[page.source] = page.page_count
            old = stored.get(page.id)
            same = old and (old.content_hash, old.mode) == (hashes[page.id], self.options.mode)
            if old is None or not same or self._can_be_completed(page, old):
                changed.append(page)
            else:
                self._keep(page, old)
        self._write(changed, hashes, stored)
        self._unacknowledged = len(pages)

    def finish(self) -> None:
        """Wait for the last batch; remove pages beyond the ends of sources that were shortened.

        Only pages whose ids :func:`metaembed_rag.load_pages` gave are its to remove: the same file
        may be there under other ids, as another tenant's.
        """
        self._acknowledge()
        for source, count in self.page_counts.items():
            beyond = {records.SOURCE: source, records.PAGE: {"$gt": count}}
            found = self.store.get(self.store.ids(beyond)).values()
            lost = [r.page.id for r in found if r.page.id == default_id(source, r.page.number)]
            self._remove(lost)
        self._hand_over()  # also of nothing: the copy is made then, too
        self.read.finish(way_of(self.options.mode, self.store.about.fingerprint))

    def _acknowledge(self) -> None:
        """Wait until the batch before is in the index, and say so."""
        with self._timed("store"):
            if self._writing is not None:
                self._writing.result()
                self._writing = None
        if self._bytes >= _HANDED_OVER_AT:
            self._hand_over()
        if self._unacknowledged and self.progress is not None:
            self.progress(self._unacknowledged)
        self._unacknowledged = 0

    @contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.report.seconds[what] += time.perf_counter() - start

    def _is_incomplete(self, page: Page) -> bool:
        """Whether a loaded page shows more than its text, and OCR is to read it."""
        mode = self.options.mode
        return page.unread != "" and wants_ocr(page, mode, self.index.encoder().modalities)

    def _can_be_completed(self, page: Page, old: Record) -> bool:
        """Whether a stored page was left unread, and can be read by OCR now."""
        possible = self.options.ocr != "never" and ocr_is_installed()
        return possible and old.may_be_unread and self._is_incomplete(page)

    def _keep(self, page: Page, old: Record) -> None:
        """Leave the vectors; bring the rest up to date where it differs or is lost."""
        name = old.page.image_path
        if name is not None and page.image is not None and not self.pictures.path(name).exists():
            self.pictures.save(page.image, page.id, old.content_hash)
        incomplete = old.may_be_unread and self._is_incomplete(page)
        if incomplete:
            self.report.notes.append(unread_note(page, self.options.ocr))
        same = records.same_metadata(page.metadata, old.page.metadata)
        if same:
            self.report.unchanged += 1
        else:
            self.report.updated += 1
        new = replace(
            old.page,
            metadata=old.page.metadata if same else page.metadata,
            page_count=page.page_count,
            source_digest="" if incomplete else page.source_digest,
        )
        if new == old.page:
            return
        before, after = (records.to_metadata(one) for one in (old, replace(old, page=new)))
        changed = {key: value for key, value in after.items() if before.get(key) != value}
        changed |= records.keys_gone(old, after)
        with self._timed("store"):
            self._note(self.store.update_metadata([page.id], [changed]))

    def _write(
        self, pages: Sequence[Page], hashes: Mapping[str, str], stored: Mapping[str, Record]
    ) -> None:
        """Encode pages, and begin to write them; those that cannot be read are reported."""
        if not pages:
            return
        encoder = self.index.encoder()
        with self._timed("ocr"):
            readable, inputs = self._read(pages, encoder.modalities)
        # A file that gave an incomplete page is not taken for unchanged by the next run.
        given = [(self._is_incomplete(page), page) for page in readable]
        readable = [replace(page, source_digest="") if more else page for more, page in given]
        replaced = {page.id: stored[page.id] for page in pages if page.id in stored}
        unreadable = replaced.keys() - {page.id for page in readable}
        self._remove([id for id in replaced if id in unreadable])
        if not readable:
            return
        with self._timed("encode"):
            made = checked_vectors(
                encoder, "document", encoder.encode_document(inputs), len(inputs)
            )
            vectors = self.store.about.cut(made)
            unread = unread_tokens(encoder, inputs)
        self.report.cut |= {p.id: count for p, count in zip(readable, unread, strict=True) if count}
        self._writing = self._writer.submit(self._put, readable, vectors, hashes, replaced)
        updated = len(replaced) - len(unreadable)
        self.report.updated += updated
        self.report.added += len(readable) - updated

    def _read(
        self, pages: Sequence[Page], modalities: frozenset[str]
    ) -> tuple[list[Page], list[Input]]:
        """Those pages that can be read and what is encoded of them; the rest is reported.

        A picture that was read by OCR before, and perhaps for nothing, is not read again.
        """
        by_ocr = self.options.mode == "text" or "image" not in modalities
        known = (
            self.read.texts(pages, look_in_records=self.options.ocr != "never") if by_ocr else {}
        )
        others = [page for page in pages if page.id not in known]
        left_out: list[PageError] = []
        notes = {"on_skip": left_out.append, "on_note": self.report.notes.append}
        readable, inputs = page_inputs(
            others, self.options.mode, modalities, ocr=self.options.ocr, **notes
        )
        for page in pages:
            if text := known.get(page.id):
                readable.append(completed(page, text))
                inputs.append(text)
            elif page.id in known:
                left_out.append(BlankPageError(page.id, _STILL_BLANK))
        blank = {error.source for error in left_out if isinstance(error, BlankPageError)}
        self.read.note(readable, [page for page in pages if page.id in blank])
        for error in left_out:
            self.report.leave_out(error)
        return readable, inputs

    def _put(
        self,
        pages: Sequence[Page],
        vectors: NDArray[np.float32],
        hashes: Mapping[str, str],
        replaced: Mapping[str, Record],
    ) -> None:
        """Write pictures, then records, then remove pictures that no record names any more."""
        self.store.origin()  # pictures must not bring back the folder of an index that has gone
        metadatas: list[dict[str, Any]] = []
        old: set[str | None] = set()
        encoded = vector_format(self.store.about.format).encode(vectors)
        for page, payload in zip(pages, pack(encoded), strict=True):
            image, digest = page.load_image(), hashes[page.id]
            if image is not None:  # kept as a file; the page goes on without its pixels
                name = self.pictures.save(image, page.id, digest)
                page = replace(page, image=None, image_path=name)
            metadata = records.to_metadata(Record(page, payload, digest, self.options.mode))
            if page.id in replaced:
                metadata |= records.keys_gone(replaced[page.id], metadata)
                old.add(replaced[page.id].page.image_path)
            elif damaged := self.store.unreadable.get(page.id):
                metadata |= dict.fromkeys(damaged.keys() - metadata.keys())
                old.add(records.picture_name(damaged))
            metadatas.append(metadata)
        change = self.store.upsert([page.id for page in pages], vectors[:, 0], metadatas)
        self._note(replace(change, vectors=encoded))
        self.pictures.remove(old - {metadata.get(records.IMAGE) for metadata in metadatas})

    def _remove(self, ids: Sequence[str]) -> None:
        """Delete pages that are no more."""
        if ids:  # else a write would be recorded, and everybody look for it
            self._note(self.index.take_out(ids))
            self.report.removed += len(ids)

    def _note(self, change: Change) -> None:
        """Gather a change; it is handed over later."""
        if self._of_use:
            self._changes.append(change)
            self._bytes += change.bytes

    def _hand_over(self) -> None:
        """Hand over what has gathered; no write may be under way.

        Until then it is in the index but not in the mapped copy: after a kill, the next search
        notices what is missing, and reads it from Chroma.
        """
        changes, self._changes, self._bytes = self._changes, [], 0
        self._of_use = self._of_use and self.index.hand_over(changes)


def _no_page(given: Any) -> PageError:
    """What is wrong with what was given in place of pages."""
    if isinstance(given, Page):
        return PageError(given.id, "is one page: give a list of pages, add([page])")
    if isinstance(given, str | PathLike):
        advice = "read the file by add(load_pages(path)), or follow it by sync(path)"
        return PageError(str(given), f"is a path and no page: {advice}")
    what = f"a {type(given).__name__}"
    return PageError(what, "is no page: make pages of files, bytes and uploads by load_pages")


def _has_vanished(id: str, folder: Path) -> bool:
    """Whether ``id`` is of a page that :func:`load_pages` read below ``folder``, its file gone."""
    source = Path(id.rpartition("#")[0])
    if not source.is_absolute() or not source.is_relative_to(folder):
        return False
    try:
        return not source.exists()
    except OSError:
        return False  # a folder that may not be entered says nothing about its files
