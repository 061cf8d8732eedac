"""Pages as LangChain documents."""

from __future__ import annotations

from langchain_core.documents import Document

from metaembed_rag.adapters import page_fields
from metaembed_rag.pages import Page


def page_to_document(page: Page, score: float | None = None) -> Document:
    """A page as a document: its text, and in the metadata everything else.

    A ``Document`` is text only by design, so the picture goes along as a path and never as data.
    The metadata are :func:`metaembed_rag.adapters.page_fields`, the id is the page's id.

    Args:
        page: From an index.
        score: MaxSim / r_q, in [-1, 1].
    """
    return Document(id=page.id, page_content=page.text, metadata=page_fields(page, score))
