"""Questions of a user's own, and the pages that answer them: a CSV file beside an index.

::

    question,file,page
    how is a legend added,bardiag.pdf,14

``file`` is a path, or as much of its end as names one file of the index; ``page`` counts from 1 and
may be left out for a file of one page. Several rows with one question name several right pages.
"""

from __future__ import annotations

import csv
import io
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import Any

from metaembed_rag.errors import DatasetError

COLUMNS = ("question", "file", "page")
_SEPARATORS = ",;\t"
"""Those that spreadsheets write."""
_ABOVE = re.compile(r"(sep=.)?", re.IGNORECASE)
"""A line that may stand above the names of the columns."""
_DIGITS = 18
"""Of a page's number, at most."""
_LISTED = 10
"""Problems that a message names."""


@dataclass(frozen=True)
class Row:
    """One line of the file.

    Attributes:
        question: What is asked.
        file: As it is written there.
        page: The page's number; None where the line has none.
        line: Of the file, from 1.
    """

    question: str
    file: str
    page: int | None
    line: int


@dataclass(frozen=True)
class Questions:
    """What is asked of an index, and which of its pages answer it.

    Attributes:
        texts: The questions, all different, in the order of the file.
        answers: For each of them the ids of its right pages.
    """

    texts: tuple[str, ...]
    answers: tuple[tuple[str, ...], ...]

    def __len__(self) -> int:
        return len(self.texts)


def read_rows(path: str | PathLike[str]) -> list[Row]:
    """Read a CSV file with the columns question, file and page; further ones are left alone.

    Commas, semicolons or tabs separate them, as spreadsheets have it.

    Raises:
        DatasetError: It cannot be read, lacks a column, or has a line that makes no sense.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such file; give a CSV of question, file, page") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: cannot be read as UTF-8 text: {error}") from None
    lines = text.splitlines(keepends=True)
    # Above the names some spreadsheets write which separator they used, as sep=;
    above = len(list(takewhile(lambda line: _ABOVE.fullmatch(line.strip()), lines)))
    first = lines[above] if above < len(lines) else ""
    separator = max(_SEPARATORS, key=first.count)
    rest = io.StringIO("".join(lines[above:]), newline="")
    reader = csv.DictReader(rest, delimiter=separator)
    try:
        rows = list(_rows(path, reader, above))
    except csv.Error as error:
        line = above + reader.line_num
        raise DatasetError(f"{path}, line {line}: not CSV ({error})") from None
    if not rows:
        raise DatasetError(f"{path}: no questions; write one a line below the columns' names")
    return rows


def _rows(path: Path, reader: csv.DictReader[str], above: int) -> Iterator[Row]:
    names = {(name or "").strip().lower(): name for name in reader.fieldnames or ()}
    missing = [name for name in COLUMNS if name not in names]
    if missing:
        raise DatasetError(
            f"{path}: no column {', '.join(missing)}; the first line must name question, file and "
            f"page, and names {', '.join(filter(None, names)) or 'nothing'}"
        )
    for record in reader:
        question, file, page = ((record[names[name]] or "").strip() for name in COLUMNS)
        if not any((question, file, page)):
            continue
        line = above + reader.line_num
        where = f"{path}, line {line}"
        further: Any = record.get(None)
        if any(further or ()):
            raise DatasetError(
                f"{where}: it has more fields than there are columns; put a text that holds "
                f"{reader.reader.dialect.delimiter!r} into double quotes"
            )
        for name, value in (("question", question), ("file", file)):
            if not value:
                raise DatasetError(f"{where}: its {name} is empty")
        yield Row(question, file, _number(page, where), line)


def _number(text: str, where: str) -> int | None:
    if not text:
        return None
    number = int(text) if text.isascii() and text.isdecimal() and len(text) <= _DIGITS else 0
    if number < 1:
        raise DatasetError(f"{where}: a page is a whole number from 1, not {text[:40]!r}")
    return number


def of_index(
    rows: Sequence[Row], pages: Mapping[tuple[str, int], str], path: str | PathLike[str]
) -> Questions:
    """The questions of a file, with the pages of an index that their rows name.

    Args:
        rows: From :func:`read_rows`.
        pages: Source and number of each page of the index -> its id.
        path: The file that the rows are from: paths may be relative to its folder.

    Raises:
        DatasetError: Rows name files or pages that the index does not hold; it lists them.
    """
    numbers: dict[str, list[int]] = defaultdict(list)
    for source, number in pages:
        numbers[source].append(number)
    sources = _Sources(numbers, Path(path).resolve().parent)
    answers: dict[str, dict[str, None]] = {}
    problems: list[str] = []
    for row in rows:
        try:
            source = sources.called(row.file)
            id = pages[source, _page(row, numbers[source])]
        except DatasetError as error:
            problems.append(f"line {row.line}: {error}")
            continue
        answers.setdefault(row.question, {})[id] = None
    if problems:
        raise DatasetError(_listing(str(path), problems))
    return Questions(tuple(answers), tuple(tuple(ids) for ids in answers.values()))


def _page(row: Row, numbers: Sequence[int]) -> int:
    """The number of the page that a row names, which the file has.

    Raises:
        DatasetError: The index has no such page of the file, or the row names none of several.
    """
    held = f"the index has {len(numbers)} pages of it, up to {max(numbers)}"
    if row.page is None and len(numbers) > 1:
        raise DatasetError(f"say which page of {row.file!r} it is; {held}")
    if row.page is not None and row.page not in numbers:
        raise DatasetError(f"no page {row.page} of {row.file!r}; {held}")
    return numbers[0] if row.page is None else row.page


class _Sources:
    """Finds a source by its path, or by the end of it.

    Args:
        sources: That there are.
        folder: What paths may be relative to, beside the working folder.
    """

    def __init__(self, sources: Iterable[str], folder: Path) -> None:
        self._all = frozenset(sources)
        self._folder = folder
        self._by_name: dict[str, list[str]] = defaultdict(list)
        for source in sorted(self._all):
            self._by_name[PurePosixPath(source).name].append(source)

    def called(self, file: str) -> str:
        """The one source that a row means.

        Raises:
            DatasetError: There is none, or there are several.
        """
        for path in (file, self._absolute(self._folder / file), self._absolute(Path(file))):
            if path in self._all:
                return path
        asked = PurePosixPath(Path(file).as_posix()).parts
        named = self._by_name.get(asked[-1] if asked else "", [])
        found = [one for one in named if PurePosixPath(one).parts[-len(asked) :] == asked]
        if len(found) == 1:
            return found[0]
        if found:
            raise DatasetError(f"{file!r} may be {' or '.join(found[:3])}: write more of its path")
        raise DatasetError(f"the index holds no file {file!r}")

    @staticmethod
    def _absolute(path: Path) -> str:
        try:
            return path.expanduser().resolve().as_posix()
        except (OSError, RuntimeError, ValueError):  # too long for a name; the home of nobody
            return ""


def _listing(path: str, problems: Sequence[str]) -> str:
    shown = [f"  {one}" for one in problems[:_LISTED]]
    if len(problems) > _LISTED:
        shown.append(f"  and {len(problems) - _LISTED} more")
    what = "1 row names" if len(problems) == 1 else f"{len(problems)} rows name"
    return "\n".join([f"{path}: {what} what the index does not hold", *shown])
