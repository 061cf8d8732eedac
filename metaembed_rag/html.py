"""Cards as HTML, from plain values: what notebooks and ``metaembed search --html`` show.

Pages and hits say themselves what stands on their cards; nothing here knows them.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

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
"""The style sheet of everything of class ``metaembed``."""

_TEXT_SHOWN = 600
"""Characters of a text that fit on a card."""


def card(
    *,
    name: str,
    number: int,
    section: str = "",
    score: str = "",
    image: Image.Image | None = None,
    text: str = "",
    snippet: str = "",
    max_side: int,
) -> str:
    """Show one page: its picture, or the beginning of its text, and below it what the page is.

    Args:
        name: Of the file that the page is from.
        number: Of the page, from 1.
        section: Title of the section, on a line of its own.
        score: Stands before the name; left out when it is ``""``.
        image: The picture in a mode that JPEG takes (RGB, L), embedded in the card.
        text: Shown where there is no picture.
        snippet: What of the page matched, below everything else; ``""`` for nothing.
        max_side: Longest side of the embedded picture in pixels.
    """
    if image is None:
        shown = f'<div class="text">{html.escape(text[:_TEXT_SHOWN])}</div>'
    else:
        shown = picture(image, number, max_side)
    said = f'<span class="score">{html.escape(score)}</span> · ' if score else ""
    found = f"<br><small>{html.escape(snippet)}</small>" if snippet else ""
    return (
        f'<div class="hit">{shown}<div class="said">'
        f"{said}{html.escape(name)}, page {html.escape(str(number))}<br>"
        f"{html.escape(section)}{found}</div></div>"
    )


def row(cards: Iterable[str]) -> str:
    """Cards side by side."""
    return f'<div class="hits">{"".join(cards)}</div>'


def section(heading: str, about: str, cards: Iterable[str]) -> str:
    """A heading, a line below it, and a row of cards, or a sentence where there are none."""
    shown = "".join(cards) or "<p>No page was found.</p>"
    return f'<h2>{html.escape(heading)}</h2><p class="about">{html.escape(about)}</p>{row([shown])}'


def fragment(body: str, style: str = "") -> str:
    """``body`` with the style sheet that it needs, for a notebook or another document.

    Args:
        body: HTML.
        style: What is needed beside :data:`STYLE`.
    """
    return f'<style>{STYLE}{style}</style><div class="metaembed">{body}</div>'


def document(title: str, body: str) -> str:
    """A whole HTML document around a :func:`fragment`."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title></head>"
        f"<body style='margin:24px;background:#fafbfc'>{body}</body></html>\n"
    )


def picture(image: Image.Image, number: int, max_side: int) -> str:
    """The picture of a page, embedded as JPEG.

    Args:
        image: In a mode that JPEG takes (RGB, L).
        number: Of the page, for whoever cannot see it.
        max_side: Longest side in pixels that is embedded.
    """
    small = image.copy()
    small.thumbnail((max_side, max_side))
    data = io.BytesIO()
    small.save(data, "JPEG", quality=80)
    uri = "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode("ascii")
    return f'<img alt="page {html.escape(str(number))}" src="{uri}">'
