"""Files -> pages, lazily; every file or page that cannot be read is reported with the reason."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from metaembed_rag.errors import FileTooLargeError, PageError, UnreadableFileError, kind_of_value
from metaembed_rag.pages.digests import digests_of, names_of, remote_digests, ways
from metaembed_rag.pages.file_bytes import read_file_bytes, source_of
from metaembed_rag.pages.folders import (
    expanded,
    find_files,
    kind_of,
    kind_of_suffix,
    show,
    warn_of_ignored,
)
from metaembed_rag.pages.limits import DEFAULT_LIMITS, Limits, number
from metaembed_rag.pages.page import Page
from metaembed_rag.pages.parts import PicturePart
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

_SCHEME = re.compile(r"^([a-z][a-z0-9+.-]+):/(?!/)")
"""The beginning of an address that was made a path, which leaves one of its slashes."""


def load_pages(
    paths: Source | Iterable[Source],
    *,
    on_skip: Callable[[PageError], None] | None = None,
    on_ignore: Callable[[Path], None] | None = None,
    skip: Callable[[str, str], bool] | None = None,
    password: str | None = None,
    max_side: int = 896,
    limits: Limits = DEFAULT_LIMITS,
    source: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Iterator[Page]:
    """Read PDFs, pictures, texts, Office documents, web pages, tables, e-mails, books and folders
    of them, one page in memory at a time; ``docs/files.md`` lists the kinds.

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
            a file of such a kind that is named itself is an error. Without it they are a warning
            of the logger ``metaembed_rag.pages.folders``.
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
    max_side = number("max_side", max_side)
    if not max_side >= 32 or max_side % 1:
        raise PageError(f"max_side={max_side}", "must be a whole number of at least 32 pixels")
    if password is not None and not isinstance(password, str):
        raise PageError("password", f"must be text, not {kind_of_value(password)}; decode it")
    given = listed(paths)
    check_source(source, given)
    ignored: list[Path] = []
    ignore = ignored.append if on_ignore is None else on_ignore
    for found, folder in _found(given, ignore, limits.follow_links, storage_options):
        for item in _load_one(found, folder, skip, password, int(max_side), limits, source):
            if isinstance(item, Page):
                yield item
            elif on_skip is None:
                raise item
            else:
                on_skip(item)
    warn_of_ignored(ignored)


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
    data = read_file_bytes(resolved, DEFAULT_LIMITS.max_file_bytes)
    source = show(resolved)
    return digests_of(data, kind, max_side, names_of(kind, source, within))[-1]


def page_texts(
    data: bytes,
    choose: Callable[[int], Iterable[int]] | None = None,
    *,
    limits: Limits = DEFAULT_LIMITS,
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

    Exact for PDFs (about 1 ms a file), 1 for an image or a damaged file, by size for texts, and by
    the number of slides, sheets or words for other documents.
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
    if kind in ("pdf", "text", "image"):
        return 1
    from metaembed_rag.pages.documents.counting import count_document

    return count_document(path, kind)


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
        known = remote_digests(found, folder, max_side) if isinstance(found, RemoteFile) else []
        if isinstance(found, RemoteFile) and _is_skipped(skip, found.url, known):
            return  # it need not even come here
        file = _file(found, name, limits.max_file_bytes)
        names = names_of(file.kind, file.source, folder)
        digests = known or digests_of(file.data, file.kind, max_side, names)
        if not known and _is_skipped(skip, file.source, digests):
            return
        items = _read(file, names, password, max_side, limits)
        yield from _stamped(items, ways(file.kind, max_side)[-1], digests[-1], folder)
    except PageError as error:
        yield error


@dataclass(frozen=True)
class _File:
    """A file whose bytes are at hand.

    Attributes:
        source: What its pages are called.
        kind: Of the values of `KINDS`.
        data: All of its bytes.
    """

    source: str
    kind: str
    data: bytes


def _file(found: Path | RemoteFile | Source, name: str | None, most: int) -> _File:
    if isinstance(found, RemoteFile):
        return _File(found.url, found.kind, found.read(most))
    if isinstance(found, Path):
        return _File(source_of(found), kind_of(found), read_file_bytes(found, most))
    upload = read_upload(found, name, most)
    kind = kind_of_suffix(upload.suffix, Path(upload.source))
    return _File(upload.source, kind, upload.data)


def _is_skipped(
    skip: Callable[[str, str], bool] | None, source: str, digests: Iterable[str]
) -> bool:
    """Whether a file is left out, as it was read in one of these ways."""
    return skip is not None and any(skip(source, digest) for digest in digests)


def read_file(
    data: bytes | None,
    source: str,
    folder: Path | None = None,
    *,
    digest: str = "",
    skip: Callable[[str, str], bool] | None = None,
    password: str | None = None,
    max_side: int = 896,
    limits: Limits = DEFAULT_LIMITS,
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
            data = read_file_bytes(Path(source), limits.max_file_bytes)
        if not data:
            raise UnreadableFileError(source, "is empty (0 bytes); delete it or make it again")
        if len(data) > limits.max_file_bytes:
            raise FileTooLargeError(
                source,
                f"has over {limits.max_file_bytes:,} bytes; split it, or raise max_file_bytes",
            )
        names = names_of(kind, source, folder)
        digests = [digest] if digest else digests_of(data, kind, max_side, names)
        if _is_skipped(skip, source, digests):
            return
        items = _read(_File(source, kind, data), names, password, max_side, limits)
        yield from _stamped(items, ways(kind, max_side)[-1], digests[-1], folder)
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
    file: _File, names: Sequence[PicturePart], password: str | None, max_side: int, limits: Limits
) -> Iterator[Page | PageError]:
    """The pages of a file; what reads them is imported when the first of its kind comes."""
    data, source = file.data, file.source
    if file.kind == "text":
        return read_text_file(data, source, limits.max_pages)
    if file.kind == "image":
        from metaembed_rag.pages.image_client import read_image

        sizes = {"max_pages": limits.max_pages, "max_pixels": limits.max_pixels}
        return read_image(data, source, names, limits.of_work(), max_side=max_side, **sizes)
    if file.kind == "pdf":
        from metaembed_rag.pages.pdf_client import read_pdf

        how: dict[str, Any] = {"password": password, "max_side": max_side}
        how["figures"] = limits.draws_figures()
        return read_pdf(data, source, limits.of_work(), **how, max_pages=limits.max_pages)
    from metaembed_rag.pages.documents.client import read_document

    return read_document(file.kind, data, source, limits, max_side=max_side)
