"""Pages into the store: what is new or changed is encoded, the rest is left alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from metaembed_rag.errors import PageError
from metaembed_rag.model.base import Encoder
from metaembed_rag.model.inputs import Input, Mode, page_input
from metaembed_rag.pages import Page
from metaembed_rag.pages.page import default_id
from metaembed_rag.store import records
from metaembed_rag.store.chroma import ChromaStore
from metaembed_rag.store.pictures import PictureFolder
from metaembed_rag.store.records import Record
from metaembed_rag.vectors.formats import cut_dimension


@dataclass
class AddReport:
    """What :meth:`PageIndex.add` and :meth:`PageIndex.sync` did.

    Attributes:
        added: Pages that were not in the index.
        updated: Pages whose content or metadata had changed.
        unchanged: Pages that were there already and were not encoded again.
        removed: Pages that their source no longer has.
        skipped: What could not be read, with the reason.
        ignored: Files inside folders that are of a kind that is not read.
        seconds: What :meth:`PageIndex.add` did or waited for: ``load``, ``hash``, ``ocr``,
            ``encode``, ``store``.
    """

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0
    skipped: list[PageError] = field(default_factory=list)
    ignored: list[Path] = field(default_factory=list)
    seconds: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(("load", "hash", "ocr", "encode", "store"), 0.0)
    )

    def __str__(self) -> str:
        parts = f"{self.added} added, {self.updated} updated, {self.unchanged} unchanged"
        return f"{parts}, {self.removed} removed, {len(self.skipped)} skipped"


_Batch = dict[str, tuple[Page, "Future[str]"]]
"""Pages by id, each with the hash of its picture on the way."""


class Adding:
    """One run of :meth:`PageIndex.add`.

    A batch is written in the background while the next one is being loaded, and is acknowledged
    when it has been written. The next batch is compared with the index only then. Pictures are
    hashed beside the loading, too.
    """

    def __init__(
        self,
        store: ChromaStore,
        pictures: PictureFolder,
        encoder: Callable[[], Encoder],
        mode: Mode,
        ocr: bool,
        report: AddReport,
        progress: Callable[[int], None] | None,
    ) -> None:
        self.store, self.pictures, self.encoder = store, pictures, encoder
        self.mode, self.ocr, self.report = mode, ocr, report
        self.progress = progress
        self.changed: list[str] = []
        """Ids of pages whose vectors were written or deleted."""
        self.page_counts: dict[str, int] = {}
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="metaembed-store")
        self._hasher = ThreadPoolExecutor(1, thread_name_prefix="metaembed-hash")
        self._writing: Future[None] | None = None
        self._unacknowledged = 0

    def __enter__(self) -> Adding:
        return self

    def __exit__(self, *error: object) -> None:
        self._writer.shutdown(wait=True)
        self._hasher.shutdown(wait=True, cancel_futures=True)

    def batches(self, pages: Iterable[Page], size: int) -> Iterator[_Batch]:
        """At most ``size`` pages at a time; of several with one id the last counts."""
        iterator = iter(pages)
        while True:
            batch: _Batch = {}
            with self._timed("load"):
                for page in islice(iterator, size):
                    batch[page.id] = page, self._hasher.submit(page.picture_hash)
            if not batch:
                return
            yield batch

    def batch(self, loaded: _Batch) -> None:
        """Store one batch of pages."""
        pages = [page for page, _ in loaded.values()]
        with self._timed("hash"):
            pictures = {id: picture.result() for id, (_, picture) in loaded.items()}
            hashes = {page.id: page.content_hash(pictures[page.id]) for page in pages}
        self._acknowledge()
        with self._timed("store"):
            stored = self.store.get([page.id for page in pages])
        changed = []
        for page in pages:
            if page.page_count is not None and page.id == default_id(page.source, page.number):
                self.page_counts[page.source] = page.page_count
            old = stored.get(page.id)
            if old is None or (old.content_hash, old.mode) != (hashes[page.id], self.mode):
                changed.append(page)
            else:
                self._keep(page, old)
        self._write(changed, hashes, pictures, stored)
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

    def _acknowledge(self) -> None:
        """Wait until the batch before is in the index, and say so."""
        with self._timed("store"):
            if self._writing is not None:
                self._writing.result()
                self._writing = None
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

    def _keep(self, page: Page, old: Record) -> None:
        """Leave the vectors; bring the rest of the record up to date if it differs."""
        self._restore_picture(page, old)
        same = records.same_metadata(page.metadata, old.page.metadata)
        new = replace(
            old.page,
            metadata=old.page.metadata if same else page.metadata,
            page_count=page.page_count,
            source_digest=page.source_digest,
        )
        if same:
            self.report.unchanged += 1
        else:
            self.report.updated += 1
        if new == old.page:
            return
        fields = {"payload": old.payload, "content_hash": old.content_hash, "mode": old.mode}
        before, after = (records.to_metadata(one, **fields) for one in (old.page, new))
        changed = {key: value for key, value in after.items() if before.get(key) != value}
        gone = records.keys_gone(old, after)
        self.store.update_metadata([page.id], [{**gone, **changed}])

    def _restore_picture(self, page: Page, old: Record) -> None:
        """Keep the picture again when its file is gone."""
        name = old.page.image_path
        if name is not None and page.image is not None and not self.pictures.path(name).exists():
            self.pictures.save(page.image, page.id, old.content_hash)

    def _write(
        self,
        pages: Sequence[Page],
        hashes: Mapping[str, str],
        pictures: Mapping[str, str],
        stored: Mapping[str, Record],
    ) -> None:
        """Encode pages, and begin to write them."""
        readable, inputs = self._inputs(pages, stored)
        if not readable:
            return
        with self._timed("encode"):
            vectors = self.encoder().encode_document(inputs)
        replaced = {page.id: stored[page.id] for page in readable if page.id in stored}
        readable = [replace(page, image_hash=pictures[page.id]) for page in readable]
        self._writing = self._writer.submit(
            self._put, readable, self._stored(vectors), hashes, replaced
        )
        self.report.updated += len(replaced)
        self.report.added += len(readable) - len(replaced)

    def _stored(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Of the model's vectors, what the index stores; shape (pages, R, dimension)."""
        about = self.store.about
        return cut_dimension(vectors[:, : about.vectors], about.dimension)

    def _put(
        self,
        pages: Sequence[Page],
        vectors: NDArray[np.float32],
        hashes: Mapping[str, str],
        replaced: Mapping[str, Record],
    ) -> None:
        """Write pictures, then records, then remove pictures that no record names any more."""
        metadatas = []
        payloads = records.pack_vectors(vectors, self.store.about.format)
        for page, payload in zip(pages, payloads, strict=True):
            page = self._save_picture(page, hashes[page.id])
            fields = {"payload": payload, "content_hash": hashes[page.id], "mode": self.mode}
            metadata = records.to_metadata(page, **fields)
            if page.id in replaced:
                metadata |= records.keys_gone(replaced[page.id], metadata)
            metadatas.append(metadata)
        ids = [page.id for page in pages]
        self.changed += ids
        self.store.upsert(ids, vectors[:, 0], metadatas)
        old = {record.page.image_path for record in replaced.values()}
        self.pictures.remove(old - {metadata.get(records.IMAGE) for metadata in metadatas})

    def _inputs(
        self, pages: Sequence[Page], stored: Mapping[str, Record]
    ) -> tuple[list[Page], list[Input]]:
        """Pages that can be read, with what the encoder is given; the others are reported."""
        readable, inputs = [], []
        modalities = self.encoder().modalities if pages else frozenset()
        for page in pages:
            records.check_metadata(page.metadata, page.id)
            try:
                with self._timed("ocr"):
                    page, value = page_input(page, self.mode, modalities, ocr=self.ocr)
            except PageError as error:
                self.report.skipped.append(error)
                if page.id in stored:
                    self._remove([page.id])
                continue
            readable.append(page)
            inputs.append(value)
        return readable, inputs

    def _remove(self, ids: Sequence[str]) -> None:
        """Delete pages that are no more."""
        self.changed += ids
        remove_pages(self.store, self.pictures, ids)
        self.report.removed += len(ids)

    def _save_picture(self, page: Page, content_hash: str) -> Page:
        """Keep the picture as a file; the page goes on without its pixels."""
        image = page.load_image()
        if image is None:
            return page
        name = self.pictures.save(image, page.id, content_hash)
        return replace(page, image=None, image_path=name)


def remove_pages(store: ChromaStore, pictures: PictureFolder, ids: Sequence[str]) -> None:
    """Delete records, then pictures: a kill between leaves a stray file, no broken hit."""
    if not ids:
        return  # else a write would be recorded, and everybody look for it
    names: set[str | None] = {
        record.page.image_path
        for record in store.get(ids).values()
        if record.page.image_path is not None
    }
    store.delete(ids)
    pictures.remove(names)
