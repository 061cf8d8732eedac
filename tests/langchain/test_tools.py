"""An agent of LangChain receives the picture of the right page."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.retrievers import BaseRetriever
from PIL import Image

from metaembed_rag.langchain import MetaEmbedRetriever, MetaEmbedVectorStore, page_tool

RED = (255, 0, 0)
BLUE = (0, 0, 255)
"""As JPEG keeps them."""


@pytest.fixture
def retriever(index) -> MetaEmbedRetriever:
    return MetaEmbedRetriever(index=index, k=1)


def call(tool: Any, **arguments: Any) -> ToolMessage:
    asked = {"type": "tool_call", "id": "1", "name": tool.name, "args": arguments}
    message: ToolMessage = tool.invoke(asked)
    return message


def colours(message: ToolMessage) -> list[Any]:
    blocks = [block for block in message.content_blocks if block["type"] == "image"]
    pictures = [Image.open(io.BytesIO(base64.b64decode(block["base64"]))) for block in blocks]
    return [picture.getpixel((20, 15)) for picture in pictures]


def test_the_message_has_text_and_picture_and_the_artifact_the_documents(retriever):
    message = call(page_tool(retriever), query="blue whales")
    assert message.status == "success"
    assert [block["type"] for block in message.content_blocks] == ["text", "image"]
    assert message.content_blocks[0]["text"] == "sea.pdf, page 1\nblue whales swim"
    assert colours(message) == [BLUE]
    assert [document.metadata["page_id"] for document in message.artifact] == ["sea.pdf#1"]


def test_confidence_is_told_where_a_calibration_says_it(retriever, index):
    index.calibrate(["blue whales", "red apples"] * 10, k=1)
    text = call(page_tool(retriever), query="blue whales").content_blocks[0]["text"]
    assert re.match(r"sea\.pdf, page 1, confidence (over )?0\.\d\d\nblue whales swim", text)


async def test_async_gives_the_same(retriever):
    tool = page_tool(retriever)
    asked = {"type": "tool_call", "id": "1", "name": tool.name, "args": {"query": "red apples"}}
    message = await tool.ainvoke(asked)
    assert message.content == call(tool, query="red apples").content
    assert colours(message) == [RED]


def test_the_model_chooses_budget_and_number(retriever, shapes):
    tool = page_tool(retriever)
    message = call(tool, query="apples", budget="fast", k=3)
    assert len(message.artifact) == 3
    assert set(shapes) == {(1, 1)}
    shapes.clear()
    assert len(call(tool, query="apples", budget="", k=None).artifact) == 1
    assert set(shapes) == {(16, 64)}


def test_the_retriever_of_the_vector_store_takes_them_too(index, shapes):
    tool = page_tool(MetaEmbedVectorStore(index).as_retriever(search_kwargs={"k": 1}))
    message = call(tool, query="blue whales", budget="4,8", k=2)
    assert len(message.artifact) == 2
    assert set(shapes) == {(4, 8)}
    assert colours(message)[0] == BLUE


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"query": "apples", "budget": "cheap"}, "is not a retrieval budget"),
        ({"query": "apples", "budget": "99,99"}, "asks for 99 query vectors"),
        ({"query": "apples", "k": 1000}, "k: Input should be less than or equal to 20"),
        ({"query": ""}, "query: String should have at least 1 character"),
        ({"query": "apples", "pages": 3}, "pages: Extra inputs are not permitted"),
    ],
)
def test_what_cannot_be_had_is_told_to_the_model(retriever, asked, said):
    message = call(page_tool(retriever), **asked)
    assert message.status == "error"
    assert said in message.content


def test_pictures_stay_within_the_limits_and_a_damaged_one_is_told(retriever, index):
    message = call(page_tool(retriever, max_bytes=0), query="red apples")
    assert "too large" in message.content[0]["text"]
    for page in index.get(index.ids()):
        if page.image_path:
            Path(page.image_path).write_bytes(b"\xff\xd8 damaged \xff\xd9")
    message = call(page_tool(retriever), query="red apples")
    assert message.content == [
        {"type": "text", "text": "fruit.pdf, page 1\nred apples\n[its picture is gone or damaged]"}
    ]
    with pytest.raises(ValueError, match="at least 1 pixel"):
        page_tool(retriever, max_side=0)


class Others(BaseRetriever):
    """Another package's retriever, which takes no budget."""

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        return [Document(f"found {query}", metadata={"source": "/home/me/other.txt"})]


def test_another_retriever_is_asked_with_the_query_alone():
    tool = page_tool(Others(), name="look", description="Looks.")
    assert list(tool.args) == ["query"]
    message = call(tool, query="apples")
    assert message.content == [{"type": "text", "text": "other.txt\nfound apples"}]


def test_nothing_found_is_a_sentence(encoder):
    from tests.support.indexes import index_of

    tool = page_tool(MetaEmbedRetriever(index=index_of([], encoder)))
    assert call(tool, query="apples").content == "No page was found."


class Asking(BaseChatModel):
    """Asks the tool for what the user says, and notes the message that comes back."""

    seen: list[Any] = []  # noqa: RUF012  # pydantic copies it

    @property
    def _llm_type(self) -> str:
        return "asking"

    def bind_tools(self, tools: Any, **keywords: Any) -> Any:
        return self.bind(tool=tools[0].name)

    def _generate(self, messages: list[Any], *args: Any, **keywords: Any) -> ChatResult:
        last = messages[-1]
        if isinstance(last, ToolMessage):
            self.seen.append(last)
            answer = AIMessage("done")
        else:
            call = {"name": keywords["tool"], "args": {"query": last.text}, "id": "1"}
            answer = AIMessage("", tool_calls=[call])
        return ChatResult(generations=[ChatGeneration(message=answer)])


def test_an_agent_is_given_the_picture_of_the_right_page(retriever):
    from langchain.agents import create_agent

    model = Asking()
    agent = create_agent(model, tools=[page_tool(retriever)])
    asked: Any = {"messages": [{"role": "user", "content": "blue whales"}]}
    assert agent.invoke(asked)["messages"][-1].text == "done"
    (message,) = model.seen
    assert colours(message) == [BLUE]
    assert message.content[0]["text"] == "sea.pdf, page 1\nblue whales swim"
