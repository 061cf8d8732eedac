"""Files -> pages, lazily; every file or page that cannot be read is reported with the reason."""

from __future__ import annotations

import hashlib
import operator
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from numbers import Real
from pathlib import Path
from typing import Any

from metaembed_rag.errors import FileTooLargeError, PageError, UnreadableFileError, kind_of_value
from metaembed_rag.pages.file_names import name_parts
from metaembed_rag.pages.folders import expanded, find_files, kind_of, kind_of_suffix, show
from metaembed_rag.pages.page import DIGEST_BYTES, Page
from metaembed_rag.pages.parts import PicturePart, joined
from metaembed_rag.pages.reading import ocr_is_installed
from metaembed_rag.pages.remote import RemoteFile, find_remote, is_remote, remote_folder
from metaembed_rag.pages.texts import CHUNK_CHARACTERS, read_text_file
from metaembed_rag.pages.uploads import (
    PathLike,
    Source,
    check_source,
    is_upload,
    listed,
    read_upload,
)
from metaembed_rag.pages.workers import WorkLimits

READER_VERSION = 2
"""Part of every file digest: raise it when a reader changes what it makes of the same bytes."""

CAPTION_VERSION = 1
"""As `READER_VERSION`, of what is read beside the pixels of pictures."""

_SCHEME = re.compile(r"^([a-z][a-z0-9+.-]+):/(?!/)")
"""The beginning of an address that was made a path, which leaves one of its slashes."""

MOST_SECONDS = 1_000_000
MOST_MEMORY = 2**50


def _number(name: str, value: Any) -> Any:
    """A number as Python's own, which can be sent to a worker; numpy's are no JSON.

    Raises:
        PageError: It is none.
    """
    try:
        return operator.index(value)
    except TypeError:
        if isinstance(value, Real):
            return float(value)
        raise PageError(name, f"must be a number, not {kind_of_value(value)}") from None


@dataclass(frozen=True)
class Limits:
    """What is refused, so that one bad file cannot take all memory or all day.

    Args:
        max_file_bytes: Of a file.
        max_pages: Of a PDF, frames of a TIFF, or chunks of a text.
        max_pixels: Of a picture.
        max_page_seconds: Of computing for one page of a PDF or one picture; by the clock three
            times as long.
        max_memory: Bytes for reading a PDF or a picture, beside the file itself (as far as the
            system limits a process: Linux does, macOS is looked after, Windows is not).
        separate_process: Read PDFs and pictures in processes of their own, which the last two
            limits and a crash can end; without it they are read in this one, and these limits do
            not hold.
        follow_links: Read what links in a folder lead to also where that lies outside the folder
            that was named; otherwise such a link is an error of its own.
        figures: Draw the pictures inside of a PDF's pages, so that OCR can read them (at most 6 a
            page, see ``docs/ocr.md``); by default where the extra ``ocr`` is installed.

    Raises:
        PageError: A limit that is no number, or of time or memory and makes no sense.
    """

    max_file_bytes: int = 512 * 1024**2
    max_pages: int = 20_000
    max_pixels: int = 80_000_000
    # Not shown: the default limits look as they did when there were three.
    max_page_seconds: float = field(default=60.0, repr=False)
    max_memory: int = field(default=2 * 1024**3, repr=False)
    separate_process: bool = field(default=True, repr=False)
    follow_links: bool = field(default=False, repr=False)
    figures: bool | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for name in ("max_file_bytes", "max_pages", "max_pixels", "max_page_seconds", "max_memory"):
            object.__setattr__(self, name, _number(name, getattr(self, name)))
        if not 0 < self.max_page_seconds <= MOST_SECONDS:
            name = f"max_page_seconds={self.max_page_seconds}"
            raise PageError(name, f"must be over 0 and at most {MOST_SECONDS:,}")
        if not 0 < self.max_memory <= MOST_MEMORY:
            name = f"max_memory={self.max_memory}"
            raise PageError(name, f"must be over 0 and at most {MOST_MEMORY:,} bytes")

    def of_work(self) -> WorkLimits | None:
        """What a worker process may take for a page; None where there is to be no such process."""
        if not self.separate_process:
            return None
        return WorkLimits(float(self.max_page_seconds), int(self.max_memory))


