"""What traces show of a retriever: what was asked for, and what a search did."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, cast

from langchain_core.retrievers import LangSmithRetrieverParams

from metaembed_rag.adapters import SearchedIndex, most_vectors, trace_fields
from metaembed_rag.budget import AUTO
from metaembed_rag.errors import MetaEmbedError
from metaembed_rag.hits import Hits
from metaembed_rag.options import SearchOptions

SEARCH = "metaembed"
"""In a run's metadata, what :func:`metaembed_rag.adapters.trace_fields` says of its search."""

_trace: ContextVar[dict[str, Any] | None] = ContextVar("metaembed_trace", default=None)


@contextmanager
def traced(metadata: dict[str, Any]) -> Iterator[None]:
    """Write what the searches inside do into a run's metadata, which tracers keep to its end.

    The last search counts, as a vector store makes only one for a retriever.

    Args:
        metadata: Of the run manager of a retriever.
    """
    token = _trace.set(metadata)
    try:
        yield
    finally:
        _trace.reset(token)


def note_search(hits: Hits) -> None:
    """Say to the trace of the run that is going on, if there is one, what a search did."""
    metadata = _trace.get()
    if metadata is not None:
        metadata[SEARCH] = trace_fields(hits)


def asked_for(options: Callable[[], SearchOptions], k: Any, index: SearchedIndex) -> dict[str, Any]:
    """What a call asks for, as parameters of LangSmith; without what makes no sense.

    The search itself refuses that, inside of the run, where a trace shows the error.

    Args:
        options: What holds for the call.
        k: How many documents.
        index: The pages that are searched: without a budget all of its vectors count.
    """
    asked: dict[str, Any] = {"ls_k": k}
    with suppress(MetaEmbedError, TypeError):
        chosen = options()
        asked["ls_budget"] = AUTO if chosen.is_auto else str(chosen.resolved(most_vectors(index)))
        for name in ("max_ms", "min_recall", "candidates"):
            if getattr(chosen, name) is not None:
                asked[f"ls_{name}"] = getattr(chosen, name)
    return asked


def retriever_params(model: str, asked: dict[str, Any]) -> LangSmithRetrieverParams:
    """The parameters that LangSmith shows of a retriever of ours.

    Args:
        model: The encoder's name.
        asked: More of them, such as :func:`asked_for` gives.
    """
    known = LangSmithRetrieverParams(
        ls_retriever_name="metaembed",
        ls_vector_store_provider="chroma",
        ls_embedding_provider="metaembed",
        ls_embedding_model=model,
    )
    return cast(LangSmithRetrieverParams, {**known, **asked})
