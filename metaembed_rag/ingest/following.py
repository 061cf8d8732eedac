"""Files and folders that an index follows: which are unchanged, and whose pages have gone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from metaembed_rag.ingest.report import Acknowledged, AddReport, still_blank
from metaembed_rag.ingest.target import Target
from metaembed_rag.model.inputs import sight
from metaembed_rag.pages import Page, list_files, load_pages
from metaembed_rag.pages.folders import expanded
from metaembed_rag.pages.load import count_pages
from metaembed_rag.pages.page import default_id
from metaembed_rag.store import records
from metaembed_rag.store.readings import BlankPages, way_of


class Followed:
    """Files and folders, in one run of bringing an index in line with them.

    Args:
        target: The index.
        paths: Of files and folders.
        mode: What of a page is encoded.
        described: Who describes pictures, as ``Describer.way``; ``""`` for nobody.

    Attributes:
        report: What is unchanged, and what was not read.
        progress: Called with the number of pages of each file that is left out as unchanged.
    """

    def __init__(
        self, target: Target, paths: Sequence[str | Path], mode: str, described: str = ""
    ) -> None:
        self._target, self._paths, self._mode = target, paths, mode
        self._described = described
        self.report = AddReport()
        self.progress: Callable[[int], None] | None = None

    def pages(self, load_options: Mapping[str, Any]) -> Iterator[Page]:
        """The pages of new and changed files, loaded as they are asked for."""
        return load_pages(
            self._paths,
            skip=self._skip,
            on_skip=self.report.leave_out,
            on_ignore=self.report.ignored.append,
            **load_options,
        )

    def count_pages(self) -> int:
        """About how many pages there are, unchanged ones among them."""
        return count_pages(list_files(self._paths))

    def remove_gone(self) -> int:
        """Remove pages of files that have gone, and count them.

        All pages have to be loaded before.
        """
        gone = self._vanished()
        self._target.remove(gone)
        return len(gone)

    def whole(self, report: AddReport) -> AddReport:
        """The report of adding the pages, and this one with it."""
        report.unchanged += self.report.unchanged
        report.acknowledged = self.report.acknowledged + report.acknowledged
        report.skipped = self.report.skipped + report.skipped
        report.blank = self.report.blank + report.blank
        report.ignored = self.report.ignored
        return report

    def _skip(self, source: str, digest: str) -> bool:
        """Whether a file need not be read; its pages are counted."""
        own = self._target.store.places.is_ours(Path(source))
        if own or Path(source).is_relative_to(self._target.pictures.folder.resolve()):
            return True  # our own files are no pages, even where their folder is named
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
        way = way_of(mode, store.about.fingerprint, self._described, sight())
        known = self._target.readings.blank_pages(digest, way) or BlankPages(0, ())
        if known.numbers and self._has_more(source, found):
            return None  # in the place of a page that is blank by now
        count: int | None = known.page_count
        if found:
            first = store.get(found[:1]).get(found[0])
            if first is None or not store.unreadable.keys().isdisjoint(found):
                return None  # damaged pages come back by being read again
            name = first.page.image_path
            if name and not self._target.pictures.holds(name):
                return None
            count = first.page.page_count
        whole = len(found) + len(known.numbers) == count
        return (found, known.numbers) if whole and count else None

    def _has_more(self, source: str, found: Sequence[str]) -> bool:
        """Whether pages of a source are stored, under ids of :func:`load_pages`, beside these."""
        more = set(self._target.store.ids({records.SOURCE: source})).difference(found)
        numbers = [id.removeprefix(f"{source}#") for id in more]
        return any(number.isdecimal() for number in numbers)  # a tenant's have ids of their own

    def _vanished(self) -> list[str]:
        """Ids of pages of files that have gone from the named folders."""
        named = [_folder(path) for path in self._paths]
        folders = [folder for folder in named if folder is not None and list_files(folder)]
        every = self._target.store.ids() if folders else []
        return [id for id in every if any(_has_vanished(id, folder) for folder in folders)]


def _folder(path: str | Path) -> Path | None:
    """The folder that was named; None where it is none, or no path at all."""
    try:
        found = expanded(path).resolve()
        return found if found.is_dir() else None
    except (OSError, RuntimeError, ValueError):
        return None


def _has_vanished(id: str, folder: Path) -> bool:
    """Whether ``id`` is of a page that :func:`load_pages` read below ``folder``, its file gone."""
    source = Path(id.rpartition("#")[0])
    if not source.is_absolute() or not source.is_relative_to(folder):
        return False
    try:
        return not source.exists()
    except OSError:
        return False  # a folder that may not be entered says nothing about its files
