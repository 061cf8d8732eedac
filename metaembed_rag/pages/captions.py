"""What is written beside the pixels of a picture: EXIF, IPTC, XMP, comments, PNG's texts.

All of it is somebody's bytes: what cannot be read is left out, and never fails the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import date
from typing import Any
from xml.etree import ElementTree

from PIL import Image, IptcImagePlugin

from metaembed_rag.pages.file_names import in_words
from metaembed_rag.pages.parts import PicturePart
from metaembed_rag.pages.pictures import DAMAGE

_LONGEST = 2_000
"""Characters of one value; more is no caption."""
_MOST = 200
"""Values from one origin."""
_MAX_XMP = 4_000_000

_EXIF_IFD, _GPS_IFD = 0x8769, 0x8825
_EXIF_TEXTS = {
    0x9C9B: "",  # title, subject, keywords and comment as Windows writes them, in UTF-16
    0x9C9F: "",
    0x010D: "",  # name of the document
    0x010E: "",  # description
    0x9C9E: "",
    0x9C9C: "",
    0x013B: "by ",
    0x9C9D: "by ",
    0x8298: "copyright ",
}
_USER_COMMENT, _TAKEN, _MAKE, _MODEL = 0x9286, 0x9003, 0x010F, 0x0110
_IPTC_TEXTS = {
    (2, 5): "",  # title
    (2, 105): "",  # headline
    (2, 120): "",  # caption
    (2, 25): "",  # keywords
    (2, 92): "",  # place, city, province, country
    (2, 90): "",
    (2, 95): "",
    (2, 101): "",
    (2, 80): "by ",
    (2, 110): "by ",
    (2, 116): "copyright ",
}
_DC = "{http://purl.org/dc/elements/1.1/}"
_PHOTOSHOP = "{http://ns.adobe.com/photoshop/1.0/}"
_IPTC_CORE = "{http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/}"
_IPTC_EXT = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}"
_XMP_TEXTS = {
    f"{_DC}title": "",
    f"{_PHOTOSHOP}Headline": "",
    f"{_DC}description": "",
    f"{_IPTC_CORE}AltTextAccessibility": "",
    f"{_IPTC_CORE}ExtDescrAccessibility": "",
    f"{_DC}subject": "",
    f"{_IPTC_EXT}PersonInImage": "",
    f"{_IPTC_EXT}Event": "",
    f"{_IPTC_CORE}Location": "",
    f"{_PHOTOSHOP}City": "",
    f"{_PHOTOSHOP}State": "",
    f"{_PHOTOSHOP}Country": "",
    f"{_DC}creator": "by ",
    f"{_DC}rights": "copyright ",
}
_PNG_TEXTS = {
    **dict.fromkeys(("title", "headline", "caption", "description", "subject", "keywords"), ""),
    **dict.fromkeys(("comment", "label", "parameters", "prompt"), ""),  # of what drew the picture
    "author": "by ",
    "copyright": "copyright ",
}
_LISTS = frozenset({(2, 25), f"{_DC}subject", f"{_IPTC_EXT}PersonInImage"})
_BY_PROGRAMS = (
    *("olympus digital camera", "konica minolta digital camera", "minolta digital camera"),
    *("samsung camera pictures", "samsung", "sony dsc", "dcim", "digital still camera"),
    *("created with", "creator: gd-jpeg", "file written by", "lead technologies", "lavc"),
    *("optimized by", "compressed by", "screenshot", "untitled", "default", "ascii", "(c)"),
)
"""What cameras and programs write where a caption belongs; the longer ones stand at the start."""


def caption_parts(image: Image.Image, said: set[str] | None = None) -> list[PicturePart]:
    """What is written beside the pixels of the frame that a picture stands at.

    Args:
        image: As it was opened, its file still open.
        said: Values that are left out, in small letters; those that are found are added to it.

    Returns:
        Parts from ``"iptc"``, ``"xmp"``, ``"exif"`` and ``"comment"``, one value a line; what one
        of them says the next ones do not say again.
    """
    said = set() if said is None else said
    parts = []
    for origin, values_of in _READERS.items():
        lines: list[str] = []
        for value in _read(values_of, image):
            if value.casefold() not in said and len(lines) < _MOST:
                said.add(value.casefold())
                lines.append(value)
        if lines:
            parts.append(PicturePart(origin, "\n".join(lines)))
    return parts


def _read(values_of: Callable[[Image.Image], Iterator[str]], image: Image.Image) -> list[str]:
    """The values up to the first that is damaged."""
    found: list[str] = []
    with suppress(*DAMAGE):
        for value in values_of(image):
            found.append(value)
    return found


def _exif(image: Image.Image) -> Iterator[str]:
    exif = image.getexif()
    yield from _labelled(exif, _EXIF_TEXTS)
    details = exif.get_ifd(_EXIF_IFD)
    comment = details.get(_USER_COMMENT)
    if isinstance(comment, bytes):
        comment = _user_comment(comment)
    yield from _captions([_text(comment)], "")
    if taken := _day(_text(details.get(_TAKEN))):
        yield f"taken on {taken}"
    if place := _place(exif.get_ifd(_GPS_IFD)):
        yield place
    make, model = _text(exif.get(_MAKE)), _text(exif.get(_MODEL))
    named = model if model.casefold().startswith(make.casefold()[:5]) else f"{make} {model}"
    if named.strip():
        yield f"camera {named.strip()}"


def _user_comment(value: bytes) -> str:
    """A comment after the eight bytes that name its encoding."""
    code, text = value[:8].rstrip(b"\0"), value[8:]
    if code == b"UNICODE":
        little = text[1:2] == b"\0"
        return text.decode("utf-16-le" if little else "utf-16-be", "replace")
    return _decoded(text if code in (b"ASCII", b"") else value)


def _day(value: str) -> str:
    """``2021:07:12 14:30:15`` as ``12 July 2021``; ``""`` for what is no date."""
    year, month, day = (*value[:10].replace("-", ":").split(":"), "", "")[:3]
    with suppress(ValueError):
        return in_words(date(int(year), int(month), int(day)))
    return ""


def _place(gps: Mapping[int, Any]) -> str:
    """Degrees, as people paste them into maps; ``""`` where they are missing or nowhere."""
    if not {2, 4} <= gps.keys():
        return ""
    latitude, longitude = (
        sum(float(part) / 60**power for power, part in enumerate(gps[key][:3])) for key in (2, 4)
    )
    if not (0 <= latitude <= 90 and 0 <= longitude <= 180) or latitude == longitude == 0:
        return ""
    north, east = (_text(gps.get(key)).upper()[:1] for key in (1, 3))
    return f"place {latitude:.4f}° {north or 'N'}, {longitude:.4f}° {east or 'E'}"


def _iptc(image: Image.Image) -> Iterator[str]:
    found = IptcImagePlugin.getiptcinfo(image) or {}  # type: ignore[arg-type]
    yield from _labelled(found, _IPTC_TEXTS)


def _xmp(image: Image.Image) -> Iterator[str]:
    info = image.info
    raw = info.get("xmp") or info.get("XML:com.adobe.xmp") or _tag(image, 700)
    packet = raw.encode() if isinstance(raw, str) else raw
    tree = _tree(packet) if isinstance(packet, bytes) else None
    if tree is None:
        return
    found: dict[str, list[str]] = {}
    for element in tree.iter():
        for name, value in element.attrib.items():
            found.setdefault(name, []).append(value)
        if element.tag in _XMP_TEXTS:
            found.setdefault(element.tag, []).extend(element.itertext())
    yield from _labelled(found, _XMP_TEXTS)


def _tag(image: Image.Image, number: int) -> Any:
    """A tag of a TIFF; None where there is none."""
    return getattr(image, "tag_v2", {}).get(number)


def _tree(xml: bytes) -> ElementTree.Element | None:
    """The elements of an XMP packet in UTF-8.

    Not of one that declares entities, which could make it grow without end, nor of one in UTF-16,
    where that could not be seen.
    """
    xml = xml.strip(b"\0 \t\r\n")
    if len(xml) > _MAX_XMP or b"\0" in xml or b"<!DOCTYPE" in xml or b"<!ENTITY" in xml:
        return None
    try:
        return ElementTree.fromstring(xml)  # nosec B314: without entities, see above
    except (ElementTree.ParseError, ValueError, LookupError):
        return None


def _comments(image: Image.Image) -> Iterator[str]:
    yield from _captions([_text(image.info.get("comment"))], "")
    if image.format == "PNG":  # loads the picture, for texts stand behind it too
        texts = {key.lower(): value for key, value in image.text.items()}  # type: ignore[attr-defined]
        texts = {key: value for key, value in texts.items() if value.lstrip()[:1] not in ("{", "[")}
        yield from _labelled(texts, _PNG_TEXTS)


_READERS = {"iptc": _iptc, "xmp": _xmp, "exif": _exif, "comment": _comments}


def _labelled(found: Mapping[Any, Any], labels: Mapping[Any, str]) -> Iterator[str]:
    """The values that are captions, in the order of ``labels``; lists of words in one line."""
    for key, label in labels.items():
        if key not in found:
            continue
        value = found[key]
        several = value if isinstance(value, list) else [value]
        texts = list(filter(None, map(_text, several)))
        yield from _captions([", ".join(texts)] if key in _LISTS else texts, label)


def _captions(texts: Iterable[str], label: str) -> Iterator[str]:
    for text in texts:
        if any(map(str.isalnum, text)) and not _is_of_a_program(text):
            yield text if text.casefold().startswith(label.strip() or "\0") else f"{label}{text}"


def _is_of_a_program(text: str) -> bool:
    plain = text.casefold()
    return any(plain == one or (" " in one and plain.startswith(one)) for one in _BY_PROGRAMS)


def _text(value: Any) -> str:
    """A value as one line of text, of bounded length; ``""`` for what is none."""
    if isinstance(value, tuple) and value and all(isinstance(one, int) for one in value):
        value = bytes(value)  # Windows' texts in a TIFF
    if isinstance(value, bytes):
        value = _decoded(value)
    if not isinstance(value, str):
        return ""
    shown = "".join(one if one.isprintable() else " " for one in value[: 2 * _LONGEST])
    return " ".join(shown.encode("utf-8", "replace").decode().split())[:_LONGEST]


def _decoded(value: bytes) -> str:
    """UTF-16 as Windows writes it, else UTF-8, else Windows-1252."""
    if len(value) > 3 and len(value) % 2 == 0 and (b"\0" in value.rstrip(b"\0")):
        return value.decode("utf-16-le", "replace")
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("cp1252", "replace")
