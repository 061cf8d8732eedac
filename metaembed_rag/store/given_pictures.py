"""The pictures of pages in a folder that the user gave, where several indexes may keep theirs.

::

    the folder/
    ├── metaembed.json           whose pictures lie here; written before the first of them
    ├── 3f/3f….webp              a picture of that collection
    └── <id of a collection>/    the same of any other collection

Two indexes of one file name its picture alike, and each deletes its own. So a folder belongs to the
collection that writes there first, and others have folders of their own inside. In a folder from
before that was so, an index finds what it has left beside that of others, and deletes none of it
once another has taken the folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from metaembed_rag.store.pictures import PictureFolder
from metaembed_rag.store.places import Places, replace_file
from metaembed_rag.store.privacy import make_folder

if TYPE_CHECKING:
    from PIL import Image

ABOUT = "metaembed.json"
"""Says whose pictures lie in a folder."""


_ID = re.compile(r"[0-9A-Za-z-]{1,64}")


def folder_name(collection: str) -> str:
    """The name of a collection's own folder among those of others: its id, where that is one.

    A server may answer with any text as an id, also with a path that leads elsewhere.
    """
    if _ID.fullmatch(collection):
        return collection
    return hashlib.blake2b(collection.encode(), digest_size=16).hexdigest()


class GivenPictures(PictureFolder):
    """Pictures of one collection in a folder that others may use, too.

    Args:
        given: The folder; made when the first picture comes.
        collection: Chroma's id of the collection.
    """

    def __init__(self, given: Path, collection: str) -> None:
        super().__init__(given)
        self._given, self._collection, self._taken = given, folder_name(collection), False
        self._settle()

    @property
    def place(self) -> str:
        """The folder that was given."""
        return str(self._given)

    def save(self, image: Image.Image, page_id: str, content_hash: str) -> str:
        """As :meth:`PictureFolder.save`, also where another collection has the same picture."""
        self._take()
        return super().save(image, page_id, content_hash)

    def write(self, name: str, data: bytes) -> None:
        """As :meth:`PictureFolder.write`."""
        self._take()
        super().write(name, data)

    def path(self, name: str) -> Path:
        """Where the picture lies; one of before may lie beside those of the folder's owner."""
        own = super().path(name)
        if self.folder == self._given or own.exists():
            return own
        before = PictureFolder(self._given).path(name)
        return before if before.exists() else own

    def is_alone(self, places: Places) -> bool:
        """Whether it has a folder of its own inside of the one that was given."""
        return self.folder != self._given

    def _take(self) -> None:
        """Once, take the folder where it is nobody's; else a folder of its own inside."""
        if self._taken:
            return
        make_folder(self._given)
        if self._owner() is None:
            self._claim()
        self._settle()
        self._taken = True

    def _settle(self) -> None:
        ours = self._owner() in (None, self._collection)
        self.folder = self._given if ours else self._given / self._collection

    def _owner(self) -> str | None:
        """The collection whose folder it is; None for nobody's, ``""`` for who knows whose."""
        try:
            about = json.loads((self._given / ABOUT).read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            return ""
        return str(about.get("id", "")) if isinstance(about, dict) else ""

    def _claim(self) -> None:
        """Say whose it is, if nobody else just did."""
        new = self._given / f"{ABOUT}.{self._collection}"
        replace_file(new, json.dumps({"id": self._collection}))
        try:
            os.link(new, self._given / ABOUT)  # whole or not at all, and never over another's
        except FileExistsError:
            pass
        except OSError:  # a file system without links
            new.replace(self._given / ABOUT)
        finally:
            new.unlink(missing_ok=True)
