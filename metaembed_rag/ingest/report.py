"""What adding pages did, and what it left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from metaembed_rag.errors import BlankPageError, PageError
from metaembed_rag.pages.folders import ignored_text

_STEPS = ("load", "hash", "describe", "ocr", "encode", "store")


class Acknowledged(int):
    """A number of pages that are done, as ``progress`` is told it.

    Args:
        pages: How many: those that are in the index, and those that were left out.
        ids: Of those that are in the index.

    Attributes:
        ids: They survive from now on whatever becomes of this process.
    """

    ids: tuple[str, ...]

    def __new__(cls, pages: int, ids: Sequence[str] = ()) -> Self:
        """An ``int`` takes its value here."""
        made = super().__new__(cls, pages)
        made.ids = tuple(ids)
        return made


@dataclass
class AddReport:
    """What :meth:`PageIndex.add` and :meth:`PageIndex.sync` did.

    Attributes:
        added: Pages that were not in the index.
        updated: Pages whose content or metadata had changed.
        unchanged: Pages that were there already and were not encoded again.
        removed: Pages that their source no longer has.
        skipped: What could not be read, or made vectors of, with the reason.
        notes: What is missing of pages that are in the index, and why: OCR was to complete their
            text and is off or not installed, or describing their picture failed. They are tried
            again by the next run.
        blank: Pages with nothing to read, which are not in the index and no failure: blank ones,
            and pictures without letters, caption or telling name where the model reads text only.
            They are remembered, and not read again while they are unchanged.
        unpruned: Sub-folders that have pages in the index and are missing or empty now, with the
            number of those pages: they are kept, since a disk may be unmounted, until
            :meth:`PageIndex.sync` is told to ``prune``.
        ignored: Files inside folders that are of a kind that is not read; the text of the report
            names the first five.
        cut: Ids of added or updated pages whose text is longer than what the encoder reads in its
            ``max_passes`` passes, each with the number of tokens at its end that no vector has
            seen. Hybrid search still reads their words.
        acknowledged: Ids of the pages that are in the index as they were given: added, updated and
            unchanged ones.
        seconds: What :meth:`PageIndex.add` did or waited for: ``load``, ``hash``,
            ``describe``, ``ocr``, ``encode``, ``store``.
        moved: How many of the added pages :meth:`PageIndex.sync` found in a new place: they have
            the vectors of pages whose files have gone, which are among the removed ones.
    """

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0
    skipped: list[PageError] = field(default_factory=list)
    notes: list[PageError] = field(default_factory=list)
    blank: list[BlankPageError] = field(default_factory=list)
    unpruned: list[PageError] = field(default_factory=list)
    ignored: list[Path] = field(default_factory=list)
    cut: dict[str, int] = field(default_factory=dict)
    acknowledged: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(_STEPS, 0.0))
    moved: int = 0

    def __str__(self) -> str:
        """What was done, and the names of the first files of kinds that are not read."""
        return f"{self.summary}; {ignored_text(self.ignored)}" if self.ignored else self.summary

    @property
    def summary(self) -> str:
        """The numbers in a line."""
        parts = f"{self.added} added, {self.updated} updated, {self.unchanged} unchanged"
        blank = f", {len(self.blank)} blank" if self.blank else ""
        cut = f", {len(self.cut)} cut" if self.cut else ""
        moved = f", {self.moved} moved" if self.moved else ""
        return f"{parts}, {self.removed} removed, {len(self.skipped)} skipped{blank}{cut}{moved}"

    @property
    def unread(self) -> list[PageError]:
        """What is not in the index, with the reason: ``skipped``, then ``blank``."""
        return [*self.skipped, *self.blank]

    def leave_out(self, error: PageError) -> None:
        """Note what was not read: a blank page, or a failure."""
        if isinstance(error, BlankPageError):
            self.blank.append(error)
        else:
            self.skipped.append(error)


def still_blank(id: str) -> BlankPageError:
    """A page that is left out unread, because nothing was on it before."""
    return BlankPageError(id, "there was nothing to read on the page, and it is unchanged")
