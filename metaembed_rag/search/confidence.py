"""Whether a hit is a match at all: its score against what unrelated questions score in the index.

A score says which page is better, not whether it is good: what the best page scores for a question
about something else differs from index to index, from budget to budget and from model to model. So
:func:`metaembed_rag.search.asking.ask_unrelated` asks an index questions that have no answer in it,
and keeps how high their best pages score. The confidence of a hit is the share of such questions
whose best page scores less.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.errors import BudgetError
from metaembed_rag.hits import Hit

WORD_WEIGHT = 0.4
"""What the share of a query's words that a page has counts beside MaxSim / r_q."""

_SHARES = tuple(number / 20 for number in range(17))
"""The shares of unrelated questions whose scores are kept: 0 to 0.8. Questions that do belong to
the index after all are among the others."""
_HALF = 10
"""The place of 0.5 in them."""
_TAIL = math.log(math.log(2) / math.log(1 / _SHARES[-1]))
"""Between 0.5 and 0.8, the width of a Gumbel distribution (of maxima) over its scale."""


@cache
def unrelated_questions() -> tuple[str, ...]:
    """Everyday questions and keywords about cooking, pets, travel and the like, in English."""
    text = resources.files("metaembed_rag.search").joinpath("unrelated.txt").read_text("utf-8")
    return tuple(line for line in text.splitlines() if line)


def evidence(score: float, found: float) -> float:
    """What a hybrid hit is compared by.

    Args:
        score: MaxSim / r_q.
        found: How much of the query's words and pairs the page has, in [0, 3).
    """
    return score + WORD_WEIGHT * found


@dataclass(frozen=True)
class Unrelated:
    """What the best pages of unrelated questions score.

    Attributes:
        questions: How many were asked.
        vectors: By r_q and r_c, each with each, scores that 0, 5, …, 80 % of them stay below:
            MaxSim / r_q.
        words: The same of :func:`evidence`; empty where words cannot count.
    """

    questions: int
    vectors: Mapping[tuple[int, int], tuple[float, ...]]
    words: Mapping[tuple[int, int], tuple[float, ...]]

    @classmethod
    def of(
        cls,
        vectors: Mapping[tuple[int, int], Sequence[float]],
        words: Mapping[tuple[int, int], Sequence[float]],
    ) -> Unrelated:
        """From the scores of the best pages, one a question, at each budget."""
        both = ({size: _kept(scores) for size, scores in of.items()} for of in (vectors, words))
        return cls(len(next(iter(vectors.values()))), *both)

    def confidence(
        self, budget: RetrievalBudget, score: float, found: float | None = None
    ) -> float | None:
        """The share of unrelated questions whose best page scores less, in [0, 1].

        Beyond the 0.8 that are kept the scores are taken to fall off as those of maxima do (the
        exponential tail of a Gumbel distribution), so it comes near 1 and never reaches it.

        Args:
            budget: Of the score; between the budgets that were measured, values in between.
            score: MaxSim / r_q.
            found: How much of the query's words the page has, of a hybrid hit.

        Returns:
            None where words count now and could not when this was measured.
        """
        if found is None:
            return _share_below(score, _at(self.vectors, budget))
        if not self.words:
            return None
        return _share_below(evidence(score, found), _at(self.words, budget))

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "questions": self.questions,
            "vectors": [[*size, list(scores)] for size, scores in self.vectors.items()],
            "words": [[*size, list(scores)] for size, scores in self.words.items()],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Unrelated:
        """Read what :meth:`to_dict` wrote.

        Raises:
            ValueError: It did not write this.
        """
        try:
            both = (
                {(int(r_q), int(r_c)): _checked(scores) for r_q, r_c, scores in data[name]}
                for name in ("vectors", "words")
            )
            found = cls(int(data["questions"]), *both)
            if not found.vectors or not all(map(_is_grid, (found.vectors, found.words))):
                raise ValueError("budgets are missing")
            return found
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"these are no scores of unrelated questions: {error}") from error


