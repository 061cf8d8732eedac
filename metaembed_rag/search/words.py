"""Word search (BM25) over the pages of an index: words by the library bm25s, and pairs of words.

A lexical index is derived data: it is built from the texts that Chroma holds, kept in a folder so
that the next process need not build it, and built again when it is absent, damaged or no longer
matches the records. Deleting it loses nothing.

Whether it matches is decided by the records themselves. Each request that writes pages marks them
with a stamp of its own; a lexical index remembers the stamps that it has seen. It is current if no
page carries another stamp and the number of pages is the same. So a writer that is killed, another
process or another machine cannot leave it wrong without being noticed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import sys
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from metaembed_rag.errors import StoreError, require
from metaembed_rag.search.pairs import WordPairs
from metaembed_rag.search.word_scores import WordScores
from metaembed_rag.store.history import knows
from metaembed_rag.store.places import replacing
from metaembed_rag.store.privacy import make_folder
from metaembed_rag.store.records import StampedText

PAIR_WEIGHT = 0.5
"""What a pair of neighbouring words counts; chosen on development data (``docs/hybrid.md``)."""

FOUND_WORDS, FOUND_PAIRS = 0.75, 1.5
"""What shares of a query's words and of its pairs count with ``hybrid="auto"``, where MaxSim from
the worst to the best page counts 1; chosen on validation data (``docs/hybrid.md``)."""

_FORMAT = 2
_ABOUT = "about.json"
_PAGES = "pages.json"
_PAIRS = "pairs.npz"
_ABANDONED_SECONDS = 3600
_STOP_WORDS = {"english": "en", None: "en"}
"""bm25s' English list goes with plain words too; other languages keep all their words."""

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


