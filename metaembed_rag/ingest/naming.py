"""Pages that are named by their file, by a folder, or by a pattern of names."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from os import PathLike
from pathlib import Path

from metaembed_rag.errors import StoreError, kind_of_value
from metaembed_rag.filesystems import is_url
from metaembed_rag.ingest.whereabouts import source_of
from metaembed_rag.pages import Page
from metaembed_rag.pages.folders import expanded
from metaembed_rag.store import records
from metaembed_rag.store.chroma import ChromaStore
from metaembed_rag.store.requests import slices

_AT_ONCE = 1000
_MAGIC = re.compile(r"[*?[]")
_EVERYTHING = re.compile(r"[*/\\]*")


def ids_of_source(store: ChromaStore, source: str | Path) -> list[str]:
    """Ids of the pages of a file or any other source, of a folder, or of files by a pattern.

    A source of that very name counts alone, whatever signs it has in it. A folder is one of this
    machine's disk by its path, whether it is there or not, or the address of one in a store; all
    that was read below it counts. A pattern has ``*``, ``?`` or ``[…]`` in it, which stand for no
    ``/``, or ``**``, which does; it is of whole paths or addresses, or of paths below the folder
    that was named when they were read. A folder that it fits stands for all below it.

    Raises:
        StoreError: It is neither a path nor a text, or stands for all files.
    """
    if not isinstance(source, str | PathLike):
        raise StoreError(f"a source is a path or a text, not {kind_of_value(source)}")
    if found := store.ids({records.SOURCE: str(source)}):
        return found
    try:
        place = expanded(source).resolve().as_posix()
        if found := store.ids({records.SOURCE: place}):
            return found
    except (OSError, RuntimeError, ValueError):  # a text that is no path, so no file's
        return []
    if not str(source):  # else the folder worked in
        return []
    return _below(store, str(source), place)


def _below(store: ChromaStore, named: str, place: str) -> list[str]:
    """Ids of pages of files in a folder, or by a pattern."""
    if _EVERYTHING.fullmatch(named):
        raise StoreError(
            f"{named!r} stands for all files; name a folder, or say everything=True (--all)"
        )
    folder = named.rstrip("/") if is_url(named) else place
    if found := _of_sources(store, lambda source: source.startswith(f"{folder}/")):
        return found
    if not _MAGIC.search(named):
        return []
    if is_url(named) or expanded(named).is_absolute():
        parts = (named if is_url(named) else expanded(named).as_posix()).split("/")
        return _of_sources(store, lambda source: _fits(parts, source.split("/")))
    parts = named.removeprefix("./").split("/")
    pages = every_page(store, store.ids())
    return sorted(page.id for page in pages if _fits(parts, page.file_path.split("/")))


def _of_sources(store: ChromaStore, passes: Callable[[str], bool]) -> list[str]:
    """Ids of pages whose source passes, sorted."""
    ids = [id for id in store.ids() if not (source := source_of(id)) or passes(source)]
    return sorted(page.id for page in every_page(store, ids) if passes(page.source))


def every_page(store: ChromaStore, ids: Sequence[str]) -> Iterator[Page]:
    """The pages with these ids, some in memory at a time."""
    for part in slices(len(ids), _AT_ONCE):
        for record in store.get(ids[part], vectors=False).values():
            yield record.page


def _fits(parts: Sequence[str], names: Sequence[str]) -> bool:
    """Whether the names in a path, or the first ones of them, fit the parts of a pattern."""
    if not parts or parts == [""]:
        return True
    if parts[0] == "**":
        return any(_fits(parts[1:], names[begin:]) for begin in range(len(names) + 1))
    return bool(names) and fnmatchcase(names[0], parts[0]) and _fits(parts[1:], names[1:])
