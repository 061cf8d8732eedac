"""What a search answers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.pages import Page


@dataclass(frozen=True)
class Hit:
    """A page that a search found.

    Attributes:
        rank: Counts from 1.
        score: MaxSim / r_q, in [-1, 1], so that a threshold means the same at every budget.
        page: The page, its picture as ``image_path``.
    """

    rank: int
    score: float
    page: Page


class Hits(list[Hit]):
    """Hits of one query, best first: a list that remembers how it was made.

    Attributes:
        query: Text, image or both; None for a search by vectors.
        budget: The budget of the scores.
        seconds: Wall time, the query's encoding included.
    """

    def __init__(
        self, hits: Iterable[Hit], query: Any, budget: RetrievalBudget, seconds: float
    ) -> None:
        super().__init__(hits)
        self.query = query
        self.budget = budget
        self.seconds = seconds

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of ``metaembed search --json``; ``page`` counts from 1."""
        return {
            "query": describe_query(self.query),
            "budget": [self.budget.r_q, self.budget.r_c],
            "seconds": round(self.seconds, 6),
            "hits": [
                {
                    "rank": hit.rank,
                    "score": round(hit.score, 6),
                    "id": hit.page.id,
                    "source": hit.page.source,
                    "page": hit.page.number,
                    "text": hit.page.text,
                    "image": hit.page.image_path,
                }
                for hit in self
            ],
        }


def describe_query(query: Any) -> str | None:
    """The text of a query, or a note that it was an image."""
    if query is None or isinstance(query, str):
        return query
    if isinstance(query, dict):
        parts = [query.get("text") or "", "[image]" if query.get("image") is not None else ""]
        return " ".join(part for part in parts if part)
    return "[image]"
