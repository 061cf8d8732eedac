"""``metaembed evaluate``: a model on a set in BEIR layout, or an index on questions of its user."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metaembed_rag.cli.options import (
    OF_CHROMA,
    add_budget,
    add_chroma,
    add_encoding,
    add_pictures,
    load_encoder,
    ocr_of,
    open_index,
)
from metaembed_rag.cli.output import answer, counted, say, shown, table, wrong_usage
from metaembed_rag.cli.values import limit, positive

if TYPE_CHECKING:
    from metaembed_rag.evaluation import IndexReport

SUMMARY = "measure a model on a BEIR set, or an index on questions of yours"

_LISTED = 20
"""Pages without anything to read that are named."""
_OF_QUESTIONS = {
    "questions": None,
    "failures": False,
    "html": None,
    "k": None,
    "index": None,
    "pictures": None,
    **OF_CHROMA,
}
"""Options that need ``--questions``, and their defaults."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``metaembed evaluate``."""
    parser.add_argument("dataset", nargs="?", metavar="DATASET", help="a folder in BEIR layout")
    _add_index(parser)
    add_encoding(parser)
    # Of an index, the environment names no model: it knows the one that it was made with.
    parser.set_defaults(model=None)
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


def _add_index(parser: argparse.ArgumentParser) -> None:
    own = parser.add_argument_group("instead of DATASET")
    own.add_argument("--index", metavar="DIR", help="an index, as it stands")
    own.add_argument("--collection", default="pages", help="name in Chroma (default: pages)")
    add_pictures(own)
    add_chroma(own)
    own.add_argument("--timeout", type=limit, metavar="SECONDS", help="of a Chroma server")
    own.add_argument(
        "--questions", metavar="FILE", help="CSV with the columns question, file and page"
    )
    own.add_argument(
        "-k", type=positive, help="a question fails without a right page among so many (default: 5)"
    )
    own.add_argument("--failures", action="store_true", help="list the questions that fail")
    own.add_argument(
        "--html", metavar="FILE", help="also write a page with the budget curve and the failures"
    )


def run(given: argparse.Namespace) -> int:
    """Measure, and print a table or one JSON object."""
    if given.questions is not None:
        return _run_index(given)
    if given.dataset is None:
        raise wrong_usage("give a DATASET, or --index and --questions")
    for name, default in _OF_QUESTIONS.items():
        if getattr(given, name) != default:
            option = "-k" if name == "k" else f"--{name.replace('_', '-')}"
            raise wrong_usage(f"{option} needs --questions")
    from metaembed_rag.evaluation import evaluate

    given.model = given.model or os.environ.get("METAEMBED_MODEL") or None
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


# -- an index as it stands ---------------------------------------------------------------------


def _run_index(given: argparse.Namespace) -> int:
    given.index = given.index or os.environ.get("METAEMBED_INDEX") or None
    if given.dataset is not None:
        raise wrong_usage("--questions are asked of an --index: leave out DATASET")
    if given.index is None:
        raise wrong_usage("--questions needs --index")
    if given.limit is not None:
        raise wrong_usage("--limit is for DATASET")
    from metaembed_rag.evaluation import evaluate_index, report_page

    with open_index(given) as index:
        report = evaluate_index(
            index,
            given.questions,
            budgets=given.budget or None,
            k=given.k or 5,
            hybrid="auto" if given.hybrid_auto else given.hybrid or None,
            batch_size=given.batch_size,
            show_progress=not given.quiet,
        )
        if given.html:
            Path(given.html).write_text(report_page(report), encoding="utf-8")
            say(f"wrote {given.html}")
    found = report.to_dict()
    if not given.failures:
        del found["failures"]
    answer(given, found, _index_table(report, given.failures))
    return 0


def _index_table(report: IndexReport, failures: bool) -> str:
    from metaembed_rag.evaluation.report_page import shown_figure, systems

    rows: list[tuple[str, ...]] = []
    columns: list[str] = []
    for name, results in systems(report):
        for result in results:
            figures = result.to_dict(report.k)
            pair = figures.pop("budget", None)
            columns = columns or list(figures)
            shown = [shown_figure(figures.get(one), "-") for one in columns]
            rows.append((name, "" if pair is None else "({},{})".format(*pair), *shown))
    about = (
        f"{report.index}: {counted(report.questions, 'question')}, "
        f"{counted(report.pages, 'page')}, model {report.model}"
    )
    lines = [about, table([("system", "budget", *columns), *rows], "<17", "<8", ">11")]
    failed = counted(len(report.failures), "question has", "questions have")
    lines.append(f"\n{failed} no right page among the first {report.k} at ({report.best})")
    if report.failures:
        lines[-1] += ":" if failures else "; --failures lists them, --html shows them"
    if failures:
        lines += [_failure_lines(one) for one in report.to_dict()["failures"]]
    return "\n".join(lines)


def _failure_lines(failure: dict[str, Any]) -> str:
    where = f"at rank {failure['rank']}" if failure["rank"] else "not found"
    wanted = ", ".join(f"{_name(one)} page {one['page']}" for one in failure["wanted"])
    lines = [f"\n{shown(failure['question'], in_one_line=True)}", f"   right: {wanted}, {where}"]
    for one in failure["instead"]:
        lines.append(f"   {one['rank']}. {one['score']:.3f}  {_name(one)} page {one['page']}")
    return "\n".join(lines)


def _name(one: dict[str, Any]) -> str:
    return shown(Path(one["source"]).name or one["source"], in_one_line=True)
