"""A tool of an agent: pages of an index, with the picture of each."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Unpack

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.llms.types import ContentBlock, ImageBlock, TextBlock
from llama_index.core.schema import BaseNode, MetadataMode, NodeWithScore, QueryBundle
from llama_index.core.tools import AsyncBaseTool, ToolMetadata, ToolOutput
from pydantic import AnyUrl, ValidationError

from metaembed_rag.adapters import PAGE_ID, said_confidence
from metaembed_rag.errors import MetaEmbedError
from metaembed_rag.llama_index.nodes import picture_source
from metaembed_rag.llama_index.retriever import MetaEmbedRetriever
from metaembed_rag.llama_index.searching import MetaEmbedQueryBundle
from metaembed_rag.pages.sending import PictureLimits, pictures_to_send
from metaembed_rag.tools import (
    NOTHING_FOUND,
    TOOL_DESCRIPTION,
    TOOL_NAME,
    PageArguments,
    PictureKeywords,
    QueryArguments,
    picture_limits,
    wrong_arguments,
)


def page_tool(
    retriever: BaseRetriever,
    *,
    name: str = TOOL_NAME,
    description: str = TOOL_DESCRIPTION,
    return_direct: bool = False,
    **limits: Unpack[PictureKeywords],
) -> PageTool:
    """A tool that gives an agent pages with their pictures, and not their text alone.

    Its output holds a ``TextBlock`` (name of the file, page number, text) and an ``ImageBlock`` of
    each page; ``raw_output`` are the nodes. The model says what it searches for and, of a
    :class:`MetaEmbedRetriever`, also the ``budget`` ("fast", "balanced", "full", "4,8") and how
    many pages (``k``, at most 20). Without them, the retriever's own hold. What the model asks for
    and cannot be had is told to it in a sentence, and so is a picture that is gone.

    Args:
        retriever: Any retriever of LlamaIndex; another one than ours is asked with the query alone.
        name: What the model calls it.
        description: What the model is told that it does.
        return_direct: Whether an agent ends with what the tool gives.
        **limits: ``max_bytes``, ``max_bytes_each`` and ``max_side`` of the pictures of one call;
            see :class:`metaembed_rag.pages.sending.PictureLimits`.

    Raises:
        ValueError: A limit makes no sense.
    """
    ours = isinstance(retriever, MetaEmbedRetriever)
    metadata = ToolMetadata(
        description=description,
        name=name,
        fn_schema=PageArguments if ours else QueryArguments,
        return_direct=return_direct,
    )
    return PageTool(retriever, metadata, picture_limits(limits))


class PageTool(AsyncBaseTool):
    """What :func:`page_tool` makes.

    Args:
        retriever: Finds the nodes.
        metadata: Name, description and arguments, as the model sees them.
        limits: How large pictures may be.
    """

    def __init__(
        self, retriever: BaseRetriever, metadata: ToolMetadata, limits: PictureLimits
    ) -> None:
        self.retriever = retriever
        self._metadata = metadata
        self._limits = limits

    @property
    def metadata(self) -> ToolMetadata:
        """Name, description and arguments, as the model sees them."""
        return self._metadata

    def call(self, *args: Any, **kwargs: Any) -> ToolOutput:
        """Search: ``query`` (the one positional argument, too), ``budget``, ``k``."""
        asked = _named(args, kwargs)
        try:
            return self._output(asked, self.retriever.retrieve(self._bundle(asked)))
        except (MetaEmbedError, ValidationError) as error:
            return self._refused(asked, error)

    async def acall(self, *args: Any, **kwargs: Any) -> ToolOutput:
        """:meth:`call` without blocking the event loop."""
        asked = _named(args, kwargs)
        try:
            found = await self.retriever.aretrieve(self._bundle(asked))
        except (MetaEmbedError, ValidationError) as error:
            return self._refused(asked, error)
        return await asyncio.to_thread(self._output, asked, found)

    def _bundle(self, asked: dict[str, Any]) -> QueryBundle:
        assert self.metadata.fn_schema is not None
        given = self.metadata.fn_schema.model_validate(asked)
        if not isinstance(given, PageArguments):
            return QueryBundle(asked["query"])
        return MetaEmbedQueryBundle(
            given.query, budget=(given.budget or "").strip() or None, similarity_top_k=given.k
        )

    def _output(self, asked: dict[str, Any], found: list[NodeWithScore]) -> ToolOutput:
        blocks = node_blocks([one.node for one in found], self._limits)
        return ToolOutput(
            tool_name=self.metadata.get_name(),
            blocks=blocks or [TextBlock(text=NOTHING_FOUND)],
            raw_input={"kwargs": asked},
            raw_output=found,
        )

    def _refused(self, asked: dict[str, Any], error: Exception) -> ToolOutput:
        return ToolOutput(
            tool_name=self.metadata.get_name(),
            content=wrong_arguments(error) if isinstance(error, ValidationError) else str(error),
            raw_input={"kwargs": asked},
            raw_output=None,
            is_error=True,
            exception=error,
        )


def _named(args: Sequence[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    return {**dict(zip(("query",), args, strict=False)), **kwargs}


def node_blocks(nodes: Sequence[BaseNode], limits: PictureLimits) -> list[ContentBlock]:
    """Text and picture of each node, in order, the pictures within limits.

    A picture that a node names by an address stays an address, which the model's server opens.
    """
    sources = [picture_source(node) for node in nodes]
    files = [None if isinstance(source, AnyUrl) else source for source in sources]
    blocks: list[ContentBlock] = []
    pictures = pictures_to_send(files, limits)
    for node, source, picture in zip(nodes, sources, pictures, strict=True):
        text = _text(node)
        if picture.left_out:
            text = f"{text}\n[{picture.left_out}]".lstrip("\n")
        if text.strip():
            blocks.append(TextBlock(text=text))
        if isinstance(source, AnyUrl):
            blocks.append(ImageBlock(url=source))
        elif picture.data:
            blocks.append(ImageBlock(image=picture.data, image_mimetype=picture.mime_type))
    return blocks


def _text(node: BaseNode) -> str:
    """The name of the page, without the folders of its file, and its text."""
    metadata = node.metadata
    if PAGE_ID not in metadata or "source" not in metadata:
        return node.get_content(metadata_mode=MetadataMode.LLM)
    name = Path(str(metadata["source"])).name or str(metadata["source"])
    page = f"{name}, page {metadata['page']}" if "page" in metadata else name
    page += said_confidence(metadata)
    text = node.get_content(metadata_mode=MetadataMode.NONE)
    return "\n".join(part for part in (page, text) if part)
