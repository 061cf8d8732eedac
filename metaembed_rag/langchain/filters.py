"""LangChain's ``filter`` keywords as filters of an index."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metaembed_rag.langchain.documents import DOCUMENT, OWN_PAGE, UNPAGED, UNSOURCED
from metaembed_rag.metadata.filters import all_of, normalize_where
from metaembed_rag.store.records import SETTINGS

_NO_NUMBER = [DOCUMENT + UNPAGED, DOCUMENT + UNSOURCED + UNPAGED]


def index_filter(filter: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A filter on documents' metadata as one on an index's pages.

    They differ in ``page`` alone: PyPDF's loader counts from 0 and others write ``"iv"``, but a
    page's number counts from 1, so what such documents call their page is stored beside it.

    Raises:
        StoreError: The filter has no meaning.
    """
    found: dict[str, Any] | None = None
    for key, condition in (normalize_where(filter) or {}).items():
        if key in ("$and", "$or"):
            part: Mapping[str, Any] = {key: [index_filter(one) for one in condition]}
        elif key == "page":
            part = _page_filter(condition)
        else:
            part = {key: condition}
        found = all_of(found, part)
    return found


def _page_filter(condition: Any) -> dict[str, Any]:
    numbered = {"$and": [{"page": condition}, {SETTINGS: {"$nin": _NO_NUMBER}}]}
    named = {"$and": [{OWN_PAGE: condition}, {SETTINGS: {"$in": _NO_NUMBER}}]}
    return {"$or": [numbered, named]}
