"""``metaembed export``: an index into one file."""

from __future__ import annotations

import argparse

from metaembed_rag.cli.check import finding_dicts, finding_lines
from metaembed_rag.cli.options import add_place, add_wait, open_index
from metaembed_rag.cli.output import answer, counted, page_bar, say

SUMMARY = "write an index into one file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``metaembed export``."""
    parser.add_argument("file", metavar="FILE", help="the file to write, such as my_index.zip")
    add_place(parser)
    parser.add_argument("--force", action="store_true", help="replace a file that is there")
    add_wait(parser)


def run(given: argparse.Namespace) -> int:
    """Export, and say what is in the file; the exit code is 1 when something was left out."""
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
