"""Async retrieval by both frameworks: 32 queries at once against the same in sequence.

    python -m benchmarks.search.async_retrieval --pages 1000 --runs 7 \
        --json results/async_retrieval.json

Queries are encoded by the model; the pages are random unit vectors in a Chroma folder, 64 a page,
each with a text. Meanwhile a task on the event loop asks for 1 ms of sleep again and again: how
much later than that it wakes is how long the loop was blocked. The targets: all at once not slower
than in sequence, and never more than 50 ms blocked. The line ``idle`` is the same task alone, so
it says how late the machine itself wakes anybody. The first call of each is a warm-up.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks import results
from metaembed_rag import MetaEmbedEncoder, Page, PageIndex

CLAIM = "Many asynchronous queries at once against the same in sequence, in both frameworks."
QUERIES = [
    f"{subject} {question}"
    for subject in ("the legend", "a bar diagram", "the table", "the second chapter")
    for question in (
        "how is it added",
        "which colours are used",
        "what does it cost",
        "where is it described",
        "who wrote it",
        "what changed last year",
        "how large is it",
        "why is it missing",
    )
]
"""32 different ones."""

Search = Callable[[str], Awaitable[Any]]


class RandomPages:
    """The model's queries, and random unit vectors for pages, which need no minutes of encoding.

    Args:
        model: Encodes the queries.
    """

    def __init__(self, model: MetaEmbedEncoder) -> None:
        self.name = "random pages"
        self.fingerprint = "0" * 32
        self.dimension = model.dimension
        self.query_vectors = model.query_vectors
        self.document_vectors = model.document_vectors
        self.modalities = frozenset({"text"})
        self._model = model
        self._generator = np.random.default_rng(0)

    def encode_query(
        self, queries: Sequence[Any], *, batch_size: int = 32, show_progress: bool = False
    ) -> NDArray[np.float32]:
        """The model's, shape (queries, R_q, D)."""
        return self._model.encode_query(queries, batch_size=batch_size)

    def encode_document(
        self, documents: Sequence[Any], *, batch_size: int = 32, show_progress: bool = False
    ) -> NDArray[np.float32]:
        """Random ones, shape (documents, R_c, D)."""
        shape = (len(documents), self.document_vectors, self.dimension)
        vectors = self._generator.standard_normal(shape, dtype=np.float32)
        return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


class Watch:
    """Measures how long the event loop is blocked while the body of the ``with`` runs."""

    worst = 0.0

    async def __aenter__(self) -> Watch:
        self._task = asyncio.create_task(self._tick())
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *error: object) -> None:
        self._woke()
        self._task.cancel()

    async def _tick(self) -> None:
        while True:
            self._since = time.perf_counter()
            await asyncio.sleep(0.001)
            self._woke()

    def _woke(self) -> None:
        self.worst = max(self.worst, time.perf_counter() - self._since - 0.001)


async def in_sequence(search: Search) -> None:
    """One query after the other."""
    for query in QUERIES:
        await search(query)


async def at_once(search: Search) -> None:
    """All queries together."""
    await asyncio.gather(*map(search, QUERIES))


async def measure(search: Search, runs: int, idle_seconds: float = 1) -> dict[str, Any]:
    """Median seconds of each way, and the worst milliseconds for which the loop was blocked."""

    async def idle(search: Search) -> None:
        await asyncio.sleep(idle_seconds)

    await at_once(search)
    seconds: dict[str, list[float]] = {}
    blocked: dict[str, list[float]] = {}
    for _ in range(runs):
        for way in (in_sequence, at_once, idle):
            start = time.perf_counter()
            async with Watch() as watch:
                await way(search)
            seconds.setdefault(way.__name__, []).append(time.perf_counter() - start)
            blocked.setdefault(way.__name__, []).append(1000 * watch.worst)
    middle = {name: round(float(np.median(found)), 3) for name, found in seconds.items()}
    return {
        "in_sequence_s": middle["in_sequence"],
        "at_once_s": middle["at_once"],
        "blocked_ms": [round(one, 1) for one in blocked["at_once"]],
        "in_sequence_blocked_ms": [round(one, 1) for one in blocked["in_sequence"]],
        "idle_blocked_ms": [round(one, 1) for one in blocked["idle"]],
    }


def retrievers(index: PageIndex, budget: tuple[int, int]) -> dict[str, Search]:
    """The async call of each framework, as a user has it."""
    from metaembed_rag.langchain import MetaEmbedRetriever as LangChainRetriever
    from metaembed_rag.llama_index import MetaEmbedRetriever as LlamaIndexRetriever

    r_q, r_c = budget
    return {
        "llama_index": LlamaIndexRetriever(index, r_q=r_q, r_c=r_c).aretrieve,
        "langchain": LangChainRetriever(index=index, r_q=r_q, r_c=r_c).ainvoke,
    }


def main() -> None:
    """Measure both frameworks at the full budget and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pages", type=int, default=2000)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument(
        "--threads", type=int, default=1, help="of torch; one for each core at most"
    )
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    encoder = RandomPages(MetaEmbedEncoder.from_pretrained(options.model))
    with tempfile.TemporaryDirectory() as folder:
        index = PageIndex.open(Path(folder) / "index", encoder)
        with tqdm(total=options.pages, desc="Indexing", file=sys.stderr) as bar:
            pages = (Page(source=f"{n}", text=f"page {n} " * 200) for n in range(options.pages))
            index.add(pages, progress=bar.update)
        series = [
            {"framework": name, **asyncio.run(measure(search, options.runs))}
            for name, search in retrievers(index, (16, 64)).items()
        ]
    about = {"pages": options.pages, "dimension": encoder.dimension, "queries": len(QUERIES)}
    found = {**about, "model": options.model, "series": series}
    print(json.dumps(found, indent=2))
    if options.json:
        results.write(options.json, CLAIM, found)


if __name__ == "__main__":
    main()
