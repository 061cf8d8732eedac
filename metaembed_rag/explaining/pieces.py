"""A text as pieces that can be scored alone: its lines and sentences, and windows of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby

Span = tuple[int, int]
"""First character of a piece, and the one behind its last."""

FEW = 64
"""Units that are scored one by one: a page of a PDF seldom has more lines."""
_WINDOWS = 12
"""Windows that a step from coarse to fine has at most, of this many units at least."""
_NARROW = 8
_LINE = re.compile(r"[^\n]+")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]?\s+(?=[\"'(\[]?[A-Z0-9])")
_LONG = 160
"""Characters from which a line is cut into sentences: those of a page of a PDF are shorter."""
_LONGEST = 400
"""Characters of the longest sentence that is kept whole."""


def units(text: str) -> list[Span]:
    """The lines of a text, long ones cut into sentences; those without a letter or digit not."""
    found = []
    for line in _LINE.finditer(text):
        for start, end in _sentences(text, *line.span()):
            said = text[start:end]
            if any(map(str.isalnum, said)):
                start += len(said) - len(said.lstrip())
                found.append((start, start + len(said.strip())))
    return found


def _sentences(text: str, start: int, end: int) -> Iterator[Span]:
    if end - start <= _LONG:
        yield start, end
        return
    ends = [match.end() for match in _SENTENCE_END.finditer(text, start, end)]
    for stop in [*ends, end]:
        while stop - start > _LONGEST:
            cut = text.rfind(" ", start + 1, start + _LONGEST)
            cut = cut if cut > start else start + _LONGEST
            yield start, cut
            start = cut
        yield start, stop
        start = stop


def windows(scope: Sequence[int]) -> list[range]:
    """Overlapping windows of neighbouring units that cover a scope; at most about twelve.

    Args:
        scope: Numbers of units, ascending. A window does not bridge a gap in them.

    Returns:
        Ranges of units; each begins half a window behind the one before.
    """
    width = max(_NARROW, -(-2 * len(scope) // (_WINDOWS + 1)))
    found = []
    for run in runs(scope):
        step = max(1, width // 2)
        for start in range(run.start, max(run.start + 1, run.stop - step), step):
            found.append(range(start, min(run.stop, start + width)))
    return found


def runs(scope: Sequence[int]) -> Iterator[range]:
    """The runs of whole numbers in a row."""
    for _, group in groupby(enumerate(scope), key=lambda pair: pair[1] - pair[0]):
        members = [number for _, number in group]
        yield range(members[0], members[-1] + 1)


def around(seeds: Sequence[int], scope: Sequence[int], widths: Sequence[int]) -> list[range]:
    """Every window of these widths inside a scope that holds a seed, in order, none twice."""
    return [
        range(start, start + width)
        for run in runs(scope)
        for width in widths
        for start in range(run.start, run.stop - width + 1)
        if any(start <= seed < start + width for seed in seeds)
    ]


def span_of(found: Sequence[Span], window: range) -> Span:
    """The characters of a window of units."""
    return found[window.start][0], found[window.stop - 1][1]
