"""What an index does to itself: the methods of :class:`metaembed_rag.PageIndex` for its care."""

from __future__ import annotations

from collections.abc import Callable

from metaembed_rag.maintenance.checking import check
from metaembed_rag.maintenance.findings import CheckReport
from metaembed_rag.progress import page_counter
from metaembed_rag.search.searcher import PageSearcher
from metaembed_rag.search.words import LexicalCache
from metaembed_rag.store.chroma import ChromaStore
from metaembed_rag.store.pictures import PictureFolder


class MaintainedIndex:
    """Looks after the index that a subclass opens."""

    _store: ChromaStore
    _pictures: PictureFolder
    _searcher: PageSearcher
    _lexical: LexicalCache

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
        with page_counter(progress, shown=show_progress, total=self._store.count) as count:
            return check(self._store, self._pictures, count, lock_timeout)
