"""LlamaIndex's metadata filters in Chroma's filter language."""

from __future__ import annotations

import re
from typing import Any

from llama_index.core.vector_stores import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
)

from metaembed_rag.errors import StoreError
from metaembed_rag.metadata.filters import TEXT_FIELD, normalize_where

_OPERATORS = {
    FilterOperator.EQ: "$eq",
    FilterOperator.NE: "$ne",
    FilterOperator.GT: "$gt",
    FilterOperator.GTE: "$gte",
    FilterOperator.LT: "$lt",
    FilterOperator.LTE: "$lte",
    FilterOperator.IN: "$in",
    FilterOperator.NIN: "$nin",
    FilterOperator.CONTAINS: "$contains",
}
_EACH_VALUE = {FilterOperator.ANY: "$or", FilterOperator.ALL: "$and"}
"""Chroma has these two only as a combination of one ``$contains`` a value."""

_TEXT = {FilterOperator.TEXT_MATCH, FilterOperator.TEXT_MATCH_INSENSITIVE}
"""A part of the page's text, or of the text under another key."""
_TEXT_KEYS = ("text", TEXT_FIELD)

_CONDITIONS = {FilterCondition.AND: "$and", FilterCondition.OR: "$or"}


def filters_to_where(filters: MetadataFilters | None) -> dict[str, Any] | None:
    """Translate filters, nested ones too; None or an empty set of them filters nothing.

    ``!=`` and ``nin`` also match pages that lack the key, in Chroma as in LlamaIndex.

    Raises:
        StoreError: An operator or condition that Chroma lacks, or a value that does not fit.

    ``text_match`` and ``text_match_insensitive`` look into the page's text, whose key is ``text``,
    and into the texts of all other keys.
    """
    if filters is None:
        return None
    parts = [
        filters_to_where(part) if isinstance(part, MetadataFilters) else _one(part)
        for part in filters.filters
    ]
    if filters.condition == FilterCondition.NOT:
        raise StoreError(
            "Chroma has no filter condition 'not'; use the operators '!=' and 'nin' instead"
        )
    present = [part for part in parts if part is not None]
    how = _CONDITIONS[filters.condition or FilterCondition.AND]
    if len(present) < len(parts) and how == "$or":
        return None  # one part lets every page pass
    return _combine(how, present) if present else None


def _one(one: MetadataFilter) -> dict[str, Any] | None:
    if one.operator in _EACH_VALUE:
        if not isinstance(one.value, list):
            raise StoreError(f"the filter on {one.key!r} needs a list of values for 'any' or 'all'")
        each = [{one.key: {"$contains": value}} for value in one.value]
        return normalize_where({_EACH_VALUE[one.operator]: each})
    if one.operator in _TEXT:
        key = TEXT_FIELD if one.key in _TEXT_KEYS else one.key
        return normalize_where({key: _text_condition(one)})
    if one.operator not in _OPERATORS:
        known = ", ".join(repr(o.value) for o in (*_OPERATORS, *_EACH_VALUE, *sorted(_TEXT)))
        raise StoreError(f"Chroma has no filter operator {one.operator.value!r}; it has {known}")
    wants_list = one.operator in (FilterOperator.IN, FilterOperator.NIN)
    if one.value is None or isinstance(one.value, list) != wants_list:
        kind = "a list of values" if wants_list else "one value"
        raise StoreError(
            f"the filter on {one.key!r} needs {kind} for {one.operator.value!r}, not {one.value!r}"
        )
    return normalize_where({one.key: {_OPERATORS[one.operator]: one.value}})


def _text_condition(one: MetadataFilter) -> dict[str, Any]:
    if one.key not in _TEXT_KEYS:
        return _part_condition(one)
    if one.operator == FilterOperator.TEXT_MATCH or not isinstance(one.value, str):
        return {"$contains": one.value}
    return {"$regex": f"(?i){re.escape(one.value)}" if one.value else ""}


def _part_condition(one: MetadataFilter) -> dict[str, Any]:
    if one.operator == FilterOperator.TEXT_MATCH_INSENSITIVE or not isinstance(one.value, str):
        return {"$icontains": one.value}
    return {"$regex": re.escape(one.value)}


def _combine(how: str, parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Chroma wants at least two parts in a combination."""
    return parts[0] if len(parts) == 1 else {how: parts}
