"""Copies of pictures that lie in an object store, on this machine, as many as a bound allows.

fsspec has caches of files, too (``simplecache``, ``filecache``); neither has a bound, the first
knows no time of use, and the second keeps one file of notes that its processes overwrite. Here each
copy is a file that appears whole, and the time of its last use is that of the file. So there is
nothing that a killed process could leave wrong, and nothing that two could disagree about.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from metaembed_rag.errors import StoreError
from metaembed_rag.store.places import replace_file, user_folder
from metaembed_rag.store.privacy import make_folder

BYTES_VARIABLE = "METAEMBED_PICTURE_CACHE"
"""The environment variable of how many bytes the copies may take together."""
USUAL_BYTES = 1024**3
LEAST_BYTES = 1024**2
_FOLDER, _LOCK = "picture_cache", ".lock"
_SHARE = 16
"""A look at all copies follows each sixteenth of the bound that was added; it leaves the last
seven eighths of it."""
_USED_AGAIN = 60.0
"""Seconds after which a use is noted anew."""
_UNFINISHED = 3600.0
"""Seconds after which a file on the way is nobody's any more."""


class _Copy(NamedTuple):
    used: float
    size: int
    path: Path


def chosen_bytes(given: int | None) -> int:
    """The bound: what is given, or the environment says, or 1 GiB.

    Raises:
        StoreError: It is no number of bytes, or under 1 MiB.
    """
    said = os.environ.get(BYTES_VARIABLE, "").strip() if given is None else str(given)
    if not said:
        return USUAL_BYTES
    if not said.isdecimal() or int(said) < LEAST_BYTES:
        name = (
            "picture_cache" if given is not None else f"the environment variable {BYTES_VARIABLE}"
        )
        raise StoreError(
            f"{name} is {said!r}; set it to a number of bytes of at least {LEAST_BYTES:,}, or "
            f"leave it out for {USUAL_BYTES:,}"
        )
    return int(said)


class PictureCache:
    """The copies of all object stores that this user's processes have read pictures from.

    Two processes that add copies at a time stay below the bound; each further one may add a
    sixteenth of it until the next look.

    Args:
        most: Bytes that all copies may take together.
        folder: Where they lie; in the user's cache folder by default.
    """

    def __init__(self, most: int, folder: Path | None = None) -> None:
        self.folder = user_folder(_FOLDER) if folder is None else folder
        self._most = most
        self._added = most  # so that the first copy is followed by a look

    def put(self, path: Path, data: bytes) -> None:
        """Keep a copy, and let go of those that were not used for longest.

        Args:
            path: Below the folder.
            data: All of it.

        Raises:
            OSError: The disk is full, or the folder cannot be written.
        """
        make_folder(path.parent)
        replace_file(path, data)
        self._added += len(data)
        if self._added >= self._most // _SHARE:
            self._added = 0
            self.shrink()

    def use(self, path: Path) -> bool:
        """Whether a copy is there; if so, it was used now."""
        try:
            if time.time() - path.stat().st_mtime > _USED_AGAIN:
                os.utime(path)
        except OSError:
            return False
        return True

    def shrink(self) -> None:
        """Delete what was not used for longest, until the rest is well below the bound.

        Another process that does so meanwhile does it for this one.
        """
        with contextlib.suppress(Timeout, OSError), FileLock(self.folder / _LOCK, timeout=0):
            copies = sorted(self._copies())
            total = sum(one.size for one in copies)
            if total <= self._most - 2 * self._most // _SHARE:
                return
            for one in copies:
                if total <= self._most - 2 * self._most // _SHARE:
                    return
                one.path.unlink(missing_ok=True)
                total -= one.size

    def _copies(self) -> Iterator[_Copy]:
        for path in self.folder.glob("*/*/*"):
            with contextlib.suppress(OSError):  # another process has let go of it
                found = path.stat()
                if path.name.startswith(".") and time.time() - found.st_mtime > _UNFINISHED:
                    path.unlink(missing_ok=True)
                else:
                    yield _Copy(found.st_mtime, found.st_size, path)
