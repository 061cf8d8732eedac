"""What is derived from the records, compared with them: mapped vectors, words, calibration."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np

from metaembed_rag.errors import (
    BudgetError,
    CacheError,
    MissingExtraError,
    StoreError,
    install_line,
)
from metaembed_rag.maintenance.findings import CACHE, CALIBRATION, WORDS, Finding
from metaembed_rag.maintenance.scan import Batch
from metaembed_rag.search.calibration import CalibrationFile, about_vectors
from metaembed_rag.search.words import LexicalIndex, finished_indexes
from metaembed_rag.store.cache import VectorCache
from metaembed_rag.store.chroma import ChromaStore
from metaembed_rag.store.levels import MANIFEST, CachedVectors

REBUILD = "`metaembed repair` makes it again"
_BY_ITSELF = "the next search brings it up to date"


class CacheComparison:
    """Compares the mapped vectors with the records that a scan reads.

    Args:
        store: Whose cache it is, and whose records.

    Attributes:
        findings: Where they differ though both say that they are of the same writing.
        notes: That it is behind, which the next search mends.
    """

    def __init__(self, store: ChromaStore) -> None:
        self.findings: list[Finding] = []
        self.notes: list[Finding] = []
        self._store = store
        self._unseen: set[str] = set()
        self._behind = 0
        self._cached = self._load()
        if self._cached is not None:
            self._unseen = set(self._cached.ids[self._cached.alive].tolist())

    def compare(self, batch: Batch) -> None:
        """Look whether the rows of these pages are what their records give."""
        if self._cached is None:
            return
        self._unseen.difference_update(batch.ids)
        rows = self._cached.rows([record.page.id for record in batch.records])
        there = np.flatnonzero(rows >= 0)
        stamps = self._cached.stamps(rows[there])
        same = [
            place
            for place, stamp in zip(there.tolist(), stamps, strict=True)
            if stamp == batch.records[place].stamp
        ]
        self._behind += len(batch.records) - len(same)
        if same:
            self._compare_rows(batch, same, rows)

    def finish(self) -> None:
        """Say whether what is behind is known to be; call it after the last batch."""
        if self._cached is None:
            return
        behind = self._behind + len(self._unseen)
        mark, state = self._cached.manifest.mark, self._cached.manifest.state
        current = mark and mark == self._store.mark()
        if behind and current and (not state or state in self._store.states()):
            what = f"it says that it is up to date, and {behind} pages are of another writing"
            self.findings.append(Finding(CACHE, what, REBUILD))
        elif behind:
            self.notes.append(Finding(CACHE, f"it is {behind} pages behind", _BY_ITSELF))

    def _load(self) -> CachedVectors | None:
        folder = self._store.places.vectors
        if folder is None or not (folder / MANIFEST).exists():
            return None
        try:
            found = CachedVectors.load(folder)
            found.check_ids()
        except (OSError, ValueError, CacheError) as error:
            self.findings.append(Finding(CACHE, str(error), REBUILD))
            return None
        if found.header != VectorCache(self._store).header:
            what = "it is of another collection, model or format"
            self.notes.append(Finding(CACHE, what, "the next search makes it again"))
            return None
        return found

    def _compare_rows(self, batch: Batch, places: list[int], rows: np.ndarray) -> None:
        """Compare pages of one writing, byte by byte."""
        assert self._cached is not None
        try:
            had = self._cached.take(rows[places], self._store.about.vectors)
        except (OSError, ValueError, CacheError) as error:  # it has checksums of its own
            self.findings.append(Finding(CACHE, str(error), REBUILD))
            self._cached = None
            return
        now = batch.vectors.pages(places)
        values = (_bytes(had.values) == _bytes(now.values)).all(axis=1)
        scales = (_bytes(had.scales) == _bytes(now.scales)).all(axis=1)
        for place in np.flatnonzero(~(values & scales)).tolist():
            id = batch.records[places[place]].page.id
            what = "its vectors in the mapped copy are not those of its record"
            self.findings.append(Finding(CACHE, what, REBUILD, id))


def _bytes(values: np.ndarray) -> np.ndarray:
    """An array as bytes a page, so that what is no number is equal to itself."""
    flat = np.ascontiguousarray(values).reshape(len(values), -1)
    return flat.view(np.uint8).reshape(len(values), -1)


class WordsComparison:
    """Compares the indexes of words beside an index with the texts that a scan reads.

    One that says that it is up to date is compared with one that is built for the occasion, which
    takes the time and the memory that a first hybrid search takes.

    Args:
        store: Whose words they are.

    Attributes:
        findings: What is damaged, or differs though it says that it is up to date.
        notes: What is behind, or of another version: a search makes it again.
    """

    def __init__(self, store: ChromaStore) -> None:
        self.findings: list[Finding] = []
        self.notes: list[Finding] = []
        self._kept: list[LexicalIndex] = []
        self._behind: Counter[int] = Counter()
        self._texts: dict[str, str] = {}
        place = store.places.words
        for folder in sorted(place.iterdir()) if place is not None and place.is_dir() else ():
            for path in finished_indexes(folder):
                self._load(path, None if folder.name == "plain" else folder.name)

    def compare(self, batch: Batch) -> None:
        """Take the texts of these pages."""
        if not self._kept:
            return
        self._texts |= {record.page.id: record.page.text for record in batch.records}
        for number, kept in enumerate(self._kept):
            self._behind[number] += sum(r.stamp not in kept.stamps for r in batch.records)

    def finish(self) -> None:
        """Compare; call it after the last batch."""
        ids = sorted(self._texts)
        for number, kept in enumerate(self._kept):
            behind = self._behind[number] or abs(len(ids) - len(kept.ids))
            if behind:
                self.notes.append(Finding(WORDS, f"it is {behind} pages behind", _BY_ITSELF))
                continue
            texts = [self._texts[id] for id in ids]
            again = LexicalIndex.build(ids, texts, stemmer=kept.stemmer, languages=kept.languages)
            if not kept.equals(again):
                what = "it is not what the pages' texts give"
                self.findings.append(Finding(WORDS, what, REBUILD))
        self._texts.clear()

    def _load(self, folder: Path, stemmer: str | None) -> None:
        try:
            self._kept.append(LexicalIndex.load(folder, stemmer=stemmer))
        except MissingExtraError:
            what = "it is not looked at, because the extra hybrid is not installed"
            self.notes.append(Finding(WORDS, what, install_line("hybrid")))
        except (OSError, ValueError, StoreError) as error:
            old = _is_of_other_version(folder, stemmer)
            (self.notes if old else self.findings).append(Finding(WORDS, str(error), REBUILD))


def _is_of_other_version(folder: Path, stemmer: str | None) -> bool:
    """Whether an index of words says that another version wrote it."""
    try:
        about = json.loads((folder / "about.json").read_text())
        return bool(about["format"] != LexicalIndex.written_by(stemmer))
    except (OSError, ValueError, LookupError, TypeError):
        return False


def calibration_problem(store: ChromaStore) -> Finding | None:
    """What is wrong with the calibration; None for nothing, also where there is none."""
    kept = CalibrationFile(store.places.calibration, about_vectors(store.about))
    if kept.path is None or not kept.path.exists():
        return None
    try:
        kept.load()
    except BudgetError as error:
        return Finding(CALIBRATION, str(error), "run `metaembed calibrate`, or delete the file")
    return None
