"""In every chat mode that retrieves, the model is given text and picture of each page."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, ImageBlock, TextBlock
from llama_index.core.chat_engine.multi_modal_condense_plus_context import (
    MultiModalCondensePlusContextChatEngine,
)
from llama_index.core.chat_engine.multi_modal_context import MultiModalContextChatEngine
from llama_index.core.llms import CompletionResponse, CustomLLM, LLMMetadata
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.schema import ImageNode, MediaResource, Node, NodeWithScore, TextNode
from PIL import Image
from pydantic import PrivateAttr

from metaembed_rag.errors import ModelError
from metaembed_rag.llama_index import MetaEmbedRetriever, MetaEmbedVectorStore, page_chat_engine
from metaembed_rag.llama_index.chat_engines import MODES, as_parts

RED, BLUE = (255, 0, 0), (0, 0, 255)
"""As JPEG keeps them."""


class Watcher(CustomLLM):
    """Notes what it is given."""

    _asked: list[list[ChatMessage]] = PrivateAttr(default_factory=list)
    _completed: list[str] = PrivateAttr(default_factory=list)

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(is_chat_model=True, context_window=32_000)

    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        self._asked.append(list(messages))
        return ChatResponse(message=ChatMessage("an answer", role="assistant"))

    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        return self.chat(messages)

    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Any:
        response = self.chat(messages)

        def tokens() -> Any:
            yield ChatResponse(message=response.message, delta="an answer")

        return tokens()

    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Any:
        response = self.chat(messages)

        async def tokens() -> Any:
            yield ChatResponse(message=response.message, delta="an answer")

        return tokens()

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        self._completed.append(prompt)
        return CompletionResponse(text="which apples are red")

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        yield self.complete(prompt)

    @property
    def blocks(self) -> list[Any]:
        return [block for message in self._asked[-1] for block in message.blocks]

    @property
    def colours(self) -> list[Any]:
        pictures = [one for one in self.blocks if isinstance(one, ImageBlock)]
        return [Image.open(one.resolve_image()).getpixel((20, 15)) for one in pictures]

    @property
    def text(self) -> str:
        return "\n".join(one.text for one in self.blocks if isinstance(one, TextBlock))


def memory() -> ChatMemoryBuffer:
    """LlamaIndex's default one leaves a database open."""
    return ChatMemoryBuffer.from_defaults(token_limit=3_000)


@pytest.fixture
def llm() -> Watcher:
    return Watcher()


@pytest.fixture
def retriever(index) -> MetaEmbedRetriever:
    return MetaEmbedRetriever(index, similarity_top_k=2)


def sees_the_pages(llm: Watcher) -> bool:
    return llm.colours[:1] == [RED] and "red apples" in llm.text and "page: 1" in llm.text


@pytest.mark.parametrize("mode", MODES)
def test_text_and_picture_are_there_in_every_mode_and_way(retriever, llm, mode):
    def engine() -> Any:
        return page_chat_engine(retriever, llm=llm, chat_mode=mode, memory=memory())

    answer = engine().chat("red apples")
    assert str(answer) == "an answer"
    assert sees_the_pages(llm)
    assert [one.node.node_id for one in answer.source_nodes] == [
        hit.page.id for hit in retriever.index.search("red apples", k=2)
    ]
    for ask in (engine().stream_chat, engine().achat, engine().astream_chat):
        llm._asked.clear()
        asyncio.run(_read(ask))
        assert sees_the_pages(llm), ask.__name__


async def _read(ask: Any) -> None:
    answer = ask("red apples")
    if asyncio.iscoroutine(answer):
        answer = await answer
    if hasattr(answer, "async_response_gen") and ask.__name__ == "astream_chat":
        assert "".join([token async for token in answer.async_response_gen()]) == "an answer"
    elif hasattr(answer, "response_gen") and ask.__name__ == "stream_chat":
        assert "".join(answer.response_gen) == "an answer"
    else:
        assert str(answer) == "an answer"


