"""The pictures of pages, kept as files beside the index.

They are kept rather than rendered again on demand: a hit can then be shown when the source has
moved or changed, from any process, in the state that was indexed, and without the 20 ms that
rendering a PDF page takes. A page of text at 896 pixels is about 25 KB.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Collection, Iterable, Set
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from metaembed_rag.errors import PageError
from metaembed_rag.pages.pictures import open_picture
from metaembed_rag.store import picture_format
from metaembed_rag.store.places import Places, replace_file, temporary_folder
from metaembed_rag.store.privacy import make_folder

if TYPE_CHECKING:
    from PIL import Image

_REFUSED = ".refused"
"""No picture has this name."""

_log = logging.getLogger(__name__)


def picture_name(page_id: str, content_hash: str) -> str:
    """The name of a page's picture, relative to the folder of pictures."""
    stem = hashlib.blake2b(f"{page_id}\0{content_hash}".encode(), digest_size=16).hexdigest()
    return f"{stem[:2]}/{stem}{picture_format.SUFFIX}"


def is_whole(data: bytes) -> bool:
    """Whether these are a kept picture from its beginning to its end, as far as they tell."""
    head, tail = data[: picture_format.HEAD], data[-picture_format.TAIL :]
    return picture_format.is_whole(head, tail, len(data))


def own_picture(name: str | None, page_id: str, content_hash: object) -> str | None:
    """A name that a record has, if it is that of the page's own picture, in whatever format.

    A record that was damaged, or made to harm, may name the picture of another page, which must
    not go with it.
    """
    stem = PurePosixPath(picture_name(page_id, str(content_hash)))
    own = [stem.with_suffix(suffix).as_posix() for suffix in picture_format.SUFFIXES]
    return name if name in own else None


def same_picture(name: str, page_id: str, content_hash: str) -> str:
    """The name under which another page keeps a copy of the file of a picture."""
    kind = PurePosixPath(name).suffix
    return PurePosixPath(picture_name(page_id, content_hash)).with_suffix(kind).as_posix()


def _is_whole_file(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(picture_format.HEAD)
            size = file.seek(-picture_format.TAIL, os.SEEK_END) + picture_format.TAIL
            return picture_format.is_whole(head, file.read(), size)
    except OSError:
        return False


class PictureFolder:
    """A folder of page pictures, named by page and content.

    Args:
        folder: Where the files lie; made when the first picture comes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._refused: set[str] = set()

    @property
    def place(self) -> str:
        """Where the pictures are kept, for people: a folder or the address of a store."""
        return str(self.folder)

    @property
    def shared(self) -> str:
        """The address at which workers on other machines can keep pictures; ``""`` for none."""
        return ""

    @property
    def is_here(self) -> bool:
        """Whether the folder holds them itself, and not copies of what is far."""
        return True

    @classmethod
    def of(cls, places: Places) -> PictureFolder:
        """Where a collection keeps its pictures if nobody says otherwise."""
        return cls.temporary() if places.pictures is None else cls(places.pictures)

    @classmethod
    def temporary(cls) -> PictureFolder:
        """A folder that is removed when the process ends."""
        return cls(temporary_folder("metaembed_pictures_"))

    def save(self, image: Image.Image, page_id: str, content_hash: str) -> str:
        """Write a picture and return its name, relative to the folder.

        The name depends on the content, so a picture is never overwritten by another; it appears
        whole or not at all.
        """
        name = picture_name(page_id, content_hash)
        if not _is_whole_file(self._within(name)):
            self.write(name, picture_format.encoded(image))
        return name

    def write(self, name: str, data: bytes) -> None:
        """Write the file of a picture, whole or not at all.

        Raises:
            OSError: The disk is full, or the folder cannot be written.
        """
        path = self._within(name)
        make_folder(path.parent)
        replace_file(path, data)

    def prepare(self) -> None:
        """See that pictures can be written, before time goes into encoding their pages.

        Raises:
            StoreError: They cannot, in a store that is far.
        """

    def fetch(self, names: Iterable[str]) -> None:
        """Bring pictures here, so that :meth:`path` finds them; they lie here already."""

    def path(self, name: str) -> Path:
        """Where the picture of that name lies: inside the folder, whatever a record says.

        At a name that leads outside (absolute, with ``..``, through a link) no picture is found,
        so that no index of a stranger shows or deletes a file of the user's.
        """
        return self._within(name)

    def _within(self, name: str) -> Path:
        """Where a picture of this index alone lies, or a name of none."""
        path = self.folder / name
        if self.folder.resolve() in path.resolve().parents:
            return path
        if name not in self._refused:  # told once, not for every hit
            self._refused.add(name)
            _log.warning("the picture %r lies outside %s and is left alone", name, self.folder)
        return self.folder / _REFUSED

    def holds(self, name: str) -> bool:
        """Whether the picture of that name is there, from its beginning to its end.

        Two reads of a few bytes: an empty file is found so, and one that was cut off. What is wrong
        between, :meth:`problem` finds.
        """
        return _is_whole_file(self.path(name))

    def held(self, names: Collection[str]) -> set[str]:
        """Those of the names whose pictures are there, as :meth:`holds` says.

        Raises:
            StoreError: A store that is far cannot be asked.
        """
        return set(filter(self.holds, names))

    def read(self, names: Collection[str]) -> dict[str, bytes | None]:
        """The files of pictures by name; None for one that is not there.

        Raises:
            StoreError: A store that is far cannot be asked.
        """
        return {name: self._bytes(name) for name in names}

    def _bytes(self, name: str) -> bytes | None:
        try:
            return self.path(name).read_bytes()
        except OSError:
            return None

    def problem(self, name: str) -> str | None:
        """What is wrong with the picture of that name: it is read whole."""
        path = self.path(name)
        if not path.is_file():
            return f"its picture {name} is missing"
        if not self.holds(name):
            return f"its picture {name} is cut off"
        try:
            open_picture(path)
        except PageError as error:
            return f"its picture {name} cannot be read: {error.reason}"
        return None

    def files(self) -> list[Path]:
        """All that lies where pictures are kept, also what a killed writer left unfinished."""
        return [path for path in self.folder.glob("??/*") if path.is_file()]

    def is_alone(self, places: Places) -> bool:
        """Whether no other index keeps pictures there."""
        return self.folder == places.pictures

    def names(self) -> list[str]:
        """The names of all that lies where pictures are kept, also of what is unfinished."""
        return sorted(path.relative_to(self.folder).as_posix() for path in self.files())

    def remove(self, names: Set[str | None]) -> None:
        """Delete pictures; those that are gone already, and None, do not matter."""
        for name in names:
            if name is not None:
                self._within(name).unlink(missing_ok=True)
