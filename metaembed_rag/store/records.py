"""A page with its vectors as one Chroma record, and back; the only place that knows the keys."""

from __future__ import annotations

import json
import math
import re
import uuid
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Any

from metaembed_rag.errors import MetadataError, PageError
from metaembed_rag.metadata import values
from metaembed_rag.metadata.fields import Facts
from metaembed_rag.pages import Page
from metaembed_rag.pages.figure_texts import texts_of
from metaembed_rag.pages.parts import PicturePart
from metaembed_rag.store.requests import slices

SOURCE, PAGE = "source", "page"
"""Fields of a page that a ``where`` filter can name, beside the user's own metadata."""

_OURS = "metaembed:"
VECTORS, TEXT, IMAGE = _OURS + "vectors", _OURS + "text", _OURS + "image"
HASH, DIGEST, MODE = _OURS + "hash", _OURS + "digest", _OURS + "mode"
SETTINGS, COUNT, OCR = _OURS + "settings", _OURS + "page_count", _OURS + "ocr"
STAMP, WRITTEN = _OURS + "stamp", _OURS + "written"
NOTED = _OURS + "noted"
"""When metadata alone were replaced, which leaves the stamp, by the writer's clock in seconds."""
IMAGE_HASH = _OURS + "image_hash"
TEXT_LAYER, UNREAD = _OURS + "text_layer", _OURS + "unread"
PARTS, DESCRIBED = _OURS + "parts", _OURS + "described"
LINES = _OURS + "lines"
ROOT = _OURS + "root"
TURNED = _OURS + "turned"
FIGURES, FIGURE_HASHES = _OURS + "figures", _OURS + "figure_hashes"
"""What OCR read of pictures inside of the page; and their hashes, by which it is found."""
BUNDLE, ROW = _OURS + "bundle", _OURS + "row"
"""Where a record has its long texts, known to :mod:`metaembed_rag.store.table` alone."""
NOT_READ = "not read"
"""Stands for the packed vectors of a record, as this very object, where nobody asked for them."""
SUM = _OURS + "sum"
"""Checksum of the packed vectors, by :func:`sealed`."""

_MAX_STAMPS = 20_000
"""SQLite takes about 32,000 values in one filter."""
_NUMBER = int | float  # Chroma keeps which of them a page's number was
_KINDS: Mapping[str, type | UnionType] = {
    SOURCE: str,
    PAGE: _NUMBER,
    TEXT: str,
    HASH: str,
    DIGEST: str,
    MODE: str,
    SETTINGS: str,
    OCR: bool,
    IMAGE_HASH: str,
    VECTORS: str,
}
"""What every record has, and of which type."""
_OPTIONAL: Mapping[str, type | UnionType] = {
    COUNT: _NUMBER,
    IMAGE: str,
    STAMP: str,
    WRITTEN: int,
    NOTED: int,
    PARTS: str,
    DESCRIBED: str,
    LINES: str,
    ROOT: str,
    TURNED: int,
    FIGURES: str,
    FIGURE_HASHES: list,
    SUM: str,
}
_EVERY_KIND = {**_KINDS, **_OPTIONAL}
_STAMP = re.compile(r"[0-9]+-.+")


@dataclass(frozen=True)
class Record:
    """What one Chroma record says of a page, its vectors still packed.

    Attributes:
        page: The page as it was indexed; ``image_path`` is the stored name of its picture,
            relative to the index's picture folder.
        payload: Its packed vectors.
        content_hash: Of what was encoded.
        mode: What of the page was encoded: ``fused``, ``image`` or ``text``.
        stamp: Of the request that wrote it; ``""`` from before there were stamps.
        written: When, by the writer's clock, in seconds; 0 from before that was noted.
        looked_at: Whether it is known what of the page is unread; not from before that was noted.
    """

    page: Page
    payload: str
    content_hash: str
    mode: str
    stamp: str = ""
    written: int = 0
    looked_at: bool = True

    @property
    def may_be_unread(self) -> bool:
        """Whether OCR has not completed the page, or the record is from before it could."""
        return not self.looked_at or self.page.unread != ""


@dataclass(frozen=True)
class StampedText:
    """A page's text, and the stamp of the request that wrote it.

    Attributes:
        id: The page's id.
        text: Its text; may be empty.
        stamp: ``""`` where the page carries none.
        request_size: How many pages that request wrote.
        language: What the page's metadata call its language; ``""`` for nothing.
    """

    id: str
    text: str
    stamp: str
    request_size: int = 1
    language: str = ""