@pytest.mark.parametrize("mode", ["best", "condense_question"])
def test_a_follow_up_question_is_made_one_that_stands_alone(retriever, llm, mode):
    engine = page_chat_engine(retriever, llm=llm, chat_mode=mode, memory=memory())
    engine.chat("blue whales")
    assert llm.colours[:1] == [BLUE]
    engine.chat("and the others?")
    condensing = [*llm._completed, *(str(asked[-1].content) for asked in llm._asked)]
    assert any("Standalone question" in said and "the others?" in said for said in condensing)


def test_the_conversation_and_the_system_prompt_go_along(retriever, llm):
    engine = page_chat_engine(
        retriever, llm=llm, chat_mode="context", memory=memory(), system_prompt="Be short."
    )
    engine.chat("red apples")
    engine.chat("red apples again")
    said = [str(message.content) for message in llm._asked[-1]]
    assert said[0] == "Be short."
    assert "an answer" in said
    engine.reset()
    assert engine.chat_history == []


def test_the_vector_stores_retriever_gives_pictures_too(index, llm):
    store = MetaEmbedVectorStore(index=index)
    pages = VectorStoreIndex.from_vector_store(store, embed_model=store.embed_model)
    found = pages.as_retriever(similarity_top_k=1)
    engine = page_chat_engine(found, llm=llm, memory=memory())
    engine.chat("red apples")
    assert sees_the_pages(llm)


@pytest.mark.parametrize("mode", MODES)
def test_what_the_page_says_of_llama_indexs_own_engines(index, llm, mode):
    """If this fails, LlamaIndex has got better, and docs/agents.md has to say so."""
    store = MetaEmbedVectorStore(index=index)
    pages = VectorStoreIndex.from_vector_store(store, embed_model=store.embed_model)
    given: Any = {"chat_mode": mode, "llm": llm, "memory": memory()}
    pages.as_chat_engine(**given).chat("red apples")
    assert not llm.colours
    assert "red apples" in llm.text


@pytest.mark.parametrize(
    "engine", [MultiModalContextChatEngine, MultiModalCondensePlusContextChatEngine]
)
def test_and_of_its_multimodal_ones(retriever, llm, engine):
    made = engine.from_defaults(retriever=retriever, multi_modal_llm=llm, memory=memory())
    made.chat("what is this?")
    assert llm.colours
    assert "page: 1" not in llm.text


@pytest.mark.parametrize("mode", ["simple", "react", "openai", "nonsense"])
def test_a_mode_without_pages_is_refused(retriever, llm, mode):
    with pytest.raises(ModelError, match="there are best, condense_plus_context"):
        page_chat_engine(retriever, llm=llm, chat_mode=mode)


@pytest.mark.parametrize("mode", MODES)
def test_a_setting_that_would_be_dropped_is_refused(retriever, llm, mode):
    with pytest.raises(TypeError, match="no keyword sytem_prompt"):
        page_chat_engine(retriever, llm=llm, chat_mode=mode, sytem_prompt="Be short.")


def test_parts_of_any_node(tmp_path):
    path = tmp_path / "blue.png"
    Image.new("RGB", (40, 30), "blue").save(path)
    nodes = [
        TextNode(text="just text"),
        ImageNode(text="own", image_path=str(path)),
        Node(
            text_resource=MediaResource(text="whole"), image_resource=MediaResource(path=Path(path))
        ),
        ImageNode(image_url="http://127.0.0.1:9/far.png"),
    ]
    parts = [one.node for one in as_parts([NodeWithScore(node=node, score=1.0) for node in nodes])]
    said = [(type(one).__name__, one.get_content()) for one in parts]
    assert said == [
        ("TextNode", "just text"),
        ("TextNode", "own"),
        ("ImageNode", "own"),
        ("TextNode", "whole"),
        ("ImageNode", ""),
        ("ImageNode", ""),
    ]
