"""Where the files of an index lie, and how a file is replaced so that no reader sees half of it.

::

    index folder/                   user's cache folder/metaembed_rag/   (of a server's collection)
    ├── chroma.sqlite3, …           ├── vectors/<server and collection>_<digest>/
    ├── .metaembed.lock             ├── lexical/<server and collection>/<stemmer>/
    ├── .metaembed.mark             ├── pictures/<server and collection>/
    ├── .metaembed.writing          ├── calibration/<server and collection>/<collection>.json
    ├── cache/<collection>/         └── readings/<server and collection>/<collection>.jsonl
    ├── lexical/<collection>/<stemmer>/
    ├── pictures/<collection>/
    ├── calibration/<collection>.json
    └── readings/<collection>.jsonl

These paths are part of the format: what an older version has left is found there.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import platformdirs

MEMORY = ":memory:"
"""An index that lives as long as the process; for tests and trials."""

DATABASE = "chroma.sqlite3"
LOCK, MARK, WRITING = ".metaembed.lock", ".metaembed.mark", ".metaembed.writing"
_PICTURES, _LEXICAL, _CACHE, _CALIBRATION = "pictures", "lexical", "cache", "calibration"
_READINGS = "readings"
OURS = frozenset({LOCK, MARK, WRITING, _PICTURES, _LEXICAL, _CACHE, _CALIBRATION, _READINGS})
"""What a folder may hold where Chroma's database has been deleted."""


def is_server(where: str) -> bool:
    """Whether it is the address of a Chroma server."""
    return where.startswith(("http://", "https://"))


@dataclass(frozen=True)
class Places:
    """Where the files of one collection lie. Use :meth:`of`.

    Attributes:
        where: A folder, ``http(s)://host:port`` of a Chroma server, or :data:`MEMORY`.
        collection: Name of the collection.
        folder: The index's folder, absolute; None for a server and for memory.
    """

    where: str
    collection: str
    folder: Path | None

    @classmethod
    def of(cls, where: str, collection: str) -> Places:
        """The places of a collection; a folder is resolved now, whatever is worked in later."""
        local = where != MEMORY and not is_server(where)
        return cls(where, collection, Path(where).resolve() if local else None)

    @property
    def pictures(self) -> Path | None:
        """The folder of the pages' pictures; None for memory.

        Each collection has its own, so that no tenant's deletion takes another's picture away.
        """
        return self._place(_PICTURES, self.collection, "")

    @property
    def calibration(self) -> Path | None:
        """The file of the calibration; None for memory."""
        name = f"{self.collection}.json"
        return self._place(_CALIBRATION, name, name)

    @property
    def readings(self) -> Path | None:
        """The file of what OCR has read and no record says; None for memory."""
        name = f"{self.collection}.jsonl"
        return self._place(_READINGS, name, name)

    def lexical(self, stemmer: str | None) -> Path | None:
        """The folder of what word search derives with a stemmer; None for memory."""
        kind = stemmer or "plain"
        return self._place(_LEXICAL, f"{self.collection}/{kind}", kind)

    @property
    def vectors(self) -> Path | None:
        """The folder of the mapped copy of the vectors; None for memory."""
        if self.folder is not None:
            return self.folder / _CACHE / self.collection
        if not is_server(self.where):
            return None
        place = f"{self.where} {self.collection}"
        digest = hashlib.blake2b(place.encode(), digest_size=4).hexdigest()
        return user_folder("vectors", f"{_as_name(place)}_{digest}")

    def _place(self, what: str, inside: str, of_user: str) -> Path | None:
        """``inside`` an index's folder, or what is ``of_user`` for a server; None for memory."""
        if self.folder is not None:
            return self.folder / what / inside
        if not is_server(self.where):
            return None
        return user_folder(what, _as_name(f"{self.where}_{self.collection}")) / of_user


def user_folder(*parts: str) -> Path:
    """A folder in this user's cache folder."""
    return Path(platformdirs.user_cache_dir("metaembed_rag"), *parts)


def _as_name(place: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]+", "_", place)


def temporary_folder(prefix: str) -> Path:
    """A new folder that is removed when the process ends."""
    folder = tempfile.mkdtemp(prefix=prefix)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A place beside ``path`` to write a file or a folder at, which is renamed at the end.

    A reader so finds what was there before or all of what is there now; after a failure nothing
    has changed. What a killed process leaves is beside ``path``, its name begins with a dot and
    that of ``path``. The folder of ``path`` must exist. A folder that holds something cannot be
    replaced.

    Raises:
        OSError: The place cannot be written.
    """
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        if unfinished.is_dir():
            shutil.rmtree(unfinished, ignore_errors=True)
        else:
            unfinished.unlink(missing_ok=True)


def replace_file(path: Path, data: bytes | str, *, lasting: bool = False) -> None:
    """Write a file whole or not at all, text in UTF-8; see :func:`replacing`.

    Args:
        path: The file; its folder must exist.
        data: All that it is to hold.
        lasting: Bring it to the disk before it is renamed, so that it also outlives a power cut.

    Raises:
        OSError: The disk is full, or the folder cannot be written.
    """
    with replacing(path) as unfinished, unfinished.open("wb") as file:
        file.write(data.encode() if isinstance(data, str) else data)
        if lasting:
            file.flush()
            os.fsync(file.fileno())
