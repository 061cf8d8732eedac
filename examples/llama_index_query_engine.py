"""Ask a PDF through LlamaIndex: retrieved pages go to a chat LLM as pictures and text.

    python examples/llama_index_query_engine.py

The LLM here is an offline stand-in that only reports what it was given, so the example runs
anywhere. Put a real one in its place, for instance

    pip install llama-index-llms-openai-like
    from llama_index.llms.openai_like import OpenAILike
    llm = OpenAILike(model="qwen2.5-vl", api_base="http://localhost:8000/v1", api_key="none",
                     is_chat_model=True)

or any other chat model of LlamaIndex that reads pictures.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, ImageBlock, TextBlock
from llama_index.core.llms import CompletionResponse, CustomLLM, LLMMetadata
from llama_index.core.query_engine import RetrieverQueryEngine

from metaembed_rag import MetaEmbedEncoder, PageIndex, load_pages
from metaembed_rag.llama_index import MetaEmbedQueryBundle, MetaEmbedRetriever

MANUAL = Path(__file__).parent / "files" / "bardiag.pdf"
QUESTION = "How do I add a legend to the diagram?"


class OfflineStandInLLM(CustomLLM):
    """Not a language model: it says what a language model would have been given."""

    @property
    def metadata(self) -> LLMMetadata:
        """That it chats, which multimodal answers need."""
        return LLMMetadata(model_name="offline stand-in", is_chat_model=True, context_window=32_000)

    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Count pictures and characters."""
        blocks = [block for message in messages for block in message.blocks]
        pictures = sum(isinstance(block, ImageBlock) for block in blocks)
        characters = sum(len(block.text) for block in blocks if isinstance(block, TextBlock))
        answer = f"[stand-in] I was given {pictures} page pictures and {characters:,} characters."
        return ChatResponse(message=ChatMessage(answer, role="assistant"))

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Text without pictures."""
        return CompletionResponse(text=f"[stand-in] I was given {len(prompt):,} characters.")

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        """The same in one piece."""
        yield self.complete(prompt)


def main() -> None:
    """Ask one question at two budgets."""
    index = PageIndex.open(":memory:", MetaEmbedEncoder.from_pretrained("small"))
    index.add(load_pages(MANUAL))

    retriever = MetaEmbedRetriever(index, similarity_top_k=2, budget="full")
    engine = RetrieverQueryEngine.from_args(retriever, llm=OfflineStandInLLM(), multimodal=True)

    for query in (QUESTION, MetaEmbedQueryBundle(QUESTION, budget="fast")):
        response = engine.query(query)
        print(f"{QUESTION}  (budget: {getattr(query, 'budget', 'full')})")
        print(f"  {response}")
        for found in response.source_nodes:
            name = Path(found.metadata["source"]).name
            print(f"  {found.score:.3f}  {name}, page {found.metadata['page']}")


if __name__ == "__main__":
    main()
