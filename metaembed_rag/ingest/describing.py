"""Descriptions of pictures in one run of adding pages: kept ones, new ones, and what failed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from metaembed_rag.errors import MetaEmbedError, NothingToReadError, PageError
from metaembed_rag.model.chat import Descriptions
from metaembed_rag.model.describing import Describer
from metaembed_rag.pages import Page
from metaembed_rag.pages.parts import VISUAL_WORDS
from metaembed_rag.pages.reading import DESCRIPTION, description_of, with_part
from metaembed_rag.store.readings import RunReadings
from metaembed_rag.store.records import Record


class RunDescriptions:
    """Has pictures described in one run, each picture once.

    Args:
        describer: Who describes them; None for nobody: then changed pages keep what was written
            about the same picture before.
        read: What is kept of runs before.

    Attributes:
        failed: Why pages have no description, by page id.
    """

    def __init__(self, describer: Describer | None, read: RunReadings) -> None:
        self.describer, self.read = describer, read
        self.failed: dict[str, str] = {}
        self._found: dict[str, tuple[str, str]] = {}
        """Descriptions of the pages that were looked at last, and who wrote them, by page id."""
        self._asked: Descriptions | None = None

    @property
    def way(self) -> str:
        """Who describes which pages; ``""`` for nobody."""
        return "" if self.describer is None else self.describer.way

    def close(self) -> None:
        """Close the connections."""
        if self._asked is not None:
            self._asked.close()

    def is_due(self, page: Page, old: Record) -> bool:
        """Whether a page that is stored unchanged is to be described now, or by somebody else."""
        if self.describer is None or not self.describer.wants(page):
            return False
        return not (description_of(old.page) and _by(old.page) == self.describer.by)

    def kept(self, page: Page) -> Page:
        """A stored page that is left as it is, looked at by this run's describer."""
        return replace(page, described_by=self.way) if self.describer else page

    def look(
        self, pages: Sequence[Page], hashes: Mapping[str, str], stored: Mapping[str, Record]
    ) -> None:
        """Have those pages described that are to be; :meth:`completed` adds the descriptions.

        Args:
            pages: New and changed ones, ``image_hash`` filled in.
            hashes: Of their contents, by id.
            stored: The records that pages of the same ids have now, by id.

        Raises:
            ModelError: Nobody describes anything; see :meth:`Descriptions.of`.
        """
        for page in pages:
            self.failed.pop(page.id, None)  # of a batch before, that had a page of the same id
        self._found = {id: (text, self.way) for id, text in self._texts(pages)}
        for page in pages:
            old = stored.get(page.id)
            if old is not None and old.content_hash == hashes[page.id]:
                before = description_of(old.page), old.page.described_by
                if before[0]:
                    self._found.setdefault(page.id, before)

    def has(self, id: str) -> bool:
        """Whether there is a description of the page with this id."""
        return id in self._found

    def explains(self, error: PageError) -> bool:
        """Whether a page without any other text has a description."""
        return self.has(error.source) and isinstance(error, NothingToReadError)

    def completed(self, page: Page) -> Page:
        """A page with the description of its picture, in place of visual words."""
        if page.id not in self._found:
            return page if page.id in self.failed else replace(page, described_by=self.way)
        text, way = self._found[page.id]
        described = with_part(with_part(page, DESCRIPTION, text), VISUAL_WORDS, "")
        return replace(described, described_by=way)

    def note_of(self, page: Page) -> PageError:
        """What is missing of a page that is stored without a description."""
        return PageError(page.id, f"its picture is not described: {self.failed[page.id]}")

    def explained(self, error: PageError) -> PageError:
        """Why a page is left out: for want of a description where that failed."""
        if error.source not in self.failed or not isinstance(error, NothingToReadError):
            return error
        reason = "there is no text on the picture, and describing it failed: "
        return NothingToReadError(error.source, reason + self.failed[error.source])

    def _texts(self, pages: Sequence[Page]) -> Iterator[tuple[str, str]]:
        """Ids of described pages, with the descriptions."""
        describer = self.describer
        if describer is None:
            return
        same: dict[str, list[Page]] = {}
        for page in filter(describer.wants, pages):
            known = self.read.description(page, describer.by)
            if known is None:
                same.setdefault(page.image_hash or page.id, []).append(page)
            else:
                yield page.id, known
        first = {some[0].id: some for some in same.values()}
        for id, text in self._ask([some[0] for some in same.values()]):
            for page in first[id]:
                if isinstance(text, str):
                    yield page.id, text
                else:
                    self.failed[page.id] = str(text)

    def _ask(self, pages: Sequence[Page]) -> Iterator[tuple[str, str | MetaEmbedError]]:
        """Ask about pictures, and keep each description at once."""
        assert self.describer is not None
        if pages and self._asked is None:
            self._asked = Descriptions(self.describer)
        by_id = {page.id: page for page in pages}
        for id, text in self._asked.of(pages) if self._asked is not None and pages else ():
            if isinstance(text, str):
                self.read.note_description(by_id[id], self.describer.by, text)
            yield id, text


def _by(page: Page) -> str:
    return page.described_by.partition(" ")[0]
