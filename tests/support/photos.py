"""Small photos for tests: noise without letters, and what is written beside the pixels."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

_XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF'
    ' xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"'
    ' xmlns:dc="http://purl.org/dc/elements/1.1/"'
    ' xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/">'
    '<rdf:Description photoshop:City="{city}"><dc:description><rdf:Alt>'
    '<rdf:li xml:lang="x-default">{caption}</rdf:li></rdf:Alt></dc:description>'
    "<dc:subject><rdf:Bag>{keywords}</rdf:Bag></dc:subject></rdf:Description></rdf:RDF></x:xmpmeta>"
)


def photo(seed: int = 0) -> Image.Image:
    """Noise of 60 x 40 pixels, another for each seed."""
    noise = np.random.default_rng(seed).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    return Image.fromarray(noise)


def save_photo(path: Path, seed: int = 0, **options: Any) -> Path:
    """Write :func:`photo` to ``path``, whose folders are made; ``options`` as Pillow's ``save``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    photo(seed).save(path, **options)
    return path


def exif(tags: dict[int, Any], details: dict[int, Any], gps: dict[int, Any]) -> Image.Exif:
    """EXIF data with the tags of the picture, of its making and of its place."""
    made = Image.Exif()
    made.update(tags)
    made.get_ifd(0x8769).update(details)
    made.get_ifd(0x8825).update(gps)
    return made


def xmp(caption: str, city: str = "", keywords: tuple[str, ...] = ()) -> bytes:
    """An XMP packet with a description, a city and subjects."""
    bag = "".join(f"<rdf:li>{word}</rdf:li>" for word in keywords)
    return _XMP.format(caption=caption, city=city, keywords=bag).encode()


def add_iptc(path: Path, fields: dict[int, list[str]]) -> None:
    """Put IPTC fields of record 2 into a JPEG, behind its first marker."""
    block = b"".join(
        b"\x1c\x02" + bytes([number]) + struct.pack(">H", len(value.encode())) + value.encode()
        for number, values in fields.items()
        for value in values
    )
    block += b"\0" * (len(block) % 2)
    resource = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(block)) + block
    payload = b"Photoshop 3.0\0" + resource
    data = path.read_bytes()
    marker = b"\xff\xed" + struct.pack(">H", len(payload) + 2) + payload
    path.write_bytes(data[:2] + marker + data[2:])
