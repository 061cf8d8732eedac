"""How much of late interaction's quality survives in a few ordered vectors a page.

    python -m benchmarks.pooling.quality CHECKPOINT ../shared/data/texdoc_pages \
        ../shared/data/cranfield

CHECKPOINT is anything of late interaction that ``MetaEmbedEncoder.from_pretrained`` takes: a
folder or a hub id. Each folder is an evaluation set in BEIR layout. Pages are encoded once, token
by token; then every method pools them to 1, 2, 4, ... 64 vectors, and each is scored with all
tokens of the queries. A nested method pools once to 64 vectors, of which a prefix is used;
``ward`` pools anew for each size. At last the queries are pooled too, and a table says what r_q
query vectors cost.

Vectors are compared in fp32, so that only pooling makes a difference. Writes ``pooling.json`` and
``pooling.svg`` to ``--out``; queries are the first ``--limit`` of each set.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.pooling.references import METHODS, NESTED
from metaembed_rag import MetaEmbedEncoder
from metaembed_rag.evaluation import bootstrap_interval, measure, read_dataset, top_pages
from metaembed_rag.evaluation.datasets import Dataset
from metaembed_rag.evaluation.reading import PageReader
from metaembed_rag.model.pooling import nested_pooling_batch

SIZES = (1, 2, 4, 8, 16, 32, 64)
QUERY_SIZES = (1, 2, 4, 8, 16, 32)
Vectors = NDArray[np.float32]
METRIC = "ndcg@5"
BLOCK = 16


def main() -> None:
    """Measure every set, write and draw."""
    given = arguments()
    encoder = MetaEmbedEncoder.from_pretrained(given.checkpoint)
    report: dict[str, Any] = {"checkpoint": Path(given.checkpoint).name, "metric": METRIC}
    report["sets"] = []
    given.out.mkdir(parents=True, exist_ok=True)
    for folder in given.datasets:  # written after each: a set can take long
        report["sets"].append(measure_set(encoder, folder, given))
        text = json.dumps(report, indent=1) + "\n"
        (given.out / "pooling.json").write_text(text, encoding="utf-8")
        draw(report, given.out / "pooling.svg")
    print(tables(report))


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("checkpoint")
    parser.add_argument("datasets", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=Path(".data/pooling"))
    parser.add_argument("--limit", type=int, default=400, help="queries a set (default: 400)")
    parser.add_argument("--mode", choices=("fused", "image", "text"), default="text")
    parser.add_argument("--batch-size", type=int, default=32)
    return parser.parse_args()


def measure_set(encoder: Any, folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """All numbers of one evaluation set."""
    data = read_dataset(folder).first(given.limit)
    reader = PageReader(encoder, mode=given.mode)
    options = {"batch_size": given.batch_size, "show_progress": True}
    pages = encoder.encode_tokens(list(reader.read(data.pages)), "document", **options)
    queries = encoder.encode_tokens(
        [query.as_input() for query in data.queries], "query", **options
    )

    def quality(scores: Vectors) -> NDArray[np.float64]:
        names = [query.id for query in data.queries]
        found = top_pages(scores, reader.read_ids)
        return measure(data.qrels, dict(zip(names, found, strict=True)))[METRIC]

    everything = quality(all_token_scores(queries, pages))
    rows, seconds, kept = {}, {}, None
    for method in METHODS:
        start = time.process_time()
        pooled = pool_at_each_size(pages, method)
        seconds[method] = (time.process_time() - start) / len(pages)
        scores = scores_at_each_size(queries, pooled)
        rows[method] = {str(size): row(quality(scores[size]), everything) for size in SIZES}
        kept = pooled[max(SIZES)] if kept is None else kept  # the default comes first
        print(folder.name, method, [rows[method][str(size)]["mean"] for size in SIZES], flush=True)
    assert kept is not None
    return {
        **about(data, queries, pages),
        "all tokens": round(float(everything.mean()), 4),
        "methods": rows,
        "milliseconds a page": {name: round(1e3 * value, 2) for name, value in seconds.items()},
        "query side": query_side(queries, kept, quality),
    }


def about(data: Dataset, queries: list[Vectors], pages: list[Vectors]) -> dict[str, Any]:
    """Sizes of a set."""
    lengths = np.array([len(page) for page in pages])
    return {
        "dataset": data.name,
        "queries": len(queries),
        "pages": len(pages),
        "tokens a page": round(float(lengths.mean()), 1),
        "pages of over 64 tokens": round(float((lengths > 64).mean()), 3),
        "tokens a query": round(float(np.mean([len(query) for query in queries])), 1),
    }


def row(values: NDArray[np.float64], everything: NDArray[np.float64]) -> dict[str, Any]:
    """A mean, and its difference from all tokens with a 95 % interval over queries."""
    low, high = bootstrap_interval(values - everything)
    return {
        "mean": round(float(values.mean()), 4),
        "loss": round(float((everything - values).mean()), 4),
        "interval": [round(-high, 4), round(-low, 4)],
    }


def pool_at_each_size(pages: list[Vectors], method: str) -> dict[int, Vectors]:
    """Size -> (pages, size, D): of a nested method the largest only, whose prefixes are used."""
    sizes = (max(SIZES),) if method in NESTED else SIZES
    return {size: nested_pooling_batch(pages, size, METHODS[method]) for size in sizes}


def scores_at_each_size(queries: list[Vectors], pooled: dict[int, Vectors]) -> dict[int, Vectors]:
    """Size -> MaxSim of all query tokens, (queries, pages)."""
    flat, starts = flattened(queries)
    best = prefix_cosines(flat, pooled[max(SIZES)]) if len(pooled) == 1 else {
        size: best_cosines(flat, pages) for size, pages in pooled.items()
    }  # fmt: skip
    return {size: np.add.reduceat(one, starts, axis=0) for size, one in best.items()}


def all_token_scores(queries: list[Vectors], pages: list[Vectors]) -> Vectors:
    """Late interaction itself, (queries, pages); a repeated token changes no maximum."""
    flat, starts = flattened(queries)
    order = np.argsort([len(page) for page in pages])
    scores = np.empty((len(queries), len(pages)), np.float32)
    for block in np.array_split(order, max(1, len(order) // BLOCK)):
        longest = len(pages[block[-1]])
        filled = np.stack([np.resize(pages[i], (longest, flat.shape[1])) for i in block])
        scores[:, block] = np.add.reduceat(best_cosines(flat, filled), starts, axis=0)
    return scores


def flattened(queries: list[Vectors]) -> tuple[Vectors, NDArray[np.intp]]:
    """All query vectors, and where each query's begin."""
    lengths = [len(query) for query in queries]
    return np.concatenate(queries), np.concatenate([[0], np.cumsum(lengths)[:-1]])


