"""MetaEmbed as LangChain's embeddings."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from langchain_core.embeddings import Embeddings

from metaembed_rag.adapters import LazyEncoder, document_vectors, embeddable, query_vectors
from metaembed_rag.budget import BudgetLike
from metaembed_rag.model.checkpoints import DEFAULT_MODEL
from metaembed_rag.model.inputs import Input, page_input
from metaembed_rag.model.protocol import Encoder
from metaembed_rag.opening import ServerKeywords, name_for_index
from metaembed_rag.pages import Page
from metaembed_rag.pages.pictures import picture_of
from metaembed_rag.store.given import ChromaClient

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class MetaEmbedEmbeddings(Embeddings):
    """Text and images to vectors; the standard methods give the first vector of each.

    LangChain's embeddings are flat lists, so they hold the (1, 1) representation: one vector of
    dimension D. All ordered vectors come from :meth:`embed_query_vectors` and
    :meth:`embed_document_vectors`, and :class:`MetaEmbedRetriever` searches by them. Async methods
    run in a thread, so they do not block the event loop.

    Args:
        encoder: A :class:`metaembed_rag.MetaEmbedEncoder`, or what one is loaded from on first
            use: a shipped name, a folder or a hub id.
        batch_size: Inputs encoded at a time.
    """

    def __init__(self, encoder: Encoder | str = DEFAULT_MODEL, *, batch_size: int = 32) -> None:
        self._encoder = LazyEncoder(None if isinstance(encoder, str) else encoder)
        self.model_name = encoder if isinstance(encoder, str) else encoder.name
        self.batch_size = batch_size

    @property
    def encoder(self) -> Encoder:
        """The model, loaded by its name when it is first needed."""
        return self._encoder.load(self.model_name)

    def encoder_for(
        self,
        where: str | os.PathLike[str] | ChromaClient,
        collection: str = "pages",
        **server: Unpack[ServerKeywords],
    ) -> Encoder:
        """The model for an index, which need not be there.

        A shipped name that has not been loaded yet becomes the version that made the index.

        Args:
            where: As for :meth:`metaembed_rag.PageIndex.open`.
            collection: Name of the collection.
            **server: ``tenant``, ``token``, … of a Chroma server, as there.

        Raises:
            StoreError: The index cannot be opened.
        """
        if self._encoder.given is None:
            self.model_name = name_for_index(self.model_name, where, collection, **server)
        return self.encoder

    # -- the first vector ------------------------------------------------------------------

    def embed_documents(self, texts: Iterable[str]) -> list[list[float]]:
        """First vectors of texts, D numbers each; a blank one has that of a full stop."""
        return self._first_vectors(embeddable(texts))

    def embed_query(self, text: str) -> list[float]:
        """First vector of a query, D numbers."""
        first: list[float] = self.embed_query_vectors([text])[0, 0].tolist()
        return first

    def embed_image(self, uris: Iterable[str | Path]) -> list[list[float]]:
        """First vectors of image files, D numbers each; by OCR where the model reads no pictures.

        Raises:
            PageError: A file cannot be read, or the model needs text and none is on the picture.
        """
        pages = [Page(source=str(uri), image=picture_of(uri)) for uri in uris]
        modalities = self.encoder.modalities
        return self._first_vectors([page_input(page, "image", modalities)[1] for page in pages])

    async def aembed_documents(self, texts: Iterable[str]) -> list[list[float]]:
        """:meth:`embed_documents` in a thread."""
        return await asyncio.to_thread(self.embed_documents, texts)

    async def aembed_query(self, text: str) -> list[float]:
        """:meth:`embed_query` in a thread."""
        return await asyncio.to_thread(self.embed_query, text)

    async def aembed_image(self, uris: Iterable[str | Path]) -> list[list[float]]:
        """:meth:`embed_image` in a thread."""
        return await asyncio.to_thread(self.embed_image, uris)

    # -- all vectors -----------------------------------------------------------------------

    def embed_query_vectors(
        self, queries: Sequence[Input], budget: BudgetLike | None = None
    ) -> NDArray[np.float32]:
        """Ordered unit vectors, float32 of shape (queries, r_q, D); all without a budget."""
        return query_vectors(self.encoder, queries, self.batch_size, budget)

    def embed_document_vectors(
        self, documents: Sequence[Input], budget: BudgetLike | None = None
    ) -> NDArray[np.float32]:
        """Ordered unit vectors, float32 of shape (documents, r_c, D); all without a budget."""
        return document_vectors(self.encoder, documents, self.batch_size, budget)

    async def aembed_query_vectors(
        self, queries: Sequence[Input], budget: BudgetLike | None = None
    ) -> NDArray[np.float32]:
        """:meth:`embed_query_vectors` in a thread."""
        return await asyncio.to_thread(self.embed_query_vectors, queries, budget)

    async def aembed_document_vectors(
        self, documents: Sequence[Input], budget: BudgetLike | None = None
    ) -> NDArray[np.float32]:
        """:meth:`embed_document_vectors` in a thread."""
        return await asyncio.to_thread(self.embed_document_vectors, documents, budget)

    def _first_vectors(self, documents: Sequence[Input]) -> list[list[float]]:
        if not documents:
            return []
        first: list[list[float]] = self.embed_document_vectors(documents)[:, 0].tolist()
        return first
