"""Ask a PDF through LlamaIndex and a real model that speaks the OpenAI protocol.

A server of your own (vLLM, llama.cpp, LM Studio, Ollama …) with a model that reads pictures:

    pip install llama-index-llms-openai-like
    vllm serve Qwen/Qwen2.5-VL-3B-Instruct
    python examples/llama_index_openai.py --model Qwen/Qwen2.5-VL-3B-Instruct

A hosted model (the retrieved pages are sent there):

    OPENAI_API_KEY=… python examples/llama_index_openai.py --hosted --model gpt-4o-mini

The retrieval is that of llama_index_query_engine.py, which runs without any model.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from llama_index.core.query_engine import RetrieverQueryEngine

from metaembed_rag import MetaEmbedEncoder, PageIndex, load_pages
from metaembed_rag.llama_index import MetaEmbedRetriever

MANUAL = Path(__file__).parent / "files" / "bardiag.pdf"
LOCAL, HOSTED = "http://localhost:8000/v1", "https://api.openai.com/v1"


def chat_model(options: argparse.Namespace) -> Any:
    """The model behind an OpenAI-compatible address."""
    try:
        from llama_index.llms.openai_like import OpenAILike
    except ImportError:
        sys.exit("this example needs a client: pip install llama-index-llms-openai-like")
    key = os.environ.get("OPENAI_API_KEY")
    if options.hosted and not key:
        sys.exit("a hosted model needs a key: set the environment variable OPENAI_API_KEY")
    return OpenAILike(
        model=options.model,
        api_base=options.api_base or (HOSTED if options.hosted else LOCAL),
        api_key=key or "none",
        is_chat_model=True,
        context_window=32_000,
        max_retries=1,
        timeout=120,
    )


def main() -> None:
    """Ask one question; print the answer and the pages that it is based on."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("question", nargs="?", default="How do I add a legend to the diagram?")
    parser.add_argument("--model", default="Qwen/Qwen2.5-VL-3B-Instruct")
    parser.add_argument("--api-base", help=f"address of the server; {LOCAL} by default")
    parser.add_argument("--hosted", action="store_true", help=f"ask {HOSTED}")
    parser.add_argument("--budget", default="full", help="fast, balanced, full, or r_q,r_c")
    options = parser.parse_args()
    llm = chat_model(options)

    index = PageIndex.open(":memory:", MetaEmbedEncoder.from_pretrained("small"))
    index.add(load_pages(MANUAL))
    retriever = MetaEmbedRetriever(index, similarity_top_k=2, budget=options.budget)
    engine = RetrieverQueryEngine.from_args(retriever, llm=llm, multimodal=True)

    from openai import APIError  # it came with the client

    try:
        response = engine.query(options.question)
    except APIError as error:
        sys.exit(f"{llm.api_base} with the model {llm.model} gave no answer: {error}")
    print(response)
    for found in response.source_nodes:
        name = Path(found.metadata["source"]).name
        print(f"  {found.score:.3f}  {name}, page {found.metadata['page']}")


if __name__ == "__main__":
    main()
