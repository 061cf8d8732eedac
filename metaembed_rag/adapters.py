"""What the adapters of both frameworks share: options, pictures, vectors, a page as fields."""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import mimetypes
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeGuard, TypeVar, get_type_hints

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, create_model

from metaembed_rag.budget import BudgetLike, RetrievalBudget
from metaembed_rag.errors import MissingExtraError
from metaembed_rag.federation.federated import FederatedIndex
from metaembed_rag.hits import Hit, Hits, shown_confidence
from metaembed_rag.index import PageIndex
from metaembed_rag.ingest import AddReport
from metaembed_rag.metadata.fields import Facts, shown_fields
from metaembed_rag.model.inputs import Input, as_inputs, read_page
from metaembed_rag.model.protocol import Encoder, checked_vectors, warn_of_unread
from metaembed_rag.opening import load_encoder
from metaembed_rag.options import SCORING_KEYWORDS, SearchOptions
from metaembed_rag.pages import Ocr, Page
from metaembed_rag.pages.uploads import Source
from metaembed_rag.reopening import NamedModel, portable
from metaembed_rag.store.ocr_texts import ocr_text

_log = logging.getLogger(__name__)

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


_search_threads = ThreadPoolExecutor(2, thread_name_prefix="metaembed-search")
"""Python runs one thread at a time, and each may keep the others waiting for 5 ms or more: with the
six threads of asyncio's own pool, 32 searches at once kept an event loop waiting for 37 to 138 ms
and took 1.34 s, with two threads 21 to 28 ms and 1.62 s, in sequence 2.11 s
(``benchmarks/search/async_retrieval.py``, 1,000 pages, 2 cores)."""

SearchedIndex = PageIndex | FederatedIndex
"""What retrievers search."""

ImageLike = Source | Image.Image
"""A path, bytes, an open file (an upload, too) or a PIL image."""


