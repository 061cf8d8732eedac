"""``metaembed search --compare``: one query at several budgets, side by side."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metaembed_rag.budget import AUTO, RetrievalBudget
from metaembed_rag.cli import options
from metaembed_rag.cli.output import answer, say, wrong_usage

_REFUSED = ("max_ms", "min_recall", "min_confidence", "explain", "deadline")
"""Options of a search that say nothing of budgets side by side."""


class EachBudget(argparse.Action):
    """Keeps the last ``--budget`` for a search, and all of them for ``--compare``."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Keep one more."""
        namespace.budget = values
        namespace.budgets = (*namespace.budgets, values)


def add_compare(parser: argparse.ArgumentParser) -> None:
    """The option ``--compare``."""
    parser.set_defaults(budgets=())
    parser.add_argument(
        "--compare",
        action="store_true",
        help="the ranks of pages at several budgets side by side, and what each costs: at those "
        "of --budget, which may be repeated then, or at the paper's five",
    )


def check_compare(given: argparse.Namespace) -> None:
    """Refuse what does not go with ``--compare``, and several budgets without it."""
    if not given.compare:
        if len(given.budgets) > 1:
            raise wrong_usage("name one --budget, or see several side by side with --compare")
        return
    for name in _REFUSED:
        if getattr(given, name):
            raise wrong_usage(f"--{name.replace('_', '-')} does not go with --compare")
    if len(given.indexes) > 1:
        raise wrong_usage("--compare is for one index")
    if AUTO in given.budgets:
        raise wrong_usage("--compare takes budgets such as 4,8: leave out --budget auto")


def run_compare(
    given: argparse.Namespace, query: Any, where: Mapping[str, Any] | None, hybrid: bool | None
) -> int:
    """Compare, and print a table or one JSON object."""
    from metaembed_rag.comparison import comparison_page

    budgets: tuple[RetrievalBudget, ...] | None = given.budgets or None
    with options.open_index(given) as index:
        found = index.compare(
            query,
            budgets,
            given.k,
            hybrid=hybrid,
            where=where,
            candidates=given.candidates,
            exhaustive=given.exhaustive,
        )
    if given.html:
        Path(given.html).write_text(comparison_page(found), encoding="utf-8")
        say(f"wrote {given.html}")
    answer(given, found.to_dict(), str(found))
    return 0