def confidence_of(
    scale: Unrelated | None, budget: RetrievalBudget, score: float, found: float | None = None
) -> float | None:
    """:meth:`Unrelated.confidence`, or None where nothing was measured."""
    return None if scale is None else scale.confidence(budget, score, found)


def check_measured(scale: Unrelated | None, least: float | None) -> None:
    """Refuse to ask for a confidence that cannot be known.

    Raises:
        BudgetError: Nobody has calibrated the index.
    """
    if least is not None and scale is None:
        raise BudgetError(
            "min_confidence needs to know what unrelated questions score in this index: run "
            "`metaembed calibrate --index …`, or index.calibrate()"
        )


def sure_enough(hits: Sequence[Hit], least: float | None) -> tuple[list[Hit], str]:
    """The hits of a confidence of at least this, and what to say where there are none.

    A hit whose confidence is not known is kept: that is no sign that its page is wrong.
    """
    if least is None:
        return list(hits), ""
    kept = [hit for hit in hits if hit.confidence is None or hit.confidence >= least]
    if kept or not hits:
        return kept, ""
    best = max(hit.confidence or 0.0 for hit in hits)
    return kept, f"no page is a good match: the best has a confidence of {best:.2f}"


def _kept(scores: Sequence[float]) -> tuple[float, ...]:
    quantiles = np.quantile(np.asarray(scores, dtype=np.float64), _SHARES)
    return tuple(round(float(one), 6) for one in quantiles)


def _checked(scores: Sequence[float]) -> tuple[float, ...]:
    found = tuple(float(one) for one in scores)
    if len(found) != len(_SHARES) or not all(map(math.isfinite, found)):
        raise ValueError(f"{len(_SHARES)} finite numbers are wanted, not {found}")
    return found


def _is_grid(measured: Mapping[tuple[int, int], object]) -> bool:
    """Whether each r_q stands with each r_c."""
    r_qs, r_cs = ({size[side] for size in measured} for side in (0, 1))
    return len(measured) == len(r_qs) * len(r_cs)


def _at(
    measured: Mapping[tuple[int, int], tuple[float, ...]], budget: RetrievalBudget
) -> NDArray[np.float64]:
    """The scores at a budget, between the measured ones by the logarithms of both sides."""
    sides = [sorted({size[side] for size in measured}) for side in (0, 1)]
    (low_q, high_q, part_q), (low_c, high_c, part_c) = (
        _between(sizes, wanted)
        for sizes, wanted in zip(sides, (budget.r_q, budget.r_c), strict=True)
    )
    corners = (
        ((1 - part_q) * (1 - part_c), (low_q, low_c)),
        ((1 - part_q) * part_c, (low_q, high_c)),
        (part_q * (1 - part_c), (high_q, low_c)),
        (part_q * part_c, (high_q, high_c)),
    )
    scores = np.zeros(len(_SHARES), dtype=np.float64)
    for part, size in corners:
        scores += part * np.array(measured[size])
    return scores


def _between(sizes: Sequence[int], wanted: int) -> tuple[int, int, float]:
    """The nearest sizes, and how far the wanted one is from the lower to the higher."""
    low = max((size for size in sizes if size <= wanted), default=sizes[0])
    high = min((size for size in sizes if size >= wanted), default=sizes[-1])
    part = 0.0 if low == high else math.log(wanted / low) / math.log(high / low)
    return low, high, min(1.0, max(0.0, part))


def _share_below(score: float, kept: NDArray[np.float64]) -> float:
    last = float(kept[-1])
    if score <= last:
        return float(np.interp(score, kept, _SHARES, left=0.0))
    scale = max((last - float(kept[_HALF])) / _TAIL, 1e-9)
    return 1 - (1 - _SHARES[-1]) * math.exp(-(score - last) / scale)