async def in_search_thread(
    search: Callable[_Parameters, _Result], *args: _Parameters.args, **kwargs: _Parameters.kwargs
) -> _Result:
    """Run a search as ``asyncio.to_thread`` would, at most two at a time in the process.

    For what ends soon; indexing would keep searches waiting.
    """
    call = partial(contextvars.copy_context().run, search, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(_search_threads, call)


def _renew_search_threads() -> None:
    """In a forked child, where the threads are not that a pool from before would wait for."""
    global _search_threads
    _search_threads = ThreadPoolExecutor(2, thread_name_prefix="metaembed-search")


if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork either
    os.register_at_fork(after_in_child=_renew_search_threads)


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


PAGE_ID = "page_id"
"""In the metadata of what is found and loaded: names a page, the same in every search. Frameworks
that join the results of several retrievers compare metadata and seldom ids."""
SCORE = "score"
TEXT_FROM = "text_from"
"""In the metadata of a page of a picture: what its text was made from, ``"file name, exif, ocr"``.
"""
PLAN = "retrieval_plan"
"""In the metadata of what ``budget="auto"`` found: the plan that was chosen, as JSON."""
MAXSIM, BM25 = "maxsim_score", "bm25_score"
"""In the metadata of what a hybrid search found: MaxSim / r_q and BM25, which were fused."""
CONFIDENCE = "confidence"
"""In the metadata of what a calibrated index found: :attr:`metaembed_rag.hits.Hit.confidence`."""
SNIPPET = "snippet"
"""In the metadata of what was found with ``snippets=True``: the passage that matched."""
SHARD = "shard"
"""In the metadata of what a federated search found: the name of the index that the page is in."""
MISSING = "missing_shards"
"""In the metadata of what a federated search found without some of its shards: which, and why."""
OF_ONE_SEARCH = frozenset(
    {SCORE, MAXSIM, BM25, CONFIDENCE, PLAN, SNIPPET, SHARD, MISSING}
    | {"relevance_score", "retrieval_score"}
)
"""Metadata that differ from search to search, and so do not tell one page from another."""


def search_fields(hits: Hits, hit: Hit) -> dict[str, Any]:
    """What a search says of a hit in its metadata.

    Both scores of a hybrid one, how sure it is, the passage that matched where it was asked for,
    of a federated one the shard and those that are missing, and the plan.
    """
    missing = "; ".join(f"{one.shard}: {one.reason}" for one in hits.missing)
    told = {MAXSIM: hit.maxsim, BM25: hit.bm25, CONFIDENCE: hit.confidence, SNIPPET: hit.snippet}
    told |= {SHARD: hit.shard, MISSING: missing or None}
    return {name: one for name, one in told.items() if one is not None} | plan_fields(hits)


def most_vectors(index: SearchedIndex) -> RetrievalBudget:
    """The largest budget that an index can give."""
    if isinstance(index, FederatedIndex):
        return RetrievalBudget(index.query_vectors, index.vectors_per_page)
    return RetrievalBudget(index.encoder.query_vectors, index.vectors_per_page)


def model_name(index: SearchedIndex) -> str:
    """The name of the model that made an index."""
    return index.model if isinstance(index, FederatedIndex) else index.encoder.name


def said_confidence(metadata: Mapping[str, Any]) -> str:
    """What a model is told behind the name of a page; nothing where no calibration says it."""
    sure = metadata.get(CONFIDENCE)
    if not isinstance(sure, float) or not 0 <= sure <= 1:
        return ""
    return f", confidence {shown_confidence(sure)}"


def plan_fields(hits: Hits) -> dict[str, str]:
    """:data:`PLAN` where the calibration chose the budget; nothing for any other search.

    It is :meth:`metaembed_rag.hits.SearchPlan.to_dict` and the ``budget``, in one text because
    vector stores want flat metadata.
    """
    if hits.plan is None or hits.plan.way != "auto":
        return {}
    budget = [hits.budget.r_q, hits.budget.r_c]
    return {PLAN: json.dumps({"budget": budget, **hits.plan.to_dict()})}


def trace_fields(hits: Hits) -> dict[str, Any]:
    """What a trace says of a search: the budget that ranked, the plan, the milliseconds.

    ``budget`` is a pair of whole numbers; ``plan`` is :meth:`.SearchPlan.to_dict`, empty where
    nothing had to be searched; ``ms`` is wall time, the query's encoding included; ``scoring`` is
    ``"maxsim"`` or ``"hybrid"``. All of it is JSON.
    """
    return {
        "budget": [hits.budget.r_q, hits.budget.r_c],
        "plan": {} if hits.plan is None else hits.plan.to_dict(),
        "ms": round(hits.seconds * 1000, 3),
        "scoring": hits.scoring,
    }


class LazyEncoder:
    """A model that was given, or is loaded by its name when it is first needed.

    Deep copies share it. A pickle holds what loads it again, where its name does, and the model
    itself of any other package's.

    Args:
        given: The model; None to load it.
    """

    def __init__(self, given: Encoder | None) -> None:
        self._model: Encoder | NamedModel | None = given

    @property
    def given(self) -> Encoder | None:
        """The model, if it is there."""
        return self.load("") if self._model is not None else None

    def load(self, name: str) -> Encoder:
        """The model; ``name`` loads it where none was given.

        Raises:
            ModelMismatchError: It was unpickled, and its name loads another model here.
        """
        if self._model is None:
            self._model = load_encoder(name)
        elif isinstance(self._model, NamedModel):
            self._model = self._model.load(None)
        return self._model

    def __getstate__(self) -> dict[str, Any]:
        model = self._model
        return {"_model": model if isinstance(model, NamedModel) else portable(model)}

    def __deepcopy__(self, memo: dict[int, Any]) -> LazyEncoder:
        return LazyEncoder(self.given)


def query_vectors(
    encoder: Encoder, queries: Sequence[Input], batch_size: int, budget: BudgetLike | None
) -> NDArray[np.float32]:
    """Ordered unit vectors of queries: texts, PIL images, or both under "text" and "image".

    Returns:
        float32, shape (queries, r_q, D); all vectors of each without a budget.

    Raises:
        ModelError: The encoder does not give what it announces; it says of which query.
    """
    made = encoder.encode_query(queries, batch_size=batch_size)
    vectors = checked_vectors(encoder, "query", made, len(as_inputs(queries)))
    return vectors if budget is None else vectors[:, : RetrievalBudget.parse(budget).r_q]


def document_vectors(
    encoder: Encoder, documents: Sequence[Input], batch_size: int, budget: BudgetLike | None
) -> NDArray[np.float32]:
    """Ordered unit vectors of documents, float32 of shape (documents, r_c, D).

    Of texts that are longer than what the encoder reads a warning is logged.

    Raises:
        ModelError: The encoder does not give what it announces; it says of which document.
    """
    warn_of_unread(encoder, documents)
    made = encoder.encode_document(documents, batch_size=batch_size)
    vectors = checked_vectors(encoder, "document", made, len(as_inputs(documents)))
    return vectors if budget is None else vectors[:, : RetrievalBudget.parse(budget).r_c]


def embeddable(texts: Iterable[str]) -> list[str]:
    """Texts of documents as a model takes them: a full stop for each that is blank.

    Frameworks embed whole batches, and one blank page would otherwise refuse all of its batch.
    """
    return [text if text.strip() else _BLANK for text in texts]


OCR_TEXTS = "ocr"
"""Folder of texts that were read, in that of a loader's pictures."""
_BLANK = "."


def with_text(page: Page, ocr: Ocr, kept: Path) -> Page:
    """The page as an index of a model that reads text has it: with the text of its picture.

    Other stores refuse documents without text, or never find them. A page with nothing to read
    stays as it is; so does every page where OCR is not installed, which is logged once.

    Args:
        page: As it was loaded, with its picture in memory.
        ocr: Which pictures are read; see :func:`metaembed_rag.model.inputs.read_page`.
        kept: Folder of texts that were read, so that no picture is read twice.

    Raises:
        MissingExtraError: ``ocr`` is ``"always"`` and the extra ``ocr`` is not installed.
    """
    try:
        return read_page(page, ocr, reader=partial(ocr_text, cache_dir=kept))
    except MissingExtraError as error:
        if ocr == "always":
            raise
        _warn_once(f"pictures are not read, so documents of pictures have no text: {error}")
        return page


@cache
def _warn_once(message: str) -> None:
    _log.warning(message)


def warn_of_incomplete(report: AddReport) -> None:
    """Log a warning for each page that is stored without all that it shows, or without its end.

    Frameworks hand on no report.
    """
    for note in report.notes:
        _log.warning("%s", note)
    for id, tokens in report.cut.items():
        _log.warning("%s is too long: %s tokens at its end were not read", id, f"{tokens:,}")


def is_page_number(value: Any) -> TypeGuard[int]:
    """Whether a framework's metadata mean a page by ``page``: pages count from 1."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def text_from_of(page: Page, given: Any) -> Any:
    """:data:`TEXT_FROM` of a page that was made of a framework's document, now that OCR read it.

    Args:
        page: As the index has it.
        given: What the document said.
    """
    if not page.text_from_ocr or not isinstance(given, str) or not given:
        return given if given is not None else page.text_from or None
    return given if "ocr" in given.split(", ") else f"{given}, ocr"


def page_fields(page: Page, score: float | None = None) -> dict[str, Any]:
    """A page as the flat metadata of a framework's document.

    The page's own metadata, then ``page_id``, ``source``, ``page`` (counts from 1),
    ``content_hash`` and, where known, ``page_count``, ``image_path``, ``mime_type`` of the picture,
    ``text_from_ocr``, ``text_from``, ``unread`` and ``score``. One of the page's own that has such
    a name is renamed to ``user_<name>``. Of a page from a file also
    :func:`metaembed_rag.metadata.fields.shown_fields`, unless the page's own have such a name.
    """
    path = page.image_path
    ours: dict[str, Any] = {
        PAGE_ID: page.id,
        "source": page.source,
        "page": page.number,
        "page_count": page.page_count,
        "content_hash": page.content_hash(),
        "image_path": path,
        "mime_type": None if path is None else mimetypes.guess_type(path, strict=False)[0],
        "text_from_ocr": page.text_from_ocr or None,
        TEXT_FROM: page.text_from or None,
        "unread": page.unread or None,
        SCORE: score,
    }
    theirs = {f"user_{key}" if key in ours else key: value for key, value in page.metadata.items()}
    known = {key: value for key, value in ours.items() if value is not None}
    return _file_fields(page) | theirs | known


def _file_fields(page: Page) -> dict[str, Any]:
    """What the name of the page's file says, under the names that frameworks use."""
    if not page.source_digest:
        return {}
    facts = Facts(page.metadata, page.source, page.number, page.root, page.page_count)
    return shown_fields(facts)
