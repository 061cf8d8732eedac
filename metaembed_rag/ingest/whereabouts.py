"""Whether the files that pages are of are still there: on this machine's disk, or in a store."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from metaembed_rag.errors import MissingExtraError, PageError
from metaembed_rag.filesystems import STORES, RemoteFileError, is_url, within
from metaembed_rag.pages import Page
from metaembed_rag.pages.page import default_id
from metaembed_rag.pages.remote import remote_folder
from metaembed_rag.pages.roots import Roots

_SECONDS = 600.0
"""How long a store may take for the list of a folder."""
_ASKED = STORES | {"memory"}
"""Stores of which everybody has the same buckets, and those in memory."""
_THERE, _GONE = "there", "gone"


class Whereabouts:
    """Looks for files, for each once.

    Args:
        options: What fsspec's file systems are made with.
        roots: Where folders are on this machine.
        asked: Protocols of stores that are asked. An index may be a stranger's, and name any.

    Attributes:
        doubtful: Why it is not known whether a file is there, by its source.
        has_found: Whether one of them is there.
    """

    def __init__(
        self,
        options: Mapping[str, Any] | None = None,
        roots: Roots | None = None,
        asked: Collection[str] = _ASKED,
    ) -> None:
        self._options, self._roots, self._asked = options, roots or Roots(), asked
        self._gone: dict[str, bool] = {}
        self._listed: dict[str, set[str] | str] = {}
        self.doubtful: dict[str, str] = {}
        self.has_found = False

    def is_gone(self, source: str) -> bool:
        """Whether it is certain that there was a file, by its path or address, and is none now."""
        if source not in self._gone:
            here = self._roots.here(source)
            why = self._look_in_store(here) if is_url(here) else _look(here)
            self._gone[source] = why == _GONE
            self.has_found |= why == _THERE
            if why not in (_GONE, _THERE):
                self.doubtful[source] = why
        return self._gone[source]

    def _look_in_store(self, url: str) -> str:
        """Whether a store has a file, or why that is not known; a folder is listed once."""
        folder = url.rpartition("/")[0]
        if url.partition(":")[0].lower() not in self._asked or folder.endswith((":", "/")):
            return "it is in a store that is not asked"
        if folder not in self._listed:
            self._listed[folder] = self._list(folder)
        found = self._listed[folder]
        if isinstance(found, str):
            return found
        return _THERE if url in found else _GONE

    def _list(self, folder: str) -> set[str] | str:
        """The addresses in a folder; or that it has gone, or why it cannot be listed."""
        try:
            named = remote_folder(folder, self._options)
            paths = within(_SECONDS, lambda: named.fs.ls(named.root, detail=False))
        except RemoteFileError as error:
            return _GONE if error.is_missing else error.reason
        except PageError as error:
            return error.reason
        except MissingExtraError as error:
            return str(error)
        return {named.address(str(path)) for path in paths}


def _look(path: str) -> str:
    """Whether a file of this machine's disk is there, or why that is not known."""
    try:
        if Path(path).is_absolute():
            Path(path).stat()
            return _THERE
    except (FileNotFoundError, NotADirectoryError):
        return _GONE
    except (OSError, ValueError) as error:  # a folder that may not be entered says nothing
        return getattr(error, "strerror", None) or str(error)
    return "it is no whole path"


def source_of(id: str) -> str:
    """The path or address of the file of a page that :func:`load_pages` read.

    ``""`` where the id says nothing of one.
    """
    source, _, number = id.rpartition("#")
    is_file = Path(source).is_absolute() or is_url(source)
    return source if is_file and number.isdecimal() else ""


def is_of_file(page: Page) -> bool:
    """Whether a page was loaded from a file that has a path or an address."""
    return bool(page.settings) and (Path(page.source).is_absolute() or is_url(page.source))


def is_loaded(page: Page) -> bool:
    """Whether a page is of a file, and has the id that :func:`load_pages` gives it."""
    return is_of_file(page) and page.id == default_id(page.source, page.number)


def bare_folder(path: str) -> Path | None:
    """The uppermost folder above a file that is missing, or its own that is empty; else None.

    It may hold hidden files, as :func:`is_bare` says.
    """
    parent = Path(path).parent
    missing = [folder for folder in (parent, *parent.parents) if not folder.exists()]
    if missing:
        return missing[-1]
    return parent if is_bare(parent) else None


def is_bare(folder: Path) -> bool:
    """Whether a folder is missing, or holds no file but hidden ones, at any depth."""
    names = (name for _, _, files in os.walk(folder) for name in files)
    return all(name.startswith(".") for name in names)
