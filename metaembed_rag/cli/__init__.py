"""The command line: ``metaembed index | search | evaluate | train | …``.

Data go to standard output, progress and messages to standard error. The exit code is 0 for
success, 1 for a failure (one sentence says what to do), 2 for wrong usage, and 130 when it was
stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metaembed_rag import __version__
from metaembed_rag.budget import AUTO, RetrievalBudget, is_auto
from metaembed_rag.errors import BudgetError, MetaEmbedError, PageError

if TYPE_CHECKING:
    from metaembed_rag.hits import Hits
    from metaembed_rag.index import AddReport, PageIndex

INTERRUPTED = 130
_SNIPPET = 200


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    parser = _parser()
    given = parser.parse_args(arguments)
    try:
        return int(given.run(given))
    except MetaEmbedError as error:
        if given.debug:
            raise
        _say(f"metaembed: {error}")
        return 1
    except KeyboardInterrupt:
        _say("metaembed: stopped; what was finished before is kept")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output (`head`) has gone; closing quietly is what it expects.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except MemoryError:
        _say("metaembed: out of memory; use a smaller --batch-size")
        return 1
    except OSError as error:
        if given.debug:
            raise
        _say(f"metaembed: {error.filename or 'the system'}: {error.strerror or error}")
        return 1


# -- commands ------------------------------------------------------------------------------


def _index(given: argparse.Namespace) -> int:
    _check_paths(given.paths)
    from metaembed_rag.pages import list_files
    from metaembed_rag.pages.counting import count_pages

    index = _open(given, create=True)
    with _Bar("page", count_pages(list_files(given.paths)), given.quiet) as bar:
        report = index.sync(
            given.paths,
            mode=given.mode,
            batch_size=given.batch_size,
            ocr=not given.no_ocr,
            progress=bar.update,
            password=given.password,
        )
    if given.json:
        _print_json(_report_dict(index, report))
    else:
        print(f"{report}: {len(index)} pages in {given.index}")
    _list_skipped(report)
    return 1 if report.skipped else 0


def _search(given: argparse.Namespace) -> int:
    _check_ways(given)
    query = _query(given)
    index = _open(given, create=False)
    hits = index.search(
        query,
        given.k,
        budget=given.budget,
        candidates=given.candidates,
        where=_where(given.where),
        exhaustive=given.exhaustive,
        hybrid=given.hybrid,
        max_ms=given.max_ms,
        min_recall=given.min_recall,
    )
    if hits.plan is not None and hits.plan.note:
        _say(f"metaembed: {hits.plan.note}")
    if given.html:
        from metaembed_rag.hits import hits_page

        Path(given.html).write_text(hits_page(hits), encoding="utf-8")
        _say(f"wrote {given.html}")
    if given.json:
        _print_json(hits.to_dict())
    else:
        _print_hits(hits, len(index))
    return 0


def _evaluate(given: argparse.Namespace) -> int:
    from metaembed_rag.evaluation import evaluate

    report = evaluate(
        given.dataset,
        _encoder(given),
        mode=given.mode,
        budgets=given.budget or None,
        limit=given.limit,
        batch_size=given.batch_size,
        ocr=not given.no_ocr,
        show_progress=not given.quiet,
        cache_dir=given.cache,
        hybrid=given.hybrid,
    )
    if given.json:
        _print_json(report.to_dict())
    else:
        _print_evaluation(report.to_dict())
    if report.skipped:
        _say(f"{len(report.skipped)} pages have nothing to read and cannot be found:")
        for error in report.skipped[:20]:
            _say(f"  {error}")
    return 0


def _info(given: argparse.Namespace) -> int:
    info = _open(given, create=False).info()
    if given.json:
        _print_json(info)
        return 0
    for key, value in info.items():
        print(f"{key.replace('_', ' '):18} {value}")
    return 0


def _delete(given: argparse.Namespace) -> int:
    index = _open(given, create=False)
    removed = {id: index.delete(id) for id in given.id}
    removed |= {source: index.delete(source=source) for source in given.source}
    total = sum(removed.values())
    if given.json:
        _print_json({"index": given.index, "deleted": total, "pages": len(index)})
    else:
        print(f"{total} pages deleted: {len(index)} pages in {given.index}")
    unknown = [name for name, count in removed.items() if not count]
    if unknown:
        _say(f"metaembed: nothing in the index matches {', '.join(unknown)}")
    return 1 if unknown else 0


# -- parts ---------------------------------------------------------------------------------


def _check_paths(paths: Sequence[str]) -> None:
    """Refuse at once when nothing that was named exists, before a model is loaded."""
    if not any(Path(path).expanduser().exists() for path in paths):
        raise PageError(", ".join(paths), "there is no such file or folder; check the path")


def _open(given: argparse.Namespace, *, create: bool) -> PageIndex:
    from metaembed_rag.index import PageIndex

    # Without a model named, the index loads its own when it needs one, or the default if it is new.
    named = create and given.model is not None
    return PageIndex.open(
        given.index,
        _encoder(given) if named else None,
        collection=given.collection,
        vectors=given.vectors if create else None,
        format=given.format if create else None,
        dimension=given.dimension if create else None,
        create=create,
        device=getattr(given, "device", None),
    )


def _encoder(given: argparse.Namespace) -> Any:
    from metaembed_rag.index import DEFAULT_MODEL
    from metaembed_rag.model import MetaEmbedEncoder

    return MetaEmbedEncoder.from_pretrained(given.model or DEFAULT_MODEL, device=given.device)


def _check_ways(given: argparse.Namespace) -> None:
    """Refuse at once what cannot go together, before a model is loaded."""
    limited = given.max_ms is not None or given.min_recall is not None
    if limited and isinstance(given.budget, RetrievalBudget):
        raise _usage("--max-ms and --min-recall choose the budget: leave out --budget, or say auto")
    if (limited or given.budget == AUTO) and (given.candidates or given.exhaustive):
        raise _usage(
            "the calibration chooses how many pages are scored: leave out --candidates and "
            "--exhaustive, or name a budget"
        )


def _query(given: argparse.Namespace) -> Any:
    text = sys.stdin.read().strip() if given.query == "-" else given.query
    if given.image is None:
        if not text:
            raise _usage("give a query, an --image, or both")
        return text
    image = _picture(given.image)
    return {"text": text, "image": image} if text else image


def _picture(path: str) -> Any:
    """The picture of a query: an image, or the first page of a PDF."""
    from metaembed_rag.pages import load_pages

    if Path(path).expanduser().is_dir():
        raise PageError(path, "is a folder; name one image with --image")
    first = next(iter(load_pages(path)))
    if first.image is None:
        raise PageError(path, "is no image and no PDF; give a picture with --image")
    if first.page_count != 1:
        _say(f"the query is page 1 of {path}")
    return first.image


def _where(pairs: Sequence[str]) -> dict[str, Any] | None:
    """Chroma's filter from KEY=VALUE pairs; a value that looks like a number matches both."""
    conditions: list[dict[str, Any]] = []
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise _usage(f"--where takes KEY=VALUE, not {pair!r}")
        meanings = _meanings(value)
        if key == "source" and Path(value).expanduser().exists():
            meanings = [value, Path(value).expanduser().resolve().as_posix()]
        options = [{key: meaning} for meaning in dict.fromkeys(meanings)]
        conditions.append(options[0] if len(options) == 1 else {"$or": options})
    if not conditions:
        return None
    return conditions[0] if len(conditions) == 1 else {"$and": conditions}


