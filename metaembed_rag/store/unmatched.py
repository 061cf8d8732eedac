"""What to say of a filter that no page passes: which key or value is none of the index's."""

from __future__ import annotations

import logging
import reprlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from difflib import get_close_matches
from itertools import islice
from typing import Any

from metaembed_rag.metadata.fields import KNOWN, LISTED, PUBLIC, said
from metaembed_rag.metadata.filters import TEXT_FIELD, fields, normalize_where
from metaembed_rag.store.chroma import ChromaStore
from metaembed_rag.store.records import PAGE, SOURCE, facts_of

_log = logging.getLogger(__name__)

_KEYS_NAMED, _KEYS_OF = 20, 500
"""Names of metadata that are told, and pages that are looked at for them."""
_VALUES_NAMED, _CONDITIONS = 3, 4
"""Near values that are told, and conditions of a filter that are looked at."""
_FEW = 8
"""So many values of a key are told where none is near."""
_EQUAL = ("$eq", "$in")
_PARTS = ("$icontains", "$glob")

_IS_LOGGED: ContextVar[bool] = ContextVar("_IS_LOGGED", default=True)


@contextmanager
def not_logged() -> Iterator[None]:
    """Inside, a note stands in the hits alone: somebody else knows whether it is to be told."""
    before = _IS_LOGGED.set(False)
    try:
        yield
    finally:
        _IS_LOGGED.reset(before)


def log_unmatched(note: str, where: Mapping[str, Any] | None) -> None:
    """Log, as a warning, why no page passes a filter."""
    _log.warning("%s: %s", note, reprlib.repr(where), extra={"in_short": note})


def told_unmatched(store: ChromaStore, where: Mapping[str, Any] | None) -> str:
    """Why no page passes a filter, which is logged as a warning; ``""`` where one does.

    Args:
        store: Holds the pages.
        where: As the user wrote it.
    """
    asked = normalize_where(where)
    if asked is None or not store.count() or store.ids(asked):
        return ""
    seen = _Seen(store)
    note = "; ".join(["no page passes the filter", *seen.unknown_keys(asked), *seen.values(asked)])
    if _IS_LOGGED.get():
        log_unmatched(note, where)
    return note


