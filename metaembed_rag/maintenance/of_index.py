"""What an index does to itself: the methods of :class:`metaembed_rag.PageIndex` for its care."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from metaembed_rag.ingest import AddOptions, AddReport, Ingest
from metaembed_rag.metadata.languages import language_name, remembered_as
from metaembed_rag.opening import SERVER, ServerKeywords, server_access
from metaembed_rag.options import check_keywords
from metaembed_rag.pages.roots import Roots
from metaembed_rag.progress import page_counter
from metaembed_rag.search.lexical_cache import LexicalCache
from metaembed_rag.search.searcher import PageSearcher
from metaembed_rag.store.chroma import ChromaStore
from metaembed_rag.store.given import ChromaClient
from metaembed_rag.store.pictures import PictureFolder

if TYPE_CHECKING:
    from metaembed_rag.maintenance.exporting import ExportReport
    from metaembed_rag.maintenance.findings import CheckReport, Finding, RepairReport
    from metaembed_rag.maintenance.importing import ImportReport
    from metaembed_rag.maintenance.qdrant import QdrantReport
    from metaembed_rag.store.compaction import CompactReport

# What does the work is imported where it is called: a search needs none of it.


class MaintainedIndex:
    """Looks after the index that a subclass opens."""

    _store: ChromaStore
    _pictures: PictureFolder
    _searcher: PageSearcher
    _lexical: LexicalCache
    _ingest: Ingest

    def compact(self, *, lock_timeout: float = 0.0) -> CompactReport:
        """Take what was deleted or replaced out of the index's files, and make them smaller.

        A deleted page is found no more at once, but Chroma's log and freed pages of its database
        go on holding its text and vectors; so do word index, dead rows of the mapped vectors and,
        after a kill, pictures. Afterwards only its first vector may be left, in the graph of
        nearest neighbours (Chroma 1.5.9 keeps deleted nodes): where that must go too, index into
        a new folder. Nothing is encoded, and the index can be searched meanwhile, except that
        searches wait while the database is written again. A kill at any moment loses nothing;
        the next call does the rest.

        The disk needs room for a second copy of ``chroma.sqlite3``.

        Args:
            lock_timeout: Seconds to wait for another writer.

        Returns:
            Bytes on disk before and after.

        Raises:
            IndexLockedError: Another process is writing.
            StoreError: The index is on a server or in memory, or the disk is full.
        """
        from metaembed_rag.store.compaction import compact

        return compact(self._store, self._pictures, self._searcher.renew, lock_timeout)

    def set_language(self, language: str, *, lock_timeout: float = 0.0) -> None:
        """Read words in another way from now on, and remember that in the index.

        Nothing is encoded; the next hybrid search builds the index of words again.

        Args:
            language: A language (``"german"``, ``"de"``), ``"auto"`` for each page's own, or
                ``"none"`` for whole words; see ``docs/languages.md``.
            lock_timeout: Seconds to wait for another writer.

        Raises:
            IndexLockedError: Another process is writing.
            StoreError: There is no such language.
        """
        from metaembed_rag.maintenance.checking import alone

        name = remembered_as(language)
        if self._store.about.language != name:
            with alone(self._store, lock_timeout):
                self._store.note_language(name)
        reading = language_name(language)
        self._lexical.read_as(reading, self._store.places.lexical(reading))

    def check(
        self,
        *,
        progress: Callable[[int], None] | None = None,
        show_progress: bool = False,
        lock_timeout: float = 0.0,
    ) -> CheckReport:
        """Look at everything in the index, and change nothing.

        Looked at are Chroma's database and its graph of neighbours (of a folder), every record
        (whether it can be read, its content hash, number, length and finiteness of its vectors,
        and whether Chroma's own vector is the first of them), every picture (whether it is there,
        can be decoded and is named by its content), the mapped copy of the vectors and the index
        of words against the records, the calibration, the lock and left-over files. No model is
        loaded. Records are read some at a time; an index of words is compared in the memory that
        a hybrid search takes.

        An index in a folder is kept from being written to meanwhile. On a server a finding about
        a page is believed when a second look finds it, too.

        Args:
            progress: Called with the number of pages done after each batch.
            show_progress: Draw a bar: on standard error, or in the notebook.
            lock_timeout: Seconds to wait for another writer.

        Returns:
            What is wrong, and what is untidy only.

        Raises:
            IndexLockedError: Another process is writing.
            StoreError: The records cannot be read at all.
        """
        from metaembed_rag.maintenance.checking import check

        counter = page_counter(progress, shown=show_progress, total=self._store.count)
        return check(self._store, self._pictures, counter, lock_timeout)

    def repair(
        self,
        *,
        dry_run: bool = False,
        confirm: Callable[[Sequence[Finding]], bool] | None = None,
        progress: Callable[[int], None] | None = None,
        show_progress: bool = False,
        lock_timeout: float = 0.0,
        roots: Mapping[str, str] | None = None,
    ) -> RepairReport:
        """Mend what :meth:`check` finds, as far as what is left says how.

        Records that cannot be read, and pages whose vectors or text are not what was encoded, are
        taken out: the report lists them, and indexing their files again brings them back. Pictures
        are made again from their file, where it is still there and shows the same pixels. A damaged
        graph of Chroma's is made again from the stored vectors, which are rounded: hits of
        ``candidates=`` may change a little, others do not. The mapped copy of the vectors and the
        index of words are always made again, and left-over files removed. No model is loaded.

        It may be ended at any moment; the next call does the rest.

        Args:
            dry_run: Change nothing, and say what would be done.
            confirm: Asked with the findings for which pages would be taken out; where it answers
                no, these pages stay as they are. Without it they are taken out.
            progress: Called with the number of pages looked at after each batch.
            show_progress: Draw a bar: on standard error, or in the notebook.
            lock_timeout: Seconds to wait for another writer.
            roots: Where folders lie on this machine that the index knows under other paths, beside
                those in the environment variable ``METAEMBED_ROOTS``: pictures are made again from
                the files there.

        Returns:
            What was done, and what is left.

        Raises:
            IndexLockedError: Another process is writing.
            StoreError: The records cannot be read at all, or the disk is full.
        """
        from metaembed_rag.maintenance.repairing import Parts, RepairOptions, repair

        counter = page_counter(progress, shown=show_progress, total=self._store.count)
        parts = Parts(self._store, self._pictures, self._lexical, self._searcher.renew)
        options = RepairOptions(dry_run, confirm, lock_timeout, Roots.of(roots))
        return repair(parts, counter, options)

    def export(
        self,
        path: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        progress: Callable[[int], None] | None = None,
        show_progress: bool = False,
        lock_timeout: float = 0.0,
    ) -> ExportReport:
        """Write the whole index into one file, from which :meth:`import_` makes it again.

        In it are vectors, texts, metadata and pictures, byte for byte, what the index says of
        itself, and the calibration; not the copies that are derived, nor damaged records and
        pictures, which the report lists. The file is a zip of JSON, safetensors and pictures, with
        a checksum of each (see ``docs/maintenance.md``); it holds the pages' texts as they are,
        and only its owner may read it. It appears whole or not at all.

        Nobody can write to an index in a folder meanwhile.

        Args:
            path: Of the file, in a folder that exists.
            overwrite: Replace a file that is there.
            progress: Called with the number of pages done after each batch.
            show_progress: Draw a bar: on standard error, or in the notebook.
            lock_timeout: Seconds to wait for another writer.

        Raises:
            IndexLockedError: Another process is writing.
            StoreError: The file is there already or cannot be written, or an index on a server was
                written to meanwhile.
        """
        from metaembed_rag.maintenance.exporting import ExportOptions, export

        counter = page_counter(progress, shown=show_progress, total=self._store.count)
        options = ExportOptions(overwrite, counter, lock_timeout)
        return export(self._store, self._pictures, path, options)

    def export_to_qdrant(
        self,
        where: Any,
        *,
        collection: str = "pages",
        key: str | None = None,
        prune: bool = False,
        progress: Callable[[int], None] | None = None,
        show_progress: bool = False,
    ) -> QdrantReport:
        """Write the pages into Qdrant, whose named multi-vectors are the levels of the budget.

        A point has the vectors ``v1``, ``v4``, ``v16``, ``v64`` (the page's first so many, as far
        as it has them, the last one all), compared by MaxSim; ``v1`` has a graph of neighbours,
        the others rescore what it finds (see ``docs/scaling.md``). Its payload has ``id``,
        ``source``, ``page`` (from 1), ``text`` and ``metadata``, beside ``content_hash``,
        ``fingerprint`` and ``version``. Pictures are not written. Nothing is encoded.

        What is there as it is, is not written again: an export that was ended goes on where it
        was, and the same call later brings the collection up to date. Needs the extra ``qdrant``.

        Args:
            where: A folder (Qdrant's local mode), ``http(s)://host:port`` of a server, or a
                ``QdrantClient``, which stays open.
            collection: Its name in Qdrant, for this index alone.
            key: Of the server; by default the environment variable ``QDRANT_API_KEY``.
            prune: Take out points of pages that the index does not hold any more.
            progress: Called with the number of pages done after each batch.
            show_progress: Draw a bar: on standard error, or in the notebook.

        Raises:
            MissingExtraError: The extra is not installed.
            ModelMismatchError: The collection is there and holds other vectors.
            StoreError: Qdrant refuses or does not answer, or the folder cannot be written to.
        """
        from metaembed_rag.maintenance.qdrant import QdrantOptions, export_to_qdrant

        counter = page_counter(progress, shown=show_progress, total=self._store.count)
        options = QdrantOptions(collection, key, prune, counter)
        return export_to_qdrant(self._store, where, options)

    def import_chroma(
        self,
        source: str | os.PathLike[str] | ChromaClient,
        *,
        collection: str,
        batch_size: int = 64,
        progress: Callable[[int], None] | None = None,
        show_progress: bool = False,
        lock_timeout: float = 0.0,
        **server: Unpack[ServerKeywords],
    ) -> AddReport:
        """Take over a plain Chroma collection: its texts are encoded by the model of this index.

        Plain is one with texts, metadata and one vector a text, as ``langchain-chroma``,
        ``llama-index-vector-stores-chroma`` or a program of one's own writes it; it is only read,
        and its vectors are not used. Each text becomes a page with the id that it has there and
        all its metadata, and comes back by either framework's vector store of this package as the
        document or node that it was. Pictures are not taken over. An import that was ended goes on
        where it was when it is called again; what has not changed is not encoded again; what was
        deleted in the collection since stays in the index.

        Args:
            source: A folder that Chroma keeps, ``http(s)://host:port`` of a Chroma server,
                ``chroma-cloud://tenant/database``, or an open client of ``chromadb``.
            collection: Name of the collection there.
            batch_size: Texts encoded at a time.
            progress: Called with the number of texts done after each batch.
            show_progress: Draw a bar: on standard error, or in the notebook.
            lock_timeout: Seconds to wait for another writer.
            **server: ``tenant``, ``database``, ``headers``, ``token``, ``auth``, ``verify`` and
                ``timeout`` of the source, as for :meth:`metaembed_rag.PageIndex.open`.

        Returns:
            What was added, updated and left; records without a text are ``blank``.

        Raises:
            IndexLockedError: Another process is writing here.
            IndexNotFoundError: There is no such database or collection.
            StoreError: The collection holds no texts, or is an index of this package.
        """
        from metaembed_rag.maintenance.plain_chroma import page_of
        from metaembed_rag.store.plain import plain_collection

        check_keywords(server, tuple(SERVER))
        access = server_access(server)
        with (
            plain_collection(source, collection, access) as found,
            page_counter(progress, shown=show_progress, total=found.__len__) as count,
        ):
            options = AddOptions("text", batch_size, False, count, False, lock_timeout)
            return self._ingest.add(map(page_of, found), options)

    @staticmethod
    def import_(
        path: str | os.PathLike[str],
        where: str | os.PathLike[str] | ChromaClient,
        *,
        collection: str = "pages",
        pictures: str | Path | None = None,
        progress: Callable[[int], None] | None = None,
        show_progress: bool = False,
        lock_timeout: float = 0.0,
        **server: Unpack[ServerKeywords],
    ) -> ImportReport:
        """Make an index from a file that :meth:`export` wrote; nothing is encoded.

        All of the file is checked before anything is written. An import that was ended goes on
        where it was when it is called again. The model's name comes with the file and is believed
        as little as that of any index: see ``docs/remote.md``.

        Args:
            path: Of the file.
            where: A folder, ``http(s)://host:port`` of a Chroma server, or a client of one.
            collection: Name of the Chroma collection.
            pictures: Folder for the pages' pictures, or the address of an object store
                (``"s3://bucket/folder"``); the usual place by default.
            progress: Called with the number of pages done after each part.
            show_progress: Draw a bar: on standard error, or in the notebook.
            lock_timeout: Seconds to wait for another writer.
            **server: ``tenant``, ``database``, ``headers``, ``token``, ``auth``, ``verify`` and
                ``timeout`` of a server, as for :meth:`metaembed_rag.PageIndex.open`.

        Raises:
            IndexLockedError: Another process is writing there.
            StoreError: The file is damaged, of a newer version or no export; or there is an index
                with other vectors or other pages than the file's.
        """
        from metaembed_rag.maintenance.importing import ImportOptions, count_pages, import_file

        total = (lambda: count_pages(path)) if show_progress else (lambda: None)
        with page_counter(progress, shown=show_progress, total=total) as count:
            check_keywords(server, tuple(SERVER))
            access = server_access(server)
            options = ImportOptions(collection, pictures, access, count, lock_timeout)
            return import_file(path, where, options)
