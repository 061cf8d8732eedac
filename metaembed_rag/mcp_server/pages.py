"""What an agent can ask an index, answered in content blocks of MCP."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from mcp_types import ContentBlock, ImageContent, TextContent

from metaembed_rag.errors import MetaEmbedError, StoreError
from metaembed_rag.hits import Hit, Hits, shown_confidence
from metaembed_rag.index import PageIndex
from metaembed_rag.mcp_server.names import told_id, told_names, without_folders
from metaembed_rag.metadata.fields import public_key
from metaembed_rag.metadata.filters import all_of
from metaembed_rag.metadata.typed import parsed
from metaembed_rag.pages import Page
from metaembed_rag.pages.sending import PictureLimits, pictures_to_send
from metaembed_rag.tools import NOTHING_FOUND, chosen

LIMITS = PictureLimits(max_bytes=900_000, max_bytes_each=900_000, max_side=1_600)
"""Some hosts of agents refuse an answer of more than 1 MB."""

_TEXT_OF_A_HIT = 4_000
"""Characters; a page of a book has about 3,000."""
_TEXT_OF_A_PAGE = 60_000
_SOURCES = 200
"""Files that are listed at a time."""
_AT_ONCE = 1_000

_log = logging.getLogger(__name__)


class PageTools:
    """Searches an index, gives a page, lists its files.

    Threads may share one.

    Args:
        index: The pages.
        limits: How large the pictures of one answer may be.
    """

    def __init__(self, index: PageIndex, limits: PictureLimits = LIMITS) -> None:
        self._index = index
        self._limits = limits
        self._ids: dict[str, str] = {}
        self._lock = threading.Lock()
        self._loading = threading.Lock()
        self._source_of: dict[str, str] = {}
        self._listing = threading.Lock()

    def load_soon(self) -> None:
        """Begin to load the model, which takes seconds, while a client says what it wants.

        What goes wrong is logged, and told again to whoever searches.
        """
        threading.Thread(target=self._load_and_tell, name="metaembed-load", daemon=True).start()

    def search(
        self,
        query: str,
        budget: str | None,
        k: int,
        source: str | None,
        conditions: Sequence[str] | None = None,
    ) -> list[ContentBlock]:
        """The pages that answer a query: text and picture of each, best first.

        Raises:
            BudgetError: There is no such budget, or the index does not hold so many vectors.
            StoreError: No file has that name, or a condition is none.
        """
        self._load()
        of_file = None if not source else {"source": {"$in": self._sources_called(source)}}
        where = all_of(of_file, _public(parsed(conditions or [])))
        keywords: dict[str, Any] = {**chosen(budget, k), "where": where}
        hits = self._index.search(query, **keywords)
        if not hits:
            note = without_folders(hits.note)
            return [_said(f"{NOTHING_FOUND[:-1]}: {note}." if note else NOTHING_FOUND)]
        names = [_title(hit.page, f"{hit.rank}. ", _scored(hit)) for hit in hits]
        pages = self._blocks([hit.page for hit in hits], names, _TEXT_OF_A_HIT)
        return [_said(_about(hits)), *pages]

    def page(self, id: str) -> list[ContentBlock]:
        """One page: all of its text, and its picture.

        Raises:
            StoreError: There is no such page.
        """
        found = self._index.get([self._page_id(id.strip())])
        if not found:
            raise StoreError(f"no page has the id {id!r} any more; search again")
        return self._blocks(found, [_title(found[0])], _TEXT_OF_A_PAGE)

    def sources(self, start: int) -> list[ContentBlock]:
        """Files that the index holds, with their number of pages, 200 at a time.

        Args:
            start: The first of them, from 1.
        """
        pages = self._pages_of_sources()
        names = told_names(pages)
        lines = sorted(f"{names[source]}: {_counted(pages[source])}" for source in pages)
        shown = lines[start - 1 : start - 1 + _SOURCES]
        about = f"{_counted(sum(pages.values()))} of {len(lines)} sources"
        if start + len(shown) <= len(lines):
            about += f"; {start} to {start - 1 + len(shown)} are shown, ask again with start="
            about += str(start + len(shown))
        return [_said("\n".join([about, *shown]))]

    # -- inner -----------------------------------------------------------------------------

    def _load(self) -> None:
        with self._loading:  # two threads would load it twice
            self._index.encoder  # noqa: B018

    def _load_and_tell(self) -> None:
        try:
            self._load()
        except MetaEmbedError as error:
            _log.error("%s", error)

    def _blocks(
        self, pages: Sequence[Page], titles: Sequence[str], most: int
    ) -> list[ContentBlock]:
        with self._lock:
            self._ids |= {told_id(page.id): page.id for page in pages}
        blocks: list[ContentBlock] = []
        pictures = pictures_to_send([page.image_path for page in pages], self._limits)
        for page, title, picture in zip(pages, titles, pictures, strict=True):
            parts = [title, _cut(page.text, most)]
            if picture.left_out:
                parts.append(f"[{picture.left_out}]")
            blocks.append(_said("\n".join(part for part in parts if part)))
            if picture.data:
                blocks.append(
                    ImageContent(type="image", data=picture.base64, mime_type=picture.mime_type)
                )
        return blocks

    def _page_id(self, told: str) -> str:
        """The id of a page by what stands for it; also of one that another process told.

        Raises:
            StoreError: None has it.
        """
        with self._lock:
            known = self._ids.get(told)
        if known is not None:
            return known
        every = {told_id(id): id for id in self._index.ids()}
        if told not in every:
            raise StoreError(
                f"no page has the id {told!r}; take one from the answer of search_pages"
            )
        return every[told]

    def _sources_called(self, name: str) -> list[str]:
        """Sources with this name, or whose path ends with it.

        Raises:
            StoreError: There are none.
        """
        asked = PurePosixPath(name.strip()).parts
        found = [one for one in self._pages_of_sources() if _ends_with(one, asked)]
        if not found:
            raise StoreError(f"no file is called {name!r}; list_sources says which there are")
        return found

    def _pages_of_sources(self) -> Mapping[str, int]:
        """How many pages each source has; a page is read of the index once."""
        ids = self._index.ids()
        with self._listing:
            new = [id for id in ids if id not in self._source_of]
            for first in range(0, len(new), _AT_ONCE):
                found = self._index.get(new[first : first + _AT_ONCE], pictures=False)
                self._source_of |= {page.id: page.source for page in found}
            return Counter(self._source_of[id] for id in ids if id in self._source_of)


def _public(where: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A filter of which the answer tells nothing of the folders of this machine.

    Raises:
        StoreError: It asks for a source or for fields that are not the pages' own.
    """
    if where is None:
        return None
    found: dict[str, Any] = {}
    for key, asked in where.items():
        if key in ("$and", "$or") and isinstance(asked, list):
            found[key] = [_public(one) for one in asked if isinstance(one, Mapping)]
        elif key == "source" or ":" in key:
            raise StoreError(
                f"no condition can be on {key!r:.100}: name a file by the argument source, or by "
                f"'file_name=…'"
            )
        else:
            found[public_key(key)] = asked
    return found


def _ends_with(source: str, asked: tuple[str, ...]) -> bool:
    parts = PurePosixPath(source).parts
    return bool(asked) and parts[-len(asked) :] == asked


def _said(text: str) -> TextContent:
    return TextContent(type="text", text=text)


def _about(hits: Hits) -> str:
    ms = f"{hits.seconds * 1000:.0f} ms"
    return f"{_counted(len(hits))}, best first, at the budget ({hits.budget}) in {ms}"


def _scored(hit: Hit) -> str:
    sure = "" if hit.confidence is None else f", confidence {shown_confidence(hit.confidence)}"
    return f", score {hit.score:.3f}{sure}"


def _title(page: Page, before: str = "", after: str = "") -> str:
    name = PurePosixPath(page.source).name or page.source
    section = page.metadata.get("section") or page.metadata.get("title") or ""
    line = f"{before}{name}, page {page.number}{after} (id {told_id(page.id)})"
    return f"{line}\n{section}" if section else line


def _cut(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    return f"{text[:most]}\n[{len(text) - most:,} more characters are left out; see the picture]"


def _counted(pages: int) -> str:
    return f"{pages:,} page" if pages == 1 else f"{pages:,} pages"
