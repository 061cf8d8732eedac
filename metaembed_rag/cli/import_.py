"""``metaembed import``: an index from one file."""

from __future__ import annotations

import argparse

from metaembed_rag.cli.options import add_place, add_wait, pictures_of, server_keywords
from metaembed_rag.cli.output import answer, counted, page_bar

SUMMARY = "make an index from an exported file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``metaembed import``."""
    parser.add_argument("file", metavar="FILE", help="a file that `metaembed export` wrote")
    add_place(parser)
    add_wait(parser)


def run(given: argparse.Namespace) -> int:
    """Import what is not there yet, and say how much that was."""
    from metaembed_rag.index import PageIndex
    from metaembed_rag.maintenance.importing import count_pages

    with page_bar(given, lambda: count_pages(given.file)) as count:
        report = PageIndex.import_(
            given.file,
            given.index,
            collection=given.collection,
            **server_keywords(given),
            pictures=pictures_of(given),
            progress=count,
            lock_timeout=given.wait,
        )
    found = {
        "index": given.index,
        "file": given.file,
        "pages": report.pages,
        "added": report.added,
        "pictures": report.pictures,
    }
    more = "" if report.added == report.pages else f", {report.pages - report.added} there before"
    written = f"{counted(report.added, 'page')} and {counted(report.pictures, 'picture')}"
    answer(given, found, f"{given.index}: {written} imported{more}")
    return 0
