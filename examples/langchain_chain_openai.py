"""Ask a PDF through LangChain and a chat model that reads pictures, hosted or on this machine.

    pip install langchain-openai

    export OPENAI_API_KEY=…                                            # a hosted model
    python examples/langchain_chain_openai.py "which packages must be installed first"

    vllm serve Qwen/Qwen2.5-VL-3B-Instruct                             # or any local server
    python examples/langchain_chain_openai.py "which packages must be installed first" \\
        --base-url http://localhost:8000/v1 --model Qwen/Qwen2.5-VL-3B-Instruct
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import RunnableLambda, RunnablePassthrough

from metaembed_rag import MetaEmbedEncoder, PageIndex, load_pages
from metaembed_rag.langchain import MetaEmbedRetriever, message_content

MANUAL = Path(__file__).parent / "files" / "bardiag.pdf"
QUESTION = "which packages must be installed first"
TASK = "Answer from the pages alone, in two sentences, and name the page that you took it from."


def with_pages(given: dict[str, Any]) -> list[BaseMessage]:
    """The task; then the question and each page's name, text and picture."""
    content = message_content(given["question"], given["pages"], max_side=1024)
    return [SystemMessage(TASK), HumanMessage(content)]


def chat_model(name: str, base_url: str | None) -> Any:
    """The chat model, or a sentence that says what is missing."""
    try:
        from langchain_openai import ChatOpenAI
    except ModuleNotFoundError:
        sys.exit("This example needs one more package: pip install langchain-openai")
    if base_url is None and not os.environ.get("OPENAI_API_KEY"):
        sys.exit("Set OPENAI_API_KEY, or name a local server with --base-url; see the first lines.")
    key = os.environ.get("OPENAI_API_KEY", "none")  # local servers take any
    return ChatOpenAI(model=name, base_url=base_url, api_key=key)


def main() -> None:
    """Ask one question of one file."""
    parser = argparse.ArgumentParser(description="Ask a PDF, picture or text file.")
    parser.add_argument("question", nargs="?", default=QUESTION)
    parser.add_argument("--file", type=Path, default=MANUAL)
    parser.add_argument("--model", default="gpt-4o-mini")
    parser.add_argument("--base-url", help="of a local OpenAI-compatible server")
    parser.add_argument("--budget", default="full", help='"fast", "balanced", "full" or "4,8"')
    args = parser.parse_args()

    model = chat_model(args.model, args.base_url)
    index = PageIndex.open(":memory:", MetaEmbedEncoder.from_pretrained("small"))
    index.add(load_pages(args.file))
    chain = (
        {
            "pages": MetaEmbedRetriever(index=index, k=3, budget=args.budget),
            "question": RunnablePassthrough(),
        }
        | RunnableLambda(with_pages)
        | model
        | StrOutputParser()
    )
    for part in chain.stream(args.question):
        print(part, end="", flush=True)
    print()


if __name__ == "__main__":
    main()
