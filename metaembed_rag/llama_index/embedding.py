"""MetaEmbed as LlamaIndex's multi-modal embedding model."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from llama_index.core.base.embeddings.base import Embedding
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.embeddings import MultiModalEmbedding
from llama_index.core.schema import BaseNode, ImageType, MetadataMode

from metaembed_rag.adapters import open_image
from metaembed_rag.budget import BudgetLike, RetrievalBudget
from metaembed_rag.errors import ModelError
from metaembed_rag.index import DEFAULT_MODEL, Encoder, Input, page_input
from metaembed_rag.llama_index.nodes import has_picture, node_picture
from metaembed_rag.pages import Page

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_BATCH = 32


class MetaEmbedEmbedding(MultiModalEmbedding):
    """Text and images to vectors; the standard hooks give the first vector of each.

    LlamaIndex's embeddings are flat lists, so they hold the (1, 1) representation: one vector of
    dimension D. All ordered vectors come from :meth:`get_query_vectors` and
    :meth:`get_document_vectors`, and :class:`MetaEmbedRetriever` searches by them.

    Async methods run in a thread, so they do not block the event loop.

    Args:
        encoder: A :class:`metaembed_rag.MetaEmbedEncoder`, or what one is loaded from on first
            use: a shipped name, a folder or a hub id.
        embed_batch_size: Inputs encoded at a time.
        **options: LlamaIndex's: ``callback_manager``, ``num_workers``, ``rate_limiter``.

    Raises:
        ModelError: An ``embeddings_cache`` was given: LlamaIndex keys it by the text alone, so a
            query could be answered with the vector of a page.
    """

    _encoder: Encoder | None = PrivateAttr(default=None)

    def __init__(
        self,
        encoder: Encoder | str | None = None,
        *,
        embed_batch_size: int = _BATCH,
        **options: Any,
    ) -> None:
        if options.get("embeddings_cache") is not None:
            raise ModelError(
                "leave out embeddings_cache: LlamaIndex keys it by the text alone, so that a query "
                "would get the vector of a page with the same words"
            )
        named = options.pop("model_name", None) or DEFAULT_MODEL
        if encoder is not None:
            named = encoder if isinstance(encoder, str) else encoder.name
        super().__init__(model_name=named, embed_batch_size=embed_batch_size, **options)
        self._encoder = None if isinstance(encoder, str) else encoder

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex serialises it."""
        return "MetaEmbedEmbedding"

    @property
    def encoder(self) -> Encoder:
        """The model, loaded by its name when it is first needed."""
        if self._encoder is None:
            from metaembed_rag.model import MetaEmbedEncoder

            self._encoder = MetaEmbedEncoder.from_pretrained(self.model_name)
        return self._encoder

    # -- all vectors -----------------------------------------------------------------------

    def get_query_vectors(
        self, queries: Sequence[Input], budget: BudgetLike | None = None
    ) -> NDArray[np.float32]:
        """Ordered unit vectors of queries, float32 of shape (queries, r_q, D).

        Args:
            queries: Texts, PIL images, or dictionaries of ``"text"`` and ``"image"``.
            budget: Only the first ``r_q`` vectors; all of them without one.
        """
        vectors = self.encoder.encode_query(queries, batch_size=self.embed_batch_size)
        return vectors if budget is None else vectors[:, : RetrievalBudget.parse(budget).r_q]

    def get_document_vectors(
        self, documents: Sequence[Input], budget: BudgetLike | None = None
    ) -> NDArray[np.float32]:
        """Ordered unit vectors of documents, float32 of shape (documents, r_c, D).

        Args:
            documents: Texts, PIL images, or dictionaries of ``"text"`` and ``"image"``.
            budget: Only the first ``r_c`` vectors; all of them without one.
        """
        vectors = self.encoder.encode_document(documents, batch_size=self.embed_batch_size)
        return vectors if budget is None else vectors[:, : RetrievalBudget.parse(budget).r_c]

    async def aget_query_vectors(
        self, queries: Sequence[Input], budget: BudgetLike | None = None
    ) -> NDArray[np.float32]:
        """:meth:`get_query_vectors` in a thread."""
        return await asyncio.to_thread(self.get_query_vectors, queries, budget)

    async def aget_document_vectors(
        self, documents: Sequence[Input], budget: BudgetLike | None = None
    ) -> NDArray[np.float32]:
        """:meth:`get_document_vectors` in a thread."""
        return await asyncio.to_thread(self.get_document_vectors, documents, budget)

    # -- LlamaIndex's hooks: the first vector ----------------------------------------------

    def _get_query_embedding(self, query: str) -> Embedding:
        first: Embedding = self.get_query_vectors([query])[0, 0].tolist()
        return first

    def _get_text_embedding(self, text: str) -> Embedding:
        return self._get_text_embeddings([text])[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        return self._first_vectors(texts)

    def _get_image_embedding(self, img_file_path: ImageType) -> Embedding:
        return self._get_image_embeddings([img_file_path])[0]

    def _get_image_embeddings(self, img_file_paths: list[ImageType]) -> list[Embedding]:
        pages = [Page(source=_name(image), image=open_image(image)) for image in img_file_paths]
        return self._first_vectors(self._inputs(pages))

    async def _aget_query_embedding(self, query: str) -> Embedding:
        return await asyncio.to_thread(self._get_query_embedding, query)

    async def _aget_text_embedding(self, text: str) -> Embedding:
        return await asyncio.to_thread(self._get_text_embedding, text)

    async def _aget_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        return await asyncio.to_thread(self._get_text_embeddings, texts)

    async def _aget_image_embedding(self, img_file_path: ImageType) -> Embedding:
        return await asyncio.to_thread(self._get_image_embedding, img_file_path)

    async def _aget_image_embeddings(self, img_file_paths: list[ImageType]) -> list[Embedding]:
        return await asyncio.to_thread(self._get_image_embeddings, img_file_paths)

    def __call__(self, nodes: Sequence[BaseNode], **kwargs: Any) -> Sequence[BaseNode]:
        """Give nodes their embeddings, as a step of an ingestion pipeline.

        LlamaIndex would embed the text alone; here a node with a picture is embedded with it.
        """
        pictured = [node for node in nodes if has_picture(node)]
        super().__call__([node for node in nodes if not has_picture(node)], **kwargs)
        for start in range(0, len(pictured), self.embed_batch_size):
            batch = pictured[start : start + self.embed_batch_size]
            inputs = self._inputs([_page(node) for node in batch])
            for node, embedding in zip(batch, self._first_vectors(inputs), strict=True):
                node.embedding = embedding
        return nodes

    async def acall(self, nodes: Sequence[BaseNode], **kwargs: Any) -> Sequence[BaseNode]:
        """:meth:`__call__` in a thread."""
        return await asyncio.to_thread(self.__call__, nodes, **kwargs)

    def _first_vectors(self, documents: Sequence[Input]) -> list[Embedding]:
        if not documents:
            return []
        first: list[Embedding] = self.get_document_vectors(documents)[:, 0].tolist()
        return first

    def _inputs(self, pages: Sequence[Page]) -> list[Input]:
        """As an index would encode these pages: by OCR where the model reads no pictures."""
        return [page_input(page, "fused", self.encoder.modalities)[1] for page in pages]


def _page(node: BaseNode) -> Page:
    text = node.get_content(metadata_mode=MetadataMode.EMBED)
    return Page(source=node.node_id, text=text, image=node_picture(node))


def _name(image: Any) -> str:
    return str(image) if isinstance(image, str) else "an image given as bytes"
