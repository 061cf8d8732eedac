"""Pages of files that are no more, out of an index."""

from __future__ import annotations

from dataclasses import dataclass, field

from metaembed_rag.errors import StoreError
from metaembed_rag.ingest.naming import every_page
from metaembed_rag.ingest.target import Target
from metaembed_rag.ingest.whereabouts import Whereabouts, is_of_file, source_of
from metaembed_rag.store.requests import slices

_AT_ONCE = 1000


@dataclass(frozen=True)
class PruneReport:
    """What :meth:`PageIndex.prune` did, or with ``dry_run`` would do.

    Attributes:
        pages: How many pages were removed.
        files: The files that are no more, each with how many pages of it were removed.
        doubtful: Files of which it is not known whether they are there, each with the reason;
            their pages stay.
        dry_run: Nothing was removed.
    """

    pages: int = 0
    files: dict[str, int] = field(default_factory=dict)
    doubtful: dict[str, str] = field(default_factory=dict)
    dry_run: bool = False

    def __str__(self) -> str:
        """The counts, in words."""
        would = "would be " if self.dry_run else ""
        pages = "1 page" if self.pages == 1 else f"{self.pages:,} pages"
        files = "1 file" if len(self.files) == 1 else f"{len(self.files):,} files"
        return f"{pages} of {files} {would}removed"


def prune(target: Target, there: Whereabouts, *, dry_run: bool, everything: bool) -> PruneReport:
    """Remove the pages of files that are no more; the writer lock is held unless it is a dry run.

    Raises:
        StoreError: None of the index's files is there, and that is not expected; nothing is
            removed.
    """
    ids = target.store.ids()
    suspects = [id for id in ids if not (source := source_of(id)) or there.is_gone(source)]
    gone: list[str] = []
    files: dict[str, int] = {}
    for page in every_page(target.store, suspects):
        if is_of_file(page) and there.is_gone(page.source):
            gone.append(page.id)
            files[page.source] = files.get(page.source, 0) + 1
    if gone and not (everything or dry_run or there.has_found):
        raise StoreError(
            f"none of the index's {len(files):,} files is there, so nothing was removed: is a disk "
            f"not mounted, or have they moved (metaembed index NEWPLACE)? If all pages are to go, "
            f"say everything=True (--yes)"
        )
    if not dry_run:
        for part in slices(len(gone), _AT_ONCE):
            target.remove(gone[part])
        target.readings.refresh()
        target.readings.forget_texts()  # a deleted page's would stay
    return PruneReport(len(gone), files, dict(there.doubtful), dry_run)
