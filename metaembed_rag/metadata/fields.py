"""Fields of a page that nobody has to store: the name of its file, its folder, kind, label, dates.

They follow from what every record says (source, number, root, pages of the file), so they can be
asked for in an index of any age. Metadata of the page's own with the name of a field win over it.
"""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import os

PUBLIC = "#"
"""Before the name of a field: only what a stranger may know, which is nothing above the root."""
FILE_FIELDS = ("file_name", "file_path", "folder", "file_type")
"""What follows from the path of the file alone."""
DATE_FIELDS = frozenset({"creation_date", "creationdate", "last_modified_date", "moddate"})
"""Dates, named as LlamaIndex (``_date``) and LangChain name them."""
FIELDS = (
    *FILE_FIELDS,
    *("page_label", "total_pages", "page_count", "file_size"),
    *("creation_date", "last_modified_date", "creationdate", "moddate"),
)
"""All of them."""
LISTED = tuple(name for name in FIELDS if name not in ("page_count", "creationdate", "moddate"))
"""Those that messages name; of several names of one thing, one."""
KNOWN = frozenset(FIELDS) | {f"{PUBLIC}{name}" for name in FILE_FIELDS}
"""Names of fields in filters."""

_CREATED = ("creation_date", "creationdate", "created")
_MODIFIED = ("last_modified_date", "moddate", "modified")
_COUNTS = ("total_pages", "page_count")
_ALIKE = (("jpg", "jpeg"), ("tif", "tiff"), ("md", "markdown"), ("txt", "text"), ("htm", "html"))
_OFFICE = "application/vnd.openxmlformats-officedocument."
_TYPES = {
    "csv": "text/csv",
    "docx": f"{_OFFICE}wordprocessingml.document",
    "md": "text/markdown",
    "markdown": "text/markdown",
    "pptx": f"{_OFFICE}presentationml.presentation",
    "webp": "image/webp",
    "xlsx": f"{_OFFICE}spreadsheetml.sheet",
}
"""What Python or the system may not know of; all else is as Python guesses it."""
_PDF_DATE = re.compile(r"D:(\d{4})(\d\d)?(\d\d)?(\d\d)?(\d\d)?(\d\d)?(Z|[+-]\d\d)?'?(\d\d)?'?")
_ISO = re.compile(r"\d{4}(-\d\d(-\d\d([T ].*)?)?)?")
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")

Stat = Callable[[str], "os.stat_result | None"]
"""What the system says of a file; None where there is none."""


class Facts(NamedTuple):
    """What a record says of a page beside its text.

    Attributes:
        own: Metadata of the page's own.
        source: File, address or any name.
        number: Of the page; counts from 1.
        root: Folder that was named when the file was read; ``""`` for none.
        page_count: Pages of the file; None where that is not known.
    """

    own: Mapping[str, Any]
    source: str
    number: float = 1
    root: str = ""
    page_count: float | None = None


class Said(NamedTuple):
    """What a page says in one field.

    Attributes:
        shown: As it is shown to people; None where the page says nothing.
        equal: All that it may be called in a filter.
        searched: Texts in which a filter looks for a part.
    """

    shown: Any
    equal: tuple[Any, ...] = ()
    searched: tuple[str, ...] = ()


NOTHING_SAID = Said(None)


def stat_of(source: str) -> os.stat_result | None:
    """What the system says of a source that is a file here and now."""
    if not (source.startswith("/") or _DRIVE.match(source)):
        return None
    try:
        return Path(source).stat()
    except (OSError, ValueError):
        return None


def said(key: str, facts: Facts, stat: Stat = stat_of) -> Said:
    """What a page says under a key: a field, ``source``, ``page``, or metadata of its own."""
    is_public, name = key.startswith(PUBLIC), key.removeprefix(PUBLIC)
    own = facts.own.get(name)
    if own is not None:
        return _own(name, own, is_public=is_public)
    if name in FILE_FIELDS:
        return _OF_FILE[name](facts.source, facts.root, is_public)
    made = _MADE.get(name)
    return NOTHING_SAID if made is None else made(facts, stat)


