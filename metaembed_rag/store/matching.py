"""The pages that a filter lets pass, also where a filter is more than Chroma takes in one question.

SQLite takes about 32,000 values and 1,000 nested conditions, Chroma about 60 levels of them, and
neither looks into the text of a page, knows what follows from the name of its file, or finds a part
of a text. Such a filter is asked piece by piece, and the answers, sets of ids, are joined as the
filter says.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metaembed_rag.metadata.conditions import is_looked_up
from metaembed_rag.metadata.filters import NOTHING, TEXT_FIELD
from metaembed_rag.store.requests import slices

_VALUES = 25_000
"""In one question; SQLite takes 32,766, and Chroma asks for a number in two columns."""
_CONDITIONS = 300
"""In one question; SQLite nests ``$or`` of them, 1,000 at most."""
_DEPTH = 20
_LOOKED_UP = sys.float_info.max
"""As if so many values: less work than texts, and more than any question."""

Where = Mapping[str, Any]


@dataclass(frozen=True)
class _Size:
    """How much a filter is: values, conditions, levels."""

    values: float
    conditions: int = 1
    depth: int = 1

    def fits(self) -> bool:
        within = self.conditions <= _CONDITIONS and self.depth <= _DEPTH
        return within and self.values <= _VALUES


class Matching:
    """Answers filters of the form of :func:`metaembed_rag.metadata.filters.normalize_where`.

    Args:
        ask: Ids of the pages that pass a filter that fits one question; of all for None.
        texts: Ids of pages whose text meets a condition, among those given; among all for None.
        fields: The same of a condition on one key that
            :func:`~metaembed_rag.metadata.conditions.is_looked_up`.
    """

    def __init__(
        self,
        ask: Callable[[Where | None], set[str]],
        texts: Callable[[Mapping[str, str], set[str] | None], set[str]],
        fields: Callable[[Where, set[str] | None], set[str]],
    ) -> None:
        self._ask = ask
        self._texts = texts
        self._fields = fields

    def ids(self, where: Where | None, among: set[str] | None = None) -> set[str]:
        """The ids of the pages that pass.

        Args:
            where: Normalized.
            among: Only these need to be looked at; the answer may hold others too.
        """
        if where is None or fits(where):
            return self._ask(where)
        if where == NOTHING or among == set():
            return set()
        [(key, asked)] = where.items()
        if key == "$or":
            return set().union(*(self.ids(part, among) for part in _joined(key, asked)))
        if key == "$and":
            return self._all(asked, among)
        if key == TEXT_FIELD:
            return self._texts(asked, among)
        if is_looked_up(key, asked):
            return self._fields(where, among)
        [(operator, values)] = asked.items()
        pieces = [{key: {operator: values[part]}} for part in slices(len(values), _VALUES // 2)]
        return self._all(pieces, among) if operator == "$nin" else self._any(pieces)

    def _any(self, parts: Sequence[Where]) -> set[str]:
        return set().union(*map(self._ask, parts))

    def _all(self, parts: Sequence[Where], among: set[str] | None) -> set[str]:
        """The pages that pass all; texts come last, of those pages that are left by then."""
        for part in sorted(_joined("$and", parts), key=lambda part: _size(part).values):
            found = self.ids(part, among)
            among = found if among is None else found & among
        return set() if among is None else among


def fits(where: Where) -> bool:
    """Whether Chroma takes a filter in one question."""
    return where != NOTHING and _size(where).fits()


def _joined(operator: str, parts: Sequence[Where]) -> Iterator[Where]:
    """The parts of a combination, those together that fit one question."""
    group: list[Where] = []
    for part in parts:
        if group and not (fits(part) and fits({operator: [*group, part]})):
            yield _combined(operator, group)
            group = []
        group.append(part)
        if not fits(part):
            yield _combined(operator, group)
            group = []
    if group:
        yield _combined(operator, group)


def _combined(operator: str, group: Sequence[Where]) -> Where:
    return group[0] if len(group) == 1 else {operator: list(group)}


def _size(where: Where) -> _Size:
    """How much a filter is; one that Chroma cannot answer is more than it takes."""
    [(key, asked)] = where.items()
    if key in ("$and", "$or"):
        sizes = [_size(part) for part in asked] or [_Size(0)]
        return _Size(
            sum(size.values for size in sizes),
            sum(size.conditions for size in sizes),
            1 + max(size.depth for size in sizes),
        )
    if key == TEXT_FIELD:
        return _Size(math.inf)
    if is_looked_up(key, asked):
        return _Size(_LOOKED_UP)
    value = next(iter(asked.values())) if isinstance(asked, Mapping) else asked
    values = value if isinstance(value, list) else [value]
    return _Size(len(values) if isinstance(values[0], str) else 2 * len(values))
