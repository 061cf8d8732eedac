"""What a federated search asks: an index that is open here, or a running ``metaembed serve``."""

from __future__ import annotations

import copy
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.errors import ServerError, StoreError
from metaembed_rag.explanation import Passage, snippet_of
from metaembed_rag.federation.client import Server, escaped
from metaembed_rag.hits import Hit, Hits, SearchPlan, Spread
from metaembed_rag.index import PageIndex
from metaembed_rag.model.inputs import Input, query_text
from metaembed_rag.options import SearchOptions
from metaembed_rag.pages import Page
from metaembed_rag.search.pooled_words import QueryWords
from metaembed_rag.store import picture_format
from metaembed_rag.store.places import replace_file
from metaembed_rag.store.unmatched import not_logged

MOST_SERVED = 200
"""Hits that a server gives at most."""
_ID = 32
"""Hexadecimal digits of what a server calls a page."""


@dataclass(frozen=True)
class ShardModel:
    """What has to be the same for scores to be comparable, and what bounds the budget.

    Attributes:
        fingerprint: Of the model.
        pooling: How its vectors were made few.
        dimension: Values a vector.
        format: How vectors are stored.
        model: Its name.
        vectors: Vectors stored a page.
        query_vectors: Of a query; None where the model is not loaded yet.
        hybrid: How words count without a word about it: ``"auto"`` or ``"off"``.
    """

    fingerprint: str
    pooling: str
    dimension: int
    format: str
    model: str
    vectors: int
    query_vectors: int | None
    hybrid: str

    @classmethod
    def of(cls, info: Mapping[str, Any]) -> ShardModel:
        """Of what an index or a server says of itself."""
        return cls(
            fingerprint=info["fingerprint"],
            pooling=info["pooling"],
            dimension=info["dimension"],
            format=info["vector_format"],
            model=info["model"],
            vectors=info["vectors_per_page"],
            query_vectors=info.get("query_vectors"),
            hybrid=info["hybrid"],
        )

    def difference(self, other: ShardModel) -> str:
        """Why scores of the two cannot be compared; ``""`` where they can."""
        if self.fingerprint != other.fingerprint:
            mine, theirs = self.fingerprint[:12], other.fingerprint[:12]
            return f"the models differ ({self.model!r} {mine}, {other.model!r} {theirs})"
        for name in ("pooling", "dimension", "format"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                return f"their {name}s differ ({mine!r}, {theirs!r})"
        return ""


@dataclass(frozen=True)
class Question:
    """What all shards are asked.

    Attributes:
        query: Text, picture or both; None for vectors.
        vectors: float32 unit vectors, shape (R_q, D); None where no shard is open here.
        text: The words of the query.
    """

    query: Input | None
    vectors: NDArray[np.float32] | None
    text: str

    @classmethod
    def of(cls, query: Input, vectors: NDArray[np.float32] | None = None) -> Question:
        """A query with the vectors that were made of it."""
        return cls(query, vectors, query_text(query))


class Shard(Protocol):
    """One index of several."""

    where: str
    """A folder or an address."""
    model: ShardModel

    def search(
        self, asked: Question, k: int, options: SearchOptions, seconds: float | None
    ) -> Hits:
        """Its best pages; ``seconds`` is how long the answer will be waited for."""

    def query_words(self, text: str) -> QueryWords | None:
        """In how many of its pages the words of a query are; None where it does not say."""

    def recounted(self, text: str, hits: Hits, among: QueryWords, options: SearchOptions) -> Hits:
        """Its hits with the rarity that words have among the pages of all shards."""

    def count(self) -> int:
        """Number of pages."""

    def get(self, ids: Sequence[str]) -> list[Page]:
        """The stored pages of those ids that exist."""

    def picture(self, page: Page) -> Image.Image | None:
        """The picture of one of its pages; None where it has none."""

    def with_picture(self, page: Page, folder: Path) -> Page:
        """A page with the path of its picture, which is kept in a folder where it is far."""

    def snippet(self, asked: Question, hit: Hit, budget: RetrievalBudget) -> str | None:
        """The passage of a hit that matched."""

    def close(self) -> None:
        """Release what was opened for it."""


class LocalShard:
    """A :class:`metaembed_rag.PageIndex`.

    Args:
        index: Open.
        owned: Close it at the end.
    """

    def __init__(self, index: PageIndex, *, owned: bool = False) -> None:
        self.index, self.owned = index, owned
        info = index.info()
        self.where = _spoken(info)
        self.model = ShardModel.of(info)

    def search(
        self, asked: Question, k: int, options: SearchOptions, seconds: float | None
    ) -> Hits:
        """See :class:`Shard`."""
        assert asked.vectors is not None, "an index that is open here makes them"
        with not_logged():  # other shards may have pages that pass the filter
            return self.index.search_vectors(asked.vectors, k, text=asked.text, **options.keywords)

    def query_words(self, text: str) -> QueryWords | None:
        """See :class:`Shard`."""
        return self.index.retrieval.query_words(text)

    def recounted(self, text: str, hits: Hits, among: QueryWords, options: SearchOptions) -> Hits:
        """See :class:`Shard`."""
        words = self.index.retrieval.words_among(text, among, options.where)
        ids = [hit.page.id for hit in hits]
        counts = zip(hits, words.of(ids).tolist(), words.found_on(ids).tolist(), strict=True)
        most, again = words.most_found(), copy.copy(hits)  # nobody may be waiting any more
        again[:] = [replace(hit, bm25=bm25, found=found) for hit, bm25, found in counts]
        if hits.spread is not None:
            again.spread = replace(hits.spread, bm25=words.highest(), found=most, most=most)
        return again

    def count(self) -> int:
        """See :class:`Shard`."""
        return len(self.index)

    def get(self, ids: Sequence[str]) -> list[Page]:
        """See :class:`Shard`."""
        return self.index.get(ids)

    def picture(self, page: Page) -> Image.Image | None:
        """See :class:`Shard`."""
        return page.load_image()

    def with_picture(self, page: Page, folder: Path) -> Page:
        """See :class:`Shard`."""
        return page

    def snippet(self, asked: Question, hit: Hit, budget: RetrievalBudget) -> str | None:
        """See :class:`Shard`."""
        return hit.explain(budget).snippet

    def close(self) -> None:
        """See :class:`Shard`."""
        if self.owned:
            self.index.close()


def _spoken(info: Mapping[str, Any]) -> str:
    """Where an index is, with tenant, database and collection where they are not the usual ones."""
    said = [f"{info['tenant']}/{info['database']}"] if "tenant" in info else []
    said += [] if info["collection"] == "pages" else [str(info["collection"])]
    return f"{info['index']} ({', '.join(said)})" if said else str(info["index"])


class ServedShard:
    """A running ``metaembed serve``.

    It encodes the query itself, by the same model. Its pages have the ids and the names of files
    that it gives them, which name no folder of its machine.

    Args:
        address: Of the server.
        token: What it wants to be shown.
        silence: Seconds for which it may keep silent when it is asked for anything but a search.

    Raises:
        ServerError: It does not answer.
    """

    def __init__(self, address: str, token: str, silence: float) -> None:
        self._token, self._silence = token, silence
        self._server = Server(address, token, silence)
        self.where = self._server.address
        self.model = ShardModel.of(self._server.get("/info"))

    def search(
        self, asked: Question, k: int, options: SearchOptions, seconds: float | None
    ) -> Hits:
        """See :class:`Shard`."""
        if asked.query is None:
            raise StoreError("a server is asked by text and pictures, not by vectors")
        text, picture = _parts(asked.query)
        said: dict[str, Any] = {**options.keywords, "snippets": None, "query": text, "k": k}
        server = self._server
        if seconds is not None:
            server = Server(self.where, self._token, min(seconds, self._silence))
        return self._hits(asked.query, server.search(said, picture))

    def query_words(self, text: str) -> QueryWords | None:
        """See :class:`Shard`."""
        return None

    def recounted(self, text: str, hits: Hits, among: QueryWords, options: SearchOptions) -> Hits:
        """See :class:`Shard`."""
        return hits

    def count(self) -> int:
        """See :class:`Shard`."""
        return int(self._server.get("/info")["pages"])

    def get(self, ids: Sequence[str]) -> list[Page]:
        """See :class:`Shard`."""
        found = []
        for id in ids:
            if len(id) == _ID and all(c in "0123456789abcdef" for c in id):
                try:
                    found.append(self._page(self._server.get(f"/pages/{id}")))
                except ServerError as error:
                    if "not in the index" not in str(error):
                        raise
        return found

    def picture(self, page: Page) -> Image.Image | None:
        """See :class:`Shard`."""
        path = self._image(page)
        if path is None:
            return None
        return Image.open(io.BytesIO(self._server.picture(path))).convert("RGB")

    def with_picture(self, page: Page, folder: Path) -> Page:
        """See :class:`Shard`; a file is named by the page and by what it shows."""
        path = self._image(page)
        if path is None:
            return page
        name = hashlib.blake2b(path.encode(), digest_size=16).hexdigest()
        there = [folder / f"{name}{suffix}" for suffix in picture_format.SUFFIXES]
        kept = next(filter(Path.exists, there), None)
        try:
            if kept is None:
                data = self._server.picture(path)
                kept = folder / f"{name}{picture_format.suffix_of(data)}"
                replace_file(kept, data)
        except OSError as error:
            raise StoreError(f"{folder} cannot be written to: {error.strerror}") from error
        return replace(page, image_path=str(kept))

    def snippet(self, asked: Question, hit: Hit, budget: RetrievalBudget) -> str | None:
        """See :class:`Shard`; of a query with a picture there is none."""
        if not isinstance(asked.query, str):
            return None
        said = {"query": asked.query, "id": hit.page.id, "budget": [budget.r_q, budget.r_c]}
        passages = [
            Passage(*(one[name] for name in ("text", "start", "end", "score", "share")))
            for one in self._server.post("/explain", said)["passages"][:1]
        ]
        return snippet_of(hit.page.text, passages)

    def close(self) -> None:
        """See :class:`Shard`; nothing is held."""

    def _hits(self, query: Input, found: Mapping[str, Any]) -> Hits:
        hits = [
            Hit(
                one["rank"],
                one["score"],
                self._page(one),
                **{name: one.get(name) for name in ("maxsim", "bm25", "snippet", "found")},
            )
            for one in found["hits"]
        ]
        hybrid = found["scoring"] == "hybrid"
        if hybrid and found.get("spread") is None:
            raise ServerError(
                f"{self.where} is of an earlier version, which does not say enough of words to "
                f"compare them: update it, or search with hybrid=False"
            )
        answer = Hits(hits, query, RetrievalBudget(*found["budget"]), found["seconds"])
        answer.scoring = found["scoring"]
        answer.plan = _plan(found)
        answer.note = found["note"] or ""
        answer.spread = Spread(**found["spread"]) if hybrid else None
        return answer

    def _image(self, page: Page) -> str | None:
        """The path of a page's picture on the server; it says what the picture shows."""
        found: str | None = self._server.get(f"/pages/{escaped(page.id)}")["image"]
        return found

    def _page(self, said: Mapping[str, Any]) -> Page:
        return Page(
            source=said["source"],
            number=said["page"],
            text=said["text"],
            metadata=said["metadata"],
            id=said["id"],
            page_count=said["pages"],
        )


def public_id(id: str) -> str:
    """What a server calls a page: 32 hexadecimal digits."""
    return hashlib.blake2b(id.encode("utf-8", "surrogatepass"), digest_size=_ID // 2).hexdigest()


def _plan(found: Mapping[str, Any]) -> SearchPlan | None:
    """How a server found its pages."""
    plan = found["plan"]
    if plan is None:
        return None
    stages = tuple((one["r_c"], one["pages"]) for one in plan["stages"])
    return SearchPlan(plan["way"], stages, plan["source"], words=found["words"] or "")


def _parts(query: Input) -> tuple[str, tuple[str, str, bytes] | None]:
    """Text and picture of a query, as a server takes them."""
    if isinstance(query, str):
        return query, None
    text, image = ("", query) if isinstance(query, Image.Image) else _both(query)
    if image is None:
        return text, None
    data = io.BytesIO()
    image.convert("RGB").save(data, "PNG")
    return text, ("image", "query.png", data.getvalue())


def _both(query: Mapping[str, Any]) -> tuple[str, Image.Image | None]:
    return query.get("text") or "", query.get("image")
