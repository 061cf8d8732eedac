"""LlamaIndex's metadata filters in Chroma's filter language."""

from __future__ import annotations

from typing import Any

from llama_index.core.vector_stores import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
)

from metaembed_rag.errors import StoreError

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

_CONDITIONS = {FilterCondition.AND: "$and", FilterCondition.OR: "$or"}


def filters_to_where(filters: MetadataFilters | None) -> dict[str, Any] | None:
    """Translate filters, nested ones too; None or an empty set of them filters nothing.

    ``!=`` and ``nin`` also match pages that lack the key, in Chroma as in LlamaIndex.

    Raises:
        StoreError: An operator or condition that Chroma lacks, or a value that does not fit.
    """
    if filters is None:
        return None
    parts = [
        filters_to_where(part) if isinstance(part, MetadataFilters) else _one(part)
        for part in filters.filters
    ]
    present = [part for part in parts if part is not None]
    if filters.condition == FilterCondition.NOT:
        raise StoreError(
            "Chroma has no filter condition 'not'; use the operators '!=' and 'nin' instead"
        )
    return _combine(_CONDITIONS[filters.condition or FilterCondition.AND], present)


def _one(one: MetadataFilter) -> dict[str, Any] | None:
    if one.operator in _EACH_VALUE:
        if not isinstance(one.value, list) or not one.value:
            raise StoreError(f"the filter on {one.key!r} needs a list of values for 'any' or 'all'")
        each = [{one.key: {"$contains": value}} for value in one.value]
        return _combine(_EACH_VALUE[one.operator], each)
    if one.operator not in _OPERATORS:
        known = ", ".join(repr(o.value) for o in (*_OPERATORS, *_EACH_VALUE))
        raise StoreError(f"Chroma has no filter operator {one.operator.value!r}; it has {known}")
    wants_list = one.operator in (FilterOperator.IN, FilterOperator.NIN)
    if one.value is None or isinstance(one.value, list) != wants_list:
        kind = "a list of values" if wants_list else "one value"
        raise StoreError(
            f"the filter on {one.key!r} needs {kind} for {one.operator.value!r}, not {one.value!r}"
        )
    return {one.key: {_OPERATORS[one.operator]: one.value}}


def _combine(how: str, parts: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Chroma wants at least two parts in a combination."""
    if len(parts) < 2:
        return parts[0] if parts else None
    return {how: parts}
