"""One file that holds an index: a zip of plain members, each with its checksum in a manifest.

::

    manifest.json                   version, what the vectors are of, size and SHA-256 of the others
    records-000000.jsonl            a line a page: its id and the metadata of its record
    vectors-000000.safetensors      of the same pages: "first" float32 (pages, D), which Chroma
                                    searches, and "packed" uint8 (pages, bytes), all R vectors
    pictures/3f/3f….webp            as they lie in the index
    calibration.json                where there is one

No member is compressed, so none can be larger than the file says, and none is a program: JSON,
safetensors and pictures. Names other than these are refused, so no name leads anywhere.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any, Self

from metaembed_rag.errors import StoreError
from metaembed_rag.store.collection import CollectionModel
from metaembed_rag.store.places import replacing
from metaembed_rag.vectors.formats import FORMATS

VERSION = 1
"""Of the layout; a file of a newer one is refused."""

MANIFEST, CALIBRATION = "manifest.json", "calibration.json"
_KIND = "metaembed_rag index"
_NAME = re.compile(
    r"manifest\.json|calibration\.json|records-\d{6}\.jsonl|vectors-\d{6}\.safetensors"
    r"|pictures/([0-9a-f]{2})/\1[0-9a-f]{30}\.(?:webp|jpg)"
)
_MOST_MANIFEST, _MOST_MEMBER = 2**28, 2**31
_DATE = (1980, 1, 1, 0, 0, 0)
_CHUNK = 2**20
_ABANDONED_SECONDS = 3600


def records_name(part: int) -> str:
    """The member with the records of a part."""
    return f"records-{part:06d}.jsonl"


def vectors_name(part: int) -> str:
    """The member with the vectors of a part."""
    return f"vectors-{part:06d}.safetensors"


def picture_member(name: str) -> str:
    """The member of a picture, by its name in the picture folder."""
    return f"pictures/{name}"


@dataclass(frozen=True)
class Manifest:
    """What a file says of itself.

    Attributes:
        about: What the vectors are of.
        pages: Number of pages.
        parts: Number of parts that these are in.
        members: Size in bytes and SHA-256 of every other member, by name.
    """

    about: CollectionModel
    pages: int
    parts: int
    members: Mapping[str, tuple[int, str]]

    def to_json(self) -> str:
        """As text, for :meth:`from_json`."""
        said = {"kind": _KIND, "version": VERSION, "made_by": _made_by()}
        members = {name: list(one) for name, one in self.members.items()}
        counts = {"pages": self.pages, "parts": self.parts}
        about = {name: one for name, one in asdict(self.about).items() if name != "pictures"}
        return json.dumps({**said, "about": about, **counts, "members": members})

    @classmethod
    def from_json(cls, text: bytes, where: Path) -> Manifest:
        """Read what :meth:`to_json` wrote.

        Raises:
            StoreError: It did not write this, or a newer version did.
        """
        try:
            said = json.loads(text)
            if said["kind"] != _KIND:
                raise ValueError("another kind")
            version = said["version"]
            if isinstance(version, int) and version > VERSION:
                raise StoreError(
                    f"{where} has version {version}, this version reads up to {VERSION}: pip "
                    f"install --upgrade '.[local]' in a newer clone of metaembed-rag"
                )
            members = {name: (int(size), str(sha)) for name, (size, sha) in said["members"].items()}
            return cls(_about(said["about"]), int(said["pages"]), int(said["parts"]), members)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise StoreError(f"{where} is no export of an index: its manifest is wrong") from error


def _made_by() -> str:
    """This package and its version, for whoever looks into a file."""
    try:
        return f"metaembed_rag {metadata.version('metaembed-rag')}"
    except metadata.PackageNotFoundError:
        return "metaembed_rag"


def _about(said: Mapping[str, Any]) -> CollectionModel:
    """What the vectors are of, seen to make sense.

    Raises:
        ValueError: It makes none.
        TypeError: It has other keys.
    """
    about = replace(CollectionModel(**said), pictures="")  # where they lie, no file may say
    counts = (about.dimension, about.vectors)
    if not all(type(count) is int and 1 <= count <= 2**16 for count in counts):
        raise ValueError(f"{counts} are no dimension and number of vectors")
    texts = [about.model, about.fingerprint, about.format, about.pooling, about.hybrid]
    texts.append(about.language)
    if not all(isinstance(text, str) for text in texts) or about.format not in FORMATS:
        raise ValueError(f"{about.format!r} is no format")
    return about


class ArchiveWriter:
    """Writes such a file. Use :func:`writing`."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._members: dict[str, tuple[int, str]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def add(self, name: str, data: bytes) -> None:
        """Add a member."""
        self._members[name] = len(data), hashlib.sha256(data).hexdigest()
        self._archive.writestr(zipfile.ZipInfo(name, _DATE), data)

    def finish(self, about: CollectionModel, pages: int, parts: int) -> None:
        """Add the manifest, without which the rest counts for nothing."""
        manifest = Manifest(about, pages, parts, self._members)
        self._archive.writestr(zipfile.ZipInfo(MANIFEST, _DATE), manifest.to_json())


