"""A report as one HTML page: the budget curve, and the pages that came instead of the right ones.

It needs no other file and no network: the curve is drawn in SVG, pictures are embedded.
"""

from __future__ import annotations

import html as escaping
from collections.abc import Sequence
from pathlib import Path

from metaembed_rag import html
from metaembed_rag.evaluation.curves import BudgetResult
from metaembed_rag.evaluation.own_index import Failure, IndexReport, SystemResult
from metaembed_rag.hits import hit_card
from metaembed_rag.pages.page import page_card

METRIC = "ndcg@5"
"""What the curve shows."""

_WIDTH, _HEIGHT = 640, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 16, 16, 64
_COLOURS = {"vectors and words": "#0b6e4f", "vectors": "#2456a6", "BM25": "#a14a00"}
_DASHES = {"vectors and words": "", "vectors": "6 3", "BM25": "2 3"}
_LARGEST_SIDE = 700
_MOST_FAILURES = 100
"""Questions that are shown with pictures: each adds some hundred kilobytes."""

_STYLE = """
.metaembed table { border-collapse: collapse; margin: 8px 0 18px; }
.metaembed th, .metaembed td { padding: 3px 10px; border-bottom: 1px solid #d9dee6;
                               text-align: right; font-variant-numeric: tabular-nums; }
.metaembed th:first-child, .metaembed td:first-child { text-align: left; }
.metaembed svg { display: block; max-width: 100%; height: auto; background: #fff;
                 border: 1px solid #d9dee6; border-radius: 8px; }
.metaembed svg text { font: 12px system-ui, sans-serif; fill: #1c2430; }
.metaembed .wanted .hit { border: 2px solid #0b6e4f; }
"""


def report_page(report: IndexReport) -> str:
    """A whole HTML document of a report."""
    asked = "1 question" if report.questions == 1 else f"{report.questions:,} questions"
    title = f"{Path(report.index).name or report.index}: {asked}"
    body = [
        f"<style>{_STYLE}</style>",
        f"<h2>{escaping.escape(title)}</h2>",
        f'<p class="about">{escaping.escape(_about(report))}</p>',
        curve(report),
        _table(report),
        *_failures(report),
    ]
    return html.document(title, html.fragment("".join(body)))


def systems(report: IndexReport) -> list[tuple[str, Sequence[SystemResult]]]:
    """Each way of searching by its name, with a result a budget; of BM25 one for all."""
    found: list[tuple[str, Sequence[SystemResult]]] = []
    if report.vectors_alone:
        found += [("vectors and words", report.results), ("vectors", report.vectors_alone)]
    else:
        found.append(("vectors", report.results))
    if report.bm25 is not None:
        found.append(("BM25", (report.bm25,)))
    return found


def curve(report: IndexReport) -> str:
    """The budget curve as SVG: quality over the budgets, from the cheapest."""
    budgets = [one.figures for one in report.results if isinstance(one.figures, BudgetResult)]
    xs = [_x(place, len(budgets)) for place in range(len(budgets))]
    parts = [_axis()]
    for x, one in zip(xs, budgets, strict=True):
        parts.append(_label(x, _HEIGHT - _BOTTOM + 18, f"({one.budget})"))
        parts.append(_label(x, _HEIGHT - _BOTTOM + 34, f"{one.bytes_per_page:,} B"))
    for place, (name, results) in enumerate(systems(report)):
        across = results[0].at_all_budgets
        values = [_value(one) for one in results] * (2 if across else 1)
        points = list(zip([_x(0, 2), _x(1, 2)] if across else xs, values, strict=True))
        parts.append(_line(name, points, dots=not across))
        parts.append(_legend(place, name))
    label = f"{METRIC} at every budget"
    return (
        f'<svg role="img" aria-label="{label}" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'width="{_WIDTH}" height="{_HEIGHT}">{"".join(parts)}</svg>'
    )


def _value(result: SystemResult) -> float:
    figures = result.figures
    return figures.mean(METRIC) if isinstance(figures, BudgetResult) else figures[METRIC]


