"""What clients ask, as they send it."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from metaembed_rag.errors import ServerError
from metaembed_rag.options import SEARCH_KEYWORDS, SearchKeywords

MOST_CHARACTERS = 20_000
"""Of a query: more than any model here reads."""
MOST_HITS = 200


def _listed(value: Any) -> Any:
    """One name as a list of one."""
    return [value] if isinstance(value, str) else value


def _from_text(value: Any) -> Any:
    """A field of a form, which is always text, as the JSON that it is; any other text as it is."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


Budget = Annotated[
    str | tuple[int, int],
    BeforeValidator(_from_text),
    Field(description='[r_q, r_c], "4,8", "fast", "balanced", "full", or "auto"'),
]
Hybrid = Annotated[
    bool | float | Literal["auto", "minmax", "rrf"],
    BeforeValidator(_from_text),
    Field(description='whether words count: true, false, "auto", "minmax", "rrf" or their weight'),
]
Where = Annotated[
    dict[str, Any],
    BeforeValidator(_from_text),
    Field(description='a filter such as {"year": {"$gte": 2020}}; no regular expressions'),
]
Sources = Annotated[
    list[str],
    BeforeValidator(_listed),
    Field(max_length=1_000, description="only pages of these files"),
]


class Question(BaseModel):
    """A question and its budget."""

    model_config = ConfigDict(extra="forbid")

    query: str = Field(default="", max_length=MOST_CHARACTERS)
    budget: Budget | None = None
    r_q: int | None = Field(
        default=None, ge=1, description="query vectors, instead of the budget's"
    )
    r_c: int | None = Field(default=None, ge=1, description="page vectors, instead of the budget's")


class SearchRequest(Question):
    """A search with every option of ``PageIndex.search``.

    As a form (multipart) it may have a picture, ``image``; ``where`` and the like are JSON there.
    """

    k: int = Field(default=5, ge=1, le=MOST_HITS)
    where: Where | None = None
    source: Sources = Field(default_factory=list)
    candidates: int | None = Field(default=None, ge=1)
    exhaustive: bool = False
    hybrid: Hybrid | None = None
    max_ms: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    min_recall: float | None = Field(default=None, gt=0, le=1)
    min_confidence: float | None = Field(default=None, ge=0, le=1)
    snippets: bool | None = Field(default=None, description="which passage of each hit matched")

    def keywords(self, where: Any) -> SearchKeywords:
        """For ``PageIndex.search``, with the filter as the index takes it.

        Raises:
            ServerError: One that this version of the index does not have.
        """
        given = self.model_dump(exclude={"query", "k", "source", "where"})
        for name in given.keys() - set(SEARCH_KEYWORDS):
            if given.pop(name) is not None:
                raise ServerError(f"{name}: this version of the index does not have it; update it")
        return {**given, "where": where}  # type: ignore[typeddict-item]


class ExplainRequest(Question):
    """Why a page has its score for a question."""

    id: str = Field(description="of the page, as a search names it")
    hybrid: Hybrid | None = Field(default=None, description="false where words did not count")
