"""What tables are made of: numbers as they are shown, rows, and the sets of the records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]
Row = Mapping[str, Any]
Lines = list[str]
BUDGETS = ((1, 1), (2, 4), (4, 8), (8, 16), (16, 64))
SIZES = tuple(f"({r_q},{r_c})" for r_q, r_c in BUDGETS)
PRESETS = {(1, 1): " `fast`", (4, 8): " `balanced`", (16, 64): " `full`"}
SETS = {
    "texdoc_pages": "texdoc_pages, text = fused",
    "debian_packages": "debian_packages, text",
    "cranfield": "cranfield, text",
    "OpenCQA, 400 charts (OCR)": "opencqa400, image by OCR",
    "texdoc_pages (OCR)": "texdoc_pages, image by OCR",
}
"""Heading of a column -> the set in the records."""
SHORT = tuple(SETS)[:4]
NONE = "–"


def percent(value: float | None) -> str:
    """With one decimal."""
    return NONE if value is None else f"{100 * value:.1f}"


def points(three: Sequence[float]) -> str:
    """A difference and its interval."""
    mean, low, high = (100 * one for one in three)
    return f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]"


def interval(row: Row) -> str:
    """nDCG@5 with its interval, where there is one."""
    ends = [100 * end for end in row.get("ndcg@5_interval", ())]
    return percent(row["ndcg@5"]) + (f" [{ends[0]:.1f}, {ends[1]:.1f}]" if ends else "")


def number(value: float | None) -> str:
    """Three figures, or whole with separators."""
    if value is None:
        return NONE
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def whole(value: int | None) -> str:
    """With separators."""
    return NONE if value is None else f"{value:,}"


def grid(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Lines:
    """A Markdown table."""
    return [_line(head), "|" + "---|" * len(head), *map(_line, rows)]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def found(records: Sequence[Record], heading: str, system: str, size: str) -> Row | None:
    """A system at a size on a set, from the first record that has it."""
    for record in records:
        for one in record["numbers"]["sets"]:
            if one["set"] == SETS[heading]:
                for row in one["rows"]:
                    if (row["system"], row["size"]) == (system, size):
                        return dict(row)
    return None


def systems(
    records: Sequence[Record],
    named: Sequence[tuple[str, str, str]],
    headings: Sequence[str],
    cell: Callable[[Row], str],
) -> Lines:
    """A row a system, a column a set.

    Args:
        records: Where to look, in this order.
        named: What a row is called, system and size.
        headings: Of the sets.
        cell: What a cell shows.
    """
    rows = []
    for name, system, size in named:
        some = [found(records, heading, system, size) for heading in headings]
        stored = next((one["bytes_per_page"] for one in some if one is not None), None)
        rows.append([name, whole(stored), *(NONE if one is None else cell(one) for one in some)])
    return grid(["system", "bytes a page", *headings], rows)
