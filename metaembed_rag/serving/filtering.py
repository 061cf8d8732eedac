"""Filters of strangers: files by what the server calls them, and nothing that may take for ever."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from metaembed_rag.errors import ServerError
from metaembed_rag.metadata.conditions import OF_TEXT, text_matches
from metaembed_rag.metadata.fields import public_key
from metaembed_rag.metadata.filters import NOTHING, all_of
from metaembed_rag.serving.naming import Catalog

_SOURCE = "source"
_EXPRESSIONS = frozenset({"$regex", "$not_regex"})
_PARTS = frozenset({*OF_TEXT, *OF_TEXT.values()}) - _EXPRESSIONS
_DEEPEST = 20
"""Combinations inside each other."""


def local_where(
    where: Mapping[str, Any] | None, sources: Sequence[str], catalog: Catalog
) -> Mapping[str, Any] | None:
    """A filter as the index takes it.

    Args:
        where: As a client wrote it, with files as the server calls them.
        sources: Files to which the search is limited besides; none for all.
        catalog: Knows what files are called.

    Raises:
        ServerError: It has regular expressions, which may take for ever, asks for fields that are
            not the pages' own, or is nested too deep.
    """
    found = None if where is None else _local(where, catalog, 0)
    if not sources:
        return found
    named = [one for one in map(catalog.source_of, sources) if one is not None]
    of_files = {_SOURCE: {"$in": named}} if named else NOTHING
    return all_of(found, of_files)


def _local(where: Any, catalog: Catalog, depth: int) -> Any:
    if depth > _DEEPEST:
        raise ServerError(f"a filter is nested more than {_DEEPEST} deep; ask for less at a time")
    if not isinstance(where, Mapping):
        raise ServerError('a filter is an object such as {"year": 2020}')
    found: dict[str, Any] = {}
    for key, asked in where.items():
        if key in ("$and", "$or"):
            parts = asked if isinstance(asked, list) else [asked]
            found[key] = [_local(part, catalog, depth + 1) for part in parts]
            continue
        if ":" in key:
            raise ServerError(f"pages have no field {key!r:.100}")
        if isinstance(asked, Mapping) and not _EXPRESSIONS.isdisjoint(asked):
            raise ServerError(
                "filters of a server take no regular expressions; use $contains, $icontains, $glob"
            )
        found[public_key(key)] = _sources(asked, catalog) if key == _SOURCE else asked
    return found


def _sources(asked: Any, catalog: Catalog) -> Any:
    """The sources that are called so; for what none is called, a text that no source is."""
    if isinstance(asked, Mapping):
        return dict(_of_sources(*one, catalog) for one in asked.items())
    if isinstance(asked, list):
        return [_sources(one, catalog) for one in asked]
    found = catalog.source_of(asked) if isinstance(asked, str) else None
    return "\n" if found is None else found


def _of_sources(operator: Any, value: Any, catalog: Catalog) -> tuple[Any, Any]:
    """A condition on what sources are called; of a part of a name those that are called so."""
    if operator not in _PARTS or not isinstance(value, str) or not value:
        return operator, _sources(value, catalog)
    matches = text_matches(operator, value)
    return "$in", [one for name, one in catalog.listed().sources.items() if matches(name)]
