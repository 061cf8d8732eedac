"""``metaembed check``: whether an index is whole."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from metaembed_rag.cli.options import add_place, add_wait, open_index
from metaembed_rag.cli.output import answer, counted, page_bar, say, shown
from metaembed_rag.errors import MetaEmbedError

if TYPE_CHECKING:
    from metaembed_rag.maintenance import CheckReport, Finding

SUMMARY = "look whether an index is whole"

FOUND, FAILED = 1, 2
"""Exit codes: something is wrong; it could not be looked at."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``metaembed check``."""
    add_place(parser)
    add_wait(parser)


def run(given: argparse.Namespace) -> int:
    """Print what is wrong; the exit code is 0 for nothing, 1 for something, 2 for no answer."""
    try:
        with open_index(given) as index, page_bar(given, index.__len__) as count:
            report = index.check(progress=count, lock_timeout=given.wait)
    except MetaEmbedError as error:
        if given.debug:
            raise
        say(f"metaembed: it could not be checked: {error}")
        return FAILED
    answer(given, _as_dict(given, report), _as_text(given, report))
    return 0 if report.is_sound else FOUND


def finding_lines(findings: Sequence[Finding]) -> list[str]:
    """Findings as lines of a table: kind, page, what, what to do."""
    rows = [(one.kind, one.id or "-", one.what, one.todo) for one in findings]
    cells = [tuple(shown(cell, in_one_line=True) for cell in row) for row in rows]
    widths = [max((len(row[column]) for row in cells), default=0) for column in range(3)]
    return [
        f"{kind:<{widths[0]}}  {id:<{widths[1]}}  {what:<{widths[2]}}  {todo}"
        for kind, id, what, todo in cells
    ]


def finding_dicts(findings: Sequence[Finding]) -> list[dict[str, str]]:
    """Findings as JSON has them."""
    return [asdict(one) for one in findings]


def _as_dict(given: argparse.Namespace, report: CheckReport) -> dict[str, Any]:
    return {
        "index": given.index,
        "collection": given.collection,
        "pages": report.pages,
        "pictures": report.pictures,
        "sound": report.is_sound,
        "findings": finding_dicts(report.findings),
        "notes": finding_dicts(report.notes),
        "seconds": round(report.seconds, 3),
    }


def _as_text(given: argparse.Namespace, report: CheckReport) -> str:
    lines = finding_lines(report.findings)
    if report.notes:
        lines += ["untidy, but in order:", *finding_lines(report.notes)]
    looked = f"{counted(report.pages, 'page')} and {counted(report.pictures, 'picture')}"
    wrong = counted(len(report.findings), "finding") if report.findings else "nothing is wrong"
    return "\n".join([*lines, f"{given.index}: {looked} looked at, {wrong}"])