@contextmanager
def writing(path: Path) -> Iterator[ArchiveWriter]:
    """Write a file that appears whole, on the disk, or not at all; only its owner may read it.

    Raises:
        StoreError: It cannot be written.
    """
    try:
        _remove_abandoned(path)
        with replacing(path) as unfinished:
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
            with os.fdopen(os.open(unfinished, flags, 0o600), "w+b") as file:
                with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
                    yield ArchiveWriter(archive)
                file.flush()
                os.fsync(file.fileno())
    except OSError as error:
        raise StoreError(
            f"{path} cannot be written: {error.strerror or error}; make room, or name another place"
        ) from error


def _remove_abandoned(path: Path) -> None:
    """Remove what exports to this place have left that were ended long ago."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.{'[0-9a-f]' * 32}"):
        if time.time() - left.stat().st_mtime > _ABANDONED_SECONDS:
            left.unlink(missing_ok=True)


class ArchiveReader:
    """Reads such a file, and believes nothing in it. A context manager.

    Args:
        path: Of the file.

    Attributes:
        manifest: What it says of itself.

    Raises:
        StoreError: It is none, damaged, of a newer version, or holds what no export holds.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._archive = zipfile.ZipFile(path)
        except FileNotFoundError:
            raise StoreError(f"there is no file {path}; make one with `metaembed export`") from None
        except OSError as error:
            raise StoreError(f"{path} cannot be read: {error.strerror or error}") from error
        except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            raise StoreError(f"{path} is no export of an index, or is cut off ({error})") from error
        try:
            self._infos = self._checked_infos()
            self.manifest = self._checked_manifest()
        except StoreError:
            self._archive.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._archive.close()

    def read(self, name: str) -> bytes:
        """A member, seen to be what the manifest says.

        Raises:
            StoreError: It is not there, or another one.
        """
        size, sha = self._said(name)
        data = b"".join(self._chunks(name, size))
        if len(data) != size or hashlib.sha256(data).hexdigest() != sha:
            raise self._damaged(name)
        return data

    def verify(self) -> None:
        """Compare every member with its checksum, a piece in memory at a time.

        Raises:
            StoreError: One is another than the manifest says.
        """
        for name, (size, sha) in self.manifest.members.items():
            digest, length = hashlib.sha256(), 0
            for chunk in self._chunks(name, size):
                digest.update(chunk)
                length += len(chunk)
            if length != size or digest.hexdigest() != sha:
                raise self._damaged(name)

    def has(self, name: str) -> bool:
        """Whether there is such a member."""
        return name in self.manifest.members

    def _said(self, name: str) -> tuple[int, str]:
        try:
            return self.manifest.members[name]
        except KeyError:
            raise self._damaged(name) from None

    def _chunks(self, name: str, size: int) -> Iterator[bytes]:
        """The pieces of a member, no more of them than ``size`` bytes and one piece."""
        try:
            with self._archive.open(self._infos[name]) as member:
                left = size
                while left >= 0 and (chunk := member.read(_CHUNK)):
                    left -= len(chunk)
                    yield chunk
        except (OSError, EOFError, zipfile.BadZipFile, ValueError, RuntimeError) as error:
            raise self._damaged(name) from error

    def _damaged(self, name: str) -> StoreError:
        return StoreError(
            f"{self.path} is damaged: {name} is not what was exported; copy it again, or export "
            f"again"
        )

    def _checked_infos(self) -> dict[str, zipfile.ZipInfo]:
        infos = self._archive.infolist()
        named = {info.filename: info for info in infos}
        odd = [name for name in named if not _NAME.fullmatch(name)]
        if odd or len(named) != len(infos):
            name = odd[0] if odd else "a name that comes twice"
            raise StoreError(f"{self.path} is no export of an index: it holds {name!r}")
        packed = [i for i in infos if i.compress_type != zipfile.ZIP_STORED or i.flag_bits & 1]
        total = sum(info.file_size for info in infos)
        if packed or total > self.path.stat().st_size:
            raise StoreError(f"{self.path} is no export of an index: it is packed otherwise")
        return named

    def _checked_manifest(self) -> Manifest:
        info = self._infos.get(MANIFEST)
        if info is None or info.file_size > _MOST_MANIFEST:
            raise StoreError(f"{self.path} is no export of an index: it has no manifest")
        found = Manifest.from_json(b"".join(self._chunks(MANIFEST, info.file_size)), self.path)
        if found.members.keys() != self._infos.keys() - {MANIFEST}:
            raise StoreError(f"{self.path} is damaged: it holds other files than its manifest says")
        large = [name for name, (size, _) in found.members.items() if size > _MOST_MEMBER]
        if large:
            raise StoreError(f"{self.path}: {large[0]} is over {_MOST_MEMBER:,} bytes")
        for part in range(found.parts):
            for name in (records_name(part), vectors_name(part)):
                if name not in found.members:
                    raise self._damaged(name)
        return found
