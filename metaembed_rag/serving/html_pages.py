"""The pages that a browser is given: one file each, which loads nothing from anywhere else."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources

_INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


@dataclass(frozen=True)
class HtmlPage:
    """A page and what it may do.

    Attributes:
        text: Of the whole document.
        policy: The Content-Security-Policy: its own script and style, by their hashes, requests to
            this server, and pictures; nothing of another host, and nothing that a text brings in.
    """

    text: str
    policy: str


@cache
def html_page(name: str) -> HtmlPage:
    """A page of this package, ``search.html`` or ``docs.html``."""
    text = (resources.files(__package__) / name).read_text(encoding="utf-8")
    hashes: dict[str, list[str]] = {"script": [], "style": []}
    for kind, content in _INLINE.findall(text):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        hashes[kind].append(f"'sha256-{digest}'")
    policy = (
        f"default-src 'none'; script-src {' '.join(hashes['script'])}; "
        f"style-src {' '.join(hashes['style'])}; img-src 'self' blob: data:; connect-src 'self'; "
        f"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return HtmlPage(text, policy)