def shown_fields(facts: Facts) -> dict[str, Any]:
    """The fields that frameworks show of a page from a file, under the names that they use.

    ``file_name``, ``file_path`` (below the root), ``file_type`` (MIME), ``page_label`` and, where
    it is known, ``total_pages``; without those that the page's own metadata have.
    """
    names = ("file_name", "file_path", "file_type", "page_label", "total_pages")
    found = {name: said(name, facts).shown for name in names if name not in facts.own}
    return {name: value for name, value in found.items() if value is not None}


def public_key(key: str) -> str:
    """The key to which a stranger's condition on this one is answered: of the path of a file, only
    what lies below the folder that was named.
    """
    return f"{PUBLIC}{key}" if key in FILE_FIELDS else key


def path_below(source: str, root: str) -> str:
    """The path of a file below its root; only its name where it was found in no folder."""
    inside = root and source.startswith(f"{root.rstrip('/')}/")
    return source.removeprefix(root).lstrip("/") if inside else _name(source)


def mime_type(source: str) -> str | None:
    """The MIME type of a file by its name, as LlamaIndex's readers give it; None if unknown."""
    suffix = _suffix(source)
    return _TYPES.get(suffix) or mimetypes.guess_type(f"a.{suffix}")[0] if suffix else None


def is_date(value: Any) -> bool:
    """Whether a value is text that names a month, a day or a time as ISO 8601 does."""
    return isinstance(value, str) and len(value) > 4 and _ISO.fullmatch(value) is not None


def iso(value: Any) -> str | None:
    """A date as ISO 8601 text: of such a text, a year, or what PDFs write; None of anything else.

    ``D:20240201093000+01'00'`` becomes ``2024-02-01T09:30:00+01:00``.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:04d}" if isinstance(value, int) and 0 < value < 10_000 else None
    if not isinstance(value, str):
        return None
    if found := _PDF_DATE.fullmatch(value):
        return _of_pdf(found)
    return value.replace(" ", "T", 1) if _ISO.fullmatch(value) else None


def moment(text: str) -> datetime | None:
    """A date of :func:`iso` as date and time; in UTC where it names no zone, midnight where it
    names no time. None where there is no such day.
    """
    padded = f"{text}{'-01-01'[len(text) - 4 :]}" if len(text) < 10 else text
    try:
        found = datetime.fromisoformat(padded)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _of_pdf(found: re.Match[str]) -> str:
    year, month, day, hour, minute, second, zone, minutes = found.groups()
    date = "-".join(filter(None, (year, month, day)))
    if not hour or not day:
        return date
    offset = {None: "", "Z": "+00:00"}.get(zone, f"{zone}:{minutes or '00'}")
    return f"{date}T{hour}:{minute or '00'}:{second or '00'}{offset}"


def _own(name: str, value: Any, *, is_public: bool) -> Said:
    """A value of the page's own, under the name of a field or under any other."""
    every = tuple(value) if isinstance(value, list) else (value,)
    if is_public:
        every = tuple(_name(one) if isinstance(one, str) else one for one in every)
    texts = tuple(one if isinstance(one, str) else str(one) for one in every)
    if name == "file_type" and len(texts) == 1:
        return Said(value, *2 * (tuple(_spellings_of_type(texts[0])),))
    if name == "page_label" and len(texts) == 1:
        return _label(texts[0])
    return Said(value, every, texts)


def _spellings_of_type(kind: str) -> Iterator[str]:
    """A MIME type, or a suffix, and what else people call it."""
    kind = kind.lower().removeprefix(".")
    if "/" in kind:
        yield kind
        guessed = (mimetypes.guess_extension(kind) or "")[1:]
        kind = next((suffix for suffix, mime in _TYPES.items() if mime == kind), guessed)
    elif mime := mime_type(f"a.{kind}"):
        yield mime
    yield from _alike(kind)


def _alike(suffix: str) -> tuple[str, ...]:
    """A suffix, and others of the same kind of file."""
    return next((group for group in _ALIKE if suffix in group), (suffix,) if suffix else ())


def _file_name(source: str, root: str, is_public: bool) -> Said:
    name = _name(source)
    return Said(name, (name,), (name,))


def _file_path(source: str, root: str, is_public: bool) -> Said:
    """Below the root; where no root is known every end of the path is as good."""
    below = path_below(source, root)
    if is_public:
        return Said(below, (below,), (below,))
    ends = (below,) if root else tuple(_ends(source))
    return Said(below, (*ends, source), (below if root else source,))


