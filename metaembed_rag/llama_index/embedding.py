"""MetaEmbed as LlamaIndex's multi-modal embedding model."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from llama_index.core.base.embeddings.base import Embedding
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.callbacks.schema import CBEventType, EventPayload
from llama_index.core.embeddings import MultiModalEmbedding
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.events.embedding import EmbeddingEndEvent, EmbeddingStartEvent
from llama_index.core.schema import BaseNode, ImageType
from llama_index.core.storage.kvstore.types import BaseKVStore

from metaembed_rag.adapters import (
    LazyEncoder,
    document_vectors,
    embeddable,
    in_search_thread,
    query_vectors,
)
from metaembed_rag.budget import BudgetLike
from metaembed_rag.errors import ModelError
from metaembed_rag.llama_index.nodes import has_picture, node_to_page
from metaembed_rag.llama_index.pickling import PickledWhole
from metaembed_rag.model.checkpoints import DEFAULT_MODEL
from metaembed_rag.model.inputs import Input, page_input
from metaembed_rag.model.protocol import Encoder
from metaembed_rag.pages import Page
from metaembed_rag.pages.pictures import picture_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_BATCH = 32
_CACHE_COLLECTION = "metaembed_embeddings"

dispatcher = get_dispatcher(__name__)


class MetaEmbedEmbedding(PickledWhole, MultiModalEmbedding):
    """Text and images to vectors; the standard hooks give the first vector of each.

    LlamaIndex's embeddings are flat lists, so they hold the (1, 1) representation: one vector of
    dimension D. All ordered vectors come from :meth:`get_query_vectors` and
    :meth:`get_document_vectors`, and :class:`MetaEmbedRetriever` searches by them.

    Async methods run in a thread, so they do not block the event loop.

    The cache holds the first vectors, keyed by the model's fingerprint, the side (query or page)
    and the content (text, pixels, or both). LlamaIndex itself keys by the text alone: a query
    would be given the vector of a page with the same words, or of another model, and pictures
    would not be cached at all. So the cache is kept here, out of LlamaIndex's reach, and its own
    field ``embeddings_cache`` stays empty.

    Args:
        encoder: A :class:`metaembed_rag.MetaEmbedEncoder`, or what one is loaded from on first
            use: a shipped name, a folder or a hub id.
        embed_batch_size: Inputs encoded at a time.
        embeddings_cache: A key-value store of LlamaIndex for embeddings; none are kept without.
        **options: LlamaIndex's: ``callback_manager``, ``num_workers``, ``rate_limiter``.

    Raises:
        ModelError: ``embeddings_cache`` is not a key-value store.
    """

    _encoder: LazyEncoder = PrivateAttr()
    _cache: BaseKVStore | None = PrivateAttr(default=None)

    def __init__(
        self,
        encoder: Encoder | str | None = None,
        *,
        embed_batch_size: int = _BATCH,
        embeddings_cache: BaseKVStore | None = None,
        **options: Any,
    ) -> None:
        named = options.pop("model_name", None) or DEFAULT_MODEL
        if encoder is not None:
            named = encoder if isinstance(encoder, str) else encoder.name
        super().__init__(model_name=named, embed_batch_size=embed_batch_size, **options)
        self._encoder = LazyEncoder(None if isinstance(encoder, str) else encoder)
        self._cache = _checked_cache(embeddings_cache)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "embeddings_cache":
            self._cache = _checked_cache(value)
        else:
            super().__setattr__(name, value)

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> MetaEmbedEmbedding:
        """A copy with the same model and the same cache: both may be shared, not all are copied."""
        memo = {} if memo is None else memo
        memo[id(self._cache)] = self._cache
        return super().__deepcopy__(memo)

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex serialises it."""
        return "MetaEmbedEmbedding"

    @property
    def encoder(self) -> Encoder:
        """The model, loaded by its name when it is first needed."""
        return self._encoder.load(self.model_name)

    # -- all vectors -----------------------------------------------------------------------

    def get_query_vectors(
        self, queries: Sequence[Input], budget: BudgetLike | None = None
    ) -> NDArray[np.float32]:
        """Ordered unit vectors, float32 of shape (queries, r_q, D); all without a budget."""
        return query_vectors(self.encoder, queries, self.embed_batch_size, budget)

    def get_document_vectors(
        self, documents: Sequence[Input], budget: BudgetLike | None = None
    ) -> NDArray[np.float32]:
        """Ordered unit vectors, float32 of shape (documents, r_c, D); all without a budget."""
        return document_vectors(self.encoder, documents, self.embed_batch_size, budget)

    async def aget_query_vectors(
        self, queries: Sequence[Input], budget: BudgetLike | None = None
    ) -> NDArray[np.float32]:
        """:meth:`get_query_vectors` in a thread."""
        return await in_search_thread(self.get_query_vectors, queries, budget)

    async def aget_document_vectors(
        self, documents: Sequence[Input], budget: BudgetLike | None = None
    ) -> NDArray[np.float32]:
        """:meth:`get_document_vectors` in a thread."""
        return await asyncio.to_thread(self.get_document_vectors, documents, budget)

    # -- LlamaIndex's hooks: the first vector ----------------------------------------------

    def _get_query_embedding(self, query: str) -> Embedding:
        return self._cached("query", [query], lambda new: self.get_query_vectors(new))[0]

    def _get_text_embedding(self, text: str) -> Embedding:
        return self._get_text_embeddings([text])[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        return self._first_vectors(embeddable(texts))

    def _get_image_embedding(self, img_file_path: ImageType) -> Embedding:
        return self._get_image_embeddings([img_file_path])[0]

    def _get_image_embeddings(self, img_file_paths: list[ImageType]) -> list[Embedding]:
        names = [_name(image) for image in img_file_paths]
        with self._instrumented(names) as embeddings:
            pages = [
                Page(source=name, image=picture_of(image))
                for name, image in zip(names, img_file_paths, strict=True)
            ]
            embeddings += self._first_vectors(self._inputs(pages))
        return embeddings

    async def _aget_query_embedding(self, query: str) -> Embedding:
        return await in_search_thread(self._get_query_embedding, query)

    async def _aget_text_embedding(self, text: str) -> Embedding:
        return await asyncio.to_thread(self._get_text_embedding, text)

    async def _aget_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        return await asyncio.to_thread(self._get_text_embeddings, texts)

    async def _aget_image_embedding(self, img_file_path: ImageType) -> Embedding:
        return await asyncio.to_thread(self._get_image_embedding, img_file_path)

    async def _aget_image_embeddings(self, img_file_paths: list[ImageType]) -> list[Embedding]:
        return await asyncio.to_thread(self._get_image_embeddings, img_file_paths)

    def __call__(self, nodes: Iterable[BaseNode], **kwargs: Any) -> Sequence[BaseNode]:
        """Give nodes their embeddings, as a step of an ingestion pipeline.

        LlamaIndex would embed the text alone; here a node with a picture is embedded with it.
        """
        nodes = list(nodes)
        pictured = [node for node in nodes if has_picture(node)]
        super().__call__([node for node in nodes if not has_picture(node)], **kwargs)
        for start in range(0, len(pictured), self.embed_batch_size):
            self._embed_pictured(pictured[start : start + self.embed_batch_size])
        return nodes

    async def acall(self, nodes: Iterable[BaseNode], **kwargs: Any) -> Sequence[BaseNode]:
        """:meth:`__call__` in a thread."""
        return await asyncio.to_thread(self.__call__, nodes, **kwargs)

    def _embed_pictured(self, nodes: Sequence[BaseNode]) -> None:
        chunks = [node.get_content() or node.node_id for node in nodes]
        event = self.callback_manager.event(
            CBEventType.EMBEDDING, payload={EventPayload.SERIALIZED: self.to_payload()}
        )
        with event as running, self._instrumented(chunks) as embeddings:
            inputs = self._inputs([node_to_page(node) for node in nodes])
            embeddings += self._first_vectors(inputs)
            for node, embedding in zip(nodes, embeddings, strict=True):
                node.embedding = embedding
            running.on_end(
                payload={EventPayload.CHUNKS: chunks, EventPayload.EMBEDDINGS: embeddings}
            )

    @contextmanager
    def _instrumented(self, chunks: list[str]) -> Iterator[list[Embedding]]:
        """The events that LlamaIndex sends for texts, for what is embedded meanwhile.

        Yields:
            A list for the embeddings.
        """
        embeddings: list[Embedding] = []
        dispatcher.event(EmbeddingStartEvent(model_dict=self.to_payload()))
        yield embeddings
        dispatcher.event(EmbeddingEndEvent(chunks=chunks, embeddings=embeddings))

    def _first_vectors(self, documents: Sequence[Input]) -> list[Embedding]:
        return self._cached("document", documents, lambda new: self.get_document_vectors(new))

    def _inputs(self, pages: Sequence[Page]) -> list[Input]:
        """As an index would encode these pages: by OCR where the model reads no pictures."""
        return [page_input(page, "fused", self.encoder.modalities)[1] for page in pages]

    def _cached(
        self,
        side: str,
        inputs: Sequence[Input],
        encode: Callable[[list[Input]], NDArray[np.float32]],
    ) -> list[Embedding]:
        """First vectors, encoding only those that the cache lacks."""
        if self._cache is None:
            return [] if not inputs else encode(list(inputs))[:, 0].tolist()
        keys = [_cache_key(self.encoder.fingerprint, side, value) for value in inputs]
        found = {key: self._cache.get(key, collection=_CACHE_COLLECTION) for key in set(keys)}
        known = {key: entry["embedding"] for key, entry in found.items() if entry is not None}
        new = {key: value for key, value in zip(keys, inputs, strict=True) if key not in known}
        if new:
            first = encode(list(new.values()))[:, 0].tolist()
            for key, embedding in zip(new, first, strict=True):
                self._cache.put(key, {"embedding": embedding}, collection=_CACHE_COLLECTION)
                known[key] = embedding
        return [known[key] for key in keys]


def _checked_cache(cache: Any) -> BaseKVStore | None:
    if cache is not None and not isinstance(cache, BaseKVStore):
        raise ModelError(
            f"embeddings_cache is a {type(cache).__name__}; give one of LlamaIndex's key-value "
            f"stores, such as SimpleKVStore()"
        )
    return cache


def _cache_key(fingerprint: str, side: str, value: Input) -> str:
    """Model, side and content; text, a picture and both never share a key."""
    parts: Mapping[str, Any] = value if isinstance(value, Mapping) else {"": value}
    digest = hashlib.blake2b(digest_size=20)
    for part in (part for part in parts.values() if part is not None):
        if isinstance(part, str):
            kind, content = "text", part
        else:
            kind, content = "image", Page(source="-", image=part).picture_hash()
        data = content.encode("utf-8", "surrogatepass")
        digest.update(f"{kind}:{len(data)}:".encode() + data)
    return f"{fingerprint}:{side}:{digest.hexdigest()}"


def _name(image: Any) -> str:
    return str(image) if isinstance(image, str) else "an image given as bytes"
