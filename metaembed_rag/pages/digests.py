"""Which file it was and how it is read, in a hash: what is unchanged is not read again."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from metaembed_rag.pages.documents.soffice import program
from metaembed_rag.pages.file_names import name_parts
from metaembed_rag.pages.page import DIGEST_BYTES
from metaembed_rag.pages.parts import PicturePart, joined
from metaembed_rag.pages.remote import RemoteFile
from metaembed_rag.pages.texts import CHUNK_CHARACTERS

READER_VERSION = 2
"""Part of every file digest: raise it when a reader changes what it makes of the same bytes."""

CAPTION_VERSION = 1
"""As `READER_VERSION`, of what is read beside the pixels of pictures."""

OFFICE_TEXT = "office-text"
"""The beginning of `Page.settings` where only the text of an Office document was read."""


def ways(kind: str, max_side: int) -> list[str]:
    """How a file of this kind can be read, as `Page.settings`: the best way first, and last the one
    that is open here. What was read in a better way elsewhere, or before, stays as it is.

    Args:
        kind: One of the values of :data:`metaembed_rag.pages.KINDS`.
        max_side: Longest side of a picture in pixels.
    """
    if kind in ("pdf", "image"):
        return [f"{kind}:{max_side}"]
    if kind != "office":
        return [f"{kind}:{CHUNK_CHARACTERS}"]
    drawn = f"office:{max_side}"
    return [drawn] if program() else [drawn, f"{OFFICE_TEXT}:{CHUNK_CHARACTERS}"]


def names_of(kind: str, source: str, folder: Path | None) -> list[PicturePart]:
    """What names say of a picture; nothing of a file that has a text of its own."""
    return name_parts(source, folder) if kind == "image" else []


def digests_of(
    data: bytes, kind: str, max_side: int, names: Sequence[PicturePart] = (), *, more: str = ""
) -> list[str]:
    """A hash for each of the :func:`ways`, in their order.

    Of a picture, also of its names: it has another text under another one.
    """
    captions = f":{CAPTION_VERSION}:{joined(names)}" if kind == "image" else ""
    made = (f"{READER_VERSION}:{way}{more}{captions}" for way in ways(kind, max_side))
    return [_digest(data, one) for one in made]


def _digest(data: bytes, made: str) -> str:
    person = hashlib.blake2b(made.encode("utf-8", "replace"), digest_size=16).digest()
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES, person=person).hexdigest()


def remote_digests(found: RemoteFile, folder: Path | None, max_side: int) -> list[str]:
    """As :func:`digests_of`, of what the store says of a file's content instead of its bytes.

    None at all where the store says nothing that changes with it.
    """
    if not found.version:
        return []
    said = f"{found.version}:{found.size}".encode()
    names = names_of(found.kind, found.url, folder)
    return digests_of(said, found.kind, max_side, names, more=":version")
