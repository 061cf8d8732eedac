"""A page that was encoded on another machine, as one flat row, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from metaembed_rag import errors
from metaembed_rag.errors import MetadataError, PageError, UnreadableFileError, kind_of_value
from metaembed_rag.model.inputs import Mode
from metaembed_rag.pages import Page
from metaembed_rag.pages.parts import PicturePart
from metaembed_rag.pages.pictures import picture_of
from metaembed_rag.store import records
from metaembed_rag.store.collection import CollectionModel
from metaembed_rag.store.pictures import own_picture

PAGE_FIELDS: Mapping[str, Any] = {
    "source": "",
    "number": 1,
    "text": "",
    "page_count": None,
    "settings": "",
    "source_digest": "",
    "image_hash": "",
    "text_layer": "",
    "text_from_ocr": False,
    "unread": "",
    "described_by": "",
    "lines": "",
    "root": "",
    "figure_texts": "",
    "turned": 0,
}
"""Fields of a :class:`~metaembed_rag.pages.Page` that stand in a row by their names, with what
holds for a row that lacks them."""

EMPTY_ROW: Mapping[str, Any] = {
    "id": "",
    "vectors": b"",
    "first": b"",
    "fingerprint": "",
    "dimension": None,
    "format": "",
    "mode": "fused",
    "metadata": "{}",
    "parts": "[]",
    "picture": None,
    "hash": "",
    **PAGE_FIELDS,
    "incomplete": False,
    "note": "",
    "unread_tokens": 0,
    "error": "",
    "reason": "",
    "gone": False,
}
"""Every column of a row, with what holds for a row that lacks it."""

UNCHANGED = "unchanged"
"""What a row has for its ``error`` that stands for a whole file that the index holds already."""

_AGAIN = "encode it again with PageEncoder(**PageEncoder.arguments(index))"


@dataclass(frozen=True)
class EncodedRow:
    """A page with its vectors, checked as far as one row can be alone.

    Attributes:
        page: The page; ``image`` holds the picture where its bytes were in the row.
        payload: Its vectors, packed in the format of the index.
        first: Its first vector before rounding, float32 of shape (D,); None where the row has none.
        content_hash: Of what was encoded.
        mode: What of the page was encoded.
        picture: The name under which a worker has kept the picture; None where there is none.
        incomplete: Whether the page shows more than its text, and nobody has read that.
        note: What is missing of it, as a sentence.
        unread_tokens: At the end of its text, that no vector has seen.
    """

    page: Page
    payload: bytes
    first: NDArray[np.float32] | None
    content_hash: str
    mode: Mode
    picture: str | None
    incomplete: bool
    note: str
    unread_tokens: int


@dataclass(frozen=True)
class LeftOut:
    """A page or file that a worker could not read or encode.

    Attributes:
        error: What is wrong with it.
        page: The page, where it came so far.
        is_gone: Whether there is nothing to read on the page any more, so that the one of the same
            id leaves the index.
        mode: What of it was to be encoded.
    """

    error: PageError
    page: Page | None
    is_gone: bool
    mode: Mode


def read_row(row: Any, number: int, about: CollectionModel) -> EncodedRow | LeftOut:
    """What a row says, checked against what an index holds; vectors by their size only.

    Args:
        row: A mapping; None stands for a column that is not there.
        number: Which row it is, from 1, for those that name no page.
        about: The vectors of the index.

    Raises:
        PageError: It is no page of this index; ``source`` is the page's id or the row's number, and
            ``reason`` says what to do.
    """
    name = f"row {number}"
    if not isinstance(row, Mapping):
        raise PageError(name, f"is {kind_of_value(row)} and no row: give mappings of columns")
    known = {key: value for key, value in row.items() if value is not None}
    if isinstance(known.get("id"), str) and known["id"]:
        name = known["id"]
    given = {**EMPTY_ROW, **known}
    try:
        if given["error"]:
            return _left_out(given, name)
        _check_model(given, name, about)
        return _encoded_row(given, name, about)
    except (MetadataError, PageError) as error:
        raise PageError(name, _reason(error)) from error


def page_columns(page: Page) -> dict[str, Any]:
    """The columns of a row that say what a page is."""
    parts = [[part.origin, part.text] for part in page.parts]
    return {
        "id": page.id,
        "metadata": json.dumps(dict(page.metadata), ensure_ascii=False),
        "parts": json.dumps(parts, ensure_ascii=False),
        **{field: getattr(page, field) for field in PAGE_FIELDS},
    }


def _encoded_row(given: Mapping[str, Any], name: str, about: CollectionModel) -> EncodedRow:
    if not given["source"] and given["id"] in (None, ""):
        raise PageError(name, "names no page: give its id, and its source")
    payload = _vectors(given, name, about)
    picture = _picture(given, name)
    page = _page(given, name, picture if isinstance(picture, Image.Image) else None)
    content_hash = page.content_hash(page.image_hash)
    if given["hash"] and given["hash"] != content_hash:
        why = "its hash is not that of its text, settings and picture: a column was changed"
        raise PageError(name, f"{why}; {_AGAIN}")
    kept = _kept_picture(picture, page, content_hash) if isinstance(picture, str) else None
    return EncodedRow(
        page,
        payload,
        _first(given, name, about),
        content_hash,
        _mode(given, name),
        kept,
        bool(given["incomplete"]),
        str(given["note"]),
        int(given["unread_tokens"]),
    )


def _left_out(given: Mapping[str, Any], name: str) -> LeftOut:
    """What a worker says of a page or file that it could not read."""
    kind = getattr(errors, str(given["error"]), PageError)
    is_known = isinstance(kind, type) and issubclass(kind, PageError)
    error = (kind if is_known else PageError)(name, str(given["reason"]))
    page = _page(given, name, None) if given["source"] else None
    return LeftOut(error, page, bool(given["gone"]), _mode(given, name))


def _check_model(given: Mapping[str, Any], name: str, about: CollectionModel) -> None:
    """Refuse vectors of another model, or stored otherwise.

    Raises:
        PageError: They are.
    """
    made, wanted = str(given["fingerprint"]), about.fingerprint
    if made != wanted:
        by = f"by another model ({made[:12]})" if made else "by a model that it does not name"
        raise PageError(
            name,
            f"was encoded {by} than the index's {about.model!r} ({wanted[:12]}): give that worker "
            f"the index's checkpoint, and {_AGAIN}",
        )
    for column, has in (("format", about.format), ("dimension", about.dimension)):
        if given[column] not in (None, "", has):
            why = f"its {column} is {given[column]!r}, that of the index {has!r}"
            raise PageError(name, f"{why}; {_AGAIN}")


def _vectors(given: Mapping[str, Any], name: str, about: CollectionModel) -> bytes:
    """The packed vectors, as many as the index holds of a page."""
    payload = given["vectors"]
    if not isinstance(payload, bytes | bytearray | memoryview):
        raise PageError(name, f"its vectors are {kind_of_value(payload)}, not bytes; {_AGAIN}")
    if len(payload) != about.bytes_per_page:
        raise PageError(
            name,
            f"its vectors have {len(payload):,} bytes, not {about.bytes_per_page:,} as "
            f"{about.vectors} vectors of {about.dimension} values in {about.format}; {_AGAIN}",
        )
    return bytes(payload)


def _first(
    given: Mapping[str, Any], name: str, about: CollectionModel
) -> NDArray[np.float32] | None:
    data = given["first"]
    if not data:
        return None
    if len(data) != 4 * about.dimension:
        raise PageError(name, f"its first vector is not {about.dimension} float32 values; {_AGAIN}")
    return np.frombuffer(data, dtype="<f4")


def _picture(given: Mapping[str, Any], name: str) -> Image.Image | str | None:
    """The picture decoded, or the URL of one that was kept."""
    picture = given["picture"]
    if picture is None or isinstance(picture, str):
        return picture or None
    if not isinstance(picture, bytes | bytearray | memoryview):
        why = f"its picture is {kind_of_value(picture)}: give the bytes of a file, or a URL"
        raise PageError(name, why)
    try:
        return picture_of(bytes(picture)) if picture else None
    except UnreadableFileError as error:
        why = f"its picture {error.reason}; give the bytes of a PNG, JPEG, WebP or TIFF, or None"
        raise PageError(name, why) from error


def _kept_picture(url: str, page: Page, content_hash: str) -> str:
    """The name in the index's pictures of one that a worker has kept there."""
    name = "/".join(url.split("/")[-2:])
    if own_picture(name, page.id, content_hash) is None:
        raise PageError(
            page.id,
            f"its picture {url!r} is not one that PageEncoder(pictures=…) has kept for this page; "
            f"give the bytes of the picture, or encode it with pictures= of the index",
        )
    return name


