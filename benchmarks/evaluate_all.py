"""One table for RESULTS.md: a model at its five budgets beside BM25, on several sets.

    python benchmarks/evaluate_all.py ../shared/data/texdoc_pages ../shared/data/debian_packages \
        ../shared/data/cranfield opencqa50 --model mini --json results.json --cache .data/ocr

The table goes to standard output, the same figures with their 95 % bootstrap intervals to the
JSON file. ``opencqa50`` is made by ``opencqa_beir.py``. Pages without text are read by OCR where
the model reads no pictures, and BM25 always gets that text, so that both see the same words.
Where other programs keep the cores busy, OPENBLAS_NUM_THREADS=1 keeps "ms a query" honest: small
products wait for a thread that has no core.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from bm25 import bm25_results

from metaembed_rag.evaluation import METRICS, Dataset, evaluate, ocr_text, read_dataset
from metaembed_rag.model.base import Encoder
from metaembed_rag.model.inputs import Mode


def evaluate_all(
    folders: Sequence[Path],
    encoder: Encoder,
    *,
    mode: Mode = "fused",
    limit: int | None = None,
    cache: Path | None = None,
    show_progress: bool = False,
) -> list[dict[str, Any]]:
    """Evaluate a model and BM25 on every set.

    Returns:
        One object a set, as of ``metaembed evaluate --json``, with ``"skipped"`` (the pages that
        could not be read), ``"ndcg@5_interval"`` in each result, and ``"bm25"``.
    """
    reports = []
    for folder in folders:
        dataset = read_dataset(folder)
        dataset = dataset if limit is None else dataset.first(limit)
        print(f"{dataset.name}: {len(dataset.pages)} pages", file=sys.stderr)
        report = evaluate(dataset, encoder, mode=mode, cache_dir=cache, show_progress=show_progress)
        found = report.to_dict()
        for result, entry in zip(report.results, found["results"], strict=True):
            entry["ndcg@5_interval"] = [round(end, 4) for end in result.interval("ndcg@5")]
        found["skipped"] = [str(error) for error in report.skipped]
        found["bm25"] = bm25_results(dataset, _texts(dataset, cache))
        reports.append(found)
    return reports


def table(reports: Sequence[dict[str, Any]]) -> str:
    """The reports as one Markdown table; quality in percent."""
    head = ["set", "system", *METRICS, "ms a query", "bytes a page"]
    lines = [_row(head), _row(["---", "---", *["---:"] * (len(METRICS) + 2)])]
    for report in reports:
        name = f"{report['dataset']} ({report['queries']} queries, {report['pages']} pages)"
        for result in report["bm25"]:
            lines.append(_row([name, result["system"], *_cells(result), "–"]))
        for result in report["results"]:
            r_q, r_c = result["budget"]
            system = f"{report['model']}, {report['mode']}, ({r_q},{r_c})"
            lines.append(_row([name, system, *_cells(result), f"{result['bytes_per_page']:,}"]))
    return "\n".join(lines)


def _cells(result: dict[str, Any]) -> list[str]:
    quality = [f"{100 * result[metric]:.1f}" for metric in METRICS]
    if "ndcg@5_interval" in result:
        low, high = (100 * end for end in result["ndcg@5_interval"])
        quality[0] += f" [{low:.1f}, {high:.1f}]"
    return [*quality, f"{result['query_ms']:.2f}"]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _texts(dataset: Dataset, cache: Path | None) -> list[str]:
    """Each page's text, or what OCR reads on its picture where it has none."""
    return [page.text.strip() or ocr_text(page, cache) for page in dataset.pages]


def main() -> None:
    """Read the command line, evaluate, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path, help="folders in BEIR layout")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--mode", choices=get_args(Mode), default="fused")
    parser.add_argument("--limit", type=int, help="only the first queries of each set")
    parser.add_argument("--cache", type=Path, help="folder that keeps OCR texts between runs")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    args = parser.parse_args()

    from metaembed_rag.model import MetaEmbedEncoder

    reports = evaluate_all(
        args.folders,
        MetaEmbedEncoder.from_pretrained(args.model),
        mode=args.mode,
        limit=args.limit,
        cache=args.cache,
        show_progress=True,
    )
    if args.json is not None:
        machine = {"machine": platform.machine(), "cpus": os.cpu_count()}
        args.json.write_text(json.dumps(machine | {"reports": reports}, indent=2) + "\n")
    print(table(reports))


if __name__ == "__main__":
    main()
