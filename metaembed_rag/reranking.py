"""Pages that somebody else found, made ready to be scored as the index would score them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from metaembed_rag.errors import PageError
from metaembed_rag.model.inputs import Mode, page_inputs
from metaembed_rag.model.protocol import Encoder, checked_vectors, warn_of_unread
from metaembed_rag.pages import Page
from metaembed_rag.store.chroma import ChromaStore
from metaembed_rag.store.collection import CollectionModel
from metaembed_rag.vectors.formats import Encoded, vector_format


def split_stored(
    store: ChromaStore, given: Sequence[str | Page], mode: Mode
) -> tuple[list[str], list[Page]]:
    """Ids to be scored by stored vectors, and pages to be encoded.

    Args:
        store: The records.
        given: Page ids, and pages: those that are stored with the same id, content and mode count
            as ids.
        mode: What of a page is encoded.
    """
    pages = {page.id: page for page in given if isinstance(page, Page)}
    same = {
        id
        for id, old in store.get(list(pages)).items()
        if (old.content_hash, old.mode) == (pages[id].content_hash(), mode)
    }
    ids = [one if isinstance(one, str) else one.id for one in given]
    others = [page for id, page in pages.items() if id not in same]
    return [id for id in ids if id not in pages or id in same], others


def encoded_as_stored(
    encoder: Encoder,
    about: CollectionModel,
    pages: Sequence[Page],
    mode: Mode,
    batch_size: int,
    on_skip: Callable[[PageError], None] | None,
) -> tuple[list[Page], Encoded | None]:
    """Those pages that can be read, with their vectors cut and rounded as an index stores them.

    Args:
        encoder: The index's model.
        about: How the index stores vectors.
        pages: Are not stored here either.
        mode: What of a page is encoded.
        batch_size: Pages encoded at a time.
        on_skip: As for :func:`page_inputs`.

    Returns:
        The pages; their vectors, shape (pages, R, …), None where there is no page.
    """
    readable, inputs = page_inputs(pages, mode, encoder.modalities, on_skip=on_skip)
    if not readable:
        return [], None
    warn_of_unread(encoder, inputs)
    made = encoder.encode_document(inputs, batch_size=batch_size)
    vectors = checked_vectors(encoder, "document", made, len(inputs))
    return readable, vector_format(about.format).encode(about.cut(vectors))
