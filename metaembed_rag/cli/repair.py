"""``metaembed repair``: an index made whole again."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from metaembed_rag.cli.check import FAILED, finding_dicts, finding_lines
from metaembed_rag.cli.options import add_place, add_wait, open_index
from metaembed_rag.cli.output import answer, counted, page_bar, say, shown
from metaembed_rag.cli.roots import add_roots
from metaembed_rag.errors import MetaEmbedError

if TYPE_CHECKING:
    from metaembed_rag.maintenance import Finding, RepairReport

SUMMARY = "mend what `metaembed check` finds"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``metaembed repair``."""
    add_place(parser)
    parser.add_argument("--dry-run", action="store_true", help="change nothing, say what would be")
    parser.add_argument(
        "--yes", action="store_true", help="take damaged pages out of the index without asking"
    )
    add_roots(parser)
    add_wait(parser)


def run(given: argparse.Namespace) -> int:
    """Repair, and say what was done; the exit code is 1 when something is left, 2 for no answer."""
    try:
        with open_index(given) as index, page_bar(given, index.__len__) as count:
            report = index.repair(
                dry_run=given.dry_run,
                confirm=None if given.yes or given.dry_run else _asked(given),
                progress=count,
                lock_timeout=given.wait,
                roots=dict(given.root),
            )
            # The records cannot be asked for before the graph is made again.
            pages = None if given.dry_run and "graph" in report.rebuilt else len(index)
    except MetaEmbedError as error:
        if given.debug:
            raise
        say(f"metaembed: it could not be repaired: {error}")
        return FAILED
    answer(given, _as_dict(given, report, pages), "\n".join(_lines(given, report, pages)))
    return 1 if report.left else 0


def _asked(given: argparse.Namespace) -> Callable[[Sequence[Finding]], bool]:
    """Asks on the terminal; without one, pages stay."""

    def confirm(findings: Sequence[Finding]) -> bool:
        ids = {one.id for one in findings}
        say("\n".join(["damaged:", *(f"  {line}" for line in finding_lines(findings))]))
        if not sys.stdin.isatty():
            say(f"{counted(len(ids), 'page')} would be taken out; say --yes to do it")
            return False
        say(f"take {counted(len(ids), 'page')} out of {given.index}? [y/N] ")
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    return confirm


def _as_dict(given: argparse.Namespace, report: RepairReport, pages: int | None) -> dict[str, Any]:
    return {
        "index": given.index,
        "collection": given.collection,
        "pages": pages,
        "dry_run": report.dry_run,
        "dropped": finding_dicts(report.dropped),
        "restored": list(report.restored),
        "rewritten": list(report.rewritten),
        "rebuilt": list(report.rebuilt),
        "removed": list(report.removed),
        "left": finding_dicts(report.left),
    }


def _lines(given: argparse.Namespace, report: RepairReport, pages: int | None) -> list[str]:
    would = "would be " if report.dry_run else ""
    lines = []
    if report.dropped:
        lines += [f"{would}taken out, to be indexed again:", *finding_lines(report.dropped)]
    if report.restored:
        lines += [f"pictures {would}made again:", *_names(report.restored)]
    if report.rewritten:
        number = counted(len(report.rewritten), "vector")
        lines.append(f"{number} {would}written again to Chroma's graph")
    if report.removed:
        lines += [f"{would}removed:", *_names(report.removed)]
    if report.left:
        lines += ["left:", *finding_lines(report.left)]
    lines.append(f"{would}made again: {', '.join(report.rebuilt)}")
    left = counted(len(report.left), "finding") if report.left else "nothing"
    count = "" if pages is None else f" {counted(pages, 'page')},"
    return [*lines, f"{given.index}:{count} {left} left to mend"]


def _names(names: Sequence[str]) -> list[str]:
    """Names as lines of a list."""
    return [shown(name, in_one_line=True) for name in names]
