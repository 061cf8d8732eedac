"""The files of an index beside Chroma's: pictures, what is left over, the lock."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Container, Iterator, Sequence
from pathlib import Path

from PIL import Image

from metaembed_rag.maintenance.findings import FILES, LOCK, PICTURE, Finding
from metaembed_rag.pages.pictures import DAMAGE
from metaembed_rag.store.chroma import ChromaStore
from metaembed_rag.store.levels import MANIFEST, CachedVectors
from metaembed_rag.store.picture_format import FORMATS
from metaembed_rag.store.pictures import PictureFolder, own_picture, picture_name
from metaembed_rag.store.places import LOCK as LOCK_FILE
from metaembed_rag.store.places import MARK, WRITING
from metaembed_rag.store.records import Record

_RESTORE = "`metaembed repair` makes it again, if its file is still there unchanged"
_TIDY = "`metaembed repair` removes it; it does no harm"
_GONE = "it is missing from the store, or cut off"
_UNFINISHED = re.compile(r"\..+\.[0-9a-f]{32}")
"""Names of what :func:`metaembed_rag.store.places.replacing` has not finished."""
_EIGHTH = 8


def picture_findings(pictures: PictureFolder, found: Sequence[Record]) -> Iterator[Finding]:
    """What is wrong with the pictures of pages; nothing of pages that have none.

    Raises:
        StoreError: They are in a store that cannot be asked.
    """
    there: dict[str, bytes | None] = {}
    if not pictures.is_here:  # all that are asked for at a time come in the time of one
        there = pictures.read({one.page.image_path for one in found if one.page.image_path})
    for record in found:
        name, page = record.page.image_path, record.page
        if name is None:
            continue
        expected = picture_name(page.id, record.content_hash)
        if own_picture(name, page.id, record.content_hash) is None:
            problem = f"its name {name!r} is not that of its content, {expected!r}"
        elif pictures.is_here:
            problem = _problem_here(pictures, name)
        else:
            data = there[name]
            problem = _GONE if data is None else picture_problem(io.BytesIO(data))
        if problem:
            yield Finding(PICTURE, problem, _RESTORE, page.id)


def _problem_here(pictures: PictureFolder, name: str) -> str:
    path = pictures.path(name)
    if not path.is_file():
        return "it is missing"
    return picture_problem(path) if pictures.holds(name) else "it is cut off"


def picture_problem(path: Path | io.BytesIO) -> str:
    """Why a file is no whole picture; ``""`` for a good one.

    An eighth of its size is decoded, for which all of its bytes are read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                image.draft("RGB", (image.width // _EIGHTH, image.height // _EIGHTH))
                image.load()
    except (*DAMAGE, Image.DecompressionBombError) as error:
        return f"it cannot be opened ({error})"
    return ""


def left_over(
    store: ChromaStore, pictures: PictureFolder, named: Container[str]
) -> Iterator[tuple[Path, Finding]]:
    """Files that nothing needs: pictures of no page, unfinished files, old copies of the vectors.

    Args:
        store: Of the index.
        pictures: Of the index.
        named: The names of pictures that records have, those of unreadable records too.
    """
    if pictures.is_here and pictures.is_alone(store.places):
        for path in pictures.files():
            if path.relative_to(pictures.folder).as_posix() not in named:
                yield path, _left(path, "a picture of no page")
    places = store.places
    kept = [path.parent for path in (places.calibration, places.readings) if path is not None]
    vectors = [places.vectors, *_folders_in(places.vectors)] if places.vectors is not None else []
    for folder in {*kept, *vectors}:
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if _UNFINISHED.fullmatch(path.name):
                yield path, _left(path, "it was not finished")
    words = places.words
    for path in sorted(words.glob("*/.*")) if words is not None else ():
        yield path, _left(path, "it was not finished")
    yield from _old_generations(places.vectors)
    if places.folder is not None and (places.folder / WRITING).exists():
        path = places.folder / WRITING
        yield path, _left(path, "a writer was ended in the middle, the next one goes on")


def left_in_store(pictures: PictureFolder, named: Container[str]) -> Iterator[tuple[str, Finding]]:
    """Names of pictures in a store that no record has; none of a folder of this machine.

    Raises:
        StoreError: The store cannot be asked.
    """
    for name in () if pictures.is_here else pictures.names():
        if name not in named:
            what = f"{pictures.place}: {name}: a picture of no page"
            yield name, Finding(FILES, what, _TIDY)


def lock_findings(store: ChromaStore) -> Iterator[Finding]:
    """Files by which processes tell each other who writes that are none."""
    folder = store.places.folder
    for name in (LOCK_FILE, MARK, WRITING) if folder is not None else ():
        path = Path(str(folder), name)
        if path.exists() and not path.is_file():
            yield Finding(LOCK, f"{path} is no file", "remove it, while nobody uses the index")


def _old_generations(folder: Path | None) -> Iterator[tuple[Path, Finding]]:
    """Folders of mapped vectors that the manifest does not name."""
    if folder is None or not (folder / MANIFEST).exists():
        return
    try:
        current = CachedVectors.load(folder).manifest.generation
    except (OSError, ValueError):
        return  # the comparison of the cache says so
    for path in _folders_in(folder):
        if path.name != current:
            yield path, _left(path, "a copy of the vectors that is no longer used")


def _folders_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _left(path: Path, why: str) -> Finding:
    return Finding(FILES, f"{path}: {why}", _TIDY)
