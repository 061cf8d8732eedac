"""Which plan an index takes for ``budget="auto"``: measured once, kept beside the index as JSON."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from metaembed_rag.errors import BudgetError, StoreError
from metaembed_rag.search import cascade
from metaembed_rag.search.cascade import Calibration, Plan
from metaembed_rag.store.chroma import ChromaStore, CollectionModel
from metaembed_rag.store.levels import CachedVectors
from metaembed_rag.store.places import replace_file

_WORDS = 8
"""Words of a query that is made of a page's text."""
_SAMPLE = 200
"""Queries that are made where none are given."""
_LOOKED_AT = 2 * _SAMPLE
"""Pages that are looked at for them: some have no text."""
_FETCHES = 20
_HOW = "run `metaembed calibrate --index …`, or index.calibrate()"
_CHANGED = 2.0
"""An index that is so many times larger or smaller than it was wants to be calibrated again."""


class CalibrationFile:
    """Where an index keeps its calibration.

    Args:
        path: The file; None for an index in memory, whose calibration lives as long.
        about: The model, format and shape that it must be of; see :func:`about_vectors`.
    """

    def __init__(self, path: Path | None, about: str) -> None:
        self.path = path
        self.about = about
        self._kept: Calibration | None = None

    def load(self) -> Calibration:
        """The calibration.

        Raises:
            BudgetError: There is none, it is damaged, or of another model or format.
        """
        try:
            found = self._kept or self._read()
        except (OSError, ValueError) as error:
            raise BudgetError(
                f"the calibration {self.path} cannot be read ({error}): {_HOW}"
            ) from error
        if found is None:
            raise BudgetError(
                f'the budget "auto" needs a calibration, and this index has none: {_HOW}, or name '
                f"a budget"
            )
        if found.about != self.about:
            raise BudgetError(
                f"the calibration {self.path} is of another model or vector format: {_HOW}"
            )
        return found

    def _read(self) -> Calibration | None:
        if self.path is None or not self.path.exists():
            return None
        return Calibration.from_json(self.path.read_text(encoding="utf-8"))

    def save(self, calibration: Calibration) -> None:
        """Replace the calibration: a reader finds the old one or the new one, whole.

        Raises:
            StoreError: It cannot be written.
        """
        if self.path is None:
            self._kept = calibration
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self.path, calibration.to_json())
        except OSError as error:
            raise StoreError(
                f"the calibration {self.path} cannot be written ({error.strerror or error}); make "
                f"room or mend the folder's permissions, and try again"
            ) from error


def about_vectors(about: CollectionModel) -> str:
    """What a calibration is of, in one line."""
    return f"{about.fingerprint} {about.format} {about.vectors} x {about.dimension}"


def calibrated(
    queries: NDArray[np.float32],
    vectors: CachedVectors,
    store: ChromaStore,
    k: int,
    recall: float,
) -> Calibration:
    """Measure plans on the pages of an index.

    Args:
        queries: float32, shape (queries, R_q, D).
        vectors: Those of the pages.
        store: Read as a search reads it, for the time that this takes.
        k: Size of the top that has to be found.
        recall: The wanted share of it; plans for less are measured too.

    Raises:
        BudgetError: There is no page, there are fewer than 2 queries, or the recall makes no sense.
    """
    if not vectors.pages:
        raise BudgetError("an empty index cannot be calibrated; index some pages first")
    levels = vectors.levels(vectors.header.vectors)
    # Shares that reached a recall on some queries can miss it on others: stricter ones stand by.
    # Looser ones too, since shares are chosen with care: for 0.98 they kept 0.985 of 100,000 texts.
    recalls = sorted({0.9, 0.95, 2 * recall - 1, 1.5 * recall - 0.5, recall, (1 + recall) / 2, 1.0})
    recalls = [wanted for wanted in recalls if wanted >= min(0.9, recall)]
    allowed = None if vectors.pages == len(vectors) else vectors.alive
    found = cascade.calibrate(queries, levels, k, recalls, allowed=allowed)
    ids = vectors.ids[vectors.alive]
    about = about_vectors(store.about)
    fetch_ms = _fetch_ms(store, ids.tolist(), k)
    return replace(found, about=about, fetch_ms=fetch_ms, recall=recall)


def chosen_plan(
    calibration: Calibration, pages: int, max_ms: float | None, min_recall: float | None
) -> Plan:
    """The plan for ``budget="auto"``, with the milliseconds expected for ``pages``.

    Raises:
        BudgetError: No plan is fast or accurate enough; the message names the nearest.
    """
    for name, limit in (("max_ms", max_ms), ("min_recall", min_recall)):
        if limit is not None and not limit > 0:
            raise BudgetError(f"{name} must be over 0, not {limit}")
    plan = cascade.choose(calibration, max_ms=max_ms, min_recall=min_recall, pages=pages)
    return replace(plan, ms=plan.ms_for(pages) + calibration.fetch_ms, pages=pages)


def doubts(calibration: Calibration, pages: int, k: int) -> str:
    """What a search should say of a calibration that does not quite fit; ``""`` for nothing."""
    found = []
    ratio = max(pages, 1) / calibration.pages
    if not 1 / _CHANGED <= ratio <= _CHANGED:
        found.append(f"it was made for {calibration.pages} pages and there are {pages} now")
    if k > calibration.k:
        found.append(f"it was made for the best {calibration.k} pages and {k} are asked for")
    return f"calibrate again: {' and '.join(found)}" if found else ""


def sample_queries(store: ChromaStore, count: int = _SAMPLE) -> list[str]:
    """Pieces of the texts of random pages, to stand for queries that nobody has collected yet.

    Raises:
        BudgetError: Fewer than two pages have a text.
    """
    chooser = random.Random(0)
    ids = store.ids()
    looked_at = chooser.sample(ids, min(_LOOKED_AT, len(ids)))
    records = store.get(looked_at)
    texts = [records[id].page.text.split() for id in looked_at if id in records]
    queries = [_piece(words, chooser) for words in texts if words][:count]
    if len(queries) < 2:
        raise BudgetError(
            "queries cannot be made of pages without text; give some of your own to calibrate with"
        )
    return queries


def _piece(words: Sequence[str], chooser: random.Random) -> str:
    start = chooser.randint(0, max(0, len(words) - _WORDS))
    return " ".join(words[start : start + _WORDS])


def _fetch_ms(store: ChromaStore, ids: Sequence[str], k: int) -> float:
    """Median milliseconds to read the records of ``k`` pages."""
    chooser, spent = random.Random(0), []
    for _ in range(_FETCHES):
        chosen = chooser.sample(ids, min(k, len(ids)))
        start = time.perf_counter()
        store.get(chosen)
        spent.append(time.perf_counter() - start)
    return round(1000 * statistics.median(spent), 4)
