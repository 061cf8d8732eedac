"""The part of an index that takes what others have encoded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Unpack

from metaembed_rag.ingest.following import FilesToEncode
from metaembed_rag.ingest.ingest import Ingest
from metaembed_rag.ingest.options import AddOptions, FollowKeywords
from metaembed_rag.ingest.report import AddReport
from metaembed_rag.model.inputs import Mode


class EncodedIndex:
    """What :class:`metaembed_rag.PageIndex` does with rows that were encoded on other machines."""

    _ingest: Ingest

    def add_encoded(
        self,
        rows: Iterable[Mapping[str, Any]],
        *,
        batch_size: int = 64,
        progress: Callable[[int], None] | None = None,
        show_progress: bool = False,
        lock_timeout: float = 0.0,
    ) -> AddReport:
        """Store pages that :class:`metaembed_rag.ray.PageEncoder` has encoded on other machines.

        No model is loaded here. All else is as for :meth:`add`: a page replaces the one with the
        same id, what is stored unchanged is left alone, and a batch is in the index when
        ``progress`` is called for it. A later :meth:`add` or :meth:`sync` of the same pages finds
        them unchanged.

        Args:
            rows: Mappings with the columns of ``docs/ray.md``, or a dataset of Ray; consumed
                lazily, a batch at a time. Of several rows with one id the last counts. A row is
                refused that was encoded by another model or for another format or dimension, whose
                vectors are not as many unit vectors as the index holds, whose metadata cannot be
                stored, or whose picture cannot be opened: it is in the report's ``skipped``, by its
                id or number and with what to do, and costs no other row. What a worker could not
                read is there, too.
            batch_size: Rows written at a time.
            progress: As for :meth:`add`, and so are ``show_progress`` and ``lock_timeout``.

        Raises:
            IndexLockedError: Another process is writing.
            PageError: Something else than rows was given.
            MetaEmbedError: The store failed.
        """
        options = AddOptions(
            batch_size=batch_size,
            progress=progress,
            show_progress=show_progress,
            lock_timeout=lock_timeout,
        )
        return self._ingest.add_encoded(rows, options)

    def sync_encoded(
        self,
        paths: str | Path | Iterable[str | Path],
        encode: Callable[[FilesToEncode], Iterable[Mapping[str, Any]]],
        *,
        mode: Mode = "fused",
        batch_size: int = 64,
        progress: Callable[[int], None] | None = None,
        show_progress: bool = False,
        lock_timeout: float = 0.0,
        **keywords: Unpack[FollowKeywords],
    ) -> AddReport:
        """As :meth:`sync`, of files that somebody else reads and encodes.

        :func:`metaembed_rag.ray.sync_files` does it by a Ray cluster.

        Args:
            paths: Files and folders; addresses of files in object stores are taken as they are.
            encode: Given the files, and which of them are unchanged; gives rows as for
                :meth:`add_encoded`.
            mode: What of a page is encoded, which the rows have to say, too.
            batch_size: As for :meth:`add_encoded`, and so are ``progress``, ``show_progress`` and
                ``lock_timeout``.
            **keywords: ``prune`` and ``limits``; see :class:`.FollowKeywords`.
        """
        options = AddOptions(
            mode,
            batch_size,
            progress=progress,
            show_progress=show_progress,
            lock_timeout=lock_timeout,
        )
        return self._ingest.sync_encoded(paths, encode, options, keywords)
