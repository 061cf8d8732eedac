"""An agent of LangChain looks for pages and sees their pictures.

    pip install langchain
    python examples/langchain_agent.py

The chat model here is an offline stand-in: it asks the tool once, opens the picture that it was
given, and says what it saw. Put a real one in its place, for instance
`init_chat_model("openai:gpt-4.1-mini")`, or any other one that calls tools and reads pictures.
"""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from PIL import Image

from metaembed_rag import MetaEmbedEncoder, PageIndex, load_pages
from metaembed_rag.langchain import MetaEmbedRetriever, page_tool

MANUAL = Path(__file__).parent / "files" / "bardiag.pdf"
QUESTION = "which packages must be installed first"


class OfflineStandInAgentModel(BaseChatModel):
    """Not a language model: it asks the first tool, and says what that gave it to see."""

    @property
    def _llm_type(self) -> str:
        return "offline stand-in"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Any:
        """Which tools there are: a real model is told their names, arguments and descriptions."""
        return self.bind(tool=tools[0].name)

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        last = messages[-1]
        if isinstance(last, ToolMessage):
            answer = AIMessage(seen(last))
        else:
            asked = {"query": last.text, "budget": "balanced", "k": 2}
            call = {"name": kwargs["tool"], "args": asked, "id": "1"}
            answer = AIMessage("", tool_calls=[call])
        return ChatResult(generations=[ChatGeneration(message=answer)])


def seen(message: ToolMessage) -> str:
    """The pictures of a tool's message, opened as a model's server would open them."""
    said = []
    for block in message.content_blocks:
        if block["type"] == "text":
            said.append(block["text"].splitlines()[0])
        elif block["type"] == "image":
            picture = Image.open(io.BytesIO(base64.b64decode(block["base64"])))
            said.append(f"its picture of {picture.width} x {picture.height} pixels")
    return f"[stand-in] I was given {', '.join(said)}."


def main() -> None:
    """Let the agent look for one question."""
    index = PageIndex.open(":memory:", MetaEmbedEncoder.from_pretrained("mini"))
    index.add(load_pages(MANUAL))

    tool = page_tool(MetaEmbedRetriever(index=index))
    agent = create_agent(OfflineStandInAgentModel(), tools=[tool])
    result = agent.invoke({"messages": [{"role": "user", "content": QUESTION}]})

    print(QUESTION)
    print(f"  {result['messages'][-1].text}")
    for message in result["messages"]:
        for document in getattr(message, "artifact", None) or []:
            name = Path(document.metadata["source"]).name
            print(f"  {document.metadata['score']:.3f}  {name}, page {document.metadata['page']}")


if __name__ == "__main__":
    main()
