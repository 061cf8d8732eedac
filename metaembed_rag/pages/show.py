"""A page as HTML: its picture, or the beginning of its text."""

from __future__ import annotations

import base64
import html
import io
from pathlib import Path

from metaembed_rag.errors import PageError
from metaembed_rag.pages.page import Page

STYLE = """
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
"""For everything of class ``metaembed``."""

_TEXT_SHOWN = 600


def page_html(page: Page, *, max_side: int = 520) -> str:
    """A fragment that shows one page and where it is from."""
    return wrap(f'<div class="hits">{page_card(page, max_side=max_side)}</div>')


def wrap(body: str) -> str:
    """A fragment with the style that its body needs."""
    return f'<style>{STYLE}</style><div class="metaembed">{body}</div>'


def page_card(page: Page, *, score: str = "", max_side: int) -> str:
    """The card of one page; ``score`` stands before its name.

    The whole path of the source is left out, so that a shared notebook says nothing of a disk.
    """
    name = html.escape(Path(page.source).name or page.source)
    section = page.metadata.get("section") or page.metadata.get("title") or ""
    said = f'<span class="score">{html.escape(score)}</span> · ' if score else ""
    return (
        f'<div class="hit">{_picture(page, max_side)}<div class="said">'
        f"{said}{name}, page {page.number}<br>{html.escape(str(section))}</div></div>"
    )


def _picture(page: Page, max_side: int) -> str:
    try:
        image = page.load_image()
    except PageError:
        image = None  # the kept picture was deleted: the text still says what was found
    if image is None:
        return f'<div class="text">{html.escape(page.text[:_TEXT_SHOWN])}</div>'
    image = image.copy()
    image.thumbnail((max_side, max_side))
    data = io.BytesIO()
    image.save(data, "JPEG", quality=80)
    uri = "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode("ascii")
    return f'<img alt="page {page.number}" src="{uri}">'
