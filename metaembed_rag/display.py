"""Hits as HTML: a page of its own, or a fragment for a notebook."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path

from metaembed_rag.errors import PageError
from metaembed_rag.hits import Hit, Hits, describe_query

_STYLE = """
.metaembed { font: 14px/1.45 system-ui, sans-serif; color: #1c2430; }
.metaembed h2 { font-size: 17px; margin: 18px 0 2px; }
.metaembed .about { color: #5b6675; margin: 0 0 10px; }
.metaembed .hits { display: flex; flex-wrap: wrap; gap: 14px; }
.metaembed .hit { width: 260px; border: 1px solid #d9dee6; border-radius: 8px; overflow: hidden;
                  background: #fff; }
.metaembed .hit img { display: block; width: 100%; height: 300px; object-fit: contain;
                      background: #f3f5f8; }
.metaembed .hit .text { height: 276px; padding: 12px; overflow: hidden; background: #f3f5f8;
                        white-space: pre-wrap; font-size: 12px; }
.metaembed .hit .said { padding: 8px 10px 10px; overflow-wrap: anywhere; }
.metaembed .score { font-weight: 600; }
"""
_TEXT_SHOWN = 600


def hits_html(results: Hits | Sequence[Hits], *, max_side: int = 520) -> str:
    """A fragment with each hit's picture (or text), score, source and the budget.

    Args:
        results: Hits of one search, or of several to be shown one below the other.
        max_side: Pictures are shrunk to this many pixels and embedded, so the fragment needs no
            other file.
    """
    several = [results] if isinstance(results, Hits) else list(results)
    body = "".join(_section(hits, max_side) for hits in several)
    return f'<style>{_STYLE}</style><div class="metaembed">{body}</div>'


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
    cards = "".join(_card(hit, max_side) for hit in hits) or "<p>No page was found.</p>"
    return f'<h2>{query}</h2><p class="about">{about}</p><div class="hits">{cards}</div>'


def _card(hit: Hit, max_side: int) -> str:
    page = hit.page
    name = html.escape(Path(page.source).name or page.source)
    section = page.metadata.get("section") or page.metadata.get("title") or ""
    return (
        f'<div class="hit">{_picture(hit, max_side)}<div class="said">'
        f'<span class="score">{hit.rank}. {hit.score:.3f}</span> · '
        f'<span title="{html.escape(page.source)}">{name}</span>, page {page.number}'
        f"<br>{html.escape(str(section))}</div></div>"
    )


def _picture(hit: Hit, max_side: int) -> str:
    try:
        image = hit.page.load_image()
    except PageError:
        image = None  # the kept picture was deleted: the text still says what was found
    if image is None:
        return f'<div class="text">{html.escape(hit.page.text[:_TEXT_SHOWN])}</div>'
    image = image.copy()
    image.thumbnail((max_side, max_side))
    data = io.BytesIO()
    image.save(data, "JPEG", quality=80)
    uri = "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode("ascii")
    return f'<img alt="page {hit.page.number}" src="{uri}">'
