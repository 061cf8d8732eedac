"""The pictures of pages in an object store, by fsspec: ``s3://bucket/folder``, ``gs://``, …

::

    s3://bucket/folder/<id of the collection>/
    ├── metaembed.json      whose pictures these are, for people; written before the first of them
    └── 3f/3f….webp         a picture, named by page and content

A collection has a folder of its own, so that no deletion takes another's picture, and what no
record names can be found. Where its pictures lie is noted in the collection, so that another
machine finds them. A server's collection is believed in that where it is an object store, for a
path would be one of this machine; any other place, and whatever a folder says, its user has named.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import time
from collections.abc import Collection, Iterable, Mapping, Set
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metaembed_rag.errors import MissingExtraError, StoreError
from metaembed_rag.filesystems import (
    STORES,
    RemoteFileError,
    RemoteFolder,
    all_within,
    checked_url,
    is_url,
    local_folder,
    remove_all,
    within,
)
from metaembed_rag.store import picture_format
from metaembed_rag.store.chroma import ChromaStore
from metaembed_rag.store.given_pictures import ABOUT, GivenPictures, folder_name
from metaembed_rag.store.named_models import named_pictures, remember_pictures
from metaembed_rag.store.picture_cache import PictureCache, chosen_bytes
from metaembed_rag.store.pictures import PictureFolder, is_whole, picture_name
from metaembed_rag.store.places import MEMORY, Places, is_server, temporary_folder
from metaembed_rag.store.requests import slices
from metaembed_rag.web import UsualTimeout, chosen_timeout

if TYPE_CHECKING:
    from PIL import Image

READ_SECONDS = 10.0
"""How long a search waits for all pictures of its hits together."""
WRITE_SECONDS = 60.0
AWAY_SECONDS = 30.0
"""After a failure hits come without pictures for so long, and the store is left alone."""
MOST_BYTES = 64 * 1024**2
"""Of one picture that is read."""
SETTLED_SECONDS = 3600.0
"""A picture that no record names may be on its way for so long."""
_AT_ONCE = 64
_REMOVED_AT_ONCE = 1000
_LISTING = 10
"""How many times as long as a request a list of all pictures may take."""
_NAME = re.compile(r"[0-9a-f]{2}/[0-9a-f]{32}\.[a-z0-9]{1,5}")
_TIMES = ("LastModified", "mtime", "updated", "last_modified", "created")
"""What file systems call the time of a file."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PictureSettings:
    """What a user says of where pictures lie.

    Attributes:
        place: A folder or the address of a store; None for where the index says.
        options: What fsspec's file system is made with.
        cache: Bytes that copies of pictures may take on this machine.
        timeout: Seconds that a store may keep silent.
    """

    place: str | Path | None = None
    options: Mapping[str, Any] | None = field(default=None, repr=False)
    cache: int | None = None
    timeout: float | None = None

    @property
    def url(self) -> str:
        """The address of a store that was given; ``""`` for a folder, and for nothing.

        Raises:
            StoreError: It is no address that can be used.
        """
        if not is_url(self.place) or local_folder(str(self.place)) is not None:
            return ""
        try:
            return checked_url(str(self.place))
        except RemoteFileError as error:
            raise StoreError(f"pictures cannot be kept there: {error}") from None

    @property
    def folder(self) -> str | Path | None:
        """The folder that was given, by its path or as ``file://``."""
        return local_folder(self.place) or self.place if isinstance(self.place, str) else self.place


def open_pictures(store: ChromaStore, settings: PictureSettings) -> PictureFolder:
    """Where the pictures of an index are: as the user says, as the index says, or beside it.

    Raises:
        StoreError: The user names a store that cannot be used.
        MissingExtraError: A package that it needs is not installed.
    """
    chosen_bytes(settings.cache)
    if url := settings.url:
        found = RemotePictures(url, store, settings)
        found.connect()
        if store.where != MEMORY:
            remember_pictures(store.collection_id, url)
        return found
    if settings.folder is not None:
        if store.where != MEMORY:
            remember_pictures(store.collection_id, str(Path(settings.folder).absolute()))
        return _given(Path(settings.folder), store)
    noted, named = store.about.pictures, named_pictures(store.collection_id)
    if named and not is_url(named):
        if not Path(named).is_dir():
            _log.warning(
                "pictures of the index at %s were kept in %s, which is not there; if they are "
                "somewhere else now, name it once: pictures=… or --pictures",
                store.where,
                named,
            )
        return _given(Path(named), store)
    if not noted:
        return PictureFolder.of(store.places)
    if not _is_believed(noted, store):
        _log.warning(
            "the index at %s says that its pictures lie somewhere else, and it is not believed in "
            "that place; if you know where they are, name it once on this machine: pictures=… or "
            "--pictures",
            store.where,
        )
        return PictureFolder.of(store.places)
    return RemotePictures(noted, store, settings)


