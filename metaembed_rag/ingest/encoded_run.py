"""One run of adding pages that were encoded on other machines: checked, compared, written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np

from metaembed_rag.errors import BlankPageError, PageError
from metaembed_rag.ingest.encoded_rows import EncodedRow, LeftOut, read_row
from metaembed_rag.ingest.run import AddRun
from metaembed_rag.ingest.target import EncodedVectors
from metaembed_rag.model.inputs import Mode
from metaembed_rag.model.protocol import LENGTH_ERROR
from metaembed_rag.pages import Page
from metaembed_rag.store.records import Record
from metaembed_rag.vectors.formats import Encoded, unpack_bytes, vector_format
from metaembed_rag.vectors.lengths import is_rounded_from, length_problems


class EncodedRun(AddRun):
    """One run of :meth:`metaembed_rag.ingest.Ingest.add_encoded`, under the writer lock.

    It goes on as :class:`AddRun` does, but for what a worker has done before: reading, OCR,
    encoding. A bad row costs itself and is in the report. No model is loaded.
    """

    _rows: Mapping[str, EncodedRow] = {}
    _gone: Sequence[str] = ()
    _mode: Mode | None = None
    _seen = 0

    def row_batches(self, rows: Iterable[Any]) -> Iterator[list[Any]]:
        """At most ``batch_size`` rows at a time."""
        iterator = iter(rows)
        while True:
            with self._timed("load"):
                batch = list(islice(iterator, self.options.batch_size))
            if not batch:
                return
            yield batch

    def row_batch(self, batch: Sequence[Any]) -> None:
        """Store one batch of rows; of several with one id the last counts."""
        with self._timed("hash"):
            read = list(self._read_rows(batch))
            found = {row.page.id: row for row in read if isinstance(row, EncodedRow)}
            self._rows = self._whole(self._with_pictures_there(found))
            left = [row for row in read if isinstance(row, LeftOut)]
            self._gone = [row.error.source for row in left if row.is_gone]
            self.read.note([], [row.page for row in left if row.page and _is_blank(row)])
            for row in left:
                if row.page is not None:
                    self._note_end(row.page)
        pages = [row.page for row in self._rows.values()]
        self._update(pages, {id: row.content_hash for id, row in self._rows.items()})
        self._unacknowledged = len(batch)

    def _read_rows(self, batch: Sequence[Any]) -> Iterator[EncodedRow | LeftOut]:
        """Those rows that are pages of this index, or say why there is none."""
        for given in batch:
            self._seen += 1
            try:
                row = read_row(given, self._seen, self.store.about)
                self._check_mode(row)
            except PageError as error:
                self.report.skipped.append(error)
                continue
            if isinstance(row, LeftOut):
                self.report.leave_out(row.error)
            yield row

    def _check_mode(self, row: EncodedRow | LeftOut) -> None:
        """Refuse a row of another mode than the first one: what is unchanged depends on it."""
        self._mode = self._mode or row.mode
        if row.mode != self._mode:
            name = row.page.id if row.page is not None else "a row"
            why = f"its mode is {row.mode!r}, that of the rows before {self._mode!r}"
            raise PageError(name, f"{why}; add rows of each mode in a call of their own")
        if self.options.mode != self._mode:
            self.options = replace(self.options, mode=self._mode)

    def _with_pictures_there(self, rows: Mapping[str, EncodedRow]) -> dict[str, EncodedRow]:
        """Those rows whose pictures are not kept elsewhere by a worker; the rest is reported."""
        pictures = self.target.pictures
        names = {row.picture for row in rows.values() if row.picture is not None}
        lost = names - pictures.held(names) if names else set()
        for id, row in rows.items():
            if row.picture in lost:
                why = f"its picture is not in {pictures.place}: open the index with the pictures="
                help = "that the workers write to, and encode it again"
                self.report.skipped.append(PageError(id, f"{why} {help}"))
        return {id: row for id, row in rows.items() if row.picture not in lost}

    def _whole(self, rows: Mapping[str, EncodedRow]) -> dict[str, EncodedRow]:
        """Those rows whose vectors are unit vectors; the rest is reported."""
        if not rows:
            return {}
        vectors = self._unpacked(list(rows.values()))
        good = {}
        for number, (row, problem) in enumerate(
            zip(rows.values(), length_problems(vectors, LENGTH_ERROR), strict=True)
        ):
            problem = problem or _first_problem(vectors.pages([number]), row)
            if problem:
                why = f"its vectors are no unit vectors ({problem}): encode it again"
                self.report.skipped.append(PageError(row.page.id, why))
            else:
                good[row.page.id] = row
        return good

    def _unpacked(self, rows: Sequence[EncodedRow]) -> Encoded:
        about = self.store.about
        data = b"".join(row.payload for row in rows)
        return unpack_bytes(data, vector_format(about.format), about.dimension, about.vectors)

    def _is_incomplete(self, page: Page) -> bool:
        return self._rows[page.id].incomplete

    def _told_apart(
        self, pages: Sequence[Page], hashes: Mapping[str, str]
    ) -> tuple[list[Page], list[Page]]:
        return list(pages), []

    def _but_known(
        self, pages: Sequence[Page], hashes: Mapping[str, str], stored: Mapping[str, Record]
    ) -> list[Page]:
        """All of them, as a worker has made their vectors; of followed files those that are new.

        So what has moved is recognised, though a worker has encoded it.
        """
        return list(pages) if self.moves is None else super()._but_known(pages, hashes, stored)

    def _can_be_completed(self, page: Page, old: Record) -> bool:
        """Whether a worker has read what a stored page leaves unread."""
        return old.may_be_unread and not page.unread and not old.page.described_by

    def _write(
        self, pages: Sequence[Page], hashes: Mapping[str, str], stored: Mapping[str, Record]
    ) -> None:
        """Begin to write pages; those on which there is nothing any more are removed."""
        self._remove(self.store.there(self._gone) if self._gone else [])
        if not pages:
            return
        rows = [self._rows[page.id] for page in pages]
        if any(row.picture is not None or row.page.image is not None for row in rows):
            self.target.pictures.prepare()
        self.report.notes += [PageError(row.page.id, row.note) for row in rows if row.note]
        self.report.cut |= {row.page.id: row.unread_tokens for row in rows if row.unread_tokens}
        replaced = {page.id: stored[page.id] for page in pages if page.id in stored}
        self._writing = self._writer.submit(self._put_rows, rows, replaced)
        self._count(pages, replaced)

    def _put_rows(self, rows: Sequence[EncodedRow], replaced: Mapping[str, Record]) -> None:
        """Write pages, in the background: pictures first, then the records that name them."""
        self.store.origin()  # pictures must not bring back the folder of an index that has gone
        packed = self._unpacked(rows)
        first = packed.first(1).decode()[:, 0]
        for number, row in enumerate(rows):
            if row.first is not None:
                first[number] = row.first
        pages = [self._with_picture(row) for row in rows]
        hashes = {row.page.id: row.content_hash for row in rows}
        vectors = EncodedVectors(np.ascontiguousarray(first), packed)
        self._note(self.target.put_records(pages, rows[0].mode, vectors, hashes, replaced))

    def _with_picture(self, row: EncodedRow) -> Page:
        name, image = row.picture, row.page.image
        if image is not None:
            name = self.target.keep_picture(image, row.page.id, row.content_hash)
        return replace(row.page, image=None, image_path=name)


def _is_blank(row: LeftOut) -> bool:
    return isinstance(row.error, BlankPageError)


def _first_problem(vectors: Encoded, row: EncodedRow) -> str:
    """What is wrong with the vector that a row gives as its first; ``""`` for nothing."""
    if row.first is None:
        return ""
    if not np.isfinite(row.first).all() or abs(np.linalg.norm(row.first) - 1) > LENGTH_ERROR:
        return "the first one is not of length 1"
    return "" if is_rounded_from(vectors, row.first) else "the first one is that of another page"
