"""Stored pages whose content others have: vectors that need not be made again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from metaembed_rag.pages import Page
from metaembed_rag.pages.parts import VISUAL_WORDS
from metaembed_rag.store import records
from metaembed_rag.store.chroma import ChromaStore
from metaembed_rag.store.records import Record
from metaembed_rag.store.requests import slices

_READ_AT_ONCE = 256
_HASHES_AT_ONCE = 64
"""Hashes that one filter names: Chroma Cloud takes filters of 4,096 bytes."""
_KEPT_BYTES = 64_000_000
"""Of records that were replaced in this run, and whose content may come under another name."""


class KnownContent:
    """Finds pages of the same content, in the index or just replaced in it.

    Args:
        store: Holds the records.

    Attributes:
        is_preferred: Whether the page with an id is to be found before others.
    """

    def __init__(self, store: ChromaStore) -> None:
        self._store = store
        self._former: OrderedDict[str, Record] = OrderedDict()
        self.is_preferred: Callable[[str], bool] = lambda id: False

    def donors(
        self,
        pages: Sequence[Page],
        hashes: Mapping[str, str],
        suits: Callable[[Page, Record], bool],
    ) -> dict[str, Record]:
        """Of pages, by id, the record of another one that was encoded from the same.

        Args:
            pages: New and changed ones.
            hashes: Of their contents, by id.
            suits: Whether a record says all of a page that is to be said.
        """
        if not pages:
            return {}
        wanted: dict[str, list[Page]] = {}
        for page in pages:
            wanted.setdefault(hashes[page.id], []).append(page)
        chosen: dict[str, Record] = {}
        for record in self._same(list(wanted)):
            for page in wanted.get(record.content_hash, ()):
                fits = page.id not in chosen and has_same_words(page.source, record)
                if fits and suits(page, record):
                    chosen[page.id] = record
            if len(chosen) == len(pages):
                break
        return self._with_vectors(chosen)

    def replaced(self, old: Iterable[Record]) -> None:
        """Keep records that are about to be replaced: files may have changed their names."""
        for record in old:
            self._former[record.content_hash] = record
        most = _KEPT_BYTES // max(1, self._store.about.bytes_per_page * 4 // 3)
        while len(self._former) > most:
            self._former.popitem(last=False)

    def _same(self, hashes: Sequence[str]) -> Iterator[Record]:
        """Records of such content, without vectors; those first that are to be preferred."""
        wanted = sorted(hashes)
        parts = (wanted[part] for part in slices(len(wanted), _HASHES_AT_ONCE))
        ids = [id for some in parts for id in self._store.ids({records.HASH: {"$in": some}})]
        ids.sort(key=lambda id: not self.is_preferred(id))
        for part in slices(len(ids), _READ_AT_ONCE):
            yield from self._store.get(ids[part], vectors=False).values()
        yield from (self._former[digest] for digest in hashes if digest in self._former)

    def _with_vectors(self, chosen: Mapping[str, Record]) -> dict[str, Record]:
        read = self._store.get(sorted({record.page.id for record in chosen.values()}))
        found = {}
        for id, record in chosen.items():
            whole = read.get(record.page.id, record)
            if whole.content_hash != record.content_hash:
                whole = record  # it was replaced in this run, and kept
            if whole.payload != records.NOT_READ:
                found[id] = whole
        return found


def taken_over(page: Page, donor: Record) -> Page:
    """A page as it was loaded, with what OCR read and who described it of one of the same content.

    Its ``image`` is left, and no kept picture named.
    """
    old = donor.page
    return replace(
        old,
        id=page.id,
        source=page.source,
        number=page.number,
        root=page.root,
        image=page.image,
        image_path=None,
        metadata=page.metadata,
        page_count=page.page_count,
        source_digest=page.source_digest,
        lines=old.lines or (page.lines if page.text == old.text else ""),
        unread=old.unread if donor.looked_at else page.unread,
    )


def of_same_file(record: Record, source: str, root: str) -> Page:
    """A stored page as one of a file of the same bytes with another name."""
    return replace(
        record.page, id=f"{source}#{record.page.number}", source=source, root=root, image_path=None
    )


def has_same_words(source: str, record: Record) -> bool:
    """Whether a record's text holds no name of its file, where it was all that told of a picture.

    The rest of a text is part of the content's hash.
    """
    words = next((part.text for part in record.page.parts if part.origin == VISUAL_WORDS), "")
    old, new = PurePosixPath(record.page.source).stem, PurePosixPath(source).stem
    return old == new or words.splitlines()[-1:] != [old]


def root_of(page: Page, root: str) -> str:
    """The root of a stored page that was found again below ``root``: its own, while it is below."""
    is_below = page.root and page.source.startswith(f"{page.root.rstrip('/')}/")
    return page.root if is_below else root or page.root
