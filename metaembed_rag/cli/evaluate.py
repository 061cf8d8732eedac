"""``metaembed evaluate``: a model on a set in BEIR layout, at every budget."""

from __future__ import annotations

import argparse
from typing import Any

from metaembed_rag.cli.options import add_budget, add_encoding, load_encoder, ocr_of, positive
from metaembed_rag.cli.output import answer, counted, say, table, wrong_usage
from metaembed_rag.options import HYBRID_AUTO

SUMMARY = "measure a model on a BEIR set"

_LISTED = 20
"""Pages without anything to read that are named."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``metaembed evaluate``."""
    parser.add_argument("dataset", nargs="?", metavar="DATASET", help="a folder in BEIR layout")
    add_encoding(parser)
    add_budget(parser, "may be repeated (default: all five of the paper)", action="append")
    parser.add_argument("--limit", type=positive, metavar="N", help="the first N queries only")
    parser.add_argument(
        "--hybrid",
        nargs="?",
        const=True,
        default=False,
        metavar=HYBRID_AUTO,
        help="fuse with BM25, as search --hybrid; `--hybrid auto` as a search without options "
        "(default: vectors alone, which is the model itself)",
    )
    parser.add_argument("--cache", metavar="DIR", help="keep OCR texts here between runs")


def run(given: argparse.Namespace) -> int:
    """Measure, and print a table or one JSON object."""
    from metaembed_rag.evaluation import evaluate

    dataset, hybrid = _asked(given)
    report = evaluate(
        dataset,
        load_encoder(given),
        mode=given.mode,
        budgets=given.budget or None,
        limit=given.limit,
        batch_size=given.batch_size,
        ocr=ocr_of(given),
        show_progress=not given.quiet,
        cache_dir=given.cache,
        hybrid=hybrid,
    )
    answer(given, report.to_dict(), _table(report.to_dict()))
    if report.skipped:
        pages = counted(len(report.skipped), "page has", "pages have")
        say(f"{pages} nothing to read and cannot be found:")
        for error in report.skipped[:_LISTED]:
            say(f"  {error}")
    return 0


def _asked(given: argparse.Namespace) -> tuple[str, bool | str]:
    """The folder, which may stand behind ``--hybrid``, and whether words count."""
    dataset, hybrid = given.dataset, given.hybrid
    if dataset is None and hybrid not in (True, False, HYBRID_AUTO):
        dataset, hybrid = hybrid, True
    if dataset is None:
        raise wrong_usage("DATASET is missing: name a folder in BEIR layout")
    if hybrid not in (True, False, HYBRID_AUTO):
        raise wrong_usage(f"--hybrid stands alone or before auto, not before {hybrid}")
    return dataset, hybrid


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
