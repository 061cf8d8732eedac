"""Where the files of an index lie, and how a file is replaced so that no reader sees half of it.

::

    index folder/                   user's cache folder/metaembed_rag/   (of a server's collection)
    ├── chroma.sqlite3, …           ├── vectors/<server and collection>_<digest>/
    ├── .metaembed.lock, .holder    ├── lexical/<server and collection>/<stemmer>/
    ├── .metaembed.mark             ├── pictures/<server and collection>/
    ├── .metaembed.writing, .log    ├── calibration/<server and collection>/<collection>.json
    ├── cache/<collection>/         ├── readings/<server and collection>/<collection>.jsonl
    ├── lexical/<collection>/<stemmer>/   └── models/<digest>.txt (of any index)
    ├── pictures/<collection>/
    ├── calibration/<collection>.json
    └── readings/<collection>.jsonl

Of a database on a server that is not Chroma's default one, ``<server and collection>`` names tenant
and database too and ends in a digest, so that no two of them share a folder. These paths are part
of the format: what an older version has left is found there.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import hashlib
import os
import re
import shutil
import stat
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import platformdirs
from filelock import FileLock, Timeout

MEMORY = ":memory:"
"""An index that lives as long as the process; for tests and trials."""

CLOUD = "https://api.trychroma.com"
"""The address of Chroma Cloud, as Chroma's own client has it."""
CLOUD_SCHEME = "chroma-cloud"
"""Of ``chroma-cloud://tenant/database``, another way to write it."""

DATABASE = "chroma.sqlite3"
LOCK, MARK, WRITING = ".metaembed.lock", ".metaembed.mark", ".metaembed.writing"
HOLDER = ".metaembed.holder"
LOG = ".metaembed.log"
"""Locked by whoever lets Chroma apply its log."""
_PICTURES, _LEXICAL, _CACHE, _CALIBRATION = "pictures", "lexical", "cache", "calibration"
_READINGS, _DOUBTFUL = "readings", "unreadable.json"
OURS = frozenset(
    {LOCK, HOLDER, LOG, MARK, WRITING, _PICTURES, _LEXICAL, _CACHE, _CALIBRATION, _READINGS}
)
"""What a folder may hold where Chroma's database has been deleted."""
BESIDE_DATABASE = frozenset({_PICTURES, _LEXICAL, _CACHE, _CALIBRATION, _READINGS})
"""Folders inside an index that are not Chroma's."""


_LONGEST_MARK = 64
_MARK = re.compile(rb"[0-9a-zA-Z-]{1,%d}" % _LONGEST_MARK)

_TEMPORARY, _ALIVE = "metaembed_", "alive.lock"
_SETTLED = 60.0
"""Seconds after which a process has taken the lock of the folder that it made."""


def is_server(where: str) -> bool:
    """Whether it is the address of a Chroma server."""
    return where.startswith(("http://", "https://", f"{CLOUD_SCHEME}://"))


def is_cloud(where: str) -> bool:
    """Whether it is the address of Chroma Cloud, in one spelling."""
    return where == CLOUD