def _x(place: int, of: int) -> float:
    span = _WIDTH - _LEFT - _RIGHT - 60
    return _LEFT + 30 + (span * place / (of - 1) if of > 1 else span / 2)


def _y(value: float) -> float:
    return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - value)


def _axis() -> str:
    lines = []
    for tenths in range(0, 11, 2):
        y = _y(tenths / 10)
        ends = f'x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"'
        lines.append(f'<line {ends} stroke="#e3e7ee"/>')
        lines.append(
            f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tenths / 10}</text>'
        )
    return "".join(lines)


def _label(x: float, y: float, text: str) -> str:
    return f'<text x="{x:.1f}" y="{y}" text-anchor="middle">{escaping.escape(text)}</text>'


def _line(name: str, points: Sequence[tuple[float, float]], *, dots: bool) -> str:
    way = " ".join(f"{x:.1f},{_y(value):.1f}" for x, value in points)
    style = f'stroke="{_COLOURS[name]}" stroke-dasharray="{_DASHES[name]}" stroke-width="2"'
    drawn = [f'<polyline points="{way}" fill="none" {style}/>']
    for x, value in points if dots else ():
        said = escaping.escape(f"{name}: {value:.3f}")
        spot = f'cx="{x:.1f}" cy="{_y(value):.1f}" r="4" fill="{_COLOURS[name]}"'
        drawn.append(f"<circle {spot}><title>{said}</title></circle>")
    return "".join(drawn)


def _legend(place: int, name: str) -> str:
    x, y = _LEFT + 30 + 180 * place, _HEIGHT - 12
    style = f'stroke="{_COLOURS[name]}" stroke-dasharray="{_DASHES[name]}" stroke-width="2"'
    line = f'<line x1="{x}" x2="{x + 26}" y1="{y - 4}" y2="{y - 4}" {style}/>'
    return f'{line}<text x="{x + 32}" y="{y}">{escaping.escape(name)}</text>'


def _about(report: IndexReport) -> str:
    return (
        f"{report.pages:,} pages · model {report.model} · {METRIC} · "
        f"without a right page among the first {report.k} at ({report.best}): "
        f"{len(report.failures)}"
    )


def _table(report: IndexReport) -> str:
    rows = []
    head: list[str] = []
    for name, results in systems(report):
        for one in results:
            figures = one.to_dict(report.k)
            pair = figures.pop("budget", None)
            head = head or ["system", "budget", *figures]
            cells = [name, "–" if pair is None else f"({pair[0]},{pair[1]})"]
            cells += [shown_figure(figures.get(key), "–") for key in head[2:]]
            rows.append(cells)
    lines = [_cells("th", head), *(_cells("td", cells) for cells in rows)]
    return f"<table>{''.join(lines)}</table>"


def shown_figure(value: float | None, missing: str) -> str:
    """A number of a report as its reader sees it: whole ones whole, others by four digits."""
    if value is None:
        return missing
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _cells(kind: str, cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<{kind}>{escaping.escape(one)}</{kind}>" for one in cells) + "</tr>"


def _failures(report: IndexReport) -> list[str]:
    shown = [_failure(one) for one in report.failures[:_MOST_FAILURES]]
    if len(report.failures) > _MOST_FAILURES:
        shown.append(f"<p>And {len(report.failures) - _MOST_FAILURES} more, not shown here.</p>")
    return shown


def _failure(failure: Failure) -> str:
    where = f"came at rank {failure.rank}" if failure.rank else "was not found"
    wanted = [page_card(page, score="right", max_side=_LARGEST_SIDE) for page in failure.wanted]
    instead = [hit_card(hit, max_side=_LARGEST_SIDE) for hit in failure.instead]
    about = f"the right page (framed) {where}; the others came instead"
    cards = "".join(instead) or "<p>No page was found.</p>"
    return (
        f"<h2>{escaping.escape(failure.question)}</h2>"
        f'<p class="about">{escaping.escape(about)}</p>'
        f'<div class="hits"><div class="hits wanted">{"".join(wanted)}</div>{cards}</div>'
    )
