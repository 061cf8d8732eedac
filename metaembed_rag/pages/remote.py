"""Files of object stores as sources of pages: ``s3://bucket/docs/``, and any file system of fsspec.

The source of such a page is the address of its file, so its id is the same on every machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from metaembed_rag.errors import FileTooLargeError, PageError, UnreadableFileError
from metaembed_rag.filesystems import RemoteFileError, RemoteFolder, is_url, local_folder, within
from metaembed_rag.pages.folders import INDEX_MARK, KINDS, kind_of

PICTURES_MARK = "metaembed.json"
"""A folder of a store that holds this file is one of kept pictures, which are no sources."""
_SECONDS = 60.0
"""How long a store may take for a list of files, and for a file beside a second for each MiB."""
_LISTING = 10
_MIB = 1024**2


@dataclass(frozen=True)
class RemoteFile:
    """A file of a store that is to be read.

    Attributes:
        url: Its address, the ``source`` of its pages.
        folder: What was named, a folder or this file.
        path: What the file system calls it.
        size: Bytes, as the store says.
        version: What the store says changes with the content; ``""`` where it says nothing.
    """

    url: str
    folder: RemoteFolder
    path: str
    size: int
    version: str = ""

    @property
    def kind(self) -> str:
        """The kind of file, by its suffix; see :func:`metaembed_rag.pages.folders.kind_of`."""
        return kind_of(Path(self.url))

    def read(self, most: int) -> bytes:
        """All of its bytes.

        Raises:
            FileTooLargeError: More than ``most``.
            UnreadableFileError: It is empty, gone, changing, or cannot be read in time.
        """
        if self.size == 0:
            raise UnreadableFileError(self.url, "is empty (0 bytes); delete it or make it again")
        if self.size > most:
            raise FileTooLargeError(
                self.url,
                f"has {self.size:,} bytes, over the limit of {most:,}; split it, or raise "
                f"max_file_bytes",
            )
        try:
            data = within(_SECONDS + self.size / _MIB, lambda: self._bytes(most))
            now = within(_SECONDS, lambda: _version(self.folder.fs.info(self.path)))
        except RemoteFileError as error:
            raise UnreadableFileError(self.url, error.reason) from None
        if len(data) != self.size or now != self.version:
            raise UnreadableFileError(self.url, "changed while it was being read; run again")
        return data

    def _bytes(self, most: int) -> bytes:
        return bytes(self.folder.fs.cat_file(self.path, start=0, end=most + 1))


def is_remote(given: object) -> bool:
    """Whether it names files of a store: by an address that is no ``file://``, or by its folder."""
    if isinstance(given, RemoteFolder):
        return True
    return is_url(given) and local_folder(str(given)) is None


def remote_folder(
    given: str | RemoteFolder, options: Mapping[str, Any] | None = None
) -> RemoteFolder:
    """The folder or file that an address names.

    Raises:
        UnreadableFileError: It is no address that can be used.
        MissingExtraError: A package of its store is not installed.
    """
    if isinstance(given, RemoteFolder):
        return given
    try:
        return RemoteFolder.of(given, options, seconds=_SECONDS)
    except RemoteFileError as error:
        raise UnreadableFileError("an address of a store", error.reason) from None


def of_file_system(fs: Any, path: object) -> RemoteFolder:
    """What a file system of fsspec has at a path."""
    protocol = fs.protocol if isinstance(fs.protocol, str) else fs.protocol[0]
    root = str(fs._strip_protocol(str(path)))
    return RemoteFolder(f"{protocol}://{root.lstrip('/')}", fs, root, _SECONDS)


def find_remote(
    named: RemoteFolder, on_ignore: Callable[[Path], None] | None, seen: set[str]
) -> Iterator[RemoteFile | PageError]:
    """Yield each file to read at or below what was named, by name, or the error that stands for it.

    Hidden files and folders are left out, and so are indexes and the pictures that indexes keep.
    Those in ``seen`` are left out, and those found are added to it.
    """
    try:
        every = _listed(named)
    except RemoteFileError as error:
        yield UnreadableFileError(named.url, error.reason)
        return
    named_itself = len(every) == 1 and named.root.strip("/") == next(iter(every)).strip("/")
    kept = every if named_itself else _worth_reading(named, every)
    empty = True
    for path, info in sorted(kept.items(), key=lambda one: PurePosixPath(one[0]).parts):
        url = named.address(path)
        if PurePosixPath(path).suffix.lower() not in KINDS and not named_itself:
            if on_ignore is not None:
                on_ignore(Path(url))
            continue
        empty = False
        if url not in seen:
            seen.add(url)
            size = int(info.get("size") or 0)
            yield RemoteFile(url, named, path, size, _version(info))
    if empty:
        yield UnreadableFileError(
            named.url, "there is no file of a kind that is read; check the address"
        )


def remote_addresses(named: RemoteFolder) -> set[str]:
    """The addresses of all files at or below what was named.

    Raises:
        RemoteFileError: They cannot be listed.
    """
    return {named.address(path) for path in _listed(named)}


def _listed(named: RemoteFolder) -> Mapping[str, Mapping[str, Any]]:
    """All files, by what the file system calls them, with what it says of each."""

    def ask() -> dict[str, Mapping[str, Any]]:
        if PurePosixPath(named.root).suffix.lower() in KINDS and named.fs.isfile(named.root):
            return {named.root: named.fs.info(named.root)}
        found = named.fs.find(named.root, detail=True)
        return {path: info for path, info in found.items() if not path.endswith("/")}

    return within(_LISTING * _SECONDS, ask)


def _worth_reading(
    named: RemoteFolder, every: Mapping[str, Mapping[str, Any]]
) -> dict[str, Mapping[str, Any]]:
    """Those that are not hidden, and not inside of an index or of its pictures."""
    root = PurePosixPath("/", named.root)
    inside = {path: PurePosixPath("/", path).relative_to(root) for path in every}
    ours = {one.parent for one in inside.values() if one.name in (INDEX_MARK, PICTURES_MARK)}
    ours.discard(PurePosixPath())  # what was named itself is read
    return {
        path: every[path]
        for path, name in inside.items()
        if not any(part.startswith(".") for part in name.parts) and ours.isdisjoint(name.parents)
    }


def _version(info: Mapping[str, Any]) -> str:
    return next((str(info[key]) for key in ("ETag", "etag", "md5Hash") if info.get(key)), "")