def _meanings(value: str) -> list[Any]:
    if value.lower() in ("true", "false"):
        return [value, value.lower() == "true"]
    for read in (int, float):
        try:
            number = read(value)
        except ValueError:
            continue
        return [value, number] if math.isfinite(number) else [value]
    return [value]


def _usage(message: str) -> SystemExit:
    _say(f"metaembed: {message}")
    return SystemExit(2)


# -- output --------------------------------------------------------------------------------


class _Bar:
    """A progress bar on standard error; in a log file it says something every ten seconds."""

    def __init__(self, unit: str, total: int, quiet: bool) -> None:
        from tqdm import tqdm

        pause = 0.1 if sys.stderr.isatty() else 10.0
        self._bar = tqdm(total=total, unit=unit, disable=quiet, mininterval=pause)

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def update(self, done: int) -> None:
        self._bar.update(done)


def _print_hits(hits: Hits, pages: int) -> None:
    hybrid = ", with BM25" if hits.scoring == "hybrid" else ""
    found = f"{len(hits)} of {pages} pages, {hits.seconds * 1000:.0f} ms"
    print(f"budget ({hits.budget}){hybrid}{_chosen(hits)}, {found}")
    for hit in hits:
        page = hit.page
        section = page.metadata.get("section")
        print(f"\n{hit.rank}. {hit.score:.3f}  {page.source}  page {page.number}")
        if section:
            print(f"   {section}")
        text = " ".join(page.text.split())
        if text:
            print(textwrap.indent(textwrap.fill(textwrap.shorten(text, _SNIPPET), 92), "   "))
        if page.image_path:
            print(f"   picture: {page.image_path}")


