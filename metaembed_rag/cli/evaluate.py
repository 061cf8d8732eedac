"""``metaembed evaluate``: a model on a set in BEIR layout, at every budget."""

from __future__ import annotations

import argparse
from typing import Any

from metaembed_rag.cli.options import add_budget, add_encoding, load_encoder, ocr_of, positive
from metaembed_rag.cli.output import answer, counted, say, table

SUMMARY = "measure a model on a BEIR set"

_LISTED = 20
"""Pages without anything to read that are named."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``metaembed evaluate``."""
    parser.add_argument("dataset", metavar="DATASET", help="a folder in BEIR layout")
    add_encoding(parser)
    add_budget(parser, "may be repeated (default: all five of the paper)", action="append")
    parser.add_argument("--limit", type=positive, metavar="N", help="the first N queries only")
    words = parser.add_mutually_exclusive_group()
    words.add_argument(
        "--hybrid",
        action="store_true",
        help="fuse with BM25 (default: vectors alone, which is the model itself)",
    )
    words.add_argument(
        "--hybrid-auto",
        action="store_true",
        help="let words count where they can, as a search without options does",
    )
    parser.add_argument("--cache", metavar="DIR", help="keep OCR texts here between runs")


def run(given: argparse.Namespace) -> int:
    """Measure, and print a table or one JSON object."""
    from metaembed_rag.evaluation import evaluate

    report = evaluate(
        given.dataset,
        load_encoder(given),
        mode=given.mode,
        budgets=given.budget or None,
        limit=given.limit,
        batch_size=given.batch_size,
        ocr=ocr_of(given),
        show_progress=not given.quiet,
        cache_dir=given.cache,
        hybrid="auto" if given.hybrid_auto else given.hybrid,
    )
    answer(given, report.to_dict(), _table(report.to_dict()))
    if report.skipped:
        pages = counted(len(report.skipped), "page has", "pages have")
        say(f"{pages} nothing to read and cannot be found:")
        for error in report.skipped[:_LISTED]:
            say(f"  {error}")
    return 0


def _table(report: dict[str, Any]) -> str:
    about = "{dataset}: {queries} queries, {pages} pages, model {model}, mode {mode}"
    about = about.format_map(report) + (
        f", with BM25 ({report['hybrid']})" if "hybrid" in report else ""
    )
    _, *columns = report["results"][0]
    rows = [("budget", *columns)]
    for result in report["results"]:
        budget = "({},{})".format(*result["budget"])
        rows.append((budget, *(f"{result[column]:.4g}" for column in columns)))
    return f"{about}\n{table(rows, '<8', '>11')}"
