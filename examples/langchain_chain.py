"""Ask a PDF through LangChain: a chain whose retrieval budget is switched at run time.

    python examples/langchain_chain.py

The chat model here is an offline stand-in that only reports what it was given, so the example runs
anywhere; `langchain_chain_openai.py` is the same chain with a real one.
"""

from pathlib import Path
from typing import Any

from langchain_core.language_models import SimpleChatModel
from langchain_core.messages import BaseMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import ConfigurableField, RunnableLambda, RunnablePassthrough

from metaembed_rag import MetaEmbedEncoder, PageIndex, load_pages
from metaembed_rag.langchain import MetaEmbedRetriever, message_content

MANUAL = Path(__file__).parent / "files" / "bardiag.pdf"
QUESTION = "which packages must be installed first"


class OfflineStandInChatModel(SimpleChatModel):
    """Not a language model: it says what a language model would have been given."""

    @property
    def _llm_type(self) -> str:
        return "offline stand-in"

    def _call(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> str:
        blocks = [block for message in messages for block in message.content_blocks]
        pictures = sum(block["type"] == "image" for block in blocks)
        texts = [block["text"] for block in blocks if block["type"] == "text"]
        best = next(text for text in texts if text.startswith("bardiag.pdf")).splitlines()[0]
        return f"[stand-in] I was given {pictures} page pictures; the best page is {best}"


def with_pages(given: dict[str, Any]) -> list[BaseMessage]:
    """The question, then each page's name, text and picture, at most 5 MB of pictures together."""
    content = message_content(given["question"], given["pages"], max_bytes=5_000_000)
    return [HumanMessage(content)]


def main() -> None:
    """Ask one question at three budgets."""
    index = PageIndex.open(":memory:", MetaEmbedEncoder.from_pretrained("small"))
    index.add(load_pages(MANUAL))

    retriever = MetaEmbedRetriever(index=index, k=2).configurable_fields(
        budget=ConfigurableField(id="budget")
    )
    chain = (
        {"pages": retriever, "question": RunnablePassthrough()}
        | RunnableLambda(with_pages)
        | OfflineStandInChatModel()
        | StrOutputParser()
    )

    print(QUESTION)
    for budget in ("1,1", "4,8", "16,64"):
        answer = chain.invoke(QUESTION, config={"configurable": {"budget": budget}})
        print(f"  budget ({budget}): {answer}")


if __name__ == "__main__":
    main()
