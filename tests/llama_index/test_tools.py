"""An agent of LlamaIndex receives the picture of the right page."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, TextBlock, ToolCallBlock
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.llms.mock import MockFunctionCallingLLM
from llama_index.core.schema import ImageNode, TextNode
from llama_index.core.tools import ToolOutput
from PIL import Image

from metaembed_rag.llama_index import MetaEmbedRetriever, page_to_node, page_tool

BLUE = (0, 0, 255)
"""As JPEG keeps it."""


def colours(blocks: Sequence[Any]) -> list[Any]:
    pictures = [block for block in blocks if isinstance(block, ImageBlock)]
    return [Image.open(one.resolve_image()).getpixel((20, 15)) for one in pictures]


def kinds(blocks: Sequence[Any]) -> list[str]:
    return [block.block_type for block in blocks]


@pytest.fixture
def retriever(index) -> MetaEmbedRetriever:
    return MetaEmbedRetriever(index, similarity_top_k=1)


def test_the_output_has_text_and_picture_and_the_nodes(retriever):
    output = page_tool(retriever).call("blue whales")
    assert isinstance(output, ToolOutput)
    assert kinds(output.blocks) == ["text", "image"]
    assert output.content == "sea.pdf, page 1\nblue whales swim"
    assert colours(output.blocks) == [BLUE]
    assert [one.node.node_id for one in output.raw_output] == ["sea.pdf#1"]
    assert output.tool_name == "search_pages"
    assert output.raw_input == {"kwargs": {"query": "blue whales"}}


def test_confidence_is_told_where_a_calibration_says_it(retriever, index):
    index.calibrate(["blue whales", "red apples"] * 10, k=1)
    text = page_tool(retriever).call("blue whales").content
    assert re.match(r"sea\.pdf, page 1, confidence (over )?0\.\d\d\nblue whales swim", text)


def test_async_gives_the_same(retriever):
    tool = page_tool(retriever)
    assert asyncio.run(tool.acall(query="blue whales")).blocks == tool(query="blue whales").blocks


def test_the_model_chooses_budget_and_number(retriever, shapes):
    tool = page_tool(retriever)
    assert len(tool.call(query="apples", budget="4,8", k=3).raw_output) == 3
    assert set(shapes) == {(4, 8)}
    shapes.clear()
    assert len(tool.call(query="apples", budget="", k=None).raw_output) == 1
    assert set(shapes) == {(16, 64)}
    properties = tool.metadata.get_parameters_dict()["properties"]
    assert list(properties) == ["query", "budget", "k"]
    assert tool.metadata.to_openai_tool()["function"]["name"] == "search_pages"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"query": "apples", "budget": "cheap"}, "is not a retrieval budget"),
        ({"query": "apples", "k": 1000}, "k: Input should be less than or equal to 20"),
        ({"query": "apples", "pages": 3}, "pages: Extra inputs are not permitted"),
        ({}, "query: Field required"),
    ],
)
def test_what_cannot_be_had_is_told_to_the_model(retriever, asked, said):
    tool = page_tool(retriever)
    for output in (tool.call(**asked), asyncio.run(tool.acall(**asked))):
        assert output.is_error
        assert said in output.content
        assert output.exception is not None


def test_a_damaged_picture_is_told_and_limits_hold(retriever, index):
    assert kinds(page_tool(retriever, max_bytes=0).call("red apples").blocks) == ["text"]
    for page in index.get(index.ids()):
        if page.image_path:
            Path(page.image_path).write_bytes(b"\xff\xd8 damaged \xff\xd9")
    output = page_tool(retriever).call("red apples")
    assert kinds(output.blocks) == ["text"]
    assert output.content.endswith("[its picture is gone or damaged]")


def test_another_retriever_is_asked_with_the_query_alone(index, tmp_path):
    Image.new("RGB", (40, 30), "blue").save(tmp_path / "own.png")
    nodes = [
        *(page_to_node(page) for page in index.get(["fruit.pdf#1"])),
        TextNode(text="just text"),
        ImageNode(text="own", image_path=str(tmp_path / "own.png")),
        ImageNode(text="far", image_url="http://127.0.0.1:9/far.png"),
    ]
    others = VectorStoreIndex(nodes, embed_model=MockEmbedding(4))
    tool = page_tool(others.as_retriever(similarity_top_k=4), name="look", description="Looks.")
    assert list(tool.metadata.get_parameters_dict()["properties"]) == ["query"]
    output = tool.call("apples")
    assert not output.is_error
    blocks = [block for block in output.blocks if isinstance(block, ImageBlock)]
    assert len(blocks) == 3
    assert sorted(block.url is not None for block in blocks) == [False, False, True]
    assert "just text" in output.content


def test_nothing_found_is_a_sentence(encoder):
    from tests.support.indexes import index_of

    output = page_tool(MetaEmbedRetriever(index_of([], encoder))).call("apples")
    assert output.content == "No page was found."


# LlamaIndex's workflows look at every attribute of an agent, those that pydantic has retired, too.
@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20")
@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince211")
def test_a_function_agent_is_given_the_picture_of_the_right_page(retriever):
    seen: list[Any] = []

    def model(messages: Sequence[ChatMessage], **kwargs: Any) -> ChatMessage:
        if messages[-1].role == "tool":
            seen.extend(messages[-1].blocks)
            return ChatMessage("done", role="assistant")
        asked = {"query": "blue whales"}
        call = ToolCallBlock(tool_call_id="1", tool_name="search_pages", tool_kwargs=asked)
        return ChatMessage(role="assistant", blocks=[call])

    async def ask() -> str:
        llm = MockFunctionCallingLLM(response_generator=model, is_chat_model=True)
        return str(await FunctionAgent(tools=[page_tool(retriever)], llm=llm).run("look"))

    assert asyncio.run(ask()) == "done"
    assert colours(seen) == [BLUE]
    assert [one.text for one in seen if isinstance(one, TextBlock)] == [
        "sea.pdf, page 1\nblue whales swim"
    ]
