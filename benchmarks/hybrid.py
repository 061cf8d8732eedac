"""Late interaction fused with BM25, beside each alone, at the five budgets; nDCG@5 in percent.

    python benchmarks/hybrid.py ../shared/data/texdoc_pages ../shared/data/debian_packages \
        ../shared/data/cranfield --model mini --cache .data/hybrid --json hybrid.json

    python benchmarks/hybrid.py --validation ../shared/data --prepared .data/mini
    python benchmarks/hybrid.py --speed 10000

Pages are encoded by their text. "z-score" is the mean of both scores in standard deviations from
their mean over the query's pages: it was tried and left out (docs/hybrid.md). "200 candidates" is
what a search does by default: only the 200 best pages by the first vector and the 200 best by
BM25 are fused. ``--validation`` takes the validation sets that the shipped checkpoint was chosen
on instead, and shows other weights of BM25 too; ``--prepared`` is the folder of its training text.
``--cache`` keeps the encoded sets.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from search_speed import RandomEncoder

from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.evaluation import (
    Dataset,
    Query,
    bootstrap_interval,
    exhaustive_scores,
    measure,
    read_dataset,
    top_pages,
)
from metaembed_rag.fusion import Fusion
from metaembed_rag.index import PageIndex
from metaembed_rag.inputs import Encoder
from metaembed_rag.lexical import LexicalIndex
from metaembed_rag.multivector import Quantized, quantize
from metaembed_rag.pages import Page
from metaembed_rag.training import corpora

Fuse = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]

METRIC = "ndcg@5"
CANDIDATES = 200
WEIGHTS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)


@dataclass(frozen=True)
class Encoded:
    """A set with its stored page vectors and query vectors.

    Attributes:
        dataset: The set; pages without text are left out of it.
        pages: int8 vectors of shape (pages, R_c, D).
        queries: float32 of shape (queries, R_q, D).
    """

    dataset: Dataset
    pages: Quantized
    queries: NDArray[np.float32]


def encode(dataset: Dataset, encoder: Encoder, cache: Path | None) -> Encoded:
    """Encode a set by its texts, or read it from ``cache``."""
    pages = tuple(page for page in dataset.pages if page.text.strip())
    dataset = Dataset(dataset.name, pages, dataset.queries, dataset.qrels)
    path = cache and cache / f"{dataset.name}-{len(pages)}-{encoder.fingerprint[:16]}.npz"
    if path and path.exists():
        with np.load(path) as kept:
            stored = Quantized(kept["values"], kept["scales"])
            return Encoded(dataset, stored, kept["queries"])
    print(f"{dataset.name}: encoding {len(pages)} pages", file=sys.stderr)
    stored = quantize(encoder.encode_document([page.text for page in pages]))
    queries = encoder.encode_query([query.text for query in dataset.queries])
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, values=stored.values, scales=stored.scales, queries=queries)
    return Encoded(dataset, stored, queries)


def bm25(dataset: Dataset, stemmer: str | None) -> NDArray[np.float64]:
    """BM25 of every page for every query, shape (queries, pages)."""
    ids, texts = [page.id for page in dataset.pages], [page.text for page in dataset.pages]
    index = LexicalIndex.build(ids, texts, stemmer=stemmer)
    return np.stack([index.scores(query.text) for query in dataset.queries]).astype(np.float64)


def z_score(maxsim: NDArray[np.float64], words: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of both scores in standard deviations from their mean, shape (pages,)."""
    parts = [(one - one.mean()) / (one.std() or 1.0) for one in (maxsim, words)]
    return (parts[0] + parts[1]) / 2


