"""Multimodal RAG retrieval with MetaEmbed: ordered multi-vectors in Chroma, at your budget.

The public names are resolved on first use, so importing the package loads neither torch nor
Chroma::

    from metaembed_rag import MetaEmbedEncoder, PageIndex, RetrievalBudget, load_pages
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "AddReport": "metaembed_rag.ingest",
    "FederatedIndex": "metaembed_rag.federation.federated",
    "Hit": "metaembed_rag.hits",
    "Hits": "metaembed_rag.hits",
    "MetaEmbedEncoder": "metaembed_rag.model",
    "MetaEmbedError": "metaembed_rag.errors",
    "Page": "metaembed_rag.pages",
    "PageIndex": "metaembed_rag.index",
    "RetrievalBudget": "metaembed_rag.budget",
    "load_pages": "metaembed_rag.pages",
}
"""The public names and the modules that define them; written once, here."""

__all__ = ["__version__", *_HOMES]

if TYPE_CHECKING:
    from metaembed_rag.budget import RetrievalBudget as RetrievalBudget
    from metaembed_rag.errors import MetaEmbedError as MetaEmbedError
    from metaembed_rag.federation.federated import FederatedIndex as FederatedIndex
    from metaembed_rag.hits import Hit as Hit
    from metaembed_rag.hits import Hits as Hits
    from metaembed_rag.index import PageIndex as PageIndex
    from metaembed_rag.ingest import AddReport as AddReport
    from metaembed_rag.model import MetaEmbedEncoder as MetaEmbedEncoder
    from metaembed_rag.pages import Page as Page
    from metaembed_rag.pages import load_pages as load_pages


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_HOMES))
