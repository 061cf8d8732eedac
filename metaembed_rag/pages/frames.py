"""What a worker process and its caller say to each other: frames of JSON and raw bytes.

A frame is two lengths, a header (one JSON object) and a body (raw bytes: a file, or the pixels of a
picture). Nothing is pickled: a process that reads hostile files may have been taken over by one.
"""

from __future__ import annotations

import dataclasses
import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, BinaryIO, TypeVar

from PIL import Image

from metaembed_rag import errors
from metaembed_rag.errors import MetaEmbedError, PageError
from metaembed_rag.pages.figures import Figure
from metaembed_rag.pages.page import Page
from metaembed_rag.pages.parts import PicturePart

Header = dict[str, Any]
T = TypeVar("T")

MOST_HEADER = 64 * 1024**2
"""Bytes of the longest header that is read, the text of its page included."""

_LENGTHS = struct.Struct("<QQ")


def write_frame(file: BinaryIO, header: Mapping[str, Any], body: bytes = b"") -> None:
    """Write one frame, and all of it.

    Raises:
        OSError: Nobody reads it any more.
    """
    head = json.dumps(header).encode()
    file.write(_LENGTHS.pack(len(head), len(body)))
    file.write(head)
    file.write(body)
    file.flush()


def read_frame(file: BinaryIO, most: int) -> tuple[Header, bytes] | None:
    """Wait for a frame, and read it.

    Args:
        file: Buffered: a read gives all that was asked for, or ends with the file.
        most: Bytes that the body may have.

    Returns:
        Header and body, or None where the file ends.

    Raises:
        ValueError: This is no frame, or one that is too long.
    """
    lengths = file.read(_LENGTHS.size)
    if len(lengths) < _LENGTHS.size:
        return None
    of_head, of_body = _LENGTHS.unpack(lengths)
    if of_head > MOST_HEADER or of_body > most:
        raise ValueError(f"a frame of {of_head:,} + {of_body:,} bytes is too long")
    head, body = file.read(of_head), file.read(of_body)
    if len(head) < of_head or len(body) < of_body:
        return None
    header = json.loads(head)
    if not isinstance(header, dict):
        raise ValueError("a frame's header is no object")
    return header, body


def field_of(header: Mapping[str, Any], name: str, kind: type[T]) -> T:
    """What a header holds under a name.

    Raises:
        ValueError: It holds nothing there, or something of another kind.
    """
    value = header.get(name)
    if not isinstance(value, kind):
        raise ValueError(f"a frame's {name} is {value!r:.100}")
    return value


def page_frame(page: Page) -> tuple[Header, bytes]:
    """A page as header and body: its fields by name, and its picture's pixels."""
    fields = {
        field.name: getattr(page, field.name)
        for field in dataclasses.fields(page)
        if field.name not in ("image", "figures")
    }
    fields["parts"] = parts_frame(page.parts)
    header: Header = {"page": fields}
    if page.figures:
        header["figures"] = [(one.box, one.size, len(one.data)) for one in page.figures]
    behind = b"".join(figure.data for figure in page.figures)
    if page.image is None:
        return header, behind
    return {**header, "size": page.image.size}, page.image.tobytes() + behind


def page_of(header: Mapping[str, Any], body: bytes, source: str) -> Page:
    """The page of a frame, which is one of ``source`` and has no file on this disk, whatever the
    frame says.

    Raises:
        ValueError: The frame holds no page.
    """
    try:
        image, behind = _image_of(header, body)
        figures = _figures_of(header.get("figures", ()), behind)
        ours = {"source": source, "image": image, "id": "", "image_path": None, "figures": figures}
        fields = {**header["page"], **ours}
        return Page(**{**fields, "parts": parts_of(fields.get("parts", ()))})
    except (LookupError, TypeError, PageError) as error:
        raise ValueError(f"a frame holds no page ({error})") from None


def _image_of(header: Mapping[str, Any], body: bytes) -> tuple[Image.Image | None, bytes]:
    """The picture that a body begins with, and the rest of it."""
    if "size" not in header:
        return None, body
    width, height = header["size"]
    length = 3 * width * height
    return Image.frombytes("RGB", (width, height), body[:length]), body[length:]


def _figures_of(said: Iterable[Sequence[Any]], body: bytes) -> tuple[Figure, ...]:
    """The figures whose files a body is made of, one behind the other."""
    figures, start = [], 0
    for (left, top, right, bottom), (width, height), length in said:
        box = (float(left), float(top), float(right), float(bottom))
        figure = Figure(box, (int(width), int(height)), body[start : start + int(length)])
        figure.check()
        figures.append(figure)
        start += int(length)
    return tuple(figures)


def parts_frame(parts: Iterable[PicturePart]) -> list[tuple[str, str]]:
    """The parts of a picture's text, as JSON has them."""
    return [(part.origin, part.text) for part in parts]


def parts_of(said: Iterable[Sequence[Any]]) -> tuple[PicturePart, ...]:
    """The parts of a picture's text again.

    Raises:
        ValueError: They are none.
    """
    try:
        return tuple(PicturePart(origin, text) for origin, text in said)
    except (TypeError, AttributeError, PageError) as error:
        raise ValueError(f"a frame holds no parts ({error})") from None


def error_frame(error: MetaEmbedError) -> Header:
    """An error as a header: the name of its class, and what it says."""
    said = {"source": error.source, "reason": error.reason} if isinstance(error, PageError) else {}
    return {"error": {"kind": type(error).__name__, "text": str(error), **said}}


def error_of(header: Mapping[str, Any]) -> MetaEmbedError:
    """The error of a frame, of the class that its name stands for in our tree.

    Raises:
        ValueError: The frame holds no error.
    """
    said = field_of(header, "error", dict)
    kind = getattr(errors, field_of(said, "kind", str), None)
    if isinstance(kind, type) and issubclass(kind, PageError):
        return kind(field_of(said, "source", str), field_of(said, "reason", str))
    if isinstance(kind, type) and issubclass(kind, MetaEmbedError):
        return kind(field_of(said, "text", str))
    raise ValueError(f"a frame holds no error of ours ({said['kind']})")