def among_candidates(
    fuse: Fuse, first: NDArray[np.float64], maxsim: NDArray[np.float64], words: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Fused scores of one query's candidates; every other page scores below them all."""
    chosen = _best(first) | (_best(words) & (words > 0))
    scores = np.full(len(maxsim), -np.inf)
    scores[chosen] = fuse(maxsim[chosen], words[chosen])
    return scores


def _best(scores: NDArray[np.float64]) -> NDArray[np.bool_]:
    if len(scores) <= CANDIDATES:
        return np.ones(len(scores), dtype=bool)
    return scores >= np.partition(scores, -CANDIDATES)[-CANDIDATES]


def per_query(dataset: Dataset, scores: NDArray[Any]) -> NDArray[np.float64]:
    """The metric of each query, for scores of shape (queries, pages)."""
    ranked = top_pages(scores, [page.id for page in dataset.pages])
    rankings = {query.id: best for query, best in zip(dataset.queries, ranked, strict=True)}
    return measure(dataset.qrels, rankings)[METRIC]


def compare(encoded: Encoded) -> dict[str, Any]:
    """Every system at every budget on one set; quality in [0, 1]."""
    dataset = encoded.dataset
    words = {"plain": bm25(dataset, None), "stemmed": bm25(dataset, "english")}
    alone = {name: per_query(dataset, scores) for name, scores in words.items()}
    first = _maxsim(encoded, RetrievalBudget(1, 1))
    rows = []
    for budget in RetrievalBudget.paper():
        maxsim = _maxsim(encoded, budget)
        found = {"late interaction": per_query(dataset, maxsim)}
        for name, fuse in _fusions().items():
            found[name] = per_query(dataset, _rows(fuse, maxsim, words["stemmed"]))
        found["minmax, plain words"] = per_query(
            dataset, _rows(Fusion().scores, maxsim, words["plain"])
        )
        quick = [
            among_candidates(Fusion().scores, *row)
            for row in zip(first, maxsim, words["stemmed"], strict=True)
        ]
        found["minmax, 200 candidates"] = per_query(dataset, np.stack(quick))
        gain = bootstrap_interval(found["minmax"] - alone["stemmed"])
        rows.append(
            {"budget": str(budget)}
            | {name: round(float(values.mean()), 4) for name, values in found.items()}
            | {"minmax - BM25 stemmed, 95 %": [round(end, 4) for end in gain]}
        )
    return {
        "dataset": dataset.name,
        "queries": len(dataset.queries),
        "pages": len(dataset.pages),
        "bm25": {name: round(float(values.mean()), 4) for name, values in alone.items()},
        "results": rows,
    }


def weights(encoded: Encoded) -> dict[str, Any]:
    """``minmax`` at several weights of BM25, all pages and 200 candidates, at (16,64)."""
    dataset, words = encoded.dataset, bm25(encoded.dataset, "english")
    first, maxsim = (_maxsim(encoded, RetrievalBudget(*b)) for b in ((1, 1), (16, 64)))
    found = {}
    for weight in WEIGHTS:
        fuse = Fusion(weight=weight).scores
        quick = [among_candidates(fuse, *row) for row in zip(first, maxsim, words, strict=True)]
        scores = (_rows(fuse, maxsim, words), np.stack(quick))
        found[weight] = [round(float(per_query(dataset, one).mean()), 4) for one in scores]
    return {"dataset": dataset.name, "all pages, 200 candidates": found}


def _fusions() -> dict[str, Fuse]:
    return {"rrf": Fusion("rrf").scores, "z-score": z_score, "minmax": Fusion().scores}


def _rows(
    fuse: Fuse, maxsim: NDArray[np.float64], words: NDArray[np.float64]
) -> NDArray[np.float64]:
    return np.stack([fuse(*row) for row in zip(maxsim, words, strict=True)])


def _maxsim(encoded: Encoded, budget: RetrievalBudget) -> NDArray[np.float64]:
    return exhaustive_scores(encoded.queries, encoded.pages, budget).astype(np.float64)


def validation_datasets(data: Path, prepared: Path) -> Iterator[Dataset]:
    """The validation sets of the shipped checkpoint's training, as evaluation sets."""
    sources = corpora.read_sources(prepared, data, part="validation")
    for task in corpora.validation_sets(sources):
        pages = [Page(task.name, number=n, text=t) for n, t in enumerate(task.corpus, 1)]
        yield Dataset(
            name=f"validation {task.name}",
            pages=tuple(pages),
            queries=tuple(Query(str(n), text) for n, text in enumerate(task.queries)),
            qrels={
                str(n): {pages[i].id: 1 for i in relevant}
                for n, relevant in enumerate(task.relevant)
            },
        )


def speed(pages: int, searches: int = 30) -> dict[str, float]:
    """Milliseconds of searches in a folder of random vectors and Zipf-distributed words."""
    generator = np.random.default_rng(0)
    words = generator.zipf(1.2, (pages, 250)) % 50_000
    texts = [" ".join(f"w{word}" for word in row) for row in words]
    queries = [" ".join(f"w{word}" for word in row[:6]) for row in words[:searches]]
    encoder = RandomEncoder(128)
    vectors = encoder.encode_query(queries)
    with tempfile.TemporaryDirectory() as folder:
        index = PageIndex.open(folder, encoder)
        index.add((Page("zipf", number=n, text=t) for n, t in enumerate(texts, 1)), batch_size=64)

        def milliseconds(which: PageIndex, hybrid: bool, count: int = searches) -> float:
            spent = []
            for one, text in zip(vectors[:count], queries, strict=False):
                start = time.perf_counter()
                which.search_vectors(one, 10, hybrid=hybrid, text=text)
                spent.append(1000 * (time.perf_counter() - start))
            return round(float(np.median(spent)), 1)

        again = PageIndex.open(folder, encoder)
        return {
            "search": milliseconds(index, False),
            "hybrid, building BM25": milliseconds(index, True, 1),
            "hybrid, loading BM25": milliseconds(again, True, 1),
            "hybrid, just after a write": milliseconds(_written(index, folder, 60), True),
            "hybrid": milliseconds(_written(index, folder, -60), True),
        }


def _written(index: PageIndex, folder: str, seconds: float) -> PageIndex:
    """The index, whose database looks as if it had been written ``seconds`` from now."""
    when = time.time() + seconds
    os.utime(Path(folder) / "chroma.sqlite3", (when, when))
    return index


def table(reports: Sequence[dict[str, Any]]) -> str:
    """The reports as one Markdown table; quality in percent."""
    systems = [key for key in reports[0]["results"][0] if "%" not in key and key != "budget"]
    head = ["set", "budget", "BM25 plain", "BM25 stemmed", *systems]
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"]
    for report in reports:
        for row in report["results"]:
            values = [*report["bm25"].values(), *(row[system] for system in systems)]
            cells = [report["dataset"], f"({row['budget']})", *(f"{100 * v:.1f}" for v in values)]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Read the command line; print a table, the weights, or the milliseconds."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", nargs="*", type=Path, help="folders in BEIR layout")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--cache", type=Path, help="folder that keeps the encoded sets")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--validation", type=Path, metavar="DATA", help="use the validation sets")
    parser.add_argument("--prepared", type=Path, help="the training text, for --validation")
    parser.add_argument("--speed", type=int, metavar="PAGES", help="time searches instead")
    args = parser.parse_args()
    if args.speed:
        print(json.dumps(speed(args.speed), indent=2))
        return

    from metaembed_rag.model import MetaEmbedEncoder

    encoder = MetaEmbedEncoder.from_pretrained(args.model)
    if args.validation:
        datasets = list(validation_datasets(args.validation, args.prepared))
    else:
        datasets = [read_dataset(folder) for folder in args.folders]
    sets = [encode(dataset, encoder, args.cache) for dataset in datasets]
    if args.validation:
        for one in sets:
            print(json.dumps(weights(one)))
    reports = [compare(one) for one in sets]
    if args.json:
        found = {"model": args.model, "fingerprint": encoder.fingerprint, "reports": reports}
        args.json.write_text(json.dumps(found, indent=2) + "\n")
    print(table(reports))


if __name__ == "__main__":
    main()
