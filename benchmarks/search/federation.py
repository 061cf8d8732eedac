"""What a federated search loses against one index of all pages, and what it costs.

    python -m benchmarks.search.federation ../shared/data/cranfield --model mini --limit 50 \\
        --json results/federation.json

The pages of a set are put into one index and into several, by chance or each to the likest of as
many pages ("by likeness": shards of a topic each, where words are as unevenly spread as they get).
Every query is asked in both; recall@10 is the share of the exact top 10 of one index that is found
(:meth:`metaembed_rag.FederatedIndex.recall`). "Own counts" is a search in which each shard knows
how rare a word is among its own pages only, as beside a server.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import results
from metaembed_rag import FederatedIndex, MetaEmbedEncoder, Page, PageIndex
from metaembed_rag.evaluation import read_dataset
from metaembed_rag.federation.shards import LocalShard

CLAIM = "What a federated search finds of the exact top 10 of one index of all pages."
_WAYS: dict[str, dict[str, Any]] = {
    "vectors, exhaustive": {"hybrid": False, "exhaustive": True},
    "vectors": {"hybrid": False},
    "with words": {"hybrid": "auto"},
}


class Remembering:
    """An encoder that encodes each text once."""

    def __init__(self, encoder: MetaEmbedEncoder) -> None:
        self._encoder = encoder
        self._known: dict[tuple[str, str], Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)

    def encode_document(self, documents: Sequence[str], **keywords: Any) -> Any:
        """The vectors of texts."""
        return self._made("document", documents, keywords)

    def encode_query(self, queries: Sequence[str], **keywords: Any) -> Any:
        """The vectors of queries."""
        return self._made("query", queries, keywords)

    def _made(self, side: str, texts: Sequence[str], keywords: dict[str, Any]) -> Any:
        new = [text for text in dict.fromkeys(texts) if (side, text) not in self._known]
        if new:
            made = getattr(self._encoder, f"encode_{side}")(new, **keywords)
            self._known |= {(side, text): one for text, one in zip(new, made, strict=True)}
        return np.stack([self._known[side, text] for text in texts])


def parts_of(index: PageIndex, ids: Sequence[str], shards: int) -> dict[str, list[int]]:
    """The shard of each page: by chance, and by likeness."""
    chooser = np.random.default_rng(0)
    first = index.vectors(ids)[:, 0]  # (pages, D)
    middles = first[chooser.choice(len(ids), shards, replace=False)]
    likeness: list[int] = (first @ middles.T).argmax(axis=1).tolist()
    return {"by chance": chooser.integers(0, shards, len(ids)).tolist(), "by likeness": likeness}


@contextmanager
def own_counts() -> Iterator[None]:
    """Let no shard say how rare words are among its pages."""
    said = LocalShard.query_words
    setattr(LocalShard, "query_words", lambda self, text: None)  # noqa: B010
    try:
        yield
    finally:
        setattr(LocalShard, "query_words", said)  # noqa: B010


def median_ms(search: Any, queries: Sequence[str], vectors: Any) -> float:
    """Milliseconds of a search, the query's encoding aside."""
    taken = []
    for query, one in zip(queries, vectors, strict=True):
        start = time.perf_counter()
        search(one, 10, text=query)
        taken.append(time.perf_counter() - start)
    return round(1000 * statistics.median(taken), 1)


def measured(
    one: PageIndex, many: FederatedIndex, queries: Sequence[str], vectors: Any
) -> dict[str, Any]:
    """Recall of every way, and milliseconds beside one index."""
    found: dict[str, Any] = {
        name: round(many.recall(queries, 10, **how), 4) for name, how in _WAYS.items()
    }
    found["one index, with words"] = round(one.recall(queries, 10), 4)
    with own_counts():
        found["with words, own counts"] = round(many.recall(queries, 10, hybrid="auto"), 4)
    found["ms"] = median_ms(many.search_vectors, queries, vectors)
    found["one index, ms"] = median_ms(one.search_vectors, queries, vectors)
    return found


def main() -> None:
    """Measure, print, and keep the record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("dataset")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--limit", type=int, default=1000, help="queries")
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    dataset = read_dataset(given.dataset).first(given.limit)
    encoder = Remembering(MetaEmbedEncoder.from_pretrained(given.model))
    pages = [Page(page.id, 1, page.text, id=page.id) for page in dataset.pages if page.text.strip()]
    queries = [query.text for query in dataset.queries if query.text.strip()]
    rows = {}
    with ExitStack() as held:
        open_index = partial(PageIndex.open, ":memory:", encoder)
        one = held.enter_context(open_index())
        one.add(pages)
        vectors = encoder.encode_query(queries)
        for name, parts in parts_of(one, [page.id for page in pages], given.shards).items():
            with ExitStack() as shards:
                made = [shards.enter_context(open_index()) for _ in range(given.shards)]
                for number, index in enumerate(made):
                    index.add([p for p, n in zip(pages, parts, strict=True) if n == number])
                rows[name] = {"pages": [len(index) for index in made]}
                rows[name] |= measured(one, FederatedIndex(made), queries, vectors)
                print(name, rows[name], flush=True)
    numbers = {
        "dataset": Path(os.path.normpath(given.dataset)).name,
        "model": given.model,
        "pages": len(pages),
        "queries": len(queries),
        "rows": rows,
    }
    if given.json:
        results.write(given.json, CLAIM, numbers, fingerprint=encoder.fingerprint)


if __name__ == "__main__":
    main()
