"""Zip containers, looked at before anything unpacks them, and unpacked within limits."""

from __future__ import annotations

import zipfile
import zlib
from io import BytesIO

from metaembed_rag.errors import FileTooLargeError, UnreadableFileError

_MOST_FILES = 20_000
_MOST_TIMES = 200
"""How many times as large as its file the content of a container may be, from `_HARMLESS` on; text
packs to a tenth, pictures hardly at all, and what unpacks to a thousand times is made to do so."""
_HARMLESS = 64 * 1024**2

DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    NotImplementedError,
    KeyError,
)
"""What Python's zipfile raises on damaged containers; encrypted ones are a RuntimeError."""


def check_container(data: bytes, source: str, most: int) -> None:
    """Refuse a zip container that would unpack to too much.

    Args:
        data: Its bytes.
        source: Its name.
        most: Bytes of all that is in it.

    Raises:
        FileTooLargeError: More than ``most``, far more than its size explains, or too many files.
        UnreadableFileError: It is no container, or a damaged one.
    """
    try:
        with zipfile.ZipFile(BytesIO(data)) as container:
            entries = container.infolist()
    except DAMAGE as error:
        raise damaged(source, error) from None
    size = sum(entry.file_size for entry in entries)
    if len(entries) > _MOST_FILES:
        raise FileTooLargeError(
            source, f"holds {len(entries):,} files, over the limit of {_MOST_FILES:,}; split it"
        )
    if size > most or size > max(_HARMLESS, _MOST_TIMES * len(data)):
        raise FileTooLargeError(
            source,
            f"would unpack from {len(data):,} to {size:,} bytes, as archives do that are made to "
            f"fill a machine; look whether it is what you think, or raise max_memory",
        )


def damaged(source: str, error: Exception) -> UnreadableFileError:
    """The error of a container that cannot be unpacked."""
    return UnreadableFileError(source, f"is damaged ({error}); copy or save it again")