def to_metadata(record: Record) -> dict[str, Any]:
    """The metadata of a page's record but for stamp and time: the user's, then ours.

    The user's are taken as they are: :func:`stored_metadata` has made them ready.
    """
    page = record.page
    metadata = {
        **page.metadata,
        SOURCE: page.source,
        PAGE: page.number,
        TEXT: page.text,
        HASH: record.content_hash,
        DIGEST: page.source_digest,
        MODE: record.mode,
        SETTINGS: page.settings,
        OCR: page.text_from_ocr,
        IMAGE_HASH: page.picture_hash(),
        TEXT_LAYER: page.text_layer or None,
        UNREAD: page.unread if record.looked_at else None,
        PARTS: _packed_parts(page),
        DESCRIBED: page.described_by or None,
        LINES: page.lines or None,
        ROOT: page.root or None,
        TURNED: page.turned or None,
        FIGURES: page.figure_texts or None,
        FIGURE_HASHES: list(texts_of(page)) or None,
        VECTORS: record.payload,
        IMAGE: page.image_path,
        COUNT: page.page_count,
    }
    return {key: value for key, value in metadata.items() if value is not None}


def from_metadata(id: str, metadata: Mapping[str, Any] | None) -> Record:
    """The record that Chroma's ``id`` and ``metadata`` describe.

    Raises:
        ValueError: They describe none: it is damaged, or another program wrote it.
    """
    metadata = metadata or {}
    _check_kinds(metadata)
    theirs = {
        key: value
        for key, value in metadata.items()
        if not key.startswith(_OURS) and key not in (SOURCE, PAGE)
    }
    page = _page(
        id=id,
        source=metadata[SOURCE],
        number=metadata[PAGE],
        text=metadata[TEXT],
        metadata=theirs,
        page_count=metadata.get(COUNT),
        image_path=metadata.get(IMAGE),
        settings=metadata[SETTINGS],
        source_digest=metadata[DIGEST],
        text_from_ocr=metadata[OCR],
        image_hash=metadata[IMAGE_HASH],
        text_layer=metadata.get(TEXT_LAYER, ""),
        unread=metadata.get(UNREAD, ""),
        parts=_parts(metadata.get(PARTS)),
        described_by=metadata.get(DESCRIBED, ""),
        lines=metadata.get(LINES, ""),
        root=metadata.get(ROOT, ""),
        figure_texts=metadata.get(FIGURES, ""),
        turned=metadata.get(TURNED, 0),
    )
    request = metadata.get(STAMP, ""), metadata.get(WRITTEN, 0)
    looked_at = UNREAD in metadata
    return Record(page, metadata[VECTORS], metadata[HASH], metadata[MODE], *request, looked_at)


def facts_of(id: str, metadata: Mapping[str, Any]) -> Facts:
    """What Chroma's metadata say of a page for filters, of a damaged record as far as they do."""
    source, number = metadata.get(SOURCE), metadata.get(PAGE)
    root, count = metadata.get(ROOT), metadata.get(COUNT)
    return Facts(
        {key: one for key, one in metadata.items() if ":" not in key and key not in (SOURCE, PAGE)},
        source if isinstance(source, str) and source else id,
        number if isinstance(number, _NUMBER) else 1,
        root if isinstance(root, str) else "",
        count if isinstance(count, _NUMBER) else None,
    )


def _page(**fields: Any) -> Page:
    """A page of these fields.

    Raises:
        ValueError: There is no such page.
    """
    try:
        return Page(**fields)
    except PageError as error:
        raise ValueError(error.reason) from error


def sealed(metadata: Mapping[str, Any], stamp: str, written: int) -> dict[str, Any]:
    """A record's metadata with the stamp and time of the request that writes it, and a checksum.

    The checksum names the stamp that it is of: a version of this package that knows no checksums
    leaves it beside other vectors with another stamp, and it counts no more.
    """
    of = {STAMP: stamp, WRITTEN: written, SUM: _sum(metadata[VECTORS], stamp)}
    return {**metadata, **of}


def check_sum(metadata: Mapping[str, Any]) -> None:
    """Compare the vectors of a record with their checksum, where it has one.

    Raises:
        ValueError: They are not those that were written.
    """
    kept, stamp = metadata.get(SUM, ""), metadata.get(STAMP, "")
    made = _sum(metadata[VECTORS], stamp)
    if kept and kept != made and kept.partition(":")[0] == made.partition(":")[0]:
        raise ValueError("its vectors are not those that were written: their checksum differs")


def is_sealed(metadata: Mapping[str, Any]) -> bool:
    """Whether a record has a checksum that counts, so that its vectors are known to be right."""
    kept, stamp = metadata.get(SUM), metadata.get(STAMP)
    both = isinstance(kept, str) and isinstance(stamp, str)
    return both and str(kept).partition(":")[0] == str(stamp)[-8:]


def _sum(payload: str, stamp: str) -> str:
    """The tail of the stamp, and CRC-32 of the packed vectors."""
    return f"{stamp[-8:]}:{zlib.crc32(payload.encode()):08x}"


def picture_name(metadata: Mapping[str, Any]) -> str | None:
    """The name of the picture in metadata that are no record, if they have one."""
    name = metadata.get(IMAGE)
    return name if isinstance(name, str) else None