class _Seen:
    """Some pages of a store, and what they say."""

    def __init__(self, store: ChromaStore) -> None:
        self._store = store
        some = store.some_metadata(_KEYS_OF)
        self._pages = [{key: one for key, one in page.items() if ":" not in key} for page in some]
        self._keys = {key for page in self._pages for key in page}

    def unknown_keys(self, asked: Mapping[str, Any]) -> Iterator[str]:
        """Keys that no page has, and those that there are."""
        named = {key for key in fields(asked) if ":" not in key} - {TEXT_FIELD, *KNOWN}
        unknown = sorted(named - self._keys)
        if not unknown:
            return
        pages = self._store.count()
        of = "no page has" if pages <= _KEYS_OF else f"none of {_KEYS_OF} of the {pages} pages has"
        there = ", ".join(sorted(self._keys)[:_KEYS_NAMED]) or "none"
        keys = ", ".join(map(repr, unknown))
        yield f"{of} a metadata key {keys}, they have {there}, and of each also {_listed()}"

    def values(self, asked: Mapping[str, Any]) -> Iterator[str]:
        """Texts that no page has under a key, and those that are near.

        These are of pages that pass the other conditions: one of these may say whose pages a user
        may know of.
        """
        for key in sorted(fields(asked) & KNOWN):
            if not self._store.fields.says(key):
                yield f"no page says its {key.removeprefix(PUBLIC)}"
        parts = asked.get("$and", [asked])
        passing = [set(self._store.ids(part)) for part in parts]
        for number, part in enumerate(parts):
            others = [ids for other, ids in enumerate(passing) if other != number]
            rest = set.intersection(*others) if others else None
            conditions = [*islice(_conditions(part), _CONDITIONS)]
            words = [one for one in conditions if one[1] in (*_EQUAL, *_PARTS)]
            told = [note for one in words for note in self._of_one(*one, rest)]
            none_passes = not passing[number] if rest is None else rest.isdisjoint(passing[number])
            if not told and none_passes and rest != set():
                told = [*self._of_values(conditions, rest)]
            yield from told

    def _of_one(
        self, key: str, operator: str, wanted: list[Any], rest: set[str] | None
    ) -> Iterator[str]:
        """What to say of one condition, if it lets none of the rest of the pages pass."""
        name = key.removeprefix(PUBLIC)
        texts = [one for one in wanted if isinstance(one, str) and _is_word(one)]
        if not texts or name == PAGE or not (name in self._keys or key in KNOWN):
            return
        found = self._store.ids({key: {operator: wanted if operator == "$in" else wanted[0]}})
        if found and (not rest or rest.intersection(found)):
            return
        has = "has" if operator in _EQUAL else "has in its"
        yield f"no page {has} {name} {' or '.join(map(repr, texts[:_VALUES_NAMED]))}"
        if name == SOURCE:
            if not any("/" in text or "\n" in text for text in texts):
                yield "a source is a whole path; the name of a file is its file_name"
            return
        there = self._there(key, name, rest)
        near = list(dict.fromkeys(one for text in texts for one in _near(text, there)))
        if near and operator in _EQUAL:
            yield f"did you mean {' or '.join(map(repr, near[:_VALUES_NAMED]))}?"
        elif 0 < len(there) <= _FEW:
            yield f"there is {', '.join(map(repr, sorted(there)))}"

    def _of_values(
        self, conditions: Iterable[tuple[str, str, list[Any]]], rest: set[str] | None
    ) -> Iterator[str]:
        """What the rest of the pages say under the keys of conditions that none of them meets."""
        wanted: dict[str, list[Any]] = {}
        for key, _, values in conditions:
            if key != SOURCE:  # a whole path, of which a stranger may not know
                wanted.setdefault(key, []).extend(values)
        for key, values in wanted.items():
            name, asked = key.removeprefix(PUBLIC), _by_kind(values)
            there = {kind: sorted(of) for kind, of in _by_kind(self._said(key, rest)).items()}
            alike = [kind for kind in asked if kind in there]
            if there and asked and not alike:
                kind, other = next(iter(there)), next(iter(asked))
                yield f"{name} is {kind}, as {there[kind][0]!r}, and {asked[other][0]!r} is {other}"
            for kind in alike:
                known = there[kind]
                if found := _range(known) if kind == _NUMBER else _list(values, known):
                    yield f"{name} is {found}"

    def _said(self, key: str, rest: set[str] | None) -> list[Any]:
        """What pages that were looked at may be called under a key in a filter."""
        ids = self._store.ids() if rest is None else rest
        pages = self._store.stored(sorted(ids)[:_KEYS_OF], bare=True)
        return [one for id, page in pages.items() for one in said(key, facts_of(id, page)).equal]

    def _there(self, key: str, name: str, rest: set[str] | None) -> set[str]:
        """The texts that pages have under a key, as far as they were looked at."""
        pages: Iterable[Mapping[str, Any]] = self._pages
        if rest is not None:
            pages = self._store.stored(sorted(rest)[:_KEYS_OF], bare=True).values()
        every = [page.get(name) for page in pages]
        every += [one for value in every if isinstance(value, list) for one in value]
        known = self._store.fields.values(key, rest)
        return known | {one for one in every if isinstance(one, str)}


def _conditions(where: Mapping[str, Any]) -> Iterator[tuple[str, str, list[Any]]]:
    """Key, operator and values of each condition on metadata."""
    for key, asked in where.items():
        if key in ("$and", "$or"):
            for part in asked:
                yield from _conditions(part)
            continue
        [(operator, value)] = (asked if isinstance(asked, Mapping) else {"$eq": asked}).items()
        if key != TEXT_FIELD and ":" not in key:
            yield key, operator, value if isinstance(value, list) else [value]


_NUMBER, _TEXT, _TRUTH = "a number", "a text", "true or false"


def _by_kind(values: Iterable[Any]) -> dict[str, list[Any]]:
    """Numbers, texts and truths, each once."""
    found: dict[str, list[Any]] = {}
    for one in dict.fromkeys(values):
        kind = _TRUTH if isinstance(one, bool) else _TEXT if isinstance(one, str) else _NUMBER
        if isinstance(one, str | int | float):
            found.setdefault(kind, []).append(one)
    return found


def _range(numbers: list[float]) -> str:
    """The least and the greatest of sorted numbers."""
    return " to ".join(map(str, dict.fromkeys((numbers[0], numbers[-1]))))


def _list(asked: Iterable[Any], there: list[Any]) -> str:
    """All of a few values, or those that are near; ``""`` where neither is."""
    near = [one for text in asked if isinstance(text, str) for one in _near(text, there)]
    few = there if len(there) <= _FEW else [*dict.fromkeys(near)][:_VALUES_NAMED]
    return ", ".join(map(repr, few))


def _near(text: str, there: Iterable[str]) -> list[str]:
    folded = {one.casefold(): one for one in sorted(there)}
    return [folded[one] for one in get_close_matches(text.casefold(), folded, _VALUES_NAMED)]


def _is_word(text: str) -> bool:
    """Whether a text is more than a number, and none that stands for no text at all."""
    with suppress(ValueError):
        float(text)
        return False
    return bool(text.strip())


def _listed() -> str:
    return ", ".join(LISTED)
