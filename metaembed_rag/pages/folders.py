"""Which files there are to read below the given paths."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from metaembed_rag.errors import PageError, UnreadableFileError
from metaembed_rag.filesystems import is_url, local_folder
from metaembed_rag.pages.uploads import PathLike

KINDS = {
    ".pdf": "pdf",
    ".png": "image",
    ".jpg": "image",
    ".jpeg": "image",
    ".webp": "image",
    ".tif": "image",
    ".tiff": "image",
    ".txt": "text",
    ".text": "text",
    ".md": "text",
    ".markdown": "text",
    **dict.fromkeys((".gif", ".bmp", ".avif", ".heic", ".heif"), "image"),
    **dict.fromkeys((".rst", ".json"), "text"),
    **dict.fromkeys((".docx", ".docm", ".doc", ".odt", ".rtf"), "office"),
    **dict.fromkeys((".pptx", ".pptm", ".ppsx", ".ppt", ".odp"), "office"),
    **dict.fromkeys((".xlsx", ".xlsm", ".xls", ".ods"), "office"),
    **dict.fromkeys((".html", ".htm", ".xhtml"), "html"),
    ".xml": "xml",
    **dict.fromkeys((".csv", ".tsv"), "csv"),
    ".eml": "mail",
    ".epub": "book",
}
"""The kinds of file that are read, by suffix in lower case."""

INDEX_MARK = "chroma.sqlite3"
"""A folder that holds this file is an index, whose kept pictures must not be indexed again."""

_log = logging.getLogger(__name__)


def expanded(path: PathLike) -> Path:
    """A path with the home folder in the place of ``~``; as it is where that is nobody's.

    The address ``file:///folder`` stands for the path ``/folder``.
    """
    if is_url(path) and (local := local_folder(str(path))) is not None:
        return local
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def list_files(
    paths: PathLike | Iterable[PathLike],
    *,
    on_ignore: Callable[[Path], None] | None = None,
    follow_links: bool = False,
) -> list[Path]:
    """List the files that `load_pages` would read, each once, in its order.

    Paths keep their order; a folder is walked through with everything below it, sorted by name.
    Hidden files and folders, and the folders of indexes, are left out unless named themselves, and
    so is what lies outside a named folder, where a link inside leads to.

    Args:
        paths: One path or several, of files and folders.
        on_ignore: Called with each file inside a folder that is of a kind that is not read.
        follow_links: Read what links lead to, wherever it lies.
    """
    found = find_files(paths, on_ignore, follow_links=follow_links)
    return [one for one in found if isinstance(one, Path)]


def find_files(
    paths: PathLike | Iterable[PathLike],
    on_ignore: Callable[[Path], None] | None = None,
    seen: set[Path] | None = None,
    follow_links: bool = False,
) -> Iterator[Path | PageError]:
    """Yield the resolved path of each file to read, or the error that stands for it.

    Those in ``seen`` are left out, and those found are added to it. A link that leads out of the
    folder that was named is an error, unless links are followed.
    """
    seen = set() if seen is None else seen
    given = [paths] if isinstance(paths, str | os.PathLike) else paths
    for name in given:
        if name == "":  # which would be the folder worked in
            yield UnreadableFileError(
                "''", "names no file and no folder; write '.' for this folder"
            )
            continue
        for found in _Walk(on_ignore, seen, follow_links).named(expanded(name)):
            if isinstance(found, PageError):
                yield found
            elif found not in seen:
                seen.add(found)
                yield found


@dataclass(frozen=True)
class _Walk:
    """A walk through what was named.

    Attributes:
        on_ignore: Called with each file inside a folder that is of a kind that is not read.
        seen: Files and folders that are left out; folders are added, against links in circles.
        follow_links: Whether links lead out of a named folder.
    """

    on_ignore: Callable[[Path], None] | None
    seen: set[Path]
    follow_links: bool

    def named(self, path: Path) -> Iterator[Path | PageError]:
        """The file that was named, which must be of a known kind, or the files below the folder."""
        try:
            resolved = path.resolve(strict=True)
            is_folder = resolved.is_dir()
        except (OSError, RuntimeError, ValueError) as error:
            yield _missing(path, error)
            return
        if not is_folder:
            yield resolved if _kind(resolved) else _unsupported(resolved)
            return
        empty = True
        for found in self._below(resolved):
            empty = False
            yield found
        if empty:
            yield UnreadableFileError(
                show(path), f"this folder holds no file of a kind that is read ({_kinds()})"
            )

    def _below(self, top: Path) -> Iterator[Path | PageError]:
        """Files of a known kind below a resolved folder, in order.

        Folders wait in a list and not in calls inside each other, of which Python bears a thousand.
        """
        ahead = [top]
        while ahead:
            path = ahead.pop()
            try:
                # What is no link in a resolved folder is resolved; to look at all folders above it
                # again would take time by the square of the depth.
                resolved = path.resolve(strict=True) if path.is_symlink() else path
                is_folder = resolved.is_dir()
            except (OSError, RuntimeError, ValueError) as error:
                yield _missing(path, error)
                continue
            is_read = is_folder or _kind(resolved) is not None
            if is_read and not self.follow_links and not resolved.is_relative_to(top):
                yield _leads_out(path, resolved)
            elif is_folder and resolved not in self.seen:
                self.seen.add(resolved)
                entries = _entries(resolved)
                if isinstance(entries, PageError):
                    yield entries
                elif path is top or all(entry.name != INDEX_MARK for entry in entries):
                    ahead += reversed(entries)
            elif not is_folder and is_read:
                yield resolved
            elif not is_folder and self.on_ignore is not None:
                self.on_ignore(resolved)


def _entries(folder: Path) -> list[Path] | PageError:
    """What lies in a folder and is not hidden, in order; or why it cannot be listed."""
    try:
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        return UnreadableFileError(
            show(folder), f"this folder cannot be listed ({error.strerror}): check its permissions"
        )


def kind_of(path: Path) -> str:
    """``"pdf"``, ``"image"``, ``"text"`` or another value of `KINDS`, by the suffix.

    Raises:
        UnreadableFileError: The suffix is of a kind that is not read.
    """
    return kind_of_suffix(path.suffix.lower(), path)


def kind_of_suffix(suffix: str, path: Path) -> str:
    """The kind of a file with this suffix in lower case; ``path`` is what an error names.

    Raises:
        UnreadableFileError: The suffix is of a kind that is not read.
    """
    if suffix not in KINDS:
        raise _unsupported(path)
    return KINDS[suffix]


def warn_of_ignored(paths: Sequence[Path]) -> None:
    """Name files that were left out because of their kind, where no report does."""
    if paths:
        _log.warning("%s", ignored_text(paths))


def ignored_text(paths: Sequence[Path], most: int = 5) -> str:
    """Which files are of kinds that are not read, in a sentence that names the first of them."""
    names = ", ".join(path.name for path in paths[:most])
    more = f" and {len(paths) - most:,} more" if len(paths) > most else ""
    are = "1 file is" if len(paths) == 1 else f"{len(paths):,} files are"
    return f"{are} of kinds that are not read: {names}{more}"


def show(path: Path) -> str:
    """The path as POSIX text that can be printed and stored, whatever bytes it was made of."""
    return path.as_posix().encode("utf-8", "backslashreplace").decode()


def _kind(path: Path) -> str | None:
    return KINDS.get(path.suffix.lower())


def _kinds() -> str:
    return ", ".join(suffix[1:] for suffix in KINDS)


def _unsupported(path: Path) -> UnreadableFileError:
    kind = f"{path.suffix} is not a kind of file" if path.suffix else "without a suffix, not a kind"
    return UnreadableFileError(show(path), f"{kind} that is read; convert it to one of {_kinds()}")


def _leads_out(path: Path, target: Path) -> UnreadableFileError:
    return UnreadableFileError(
        show(path),
        f"is a link that leads out of the folder that was named, to {show(target)}; name that "
        f"too, or have links followed (--follow-links, Limits(follow_links=True))",
    )


def _missing(path: Path, error: Exception) -> UnreadableFileError:
    if isinstance(error, FileNotFoundError):
        broken = "a link to a file that is gone" if path.is_symlink() else "there is no such file"
        return UnreadableFileError(show(path), f"{broken}; check the path")
    if isinstance(error, PermissionError):
        return UnreadableFileError(show(path), "may not be read: check its permissions")
    return UnreadableFileError(show(path), f"is not a usable path ({error}); check it")
