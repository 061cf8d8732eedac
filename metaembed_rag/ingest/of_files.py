"""The part of an index that takes pages out by their files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metaembed_rag.errors import PageError
from metaembed_rag.ingest.ingest import Ingest
from metaembed_rag.ingest.naming import ids_of_source
from metaembed_rag.ingest.pruning import PruneReport
from metaembed_rag.ingest.vanished import missing_place


class OfFiles:
    """What :class:`metaembed_rag.PageIndex` removes by ids, files, folders and filters."""

    _ingest: Ingest

    def delete(
        self,
        ids: Sequence[str] | str | None = None,
        *,
        source: str | Path | None = None,
        where: Mapping[str, Any] | None = None,
        everything: bool = False,
        dry_run: bool = False,
        lock_timeout: float = 0.0,
    ) -> int:
        """Delete pages by id, by file or folder, or by filter; or all of them.

        Args:
            ids: Page ids.
            source: A file (as given to :func:`metaembed_rag.load_pages`) or any page's source.
                Where no page has that source: a folder, for all that was read below it, or a
                pattern with ``*``, ``?``, ``[…]`` or ``**``, of whole paths or of paths below the
                folder that was indexed (``"reports/2023*"``). See ``docs/moves.md``.
            where: A filter, as for :meth:`search`. Refused is one that every page passes whatever
                the index holds, and one that says only what pages are not, where all pass.
            everything: Delete all pages; nothing else may be named then.
            dry_run: Delete nothing, and say how many it would be.
            lock_timeout: Seconds to wait for another writer.

        Returns:
            The number of pages that were there and are gone now; damaged ones count, too.

        Raises:
            StoreError: No pages are named, or all of them by a filter or a pattern.
        """
        named = (ids, source, where, everything)
        return self._ingest.delete(*named, dry_run=dry_run, lock_timeout=lock_timeout)

    def ids_of(self, source: str | Path) -> list[str]:
        """Ids of the pages that ``delete(source=…)`` would take, sorted.

        Args:
            source: A file, a folder or a pattern, as for :meth:`delete`.

        Raises:
            StoreError: It is a pattern that stands for all files.
        """
        return sorted(ids_of_source(self._ingest.target.store, source))

    def why_missing(self, path: str | Path) -> PageError | None:
        """What to do about a file or folder that is not there, and has pages in the index.

        None where it has none.
        """
        return missing_place(self._ingest.target.store, path)

    def prune(
        self,
        *,
        dry_run: bool = False,
        everything: bool = False,
        roots: Mapping[str, str] | None = None,
        storage_options: Mapping[str, Any] | None = None,
        lock_timeout: float = 0.0,
    ) -> PruneReport:
        """Remove the pages of files that are no more, wherever they were.

        Every file that a page was loaded from is looked for: on this machine's disk, or in its
        object store. A file that cannot be looked for stays, and so do pages that are of no file.

        Args:
            dry_run: Remove nothing, and say what would go.
            everything: Remove all also where none of the files is there; otherwise that is
                refused, for so it looks where a disk is not mounted.
            roots: Where folders lie on this machine that the index knows under other paths, beside
                those in the environment variable ``METAEMBED_ROOTS``.
            storage_options: Of object stores.
            lock_timeout: Seconds to wait for another writer.

        Returns:
            The files that are no more, with the number of pages of each.

        Raises:
            IndexLockedError: Another process is writing.
            StoreError: None of the files is there.
        """
        return self._ingest.prune(
            dry_run=dry_run,
            everything=everything,
            roots=roots,
            storage_options=storage_options,
            lock_timeout=lock_timeout,
        )
