"""CSV, TSV and sheets -> chunks of rows, each below the header of the table."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from io import StringIO

from metaembed_rag.errors import UnreadableFileError
from metaembed_rag.pages.texts import CHUNK_CHARACTERS

_SAMPLE = 65_536
_DELIMITERS = ",;\t|"
_LONGEST_HEADER = CHUNK_CHARACTERS // 3
_MOST_COLUMNS = 16_384
"""Of Excel's."""


def rows_of(text: str, source: str) -> Iterator[list[str]]:
    """The rows of CSV, whatever stands between its cells: comma, semicolon, tab or bar.

    Raises:
        UnreadableFileError: It is no table.
    """
    reader = csv.reader(StringIO(text.replace("\0", "")), _dialect(text[:_SAMPLE]))
    try:
        for row in reader:
            yield [" ".join(cell.split()) for cell in row[:_MOST_COLUMNS]]
    except csv.Error as error:
        raise UnreadableFileError(
            source, f"is no table at line {reader.line_num:,} ({error}); save it as CSV again"
        ) from None


def chunks_of_rows(rows: Iterable[list[str]]) -> Iterator[str]:
    """Rows as lines ``a | b | c`` in chunks of at most 1,800 characters, below the first row.

    The first row with anything in it is the header: it begins every chunk, unless it is longer than
    a third of one. Empty rows are left out; a row that is longer than a chunk is cut.
    """
    header, held, size, first = "", list[str](), 0, True
    for line in filter(None, map(_line, rows)):
        if first:
            first, header = False, line if len(line) <= _LONGEST_HEADER else ""
            if header:
                continue
        for piece in _pieces(line, CHUNK_CHARACTERS - len(header) - 1):
            if held and size + len(piece) + 1 > CHUNK_CHARACTERS - len(header):
                yield "\n".join(filter(None, [header, *held]))
                held, size = [], 0
            held.append(piece)
            size += len(piece) + 1
    if held or header:
        yield "\n".join(filter(None, [header, *held]))


def _pieces(line: str, most: int) -> Iterator[str]:
    for start in range(0, len(line), most):
        yield line[start : start + most]


def _line(row: list[str]) -> str:
    """A row, without the empty cells at its end."""
    cells = list(row)
    while cells and not cells[-1]:
        cells.pop()
    return " | ".join(cells)


def _dialect(sample: str) -> type[csv.Dialect]:
    """By counting: `csv.Sniffer` takes minutes for some texts, and guesses letters."""
    lines = [line for line in sample.splitlines()[:50] if line.strip()]
    counts = {mark: [line.count(mark) for line in lines] for mark in _DELIMITERS}
    regular = {
        mark: sum(count == found[0] > 0 for count in found)
        for mark, found in counts.items()
        if found
    }
    best = max(regular, key=lambda mark: (regular[mark], sum(counts[mark])), default=",")

    class Found(csv.excel):
        delimiter = best if regular.get(best) else ","

    return Found