def _given(folder: Path, store: ChromaStore) -> PictureFolder:
    """A folder that the user named: the one beside the index, or one that others may use, too."""
    usual = store.places.pictures
    if usual is not None and folder.resolve() == usual.resolve():
        return PictureFolder(usual)
    return GivenPictures(folder, store.collection_id)


def _is_believed(noted: str, store: ChromaStore) -> bool:
    """Whether pictures are looked for where a collection says.

    Where the user has named the place on this machine; of a server, whom the user asks anyway, also
    an object store. A folder may come from anybody, and has nobody else's bucket asked.
    """
    if noted == named_pictures(store.collection_id):
        return True
    try:
        is_store = checked_url(noted) == noted and noted.partition(":")[0] in STORES
    except RemoteFileError:
        return False
    return is_store and is_server(store.where)


class RemotePictures(PictureFolder):
    """Pictures in an object store, and copies of those that were looked at, here.

    Reading never fails and never waits long: hits come without their pictures then, and one warning
    says why. Writing fails with a sentence, before the record that would name the picture.

    Args:
        url: Of the folder of all collections' pictures, as :func:`checked_url` gives it.
        store: Its records.
        settings: Options of the file system, the bound of the copies, the time of a request.
    """

    def __init__(self, url: str, store: ChromaStore, settings: PictureSettings) -> None:
        stays = not url.startswith("memory:")  # what is in memory ends with this process
        copies = None if stays else temporary_folder("metaembed_pictures_")
        self._cache = PictureCache(chosen_bytes(settings.cache), copies)
        super().__init__(
            self._cache.folder / hashlib.blake2b(url.encode(), digest_size=8).hexdigest()
        )
        self._url, self._store, self._settings = url, store, settings
        self._root: RemoteFolder | None = None
        self._away_until = 0.0
        self._told: set[str] = set()
        self._prepared = ""

    @property
    def place(self) -> str:
        """The address of the store."""
        return self._url

    @property
    def shared(self) -> str:
        """Where this collection has its pictures, if that is no store of this process alone."""
        return "" if self._url.startswith("memory:") else f"{self._url.rstrip('/')}/{self._own}"

    @property
    def is_here(self) -> bool:
        """No: the folder holds copies."""
        return False

    def connect(self) -> RemoteFolder:
        """The file system; the store is not asked.

        Raises:
            StoreError: There is none for such an address.
            MissingExtraError: A package is not installed.
        """
        if self._root is None:
            try:
                self._root = RemoteFolder.of(
                    self._url, self._settings.options, seconds=self._write_seconds
                )
            except RemoteFileError as error:
                raise self._failed("cannot be used", error) from None
        return self._root

    # -- writing -----------------------------------------------------------------------------

    def prepare(self) -> None:
        """Write whose pictures these will be, and note in the collection where they are."""
        collection = self._store.collection_id
        if self._prepared == collection:
            return
        about = {"collection": self._store.places.collection, "id": collection}
        self._put(ABOUT, json.dumps(about).encode())
        self._store.note_pictures(self._url)
        self._prepared = collection

    def save(self, image: Image.Image, page_id: str, content_hash: str) -> str:
        """Write a picture and return its name.

        It is written also where it is already: to ask costs as much, and somebody else may be
        deleting it.

        Raises:
            StoreError: The store cannot be written.
        """
        name = picture_name(page_id, content_hash)
        self.write(name, picture_format.encoded(image))
        return name

    def write(self, name: str, data: bytes) -> None:
        """Write the file of a picture.

        Raises:
            StoreError: The store cannot be written, or it is no name of a picture.
        """
        if not _NAME.fullmatch(name):
            raise StoreError(f"{name!r} is no name of a picture, which is named by its content")
        self.prepare()
        self._put(name, data)

    def remove(self, names: Set[str | None]) -> None:
        """Delete pictures, also the copies here; where that fails, a warning says what stays."""
        wanted = sorted(name for name in names if name is not None and _NAME.fullmatch(name))
        for name in wanted:
            (self.folder / name).unlink(missing_ok=True)
        try:
            for part in slices(len(wanted), _REMOVED_AT_ONCE):
                remove_all(self.connect(), [self._path(name) for name in wanted[part]])
        except (RemoteFileError, StoreError, MissingExtraError) as error:
            _log.warning(
                "pictures of pages that were deleted stay at %s (%s); `metaembed repair` removes "
                "them when the store can be reached",
                self._url,
                error,
            )

    def _put(self, name: str, data: bytes) -> None:
        root = self.connect()
        path = self._path(name)

        def put() -> None:
            if self._url.partition(":")[0] not in STORES:  # object stores have no folders
                root.fs.makedirs(path.rpartition("/")[0], exist_ok=True)
            root.fs.pipe_file(path, data)

        try:
            within(root.seconds, put)
        except RemoteFileError as error:
            raise self._failed(
                "cannot be written, so its page is not added either",
                error,
                "and run the same again",
            ) from None

    # -- reading -----------------------------------------------------------------------------

    def fetch(self, names: Iterable[str]) -> None:
        """Bring pictures here, within ten seconds for all of them.

        What cannot be had is not there then, and a warning says why: once, and for the next half
        minute the store is left alone.
        """
        ours = {name for name in names if _NAME.fullmatch(name)}
        wanted = [name for name in sorted(ours) if not self._cache.use(self.folder / name)]
        if not wanted or time.monotonic() < self._away_until:
            return
        try:
            self.connect()
            found = all_within(self._read_seconds, [partial(self._data, name) for name in wanted])
        except (StoreError, MissingExtraError) as error:
            self._away(str(error))
            return
        for name, outcome in zip(wanted, found, strict=True):
            try:
                self._cache.put(self.folder / name, outcome.get())
            except RemoteFileError as error:
                if error.is_missing:
                    self._tell("missing", f"{name} is not there, or not whole")
                else:
                    self._away(error.reason)
            except OSError as error:
                self._tell("disk", f"no copy can be kept in {self.folder}: {error.strerror}")

    def holds(self, name: str) -> bool:
        """Whether the store has a picture of that name."""
        return name in self.held([name])

    def held(self, names: Collection[str]) -> set[str]:
        """Those of the names whose pictures the store has; their sizes are asked for only."""
        sizes = self._every(names, self._size)
        return {name for name, size in sizes.items() if size}

    def read(self, names: Collection[str]) -> dict[str, bytes | None]:
        """The files of pictures as the store has them now, not their copies here."""
        return self._every(names, self._data)

    def problem(self, name: str) -> str | None:
        """What is wrong with the picture of that name, as far as its ends tell."""
        return None if self.read([name])[name] else f"its picture {name} is missing or cut off"

    def is_alone(self, places: Places) -> bool:
        """Yes: a collection has a folder of its own."""
        return True

    def names(self) -> list[str]:
        """The names of the pictures that are there for longer than one is on its way.

        Raises:
            StoreError: The store cannot be asked.
        """
        root = self.connect()
        folder = self._path("")
        try:
            found = within(_LISTING * root.seconds, lambda: dict(root.fs.find(folder, detail=True)))
        except RemoteFileError as error:
            if error.is_missing:
                return []
            raise self._failed("cannot be listed", error) from None
        old = [path for path, info in found.items() if _age(info) > SETTLED_SECONDS]
        names = (path.strip("/").removeprefix(folder.strip("/") + "/") for path in old)
        return sorted(filter(_NAME.fullmatch, names))

    def _every(self, names: Collection[str], read: Any) -> dict[str, Any]:
        """What ``read`` gives of each name; None of those that are missing."""
        answers: dict[str, Any] = dict.fromkeys(names)
        wanted = [name for name in answers if _NAME.fullmatch(name)]
        root = self.connect()
        for part in slices(len(wanted), _AT_ONCE):
            found = all_within(root.seconds, [partial(read, name) for name in wanted[part]])
            for name, outcome in zip(wanted[part], found, strict=True):
                try:
                    answers[name] = outcome.get()
                except RemoteFileError as error:
                    if not error.is_missing:
                        raise self._failed("cannot be read", error) from None
        return answers

    def _size(self, name: str) -> int:
        return int(self.connect().fs.info(self._path(name))["size"])

    def _data(self, name: str) -> bytes:
        data = bytes(self.connect().fs.cat_file(self._path(name), start=0, end=MOST_BYTES + 1))
        if len(data) > MOST_BYTES or not is_whole(data):
            raise RemoteFileError("it is cut off or too large", is_missing=True)
        return data

    def _path(self, name: str) -> str:
        """A file of this collection, as the file system calls it."""
        return f"{self.connect().root.rstrip('/')}/{self._own}/{name}".rstrip("/")

    @property
    def _own(self) -> str:
        """The folder of this collection."""
        return folder_name(self._store.collection_id)

    @property
    def _write_seconds(self) -> float:
        said = self._settings.timeout
        return chosen_timeout(UsualTimeout(WRITE_SECONDS)) if said is None else said

    @property
    def _read_seconds(self) -> float:
        return min(READ_SECONDS, self._write_seconds)

    def _failed(self, what: str, error: RemoteFileError, then: str = "") -> StoreError:
        more = f", {then}" if then else ""
        return StoreError(f"the store of pictures {self._url} {what}: {error.reason}{more}")

    def _away(self, why: str) -> None:
        self._away_until = time.monotonic() + AWAY_SECONDS
        self._tell("away", why)

    def _tell(self, kind: str, why: str) -> None:
        if kind not in self._told:  # told once, not for every hit
            self._told.add(kind)
            _log.warning("hits come without pictures from %s: %s", self._url, why)


def _age(info: Mapping[str, Any]) -> float:
    """Seconds since a file was written; 0 where a file system does not say."""
    said = next((info[name] for name in _TIMES if info.get(name) is not None), None)
    if isinstance(said, str):
        said = datetime.fromisoformat(said)
    if isinstance(said, datetime):
        said = said.timestamp()
    return time.time() - said if isinstance(said, int | float) else 0.0
