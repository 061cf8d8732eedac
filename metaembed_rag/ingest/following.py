"""Files and folders that an index follows: which are unchanged, and whose pages have gone."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, cast

from metaembed_rag.errors import PageError, UnreadableFileError
from metaembed_rag.filesystems import RemoteFileError
from metaembed_rag.ingest.encoded_rows import UNCHANGED
from metaembed_rag.ingest.options import FollowKeywords
from metaembed_rag.ingest.report import Acknowledged, AddReport, still_blank
from metaembed_rag.ingest.target import Target
from metaembed_rag.model.inputs import sight
from metaembed_rag.pages import Limits, Page, list_files, load_pages
from metaembed_rag.pages.digests import remote_digests
from metaembed_rag.pages.folders import expanded, find_files, show
from metaembed_rag.pages.load import count_pages
from metaembed_rag.pages.page import default_id
from metaembed_rag.pages.remote import find_remote, is_remote, remote_addresses, remote_folder
from metaembed_rag.store import records
from metaembed_rag.store.readings import BlankPages, way_of
from metaembed_rag.store.requests import slices

_READ_AT_ONCE = 256


@dataclass(frozen=True)
class FilesToEncode:
    """Files that somebody else reads and encodes.

    Attributes:
        sources: Paths and addresses of all files, those that are unchanged among them.
        folders: Those that were named, for names that are words of a picture.
        unchanged: Digests of files whose pages are all in the index, by their sources: a file that
            still has its own need not be read.
        blank: Digests of files that have only blank pages.
        digests: Of files whose store says what changes with their content, by their sources; of
            others it is computed of their bytes.
        pictures: Where in an object store the collection has its pictures; ``""`` where the writer
            alone reaches them.
    """

    sources: Sequence[str]
    folders: Sequence[str]
    unchanged: Mapping[str, str]
    blank: Sequence[str]
    digests: Mapping[str, str] = field(default_factory=dict)
    pictures: str = ""


class Followed:
    """Files and folders, in one run of bringing an index in line with them.

    Args:
        target: The index.
        paths: Of files and folders.
        mode: What of a page is encoded.
        described: Who describes pictures, as ``Describer.way``; ``""`` for nobody.
        keywords: How they are followed, and how their pages are loaded.

    Attributes:
        report: What is unchanged, and what was not read.
        progress: Called with the number of pages of each file that is left out as unchanged.
    """

    def __init__(
        self,
        target: Target,
        paths: Sequence[str | Path],
        mode: str,
        described: str,
        keywords: FollowKeywords,
    ) -> None:
        self._target, self._paths, self._mode = target, paths, mode
        self._described, self._prune = described, keywords.get("prune", False)
        self._loading: dict[str, Any] = {k: v for k, v in keywords.items() if k != "prune"}
        self._links = keywords.get("limits", Limits()).follow_links
        self.report = AddReport()
        self.progress: Callable[[int], None] | None = None

    def pages(self) -> Iterator[Page]:
        """The pages of new and changed files, loaded as they are asked for."""
        return load_pages(
            self._paths,
            skip=self._skip,
            on_skip=self.report.leave_out,
            on_ignore=self.report.ignored.append,
            **cast(Any, self._loading),
        )

    def files(self) -> FilesToEncode:
        """The files, listed and not read; what cannot be listed is reported."""
        seen: set[Path] = set()
        addresses: set[str] = set()
        sources: list[str] = []
        digests: dict[str, str] = {}
        for path in self._paths:
            if is_remote(path):
                digests |= self._files_of_store(str(path), addresses)
                continue
            for found in find_files(path, self.report.ignored.append, seen, self._links):
                if isinstance(found, PageError):
                    self.report.leave_out(found)
                elif show(found) != found.as_posix():
                    why = "its name is not valid UTF-8: rename the file"
                    self.report.leave_out(UnreadableFileError(show(found), why))
                elif not self._is_ours(found.as_posix()):
                    sources.append(found.as_posix())
        untold = [*sources, *(url for url, digest in digests.items() if not digest)]
        known = {source: digest for source in untold if (digest := self._known_digest(source))}
        folders = [folder.as_posix() for folder in map(_folder, self._paths) if folder is not None]
        blank = self._target.readings.all_blank(self._way())
        folders += [str(path).rstrip("/") for path in self._paths if is_remote(path)]
        given = {url: digest for url, digest in digests.items() if digest}
        shared = self._target.pictures.shared
        return FilesToEncode([*sources, *digests], folders, known, blank, given, shared)

    def _files_of_store(self, address: str, seen: set[str]) -> dict[str, str]:
        """Files of an object store that are not known to be unchanged, with their digests.

        ``""`` stands for a digest that only the bytes tell.
        """
        out: dict[str, str] = {}
        try:
            named = remote_folder(address, self._loading.get("storage_options"))
        except PageError as error:
            self.report.leave_out(error)
            return out
        side = self._loading.get("max_side", 896)
        for found in find_remote(named, self.report.ignored.append, seen):
            if isinstance(found, PageError):
                self.report.leave_out(found)
                continue
            digests = remote_digests(found, Path(named.url), side)
            if not any(self._skip(found.url, digest) for digest in digests):
                out[found.url] = digests[-1] if digests else ""
        return out

    def leave_out_unchanged(self, rows: Iterable[Any]) -> Iterator[Any]:
        """Rows, without those that stand for a file that is unchanged, whose pages are counted."""
        for row in rows:
            if isinstance(row, Mapping) and row.get("error") == UNCHANGED:
                self._skip(str(row["id"]), str(row["source_digest"]))
            else:
                yield row

    def count_pages(self) -> int:
        """About how many pages there are, unchanged ones among them."""
        here = [path for path in self._paths if not is_remote(path)]
        far = sum(map(len, self._in_stores().values()))
        return count_pages(list_files(here, follow_links=self._links)) + far

    def remove_gone(self) -> int:
        """Remove pages of files that have gone, and count them.

        All pages have to be loaded before. Those of a whole sub-folder are kept and reported,
        unless that is to be pruned: so it looks where a disk is not mounted.
        """
        gone: list[str] = []
        kept: dict[Path, int] = {}
        bare_folder = cache(_bare_folder)
        gone += self._vanished_in_stores()
        for id, root in self._vanished():
            bare = None if self._prune else bare_folder(_source(id).parent, root)
            if bare is None:
                gone.append(id)
            else:
                kept[bare] = kept.get(bare, 0) + 1
        self.report.unpruned = [_kept(folder, count) for folder, count in sorted(kept.items())]
        self._target.remove(gone)
        return len(gone)

    def whole(self, report: AddReport) -> AddReport:
        """The report of adding the pages, and this one with it."""
        report.unchanged += self.report.unchanged
        report.acknowledged = self.report.acknowledged + report.acknowledged
        report.skipped = self.report.skipped + report.skipped
        report.blank = self.report.blank + report.blank
        report.ignored = self.report.ignored
        report.unpruned = self.report.unpruned
        return report

    def _skip(self, source: str, digest: str) -> bool:
        """Whether a file need not be read; its pages are counted."""
        if self._is_ours(source):
            return True
        unchanged = self._pages_of_unchanged(source, digest)
        if unchanged is None:
            return False
        stored, blank = unchanged
        self.report.unchanged += len(stored)
        self.report.acknowledged += stored
        self.report.blank += [still_blank(default_id(source, number)) for number in blank]
        if self.progress is not None:
            self.progress(Acknowledged(len(stored) + len(blank), stored))
        return True

    def _is_ours(self, source: str) -> bool:
        """Whether it is a file of the index: no page, even where its folder is named."""
        own = self._target.store.places.is_ours(Path(source))
        return own or Path(source).is_relative_to(self._target.pictures.folder.resolve())

    def _known_digest(self, source: str) -> str:
        """The digest of a file whose pages are all in the index; ``""`` of others."""
        store = self._target.store
        some = store.ids({records.SOURCE: source, records.MODE: self._mode})[:1]
        for record in store.get(some).values():
            digest = record.page.source_digest
            if digest and self._pages_of_unchanged(source, digest) is not None:
                return digest
        return ""

    def _way(self) -> str:
        return way_of(self._mode, self._target.store.about.fingerprint, self._described, sight())

    def _pages_of_unchanged(
        self, source: str, digest: str
    ) -> tuple[list[str], Sequence[int]] | None:
        """The ids of a source's stored pages, and the numbers of those that are blank.

        None where these are not all, or not from these very bytes, or where pages of other bytes
        or another mode are left, or pages that nobody has looked at to describe them, so that it
        has to be read.
        """
        store, mode = self._target.store, self._mode
        same = {records.SOURCE: source, records.DIGEST: digest, records.MODE: mode}
        if self._described:
            same[records.DESCRIBED] = self._described
        found = store.ids(same)
        known = self._target.readings.blank_pages(digest, self._way()) or BlankPages(0, ())
        if known.numbers and self._has_more(source, found):
            return None  # in the place of a page that is blank by now
        count: int | None = known.page_count
        if found:
            first = store.get(found[:1]).get(found[0])
            if first is None or not store.unreadable.keys().isdisjoint(found):
                return None  # damaged pages come back by being read again
            if first.page.image_path is not None and not self._have_pictures(found):
                return None  # they come back by being read again, too
            count = first.page.page_count
        whole = len(found) + len(known.numbers) == count
        return (found, known.numbers) if whole and count else None

    def _have_pictures(self, ids: Sequence[str]) -> bool:
        """Whether each of these pages has its own picture, as far as a look at its ends tells."""
        every = (self._target.store.get(ids[part]) for part in slices(len(ids), _READ_AT_ONCE))
        return all(self._target.have_pictures(list(found.values())) for found in every)

    def _has_more(self, source: str, found: Sequence[str]) -> bool:
        """Whether pages of a source are stored, under ids of :func:`load_pages`, beside these."""
        more = set(self._target.store.ids({records.SOURCE: source})).difference(found)
        numbers = [id.removeprefix(f"{source}#") for id in more]
        return any(number.isdecimal() for number in numbers)  # a tenant's have ids of their own

    def _vanished(self) -> Iterator[tuple[str, Path]]:
        """Ids of pages of files that have gone from the named folders, each with that folder.

        A named folder without anything to read says nothing, unless it is to be pruned.
        """
        here = [path for path in self._paths if not is_remote(path)]
        named = [folder for folder in map(_folder, here) if folder is not None]
        folders = [one for one in named if self._prune or self._has_files(one)]
        for id in self._target.store.ids() if folders else []:
            root = next((folder for folder in folders if _has_vanished(id, folder)), None)
            if root is not None:
                yield id, root

    def _vanished_in_stores(self) -> list[str]:
        """Ids of pages of files that have gone from the named folders of object stores.

        A folder that is empty says nothing, unless it is to be pruned; nor does one that cannot be
        listed.
        """
        named = [str(path).rstrip("/") for path in self._paths if is_remote(path)]
        there = self._in_stores() if named else {}
        gone = []
        for url in (url for url in named if self._prune or there.get(url)):
            held = (id for id in self._target.store.ids() if id.startswith(f"{url}/"))
            files = there.get(url)
            if files is not None:
                gone += [id for id in held if id.rpartition("#")[0] not in files]
        return gone

    def _in_stores(self) -> dict[str, set[str]]:
        """The addresses of all files in the named folders of object stores, by folder."""
        found = {}
        for path in filter(is_remote, self._paths):
            with suppress(PageError, RemoteFileError):  # whoever reads it says why
                named = remote_folder(str(path), self._loading.get("storage_options"))
                found[named.url] = remote_addresses(named)
        return found

    def _has_files(self, folder: Path) -> bool:
        return bool(list_files(folder, follow_links=self._links))


def _source(id: str) -> Path:
    """The file of a page that :func:`load_pages` read."""
    return Path(id.rpartition("#")[0])


def _folder(path: str | Path) -> Path | None:
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


def _is_bare(folder: Path) -> bool:
    """Whether a folder is missing, or holds no file but hidden ones, at any depth."""
    names = (name for _, _, files in os.walk(folder) for name in files)
    return all(name.startswith(".") for name in names)


def _bare_folder(folder: Path, root: Path) -> Path | None:
    """The uppermost folder without files from ``folder`` up to below ``root``; None for none."""
    inside = folder.relative_to(root).parts
    ways = (root.joinpath(*inside[:length]) for length in range(1, len(inside) + 1))
    return next(filter(_is_bare, ways), None)


def _kept(folder: Path, count: int) -> PageError:
    is_there = "is empty" if folder.is_dir() else "is missing"
    pages = "1 page" if count == 1 else f"{count:,} pages"
    return PageError(
        folder.as_posix(),
        f"this folder {is_there}, and {pages} of files in it stay in the index: mount its disk, or "
        f"have them removed (--prune, or prune=True)",
    )
