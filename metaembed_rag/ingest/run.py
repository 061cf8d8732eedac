"""One run of adding pages, a batch at a time: what is new or changed, its vectors, its records."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metaembed_rag.errors import BlankPageError, PageError, install_line, kind_of_value
from metaembed_rag.ingest.describing import RunDescriptions
from metaembed_rag.ingest.encoding import encode_pages
from metaembed_rag.ingest.known_content import KnownContent, root_of
from metaembed_rag.ingest.options import AddOptions
from metaembed_rag.ingest.report import Acknowledged, AddReport, still_blank
from metaembed_rag.ingest.taking_over import TakingOver
from metaembed_rag.ingest.target import Target
from metaembed_rag.model.inputs import Input, page_input, page_inputs, sight, unread_note
from metaembed_rag.model.looking import needs_figures, wants_figures, wants_ocr
from metaembed_rag.pages import Page
from metaembed_rag.pages.figures import Figure
from metaembed_rag.pages.ocr_languages import OcrLanguage
from metaembed_rag.pages.page import default_id
from metaembed_rag.pages.reading import ocr_is_installed, ocr_policy, turned_picture
from metaembed_rag.progress import PageCounter
from metaembed_rag.store import records
from metaembed_rag.store.changes import Change
from metaembed_rag.store.readings import RunReadings, way_of
from metaembed_rag.store.records import Record

_HANDED_OVER_AT = 64_000_000
"""Bytes of changes that are gathered before they are handed over, so that memory stays bounded."""

_Batch = dict[str, tuple[Page, "Future[str]"]]
"""Pages by id, each with the hash of its picture on the way."""


class AddRun(TakingOver):
    """One run of :meth:`metaembed_rag.ingest.Ingest.add`, under the writer lock.

    A batch is written in the background while the next one is being loaded, and is acknowledged
    when it has been written. The next batch is compared with the index only then. Pictures are
    hashed beside the loading, too.
    """

    def __init__(self, target: Target, options: AddOptions, progress: PageCounter) -> None:
        self.target, self.store = target, target.store
        self.options, self.report, self.progress = options, AddReport(), progress
        self.page_counts: dict[str, int] = {}
        self.read = RunReadings(target.readings, target.store)
        self.described = RunDescriptions(options.describer, self.read)
        self.content = KnownContent(target.store)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="metaembed-store")
        self._hasher = ThreadPoolExecutor(1, thread_name_prefix="metaembed-hash")
        self._writing: Future[None] | None = None
        self._unacknowledged, self._counted, self._ids = 0, 0, list[str]()
        self._changes: list[Change] = []
        self._bytes = 0
        self._of_use = True
        self._with_figures, self._in_other_letters = 0, 0

    def close(self) -> None:
        """Wait for what is being written."""
        self._writer.shutdown(wait=True)
        self._hasher.shutdown(wait=True, cancel_futures=True)
        self.described.close()

    def batches(self, pages: Iterable[Page]) -> Iterator[_Batch]:
        """At most ``batch_size`` pages at a time; of several with one id the last counts."""
        iterator = iter(pages)
        while True:
            batch: _Batch = {}
            with self._timed("load"):
                for page in islice(iterator, self.options.batch_size):
                    if not isinstance(page, Page):
                        raise no_page(page)
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
        self._update(pages, hashes)

    def _update(self, pages: Sequence[Page], hashes: Mapping[str, str]) -> None:
        """Write those pages that are new or changed, and bring the rest up to date."""
        self._acknowledge()
        with self._timed("store"):
            stored = self.store.get([page.id for page in pages])
        changed = []
        for page in pages:
            self._note_end(page)
            old = stored.get(page.id)
            same = old and (old.content_hash, old.mode) == (hashes[page.id], self.options.mode)
            if old and same and not self._can_be_completed(page, old):
                self._keep(page, old)
                self._ids.append(page.id)
            else:
                changed.append(page)
        first, others = self._told_apart(changed, hashes)
        self._write(self._but_known(first, hashes, stored), hashes, stored)
        if others:  # as another page of this batch, whose vectors are there when it is written
            self._wait()
            self._write(self._but_known(others, hashes, stored), hashes, stored)
        self._unacknowledged = len(pages)

    def _wait(self) -> None:
        """Wait for what is being written."""
        with self._timed("store"):
            if self._writing is not None:
                self._writing.result()
                self._writing = None

    def _note_end(self, page: Page) -> None:
        """Note how many pages the source of a page has."""
        if page.page_count is not None and page.id == default_id(page.source, page.number):
            self.page_counts[page.source] = page.page_count

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
        self._note_figures()
        self._hand_over()  # also of nothing: the copy is made then, too
        fingerprint = self.store.about.fingerprint
        self.read.finish(way_of(self.options.mode, fingerprint, self.described.way, sight()))

    def _note_figures(self) -> None:
        """Say once of how many pages the pictures inside were not read, as there is no OCR."""
        if self._with_figures:
            pages = "1 page" if self._with_figures == 1 else f"{self._with_figures:,} pages"
            why = (
                "pictures inside of pages were not read by OCR, which is not installed: "
                f"{install_line('ocr')}, and index the same with --reread (reread=True)"
            )
            self.report.notes.append(PageError(pages, why))
        if self._in_other_letters:
            pages = "1 page" if self._in_other_letters == 1 else f"{self._in_other_letters:,} pages"
            why = (
                "pictures inside of pages were not read by OCR, which does not know the letters of "
                "these pages: give --ocr-language (METAEMBED_OCR_LANGUAGE), see docs/ocr.md"
            )
            self.report.notes.append(PageError(pages, why))

    def _acknowledge(self) -> None:
        """Wait until the batch before is in the index, and say so."""
        self._wait()
        if self._bytes >= _HANDED_OVER_AT:
            self._hand_over()
        done, self._unacknowledged = self._unacknowledged, 0
        read, self._counted = self._counted, 0
        ids, self._ids = self._ids, []
        self.report.acknowledged += ids
        if done:
            self.progress(Acknowledged(done, ids), read=read)

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
        return page.unread != "" and wants_ocr(page, mode, self.target.encoder().modalities)

    def _can_be_completed(self, page: Page, old: Record) -> bool:
        """Whether a stored page was left unread or undescribed, and that can be changed now."""
        if self.described.is_due(page, old):
            return True
        if self.options.ocr == "never" or not ocr_is_installed():
            return False
        if old.may_be_unread and self._is_incomplete(page):
            return True
        return self.options.reread and self._has_more_figures(page, old)

    def _count_unread_figures(self, page: Page) -> None:
        """Count a page with pictures inside that OCR would have read, by what kept it from that."""
        policy, modalities = ocr_policy(self.options.ocr), self.target.encoder().modalities
        if needs_figures(page, self.options.mode, modalities, policy):
            if not ocr_is_installed():
                self._with_figures += 1
            elif not OcrLanguage.of().reads(page.text_layer or page.text):
                self._in_other_letters += 1

    def _has_more_figures(self, page: Page, old: Record) -> bool:
        """Whether a loaded page has pictures inside that nobody has read for its record."""
        known = replace(page, figure_texts=old.page.figure_texts)
        modalities = self.target.encoder().modalities
        return wants_figures(known, self.options.mode, modalities, ocr_policy(self.options.ocr))

    def _keep(self, page: Page, old: Record) -> None:
        """Leave the vectors; bring the rest up to date where it differs or is lost."""
        name = old.page.image_path
        if page.image is not None and not self.target.has_picture(old):
            # Another name than before where that one led outside, or to another page's picture.
            image = turned_picture(page.image, old.page.turned)
            name = self.target.keep_picture(image, page.id, old.content_hash)
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
            image_path=name,
            source_digest="" if incomplete else page.source_digest,
            root=root_of(old.page, page.root),
        )
        if page.lines and not old.page.lines and page.text == old.page.text:
            new = replace(new, lines=page.lines)  # of an index from before they were kept
        new = self.described.kept(new)
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
        if any(page.image is not None or page.image_path is not None for page in pages):
            self.target.pictures.prepare()
        encoder = self.target.encoder()
        with self._timed("describe"):
            self.described.look(pages, hashes, stored)
        with self._timed("ocr"):
            readable, inputs = self._read(pages, encoder.modalities)
        # A file that gave an incomplete page is not taken for unchanged by the next run.
        failed = self.described.failed.keys()
        self.report.notes += [
            self.described.note_of(page) for page in readable if page.id in failed
        ]
        given = [(self._is_incomplete(page) or page.id in failed, page) for page in readable]
        readable = [replace(page, source_digest="") if more else page for more, page in given]
        replaced = {page.id: stored[page.id] for page in pages if page.id in stored}
        there = replaced.keys() | self.store.unreadable.keys()
        unreadable = {page.id for page in pages} - {page.id for page in readable} - failed
        self._remove(sorted(unreadable & there))
        if not readable:
            return
        with self._timed("encode"):
            readable, vectors = encode_pages(
                encoder, self.store.about, readable, inputs, self.report
            )
        if not readable:
            return
        for page in readable:
            self._count_unread_figures(page)
        self._writing = self._writer.submit(self._put, readable, vectors, hashes, replaced)
        self._count(readable, replaced)

    def _count(self, written: Sequence[Page], replaced: Mapping[str, Record]) -> None:
        """Count pages that are being written."""
        self._ids += [page.id for page in written]
        updated = sum(page.id in replaced for page in written)
        self.report.updated += updated
        self.report.added += len(written) - updated

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
        readable, inputs = page_inputs(
            self._counted_as_read(others),
            self.options.mode,
            modalities,
            ocr=self.options.ocr,
            on_skip=left_out.append,
            on_note=self.report.notes.append,
            described=self.described.has,
            figure_reader=self._figure,
        )
        for page in [page for page in pages if page.id in known]:
            try:
                page, value = self._read_again(page, modalities, known[page.id])
            except BlankPageError:
                left_out.append(still_blank(page.id))
            else:
                readable.append(page)
                inputs.append(value)
        blank = {error.source for error in left_out if isinstance(error, BlankPageError)}
        self.read.note(readable, [self._as_blank(page) for page in pages if page.id in blank])
        for error in left_out:
            if not self.described.explains(error):
                self.report.leave_out(self.described.explained(error))
        return self._described(pages, readable, inputs, left_out, modalities)

    def _figure(self, figure: Figure) -> str:
        """What OCR reads of a picture inside of a page; each is read once."""
        known = self.read.figure(figure.hash)
        if known is not None:
            return known
        from metaembed_rag.pages.ocr import read_text

        text = read_text(figure.image)
        self.read.note_figure(figure.hash, text)
        return text

    def _counted_as_read(self, pages: Sequence[Page]) -> Iterator[Page]:
        """Pages, each counted when the next one is asked for: then it has been read."""
        for page in pages:
            yield page
            self._counted += 1
            self.progress.reading()

    def _as_blank(self, page: Page) -> Page:
        """A page on which OCR found nothing, as no page of its file where that is not all."""
        more = self.described.has(page.id) or page.id in self.described.failed
        return replace(page, source_digest="") if more else page

    def _described(
        self,
        pages: Sequence[Page],
        readable: Sequence[Page],
        inputs: Sequence[Input],
        left_out: Sequence[PageError],
        modalities: frozenset[str],
    ) -> tuple[list[Page], list[Input]]:
        """Pages that can be read, and those that just their description makes readable."""
        made = dict(zip((page.id for page in readable), inputs, strict=True))
        found = {page.id: page for page in readable}
        rescued = {error.source: error for error in left_out if self.described.explains(error)}
        found |= {page.id: page for page in pages if page.id in rescued}
        for id, page in found.items():
            found[id] = self.described.completed(page)
            if isinstance(rescued.get(id), BlankPageError):
                found[id] = replace(found[id], unread="")  # OCR has read it, and found nothing
            elif id in rescued:
                self.report.notes.append(unread_note(found[id], self.options.ocr))
            if self.described.has(id):
                made[id] = page_input(found[id], self.options.mode, modalities, ocr=False)[1]
        return list(found.values()), [made[id] for id in found]

    def _read_again(self, page: Page, modalities: frozenset[str], text: str) -> tuple[Page, Input]:
        """As :func:`page_input`, of a picture of which OCR has read this before."""
        seen = self.described.has(page.id)
        return page_input(page, self.options.mode, modalities, ocr=lambda _: text, described=seen)

    def _put(
        self,
        pages: Sequence[Page],
        vectors: NDArray[np.float32],
        hashes: Mapping[str, str],
        replaced: Mapping[str, Record],
    ) -> None:
        """Write pages, in the background."""
        self._note(self.target.put(pages, self.options.mode, vectors, hashes, replaced))

    def _remove(self, ids: Sequence[str]) -> None:
        """Delete pages that are no more."""
        if ids:  # else a write would be recorded, and everybody look for it
            self._note(self.target.take_out(ids))
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
        self._of_use = self._of_use and self.target.hand_over(changes)


def no_page(given: Any) -> PageError:
    """What is wrong with what was given in place of pages."""
    if isinstance(given, Page):
        return PageError(given.id, "is one page: give a list of pages, add([page])")
    if isinstance(given, str | PathLike):
        advice = "read the file by add(load_pages(path)), or follow it by sync(path)"
        return PageError(str(given), f"is a path and no page: {advice}")
    return PageError(
        kind_of_value(given), "is no page: make pages of files, bytes and uploads by load_pages"
    )
