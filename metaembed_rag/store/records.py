"""A page with its vectors as one Chroma record, and back; the only place that knows the keys."""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from metaembed_rag.errors import MetadataError
from metaembed_rag.pages import Page

SOURCE, PAGE = "source", "page"
"""Fields of a page that a ``where`` filter can name, beside the user's own metadata."""

_OURS = "metaembed:"
VECTORS, TEXT, IMAGE = _OURS + "vectors", _OURS + "text", _OURS + "image"
HASH, DIGEST, MODE = _OURS + "hash", _OURS + "digest", _OURS + "mode"
SETTINGS, COUNT, OCR = _OURS + "settings", _OURS + "page_count", _OURS + "ocr"
STAMP, WRITTEN = _OURS + "stamp", _OURS + "written"
IMAGE_HASH = _OURS + "image_hash"
TEXT_LAYER, UNREAD = _OURS + "text_layer", _OURS + "unread"

_LONGEST_LIST = 1_000
"""Chroma 1.5.9 accepts lists of 6,000 and more values and then cannot read its collection."""
_INT64 = 2**63


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
    """

    id: str
    text: str
    stamp: str
    request_size: int = 1


def to_metadata(record: Record) -> dict[str, Any]:
    """The metadata of a page's record but for stamp and time: the user's, then ours.

    Raises:
        MetadataError: The user's metadata would be refused, changed or harmful.
    """
    page = record.page
    check_metadata(page.metadata, page.id)
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
        VECTORS: record.payload,
        IMAGE: page.image_path,
        COUNT: page.page_count,
    }
    return {key: value for key, value in metadata.items() if value is not None}


def from_metadata(id: str, metadata: Mapping[str, Any]) -> Record:
    """The record that Chroma's ``id`` and ``metadata`` describe."""
    theirs = {
        key: value
        for key, value in metadata.items()
        if not key.startswith(_OURS) and key not in (SOURCE, PAGE)
    }
    page = Page(
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
    )
    request = metadata.get(STAMP, ""), metadata.get(WRITTEN, 0)
    looked_at = UNREAD in metadata
    return Record(page, metadata[VECTORS], metadata[HASH], metadata[MODE], *request, looked_at)


def new_stamp(count: int) -> str:
    """The mark of one request that writes ``count`` records; never the same twice."""
    return f"{count}-{uuid.uuid4().hex}"


def request_size(stamp: str) -> int:
    """How many records the request of that stamp wrote."""
    return int(stamp.partition("-")[0])


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


def check_metadata(metadata: Mapping[str, Any], id: str) -> None:
    """Refuse user metadata that Chroma would refuse, change or be damaged by.

    Raises:
        MetadataError: It names the page, the key and what to do.
    """
    for key, value in metadata.items():
        problem = _key_problem(key) or _value_problem(value)
        if problem:
            raise MetadataError(f"page {id!r}: metadata key {key!r} {problem}")


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=1e-15)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return bool(a == b)


def _key_problem(key: Any) -> str | None:
    if not isinstance(key, str) or not key:
        return "is not a non-empty string"
    if key in (SOURCE, PAGE):
        return "is set by the page itself; rename it"
    if key.startswith((_OURS, "chroma:", "#", "$")):
        return "starts like a reserved name; rename it"
    return None


def _value_problem(value: Any) -> str | None:
    if isinstance(value, list | tuple):
        if not value or len(value) > _LONGEST_LIST:
            return f"holds {len(value)} values; a list must hold 1 to {_LONGEST_LIST}"
        if len({type(item) for item in value}) > 1:
            return "is a list of several types; use one type"
        return _value_problem(value[0]) or next(filter(None, map(_scalar_problem, value)), None)
    return _scalar_problem(value)


def _scalar_problem(value: Any) -> str | None:
    if isinstance(value, int):
        return None if -_INT64 <= value < _INT64 else "is a whole number beyond 64 bits"
    if isinstance(value, float):
        return None if math.isfinite(value) else f"is {value}; only finite numbers can be stored"
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            return "is text that is not valid Unicode (a lone surrogate)"
        return None
    return (
        f"is a {type(value).__name__}; Chroma holds text, numbers, true/false and short lists of "
        f"these: convert it or leave it out"
    )
