"""Bytes, open files and uploads in place of paths: what they hold, what they are called."""

from __future__ import annotations

import hashlib
import inspect
import io
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, TypeGuard

from metaembed_rag.errors import FileTooLargeError, PageError, UnreadableFileError
from metaembed_rag.pages.documents.formats import suffix_by_content

PathLike = str | os.PathLike[str]


class OpenFile(Protocol):
    """A file open for reading bytes, or what a web framework makes of an upload."""

    def read(self, size: int = -1, /) -> Any:
        """At most ``size`` bytes, all by default."""


Source = PathLike | bytes | bytearray | memoryview | OpenFile
"""Where pages come from: a path, bytes, or an open file."""

_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", ".png"),
    (b"\xff\xd8\xff", ".jpg"),
    (b"II*\0", ".tif"),
    (b"MM\0*", ".tif"),
    (b"II+\0", ".tif"),
    (b"MM\0+", ".tif"),
    (b"GIF87a", ".gif"),
    (b"GIF89a", ".gif"),
)
_BRANDS = {b"avif": ".avif", b"avis": ".avif", b"heic": ".heic", b"heix": ".heic", b"mif1": ".heic"}
"""Of picture files whose kind stands behind ``ftyp``."""
_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)
"""Bytes of the second header of a BMP: its first two letters alone begin words, too."""
_WRITTEN = frozenset({".html", ".eml"})
"""Kinds of text: the name says more than how they begin, as a note may begin as e-mails do."""
_PDF_WITHIN = 1_024
"""Bytes from the start within which readers look for the mark of a PDF."""


@dataclass(frozen=True)
class Upload:
    """Bytes that did not come from a path.

    Attributes:
        data: All of them.
        source: What their pages are called: ``source`` of :class:`Page`.
        suffix: Of their kind, in lower case; ``""`` where neither name nor content tell.
    """

    data: bytes
    source: str
    suffix: str


def is_open_file(value: object) -> TypeGuard[OpenFile]:
    """Whether bytes can be read from it."""
    return callable(getattr(value, "read", None))


def is_upload(value: object) -> bool:
    """Whether it is bytes or an open file."""
    return isinstance(value, bytes | bytearray | memoryview) or is_open_file(value)


def listed(given: Source | Iterable[Source]) -> list[Source]:
    """One source or several, as a list."""
    if isinstance(given, str | os.PathLike) or is_upload(given):
        return [given]  # type: ignore[list-item]
    # What is no file at all is told by whoever reads it.
    return list(given) if isinstance(given, Iterable) else [given]  # type: ignore[arg-type]


def read_upload(value: Any, source: str | None, max_bytes: int) -> Upload:
    """Read bytes or an open file, from its start where it can be rewound.

    They are called ``source``; else a file of the disk by its path, so that its pages have the ids
    that the path gives them; else an upload by the last part of its ``filename`` or ``name``, for
    it may name anything; else by a hash of the content.

    Raises:
        FileTooLargeError: More than ``max_bytes``.
        UnreadableFileError: Nothing in it, or open as text.
    """
    data = read_bytes(value, max_bytes + 1)
    name = source or _name_of(value)
    suffix, named = _suffix_by_content(data), PurePosixPath(name).suffix.lower()
    if not suffix or (named and suffix in _WRITTEN):
        suffix = named
    if not suffix and _is_utf8(data):
        suffix = ".txt"
    if not name:
        name = f"upload-{hashlib.blake2b(data, digest_size=8).hexdigest()}{suffix}"
    if not data:
        raise UnreadableFileError(name, "is empty (0 bytes), or was read to its end before")
    if len(data) > max_bytes:
        raise FileTooLargeError(
            name, f"has over {max_bytes:,} bytes; split it, or raise max_file_bytes"
        )
    return Upload(data, name, suffix)


def read_bytes(value: Any, size: int = -1) -> bytes:
    """At most ``size`` bytes of bytes or of an open file.

    Raises:
        UnreadableFileError: It is open as text, closed, or broken.
    """
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value if size < 0 else value[:size])
    name = _name_of(value) or "an open file"
    file = value.file if inspect.iscoroutinefunction(value.read) else value  # Starlette's uploads
    try:
        if getattr(file, "seekable", lambda: hasattr(file, "seek"))():
            file.seek(0)
        data = file.read(size)
    except (OSError, ValueError) as error:
        raise UnreadableFileError(name, f"cannot be read ({error}); open it again") from error
    if not isinstance(data, bytes):
        raise UnreadableFileError(name, 'is open as text; open it as bytes, with "rb"')
    return data


def check_source(source: str | None, given: list[Source]) -> None:
    """Refuse a name for what has one.

    Raises:
        PageError: It is for other than one upload.
    """
    if source is not None and not (len(given) == 1 and is_upload(given[0])):
        raise PageError(source, "source= names the bytes or the open file, and there must be one")


def _name_of(value: Any) -> str:
    if path := _path_of(value):
        return path
    for name in (getattr(value, "filename", None), getattr(value, "name", None)):
        if isinstance(name, str) and name:
            return PurePosixPath(name.replace("\\", "/")).name
    return ""


def _path_of(value: Any) -> str:
    """The resolved path of a file of the disk that is open; ``""`` where it is none."""
    name = getattr(value, "name", None)
    if not isinstance(value, io.IOBase) or not isinstance(name, str):
        return ""
    try:
        path = Path(name).resolve(strict=True)
        same = os.path.samestat(path.stat(), os.fstat(value.fileno()))
    except (OSError, ValueError):
        return ""
    return path.as_posix() if same else ""


def _suffix_by_content(data: bytes) -> str:
    if b"%PDF-" in data[:_PDF_WITHIN]:
        return ".pdf"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return ".webp"
    if data[4:8] == b"ftyp":
        return _BRANDS.get(bytes(data[8:12]), "")
    if data[:2] == b"BM" and int.from_bytes(data[14:18], "little") in _BMP_HEADERS:
        return ".bmp"
    known = (suffix for start, suffix in _SIGNATURES if data.startswith(start))
    return next(known, "") or suffix_by_content(data)


def _is_utf8(data: bytes) -> bool:
    try:
        return "\0" not in data.decode("utf-8")
    except UnicodeDecodeError:
        return False
