"""What a worker is given, files or pages as rows of columns, read as pages."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from metaembed_rag.errors import MetadataError, PageError, UnreadableFileError, kind_of_value
from metaembed_rag.pages import Page
from metaembed_rag.pages.load import read_file
from metaembed_rag.pages.pictures import picture_of
from metaembed_rag.pages.texts import is_markdown
from metaembed_rag.store.records import stored_metadata


class Unchanged(NamedTuple):
    """A file that is in the index as it is.

    Attributes:
        source: Of its pages.
        digest: Of its bytes and of how it is read.
    """

    source: str
    digest: str


@dataclass(frozen=True)
class ItemReader:
    """Reads what a batch holds.

    Attributes:
        folders: The folders that were named, for files that are from folders.
        unchanged: Digests of files that are in the index already, by their sources.
        blank: Digests of files that have only blank pages.
        loading: ``password``, ``max_side`` and ``limits`` of :func:`metaembed_rag.load_pages`.
        prefix: Put before each path.
        digests: Of files whose store says what changes with their content, by their sources.
        moved: Digests of files that have gone and whose pages are in the index.
    """

    folders: Sequence[str] = ()
    unchanged: Mapping[str, str] = field(default_factory=dict)
    blank: frozenset[str] = frozenset()
    loading: Mapping[str, Any] = field(default_factory=dict)
    prefix: str = ""
    digests: Mapping[str, str] = field(default_factory=dict)
    moved: frozenset[str] = frozenset()

    def pages(self, items: Iterable[Any]) -> Iterator[Page | PageError | Unchanged]:
        """The pages of items, ``image_hash`` filled in, and what became of the others.

        Args:
            items: Pages; rows with ``path`` and mostly ``bytes`` of a file; rows of one page.
        """
        for item in items:
            for found in self._of_item(item):
                yield _prepared(found) if isinstance(found, Page) else found

    def _of_item(self, item: Any) -> Iterator[Page | PageError | Unchanged]:
        if isinstance(item, Page):
            yield item
        elif not isinstance(item, Mapping):
            yield PageError("an item", f"is {kind_of_value(item)}: give pages, or rows of columns")
        elif item.get("path") is not None:
            yield from self._of_file(f"{self.prefix}{item['path']}", item.get("bytes"))
        else:
            yield _page_of(item)

    def _of_file(self, source: str, data: Any) -> Iterator[Page | PageError | Unchanged]:
        left_out: list[Unchanged] = []
        given = self.digests.get(source, "")
        movable = not given and not is_markdown(source)  # a text by that name has sections
        known_digests = self.blank | self.moved if movable else self.blank

        def skip(source: str, digest: str) -> bool:
            known = self.unchanged.get(source) == digest or digest in known_digests
            if known:
                left_out.append(Unchanged(source, digest))
            return known

        if data is None and not Path(source).exists():
            why = "a worker sees no such file"
            help = "name a folder that all workers see, or give its bytes beside its path"
            yield UnreadableFileError(source, f"{why}; {help}")
            return
        data = None if data is None else bytes(data)
        yield from read_file(
            data, source, self._folder(source), digest=given, skip=skip, **self.loading
        )
        yield from left_out

    def _folder(self, source: str) -> Path | None:
        """The folder that was named and holds a file."""
        named = map(Path, self.folders)
        return next((folder for folder in named if Path(source).is_relative_to(folder)), None)


def _prepared(page: Page) -> Page | PageError:
    """A page with metadata as they are stored, and the hash of its picture."""
    try:
        metadata = stored_metadata(page.metadata, page.id)
    except MetadataError as error:
        return PageError(page.id, str(error).partition(": ")[2])
    return replace(page, metadata=metadata, image_hash=page.picture_hash())


def _page_of(row: Mapping[str, Any]) -> Page | PageError:
    """The page that a row describes, or what is wrong with it."""
    known = {key: value for key, value in row.items() if value is not None}
    name = str(known.get("id") or known.get("source") or "a row")
    metadata, picture = known.get("metadata", {}), known.get("picture")
    try:
        return Page(
            source=str(known.get("source") or known.get("id") or ""),
            number=known.get("number", 1),
            text=known.get("text", ""),
            image=picture_of(picture) if picture else None,
            metadata=json.loads(metadata) if isinstance(metadata, str) else metadata,
            id=known.get("id", ""),
            page_count=known.get("page_count"),
        )
    except UnreadableFileError as error:
        return UnreadableFileError(name, f"its picture {error.reason}")
    except ValueError as error:
        return PageError(name, f"its metadata are no JSON ({error})")
    except PageError as error:
        return error