def _chosen(hits: Hits) -> str:
    """What the calibration promised of the plan that it chose."""
    plan = hits.plan
    if plan is None or plan.way != "auto":
        return ""
    return f", chosen by the calibration (recall {plan.recall:.3f}, {plan.ms:.1f} ms expected)"


def _print_evaluation(report: dict[str, Any]) -> None:
    print(
        f"{report['dataset']}: {report['queries']} queries, {report['pages']} pages, "
        f"model {report['model']}, mode {report['mode']}"
        + (", with BM25" if "hybrid" in report else "")
    )
    columns = [key for key in report["results"][0] if key != "budget"]
    print("  ".join(["budget".ljust(8)] + [column.rjust(11) for column in columns]))
    for result in report["results"]:
        budget = "({},{})".format(*result["budget"])
        print("  ".join([budget.ljust(8)] + [f"{result[c]:.4g}".rjust(11) for c in columns]))


def _report_dict(index: PageIndex, report: AddReport) -> dict[str, Any]:
    return {
        "index": index.info()["index"],
        "model": index.info()["model"],
        "pages": len(index),
        "added": report.added,
        "updated": report.updated,
        "unchanged": report.unchanged,
        "removed": report.removed,
        "skipped": [{"source": e.source, "reason": e.reason} for e in report.skipped],
        "ignored": [path.as_posix() for path in report.ignored],
        "seconds": {key: round(value, 3) for key, value in report.seconds.items()},
    }


def _list_skipped(report: AddReport) -> None:
    if report.ignored:
        kinds = sorted({path.suffix.lower() or "(no suffix)" for path in report.ignored})
        _say(f"{len(report.ignored)} files of other kinds were left out: {', '.join(kinds)}")
    if report.skipped:
        _say(f"{len(report.skipped)} could not be read (a damaged file keeps the pages it had):")
        for error in report.skipped:
            _say(f"  {error}")


def _print_json(value: dict[str, Any]) -> None:
    print(json.dumps(value, ensure_ascii=False))


def _say(message: str) -> None:
    print(message, file=sys.stderr)


# -- arguments -----------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    from metaembed_rag.cli import calibrate, mining, plan, training

    parser = argparse.ArgumentParser(
        prog="metaembed",
        description="Find the page that answers: multimodal retrieval at the budget you choose.",
        epilog="Environment: METAEMBED_INDEX, METAEMBED_MODEL and METAEMBED_BUDGET are the "
        "defaults of --index, --model and --budget.",
    )
    parser.add_argument("--version", action="version", version=f"metaembed {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _index_arguments(_command(commands, "index", _index, "index files and folders"))
    _search_arguments(_command(commands, "search", _search, "find pages by text, image or both"))
    _evaluate_arguments(_command(commands, "evaluate", _evaluate, "measure a model on a BEIR set"))
    _place(_command(commands, "info", _info, "say what an index holds"))
    _delete_arguments(_command(commands, "delete", _delete, "delete pages by id or source"))
    training.add_arguments(_command(commands, "train", training.run, training.SUMMARY))
    mining.add_arguments(
        _command(commands, "mine", mining.run, "add hard negatives to a training set")
    )
    plan.add_arguments(_command(commands, "plan", plan.run, "say what an index will cost"))
    calibrate.add_arguments(_command(commands, "calibrate", calibrate.run, calibrate.SUMMARY))
    return parser


def _command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int], summary: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=summary, description=summary)
    parser.set_defaults(run=run)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    return parser


