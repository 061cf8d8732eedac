"""What a scenario of a fault asks of an index, and what it finds wrong."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from metaembed_rag.errors import MetaEmbedError
from metaembed_rag.index import PageIndex
from tests.soak.state import opened, pages_of, problems, versions

TIMEOUT = 1.0
"""Of servers, in seconds."""
PATIENCE = 5.0
"""What an error may take beyond a timeout."""
_SLOW = 30.0
"""What anything may take on a machine that does other things."""
PAGES = 12


class Wrong(Exception):
    """Something was not as it is promised; the first argument is its column."""


def ends(what: str, call: Callable[[], Any], seconds: float = _SLOW) -> bool:
    """Whether a call succeeds; it may fail, but in our words and in time."""
    begun = time.monotonic()
    try:
        call()
        good = True
    except MetaEmbedError:
        good = False
    except Exception as error:
        raise Wrong("tracebacks", f"{what}: {type(error).__name__}: {error}") from error
    if (took := time.monotonic() - begun) > seconds:
        raise Wrong("hangs", f"{what} took {took:.1f} s")
    return good


def everything(index: PageIndex, seconds: float = _SLOW) -> None:
    """Ask and write in every way."""
    ends("search", lambda: index.search("apple", hybrid=False), seconds)
    ends("exhaustive", lambda: index.search("apple", exhaustive=True, hybrid=False), seconds)
    ends("add", lambda: index.add(pages_of(range(100, 103), 1)), seconds)
    ends("delete", lambda: index.delete(["doc100#1"]), seconds)


def whole(folder: Path, least: int = PAGES) -> None:
    """All pages of before are there, and it goes on."""
    with opened(folder) as index:
        have = versions(index)
        lost = [number for number in range(least) if have.get(f"doc{number}#1") != 1]
        if lost:
            raise Wrong("lost", f"pages {lost}")
        if found := problems(index):
            raise Wrong("wrong", found[0])
        index.add(pages_of([500], 1))
        if "doc500#1" not in index.ids():
            raise Wrong("lost", "a page that was added afterwards")


def new_index(folder: Path) -> Path:
    with opened(folder / "index") as index:
        index.add(pages_of(range(PAGES), 1))
        index.search("apple", hybrid=False)
    return folder / "index"
