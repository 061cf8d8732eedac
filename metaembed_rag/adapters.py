"""What the adapters of both frameworks share: budgets, pictures, vectors, a page as fields."""

from __future__ import annotations

import asyncio
import contextvars
import io
import json
import mimetypes
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from metaembed_rag.budget import BudgetLike, RetrievalBudget, is_auto, parse_or_auto
from metaembed_rag.errors import BudgetError, UnreadableFileError
from metaembed_rag.hits import Hits
from metaembed_rag.model.base import Encoder
from metaembed_rag.model.inputs import Input
from metaembed_rag.pages import Page
from metaembed_rag.pages.pictures import DAMAGE, FORMATS, to_rgb
from metaembed_rag.store.chroma import normalize_where

if TYPE_CHECKING:
    from metaembed_rag.index import PageIndex

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")

_SEARCH_THREADS = ThreadPoolExecutor(2, thread_name_prefix="metaembed-search")
"""Python runs one thread at a time, and each may keep the others waiting for 5 ms or more: with the
six threads of asyncio's own pool, 32 searches at once kept an event loop waiting for 37 to 138 ms
and took 1.34 s, with two threads 21 to 28 ms and 1.62 s, in sequence 2.11 s
(``benchmarks/search/async_retrieval.py``, 1,000 pages, 2 cores)."""

ImageLike = str | Path | bytes | io.BytesIO | Image.Image
"""A path, bytes, an open file or a PIL image."""


