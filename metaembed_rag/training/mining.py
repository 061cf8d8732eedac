"""Hard negatives: for each query the pages that a model ranks highest although they do not answer.

A page that scores almost as high as the positive is often an answer that nobody marked. Therefore
candidates at ``margin`` of the positive's score or more are dropped (positive-aware mining with a
percentage of the positive's score: Moreira et al., NV-Retriever, arXiv:2407.15831, where 95 % did
best), and so are pages with the same content as a positive of the query.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from metaembed_rag.budget import BudgetLike, RetrievalBudget
from metaembed_rag.errors import DatasetError, ModalityError
from metaembed_rag.evaluation.curves import exhaustive_scores
from metaembed_rag.model.inputs import Input
from metaembed_rag.model.protocol import Encoder
from metaembed_rag.progress import tqdm
from metaembed_rag.training.examples import (
    Example,
    PictureKeys,
    Side,
    TrainingSet,
    normalise,
    sides_of,
)
from metaembed_rag.vectors.formats import Quantized, quantize

_ENCODED_AT_ONCE = 256
_SCORES_AT_ONCE = 16_000_000
"""Scores of queries against all pages that exist at a time: 64 MB."""


@dataclass(frozen=True)
class MiningSettings:
    """How negatives are chosen.

    Attributes:
        negatives: Mined pages a query, at most.
        margin: A candidate is dropped from this share of the positive's score on; above 1 none is.
        skip: So many of the best remaining candidates are passed over.
        depth: So many of the best pages, beside the query's own, are looked at.

    Raises:
        DatasetError: A number makes no sense.
    """

    negatives: int = 4
    margin: float = 0.95
    skip: int = 0
    depth: int = 50

    def __post_init__(self) -> None:
        if self.negatives < 1:
            raise DatasetError(f"{self.negatives} negatives are none; ask for at least 1")
        if not self.margin > 0:
            raise DatasetError(f"the margin must be a number above 0, not {self.margin}")
        if self.skip < 0:
            raise DatasetError(f"skip must be 0 or more, not {self.skip}")
        if self.depth < self.skip + self.negatives:
            raise DatasetError(
                f"a depth of {self.depth} is too small to skip {self.skip} and keep "
                f"{self.negatives}; ask for at least {self.skip + self.negatives}"
            )


@dataclass(frozen=True)
class MiningReport:
    """What mining did.

    Attributes:
        examples: How many there are, each of them also in the result.
        pages: Different pages that were ranked.
        mined: Negatives that were added.
        kept: Negatives that the examples had already; they stand first.
        too_near: Candidates that were dropped for scoring as high as the positive.
        fewer: Examples that got fewer mined negatives than were asked for.
        none: Examples among them that got none.
    """

    examples: int
    pages: int
    mined: int
    kept: int
    too_near: int
    fewer: int
    none: int


def mine(
    rows: TrainingSet,
    encoder: Encoder,
    *,
    corpus: Sequence[Side] = (),
    settings: MiningSettings | None = None,
    budget: BudgetLike | None = None,
    batch_size: int = 32,
    show_progress: bool = False,
) -> tuple[list[Example], MiningReport]:
    """Add hard negatives to training examples.

    Every query is scored against all different positives of ``rows`` and pages of ``corpus`` by
    MaxSim at ``budget``. Pages are held in int8 (r_c · (D + 2) bytes each), scores for some
    queries at a time (64 MB), pictures for one batch.

    Args:
        rows: The examples; negatives that they have stay, before the mined ones.
        encoder: The model that ranks.
        corpus: More pages that may be negatives.
        settings: How they are chosen.
        budget: Vectors that take part; by default all that the model makes.
        batch_size: Inputs that the encoder takes at once.
        show_progress: Progress bars on standard error, or in the notebook.

    Returns:
        The examples in their order with their negatives, hardest first, and what was done.

    Raises:
        BudgetError: The budget asks for more vectors than the model makes.
        ModalityError: The model does not read a side; the message names its line.
        DatasetError: A picture cannot be opened.
    """
    settings = settings or MiningSettings()
    chosen = _budget(budget, encoder)
    _check_modalities(rows, corpus, encoder)
    pool = _Pool(rows, corpus)
    parts = []
    for _, loaded in _blocks(pool.pages, _ENCODED_AT_ONCE, "pages", show_progress):
        vectors = encoder.encode_document(loaded, batch_size=batch_size)
        parts.append(quantize(vectors[:, : chosen.r_c]))
    pages = Quantized(
        np.concatenate([part.values for part in parts]),  # (pages, r_c, D)
        np.concatenate([part.scales for part in parts]),
    )
    miner = _Miner(rows, pool, settings, pages)
    at_once = max(1, min(_ENCODED_AT_ONCE, _SCORES_AT_ONCE // len(pool.pages)))
    for start, loaded in _blocks(pool.queries, at_once, "queries", show_progress):
        vectors = encoder.encode_query(loaded, batch_size=batch_size)
        miner.rank(start, vectors[:, : chosen.r_q], chosen)
    return miner.examples(), miner.report()


def _budget(budget: BudgetLike | None, encoder: Encoder) -> RetrievalBudget:
    if budget is None:
        return RetrievalBudget(encoder.query_vectors, encoder.document_vectors)
    chosen = RetrievalBudget.parse(budget)
    chosen.check(query_vectors=encoder.query_vectors, page_vectors=encoder.document_vectors)
    return chosen


def _check_modalities(rows: TrainingSet, corpus: Sequence[Side], encoder: Encoder) -> None:
    """Before an hour of encoding, not after it."""
    sides = [side for row in rows for side in (row.query, row.positive)]
    for side in [*sides, *corpus]:
        if side.image is not None and "image" not in encoder.modalities:
            raise ModalityError(
                f"{side.where or side.image}: is a picture, but {encoder.name} reads text only; "
                f"mine with a vision-language checkpoint, or put the picture's text (OCR) there"
            )


class _Pool:
    """Different queries and pages, as numbers; texts are the same up to case and punctuation."""

    def __init__(self, rows: TrainingSet, corpus: Sequence[Side]) -> None:
        sides = [*sides_of(rows), *corpus]
        self._pictures = PictureKeys(side.image for side in sides)
        numbers: dict[tuple[str, str], int] = {}
        self.pages: list[Side] = []
        """Different pages, the positives first."""
        self.positive = [self._number(row.positive, numbers, self.pages) for row in rows]
        """The page of each row."""
        for side in corpus:
            self._number(side, numbers, self.pages)
        asked: dict[tuple[str, str], int] = {}
        self.queries: list[Side] = []
        """Different queries."""
        self.query = [self._number(row.query, asked, self.queries) for row in rows]
        """The query of each row."""
        self.numbers = numbers

    def key(self, side: Side) -> tuple[str, str]:
        """What two sides with the same content agree in."""
        return normalise(side.text) or side.text, self._pictures.of(side.image)

    def _number(self, side: Side, numbers: dict[tuple[str, str], int], sides: list[Side]) -> int:
        number = numbers.setdefault(self.key(side), len(sides))
        if number == len(sides):
            sides.append(side)
        return number


def _blocks(
    sides: Sequence[Side], size: int, shown_as: str, show_progress: bool
) -> Iterator[tuple[int, list[Input]]]:
    """Number of the first side and what an encoder takes of some, under a progress bar."""
    with tqdm(total=len(sides), desc=shown_as, disable=not show_progress) as bar:
        for start in range(0, len(sides), size):
            loaded = [side.load() for side in sides[start : start + size]]
            yield start, loaded
            bar.update(len(loaded))


class _Miner:
    """Ranks pages for queries and remembers what each row gets."""

    def __init__(
        self, rows: TrainingSet, pool: _Pool, settings: MiningSettings, pages: Quantized
    ) -> None:
        self._rows, self._pool, self._settings, self._pages = rows, pool, settings, pages
        self._rows_of: list[list[int]] = [[] for _ in pool.queries]
        self._own: list[set[int]] = [set() for _ in pool.queries]
        for row, (query, page) in enumerate(zip(pool.query, pool.positive, strict=True)):
            self._rows_of[query].append(row)
            self._own[query].add(page)
        self._mined: dict[int, list[Side]] = {}
        self._too_near = 0

    def rank(self, start: int, vectors: NDArray[np.float32], budget: RetrievalBudget) -> None:
        """Choose the negatives of the queries from ``start`` on."""
        scores = exhaustive_scores(vectors, self._pages, budget)  # (queries, pages)
        for query, row_scores in enumerate(scores, start):
            best = self._best(row_scores, self._own[query])
            for row in self._rows_of[query]:
                self._mined[row] = self._choose(row, row_scores, best)

    def _best(self, scores: NDArray[np.float32], own: set[int]) -> list[int]:
        """The ``depth`` best pages that are no positive of the query, best first."""
        count = min(len(scores), self._settings.depth + len(own))
        top = np.argpartition(-scores, count - 1)[:count]
        ranked = top[np.lexsort((top, -scores[top]))].tolist()
        return [page for page in ranked if page not in own][: self._settings.depth]

    def _choose(self, row: int, scores: NDArray[np.float32], best: list[int]) -> list[Side]:
        positive = float(scores[self._pool.positive[row]])
        # Also right where the positive's score is negative.
        limit = positive - (1 - self._settings.margin) * abs(positive)
        held = {self._pool.numbers.get(self._pool.key(s)) for s in self._rows[row].negatives}
        far = [page for page in best if scores[page] < limit]
        self._too_near += len(best) - len(far)
        new = [page for page in far if page not in held][self._settings.skip :]
        return [self._pool.pages[page] for page in new[: self._settings.negatives]]

    def examples(self) -> list[Example]:
        """All rows, with what they had and what was mined."""
        return [
            replace(row, negatives=row.negatives + tuple(self._mined[at]))
            for at, row in enumerate(self._rows)
        ]

    def report(self) -> MiningReport:
        counts = [len(self._mined[at]) for at in range(len(self._rows))]
        return MiningReport(
            examples=len(self._rows),
            pages=len(self._pool.pages),
            mined=sum(counts),
            kept=sum(len(row.negatives) for row in self._rows),
            too_near=self._too_near,
            fewer=sum(count < self._settings.negatives for count in counts),
            none=counts.count(0),
        )
