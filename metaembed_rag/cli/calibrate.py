"""``metaembed calibrate``: measure plans, from which ``search --budget auto`` chooses, and what
unrelated questions score, from which hits have their confidence."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, astuple
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metaembed_rag.cli.options import add_device, add_model_of_index, add_place, open_index
from metaembed_rag.cli.output import answer, table
from metaembed_rag.cli.values import positive, share
from metaembed_rag.errors import DatasetError

if TYPE_CHECKING:
    from metaembed_rag.search.calibration import Calibration
    from metaembed_rag.search.plan import Plan

SUMMARY = (
    "measure for search --budget auto how much to score, and for --min-confidence what is a match"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``metaembed calibrate``."""
    add_place(parser)
    add_device(parser)
    add_model_of_index(parser)
    parser.add_argument(
        "--queries",
        metavar="FILE",
        help='one query a line, or JSON lines with "text" (default: pieces of the pages\' texts)',
    )
    parser.add_argument(
        "--recall",
        type=share,
        default=0.99,
        metavar="SHARE",
        help="of the exact best pages to be found (default: 0.99)",
    )
    parser.add_argument(
        "--unrelated",
        metavar="FILE",
        help="questions that the index holds no answer to, as --queries has them, at least 20 "
        "(default: 100 in English about cooking, pets, travel and the like)",
    )
    parser.add_argument("-k", type=positive, default=10, help="best pages (default: 10)")


def run(given: argparse.Namespace) -> int:
    """Measure, keep it beside the index, and print a table or one JSON object."""
    queries, unrelated = (
        None if path is None else read_queries(Path(path))
        for path in (given.queries, given.unrelated)
    )
    with open_index(given) as index:
        found = index.calibrate(queries, k=given.k, recall=given.recall, unrelated=unrelated)
    answer(given, {"index": given.index, **_as_dict(found)}, _table(found))
    return 0


def read_queries(path: Path) -> list[str]:
    """The queries of a file; blank lines are none.

    Raises:
        DatasetError: A line is no JSON object with a text, or the file is not UTF-8.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} is not UTF-8 text: {error.reason}; save it as UTF-8") from error
    numbered = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    if path.suffix not in (".jsonl", ".json"):
        return [line.strip() for _, line in numbered]
    return [_text_of(path, number, line) for number, line in numbered]


def _text_of(path: Path, number: int, line: str) -> str:
    try:
        text = json.loads(line)["text"]
    except (ValueError, KeyError, TypeError, RecursionError):
        text = None
    if not isinstance(text, str) or not text.strip():
        raise DatasetError(f'{path}, line {number}: write {{"text": "the query"}} on each line')
    return text


def _as_dict(found: Calibration) -> dict[str, Any]:
    return {
        **{name: getattr(found, name) for name in ("k", "queries", "pages", "fetch_ms")},
        "plans": [
            {
                "budget": astuple(plan.budget),
                "stages": [asdict(stage) for stage in plan.stages],
                "recall": plan.recall,
                "ms": plan.ms,
            }
            for plan in found.plans
        ],
        **({} if found.unrelated is None else {"unrelated": found.unrelated.to_dict()}),
    }


def _table(found: Calibration) -> str:
    rows = [("budget", "recall", "ms", " pages scored")]
    for plan in _useful(found.plans):
        stages = f" {_stages(plan, found.k)}"
        rows.append((f"({plan.budget})", f"{plan.recall:.4f}", f"{plan.ms:.2f}", stages))
    return (
        f"{found.queries} queries, {found.pages} pages: recall of the full budget's best "
        f"{found.k}, milliseconds a query\n"
        f"{table(rows, '<9', '>7', '>8', '')}\n"
        f"\nReading the {found.k} pages takes {found.fetch_ms:.2f} ms more; encoding a query comes "
        f"on top.\nsearch --budget auto chooses among these, by --max-ms or --min-recall.\n"
        f"{_unrelated(found)}"
    )


def _unrelated(found: Calibration) -> str:
    if found.unrelated is None:
        return ""
    return (
        f"{found.unrelated.questions} unrelated questions were asked too: hits have a confidence "
        f"now, and search --min-confidence 0.95 leaves out what is no match."
    )


def _useful(plans: Sequence[Plan]) -> list[Plan]:
    """Those that no other plan beats in recall and in time, best recall first."""
    useful: list[Plan] = []
    for plan in sorted(plans, key=lambda plan: (-plan.recall, plan.ms)):
        if not useful or plan.ms < useful[-1].ms:
            useful.append(plan)
    return useful


def _stages(plan: Plan, k: int) -> str:
    pages = [plan.pages, *(min(s.kept(plan.pages, k), plan.pages) for s in plan.stages)]
    sizes = [*(stage.r_c for stage in plan.stages), plan.budget.r_c]
    steps = [f"{n} by {r_c}" for n, r_c in zip(pages, sizes, strict=True)]
    return ", ".join(steps) + (" vector" if sizes[-1] == 1 else " vectors")
