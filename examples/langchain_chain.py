"""Ask a PDF through LangChain: a chain whose retrieval budget is switched at run time.

    python examples/langchain_chain.py

The chat model here is an offline stand-in that only reports what it was given, so the example runs
anywhere. Put a real one in its place, for instance

    pip install langchain-openai
    from langchain_openai import ChatOpenAI
    model = ChatOpenAI(model="qwen2.5-vl", base_url="http://localhost:8000/v1", api_key="none")

or any other chat model of LangChain that reads pictures.
"""

import base64
from pathlib import Path
from typing import Any

from langchain_core.documents import Document
from langchain_core.language_models import SimpleChatModel
from langchain_core.messages import BaseMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import ConfigurableField, RunnableLambda, RunnablePassthrough

from metaembed_rag import MetaEmbedEncoder, PageIndex, load_pages
from metaembed_rag.langchain import MetaEmbedRetriever

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
    """The question, then each page: its name and text, and its picture."""
    content: list[dict[str, Any]] = [{"type": "text", "text": given["question"]}]
    documents: list[Document] = given["pages"]
    for document in documents:
        metadata = document.metadata
        name = f"{Path(metadata['source']).name}, page {metadata['page']}"
        title = f"{name} (score {metadata['score']:.3f})"
        content.append({"type": "text", "text": f"{title}\n{document.page_content}"})
        if "image_path" in metadata:
            data = base64.b64encode(Path(metadata["image_path"]).read_bytes()).decode()
            mime_type = metadata["mime_type"]
            content.append({"type": "image", "base64": data, "mime_type": mime_type})
    return [HumanMessage(content)]


def main() -> None:
    """Ask one question at three budgets."""
    index = PageIndex.open(":memory:", MetaEmbedEncoder.from_pretrained("mini"))
    index.add(load_pages(MANUAL))

    retriever = MetaEmbedRetriever(index=index, k=2).configurable_fields(
        r_q=ConfigurableField(id="r_q"), r_c=ConfigurableField(id="r_c")
    )
    chain = (
        {"pages": retriever, "question": RunnablePassthrough()}
        | RunnableLambda(with_pages)
        | OfflineStandInChatModel()
        | StrOutputParser()
    )

    print(QUESTION)
    for r_q, r_c in ((1, 1), (4, 8), (16, 64)):
        answer = chain.invoke(QUESTION, config={"configurable": {"r_q": r_q, "r_c": r_c}})
        print(f"  budget ({r_q},{r_c}): {answer}")


if __name__ == "__main__":
    main()
