"""What the server calls pages and files: nothing that it says names a folder of its machine.

A page's id in an index begins with the path of its file. So the server gives each page an id of its
own, a hash that stays the same, and calls a file by its name, with as many of the folders above as
tell it from another file of that name.
"""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from metaembed_rag.errors import PageError
from metaembed_rag.federation.shards import public_id as public_id
from metaembed_rag.index import PageIndex
from metaembed_rag.pages import Page

_DRIVE = re.compile(r"[A-Za-z]:[\\/]|\\\\")
_NUMBERED = re.compile(r"(.+)#([1-9][0-9]{0,18})", re.DOTALL)
"""The id of a page that was given none: its source and its number."""
_PATHS = re.compile(r"(?<![\w.:/])(?:[A-Za-z]:)?[/\\](?:[^\s/\\'\"]+[/\\])+")
"""Folders at the beginning of a path inside of a message; not those of an address."""
_FRESH = 5.0
"""Seconds for which what was listed counts, as another process may have written since."""
_READ_AT_ONCE = 500


class NotFoundError(PageError):
    """A page or file that is not in the index."""


def is_path(source: str) -> bool:
    """Whether a source is the path of a file, which says how this machine's folders are called."""
    return source.startswith(("/", "file:")) or _DRIVE.match(source) is not None


def without_folders(text: str) -> str:
    """A message with the folders of each absolute path in it left out."""
    return _PATHS.sub("", text)


def public_names(sources: Iterable[str]) -> dict[str, str]:
    """What each source is called: a file by the shortest end of its path that no other has.

    Sources that are no paths (an address, a name that a program gave) are called what they are.
    """
    every = sorted(set(sources))
    names = {source: source for source in every if not is_path(source)}
    rest = {source: _parts(source) for source in every if is_path(source)}
    taken = set(names)
    depth = 1
    while rest:
        ends = {source: "/".join(parts[-depth:]) for source, parts in rest.items()}
        counts = Counter(ends.values())
        for source, end in ends.items():
            is_last = depth >= len(rest[source])
            if (counts[end] == 1 and end not in taken) or is_last:
                names[source] = _free(end, taken)
                taken.add(names[source])
                del rest[source]
        depth += 1
    return names


def _parts(source: str) -> list[str]:
    return [part for part in re.split(r"[/\\]+", source.removeprefix("file:")) if part] or ["file"]


def _free(name: str, taken: set[str]) -> str:
    """The name, with a number behind it where it is taken."""
    number = 2
    found = name
    while found in taken:
        found = f"{name} ({number})"
        number += 1
    return found


@dataclass(frozen=True)
class Listed:
    """What an index holds, at one moment.

    Attributes:
        ids: Ids of pages by what the server calls them.
        names: What sources are called.
        pages: Of each source, number and id of its pages in order.
        made: When, by the monotonic clock.
    """

    ids: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    pages: Mapping[str, Sequence[tuple[int, str]]] = field(default_factory=dict)
    made: float = float("-inf")

    @property
    def sources(self) -> dict[str, str]:
        """Sources by what they are called."""
        return {name: source for source, name in self.names.items()}


class Catalog:
    """Which pages and files there are, and what they are called.

    It is read from the ids of the index, without its vectors; pages whose id does not say the
    source are read themselves.

    Args:
        index: Whose pages they are.
    """

    def __init__(self, index: PageIndex) -> None:
        self._index = index
        self._listed = Listed()
        self._lock = threading.Lock()
        self._told: dict[str, tuple[str, int]] = {}

    def forget(self) -> None:
        """Look again when something is asked for next: this server has written."""
        self._listed = Listed(self._listed.ids, self._listed.names, self._listed.pages)

    def listed(self, oldest: float = _FRESH) -> Listed:
        """What there is, at most ``oldest`` seconds ago."""
        with self._lock:
            if time.monotonic() - self._listed.made > oldest:
                self._listed = self._list()
            return self._listed

    def id_of(self, public: str) -> str:
        """The id of a page.

        Raises:
            NotFoundError: There is no such page.
        """
        found = self._listed.ids.get(public) or self.listed(oldest=0.5).ids.get(public)
        if found is None:
            raise NotFoundError("this page", "is not in the index; search again")
        return found

    def name_of(self, source: str) -> str:
        """What a source is called."""
        found = self._listed.names.get(source) or self.listed(oldest=0.0).names.get(source)
        # Written by another process within this very moment: its file name will do.
        return found or (_parts(source)[-1] if is_path(source) else source)

    def source_of(self, name: str) -> str | None:
        """The source that is called so; None for none."""
        return self.listed().sources.get(name)

    def neighbours(self, page: Page) -> tuple[str | None, str | None]:
        """What the pages before and after one of the same source are called; None for none."""
        pages = self.listed().pages.get(page.source, ())
        place = next((i for i, (_, id) in enumerate(pages) if id == page.id), None)
        if place is None:
            return None, None
        before = public_id(pages[place - 1][1]) if place else None
        after = public_id(pages[place + 1][1]) if place + 1 < len(pages) else None
        return before, after

    def _list(self) -> Listed:
        made = time.monotonic()
        ids = self._index.ids()
        told = {id: _told_by(id) or self._told.get(id) for id in ids}
        unknown = [id for id, told_of in told.items() if told_of is None]
        for start in range(0, len(unknown), _READ_AT_ONCE):
            part = unknown[start : start + _READ_AT_ONCE]
            for page in self._index.get(part, pictures=False):
                told[page.id] = self._told[page.id] = (page.source, page.number)
        pages: dict[str, list[tuple[int, str]]] = {}
        for id, told_of in told.items():
            if told_of is not None:
                pages.setdefault(told_of[0], []).append((told_of[1], id))
        for numbered in pages.values():
            numbered.sort()
        return Listed({public_id(id): id for id in ids}, public_names(pages), pages, made)


def _told_by(id: str) -> tuple[str, int] | None:
    """The source and the number that a default id is made of."""
    match = _NUMBERED.fullmatch(id)
    return (match[1], int(match[2])) if match else None


def public_metadata(page: Page) -> dict[str, Any]:
    """A page's metadata; of a path only the name of the file is left."""
    return {key: _public_value(value) for key, value in page.metadata.items()}


def _public_value(value: Any) -> Any:
    if isinstance(value, list):
        return [_public_value(one) for one in value]
    if isinstance(value, str) and is_path(value) and len(value) < 4_096:
        return _parts(value)[-1]
    return value
