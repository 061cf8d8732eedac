"""Reranking of any retriever's nodes by MaxSim, from stored vectors where there are any."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from llama_index.core.bridge.pydantic import Field, PrivateAttr
from llama_index.core.callbacks import CBEventType, EventPayload
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import BaseNode, NodeWithScore, QueryBundle

from metaembed_rag.adapters import LazyEncoder, in_search_thread
from metaembed_rag.budget import BudgetLike, RetrievalBudget
from metaembed_rag.errors import ModelError, ModelMismatchError
from metaembed_rag.index import PageIndex
from metaembed_rag.llama_index.nodes import marked, node_to_page, page_to_node
from metaembed_rag.llama_index.pickling import PickledWhole
from metaembed_rag.llama_index.searching import MetaEmbedQueryBundle, bundle_query
from metaembed_rag.model.checkpoints import DEFAULT_MODEL
from metaembed_rag.model.protocol import Encoder
from metaembed_rag.options import SearchOptions
from metaembed_rag.pages import Page
from metaembed_rag.search.plan import check_budget

_log = logging.getLogger(__name__)
dispatcher = get_dispatcher(__name__)

_UNREADABLE = -1.0
"""The lowest score, for a node with nothing to read: it comes last, but it is not lost."""


class MetaEmbedRerank(PickledWhole, BaseNodePostprocessor):
    """The best of some nodes, by late interaction with the query at a budget.

    Nodes that an index stores are scored by their stored vectors; only others are encoded. A node
    is stored if its id is, unless its content hash says that it is of other content. The new score
    is MaxSim / r_q in [-1, 1], and words do not count (BM25), also where they do in a search. The
    nodes that are given are left as they are.

    Args:
        index: Where vectors are stored. Without one every node is encoded, and its vectors are
            rounded to half precision.
        encoder: The model, or its name; that of the index by default, else ``small``.
        top_n: At most so many nodes.
        budget: ``(r_q, r_c)``, ``"4,8"`` or a preset's name; else the environment variable
            ``METAEMBED_BUDGET``, else all vectors there are. A query's own budget comes first.
        **options: ``r_q`` and ``r_c``, the query and page vectors that take part;
            ``keep_retrieval_score``, which keeps the score before in the metadata, as
            ``retrieval_score``; ``batch_size``, the nodes encoded at a time; and LlamaIndex's
            ``callback_manager``.

    Raises:
        BudgetError: On reranking, when the budget asks for more vectors than there are.
    """

    top_n: int = Field(default=5, gt=0, description="At most so many nodes.")
    model_name: str = Field(default=DEFAULT_MODEL, description="What the model is loaded from.")
    budget: str | None = Field(default=None, description="Retrieval budget.")
    r_q: int | None = None
    r_c: int | None = None
    keep_retrieval_score: bool = False
    batch_size: int = 32
    _index: PageIndex | None = PrivateAttr(default=None)
    _memory: PageIndex | None = PrivateAttr(default=None)
    _encoder: LazyEncoder = PrivateAttr()

    def __init__(
        self,
        index: PageIndex | None = None,
        encoder: Encoder | str | None = None,
        *,
        top_n: int = 5,
        budget: BudgetLike | None = None,
        **options: Any,
    ) -> None:
        if isinstance(encoder, str):
            options["model_name"] = encoder
        elif encoder is not None:
            options["model_name"] = encoder.name
        elif index is not None:
            options["model_name"] = index.info()["model"]
        options |= {
            "top_n": top_n,
            "budget": None if budget is None else str(RetrievalBudget.parse(budget)),
        }
        super().__init__(**options)
        self._index = index
        self._encoder = LazyEncoder(None if isinstance(encoder, str) else encoder)

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex serialises it."""
        return "MetaEmbedRerank"

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> MetaEmbedRerank:
        """A copy that opens a memory of its own: one that is open cannot be copied."""
        memo = {} if memo is None else memo
        memo[id(self._memory)] = None
        return super().__deepcopy__(memo)

    def __getstate__(self) -> dict[Any, Any]:
        state = super().__getstate__()
        state["__pydantic_private__"] = {**state["__pydantic_private__"], "_memory": None}
        return state

    @property
    def encoder(self) -> Encoder:
        """The model, loaded by its name when it is first needed."""
        if self._index is not None and self._encoder.given is None:
            return self._index.encoder
        return self._encoder.load(self.model_name)

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        nodes = list(nodes)
        if query_bundle is None:
            raise ModelError("reranking needs the query: give query_str or query_bundle")
        dispatcher.event(
            ReRankStartEvent(
                query=query_bundle, nodes=nodes, top_n=self.top_n, model_name=self.model_name
            )
        )
        payload: dict[str, Any] = {
            EventPayload.NODES: nodes,
            EventPayload.MODEL_NAME: self.model_name,
            EventPayload.QUERY_STR: query_bundle.query_str,
            EventPayload.TOP_K: self.top_n,
        }
        with self.callback_manager.event(CBEventType.RERANKING, payload=payload) as event:
            best = self._ranked(nodes, query_bundle)[: self.top_n] if nodes else []
            event.on_end(payload={EventPayload.NODES: best})
        dispatcher.event(ReRankEndEvent(nodes=best))
        return best

    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        return await in_search_thread(self._postprocess_nodes, nodes, query_bundle)

    def _ranked(self, nodes: Sequence[NodeWithScore], bundle: QueryBundle) -> list[NodeWithScore]:
        index, given = self._scoring_index(), self._given([one.node for one in nodes])
        hits = index.score(
            bundle_query(bundle),
            given,
            budget=self._chosen(bundle, index),
            batch_size=self.batch_size,
            on_skip=lambda error: _log.warning("this node comes last: %s", error),
        )
        scores = {hit.page.id: hit.score for hit in hits}
        ranked = [self._scored(one, scores.get(one.node.node_id, _UNREADABLE)) for one in nodes]
        return sorted(ranked, key=lambda one: -(one.score or 0.0))

    def _scored(self, one: NodeWithScore, score: float) -> NodeWithScore:
        if not self.keep_retrieval_score:
            return NodeWithScore(node=one.node, score=score)
        return NodeWithScore(node=marked(one.node, {"retrieval_score": one.score}), score=score)

    def _scoring_index(self) -> PageIndex:
        """The index, or one in memory that stores nothing and rounds to half precision.

        Raises:
            ModelMismatchError: The encoder is of another model than the index.
        """
        if self._index is None:
            if self._memory is None:
                self._memory = PageIndex.open(":memory:", self.encoder, format="fp16")
            return self._memory
        given = self._encoder.given
        if given is not None and given is not self._index.encoder:
            made, asked = self._index.info()["fingerprint"], given.fingerprint
            if made != asked:
                raise ModelMismatchError(
                    f"the encoder {given.name!r} ({asked[:12]}) is not the model of the "
                    f"index ({made[:12]}): leave one of the two out"
                )
        return self._index

    def _given(self, nodes: Sequence[BaseNode]) -> list[str | Page]:
        """What the index is to score: ids of nodes that it stores, pages made of the others."""
        by_id = {node.node_id: node for node in nodes}
        stored = {page.id: page for page in self._scoring_index().get(list(by_id))}
        same = {id for id, page in stored.items() if _same_content(by_id[id], page)}
        return [id if id in same else node_to_page(node) for id, node in by_id.items()]

    def _chosen(self, bundle: QueryBundle, index: PageIndex) -> RetrievalBudget:
        """The query's budget, over these fields', over the environment's, over all there are."""
        most = RetrievalBudget(index.encoder.query_vectors, index.vectors_per_page)
        options = SearchOptions(budget=self.budget, r_q=self.r_q, r_c=self.r_c)
        if isinstance(bundle, MetaEmbedQueryBundle):
            options = _fixed(bundle.options).over(options)
        budget = options.unchosen(most)
        check_budget(budget, most)
        return budget


def _fixed(options: SearchOptions) -> SearchOptions:
    """The budget among a query's options; ``"auto"`` and limits choose for searches only."""
    budget = None if options.is_auto else options.budget
    return SearchOptions(budget=budget, r_q=options.r_q, r_c=options.r_c)


def _same_content(node: BaseNode, page: Page) -> bool:
    """Whether node and stored page do not say that they are of different content."""
    theirs = node.metadata.get("content_hash")
    stored = page_to_node(page).metadata.get("content_hash")
    return theirs is None or stored is None or theirs == stored
