"""What of one run needs no model: pages whose content is stored under another id already."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

from metaembed_rag.ingest.describing import RunDescriptions
from metaembed_rag.ingest.known_content import KnownContent, taken_over
from metaembed_rag.ingest.moves import Moves, Taken
from metaembed_rag.ingest.options import AddOptions
from metaembed_rag.ingest.report import AddReport
from metaembed_rag.ingest.target import Target
from metaembed_rag.model.inputs import unread_note
from metaembed_rag.pages import Page
from metaembed_rag.store.changes import Change
from metaembed_rag.store.records import Record


class TakingOver(ABC):
    """The part of a run that takes vectors over from other pages of the same content.

    Attributes:
        content: Finds such pages.
        moves: Told what is taken over, where files are followed.
    """

    target: Target
    options: AddOptions
    report: AddReport
    described: RunDescriptions
    content: KnownContent
    moves: Moves | None = None
    _unacknowledged: int

    @abstractmethod
    def _acknowledge(self) -> None: ...

    @abstractmethod
    def _timed(self, what: str) -> AbstractContextManager[None]: ...

    @abstractmethod
    def _note(self, change: Change) -> None: ...

    @abstractmethod
    def _count(self, written: Sequence[Page], replaced: Mapping[str, Record]) -> None: ...

    @abstractmethod
    def _remove(self, ids: Sequence[str]) -> None: ...

    @abstractmethod
    def _can_be_completed(self, page: Page, old: Record) -> bool: ...

    @abstractmethod
    def _is_incomplete(self, page: Page) -> bool: ...

    def take_over(
        self, pages: Sequence[Page], donors: Sequence[Record], replaced: Mapping[str, Record]
    ) -> None:
        """Write pages with the vectors of others of the same content; no write may be under way.

        Args:
            pages: Without repeats.
            donors: For each the record of another page.
            replaced: The records that pages of the same ids have now, by id.
        """
        if self.moves is not None:
            pairs = zip(pages, donors, strict=True)
            taken = [Taken(one.page.id, page.id, one.content_hash) for page, one in pairs]
            self.moves.note(taken, replaced)
        self._note(self.target.take_over(pages, donors, self.options.mode, replaced))
        self._count(pages, replaced)

    def take_over_file(
        self, pages: Sequence[Page], donors: Sequence[Record], replaced: Mapping[str, Record]
    ) -> None:
        """As :meth:`take_over`, of pages of one file while others are loaded and written."""
        self._acknowledge()
        with self._timed("store"):
            self.content.replaced(replaced.values())
            self.take_over(pages, donors, replaced)
        self._unacknowledged = len(pages)
        self._acknowledge()

    def remove(self, ids: Sequence[str]) -> None:
        """Take out pages that are no more of a file that was taken over."""
        self._remove(ids)

    def _told_apart(
        self, pages: Sequence[Page], hashes: Mapping[str, str]
    ) -> tuple[list[Page], list[Page]]:
        """Pages of different content, and those that have the content of one before."""
        first = list({hashes[page.id]: page for page in reversed(pages)}.values())[::-1]
        ids = {page.id for page in first}
        return first, [page for page in pages if page.id not in ids]

    def _but_known(
        self, pages: Sequence[Page], hashes: Mapping[str, str], stored: Mapping[str, Record]
    ) -> list[Page]:
        """Pages that are to be encoded: those of known content are written with its vectors."""
        with self._timed("store"):
            donors = self.content.donors(pages, hashes, self._suits)
            self.content.replaced(stored[page.id] for page in pages if page.id in stored)
            known = [page for page in pages if page.id in donors]
            if known:
                replaced = {page.id: stored[page.id] for page in known if page.id in stored}
                made = [self._as_taken(page, donors[page.id]) for page in known]
                self.take_over(made, [donors[page.id] for page in known], replaced)
        return [page for page in pages if page.id not in donors]

    def _suits(self, page: Page, other: Record) -> bool:
        """Whether another record says all of a page of its content that can be said now."""
        return other.mode == self.options.mode and not self._can_be_completed(page, other)

    def _as_taken(self, page: Page, donor: Record) -> Page:
        """A page with what is known of its content."""
        new = self.described.kept(taken_over(page, donor))
        if donor.may_be_unread and self._is_incomplete(page):
            self.report.notes.append(unread_note(page, self.options.ocr))
            new = replace(new, source_digest="")
        return new
