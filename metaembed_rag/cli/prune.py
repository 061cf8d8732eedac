"""``metaembed prune``: pages of files that are no more out of an index."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from metaembed_rag.cli.options import add_place, add_wait, open_index
from metaembed_rag.cli.output import answer, counted, say, shown
from metaembed_rag.cli.roots import add_roots

if TYPE_CHECKING:
    from metaembed_rag.ingest import PruneReport

SUMMARY = "remove the pages of files that are no more"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``metaembed prune``."""
    add_place(parser)
    parser.add_argument("--dry-run", action="store_true", help="remove nothing, say what would go")
    parser.add_argument(
        "--yes",
        action="store_true",
        help="also where none of the files is there, as on a disk that is not mounted",
    )
    add_roots(parser)
    add_wait(parser)


def run(given: argparse.Namespace) -> int:
    """Prune, and say what has gone; the exit code is 1 when a file could not be looked for."""
    with open_index(given) as index:
        report = index.prune(
            dry_run=given.dry_run,
            everything=given.yes,
            roots=dict(given.root),
            lock_timeout=given.wait,
        )
        pages = len(index)
    found = {
        "index": given.index,
        "removed": report.pages,
        "pages": pages,
        "dry_run": report.dry_run,
        "files": [{"source": file, "pages": count} for file, count in report.files.items()],
        "doubtful": [{"source": file, "reason": why} for file, why in report.doubtful.items()],
    }
    text = f"{report}: {counted(pages, 'page')} in {given.index}"
    answer(given, found, "\n".join([*_lines(report), text]))
    for file, why in report.doubtful.items():
        say(f"metaembed: {shown(file, in_one_line=True)}: not known whether it is there ({why})")
    return 1 if report.doubtful else 0


def _lines(report: PruneReport) -> list[str]:
    """The files that are no more, a line each."""
    return [
        f"{shown(file, in_one_line=True)}: {counted(count, 'page')}"
        for file, count in report.files.items()
    ]
