"""Indexes in memory, for tests that search a few pages."""

from __future__ import annotations

from collections.abc import Iterable

from metaembed_rag.index import PageIndex
from metaembed_rag.model.protocol import Encoder
from metaembed_rag.pages import Page


def index_of(pages: Iterable[Page], encoder: Encoder) -> PageIndex:
    """An index in memory that holds these pages, as this encoder sees them."""
    index = PageIndex.open(":memory:", encoder)
    index.add(pages)
    return index