async def in_search_thread(
    search: Callable[_Parameters, _Result], *args: _Parameters.args, **kwargs: _Parameters.kwargs
) -> _Result:
    """Run a search as ``asyncio.to_thread`` would, at most two at a time in the process.

    For what ends soon; indexing would keep searches waiting.
    """
    call = partial(contextvars.copy_context().run, search, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(_SEARCH_THREADS, call)


@dataclass(frozen=True)
class BudgetChoice:
    """A budget as somebody asked for it; None where they left it to those below.

    Args:
        budget: Both sides, or ``"auto"``.
        r_q: Query vectors, instead of the budget's.
        r_c: Page vectors, instead of the budget's.
        max_ms: Milliseconds that a search may take; with ``"auto"``, which it asks for.
        min_recall: Share of the exact top k to be found; likewise.

    Raises:
        BudgetError: Limits beside a budget that is fixed, or no budget.
    """

    budget: BudgetLike | None = None
    r_q: int | None = None
    r_c: int | None = None
    max_ms: float | None = None
    min_recall: float | None = None

    def __post_init__(self) -> None:
        fixed = parse_or_auto(self.budget) is not None and not self._is_auto
        if self._limits and (fixed or self._sides):
            raise BudgetError(
                "max_ms and min_recall choose the budget: leave out r_q and r_c, and ask for "
                '"auto" or name no budget'
            )

    @property
    def _is_auto(self) -> bool:
        """Whether this choice says so, and not the environment."""
        return self.budget is not None and is_auto(self.budget)

    @property
    def _sides(self) -> dict[str, int]:
        sides = {"r_q": self.r_q, "r_c": self.r_c}
        return {name: side for name, side in sides.items() if side is not None}

    @property
    def _limits(self) -> dict[str, float]:
        limits = {"max_ms": self.max_ms, "min_recall": self.min_recall}
        return {name: limit for name, limit in limits.items() if limit is not None}

    def over(self, below: BudgetChoice) -> BudgetChoice:
        """This choice where one was made, and ``below`` where none was.

        A whole budget takes the place of all that is below; ``"auto"`` and a limit keep the limits
        there that they do not name.

        Raises:
            BudgetError: The two exclude each other: one side here, a limit below.
        """
        if self._limits or self._is_auto:
            below = BudgetChoice(max_ms=below.max_ms, min_recall=below.min_recall)
        elif self.budget is not None or len(self._sides) == 2:
            below = BudgetChoice()
        made = {name: value for name, value in vars(self).items() if value is not None}
        return replace(below, **made)

    def keywords(self, index: PageIndex) -> dict[str, Any]:
        """Of a search: the budget, and the limits that there are.

        Raises:
            BudgetError: One side of ``"auto"``.
        """
        if not self._sides:
            return {"budget": self.budget, **self._limits}
        return {"budget": replace(self._base(index), **self._sides)}

    def _base(self, index: PageIndex) -> RetrievalBudget:
        """What the sides change."""
        if self.budget is not None:
            return RetrievalBudget.parse(self.budget)
        if len(self._sides) == 2:
            return RetrievalBudget(**self._sides)
        stored = (index.encoder.query_vectors, index.vectors_per_page)
        return RetrievalBudget.default() or RetrievalBudget(*stored)

    def fixed(self, below: RetrievalBudget) -> RetrievalBudget:
        """The budget where no calibration can choose: ``below`` in place of ``"auto"``."""
        named = below if self.budget is None or self._is_auto else self.budget
        return replace(RetrievalBudget.parse(named), **self._sides)


PLAN = "retrieval_plan"
"""In the metadata of what ``budget="auto"`` found: the plan that was chosen, as JSON."""


def plan_fields(hits: Hits) -> dict[str, str]:
    """:data:`PLAN` where the calibration chose the budget; nothing for any other search.

    It is :meth:`metaembed_rag.hits.SearchPlan.to_dict` and the ``budget``, in one text because
    vector stores want flat metadata.
    """
    if hits.plan is None or hits.plan.way != "auto":
        return {}
    budget = [hits.budget.r_q, hits.budget.r_c]
    return {PLAN: json.dumps({"budget": budget, **hits.plan.to_dict()})}


def query_vectors(
    encoder: Encoder, queries: Sequence[Input], batch_size: int, budget: BudgetLike | None
) -> NDArray[np.float32]:
    """Ordered unit vectors of queries, float32 of shape (queries, r_q, D); all without a budget."""
    vectors = encoder.encode_query(queries, batch_size=batch_size)
    return vectors if budget is None else vectors[:, : RetrievalBudget.parse(budget).r_q]


def document_vectors(
    encoder: Encoder, documents: Sequence[Input], batch_size: int, budget: BudgetLike | None
) -> NDArray[np.float32]:
    """Ordered unit vectors of documents, float32 of shape (documents, r_c, D)."""
    vectors = encoder.encode_document(documents, batch_size=batch_size)
    return vectors if budget is None else vectors[:, : RetrievalBudget.parse(budget).r_c]


def open_image(value: ImageLike) -> Image.Image:
    """An image as users give it, as RGB and the right way up.

    Raises:
        UnreadableFileError: It is missing, damaged or of another format.
    """
    if isinstance(value, Image.Image):
        return to_rgb(value)
    try:
        file = io.BytesIO(value) if isinstance(value, bytes) else value
        with Image.open(file, formats=FORMATS) as image:
            return to_rgb(ImageOps.exif_transpose(image))
    except (*DAMAGE, Image.DecompressionBombError) as error:
        name = str(value) if isinstance(value, str | Path) else "an image given as bytes"
        raise UnreadableFileError(name, f"cannot be opened as a picture ({error})") from error


def page_fields(page: Page, score: float | None = None) -> dict[str, Any]:
    """A page as the flat metadata of a framework's document.

    The page's own metadata, then ``source``, ``page`` (counts from 1), ``content_hash`` and, where
    known, ``page_count``, ``image_path``, ``mime_type`` of the picture, ``text_from_ocr`` and
    ``score``. One of the page's own that has such a name is renamed to ``user_<name>``.
    """
    path = page.image_path
    ours: dict[str, Any] = {
        "source": page.source,
        "page": page.number,
        "page_count": page.page_count,
        "content_hash": page.content_hash(),
        "image_path": path,
        "mime_type": None if path is None else mimetypes.guess_type(path)[0],
        "text_from_ocr": page.text_from_ocr or None,
        "score": score,
    }
    theirs = {f"user_{key}" if key in ours else key: value for key, value in page.metadata.items()}
    return theirs | {key: value for key, value in ours.items() if value is not None}


def both_filters(
    one: Mapping[str, Any] | None, other: Mapping[str, Any] | None
) -> dict[str, Any] | None:
    """A Chroma filter that a page passes when it passes both; None passes every page."""
    first, second = normalize_where(one), normalize_where(other)
    return {"$and": [first, second]} if first and second else first or second
