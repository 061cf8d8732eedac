"""The three ways to write to an index: pages, files that it follows, and what is to go."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import closing, contextmanager
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

from metaembed_rag.errors import PageError, StoreError, kind_of_value
from metaembed_rag.ingest.encoded_run import EncodedRun
from metaembed_rag.ingest.following import FilesToEncode, Followed
from metaembed_rag.ingest.naming import ids_of_source
from metaembed_rag.ingest.options import AddOptions, FollowKeywords
from metaembed_rag.ingest.pruning import PruneReport, prune
from metaembed_rag.ingest.report import AddReport
from metaembed_rag.ingest.run import AddRun, no_page
from metaembed_rag.ingest.target import Target
from metaembed_rag.ingest.whereabouts import Whereabouts
from metaembed_rag.metadata.filters import fields, normalize_where
from metaembed_rag.metadata.sparing import only_negates, spares_none
from metaembed_rag.model.protocol import Encoder
from metaembed_rag.options import page_ids
from metaembed_rag.pages import Limits, Page
from metaembed_rag.pages.roots import Roots
from metaembed_rag.pages.uploads import is_upload, listed
from metaembed_rag.progress import page_counter
from metaembed_rag.store import records
from metaembed_rag.store.changes import Change
from metaembed_rag.store.chroma import ChromaStore
from metaembed_rag.store.pictures import PictureFolder
from metaembed_rag.store.readings import Readings
from metaembed_rag.store.unmatched import told_unmatched

_Run = TypeVar("_Run", bound=AddRun)


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
        readings = Readings(store.places.readings)
        self.target = Target(store, pictures, readings, encoder, hand_over)

    def add(self, pages: Iterable[Page], options: AddOptions) -> AddReport:
        """See :meth:`metaembed_rag.PageIndex.add`."""
        if isinstance(pages, str | PathLike | Page) or is_upload(pages):
            raise no_page(pages)
        if isinstance(pages, list | tuple):  # what cannot be stored is found before all else
            for page in (page for page in pages if isinstance(page, Page)):
                records.stored_metadata(page.metadata, page.id)
        return self._add(pages, options)

    def _add(
        self, pages: Iterable[Page], options: AddOptions, followed: Followed | None = None
    ) -> AddReport:
        """Add pages, of files that are followed or of any others."""
        with self._running(AddRun, pages, options, followed) as run:
            for batch in run.batches(pages):
                run.batch(batch)
        return run.report

    @contextmanager
    def _running(
        self, kind: type[_Run], given: Iterable[Any], options: AddOptions, followed: Followed | None
    ) -> Iterator[_Run]:
        """A run under the writer lock, finished at the end; its progress counts what is given."""
        length = len(given) if isinstance(given, Sized) else None
        bar = page_counter(options.progress, shown=options.show_progress, total=lambda: length)
        with (
            self.target.store.writing(options.lock_timeout),
            bar as count,
            closing(kind(self.target, options, count)) as run,
        ):
            if followed is None:  # else what was read before has been looked at
                self.target.readings.refresh()
            else:
                followed.by(run)
            yield run
            run.finish()

    def add_encoded(self, rows: Iterable[Any], options: AddOptions) -> AddReport:
        """See :meth:`metaembed_rag.PageIndex.add_encoded`."""
        if hasattr(rows, "iter_rows"):  # a dataset of Ray
            rows = rows.iter_rows()
        if isinstance(rows, str | bytes | Mapping | Page):
            what = "a row" if isinstance(rows, Mapping) else kind_of_value(rows)
            raise PageError("rows", f"is {what}: give a list of rows, add_encoded([row])")
        return self._add_encoded(rows, options)

    def _add_encoded(
        self, rows: Iterable[Any], options: AddOptions, followed: Followed | None = None
    ) -> AddReport:
        """Add rows, of files that are followed or of any others."""
        with self._running(EncodedRun, rows, options, followed) as run:
            for batch in run.row_batches(rows):
                run.row_batch(batch)
        return run.report

    def sync_encoded(
        self,
        paths: str | Path | Iterable[str | Path],
        encode: Callable[[FilesToEncode], Iterable[Any]],
        options: AddOptions,
        keywords: FollowKeywords,
    ) -> AddReport:
        """See :meth:`metaembed_rag.PageIndex.sync_encoded`."""
        followed = Followed(self.target, _followable(paths), options.mode, "", keywords)
        with self._following(followed, options) as within:
            files = followed.files()
            rows = followed.leave_out_unchanged(encode(files) if files.sources else ())
            return followed.finish(self._add_encoded(rows, within, followed))

    def sync(
        self,
        paths: str | Path | Iterable[str | Path],
        options: AddOptions,
        keywords: FollowKeywords,
    ) -> AddReport:
        """See :meth:`metaembed_rag.PageIndex.sync`."""
        way = "" if options.describer is None else options.describer.way
        if options.ocr == "never":  # then nobody need draw what it would read
            limits = replace(keywords.get("limits", Limits()), figures=False)
            keywords = {**keywords, "limits": limits}
        options = replace(options, reread=keywords.get("reread", False))
        followed = Followed(self.target, _followable(paths), options.mode, way, keywords)
        pages = followed.pages()
        with self._following(followed, options) as within:
            return followed.finish(self._add(pages, within, followed))

    @contextmanager
    def _following(self, followed: Followed, options: AddOptions) -> Iterator[AddOptions]:
        """Options to add what is followed with, under the writer lock and one progress for all."""
        bar = page_counter(
            options.progress, shown=options.show_progress, total=followed.count_pages
        )
        with self.target.store.writing(options.lock_timeout), bar as count:
            self.target.readings.refresh()
            self.target.store.look_at_doubtful()
            followed.progress = count
            yield replace(options, progress=count, show_progress=False, lock_timeout=0.0)

    def delete(
        self,
        ids: Sequence[str] | str | None,
        source: str | Path | None,
        where: Mapping[str, Any] | None,
        everything: bool,
        *,
        dry_run: bool = False,
        lock_timeout: float = 0.0,
    ) -> int:
        """See :meth:`metaembed_rag.PageIndex.delete`."""
        if where is not None and spares_none(normalize_where(where)):
            raise StoreError(
                f"this filter would delete every page; name the pages to delete, or {_EVERYTHING}"
            )
        if sum(value is not None for value in (ids, source, where, everything or None)) != 1:
            raise StoreError(
                "name the pages to delete by exactly one of ids, source and where, or "
                f"{_EVERYTHING}"
            )
        store, readings = self.target.store, self.target.readings
        if dry_run:
            return len(_named(store, ids, source, where))
        with store.writing(lock_timeout):
            found = _named(store, ids, source, where)
            self.target.remove(found)
            readings.refresh()
            readings.forget_texts()  # a deleted page's would stay
        return len(found)

    def prune(
        self,
        *,
        dry_run: bool,
        everything: bool,
        roots: Mapping[str, str] | None,
        storage_options: Mapping[str, Any] | None,
        lock_timeout: float,
    ) -> PruneReport:
        """See :meth:`metaembed_rag.PageIndex.prune`."""
        there = Whereabouts(storage_options, Roots.of(roots))
        if dry_run:
            return prune(self.target, there, dry_run=True, everything=everything)
        with self.target.store.writing(lock_timeout):
            return prune(self.target, there, dry_run=False, everything=everything)


def _followable(paths: Any) -> list[str | Path]:
    """Paths that an index can follow.

    Raises:
        StoreError: One is something else.
    """
    named: list[Any] = listed(paths)
    for path in named:
        if not isinstance(path, str | PathLike):
            raise StoreError(
                f"sync follows files and folders, and cannot follow {kind_of_value(path)}; "
                f"use add(load_pages(…)) for bytes and open files"
            )
        if path == "":
            raise StoreError(
                "sync follows files and folders, and '' names none; write '.' for here"
            )
    return named


_EVERYTHING = "say everything=True"


def _named(
    store: ChromaStore,
    ids: Sequence[str] | str | None,
    source: str | Path | None,
    where: Mapping[str, Any] | None,
) -> list[str]:
    """Ids of the pages that are named in one of these ways; of all where in none."""
    if ids is not None:
        return store.there(page_ids(ids))
    return ids_of_source(store, source) if source is not None else _ids_passing(store, where)


def _ids_passing(store: ChromaStore, where: Mapping[str, Any] | None) -> list[str]:
    """Ids of all pages, or of those that pass a filter.

    Raises:
        StoreError: All pass a filter that says only what pages are not: its key may be misspelt.
    """
    found = store.ids(where)
    asked = normalize_where(where)
    if not found and not any(":" in key for key in fields(asked)):  # then a program has asked
        told_unmatched(store, where)
    if asked is not None and found and only_negates(asked) and len(found) == len(store.ids()):
        raise StoreError(
            f"all {len(found):,} pages pass this filter, which says only what pages are not, and "
            f"would be deleted; check its keys and values, or {_EVERYTHING}"
        )
    return found
