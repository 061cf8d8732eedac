"""Files and folders that an index follows: which are unchanged, and whose pages have gone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from metaembed_rag.errors import PageError, UnreadableFileError
from metaembed_rag.filesystems import is_url
from metaembed_rag.ingest.encoded_rows import UNCHANGED
from metaembed_rag.ingest.known_content import has_same_words, of_same_file, root_of
from metaembed_rag.ingest.moves import Moves
from metaembed_rag.ingest.options import FollowKeywords
from metaembed_rag.ingest.report import Acknowledged, AddReport, still_blank
from metaembed_rag.ingest.target import Target
from metaembed_rag.ingest.vanished import VanishedPages, missing_place, named_folder
from metaembed_rag.ingest.whereabouts import Whereabouts, source_of
from metaembed_rag.model.inputs import sight
from metaembed_rag.pages import Limits, Page, list_files, load_pages
from metaembed_rag.pages.digests import remote_digests, ways
from metaembed_rag.pages.folders import expanded, find_files, show
from metaembed_rag.pages.load import count_pages
from metaembed_rag.pages.page import default_id
from metaembed_rag.pages.remote import find_remote, is_remote, remote_folder
from metaembed_rag.pages.texts import is_markdown
from metaembed_rag.store import records
from metaembed_rag.store.readings import BlankPages, way_of
from metaembed_rag.store.records import Record
from metaembed_rag.store.requests import slices

if TYPE_CHECKING:
    from metaembed_rag.ingest.run import AddRun

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
        moved: Digests of files that have gone, whose pages are all in the index: a file with one of
            these need not be read, where no digest of it is given.
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
    moved: Sequence[str] = ()


class Stored(NamedTuple):
    """What an index has of a file whose pages are all there.

    Attributes:
        ids: Of its pages.
        blank: Numbers of its pages that have nothing to read.
        first: The record of one of them; None where all are blank.
    """

    ids: Sequence[str]
    blank: Sequence[int]
    first: Record | None


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
        self._described = described
        self._reread = keywords.get("reread", False)
        ours = ("prune", "reread")
        self._loading: dict[str, Any] = {k: v for k, v in keywords.items() if k not in ours}
        self._links = keywords.get("limits", Limits()).follow_links
        options = keywords.get("storage_options")
        self._vanished = VanishedPages(
            target.store,
            paths,
            prune=keywords.get("prune", False),
            follow_links=self._links,
            options=options,
        )
        self.report = AddReport()
        stores = {str(path).partition(":")[0].lower() for path in paths if is_remote(path)}
        self.there = Whereabouts(options, asked=stores)
        self._moves = Moves(target, self.there)
        self._run: AddRun | None = None
        self._roots: dict[str, list[str]] = {}
        self.progress: Callable[[int], None] | None = None

    def by(self, run: AddRun) -> None:
        """Say which run adds the pages."""
        run.moves, self._run = self._moves, run
        run.content.is_preferred = lambda id: bool(self._is_of_gone(id))

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
        folders = [
            folder.as_posix() for folder in map(named_folder, self._paths) if folder is not None
        ]
        blank = self._target.readings.all_blank(self._way())
        folders += [str(path).rstrip("/") for path in self._paths if is_remote(path)]
        given = {url: digest for url, digest in digests.items() if digest}
        shared = self._target.pictures.shared
        moved = self._moved() if len(known) < len(untold) else []
        return FilesToEncode([*sources, *digests], folders, known, blank, given, shared, moved)

    def _moved(self) -> list[str]:
        """Digests of files that have gone from this machine, and whose pages are all there."""
        first = self._target.store.ids({records.PAGE: 1, records.MODE: self._mode})
        gone = [source_of(id) for id in first if not is_url(id) and self._is_of_gone(id)]
        digests = {digest for source in gone if (digest := self._known_digest(source))}
        return sorted(digest for digest in digests if self._same_bytes("", digest) is not None)

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
                source = str(row["id"])
                digest = str(row["source_digest"])
                if not (self._skip(source, digest) or self._take_over(source, digest)):
                    self.report.leave_out(PageError(source, "its pages have changed: run again"))
            else:
                yield row

    def count_pages(self) -> int:
        """About how many pages there are, unchanged ones among them."""
        here = [path for path in self._paths if not is_remote(path)]
        far = sum(map(len, self._vanished.in_stores().values()))
        return count_pages(list_files(here, follow_links=self._links)) + far

    def finish(self, report: AddReport) -> AddReport:
        """Remove pages of files that have gone; what was added, and this report with it.

        All pages have to be loaded before.
        """
        self._bring_roots()
        moved = self._moves.found(self._target.store.ids)
        gone, self.report.unpruned = self._vanished.gone(moved)
        self._target.remove(gone)
        report.moved = self._moves.count(gone)
        report.removed += len(gone)
        self._moves.finish()
        return self._whole(report)

    def _whole(self, report: AddReport) -> AddReport:
        """The report of adding the pages, and this one with it."""
        report.unchanged += self.report.unchanged
        report.acknowledged = self.report.acknowledged + report.acknowledged
        report.skipped = list(map(self._explained, self.report.skipped)) + report.skipped
        report.blank = self.report.blank + report.blank
        report.ignored = self.report.ignored
        report.unpruned = self.report.unpruned
        return report

    def _explained(self, error: PageError) -> PageError:
        """What is wrong with a path; where nothing is there any more, what to do with its pages."""
        for path in (path for path in self._paths if not is_remote(path)):
            if show(expanded(path)) == error.source:
                return missing_place(self._target.store, path) or error
        return error

    def _skip(self, source: str, digest: str) -> bool:
        """Whether a file need not be read; its pages are counted."""
        if self._is_ours(source):
            return True
        unchanged = self._pages_of_unchanged(source, digest)
        if self._reread and not self._was_read_better(unchanged):
            return False
        if unchanged is None:
            return not is_remote(source) and self._take_over(source, digest)
        stored, blank, first = unchanged
        if first is not None:
            self._look_at_root(first.page, stored)
        self.report.unchanged += len(stored)
        self.report.acknowledged += stored
        self._count_blank(source, blank)
        if self.progress is not None:
            self.progress(Acknowledged(len(stored) + len(blank), stored))
        return True

    def _was_read_better(self, stored: Stored | None) -> bool:
        """Whether pages were read in a better way than is open here, as with LibreOffice."""
        if stored is None or stored.first is None:
            return False
        settings = stored.first.page.settings
        side = self._loading.get("max_side", 896)
        return settings in ways(settings.partition(":")[0], side)[:-1]

    def _count_blank(self, source: str, numbers: Sequence[int]) -> None:
        self.report.blank += [still_blank(default_id(source, number)) for number in numbers]

    def _take_over(self, source: str, digest: str) -> bool:
        """Whether the pages of a file were written as those of another one of the same bytes."""
        found = self._same_bytes(source, digest)
        if found is None or self._run is None:
            return False
        store, root = self._target.store, self._root_of(source)
        own = [id for id in store.ids({records.SOURCE: source}) if source_of(id) == source]
        new: list[str] = []
        for part in slices(len(found.ids), _READ_AT_ONCE):
            donors = list(store.get(found.ids[part]).values())
            pages = [of_same_file(donor, source, root) for donor in donors]
            new += [page.id for page in pages]
            self._run.take_over_file(pages, donors, store.get([one.id for one in pages]))
        self._run.remove(sorted(set(own).difference(new)))
        self._count_blank(source, found.blank)
        if self.progress is not None and found.blank:
            self.progress(Acknowledged(len(found.blank)))
        return True

    def _same_bytes(self, source: str, digest: str) -> Stored | None:
        """What the index has of another file of the same bytes, of one that has gone first.

        Without a ``source`` of what may be taken over under any name.
        """
        ids = self._target.store.ids({records.DIGEST: digest, records.MODE: self._mode})
        others = dict.fromkeys(filter(None, map(source_of, ids)))
        for other in sorted(others, key=lambda other: not self.there.is_gone(other)):
            found = self._pages_of_unchanged(other, digest)
            if found is not None and self._is_whole(found, other, source):
                return found
        return None

    def _is_whole(self, found: Stored, other: str, source: str) -> bool:
        """Whether a file's pages say all that those of a file of another name would say."""
        every = set(found.ids) == {id for id in found.ids if source_of(id) == other}
        if not every or found.first is None or is_markdown(other) != is_markdown(source):
            return False  # headings of Markdown are sections
        parts = slices(len(found.ids), _READ_AT_ONCE)
        read = (self._target.store.get(found.ids[part], vectors=False) for part in parts)
        pages = [record for some in read for record in some.values()]
        known = len(pages) == len(found.ids)
        return known and all(one.looked_at and has_same_words(source, one) for one in pages)

    def _is_of_gone(self, id: str) -> bool:
        source = source_of(id)
        return bool(source) and self.there.is_gone(source)

    @cached_property
    def _named(self) -> list[str]:
        """The folders that were named, and addresses."""
        every = ((path, named_folder(path)) for path in self._paths)
        found = (
            str(path) if is_remote(path) else "" if folder is None else folder.as_posix()
            for path, folder in every
        )
        return [one.rstrip("/") for one in found if one]

    def _root_of(self, source: str) -> str:
        """The first folder that was named and holds a file; ``""`` for none."""
        inside = (root for root in self._named if source.startswith(f"{root}/"))
        return next(inside, "")

    def _look_at_root(self, page: Page, ids: Sequence[str]) -> None:
        """Note the root of an unchanged file's pages, where they have none."""
        root = self._root_of(page.source)
        if root_of(page, root) != page.root:
            self._roots.setdefault(root, []).extend(ids)

    def _bring_roots(self) -> None:
        """Write the roots of pages of older indexes, or of files of other folders."""
        for root, ids in self._roots.items():
            for part in slices(len(ids), _READ_AT_ONCE):
                known = [{records.ROOT: root}] * len(ids[part])
                self._target.hand_over([self._target.store.update_metadata(ids[part], known)])

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

    def _pages_of_unchanged(self, source: str, digest: str) -> Stored | None:
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
        first: Record | None = None
        if found:
            first = store.get(found[:1]).get(found[0])
            if first is None or not store.unreadable.keys().isdisjoint(found):
                return None  # damaged pages come back by being read again
            if first.page.image_path is not None and not self._have_pictures(found):
                return None  # they come back by being read again, too
            count = first.page.page_count
        whole = len(found) + len(known.numbers) == count
        return Stored(found, known.numbers, first) if whole and count else None

    def _have_pictures(self, ids: Sequence[str]) -> bool:
        """Whether each of these pages has its own picture, as far as a look at its ends tells."""
        every = (self._target.store.get(ids[part]) for part in slices(len(ids), _READ_AT_ONCE))
        return all(self._target.have_pictures(list(found.values())) for found in every)

    def _has_more(self, source: str, found: Sequence[str]) -> bool:
        """Whether pages of a source are stored, under ids of :func:`load_pages`, beside these."""
        more = set(self._target.store.ids({records.SOURCE: source})).difference(found)
        numbers = [id.removeprefix(f"{source}#") for id in more]
        return any(number.isdecimal() for number in numbers)  # a tenant's have ids of their own
