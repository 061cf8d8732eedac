"""An event of LlamaIndex's instrumentation for each search: budget, plan, milliseconds."""

from __future__ import annotations

from typing import Any

from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.events import BaseEvent

from metaembed_rag.adapters import trace_fields
from metaembed_rag.hits import Hits

dispatcher = get_dispatcher(__name__)


class MetaEmbedSearchEvent(BaseEvent):
    """A page index has answered: at which budget, how, and in what time.

    Retriever, vector store and reranker send it beside LlamaIndex's own events, inside of the span
    of their work; handlers of the root dispatcher receive it.

    Args:
        budget: Query vectors and page vectors of the scores.
        plan: How pages were found, as :meth:`metaembed_rag.hits.SearchPlan.to_dict` says it: way,
            stages, source of the vectors; with ``"auto"``, the recall and time expected.
        ms: Milliseconds of wall time, encoding the query included.
        scoring: What a score is: ``"maxsim"``, or ``"hybrid"`` where words took part.
        pages: Ids of the pages that were found, best first.
    """

    budget: tuple[int, int]
    plan: dict[str, Any]
    ms: float
    scoring: str
    pages: list[str]

    @classmethod
    def class_name(cls) -> str:
        """Name of the event, as LlamaIndex's own have one."""
        return "MetaEmbedSearchEvent"


def tell(hits: Hits) -> Hits:
    """Send the event of a search, and give back its hits."""
    found = [hit.page.id for hit in hits]
    dispatcher.event(MetaEmbedSearchEvent(**trace_fields(hits), pages=found))
    return hits
