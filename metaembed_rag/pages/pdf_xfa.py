"""Values of forms that are made of XML (XFA), whose PDF page says only "Please wait"."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from itertools import islice
from xml.etree import ElementTree

import pypdfium2 as pdfium
import pypdfium2.raw as raw

_MAX_BYTES = 4_000_000
_MAX_PACKETS = 100
_MAX_VALUES = 5_000
_MAX_DEPTH = 100
_UNSEEN = frozenset({"hidden", "invisible", "inactive"})
_ENTITIES = (b"<!DOCTYPE", b"<!ENTITY")
"""No form needs them, and they can make a small file grow without end."""


def xfa_values(document: pdfium.PdfDocument) -> list[str]:
    """The values that a dynamic XFA form holds, without those of fields that it hides.

    A static form has ordinary fields beside its XML; they are read by
    :func:`.annotation_texts`, and here is nothing.
    """
    if document.get_formtype() != raw.FORMTYPE_XFA_FULL:
        return []
    packets = _packets(document)
    data, template = (_tree(packets.get(name, b"")) for name in ("datasets", "template"))
    if data is None:
        return []
    hidden = set() if template is None else _hidden(template)
    return list(islice(filter(None, _leaves(data, hidden, 0)), _MAX_VALUES))


def _packets(document: pdfium.PdfDocument) -> dict[str, bytes]:
    found = {}
    for index in range(min(raw.FPDF_GetXFAPacketCount(document), _MAX_PACKETS)):
        name = _bytes(lambda *to, at=index: _named(document, at, *to)).rstrip(b"\0")
        content = _bytes(lambda *to, at=index: _written(document, at, *to))
        found[name.decode("utf-8", "replace")] = content
    return found


def _named(document: pdfium.PdfDocument, index: int, space: object, size: int) -> int:
    return int(raw.FPDF_GetXFAPacketName(document, index, space, size))


def _written(document: pdfium.PdfDocument, index: int, space: object, size: int) -> int:
    needed = ctypes.c_ulong()
    done = raw.FPDF_GetXFAPacketContent(document, index, space, size, needed)
    return needed.value if done else 0


def _bytes(ask: Callable[..., int]) -> bytes:
    size = ask(None, 0)
    if not 0 < size <= _MAX_BYTES:
        return b""
    buffer = ctypes.create_string_buffer(size)
    ask(buffer, size)
    return buffer.raw


def _tree(xml: bytes) -> ElementTree.Element | None:
    if any(mark in xml for mark in _ENTITIES):
        return None
    try:
        return ElementTree.fromstring(xml)  # nosec B314: without entities, see above
    except (ElementTree.ParseError, ValueError, LookupError):
        return None


def _hidden(template: ElementTree.Element) -> set[str]:
    """Names of fields and groups that are not shown."""
    return {
        name
        for one in template.iter()
        if one.get("presence") in _UNSEEN and (name := one.get("name"))
    }


def _leaves(element: ElementTree.Element, hidden: set[str], depth: int) -> Iterator[str]:
    if element.tag.rpartition("}")[2] in hidden or depth > _MAX_DEPTH:
        return
    if not len(element):
        yield (element.text or "").strip()
    for one in element:
        yield from _leaves(one, hidden, depth + 1)