def _page(given: Mapping[str, Any], name: str, image: Image.Image | None) -> Page:
    metadata, parts = (_from_json(given, key, name) for key in ("metadata", "parts"))
    if not isinstance(metadata, Mapping):
        raise PageError(name, f"its metadata are {kind_of_value(metadata)}, not a mapping")
    fields = {field: given[field] for field in PAGE_FIELDS}
    fields["source"] = fields["source"] or name
    fields["text_from_ocr"] = bool(fields["text_from_ocr"])
    try:
        read = tuple(PicturePart(origin, text) for origin, text in parts)
    except (TypeError, ValueError) as error:
        raise PageError(name, f"its parts are {parts!r:.80}: give pairs of texts") from error
    page = Page(**fields, image=image, metadata=metadata, id=given["id"], parts=read)
    return replace(
        page,
        image_hash=page.image_hash or page.picture_hash(),
        metadata=records.stored_metadata(page.metadata, page.id),
    )


def _from_json(given: Mapping[str, Any], key: str, name: str) -> Any:
    value = given[key]
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError as error:
        raise PageError(name, f"its {key} are no JSON ({error})") from error


def _mode(given: Mapping[str, Any], name: str) -> Mode:
    mode: Mode = given["mode"]
    if mode not in get_args(Mode):
        raise PageError(name, f"its mode {mode!r} is not one of {', '.join(get_args(Mode))}")
    return mode


def _reason(error: MetadataError | PageError) -> str:
    if isinstance(error, PageError):
        return error.reason
    return str(error).partition(": ")[2] or str(error)