def _folder(source: str, root: str, is_public: bool) -> Said:
    """The folder of the file below the root, ``.`` for the root itself, and those above it."""
    below = path_below(source, root).rpartition("/")[0]
    shown = below or "."
    names = {shown, *_beginnings(below)}
    whole = source.rpartition("/")[0]
    if is_public or not whole:
        return Said(shown, tuple(names), (shown,))
    top = root.rstrip("/")
    if not root:
        names.update(end for folder in _beginnings(whole) for end in (folder, *_ends(folder)))
        return Said(whole, tuple(names - {"."}), (whole,))
    names |= {one for one in _beginnings(whole) if one == top or one.startswith(f"{top}/")}
    names |= {f"{_name(top)}{one.removeprefix(top)}" for one in names if one.startswith(top)}
    return Said(shown, tuple(names), (shown,))


def _file_type(source: str, root: str, is_public: bool) -> Said:
    suffix, mime = _suffix(source), mime_type(source)
    if not suffix:
        return NOTHING_SAID
    names = tuple(filter(None, (mime, *_alike(suffix))))
    return Said(mime or suffix, names, names)


def _page_label(facts: Facts, stat: Stat) -> Said:
    label = facts.own.get("label")
    number = f"{facts.number:.0f}" if facts.number % 1 == 0 else str(facts.number)
    return _label(label if isinstance(label, str) and label else number)


def _label(text: str) -> Said:
    number = (int(text),) if text.isdecimal() and len(text) < 16 else ()
    return Said(text, (text, *number), (text,))


def _total_pages(facts: Facts, stat: Stat) -> Said:
    known = (facts.own[name] for name in _COUNTS if name in facts.own)
    return _value(next(known, facts.page_count))


def _created(facts: Facts, stat: Stat) -> Said:
    return _date(facts, _CREATED, lambda: _at(stat(facts.source), "st_ctime"))


def _modified(facts: Facts, stat: Stat) -> Said:
    return _date(facts, _MODIFIED, lambda: _at(stat(facts.source), "st_mtime"))


def _date(facts: Facts, names: tuple[str, ...], of_file: Callable[[], str | None]) -> Said:
    """A date that the document says under one of these names, or else that of its file."""
    own = (iso(facts.own[name]) for name in names if name in facts.own)
    found = next(own, None) or of_file()
    return NOTHING_SAID if found is None else Said(found[:10], (found,), (found,))


def _at(found: os.stat_result | None, which: str) -> str | None:
    if found is None:
        return None
    return datetime.fromtimestamp(getattr(found, which), UTC).isoformat(timespec="seconds")


def _file_size(facts: Facts, stat: Stat) -> Said:
    found = stat(facts.source)
    return _value(None if found is None else found.st_size)


def _value(value: Any) -> Said:
    return NOTHING_SAID if value is None else Said(value, (value,), (str(value),))


def _name(source: str) -> str:
    parts = re.split(r"[/\\]" if _DRIVE.match(source) else "/", source.rstrip("/"))
    return parts[-1] or source


def _suffix(source: str) -> str:
    stem, dot, suffix = _name(source).rpartition(".")
    return suffix.lower() if dot and stem and suffix.isalnum() else ""


def _ends(path: str) -> Iterator[str]:
    """``c``, ``b/c`` and ``a/b/c`` of ``/a/b/c``."""
    parts = path.strip("/").split("/")
    return ("/".join(parts[start:]) for start in range(len(parts) - 1, -1, -1))


def _beginnings(path: str) -> Iterator[str]:
    """``/a`` and ``/a/b`` of ``/a/b``, ``a`` and ``a/b`` of ``a/b``; nothing of an empty path."""
    return (path[: found.end()] for found in re.finditer(r"/?[^/]+", path))


_OF_FILE: Mapping[str, Callable[[str, str, bool], Said]] = {
    "file_name": _file_name,
    "file_path": _file_path,
    "folder": _folder,
    "file_type": _file_type,
}
_MADE: Mapping[str, Callable[[Facts, Stat], Said]] = {
    "source": lambda facts, stat: _value(facts.source),
    "page": lambda facts, stat: _value(facts.number),
    "page_label": _page_label,
    **dict.fromkeys(_COUNTS, _total_pages),
    "file_size": _file_size,
    **dict.fromkeys(("creation_date", "creationdate"), _created),
    **dict.fromkeys(("last_modified_date", "moddate"), _modified),
}
