"""Pictures that a worker keeps where the index has its own: a shared folder, or an object store."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from metaembed_rag.errors import StoreError
from metaembed_rag.filesystems import STORES, RemoteFileError, RemoteFolder, is_url, within
from metaembed_rag.store import picture_format
from metaembed_rag.store.pictures import PictureFolder, picture_name

_SECONDS = 60.0
"""How long a store may take for one picture."""


class SharedPictures:
    """A folder of pictures, or one of an object store.

    Args:
        place: The folder, or the address under which the index's collection has its pictures.
        options: What fsspec's file system is made with.

    Raises:
        StoreError: The store cannot be used.
        MissingExtraError: A package that it needs is not installed.
    """

    def __init__(
        self, place: str | os.PathLike[str], options: Mapping[str, Any] | None = None
    ) -> None:
        self._place = os.fspath(place).rstrip("/")
        self._folder: PictureFolder | None = None
        self._store: RemoteFolder | None = None
        if not is_url(self._place):
            self._folder = PictureFolder(Path(self._place))
            return
        try:
            self._store = RemoteFolder.of(self._place, options, seconds=_SECONDS)
        except RemoteFileError as error:
            raise self._failed(error) from None

    def save(self, image: Image.Image, page_id: str, content_hash: str) -> str:
        """Write a picture, and return its address.

        Raises:
            StoreError: The store cannot be written.
        """
        if self._folder is not None:
            return f"{self._place}/{self._folder.save(image, page_id, content_hash)}"
        name, data = picture_name(page_id, content_hash), picture_format.encoded(image)
        try:
            within(_SECONDS, lambda: self._put(name, data))
        except RemoteFileError as error:
            raise self._failed(error) from None
        return f"{self._place}/{name}"

    def _put(self, name: str, data: bytes) -> None:
        assert self._store is not None
        path = f"{self._store.root.rstrip('/')}/{name}"
        if self._place.partition(":")[0] not in STORES:  # object stores have no folders
            self._store.fs.makedirs(path.rpartition("/")[0], exist_ok=True)
        self._store.fs.pipe_file(path, data)

    def _failed(self, error: RemoteFileError) -> StoreError:
        why = f"this worker cannot keep pictures at {self._place}: {error.reason}"
        return StoreError(f"{why}; give it the credentials that the writer has, and run again")