@dataclass(frozen=True)
class Places:
    """Where the files of one collection lie. Use :meth:`of`.

    Attributes:
        where: A folder, ``http(s)://host:port`` of a Chroma server, or :data:`MEMORY`.
        collection: Name of the collection.
        folder: The index's folder, absolute; None for a server and for memory.
        namespace: ``tenant/database`` on a server; ``""`` for Chroma's default ones.
    """

    where: str
    collection: str
    folder: Path | None
    namespace: str = ""

    @classmethod
    def of(cls, where: str, collection: str, namespace: str = "") -> Places:
        """The places of a collection; a folder is resolved now, whatever is worked in later."""
        local = where != MEMORY and not is_server(where)
        return cls(where, collection, Path(where).resolve() if local else None, namespace)

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
    def words(self) -> Path | None:
        """The folder of what word search derives with any stemmer; None for memory."""
        return self._place(_LEXICAL, self.collection, "")

    @property
    def vectors(self) -> Path | None:
        """The folder of the mapped copy of the vectors; None for memory."""
        if self.folder is not None:
            return self.folder / _CACHE / self.collection
        if not is_server(self.where):
            return None
        place = f"{self._database} {self.collection}"
        return user_folder("vectors", f"{_as_name(place)}_{_digest(place)}")

    @property
    def doubtful(self) -> Path | None:
        """The file of the ids of records that could not be read; None for memory."""
        return None if self.vectors is None else self.vectors / _DOUBTFUL

    def is_ours(self, path: Path) -> bool:
        """Whether an absolute path lies in a folder that the index made inside its own."""
        if self.folder is None or not path.is_relative_to(self.folder):
            return False
        return not BESIDE_DATABASE.isdisjoint(path.relative_to(self.folder).parts[:1])

    @property
    def how_to_make(self) -> str:
        """The command that makes this index."""
        named = "" if self.collection == "pages" else f" --collection {self.collection}"
        tenant, _, database = self.namespace.partition("/")
        named += f" --tenant {tenant} --database {database}" if database else ""
        return f"`metaembed index PATH --index {self.where}{named}`"

    @property
    def spoken(self) -> str:
        """The place for messages, with tenant and database where they are not the default ones."""
        tenant, _, database = self.namespace.partition("/")
        of = f" (tenant {tenant!r}, database {database!r})" if database else ""
        return f"{self.where}{of}"

    @property
    def tenancy(self) -> dict[str, str]:
        """``tenant`` and ``database`` on a server; empty for Chroma's default ones."""
        tenant, _, database = self.namespace.partition("/")
        return {"tenant": tenant, "database": database} if database else {}

    @property
    def _database(self) -> str:
        """A server and its database: the address alone for the default one, as it always was."""
        return f"{self.where} {self.namespace}" if self.namespace else self.where

    def _place(self, what: str, inside: str, of_user: str) -> Path | None:
        """``inside`` an index's folder, or what is ``of_user`` for a server; None for memory."""
        if self.folder is not None:
            return self.folder / what / inside
        if not is_server(self.where):
            return None
        name = _as_name(f"{self._database}_{self.collection}")
        if self.namespace:  # two tenants' names may be one when their signs are replaced
            name += f"_{_digest(f'{self._database} {self.collection}')}"
        return user_folder(what, name) / of_user


def is_new(folder: Path) -> bool:
    """Whether no database lies in a folder yet, or whoever makes it has not finished."""
    return not (folder / DATABASE).exists() or not (folder / MARK).exists()


def read_mark(folder: Path) -> str:
    """What the last write left in a folder, ``""`` for nothing.

    The database's own time of change will not do: Chroma changes it when it opens it. What no
    write has left there counts as nothing.
    """
    try:
        with (folder / MARK).open("rb") as file:
            found = file.read(_LONGEST_MARK + 1)
    except OSError:
        return ""
    return found.decode("ascii") if _MARK.fullmatch(found) else ""


def user_folder(*parts: str) -> Path:
    """A folder in this user's cache folder."""
    return Path(platformdirs.user_cache_dir("metaembed_rag"), *parts)


def _as_name(place: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]+", "_", place)


def _digest(place: str) -> str:
    return hashlib.blake2b(place.encode(), digest_size=4).hexdigest()


def temporary_folder(prefix: str) -> Path:
    """A new folder that is removed when the process ends, or by the next one if it is killed."""
    return Path(tempfile.mkdtemp(prefix=prefix, dir=_folder_of_process(os.getpid())))


@functools.cache
def _folder_of_process(process: int) -> Path:
    """One folder for all temporary ones of this process, with a lock that ends with it.

    A process that was forked gets one of its own, and leaves that of its parent alone.
    """
    _remove_abandoned(Path(tempfile.gettempdir()))
    folder = Path(tempfile.mkdtemp(prefix=f"{_TEMPORARY}{process}_"))
    alive = FileLock(folder / _ALIVE)
    alive.acquire()
    atexit.register(_remove_at_exit, folder, alive, process)
    return folder


def _remove_at_exit(folder: Path, alive: FileLock, process: int) -> None:
    if os.getpid() == process:
        alive.release()
        shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned(where: Path) -> None:
    """Remove temporary folders of this user's processes that were killed."""
    for folder in where.glob(f"{_TEMPORARY}*"):
        with contextlib.suppress(OSError, Timeout):  # another one cleans up, or may not be touched
            if _is_abandoned(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _is_abandoned(folder: Path) -> bool:
    """Whether a folder is this user's, and the process that made it has gone.

    Its number may be another's by now, or mean nothing where containers share the folder; its lock
    may be a forked child's. So both have to say that it has gone.

    Raises:
        OSError: It cannot be read.
        Timeout: The lock is held.
    """
    found, process = folder.lstat(), folder.name.removeprefix(_TEMPORARY).partition("_")[0]
    alive = folder / _ALIVE
    if not stat.S_ISDIR(found.st_mode) or not process.isdecimal() or not alive.is_file():
        return False
    if os.name == "posix" and (found.st_uid != os.getuid() or _is_running(int(process))):
        return False
    if time.time() - alive.stat().st_mtime < _SETTLED:
        return False
    with FileLock(alive, timeout=0):
        return True


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # somebody else's
    return True


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
