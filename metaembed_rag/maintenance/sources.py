"""Pictures of pages, made again from the files that the pages are of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from metaembed_rag.errors import MissingExtraError, PageError
from metaembed_rag.filesystems import STORES, is_url
from metaembed_rag.pages import Page, load_pages
from metaembed_rag.pages.roots import Roots
from metaembed_rag.store.records import Record

_KINDS = ("pdf", "image")


@dataclass(frozen=True)
class Restored:
    """A picture that was made again.

    Attributes:
        record: Of its page.
        image: The very pixels that were indexed.
    """

    record: Record
    image: Image.Image


def restore(broken: Iterable[Record], roots: Roots | None = None) -> Iterator[Restored]:
    """Make pictures of pages again, of each file in turn.

    A picture counts when its pixels have the hash that the record keeps: a file that has changed,
    or that is another one by now, gives none. A path of a record is only read, as a page is, and
    what is read goes nowhere else.

    Args:
        broken: Records whose picture is missing or damaged.
        roots: Where folders are on this machine.
    """
    places = roots or Roots()
    of_file: dict[tuple[str, int], list[Record]] = defaultdict(list)
    for record in broken:
        kind, _, pixels = record.page.settings.partition(":")
        if kind in _KINDS and pixels.isdecimal() and record.page.image_hash:
            of_file[record.page.source, int(pixels)].append(record)
    for (source, side), wanted in sorted(of_file.items()):
        yield from _from_file(places.here(source), side, wanted)


def _from_file(source: str, side: int, wanted: Sequence[Record]) -> Iterator[Restored]:
    path = Path(source)
    far = is_url(source) and source.partition(":")[0] in STORES
    if not far and not (path.is_absolute() and path.is_file()):
        return
    missing: dict[str, list[Record]] = defaultdict(list)
    for record in wanted:
        missing[record.page.image_hash].append(record)
    numbers = {record.page.number for record in wanted}
    with closing(_pages(source, side)) as pages:
        for page in pages:
            if page.number not in numbers or page.image is None:
                continue
            for record in missing.pop(page.picture_hash(), ()):
                yield Restored(record, page.image)
            if not missing:
                return


def _pages(path: str, side: int) -> Generator[Page, None, None]:
    """The pages of a file; what cannot be read gives none."""
    skipped: list[PageError] = []
    try:
        yield from load_pages([path], max_side=side, on_skip=skipped.append)
    except (PageError, MissingExtraError):  # of a size that no page is made with
        return
