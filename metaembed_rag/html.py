"""Hits as HTML: a document of its own, or a fragment for a notebook."""

from __future__ import annotations

import html
from collections.abc import Sequence

from metaembed_rag.hits import Hit, Hits, describe_query
from metaembed_rag.pages.show import page_card, wrap


def hits_html(results: Hits | Sequence[Hits], *, max_side: int = 520) -> str:
    """A fragment with each hit's picture (or text), score, source and the budget.

    Args:
        results: Hits of one search, or of several to be shown one below the other.
        max_side: Pictures are shrunk to this many pixels and embedded, so the fragment needs no
            other file.
    """
    several = [results] if isinstance(results, Hits) else list(results)
    body = "".join(_section(hits, max_side) for hits in several)
    return wrap(body)


def hits_page(results: Hits | Sequence[Hits], *, max_side: int = 900) -> str:
    """A whole HTML document with the hits, for ``metaembed search --html``."""
    first = results if isinstance(results, Hits) else results[0]
    title = html.escape(describe_query(first.query) or "Search")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title></head><body style='margin:24px;background:#fafbfc'>"
        f"{hits_html(results, max_side=max_side)}</body></html>\n"
    )


def _section(hits: Hits, max_side: int) -> str:
    query = html.escape(describe_query(hits.query) or "")
    words = " · with BM25" if hits.scoring == "hybrid" else ""
    about = f"budget ({hits.budget}){words} · {len(hits)} hits · {hits.seconds * 1000:.0f} ms"
    cards = "".join(hit_card(hit, max_side=max_side) for hit in hits) or "<p>No page was found.</p>"
    return f'<h2>{query}</h2><p class="about">{about}</p><div class="hits">{cards}</div>'


def hit_card(hit: Hit, *, max_side: int) -> str:
    """The card of one hit: picture or text, rank, score, source."""
    return page_card(hit.page, score=f"{hit.rank}. {hit.score:.3f}", max_side=max_side)
