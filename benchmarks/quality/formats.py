"""What a vector format costs in quality: every format and budget on a set in BEIR layout.

    python -m benchmarks.quality.formats FOLDER [--limit 200] [--json | --readme]

Pages are encoded once; every format encodes and decodes them, and MaxSim in float32 ranks all of
them. ``kept@10`` is the share of the float32 top 10 at the same budget that a format keeps.

``--readme`` prints the table of README.md and RESULTS.md instead: with the milliseconds that
``metaembed plan`` estimates here and now for 100,000 pages, one thread.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metaembed_rag import MetaEmbedEncoder, RetrievalBudget
from metaembed_rag.cost import Plan, plan
from metaembed_rag.evaluation import read_dataset
from metaembed_rag.evaluation.metrics import measure, top_pages
from metaembed_rag.vectors.formats import FORMATS
from metaembed_rag.vectors.maxsim import maxsim_batch

PAGES = 100_000
ROUNDS = 3
"""Estimates of which the quickest counts: other work on the machine slows some of them."""
SHOWN = ("int8", "int4", "bits", "fp16")


def main(arguments: Sequence[str] | None = None) -> int:
    """Encode, rank in every format, and print a table or one JSON object."""
    given = _parser().parse_args(arguments)
    dataset = read_dataset(given.dataset)
    dataset = dataset.first(given.limit) if given.limit else dataset
    encoder = MetaEmbedEncoder.from_pretrained(given.model)
    pages = encoder.encode_document([page.text for page in dataset.pages])
    queries = encoder.encode_query([query.as_input() for query in dataset.queries])
    rows = compare(dataset, queries, pages)
    if given.readme:
        shape = {"dimension": pages.shape[2], "vectors": pages.shape[1]}
        costs = [plan(PAGES, **shape, query_vectors=queries.shape[1]) for _ in range(ROUNDS)]
        print(readme_table(rows, costs))
        return 0
    head = {"dataset": dataset.name, "queries": len(queries), "pages": len(pages)}
    if given.json:
        print(json.dumps({**head, "results": rows}))
        return 0
    print(f"{head['dataset']}: {head['queries']} queries, {head['pages']} pages\n")
    print("| format | budget | bytes a page | nDCG@10 | kept@10 |\n|---|---|---|---|---|")
    for row in rows:
        budget = "({}, {})".format(*row["budget"])
        cells = (row["format"], budget, f"{row['bytes_per_page']:,}")
        print("|", " | ".join(cells), f"| {row['ndcg@10']:.1%} | {row['kept@10']:.1%} |")
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


def readme_table(rows: Sequence[dict[str, Any]], costs: Sequence[Plan]) -> str:
    """Markdown: a row a budget; bytes a page, nDCG@10 in percent and milliseconds a format."""
    ndcg = {(row["format"], tuple(row["budget"])): 100 * row["ndcg@10"] for row in rows}
    of_format = {one.format: one.budgets for one in costs[0].formats}
    heads = [f"{name}: bytes a page / nDCG@10 / ms" for name in SHOWN]
    lines = [f"| budget | {' | '.join(heads)} |", "|---" * (1 + len(SHOWN)) + "|"]
    for budgets in zip(*(of_format[name] for name in SHOWN), strict=True):
        cells = [
            f"{one.bytes_per_page:,} / {ndcg[name, one.budget]:.1f} / "
            + _ms(_quickest(costs, name, one.budget))
            for name, one in zip(SHOWN, budgets, strict=True)
        ]
        lines.append(f"| ({','.join(map(str, budgets[0].budget))}) | {' | '.join(cells)} |")
    return "\n".join(lines)


def _quickest(costs: Sequence[Plan], name: str, budget: tuple[int, int]) -> float:
    formats = [one for cost in costs for one in cost.formats if one.format == name]
    return min(b.exhaustive_ms for one in formats for b in one.budgets if b.budget == budget)


def _ms(milliseconds: float) -> str:
    return f"{milliseconds:,.0f}" if milliseconds >= 100 else f"{milliseconds:.3g}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Compare vector formats on a set in BEIR layout.")
    parser.add_argument("dataset", help="a folder in BEIR layout")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--limit", type=int, help="the first so many queries")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--readme", action="store_true", help="README's table")
    return parser


if __name__ == "__main__":
    sys.exit(main())
