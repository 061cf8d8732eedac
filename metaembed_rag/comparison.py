"""One query at several budgets, side by side: what each finds, and what it costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import PurePosixPath
from typing import Any

from metaembed_rag import html
from metaembed_rag.budget import BudgetLike, RetrievalBudget
from metaembed_rag.errors import BudgetError
from metaembed_rag.hits import Hits, describe_query, hit_card
from metaembed_rag.pages.page import Page

STYLE = """
.metaembed .budgets { display: grid; grid-auto-flow: column; gap: 10px;
                      grid-auto-columns: minmax(150px, 1fr); overflow-x: auto; }
.metaembed .budgets .about { font-size: 12px; margin: 0; }
.metaembed .budgets .hit { width: auto; margin-top: 8px; }
.metaembed .budgets .hit img { height: 190px; }
.metaembed .budgets .hit .text { height: 166px; }
.metaembed .budgets .exact .hit { border: 2px solid #2e7d4f; }
"""
"""Beside :data:`metaembed_rag.html.STYLE`; pages of the exhaustive search have a green frame."""

_NAME = 44
"""Characters of a page's name that a line of the table shows."""


@dataclass(frozen=True)
class BudgetResult:
    """What a search at one budget found, and what it cost.

    Attributes:
        budget: Of the scores.
        hits: The best ``k``.
        ranks: Page id to rank, of the best ``depth`` pages.
        ms: Wall milliseconds of the search, without encoding the query.
        bytes_read: Bytes of page vectors that it compared.
        agreement: Share of the exhaustive top ``k`` at the full budget that ``hits`` have, in
            [0, 1].
    """

    budget: RetrievalBudget
    hits: Hits
    ranks: dict[str, int]
    ms: float
    bytes_read: int
    agreement: float

    def to_dict(self) -> dict[str, Any]:
        """For JSON: the hits as ``metaembed search --json`` has them."""
        return {
            "budget": [self.budget.r_q, self.budget.r_c],
            "ms": round(self.ms, 3),
            "bytes_read": self.bytes_read,
            "agreement": round(self.agreement, 6),
            "hits": self.hits.to_dict()["hits"],
        }


@dataclass(frozen=True, repr=False)
class Comparison:
    """One query at several budgets: printed as a table, in a notebook as columns of pages.

    Attributes:
        query: As it was asked; None for a search by vectors.
        k: Hits of each budget.
        depth: How far down ranks are known.
        results: One for each budget, in the order in which they were asked for.
        exact: The best ``k`` of an exhaustive search with all vectors: what the budgets are
            compared with.
        encoding_ms: Wall milliseconds to encode the query, once for all budgets.
    """

    query: Any
    k: int
    depth: int
    results: tuple[BudgetResult, ...]
    exact: Hits
    encoding_ms: float

    def __getitem__(self, budget: BudgetLike) -> BudgetResult:
        """The result at one of the compared budgets: ``comparison["4,8"].hits``.

        Raises:
            BudgetError: It was not compared.
        """
        wanted = RetrievalBudget.parse(budget)
        for one in self.results:
            if one.budget == wanted:
                return one
        there = ", ".join(f'"{one.budget}"' for one in self.results)
        raise BudgetError(f"({wanted}) was not compared; there are {there}")

    def __iter__(self) -> Iterator[BudgetResult]:
        return iter(self.results)

    @property
    def pages(self) -> list[Page]:
        """Each page among the hits of any budget once: the exhaustive top ``k`` first."""
        every = [self.exact, *(one.hits for one in reversed(self.results))]
        return list({hit.page.id: hit.page for hits in every for hit in hits}.values())

    @property
    def ranks(self) -> dict[str, dict[str, int | None]]:
        """Page id -> budget -> rank there, from 1; None where it is below ``depth``.

        A budget is written as in ``"4,8"``, and the pages are those of :attr:`pages`.
        """
        return {
            page.id: {str(one.budget): one.ranks.get(page.id) for one in self.results}
            for page in self.pages
        }

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of ``metaembed search --compare --json``; ``page`` counts from 1."""
        return {
            "query": describe_query(self.query),
            "k": self.k,
            "depth": self.depth,
            "encoding_ms": round(self.encoding_ms, 3),
            "exact": [hit.page.id for hit in self.exact],
            "budgets": [one.to_dict() for one in self.results],
            "pages": [
                {"id": page.id, "source": page.source, "page": page.number, "ranks": ranks}
                for page, ranks in zip(self.pages, self.ranks.values(), strict=True)
            ],
        }

    def __str__(self) -> str:
        """A table: a line for each page with its rank at each budget, then what each costs.

        A rank in brackets is below the best ``k``, ``–`` below ``depth``.
        """
        rows = list(self._rows())
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(_padded(row, widths)).rstrip() for row in rows]
        return "\n".join([self._about, "", *lines])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """Show a column of pages for each budget in a notebook."""
        return comparison_html(self)

    @property
    def _about(self) -> str:
        asked = describe_query(self.query) or "vectors"
        return f'"{asked}": ranks by budget; encoding the query took {self.encoding_ms:.0f} ms'

    def _rows(self) -> Iterator[list[str]]:
        yield ["", *(f"({one.budget})" for one in self.results)]
        for page in self.pages:
            yield [_name(page), *(self._rank(one.ranks.get(page.id)) for one in self.results)]
        share = f"of the exhaustive top {self.k} at all vectors"
        yield [share, *(f"{one.agreement:.0%}" for one in self.results)]
        yield ["milliseconds", *(f"{one.ms:.1f}" for one in self.results)]
        yield ["bytes of vectors read", *(f"{one.bytes_read:,}" for one in self.results)]

    def _rank(self, rank: int | None) -> str:
        if rank is None:
            return "–"
        return str(rank) if rank <= self.k else f"({rank})"


def comparison_html(found: Comparison, *, max_side: int = 260) -> str:
    """A fragment of HTML: a column of pages for each budget, what it costs above it.

    Pages of the exhaustive top ``k`` at the full budget have a green frame.

    Args:
        found: What was compared.
        max_side: Pictures are shrunk to this many pixels and embedded, so the fragment needs no
            other file.
    """
    exact = {hit.page.id for hit in found.exact}
    columns = "".join(_column(one, found.k, exact, max_side) for one in found.results)
    heading = f"<h2>{escape(describe_query(found.query) or '')}</h2>"
    return html.fragment(f'{heading}<div class="budgets">{columns}</div>', STYLE)


def comparison_page(found: Comparison, *, max_side: int = 520) -> str:
    """A whole HTML document, for ``metaembed search --compare --html``."""
    title = describe_query(found.query) or "Search"
    return html.document(title, comparison_html(found, max_side=max_side))


def _column(one: BudgetResult, k: int, exact: set[str], max_side: int) -> str:
    cards = "".join(
        f'<div class="{"exact" if hit.page.id in exact else "other"}">'
        f"{hit_card(hit, max_side=max_side)}</div>"
        for hit in one.hits
    )
    about = f"{one.ms:.1f} ms · {one.bytes_read:,} bytes read · {one.agreement:.0%} of the top {k}"
    return f'<div><b>budget ({one.budget})</b><p class="about">{about}</p>{cards}</div>'


def _name(page: Page) -> str:
    """File and page number; the end of it where it is long."""
    name = f"{PurePosixPath(page.source).name}, page {page.number}"
    return name if len(name) <= _NAME else f"…{name[1 - _NAME :]}"


def _padded(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    """The first cell to the left, all others to the right."""
    first, *others = zip(row, widths, strict=True)
    return [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