def _place(parser: argparse.ArgumentParser) -> None:
    default = os.environ.get("METAEMBED_INDEX") or None
    parser.add_argument(
        "--index",
        metavar="DIR",
        default=default,
        required=default is None,
        help="folder of the index, or http(s)://host:port of a Chroma server",
    )
    parser.add_argument("--collection", default="pages", help="name in Chroma (default: pages)")


def _device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", help="cpu, cuda, mps (default: the best there is)")


def _model(parser: argparse.ArgumentParser) -> None:
    _device(parser)
    parser.add_argument(
        "--model",
        default=os.environ.get("METAEMBED_MODEL") or None,
        help="mini, a folder, a hub id, or http://host:port#name of an encoding server "
        "(default: mini)",
    )
    parser.add_argument(
        "--mode",
        choices=("fused", "image", "text"),
        default="fused",
        help="what of a page is encoded: picture and text, the picture, or the text",
    )
    parser.add_argument("--no-ocr", action="store_true", help="do not read pictures by OCR")
    parser.add_argument("--batch-size", type=_positive, default=64, help="pages at a time")


def _index_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", metavar="PATH", help="PDFs, images, texts, folders")
    _place(parser)
    _model(parser)
    parser.add_argument("--vectors", type=_positive, help="vectors stored a page (default: 64)")
    parser.add_argument(
        "--format",
        choices=("fp16", "int8", "int4", "bits"),
        help="how a new index stores vectors (default: int8); see `metaembed plan`",
    )
    parser.add_argument(
        "--dimension",
        type=_positive,
        metavar="D",
        help="values stored a vector, where the model was trained for it (default: all)",
    )
    parser.add_argument("--password", help="for encrypted PDFs")


def _search_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("query", nargs="?", default="", metavar="QUERY", help="text; - for stdin")
    _place(parser)
    _device(parser)
    parser.add_argument("-k", type=_positive, default=5, help="hits (default: 5)")
    parser.add_argument(
        "--budget",
        type=_budget_or_auto,
        metavar="R_Q,R_C",
        help="vectors a side: 1,1 to 16,64, or fast, balanced, full (default: METAEMBED_BUDGET, or "
        "all that are stored); auto: what `metaembed calibrate` found",
    )
    parser.add_argument(
        "--max-ms",
        type=_limit,
        metavar="MS",
        help="the best budget for so many milliseconds, by calibration",
    )
    parser.add_argument(
        "--min-recall",
        type=_share,
        metavar="SHARE",
        help="the fastest budget that finds such a share (0.99) of the best pages, by calibration",
    )
    parser.add_argument("--image", metavar="FILE", help="an image as query, or with the text")
    parser.add_argument(
        "--where", action="append", default=[], metavar="KEY=VALUE", help="only matching pages"
    )
    ways = parser.add_mutually_exclusive_group()
    ways.add_argument("--candidates", type=_positive, metavar="M", help="pages reranked")
    ways.add_argument("--exhaustive", action="store_true", help="score every page")
    parser.add_argument(
        "--hybrid", action="store_true", help="let the words of QUERY count too (BM25)"
    )
    parser.add_argument("--html", metavar="FILE", help="also write a page that shows the hits")


def _evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", metavar="DATASET", help="a folder in BEIR layout")
    _model(parser)
    parser.add_argument(
        "--budget",
        action="append",
        type=_budget,
        metavar="R_Q,R_C",
        help="may be repeated (default: all five of the paper)",
    )
    parser.add_argument("--limit", type=_positive, metavar="N", help="the first N queries only")
    parser.add_argument("--hybrid", action="store_true", help="fuse with BM25, as search --hybrid")
    parser.add_argument("--cache", metavar="DIR", help="keep OCR texts here between runs")


def _delete_arguments(parser: argparse.ArgumentParser) -> None:
    _place(parser)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--id", action="append", default=[], help="a page's id; may be repeated")
    what.add_argument("--source", action="append", default=[], help="a file; may be repeated")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _limit(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number over 0")
    return number


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number over 0 and at most 1")
    return share


def _budget_or_auto(text: str) -> RetrievalBudget | str:
    return AUTO if is_auto(text) else _budget(text)


def _budget(text: str) -> RetrievalBudget:
    try:
        return RetrievalBudget.parse(text)
    except BudgetError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


if __name__ == "__main__":
    sys.exit(main())
