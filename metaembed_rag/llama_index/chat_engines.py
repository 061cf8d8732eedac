"""Chat engines of LlamaIndex that give the model text *and* picture of each page.

LlamaIndex's own give one of the two: those that ``as_chat_engine`` makes ask for the text of nodes,
and the multimodal ones for the picture of nodes that have one, without their text.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.llms.types import ImageBlock
from llama_index.core.base.response.schema import RESPONSE_TYPE
from llama_index.core.chat_engine import CondenseQuestionChatEngine
from llama_index.core.chat_engine.multi_modal_condense_plus_context import (
    MultiModalCondensePlusContextChatEngine,
)
from llama_index.core.chat_engine.multi_modal_context import MultiModalContextChatEngine
from llama_index.core.chat_engine.types import BaseChatEngine
from llama_index.core.llms import LLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import (
    BaseNode,
    ImageNode,
    MetadataMode,
    NodeWithScore,
    QueryBundle,
    TextNode,
)
from llama_index.core.settings import Settings

from metaembed_rag.errors import ModelError
from metaembed_rag.llama_index.nodes import PageNode, has_picture
from metaembed_rag.options import check_keywords

MODES = ("best", "condense_plus_context", "context", "condense_question")
"""Chat modes that retrieve; ``"best"`` is ``"condense_plus_context"``, as in LlamaIndex."""


def page_chat_engine(
    retriever: BaseRetriever, *, llm: LLM | None = None, chat_mode: str = "best", **settings: Any
) -> BaseChatEngine:
    """A chat engine whose model is given text and picture of each page.

    Args:
        retriever: A :class:`MetaEmbedRetriever`, or any other one of LlamaIndex.
        llm: A chat model that reads pictures; ``Settings.llm`` by default.
        chat_mode: ``"condense_plus_context"`` (``"best"``): a follow-up question is first made one
            that stands alone, then its pages and the conversation go to the model. ``"context"``:
            without the first step. ``"condense_question"``: the question that stands alone is
            answered from its pages, without the conversation.
        **settings: What LlamaIndex's engine of that mode takes: ``memory``, ``chat_history``,
            ``system_prompt``, ``node_postprocessors``, ``verbose``, its prompts.

    Raises:
        ModelError: There is no such mode.
        TypeError: Another setting; LlamaIndex would drop it without a word.
    """
    model = Settings.llm if llm is None else llm
    if chat_mode == "condense_question":
        return _condensing(retriever, model, settings)
    if chat_mode not in MODES:
        raise ModelError(
            f"no chat mode {chat_mode!r} gives pages; there are {', '.join(MODES)}, and page_tool "
            f"for agents"
        )
    engine: type[PageContextChatEngine | PageCondensePlusContextChatEngine] = (
        PageContextChatEngine if chat_mode == "context" else PageCondensePlusContextChatEngine
    )
    _check(settings, engine.from_defaults)
    return engine.from_defaults(retriever=retriever, multi_modal_llm=model, **settings)


def _condensing(retriever: BaseRetriever, llm: LLM, settings: dict[str, Any]) -> BaseChatEngine:
    postprocessors = settings.pop("node_postprocessors", None)
    _check(settings, CondenseQuestionChatEngine.from_defaults)
    engine = RetrieverQueryEngine.from_args(
        retriever, llm=llm, multimodal=True, node_postprocessors=postprocessors
    )
    return CondenseQuestionChatEngine.from_defaults(query_engine=engine, llm=llm, **settings)


def _check(settings: dict[str, Any], make: Any) -> None:
    """Refuse settings that an engine does not have.

    Raises:
        TypeError: It names them and those that there are.
    """
    ours = {"retriever", "query_engine", "multi_modal_llm", "llm", "kwargs"}
    check_keywords(settings, tuple(n for n in inspect.signature(make).parameters if n not in ours))


class PageContextChatEngine(MultiModalContextChatEngine):
    """LlamaIndex's engine of that name, with the text of pages beside their pictures."""

    def synthesize(
        self,
        query_bundle: QueryBundle,
        nodes: list[NodeWithScore],
        additional_source_nodes: Sequence[NodeWithScore] | None = None,
        streaming: bool = False,
    ) -> RESPONSE_TYPE:
        """Ask the model for an answer from nodes."""
        given = as_parts(nodes)
        return _of(
            nodes, super().synthesize(query_bundle, given, additional_source_nodes, streaming)
        )

    async def asynthesize(
        self,
        query_bundle: QueryBundle,
        nodes: list[NodeWithScore],
        additional_source_nodes: Sequence[NodeWithScore] | None = None,
        streaming: bool = False,
    ) -> RESPONSE_TYPE:
        """:meth:`synthesize` without blocking the event loop."""
        given = as_parts(nodes)
        return _of(
            nodes,
            await super().asynthesize(query_bundle, given, additional_source_nodes, streaming),
        )


class PageCondensePlusContextChatEngine(MultiModalCondensePlusContextChatEngine):
    """LlamaIndex's engine of that name, with the text of pages beside their pictures."""

    def synthesize(
        self,
        query_str: str,
        nodes: list[NodeWithScore],
        additional_source_nodes: Sequence[NodeWithScore] | None = None,
        streaming: bool = False,
    ) -> RESPONSE_TYPE:
        """Ask the model for an answer from nodes."""
        given = as_parts(nodes)
        return _of(nodes, super().synthesize(query_str, given, additional_source_nodes, streaming))

    async def asynthesize(
        self,
        query_str: str,
        nodes: list[NodeWithScore],
        additional_source_nodes: Sequence[NodeWithScore] | None = None,
        streaming: bool = False,
    ) -> RESPONSE_TYPE:
        """:meth:`synthesize` without blocking the event loop."""
        given = as_parts(nodes)
        return _of(
            nodes, await super().asynthesize(query_str, given, additional_source_nodes, streaming)
        )


def as_parts(nodes: Sequence[NodeWithScore]) -> list[NodeWithScore]:
    """Each node as one of text and one of its picture, which is what those engines know.

    A picture that has been deleted is left out, and logged.
    """
    parts: list[NodeWithScore] = []
    for one in nodes:
        text = one.node.get_content(metadata_mode=MetadataMode.LLM)
        if text.strip():
            parts.append(_part(one, TextNode(id_=one.node.node_id, text=text)))
        parts += [_part(one, picture) for picture in _pictures(one.node)]
    return parts


def _part(whole: NodeWithScore, node: BaseNode) -> NodeWithScore:
    return NodeWithScore(node=node, score=whole.score)


def _pictures(node: BaseNode) -> list[ImageNode]:
    if not has_picture(node):
        return []
    if isinstance(node, ImageNode) and not isinstance(node, PageNode):
        return [node]  # whose own blocks would download a picture that is named by an address
    blocks = node.get_content_blocks(metadata_mode=MetadataMode.NONE)
    return [_image_node(node, block) for block in blocks if isinstance(block, ImageBlock)]


def _image_node(node: BaseNode, block: ImageBlock) -> ImageNode:
    data = block.image.decode("ascii") if isinstance(block.image, bytes) else block.image
    return ImageNode(
        id_=node.node_id,
        image=data,
        image_path=None if block.path is None else str(block.path),
        image_url=None if block.url is None else str(block.url),
        image_mimetype=block.image_mimetype,
    )


def _of(nodes: list[NodeWithScore], response: RESPONSE_TYPE) -> RESPONSE_TYPE:
    """The response, with the nodes that were found as its sources."""
    response.source_nodes = list(nodes)
    return response
