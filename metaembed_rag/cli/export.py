"""``metaembed export``: an index into one file, or into Qdrant."""

from __future__ import annotations

import argparse

from metaembed_rag.cli.check import finding_dicts, finding_lines
from metaembed_rag.cli.options import add_place, add_wait, open_index
from metaembed_rag.cli.output import answer, counted, page_bar, say, wrong_usage

SUMMARY = "write an index into one file, or into Qdrant"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``metaembed export``."""
    parser.add_argument(
        "file",
        metavar="FILE",
        help="the file to write, such as my_index.zip; with --to qdrant a folder, or "
        "http(s)://host:port of a Qdrant server (its key in QDRANT_API_KEY)",
    )
    add_place(parser)
    parser.add_argument("--force", action="store_true", help="replace a file that is there")
    parser.add_argument(
        "--to",
        choices=("file", "qdrant"),
        default="file",
        help="qdrant: points with the named multi-vectors v1, v4, v16, v64; goes on where an "
        "export was ended (default: file)",
    )
    parser.add_argument("--to-collection", metavar="NAME", help="in Qdrant (default: pages)")
    parser.add_argument(
        "--prune", action="store_true", help="take pages out of Qdrant that the index does not hold"
    )
    add_wait(parser)


def run(given: argparse.Namespace) -> int:
    """Export, and say what is in the file; the exit code is 1 when something was left out."""
    if given.to == "qdrant":
        return _to_qdrant(given)
    if given.prune or given.to_collection:
        raise wrong_usage("--prune and --to-collection are for --to qdrant")
    with open_index(given) as index, page_bar(given, index.__len__) as count:
        report = index.export(
            given.file, overwrite=given.force, progress=count, lock_timeout=given.wait
        )
    found = {
        "index": given.index,
        "file": given.file,
        "pages": report.pages,
        "pictures": report.pictures,
        "bytes": report.bytes,
        "left_out": finding_dicts(report.left_out),
    }
    held = f"{counted(report.pages, 'page')} and {counted(report.pictures, 'picture')}"
    answer(given, found, f"{given.file}: {held}, {report.bytes / 1e6:.1f} MB")
    if report.left_out:
        say(f"{counted(len(report.left_out), 'damaged thing is', 'damaged things are')} left out:")
        say("\n".join(f"  {line}" for line in finding_lines(report.left_out)))
    return 1 if report.left_out else 0


def _to_qdrant(given: argparse.Namespace) -> int:
    """Write the pages into Qdrant, and say what is there now."""
    if given.force:
        raise wrong_usage("--force does not go with --to qdrant, which goes on where it was")
    name = given.to_collection or "pages"
    with open_index(given) as index, page_bar(given, index.__len__) as count:
        report = index.export_to_qdrant(
            given.file, collection=name, prune=given.prune, progress=count
        )
    found = {"index": given.index, "to": report.where, "collection": report.collection}
    found |= {"levels": list(report.levels)}
    found |= {n: getattr(report, n) for n in ("written", "unchanged", "removed", "others")}
    text = f"{report.where}, collection {name}: {counted(report.written, 'page')} written, "
    text += f"{report.unchanged} unchanged, {report.removed} removed"
    answer(given, found, text)
    if report.others:
        others = counted(report.others, "page is", "pages are")
        say(f"{others} there that the index does not hold; --prune takes them out")
    return 0