def best_cosines(flat: Vectors, pages: Vectors) -> Vectors:
    """Of each query vector and page the best match: (n, D) and (pages, r, D) -> (n, pages)."""
    best = np.empty((len(flat), len(pages)), np.float32)
    for start in range(0, len(pages), BLOCK):
        block = pages[start : start + BLOCK]
        cosines = flat @ block.reshape(-1, flat.shape[1]).T  # (n, block * r)
        best[:, start : start + BLOCK] = cosines.reshape(len(flat), len(block), -1).max(-1)
    return best


def prefix_cosines(flat: Vectors, pages: Vectors) -> dict[int, Vectors]:
    """Size -> :func:`best_cosines` of the first vectors of each page, from one product."""
    found = {size: np.empty((len(flat), len(pages)), np.float32) for size in SIZES}
    for start in range(0, len(pages), BLOCK):
        block = pages[start : start + BLOCK]
        cosines = (flat @ block.reshape(-1, flat.shape[1]).T).reshape(len(flat), len(block), -1)
        best = np.full((len(flat), len(block)), -2, np.float32)
        for before, size in zip((0, *SIZES), SIZES, strict=False):
            best = np.maximum(best, cosines[:, :, before:size].max(-1))
            found[size][:, start : start + BLOCK] = best
    return found


def query_side(queries: list[Vectors], pages: Vectors, quality: Any) -> dict[str, Any]:
    """r_c -> r_q -> mean, of pages pooled by the default method."""
    pooled = nested_pooling_batch(queries, max(QUERY_SIZES))  # (queries, 32, D)
    flat, starts = flattened(queries)
    asked = prefix_cosines(pooled.reshape(-1, flat.shape[1]), pages)
    every = prefix_cosines(flat, pages)
    found: dict[str, Any] = {}
    for r_c in SIZES:
        best = asked[r_c].reshape(len(queries), -1, len(pages))
        whole = np.add.reduceat(every[r_c], starts, axis=0)
        found[str(r_c)] = {
            **{str(r_q): mean(quality(best[:, :r_q].sum(1))) for r_q in QUERY_SIZES},
            "all": mean(quality(whole)),
        }
    return found


def mean(values: NDArray[np.float64]) -> float:
    """Rounded for the report."""
    return round(float(values.mean()), 4)


def tables(report: dict[str, Any]) -> str:
    """Markdown, in %."""
    lines: list[str] = []
    for one in report["sets"]:
        lines += ["", f"**{one['dataset']}**: {one['queries']} queries, {one['pages']} pages, "
                  f"{one['tokens a page']} tokens a page; all tokens {percent(one['all tokens'])}",
                  "", *header("method", [*SIZES, "ms a page"])]  # fmt: skip
        for method, values in one["methods"].items():
            cells = [percent(values[str(size)]["mean"]) for size in SIZES]
            lines.append(line(method, [*cells, one["milliseconds a page"][method]]))
        lines += ["", *header("r_c \\ r_q", [*QUERY_SIZES, "all"])]
        for r_c, values in one["query side"].items():
            lines.append(line(r_c, [percent(value) for value in values.values()]))
    return "\n".join(lines)


def header(first: str, cells: Sequence[Any]) -> list[str]:
    """The two lines over a table."""
    return [line(first, cells), "|" + "---|" * (len(cells) + 1)]


def line(first: str, cells: Sequence[Any]) -> str:
    """One line of a table."""
    return f"| {first} | " + " | ".join(map(str, cells)) + " |"


def percent(value: float) -> str:
    """With one decimal."""
    return f"{100 * value:.1f}"


def draw(report: dict[str, Any], path: Path) -> None:
    """One panel a set: nDCG@5 over the number of vectors, a line a method."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "pooling"
    from matplotlib import pyplot

    sets = report["sets"]
    figure, panels = pyplot.subplots(
        1, len(sets), figsize=(4.6 * len(sets), 3.8), squeeze=False, layout="constrained"
    )
    for panel, one in zip(panels[0], sets, strict=True):
        for method, values in one["methods"].items():
            style = "--" if method not in NESTED else "-"
            heights = [100 * values[str(size)]["mean"] for size in SIZES]
            panel.plot(SIZES, heights, style, marker="o", markersize=3, label=method)
        panel.axhline(100 * one["all tokens"], color="grey", linewidth=1, label="all tokens")
        panel.set_xscale("log", base=2)
        panel.set_xticks(SIZES, [str(size) for size in SIZES])
        panel.set_xlabel("vectors a page")
        panel.set_title(f"{one['dataset']} ({one['tokens a page']:.0f} tokens a page)", fontsize=10)
        panel.grid(alpha=0.3)
    panels[0][0].set_ylabel("nDCG@5, %")
    panels[0][0].legend(fontsize=8)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
