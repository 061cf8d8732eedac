"""Texts that OCR read, kept in files: 1 to 3 seconds a picture are spent once."""

from __future__ import annotations

import hashlib
import os
from importlib import metadata
from os import PathLike
from pathlib import Path

from metaembed_rag.errors import ResourceLimitError
from metaembed_rag.pages import Page
from metaembed_rag.pages.ocr_languages import LANGUAGE
from metaembed_rag.store.places import replace_file
from metaembed_rag.store.privacy import make_folder


def ocr_text(page: Page, cache_dir: str | PathLike[str] | None = None) -> str:
    """The text of a page's picture, from ``cache_dir`` when it has been read before.

    Raises:
        UnreadableFileError: The picture is damaged.
        ResourceLimitError: It cannot be read within the limits.
        MissingExtraError: The extra ``ocr`` is not installed and the text is not kept.
    """
    from metaembed_rag.pages.ocr import read_text

    path = None if cache_dir is None else Path(cache_dir, f"{_picture_hash(page)}.txt")
    if path is not None and path.exists():
        return path.read_text(encoding="utf-8")
    image = page.load_image()
    try:
        text = "" if image is None else read_text(image)
    except ResourceLimitError as error:
        raise ResourceLimitError(page.id, error.reason) from error
    if path is not None:
        make_folder(path.parent)
        replace_file(path, text)
    return text


def _picture_hash(page: Page) -> str:
    """Of the picture and of the versions that read it, because others may read it differently."""
    versions = f"{_version('metaembed-rag')} {_version('rapidocr')} {os.environ.get(LANGUAGE, '')}"
    digest = hashlib.blake2b(versions.encode(), digest_size=16)
    if page.image is not None:
        digest.update(f"{page.image.size}".encode() + page.image.tobytes())
    elif page.image_path is not None:
        digest.update(Path(page.image_path).read_bytes())
    return digest.hexdigest()


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""
