"""What the adapters of both frameworks share: options, pictures, vectors, a page as fields."""

from __future__ import annotations

import asyncio
import contextvars
import json
import mimetypes
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, get_type_hints

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, create_model

from metaembed_rag.budget import BudgetLike, RetrievalBudget
from metaembed_rag.hits import Hits
from metaembed_rag.model.base import Encoder
from metaembed_rag.model.inputs import Input
from metaembed_rag.options import SCORING_KEYWORDS, SearchOptions
from metaembed_rag.pages import Page
from metaembed_rag.pages.pictures import picture_of
from metaembed_rag.pages.uploads import Source

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")

_SEARCH_THREADS = ThreadPoolExecutor(2, thread_name_prefix="metaembed-search")
"""Python runs one thread at a time, and each may keep the others waiting for 5 ms or more: with the
six threads of asyncio's own pool, 32 searches at once kept an event loop waiting for 37 to 138 ms
and took 1.34 s, with two threads 21 to 28 ms and 1.62 s, in sequence 2.11 s
(``benchmarks/search/async_retrieval.py``, 1,000 pages, 2 cores)."""

ImageLike = Source | Image.Image
"""A path, bytes, an open file (an upload, too) or a PIL image."""


async def in_search_thread(
    search: Callable[_Parameters, _Result], *args: _Parameters.args, **kwargs: _Parameters.kwargs
) -> _Result:
    """Run a search as ``asyncio.to_thread`` would, at most two at a time in the process.

    For what ends soon; indexing would keep searches waiting.
    """
    call = partial(contextvars.copy_context().run, search, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(_SEARCH_THREADS, call)


if TYPE_CHECKING:

    class SearchFields(BaseModel):
        """What :class:`metaembed_rag.options.ScoringKeywords` names, each None by default."""

        def __getattr__(self, name: str) -> Any: ...

else:
    _HINTS = get_type_hints(SearchOptions)
    SearchFields = create_model(
        "SearchFields",
        __config__=ConfigDict(arbitrary_types_allowed=True),
        **{n: (_HINTS[n], False if n == "exhaustive" else None) for n in SCORING_KEYWORDS},
    )
    """A pydantic class for frameworks' classes to inherit, so that the list stands once."""


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
    """Ordered unit vectors of queries: texts, PIL images, or both under "text" and "image".

    Returns:
        float32, shape (queries, r_q, D); all vectors of each without a budget.
    """
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
    return picture_of(value)


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
