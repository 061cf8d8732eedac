"""What all tools share that give pages to agents, in both frameworks and by MCP."""

from __future__ import annotations

from typing import TypedDict

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from metaembed_rag.pages.sending import PictureLimits

TOOL_NAME = "search_pages"
TOOL_DESCRIPTION = (
    "Search the pages of the user's documents (PDFs, charts, photos, notes) and look at them: "
    "gives the text and the picture of each page that may answer, best first."
)
NOTHING_FOUND = "No page was found."
MOST_PAGES = 20
"""How many pages an agent may ask for at a time: each costs a model about a thousand tokens."""

QUERY = "What to look for, in a sentence or a few words."
BUDGET = (
    'How finely pages are compared: "fast", "balanced", "full", or two numbers such as "4,8" (that '
    "many vectors of the query and of each page). Leave it out unless the user asks for it."
)
PAGES = "How many pages to give."
"""What a model is told of each argument."""


class PictureKeywords(TypedDict, total=False):
    """How large the pictures of one call may be, as in :class:`.PictureLimits`.

    Attributes:
        max_bytes: All of them, in characters of base64; 10,000,000 by default.
        max_bytes_each: One of them; 3,500,000 by default.
        max_side: Longest side in pixels; any by default.
    """

    max_bytes: int
    max_bytes_each: int
    max_side: int | None


class QueryArguments(BaseModel):
    """What a model says to a tool that has one argument."""

    model_config = ConfigDict(extra="forbid")

    query: str = Field(min_length=1, description=QUERY)


class PageArguments(QueryArguments):
    """What a model says to a tool over a retriever that can be asked at a budget."""

    budget: str | None = Field(None, description=BUDGET)
    k: int | None = Field(None, ge=1, le=MOST_PAGES, description=PAGES)


def chosen(budget: str | None, k: int | None) -> dict[str, str | int]:
    """The keywords of a search that a model chose; the others stay as they are elsewhere said.

    Args:
        budget: As the model writes it; models also write ``""`` for nothing.
        k: Number of pages.
    """
    found: dict[str, str | int] = {}
    if budget and budget.strip():
        found["budget"] = budget
    if k is not None:
        found["k"] = k
    return found


def wrong_arguments(error: ValidationError) -> str:
    """What a model is told whose call does not have the arguments of a tool."""
    return "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())


def picture_limits(keywords: PictureKeywords) -> PictureLimits:
    """The limits that keywords name, over the usual ones.

    Raises:
        ValueError: A limit makes no sense.
        TypeError: Another keyword.
    """
    return PictureLimits(**keywords)
