"""What a vector format costs in quality: every format and budget on a set in BEIR layout.

    python -m benchmarks.quality.formats ../shared/data/texdoc_pages --json results/formats.json

Pages are encoded once; every format encodes and decodes them, and MaxSim in float32 ranks all of
them. ``kept@10`` is the share of the float32 top 10 at the same budget that a format keeps. Beside
it stand the milliseconds that ``metaembed plan`` estimates here and now to score 100,000 pages on
one thread.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import results
from metaembed_rag import MetaEmbedEncoder, RetrievalBudget
from metaembed_rag.cost import IndexCost, index_cost
from metaembed_rag.evaluation import read_dataset
from metaembed_rag.evaluation.metrics import measure, top_pages
from metaembed_rag.vectors.formats import FORMATS
from metaembed_rag.vectors.maxsim import maxsim_batch

CLAIM = "What a vector format costs in quality and saves in bytes and time."
PAGES = 100_000
ROUNDS = 3
"""Estimates of which the quickest counts: other work on the machine slows some of them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Encode, rank in every format, and print a table or one JSON object."""
    given = _parser().parse_args(arguments)
    dataset = read_dataset(given.dataset)
    dataset = dataset.first(given.limit) if given.limit else dataset
    encoder = MetaEmbedEncoder.from_pretrained(given.model)
    pages = encoder.encode_document([page.text for page in dataset.pages])
    queries = encoder.encode_query([query.as_input() for query in dataset.queries])
    shape = {"dimension": pages.shape[2], "vectors": pages.shape[1]}
    costs = [index_cost(PAGES, **shape, query_vectors=queries.shape[1]) for _ in range(ROUNDS)]
    rows = [with_cost(row, costs) for row in compare(dataset, queries, pages)]
    head = {"dataset": dataset.name, "queries": len(queries), "pages": len(pages)}
    print(f"{head['dataset']}: {head['queries']} queries, {head['pages']} pages\n")
    print("| format | budget | bytes a page | nDCG@10 | kept@10 | ms |\n|---|---|---|---|---|---|")
    for row in rows:
        budget = "({}, {})".format(*row["budget"])
        cells = (row["format"], budget, f"{row['bytes_per_page']:,}")
        quality = f"{row['ndcg@10']:.1%} | {row['kept@10']:.1%}"
        print("|", " | ".join(cells), f"| {quality} | {row.get('ms', '–')} |")
    if given.json:
        found = {**head, "scored_pages": PAGES, "rows": rows}
        results.write(given.json, CLAIM, found, fingerprint=encoder.fingerprint)
    return 0


def compare(
    dataset: Any, queries: NDArray[np.float32], pages: NDArray[np.float32]
) -> list[dict[str, Any]]:
    """One row a format and budget, float32 first."""
    page_ids = [page.id for page in dataset.pages]
    query_ids = [query.id for query in dataset.queries]
    budgets = [b for b in RetrievalBudget.paper() if b.r_c <= pages.shape[1]]
    exact: dict[RetrievalBudget, list[list[str]]] = {}
    rows = []
    for name in ("fp32", *FORMATS):
        format = FORMATS.get(name)
        stored = pages if format is None else format.encode(pages).decode()
        size = 4 * pages.shape[-1] if format is None else format.bytes_per_vector(pages.shape[-1])
        for budget in budgets:
            found = top_pages(maxsim_batch(queries, stored, budget), page_ids)
            exact.setdefault(budget, found)
            kept = [
                len(set(a) & set(b)) / len(b) for a, b in zip(found, exact[budget], strict=True)
            ]
            quality = measure(dataset.qrels, dict(zip(query_ids, found, strict=True)))
            rows.append(
                {
                    "format": name,
                    "budget": [budget.r_q, budget.r_c],
                    "bytes_per_page": budget.r_c * size,
                    "ndcg@10": float(quality["ndcg@10"].mean()),
                    "kept@10": float(np.mean(kept)),
                }
            )
    return rows


def with_cost(row: dict[str, Any], costs: Sequence[IndexCost]) -> dict[str, Any]:
    """The row, with the least milliseconds to score :data:`PAGES` pages; float32 has none."""
    found = [
        budget.exhaustive_ms
        for cost in costs
        for one in cost.formats
        if one.format == row["format"]
        for budget in one.budgets
        if list(budget.budget) == row["budget"]
    ]
    return row | {"ms": float(f"{min(found):.3g}")} if found else row


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Compare vector formats on a set in BEIR layout.")
    parser.add_argument("dataset", help="a folder in BEIR layout")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--limit", type=int, help="the first so many queries")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    return parser


if __name__ == "__main__":
    sys.exit(main())
