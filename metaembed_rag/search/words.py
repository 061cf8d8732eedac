"""Word search (BM25) over the pages of an index: words by the library bm25s, and pairs of words.

A lexical index is derived data: it is built from the texts that Chroma holds, kept in a folder so
that the next process need not build it, and built again when it is absent, damaged or no longer
matches the records (:mod:`metaembed_rag.search.lexical_cache`). Deleting it loses nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metaembed_rag.metadata.languages import AUTO
from metaembed_rag.search.languages import PageLanguages, detector_version
from metaembed_rag.search.pairs import WordPairs
from metaembed_rag.search.tokens import Token, bm25s, page_words, query_words, stop_words, tokens
from metaembed_rag.search.word_scores import WordScores
from metaembed_rag.store.places import replacing
from metaembed_rag.store.privacy import make_folder

PAIR_WEIGHT = 0.5
"""What a pair of neighbouring words counts; chosen on development data (``docs/hybrid.md``)."""

FOUND_WORDS, FOUND_PAIRS = 0.75, 1.5
"""What shares of a query's words and of its pairs count with ``hybrid="auto"``, where MaxSim from
the worst to the best page counts 1; chosen on validation data (``docs/hybrid.md``)."""

_FORMAT = 3
"""2 knows no pairs of characters and no languages of pages."""
_ABOUT = "about.json"
_PAGES = "pages.json"
_PAIRS = "pairs.npz"


@dataclass(frozen=True)
class Reading:
    """A query's words as they count on the pages of one language.

    Attributes:
        language: Of the pages; as in :mod:`metaembed_rag.metadata.languages`.
        numbers: The words in order; None for one that is on no page.
        pages: Which pages are in that language, bool of shape (pages,); None for all.
    """

    language: str | None
    numbers: list[int | None]
    pages: NDArray[np.bool_] | None


class LexicalIndex:
    """BM25 (Lucene's variant, k1 1.5, b 0.75: bm25s' defaults) over the texts of pages.

    A page's score is BM25 of the query's words, plus half of BM25 of its pairs of neighbouring
    words. Stop words are left out first: "table of contents" is one pair. Where each page is read
    in its own language, so is the query once for each of these languages; how rare a word is, is
    counted over all pages.

    Args:
        ids: Page ids, in the order of the scores.
        stamps: Of the requests that wrote them.
        stemmer: How words are read; see :mod:`metaembed_rag.metadata.languages`.
        scorer: A filled ``bm25s.BM25``; None where no page has a word.
        pairs: The pairs of the words, numbered as in ``scorer``.
        languages: Of the pages; None where all are read alike.

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
        languages: PageLanguages | None = None,
    ) -> None:
        self.ids = ids
        self.places = {id: place for place, id in enumerate(ids)}
        self.stamps = stamps
        self.stemmer = stemmer
        self.state = ""
        self._scorer = scorer
        self.pairs = pairs
        self.languages = languages

    @classmethod
    def build(
        cls,
        ids: list[str],
        texts: list[str],
        *,
        stamps: Iterable[str] = (),
        stemmer: str | None = "english",
        languages: PageLanguages | None = None,
    ) -> LexicalIndex:
        """Index one text a page; about 2.1 CPU seconds for 10,000 pages of 1,700 characters.

        Args:
            ids: Page ids.
            texts: Their texts.
            stamps: Of the requests that wrote them.
            stemmer: As for the class; ``"auto"`` takes each page's own language.
            languages: Of the pages, where it is ``"auto"``; without them they are found.

        Raises:
            MissingExtraError: The extra ``hybrid`` is not installed.
            StoreError: There is no such stemmer.
        """
        if stemmer != AUTO:
            languages = None
        elif languages is None:
            languages = PageLanguages.found(texts)
        words = page_words(texts, stemmer) if languages is None else _by_language(texts, languages)
        pairs = WordPairs.build(words.ids)
        scorer = None
        if any(words.ids):
            scorer = bm25s().BM25()
            scorer.index(words, show_progress=False)
        return cls(ids, frozenset(stamps), stemmer, scorer, pairs, languages)

    def scores(self, query: str) -> NDArray[np.float32]:
        """BM25 of every page, float32 of shape (pages,), at least 0; 0 without a common word."""
        return _score(*self.parts(query))

    def parts(self, query: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """BM25 of the words alone, and of their pairs alone, each as in :meth:`scores`."""
        words, pairs = self.merged([(one, self._parts(one.numbers)) for one in self.asked(query)])
        return words, pairs

    def _parts(
        self, numbers: Sequence[int | None]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        known = [number for number in numbers if number is not None]
        if not known:
            nothing = np.zeros(len(self.ids), dtype=np.float32)
            return nothing, nothing
        scores: NDArray[np.float32] = self._scorer.get_scores_from_ids(known)
        return scores, self.pairs.scores(numbers)

    def merged(
        self, found: Sequence[tuple[Reading, Sequence[NDArray[np.float32]]]]
    ) -> list[NDArray[np.float32]]:
        """Of every page what the reading in its language gives; of several the highest.

        Args:
            found: Readings with arrays of shape (pages,); the first two are words and pairs.
        """
        first, arrays = found[0]
        if first.pages is None:
            return list(arrays)
        merged = [np.zeros(len(self.ids), dtype=np.float32) for _ in arrays]
        for reading, parts in found:
            score, best = _score(*parts[:2]), _score(*merged[:2])
            is_better = (score > best) & (True if reading.pages is None else reading.pages)
            for into, part in zip(merged, parts, strict=True):
                np.copyto(into, part, where=is_better)
        return merged

    def most(self, query: str) -> float:
        """Σ idf of the query's words, which BM25 of the words stays under; 0 without a word.

        A word that no page has counts as the rarest. In several languages it is the largest.
        """
        return max(self._most(one.numbers) for one in self.asked(query))

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
        asked = self.asked(query)
        both = self.merged([(one, self._shares(one.numbers, words, pairs)) for one in asked])
        return both[0], both[1]

    def _shares(
        self, numbers: Sequence[int | None], words: NDArray[np.float32], pairs: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        if not words.any() or not numbers:
            return words, pairs
        share = words / np.float32(self._most(numbers))
        if len(numbers) == 1:
            return share, share
        return share, pairs / np.float32(self.pairs.most(numbers))

    def search(self, query: str) -> WordScores:
        """:meth:`scores` by page id, and how much of the query each page has."""
        found = []
        for asked in self.asked(query):  # tokens and stems of a query are made once
            parts = self._parts(asked.numbers)
            found.append((asked, (*parts, *self._shares(asked.numbers, *parts))))
        words, pairs, *both = self.merged(found)
        share = np.float32(FOUND_WORDS) * both[0] + np.float32(FOUND_PAIRS) * both[1]
        scores = _score(words, pairs)
        return WordScores(self.places, self.ids, scores, share, self.stamps)

    def asked(self, query: str) -> list[Reading]:
        """The query in each language of the pages."""
        without = self.words_without_weight(query)
        if self.languages is None:
            return [Reading(self.stemmer, self._numbers(query, self.stemmer, without), None)]
        return [
            Reading(name, self._numbers(query, name, without), self.languages.pages_in(place))
            for place, name in enumerate(self.languages.names)
        ]

    def words_without_weight(self, query: str) -> list[str]:
        """Stop words of the query's own language, which count on pages of no other one.

        On German pages "the" is rare. Where a query has no other words they count.
        """
        if self.languages is None or len(self.languages.names) == 1:
            return []
        language = self.languages.of_query(query)
        return stop_words(language) if query_words(query, language) else []

    def language_for(self, query: str, id: str) -> str | None:
        """In which language a query is read for a page."""
        place = self.places[id]
        given = {
            one.language: self._parts(one.numbers)
            for one in self.asked(query)
            if one.pages is None or one.pages[place]
        }
        return max(given, key=lambda name: _score(*given[name])[place])

    def page_tokens(self, id: str, text: str) -> list[Token]:
        """The words of a page that count, in order, with their places in its text."""
        if self.languages is None:
            return list(tokens(text, self.stemmer))
        return [
            Token(one.stem, part.start + one.start, part.start + one.end)
            for part in self.languages.parts_of(self.places[id], text)
            for one in tokens(part.text, part.language)
        ]

    def _numbers(
        self, query: str, language: str | None, without: Sequence[str]
    ) -> list[int | None]:
        numbers = {} if self._scorer is None else self._scorer.vocab_dict
        return [numbers.get(word) for word in query_words(query, language, without)]

    def number(self, stem: str) -> int | None:
        """Of a word; None for one that is on no page."""
        return None if self._scorer is None else self._scorer.vocab_dict.get(stem)

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
            pages: dict[str, Any] = {
                "ids": self.ids,
                "stamps": sorted(self.stamps),
                "state": self.state,
            }
            if (languages := self.languages) is not None:
                pages |= {"languages": languages.names, "language": languages.of_page.tolist()}
                pages["mixed"] = [[page, *parts] for page, parts in languages.mixed.items()]
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
        detector = [detector_version()] if stemmer == AUTO else []
        return [_FORMAT, stemmer, bm25s().__version__, *detector]

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
            scorer = bm25s().BM25.load(folder, show_progress=False)
        pairs = WordPairs.load(folder / _PAIRS)
        languages = None
        if "languages" in pages:
            of_page = np.array(pages["language"], dtype=np.uint8)
            mixed = {page: [(one, end) for one, end in parts] for page, *parts in pages["mixed"]}
            languages = PageLanguages(tuple(pages["languages"]), of_page, mixed)
        found = cls(pages["ids"], frozenset(pages["stamps"]), stemmer, scorer, pairs, languages)
        found.state = pages.get("state", "")
        return found


def _score(words: NDArray[np.float32], pairs: NDArray[np.float32]) -> NDArray[np.float32]:
    """BM25 of words and of pairs, each of shape (pages,), in one."""
    return words + np.float32(PAIR_WEIGHT) * pairs


def _by_language(texts: list[str], languages: PageLanguages) -> Any:
    """The words of pages, each in its language, numbered together; as :func:`page_words`."""
    parts = defaultdict(list)  # by language: page, place among the page's parts, text
    for page, text in enumerate(texts):
        for place, part in enumerate(languages.parts_of(page, text)):
            parts[part.language].append((page, place, part.text))
    numbers: dict[str, int] = {}
    read: dict[tuple[int, int], list[int]] = {}
    for name, of_language in parts.items():
        words = page_words([text for _, _, text in of_language], name)
        own = {old: numbers.setdefault(word, len(numbers)) for word, old in words.vocab.items()}
        for (page, place, _), ids in zip(of_language, words.ids, strict=True):
            read[page, place] = [own[old] for old in ids]
    pages: list[list[int]] = [[] for _ in texts]
    for page, place in sorted(read):
        pages[page] += read[page, place]
    return bm25s().tokenization.Tokenized(ids=pages, vocab=numbers)


def _about(folder: Path, stemmer: str | None) -> dict[str, Any]:
    """How a folder was made, and the BLAKE2b hash of every other file in it."""
    files = {
        path.name: hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
        for path in folder.iterdir()
        if path.name != _ABOUT
    }
    return {"format": LexicalIndex.written_by(stemmer), "files": files}


def finished_indexes(place: Path | None) -> list[Path]:
    """The lexical indexes below ``place``, finished ones only."""
    if place is None or not place.is_dir():
        return []
    return sorted(path for path in place.iterdir() if not path.name.startswith("."))
