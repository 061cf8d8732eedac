"""A tool of an agent: pages of an index, with the picture of each."""

from __future__ import annotations

import asyncio
from typing import Any, Unpack

from langchain_core.callbacks import Callbacks
from langchain_core.documents import Document
from langchain_core.runnables import Runnable
from langchain_core.tools import StructuredTool, ToolException
from pydantic import BaseModel, ValidationError

from metaembed_rag.errors import MetaEmbedError
from metaembed_rag.langchain.chat import blocks_within
from metaembed_rag.langchain.narrowing import NarrowingRetriever
from metaembed_rag.langchain.retriever import MetaEmbedRetriever
from metaembed_rag.tools import (
    NOTHING_FOUND,
    TOOL_DESCRIPTION,
    TOOL_NAME,
    PageArguments,
    PictureKeywords,
    QueryArguments,
    chosen,
    picture_limits,
    wrong_arguments,
)


def page_tool(
    retriever: Runnable[Any, list[Document]],
    *,
    name: str = TOOL_NAME,
    description: str = TOOL_DESCRIPTION,
    **limits: Unpack[PictureKeywords],
) -> StructuredTool:
    """A tool that gives an agent pages with their pictures, and not their text alone.

    Its message holds a text block (name, page number, text) and a picture block of each page, as
    :func:`content_blocks` makes them; its artifact is the list of documents. The model says what it
    searches for and, of a :class:`MetaEmbedRetriever` or of the retriever of a
    :class:`MetaEmbedVectorStore`, also the ``budget`` ("fast", "balanced", "full", "4,8") and how
    many pages (``k``, at most 20). Without them, the retriever's own hold. What the model asks for
    and cannot be had is told to it in a sentence, and so is a picture that is gone.

    Args:
        retriever: Any retriever of LangChain, or a chain that gives documents; another one than
            ours is asked with the query alone.
        name: What the model calls it.
        description: What the model is told that it does.
        **limits: ``max_bytes``, ``max_bytes_each`` and ``max_side`` of the pictures of one call;
            see :class:`metaembed_rag.pages.sending.PictureLimits`.

    Raises:
        ValueError: A limit makes no sense.
    """
    sent = picture_limits(limits)
    ours = isinstance(retriever, MetaEmbedRetriever | NarrowingRetriever)

    def answer(documents: list[Document]) -> tuple[Any, list[Document]]:
        return blocks_within(documents, sent, strict=False) or NOTHING_FOUND, documents

    def search(
        query: str, budget: str | None = None, k: int | None = None, callbacks: Callbacks = None
    ) -> tuple[Any, list[Document]]:
        try:
            asked = chosen(budget, k)
            return answer(retriever.invoke(query, {"callbacks": callbacks}, **asked))
        except MetaEmbedError as error:
            raise ToolException(str(error)) from error

    async def asearch(
        query: str, budget: str | None = None, k: int | None = None, callbacks: Callbacks = None
    ) -> tuple[Any, list[Document]]:
        try:
            asked = chosen(budget, k)
            found = await retriever.ainvoke(query, {"callbacks": callbacks}, **asked)
            return await asyncio.to_thread(answer, found)
        except MetaEmbedError as error:
            raise ToolException(str(error)) from error

    arguments: type[BaseModel] = PageArguments if ours else QueryArguments
    return StructuredTool(
        name=name,
        description=description,
        func=search,
        coroutine=asearch,
        args_schema=arguments,
        response_format="content_and_artifact",
        handle_tool_error=True,
        handle_validation_error=_wrong_arguments,
    )


def _wrong_arguments(error: Any) -> str:
    """What a model is told; LangChain also hands on errors of an older pydantic."""
    return wrong_arguments(error) if isinstance(error, ValidationError) else str(error)
