"""All bytes of a file of the disk, or why they cannot be had."""

from __future__ import annotations

import stat
from pathlib import Path

from metaembed_rag.errors import FileTooLargeError, UnreadableFileError
from metaembed_rag.pages.folders import show


def source_of(path: Path) -> str:
    """What its pages are called.

    Raises:
        UnreadableFileError: Its name is no text.
    """
    source = path.as_posix()
    if show(path) != source:
        raise UnreadableFileError(show(path), "its name is not valid UTF-8: rename the file")
    return source


def read_file_bytes(path: Path, max_file_bytes: int) -> bytes:
    """All of them, of one state of the file.

    Raises:
        UnreadableFileError: It is empty, gone, changing, or may not be read.
        FileTooLargeError: More than ``max_file_bytes``.
    """
    try:
        before = path.stat()
        _check_size(path, before.st_mode, before.st_size, max_file_bytes)
        data = path.read_bytes()
        after = path.stat()
    except FileNotFoundError:
        raise UnreadableFileError(
            show(path), "is gone: it was moved or deleted; run again"
        ) from None
    except PermissionError:
        raise UnreadableFileError(show(path), "may not be read: check its permissions") from None
    except OSError as error:
        raise UnreadableFileError(show(path), f"cannot be read ({error}); check the disk") from None
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise UnreadableFileError(show(path), "changed while it was being read; run again")
    return data


def _check_size(path: Path, mode: int, size: int, max_file_bytes: int) -> None:
    if not stat.S_ISREG(mode):
        raise UnreadableFileError(show(path), "is not a regular file; name a file or a folder")
    if size == 0:
        raise UnreadableFileError(show(path), "is empty (0 bytes); delete it or make it again")
    if size > max_file_bytes:
        raise FileTooLargeError(
            show(path),
            f"has {size:,} bytes, over the limit of {max_file_bytes:,};"
            " split it, or raise max_file_bytes",
        )
