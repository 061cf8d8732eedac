"""Pages of files that have gone from the folders that a run was named."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from metaembed_rag.errors import PageError, UnreadableFileError
from metaembed_rag.filesystems import RemoteFileError
from metaembed_rag.ingest.moves import Moved
from metaembed_rag.ingest.whereabouts import Whereabouts, is_bare, source_of
from metaembed_rag.pages import list_files
from metaembed_rag.pages.folders import expanded, show
from metaembed_rag.pages.remote import is_remote, remote_addresses, remote_folder
from metaembed_rag.store import records
from metaembed_rag.store.chroma import ChromaStore


class VanishedPages:
    """Finds the pages of files that have gone.

    Args:
        store: Holds the records.
        paths: Of files and folders that were named.
        prune: Whether a whole folder that is missing or empty says that its files have gone.
        follow_links: Whether links lead out of a named folder.
        options: What fsspec's file systems are made with.
    """

    def __init__(
        self,
        store: ChromaStore,
        paths: Sequence[str | Path],
        *,
        prune: bool,
        follow_links: bool,
        options: Mapping[str, Any] | None,
    ) -> None:
        self._store, self._paths, self._prune = store, paths, prune
        self._links, self._options = follow_links, options

    def gone(self, moved: Moved) -> tuple[list[str], list[PageError]]:
        """Ids of the pages that go, and what is to be said of those that stay.

        Those of a whole sub-folder stay, unless that is to be pruned: so it looks where a disk is
        not mounted. Not so where its files were found in another place.

        Args:
            moved: What was found in another place.
        """
        every = cache(self._store.ids)  # read once, and only where folders were named
        gone = dict.fromkeys([*moved.ids, *self._vanished_in_stores(every)])
        kept: dict[Path, int] = {}
        bare_folder = cache(_bare_folder)
        for id, root in self._vanished(every):
            bare = None if self._prune else bare_folder(_source(id).parent, root)
            if bare is None:
                gone[id] = None
            elif id not in gone:
                kept[bare] = kept.get(bare, 0) + 1
        stay = [_kept(folder, count) for folder, count in sorted(kept.items())]
        for folder, ids in sorted(moved.left.items()):
            if self._prune:
                gone |= dict.fromkeys(ids)
            elif not _is_in(folder, kept):
                stay.append(_left(folder, len(ids)))
        return list(gone), stay

    def _vanished(self, ids: Callable[[], Sequence[str]]) -> Iterator[tuple[str, Path]]:
        """Ids of pages of files that have gone from the named folders, each with that folder.

        A named folder without anything to read says nothing, unless it is to be pruned.
        """
        here = [path for path in self._paths if not is_remote(path)]
        named = [folder for folder in map(named_folder, here) if folder is not None]
        folders = [one for one in named if self._prune or self._has_files(one)]
        for id in ids() if folders else []:
            root = next((folder for folder in folders if _has_vanished(id, folder)), None)
            if root is not None:
                yield id, root

    def _vanished_in_stores(self, ids: Callable[[], Sequence[str]]) -> list[str]:
        """Ids of pages of files that have gone from the named folders of object stores.

        A folder that is empty says nothing, unless it is to be pruned; nor does one that cannot be
        listed.
        """
        named = [str(path).rstrip("/") for path in self._paths if is_remote(path)]
        there = self.in_stores() if named else {}
        gone = []
        for url in (url for url in named if self._prune or there.get(url)):
            held = (id for id in ids() if id.startswith(f"{url}/"))
            files = there.get(url)
            if files is not None:
                gone += [id for id in held if id.rpartition("#")[0] not in files]
        return gone

    def in_stores(self) -> dict[str, set[str]]:
        """The addresses of all files in the named folders of object stores, by folder."""
        found = {}
        for path in filter(is_remote, self._paths):
            with suppress(PageError, RemoteFileError):  # whoever reads it says why
                named = remote_folder(str(path), self._options)
                found[named.url] = remote_addresses(named)
        return found

    def _has_files(self, folder: Path) -> bool:
        return bool(list_files(folder, follow_links=self._links))


def _source(id: str) -> Path:
    """The file of a page that :func:`load_pages` read."""
    return Path(id.rpartition("#")[0])


def named_folder(path: str | Path) -> Path | None:
    """The folder that was named; None where it is none, or no path at all."""
    try:
        found = expanded(path).resolve()
        return found if found.is_dir() else None
    except (OSError, RuntimeError, ValueError):
        return None


def _has_vanished(id: str, folder: Path) -> bool:
    """Whether ``id`` is of a page that :func:`load_pages` read below ``folder``, its file gone."""
    source = _source(id)
    if not source.is_absolute() or not source.is_relative_to(folder):
        return False
    try:
        return not source.exists()
    except OSError:
        return False  # a folder that may not be entered says nothing about its files


def _bare_folder(folder: Path, root: Path) -> Path | None:
    """The uppermost folder without files from ``folder`` up to below ``root``; None for none."""
    inside = folder.relative_to(root).parts
    ways = (root.joinpath(*inside[:length]) for length in range(1, len(inside) + 1))
    return next(filter(is_bare, ways), None)


def _kept(folder: Path, count: int) -> PageError:
    is_there = "is empty" if folder.is_dir() else "is missing"
    pages = "1 page" if count == 1 else f"{count:,} pages"
    return PageError(
        folder.as_posix(),
        f"this folder {is_there}, and {pages} of files in it stay in the index: mount its disk, or "
        f"have them removed (--prune, or prune=True)",
    )


def _left(folder: Path, count: int) -> PageError:
    pages = "1 page" if count == 1 else f"{count:,} pages"
    return PageError(
        folder.as_posix(),
        f"this folder has moved, and {pages} of files that were not found again stay in the index: "
        f"find them, or have their pages removed (metaembed prune, or prune())",
    )


def _is_in(folder: Path, others: Iterable[Path]) -> bool:
    """Whether a folder is one of the others, or below or above one: its pages are counted there."""
    return any(folder.is_relative_to(one) or one.is_relative_to(folder) for one in others)


def missing_place(store: ChromaStore, path: str | Path) -> PageError | None:
    """What to do about a path that is not there, where the index has pages of files at it.

    None where it has none.
    """
    try:
        place = expanded(path).resolve().as_posix()
    except (OSError, RuntimeError, ValueError):  # no path at all
        return None
    if not Whereabouts().is_gone(place):
        return None
    ids = [id for id in store.ids() if source_of(id).startswith(f"{place}/")]
    ids += store.ids({records.SOURCE: place})
    if not ids:
        return None
    stays = "1 page of it stays" if len(ids) == 1 else f"{len(ids):,} pages of it stay"
    return UnreadableFileError(
        show(expanded(path)),
        f"is not there any more, and {stays} in the index. Moved? Index its new place (metaembed "
        f"index NEWPLACE): nothing is encoded again. Gone for good? metaembed prune, or prune(). "
        f"Else mount its disk",
    )
