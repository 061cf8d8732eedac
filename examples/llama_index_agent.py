"""An agent of LlamaIndex looks for pages and sees their pictures.

    python examples/llama_index_agent.py

The LLM here is an offline stand-in: it asks the tool once, opens the pictures that it was given,
and says what it saw. Put a real one in its place: any LLM of LlamaIndex that calls functions and
reads pictures.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llama_index.core.agent.workflow import FunctionAgent, ToolCallResult
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, TextBlock, ToolCallBlock
from llama_index.core.llms.mock import MockFunctionCallingLLM
from PIL import Image

from metaembed_rag import MetaEmbedEncoder, PageIndex, load_pages
from metaembed_rag.llama_index import MetaEmbedRetriever, page_tool

MANUAL = Path(__file__).parent / "files" / "bardiag.pdf"
QUESTION = "How do I add a legend to the diagram?"


def stand_in(messages: Sequence[ChatMessage], **kwargs: Any) -> ChatMessage:
    """Not a language model: it asks the tool, and says what that gave it to see."""
    last = messages[-1]
    if last.role != "tool":
        asked = {"query": last.content, "budget": "balanced", "k": 2}
        call = ToolCallBlock(tool_call_id="1", tool_name="search_pages", tool_kwargs=asked)
        return ChatMessage(role="assistant", blocks=[call])
    said = []
    for block in last.blocks:
        if isinstance(block, TextBlock):
            said.append(block.text.splitlines()[0])
        elif isinstance(block, ImageBlock):
            picture = Image.open(block.resolve_image())
            said.append(f"its picture of {picture.width} x {picture.height} pixels")
    return ChatMessage(f"[stand-in] I was given {', '.join(said)}.", role="assistant")


async def main() -> None:
    """Let the agent look for one question."""
    index = PageIndex.open(":memory:", MetaEmbedEncoder.from_pretrained("mini"))
    index.add(load_pages(MANUAL))

    tool = page_tool(MetaEmbedRetriever(index))
    llm = MockFunctionCallingLLM(response_generator=stand_in, is_chat_model=True)
    agent = FunctionAgent(tools=[tool], llm=llm, streaming=False)
    run = agent.run(QUESTION)

    print(QUESTION)
    async for event in run.stream_events():
        if isinstance(event, ToolCallResult):
            for found in event.tool_output.raw_output:
                name = Path(found.metadata["source"]).name
                print(f"  {found.score:.3f}  {name}, page {found.metadata['page']}")
    print(f"  {await run}")


if __name__ == "__main__":
    asyncio.run(main())
