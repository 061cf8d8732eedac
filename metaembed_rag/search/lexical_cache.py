"""The lexical index of a store: kept in memory and in a folder, and built again when it is old.

Whether it matches the records is decided by the records themselves. Each request that writes pages
marks them with a stamp of its own; a lexical index remembers the stamps that it has seen. It is
current if no page carries another stamp and the number of pages is the same. So a writer that is
killed, another process or another machine cannot leave it wrong without being noticed.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from metaembed_rag.metadata.languages import AUTO
from metaembed_rag.search.languages import PageLanguages
from metaembed_rag.search.tokens import check_reading
from metaembed_rag.search.words import LexicalIndex, finished_indexes
from metaembed_rag.store.history import knows
from metaembed_rag.store.records import StampedText

_ABANDONED_SECONDS = 3600

_log = logging.getLogger(__name__)


class TextStore(Protocol):
    """What a lexical index needs of the store that it is derived from."""

    def count(self) -> int:
        """Number of pages."""

    def texts(self) -> Iterator[StampedText]:
        """The text of every page."""

    def written_since(self, stamps: Collection[str]) -> list[str]:
        """Ids of pages that carry none of these stamps."""

    def with_stamp(self, stamp: str) -> list[str]:
        """Ids of pages that carry this stamp."""

    def revision(self) -> Hashable | None:
        """Changes with every write; None where that is not known cheaply."""

    def origin(self) -> Hashable:
        """Changes where another database lies at the place."""

    def states(self) -> list[str]:
        """The states that the database has been in, where that is known."""


class LexicalCache:
    """The current lexical index of a store, in memory and in a folder.

    Args:
        store: Holds the texts.
        folder: Where lexical indexes are kept; None keeps them in memory only.
        stemmer: How words are read; see :mod:`metaembed_rag.metadata.languages`.
    """

    def __init__(
        self, store: TextStore, folder: Path | None, stemmer: str | None = "english"
    ) -> None:
        self._store = store
        self._folder = folder
        self.stemmer = stemmer
        self._lock = threading.Lock()
        self._index: LexicalIndex | None = None
        self._revision: Hashable | None = None
        self._origin: Hashable | None = None

    def read_as(self, stemmer: str | None, folder: Path | None) -> None:
        """Read words in another way from now on."""
        with self._lock:
            self._folder, self.stemmer, self._index = folder, stemmer, None

    def current(self) -> LexicalIndex:
        """The lexical index of what the store holds now; built if there is none such.

        Raises:
            MissingExtraError: The extra ``hybrid`` is not installed.
        """
        check_reading(self.stemmer)  # before all texts are read in vain
        origin = self._store.origin()  # before the lock, which a fork may have left locked
        with self._lock:
            if origin != self._origin:  # stamps of another database say nothing
                self._index, self._revision, self._origin = None, None, origin
            revision = self._store.revision()
            if self._index is not None and revision is not None and revision == self._revision:
                return self._index
            if self._index is None or not self._is_current(self._index):
                self._index = self._kept() or self._built()
            self._revision = revision
            return self._index

    def close(self) -> None:
        """Let the memory go."""
        with self._lock:
            self._index = None

    def _is_current(self, index: LexicalIndex) -> bool:
        if not knows(self._store.states(), index.state):
            return False  # it is of a later state, and the database was put back
        return not self._store.written_since(index.stamps) and self._store.count() == len(index.ids)

    def _kept(self) -> LexicalIndex | None:
        """A current one from the folder."""
        for folder in finished_indexes(self._folder):
            try:
                index = LexicalIndex.load(folder, stemmer=self.stemmer)
            except (OSError, ValueError) as error:
                _log.info("the lexical index %s is not used: %s", folder, error)
                continue
            if self._is_current(index):
                return index
        return None

    def _built(self) -> LexicalIndex:
        pages = sorted(self._store.texts(), key=lambda page: page.id)  # so ties are in order
        index = built_of(pages, self.stemmer, self._settled(pages))
        index.state = (self._store.states() or [""])[-1]
        # What was read of an index that has gone meanwhile must not bring its folder back.
        if self._folder is not None and self._store.origin() == self._origin:
            self._keep(index, self._folder)
        return index

    def _settled(self, pages: Iterable[StampedText]) -> set[str]:
        """Stamps of requests whose pages were all read as that request left them.

        Reading takes many requests, so a write meanwhile can be seen in part. A stamp with fewer
        pages than its request wrote must still be on just these pages; where it is not, it is not
        remembered, and so the next search builds again.
        """
        seen: dict[str, set[str]] = defaultdict(set)
        size: dict[str, int] = {}
        for page in pages:
            seen[page.stamp].add(page.id)
            size[page.stamp] = page.request_size
        return {
            stamp
            for stamp, ids in seen.items()
            if stamp and (len(ids) == size[stamp] or set(self._store.with_stamp(stamp)) == ids)
        }

    def _keep(self, index: LexicalIndex, place: Path) -> None:
        """Save it beside those before, then delete those; a place that is read-only is no error."""
        before = finished_indexes(place) + _abandoned(place)
        try:
            index.save(place / uuid.uuid4().hex)
        except OSError as error:
            _log.warning("the lexical index cannot be kept, each process builds it: %s", error)
            return
        for folder in before:
            shutil.rmtree(folder, ignore_errors=True)


def built_of(
    pages: Sequence[StampedText], stemmer: str | None, stamps: Iterable[str] = ()
) -> LexicalIndex:
    """The lexical index of pages; what their metadata call their language counts.

    Args:
        pages: In the order of the scores.
        stemmer: How words are read.
        stamps: Of the requests that wrote them, where these are settled.

    Raises:
        MissingExtraError: The extra ``hybrid`` is not installed.
        StoreError: There is no such stemmer.
    """
    ids, texts, languages = [page.id for page in pages], [page.text for page in pages], None
    if stemmer == AUTO:
        languages = PageLanguages.found(texts, [page.language for page in pages])
    return LexicalIndex.build(ids, texts, stamps=stamps, stemmer=stemmer, languages=languages)


def _abandoned(place: Path) -> list[Path]:
    """What writers that were killed have left."""
    if not place.is_dir():
        return []
    hidden = [path for path in place.iterdir() if path.name.startswith(".")]
    return [path for path in hidden if time.time() - path.stat().st_mtime > _ABANDONED_SECONDS]