class LexicalIndex:
    """BM25 (Lucene's variant, k1 1.5, b 0.75: bm25s' defaults) over the texts of pages.

    A page's score is BM25 of the query's words, plus half of BM25 of its pairs of neighbouring
    words. Stop words are left out first: "table of contents" is one pair.

    Args:
        ids: Page ids, in the order of the scores.
        stamps: Of the requests that wrote them.
        stemmer: Snowball language, or None for plain words.
        scorer: A filled ``bm25s.BM25``; None where no page has a word.
        pairs: The pairs of the words, numbered as in ``scorer``.

    Attributes:
        pairs: The pairs of the words.
        state: The last state of the store's database that was seen; ``""`` for none.
    """

    def __init__(
        self,
        ids: list[str],
        stamps: frozenset[str],
        stemmer: str | None,
        scorer: Any,
        pairs: WordPairs,
    ) -> None:
        self.ids = ids
        self.places = {id: place for place, id in enumerate(ids)}
        self.stamps = stamps
        self.stemmer = stemmer
        self.state = ""
        self._scorer = scorer
        self.pairs = pairs

    @classmethod
    def build(
        cls,
        ids: list[str],
        texts: list[str],
        *,
        stamps: Iterable[str] = (),
        stemmer: str | None = "english",
    ) -> LexicalIndex:
        """Index one text a page; about 2.1 CPU seconds for 10,000 pages of 1,700 characters.

        Raises:
            MissingExtraError: The extra ``hybrid`` is not installed.
            StoreError: There is no such stemmer.
        """
        words = _words(texts, stemmer, return_ids=True)
        pairs = WordPairs.build(words.ids)
        scorer = None
        if any(words.ids):
            scorer = _bm25s().BM25()
            scorer.index(words, show_progress=False)
        return cls(ids, frozenset(stamps), stemmer, scorer, pairs)

    def scores(self, query: str) -> NDArray[np.float32]:
        """BM25 of every page, float32 of shape (pages,), at least 0; 0 without a common word."""
        words, pairs = self.parts(query)
        return words + np.float32(PAIR_WEIGHT) * pairs

    def parts(self, query: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """BM25 of the words alone, and of their pairs alone, each as in :meth:`scores`."""
        return self._parts(self.numbers(query))

    def _parts(
        self, numbers: Sequence[int | None]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        known = [number for number in numbers if number is not None]
        if not known:
            nothing = np.zeros(len(self.ids), dtype=np.float32)
            return nothing, nothing
        scores: NDArray[np.float32] = self._scorer.get_scores_from_ids(known)
        return scores, self.pairs.scores(numbers)

    def most(self, query: str) -> float:
        """Σ idf of the query's words, which BM25 of the words stays under; 0 without a word.

        A word that no page has counts as the rarest.
        """
        return self._most(self.numbers(query))

    def _most(self, numbers: Sequence[int | None]) -> float:
        if self._scorer is None or not numbers:
            return 0.0
        starts = self._scorer.scores["indptr"]
        pages = np.array([0 if n is None else starts[n + 1] - starts[n] for n in numbers])
        return float(np.log1p((len(self.ids) - pages + 0.5) / (pages + 0.5)).sum())

    def shares(
        self, query: str, words: NDArray[np.float32], pairs: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The query's :meth:`parts` as shares of what its words and its pairs could give.

        They are in [0, 1): how much of what was asked a page has, not where there is most of it. A
        query of one word has no pairs; its word stands for them.
        """
        return self._shares(self.numbers(query), words, pairs)

    def _shares(
        self, numbers: Sequence[int | None], words: NDArray[np.float32], pairs: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        if not words.any():
            return words, pairs
        share = words / np.float32(self._most(numbers))
        if len(numbers) == 1:
            return share, share
        return share, pairs / np.float32(self.pairs.most(numbers))

    def search(self, query: str) -> WordScores:
        """:meth:`scores` by page id, and how much of the query each page has."""
        numbers = self.numbers(query)  # tokens and stems of a query are made once
        words, pairs = self._parts(numbers)
        both = self._shares(numbers, words, pairs)
        found = np.float32(FOUND_WORDS) * both[0] + np.float32(FOUND_PAIRS) * both[1]
        scores = words + np.float32(PAIR_WEIGHT) * pairs
        return WordScores(self.places, self.ids, scores, found, self.stamps)

    def numbers(self, query: str) -> list[int | None]:
        """The query's words in order; None for one that is on no page."""
        [words] = _words([query], self.stemmer)
        numbers = {} if self._scorer is None else self._scorer.vocab_dict
        return [numbers.get(word) for word in words]

    def column(self, number: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """The places of the pages that have a word, and what it gives the score of each."""
        kept = self._scorer.scores
        part = slice(*kept["indptr"][number : number + 2].tolist())
        return kept["indices"][part], kept["data"][part]

    def save(self, folder: Path) -> None:
        """Write it as ``folder``, which appears whole or not at all.

        Raises:
            OSError: The place cannot be written.
        """
        make_folder(folder.parent)
        with replacing(folder) as unfinished:
            unfinished.mkdir()
            if self._scorer is not None:
                self._scorer.save(unfinished, show_progress=False)
            self.pairs.save(unfinished / _PAIRS)
            pages = {"ids": self.ids, "stamps": sorted(self.stamps), "state": self.state}
            (unfinished / _PAGES).write_text(json.dumps(pages), encoding="utf-8")
            (unfinished / _ABOUT).write_text(json.dumps(_about(unfinished, self.stemmer)))

    def equals(self, other: LexicalIndex) -> bool:
        """Whether it gives every query the same scores, and was made in the same order."""
        if self.ids != other.ids or (self._scorer is None) != (other._scorer is None):
            return False
        return all(map(np.array_equal, self._by_word(), other._by_word()))

    def _by_word(self) -> list[NDArray[Any]]:
        """All that scores are made of, with words in the order of the alphabet.

        bm25s numbers them as they come out of a set, in another order in every process.
        """
        if self._scorer is None:
            return []
        kept, numbers = self._scorer.scores, self._scorer.vocab_dict
        last = len(kept["indptr"]) - 1
        order = [number for word in sorted(numbers) if (number := numbers[word]) < last]
        ranks = np.empty(len(numbers), dtype=np.int64)
        ranks[order] = np.arange(len(order))
        spans = [np.arange(*kept["indptr"][number : number + 2]) for number in order]
        rows = np.concatenate([np.arange(0), *spans])
        counts, words = np.array(list(map(len, spans))), np.array(sorted(numbers), dtype=np.str_)
        pairs = self.pairs.renumbered(ranks)
        return [words, counts, kept["data"][rows], kept["indices"][rows], *pairs.arrays()]

    @staticmethod
    def written_by(stemmer: str | None) -> list[Any]:
        """What this version writes about an index of that stemmer: other ones are made again."""
        return [_FORMAT, stemmer, _bm25s().__version__]

    @classmethod
    def load(cls, folder: Path, *, stemmer: str | None) -> LexicalIndex:
        """Read what :meth:`save` wrote.

        Raises:
            ValueError: It is damaged, or of another format, stemmer or version of bm25s.
            OSError: It is not there, or vanishes meanwhile.
        """
        about = _about(folder, stemmer)
        if json.loads((folder / _ABOUT).read_text()) != about:
            raise ValueError(f"{folder} is damaged or was written by another version")
        pages = json.loads((folder / _PAGES).read_text(encoding="utf-8"))
        scorer = None
        if about["files"].keys() != {_PAGES, _PAIRS}:
            scorer = _bm25s().BM25.load(folder, show_progress=False)
        pairs = WordPairs.load(folder / _PAIRS)
        found = cls(pages["ids"], frozenset(pages["stamps"]), stemmer, scorer, pairs)
        found.state = pages.get("state", "")
        return found


class LexicalCache:
    """The current lexical index of a store, in memory and in a folder.

    Args:
        store: Holds the texts.
        folder: Where lexical indexes are kept; None keeps them in memory only.
        stemmer: Snowball language, or None for plain words.
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

    def current(self) -> LexicalIndex:
        """The lexical index of what the store holds now; built if there is none such.

        Raises:
            MissingExtraError: The extra ``hybrid`` is not installed.
        """
        _bm25s(), _stemmer(self.stemmer)  # before all texts are read in vain
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
        index = LexicalIndex.build(
            [page.id for page in pages],
            [page.text for page in pages],
            stamps=self._settled(pages),
            stemmer=self.stemmer,
        )
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


def _words(texts: list[str], stemmer: str | None, *, return_ids: bool = False) -> Any:
    """The words of each text, lower case, without stop words, stemmed if asked.

    Returns:
        A list of words for each text; with ``return_ids`` bm25s' object with ``ids``, a list of
        numbers for each text, and ``vocab``, the number of each word.
    """
    return _bm25s().tokenize(
        texts,
        stopwords=_STOP_WORDS.get(stemmer, []),
        stemmer=_stemmer(stemmer),
        return_ids=return_ids,
        show_progress=False,
    )


def stems(words: list[str], stemmer: str | None) -> list[str]:
    """What each word counts as; ``""`` for one that counts for nothing."""
    return ["".join(found) for found in _words(words, stemmer)] if words else []


def _bm25s() -> Any:
    """The library; its logger asks for every debug line when it is imported, which is undone."""
    is_new = "bm25s" not in sys.modules
    bm25s = require("bm25s")
    if is_new:
        logging.getLogger("bm25s").setLevel(logging.NOTSET)
    return bm25s


def _stemmer(language: str | None) -> Any:
    if language is None:
        return None
    snowball = require("Stemmer")
    if language not in snowball.algorithms():
        raise StoreError(
            f"there is no stemmer {language!r}; use None for plain words, or one of "
            f"{', '.join(snowball.algorithms())}"
        )
    return snowball.Stemmer(language)


def _about(folder: Path, stemmer: str | None) -> dict[str, Any]:
    """How a folder was made, and the BLAKE2b hash of every other file in it."""
    files = {
        path.name: hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
        for path in folder.iterdir()
        if path.name != _ABOUT
    }
    return {"format": LexicalIndex.written_by(stemmer), "files": files}


def _abandoned(place: Path) -> list[Path]:
    """What writers that were killed have left."""
    if not place.is_dir():
        return []
    hidden = [path for path in place.iterdir() if path.name.startswith(".")]
    return [path for path in hidden if time.time() - path.stat().st_mtime > _ABANDONED_SECONDS]


def finished_indexes(place: Path | None) -> list[Path]:
    """The lexical indexes below ``place``, finished ones only."""
    if place is None or not place.is_dir():
        return []
    return sorted(path for path in place.iterdir() if not path.name.startswith("."))