def load_pages(
    paths: Source | Iterable[Source],
    *,
    on_skip: Callable[[PageError], None] | None = None,
    on_ignore: Callable[[Path], None] | None = None,
    skip: Callable[[str, str], bool] | None = None,
    password: str | None = None,
    max_side: int = 896,
    limits: Limits = Limits(),
    source: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Iterator[Page]:
    """Read PDFs, images, texts and folders of them, one page in memory at a time.

    A file is read whole before its first page is made, so its pages and its `file_digest` are of
    the same bytes even when the file changes meanwhile.

    Args:
        paths: One path or several, of files and folders; see `list_files` for what is in a folder.
            Or bytes, or a file open for reading bytes, such as an upload of a web framework; its
            kind is told by its content, else by its name. Or addresses of files and folders in an
            object store, such as ``"s3://bucket/docs/"`` (extra ``cloud``): the source of their
            pages is the address of the file; see ``docs/pictures.md``.
        on_skip: Called with the error of each file or page that cannot be read, and the rest goes
            on; without it the error is raised.
        on_ignore: Called with each file inside a folder that is of a kind that is not read. Only
            a file of such a kind that is named itself is an error.
        skip: Called with a file's source and `file_digest`; True leaves the file out, unread.
        password: For those PDFs that need one; the others are read without it.
        max_side: Longest side of a page's picture in pixels. A picture file over 2.5 times longer
            than wide, such as a screenshot of a whole web page, keeps a shorter side of up to
            ``max_side`` / √2 and so is longer, that its letters stay legible.
        limits: Sizes above which a file is refused.
        source: What pages of bytes or of an open file are called; by default the name of the file,
            without its folders unless it is a file of the disk, else ``upload-<hash>``.
        storage_options: What fsspec's file system of such an address is made with, beside what the
            environment and fsspec's configuration say.
    Yields:
        Pages in order. A page without text and picture content is yielded too. The text of a page
        of a PDF is its text layer, then what visible fields, notes and stamps say, and on the
        first page the names of attached files; nothing is read by OCR, and a page that shows more
        than its text says why in ``unread``. The text of a page of a picture is what is written
        beside the pixels (captions, and what its name and those of its folders below the given one
        say); ``text_from`` names where it is from.

    Raises:
        PageError: Something cannot be read and ``on_skip`` is None; the classes below
            `PageError` say why.
    """
    max_side = _number("max_side", max_side)
    if not max_side >= 32 or max_side % 1:
        raise PageError(f"max_side={max_side}", "must be a whole number of at least 32 pixels")
    if password is not None and not isinstance(password, str):
        raise PageError("password", f"must be text, not {kind_of_value(password)}; decode it")
    given = listed(paths)
    check_source(source, given)
    for found, folder in _found(given, on_ignore, limits.follow_links, storage_options):
        for item in _load_one(found, folder, skip, password, int(max_side), limits, source):
            if isinstance(item, Page):
                yield item
            elif on_skip is None:
                raise item
            else:
                on_skip(item)


def file_digest(
    path: PathLike, *, max_side: int = 896, folder: str | os.PathLike[str] | None = None
) -> str:
    """Hash of a file's bytes, of the settings that its pages are made with, and of names.

    Args:
        path: Of the file.
        max_side: As for :func:`load_pages`.
        folder: The folder that :func:`load_pages` was given, if it was one: names of folders below
            it are read as words that belong to a picture.

    Returns:
        32 hexadecimal digits (BLAKE2b).

    Raises:
        PageError: The file is missing, empty, too large, or of a kind that is not read.
    """
    resolved = expanded(path).resolve()
    kind = kind_of(resolved)
    within = None if folder is None else expanded(folder).resolve()
    names = _names(kind, show(resolved), within)
    data = _read_bytes(resolved, Limits().max_file_bytes)
    return _digest(data, _settings(kind, max_side), names)


def page_texts(
    data: bytes, choose: Callable[[int], Iterable[int]] | None = None, *, limits: Limits = Limits()
) -> Iterator[tuple[int, str]]:
    """Yield ``(page number, text layer)`` of a PDF without making pictures; about 2 ms a page.

    Args:
        data: The bytes of the PDF.
        choose: Number of pages -> the page numbers wanted, counted from 1; all by default.
        limits: Of these, the time for a page and the memory count.

    Raises:
        PageError: The PDF, or one of the wanted pages, cannot be read.
    """
    from metaembed_rag.pages.pdf_client import read_texts

    return read_texts(data, choose or (lambda count: range(1, count + 1)), limits.of_work())


def count_pages(files: Iterable[Path]) -> int:
    """Estimate the pages of files without loading them, for the total of a progress bar.

    Exact for PDFs (about 1 ms a file), 1 for an image or a damaged file, and by size for texts.
    """
    return sum(_count(path) for path in files)


def _count(path: Path) -> int:
    kind = kind_of(path)
    if kind == "pdf":
        from metaembed_rag.pages.pdf_client import count_pdf

        return count_pdf(path)
    if kind == "text":
        with suppress(OSError):  # the reader will report it
            return max(1, path.stat().st_size // CHUNK_CHARACTERS)
    return 1


def _found(
    given: Iterable[Source],
    on_ignore: Callable[[Path], None] | None,
    follow_links: bool,
    options: Mapping[str, Any] | None,
) -> Iterator[tuple[Path | PageError | RemoteFile | Source, Path | None]]:
    """Files, errors, and what are no paths, in the order given; each with the folder given."""
    seen: set[Path] = set()
    addresses: set[str] = set()
    for one in given:
        if is_remote(one):
            yield from _found_in_store(one, on_ignore, addresses, options)
        elif isinstance(one, str | os.PathLike):
            folder = _folder(one)
            found = find_files(one, on_ignore, seen, follow_links)
            yield from ((file, folder) for file in found)
        elif is_upload(one):
            yield one, None
        else:
            what = kind_of_value(one)
            why = "is no file: give a path, bytes or a file open for reading bytes"
            yield PageError(what, why), None


def _found_in_store(
    one: Any,
    on_ignore: Callable[[Path], None] | None,
    seen: set[str],
    options: Mapping[str, Any] | None,
) -> Iterator[tuple[PageError | RemoteFile, Path]]:
    """Files of a store, each with the folder that was named, whose names below count as words."""
    try:
        named = remote_folder(one, options)
    except UnreadableFileError as error:
        yield error, Path()
        return
    yield from ((found, Path(named.url)) for found in find_remote(named, on_ignore, seen))


def _folder(path: PathLike) -> Path | None:
    """A folder that was given, resolved as the paths of its files are; None for anything else."""
    try:
        resolved = expanded(path).resolve()
        return resolved if resolved.is_dir() else None
    except (OSError, RuntimeError, ValueError):
        return None  # whoever looks for its files says what is wrong with it


def _load_one(
    found: Path | PageError | RemoteFile | Source,
    folder: Path | None,
    skip: Callable[[str, str], bool] | None,
    password: str | None,
    max_side: int,
    limits: Limits,
    name: str | None,
) -> Iterator[Page | PageError]:
    if isinstance(found, PageError):
        yield found
        return
    try:
        if isinstance(found, RemoteFile) and found.version and skip is not None:
            if skip(found.url, remote_digest(found, folder, max_side)):
                return  # it need not even come here
            skip = None
        if isinstance(found, RemoteFile):
            source, kind = found.url, found.kind
            data = found.read(limits.max_file_bytes)
        elif isinstance(found, Path):
            source, kind = _source(found), kind_of(found)
            data = _read_bytes(found, limits.max_file_bytes)
        else:
            upload = read_upload(found, name, limits.max_file_bytes)
            source, data = upload.source, upload.data
            kind = kind_of_suffix(upload.suffix, Path(source))
        settings = _settings(kind, max_side)
        names = _names(kind, source, folder)
        digest = _digest(data, settings, names)
        if isinstance(found, RemoteFile) and found.version:
            digest = remote_digest(found, folder, max_side)
        if skip is not None and skip(source, digest):
            return
        items = _read(kind, data, source, names, password, max_side, limits)
        yield from _stamped(items, settings, digest, folder)
    except PageError as error:
        yield error


def read_file(
    data: bytes | None,
    source: str,
    folder: Path | None = None,
    *,
    digest: str = "",
    skip: Callable[[str, str], bool] | None = None,
    password: str | None = None,
    max_side: int = 896,
    limits: Limits = Limits(),
) -> Iterator[Page | PageError]:
    """The pages of a file whose bytes are at hand, as :func:`load_pages` makes them of its path.

    Args:
        data: All bytes of the file; None to read them from its path.
        source: Its path or address; the suffix says of which kind it is.
        folder: The folder that was named, where the file was found in one.
        digest: Of the file, where it is known; else it is computed, as by :func:`file_digest`.
        skip: As for :func:`load_pages`, and so are ``password``, ``max_side`` and ``limits``.

    Yields:
        Pages in order, and the error of each page that cannot be read, or of the file.
    """
    try:
        kind = kind_of(Path(source))
        if data is None:
            data = _read_bytes(Path(source), limits.max_file_bytes)
        if not data:
            raise UnreadableFileError(source, "is empty (0 bytes); delete it or make it again")
        if len(data) > limits.max_file_bytes:
            raise FileTooLargeError(
                source,
                f"has over {limits.max_file_bytes:,} bytes; split it, or raise max_file_bytes",
            )
        settings, names = _settings(kind, max_side), _names(kind, source, folder)
        digest = digest or _digest(data, settings, names)
        if skip is not None and skip(source, digest):
            return
        items = _read(kind, data, source, names, password, max_side, limits)
        yield from _stamped(items, settings, digest, folder)
    except PageError as error:
        yield error


def _stamped(
    items: Iterable[Page | PageError], settings: str, digest: str, folder: Path | None
) -> Iterator[Page | PageError]:
    """Pages that say how their file was read, which file it was, and in what folder."""
    root = "" if folder is None else _SCHEME.sub(r"\1://", folder.as_posix())
    for item in items:
        if isinstance(item, Page):
            item = replace(item, settings=settings, source_digest=digest, root=root)
        yield item


def _read(
    kind: str,
    data: bytes,
    source: str,
    names: Sequence[PicturePart],
    password: str | None,
    max_side: int,
    limits: Limits,
) -> Iterator[Page | PageError]:
    if kind == "text":
        return read_text_file(data, source, limits.max_pages)
    if kind == "image":
        # Imported when the first picture or PDF comes: a folder of texts needs no worker process.
        from metaembed_rag.pages.image_client import read_image

        return read_image(
            data,
            source,
            names,
            limits.of_work(),
            max_side=max_side,
            max_pages=limits.max_pages,
            max_pixels=limits.max_pixels,
        )
    from metaembed_rag.pages.pdf_client import read_pdf

    return read_pdf(
        data,
        source,
        limits.of_work(),
        password=password,
        max_side=max_side,
        max_pages=limits.max_pages,
        figures=ocr_is_installed() if limits.figures is None else limits.figures,
    )


def _settings(kind: str, max_side: int) -> str:
    return f"text:{CHUNK_CHARACTERS}" if kind == "text" else f"{kind}:{max_side}"


def _names(kind: str, source: str, folder: Path | None) -> list[PicturePart]:
    """What names say of a picture; nothing of a file that has a text of its own."""
    return name_parts(source, folder) if kind == "image" else []


def _digest(data: bytes, settings: str, names: Sequence[PicturePart]) -> str:
    """Of a picture, also of its names: it has another text under another one."""
    made = f"{READER_VERSION}:{settings}"
    if settings.startswith("image"):
        made += f":{CAPTION_VERSION}:{joined(names)}"
    person = hashlib.blake2b(made.encode("utf-8", "replace"), digest_size=16).digest()
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES, person=person).hexdigest()


def remote_digest(found: RemoteFile, folder: Path | None, max_side: int) -> str:
    """As :func:`_digest`, of what the store says of a file's content instead of its bytes."""
    settings = _settings(found.kind, max_side)
    said = f"{found.version}:{found.size}".encode()
    return _digest(said, f"{settings}:version", _names(found.kind, found.url, folder))


def _source(path: Path) -> str:
    source = path.as_posix()
    if show(path) != source:
        raise UnreadableFileError(show(path), "its name is not valid UTF-8: rename the file")
    return source


def _read_bytes(path: Path, max_file_bytes: int) -> bytes:
    try:
        before = path.stat()
        _check_size(path, before.st_mode, before.st_size, max_file_bytes)
        data = path.read_bytes()
        after = path.stat()
    except FileNotFoundError:
        raise UnreadableFileError(
            show(path), "is gone: it was moved or deleted; run again"
        ) from None
    except PermissionError:
        raise UnreadableFileError(show(path), "may not be read: check its permissions") from None
    except OSError as error:
        raise UnreadableFileError(show(path), f"cannot be read ({error}); check the disk") from None
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise UnreadableFileError(show(path), "changed while it was being read; run again")
    return data


def _check_size(path: Path, mode: int, size: int, max_file_bytes: int) -> None:
    if not stat.S_ISREG(mode):
        raise UnreadableFileError(show(path), "is not a regular file; name a file or a folder")
    if size == 0:
        raise UnreadableFileError(show(path), "is empty (0 bytes); delete it or make it again")
    if size > max_file_bytes:
        raise FileTooLargeError(
            show(path),
            f"has {size:,} bytes, over the limit of {max_file_bytes:,};"
            " split it, or raise max_file_bytes",
        )