def new_stamp(count: int) -> str:
    """The mark of one request that writes ``count`` records; never the same twice."""
    return f"{count}-{uuid.uuid4().hex}"


def stamp_of(metadata: Mapping[str, Any]) -> str:
    """The stamp of a record, ``""`` where it has none, or a damaged one."""
    found = metadata.get(STAMP)
    return found if isinstance(found, str) and _STAMP.fullmatch(found) else ""


def request_size(stamp: str) -> int:
    """How many records the request of that stamp wrote."""
    return int(stamp.partition("-")[0])


def written_by_others(stamps: Collection[str], after: int | None) -> list[dict[str, Any]]:
    """Filters that a record passes, all of them, which no request with these stamps wrote last.

    Args:
        stamps: Of requests.
        after: Only records that were written later than that; None for all.
    """
    every = sorted(stamps)
    parts = [every[part] for part in slices(len(every), _MAX_STAMPS)]
    later = {} if after is None else {WRITTEN: {"$gt": after}}
    return [{**later, STAMP: {"$nin": part}} for part in parts]


def keys_gone(old: Record, metadata: Mapping[str, Any]) -> dict[str, None]:
    """Keys of ``old``'s record that ``metadata`` no longer has.

    Chroma merges the metadata of an upsert or update into what is there; a None removes a key.
    """
    return dict.fromkeys(to_metadata(old).keys() - metadata.keys())


def same_metadata(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether two pages' metadata are equal, up to the last digit of a float.

    Chroma 1.5.9 gives some floats back one unit in the last place off.
    """
    return a.keys() == b.keys() and all(_same(value, b[key]) for key, value in a.items())


def stored_metadata(metadata: Mapping[str, Any], id: str) -> dict[str, Any]:
    """User metadata as they are stored and come back; see :mod:`metaembed_rag.metadata.values`.

    A None says that there is no value, and is left out.

    Raises:
        MetadataError: Chroma would refuse it, change it or be damaged by it; the message names the
            page, the key and what to do.
    """
    there = {key: value for key, value in metadata.items() if value is not None}
    return {key: _stored(key, value, id) for key, value in there.items()}


def check_metadata(metadata: Mapping[str, Any], id: str) -> None:
    """Refuse user metadata that cannot be stored; a None among them, too.

    Raises:
        MetadataError: It names the page, the key and what to do.
    """
    for key, value in metadata.items():
        _stored(key, value, id)


def _packed_parts(page: Page) -> str | None:
    """What a page's text was made from, as JSON; None where the page does not say."""
    parts = [[part.origin, part.text] for part in page.parts]
    return json.dumps(parts, ensure_ascii=False) if parts else None


def _parts(packed: str | None) -> tuple[PicturePart, ...]:
    """The parts again.

    Raises:
        ValueError: They are none.
    """
    try:
        return tuple(PicturePart(origin, text) for origin, text in json.loads(packed or "[]"))
    except (TypeError, AttributeError, PageError) as error:
        raise ValueError(f"{PARTS} is {packed!r}") from error


def _stored(key: Any, value: Any, id: str) -> Any:
    problem = _key_problem(key)
    try:
        if problem is None:
            return values.storable(value)
    except ValueError as error:
        problem = str(error)
    raise MetadataError(f"page {id!r}: metadata key {key!r} {problem}")


def _check_kinds(metadata: Mapping[str, Any]) -> None:
    """Refuse what is no record of ours.

    Raises:
        ValueError: It names the key.
    """
    missing = [key for key in _KINDS if key not in metadata]
    if missing:
        more = f" and {len(missing) - 2} more" if len(missing) > 2 else ""
        raise ValueError(f"it lacks {', '.join(missing[:2])}{more}")
    for key, kind in _EVERY_KIND.items():
        value = metadata.get(key)
        if value is None or type(value) is kind:  # of nearly all; every hit comes by here
            continue
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise ValueError(f"{key} is {value!r}")
    if metadata[PAGE] < 1 or not metadata[SOURCE]:
        raise ValueError(f"it is page {metadata[PAGE]} of {metadata[SOURCE]!r}")
    if metadata.get(STAMP) and not _STAMP.fullmatch(metadata[STAMP]):
        raise ValueError(f"{STAMP} is {metadata[STAMP]!r}")


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=1e-15)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return bool(a == b)


def _key_problem(key: Any) -> str | None:
    if not isinstance(key, str) or not key:
        return "is not a non-empty string"
    if not key.isascii() and not values.is_unicode(key):
        return "is not valid Unicode (a lone surrogate)"
    if key in (SOURCE, PAGE):
        return "is set by the page itself; rename it"
    if key.startswith((_OURS, "chroma:", "#", "$")):
        return "starts like a reserved name; rename it"
    return None
