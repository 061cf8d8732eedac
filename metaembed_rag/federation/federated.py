"""FederatedIndex: several indexes asked at once, and their hits as those of one.

::

    query -> vectors, once -> every shard in a thread of its own -> hits merged by score
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Self, Unpack

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from metaembed_rag.budget import BudgetLike, RetrievalBudget
from metaembed_rag.errors import StoreError
from metaembed_rag.federation.asking import Asking
from metaembed_rag.federation.given import checked_deadline, checked_options, made_folder
from metaembed_rag.federation.opening import ShardLike, ShardOpener, opened_shards
from metaembed_rag.federation.searching import FederatedSearch
from metaembed_rag.federation.shards import MOST_SERVED, LocalShard, Question
from metaembed_rag.federation.words import exact_top
from metaembed_rag.hits import Hit, Hits
from metaembed_rag.index import PageIndex
from metaembed_rag.model.inputs import Query, read_query
from metaembed_rag.model.protocol import Encoder
from metaembed_rag.opening import OpenSettings
from metaembed_rag.options import HYBRID_AUTO, SearchKeywords, SearchOptions, page_ids
from metaembed_rag.pages import Page
from metaembed_rag.search.plan import check_budget


class FederatedIndex:
    """Several indexes searched as one.

    Each is asked in a thread of its own, at the same budget; a score is MaxSim / r_q of the same
    model, so hits are merged by it, and the result is that of one index of all pages. Where words
    count, MaxSim and BM25 of all shards are fused together, with words as rare as they are among
    the pages of all indexes that are open here; beside a server each shard counts its own pages.
    :meth:`recall` measures what is lost.

    A shard that fails, or does not answer within the deadline, is left out: the hits are those of
    the others, ``hits.missing`` says which and why, and a warning is logged. Each hit has the name
    of its ``shard``. A page that several shards hold is found once, with its better score.

    Threads may share one. Pickled and copied it is as its indexes are.

    Args:
        shards: Open indexes (:class:`metaembed_rag.PageIndex`), which stay open; folders,
            addresses of Chroma servers and of Chroma Cloud, and clients of ``chromadb``, which are
            opened; addresses of ``metaembed serve``, which is asked over HTTP, and encodes queries
            itself. Or the same by names of your own.
        encoder: The model of all indexes that are opened here; without one, each loads it by the
            name that it recorded when it needs it: for queries only the first one does.
        deadline: Seconds in which shards have to answer a search, encoding the query here not
            counted; None to wait for each as long as its own time limits let it take.
        budget: What a search without a budget takes, as for :meth:`metaembed_rag.PageIndex.search`;
            without one ``METAEMBED_BUDGET``, or all vectors that every shard has.
        serve_token: What servers of this package want to be shown, all the same; by default the
            environment variable ``METAEMBED_TOKEN``. That of a Chroma server is the setting
            ``token``.
        picture_folder: Where pictures of servers' hits are kept, so that their pages have an
            ``image_path`` and frameworks can show them; without it only :meth:`picture` asks for
            them. Files are named by content; nothing takes them away.
        collection: Name in Chroma of the indexes that are opened here.
        **settings: For these, as for :meth:`metaembed_rag.PageIndex.open`. Those of a Chroma server
            (``tenant``, ``headers``, …) count for the shards that are addresses.

    Raises:
        ModelMismatchError: Two shards are of different models, dimensions or formats of vectors.
        StoreError: There are no shards, or one cannot be opened.
        ServerError: A server does not say what it serves.
        BudgetError: The budget asks for more vectors than a shard has.
    """

    def __init__(
        self,
        shards: Iterable[ShardLike] | Mapping[str, ShardLike],
        *,
        encoder: Encoder | None = None,
        deadline: float | None = None,
        budget: BudgetLike | None = None,
        serve_token: str | None = None,
        picture_folder: str | Path | None = None,
        collection: str = "pages",
        **settings: Unpack[OpenSettings],
    ) -> None:
        self._deadline = checked_deadline(deadline)
        self._defaults = checked_options(SearchOptions(budget=budget))
        self._encoder, self._asking = encoder, Asking()
        opener = ShardOpener(encoder, collection, serve_token, settings)
        self._shards = opened_shards(shards, opener)
        self._local = [one for one in self._shards.values() if isinstance(one, LocalShard)]
        self._served = {n for n, one in self._shards.items() if not isinstance(one, LocalShard)}
        self._pictures = made_folder(picture_folder)
        self._search = FederatedSearch(self._shards, self._asking, self._served, self._pictures)

    def close(self) -> None:
        """Close the indexes that were opened here; again is no error."""
        for shard in self._shards.values():
            shard.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Callable[..., FederatedIndex], tuple[Any, ...]]:
        """By its indexes and addresses; a token is that of the environment then."""
        shards = {
            name: shard.index if isinstance(shard, LocalShard) else shard.where
            for name, shard in self._shards.items()
        }
        return _federated_again, (shards, self._deadline, self._defaults.budget, self._pictures)

    # -- what it is ------------------------------------------------------------------------

    @property
    def shards(self) -> tuple[str, ...]:
        """The names of the shards."""
        return tuple(self._shards)

    @property
    def model(self) -> str:
        """The name of the model that made all of them."""
        return next(iter(self._shards.values())).model.model

    @property
    def encoder(self) -> Encoder:
        """The model, loaded where it has to be.

        Raises:
            StoreError: All shards are servers, which encode themselves.
        """
        if self._encoder is not None:
            return self._encoder
        if not self._local:
            raise StoreError(f"every shard is a server, which encodes itself with {self.model!r}")
        return self._local[0].index.encoder

    @property
    def vectors_per_page(self) -> int:
        """The largest r_c that every shard can give."""
        return min(shard.model.vectors for shard in self._shards.values())

    @property
    def query_vectors(self) -> int:
        """The largest r_q; the model is loaded to know it where no server says it."""
        known = [shard.model.query_vectors for shard in self._shards.values()]
        said = [one for one in known if one is not None]
        return min(said) if said else self.encoder.query_vectors

    def __len__(self) -> int:
        """Pages of all shards; one that several hold counts for each.

        Raises:
            StoreError: A shard does not answer.
        """
        counts = {name: shard.count for name, shard in self._shards.items()}
        return sum(self._asking.all(counts, self._deadline).whole().values())

    def info(self) -> dict[str, Any]:
        """What it is: model, vectors, and the pages of each shard, or why they are not known."""
        counts = {name: shard.count for name, shard in self._shards.items()}
        found = self._asking.all(counts, self._deadline)
        model = next(iter(self._shards.values())).model
        return {
            "shards": [
                {"shard": name, "index": shard.where, "pages": found.answers.get(name)}
                for name, shard in self._shards.items()
            ],
            "missing": [{"shard": n, "reason": why} for n, why in found.missing.items()],
            "model": model.model,
            "fingerprint": model.fingerprint,
            "pages": sum(found.answers.values()),
            "vectors_per_page": self.vectors_per_page,
            "dimension": model.dimension,
            "vector_format": model.format,
        }

    # -- reading ---------------------------------------------------------------------------

    def search(
        self,
        query: Query,
        k: int = 5,
        *,
        deadline: float | None = None,
        **keywords: Unpack[SearchKeywords],
    ) -> Hits:
        """Find the pages of all shards that answer a query.

        Args:
            query: As for :meth:`metaembed_rag.PageIndex.search`.
            k: At most so many hits; 200 where a shard is a server.
            deadline: Seconds in which shards have to answer, instead of the index's own.
            **keywords: As for :meth:`metaembed_rag.PageIndex.search`: ``budget``, ``r_q``,
                ``r_c``, ``where``, ``candidates`` and ``exhaustive`` (of each shard), ``hybrid``
                and ``snippets``. What a calibration answers (``"auto"``, ``max_ms``,
                ``min_recall``, ``min_confidence``) is each index's own, and is refused.

        Returns:
            Hits, best first, ties by page id, each with its ``shard``; ``missing`` says which
            shards took no part. Without a ``confidence``.

        Raises:
            BudgetError: The budget asks for more vectors than a shard has.
            StoreError: No shard answered.
            MissingExtraError: As for :meth:`metaembed_rag.PageIndex.search`.
        """
        return self.search_batch([query], k, deadline=deadline, **keywords)[0]

    def search_batch(
        self,
        queries: Sequence[Query],
        k: int = 5,
        *,
        deadline: float | None = None,
        **keywords: Unpack[SearchKeywords],
    ) -> list[Hits]:
        """:meth:`search` for several queries, which a shard answers one after the other."""
        start = time.perf_counter()
        options = self._options(keywords, k)
        asked = self._questions(queries)
        found = self._found(asked, k, options, deadline)
        seconds = (time.perf_counter() - start) / max(1, len(found))
        for hits in found:
            hits.seconds = seconds
        return found

    def search_vectors(
        self,
        query_vectors: NDArray[np.float32],
        k: int = 5,
        *,
        text: str = "",
        deadline: float | None = None,
        **keywords: Unpack[SearchKeywords],
    ) -> Hits:
        """:meth:`search` with the query's vectors at hand.

        Args:
            query_vectors: float32 unit vectors, shape (R_q, D).
            k: At most so many hits.
            text: The words that a hybrid search looks for.
            deadline: As for :meth:`search`, and so are the keywords.
            **keywords: As for :meth:`search`.

        Raises:
            StoreError: A shard is a server, which takes no vectors; or no shard answered.
        """
        self._need_local("searched by vectors")
        start = time.perf_counter()
        asked = Question(None, np.asarray(query_vectors, dtype=np.float32), text)
        hits = self._found([asked], k, self._options(keywords, k), deadline)[0]
        hits.seconds = time.perf_counter() - start
        return hits

    def score(
        self,
        query: Query,
        ids: Iterable[str],
        *,
        budget: BudgetLike | None = None,
        snippets: bool | None = None,
    ) -> Hits:
        """Rank given pages at a budget, wherever they are stored.

        Args:
            query: As for :meth:`search`.
            ids: Page ids; one that no shard holds is left out.
            budget: As for :meth:`search`.
            snippets: Find the passage of each that matched.

        Raises:
            StoreError: A shard is a server, which ranks no given pages.
        """
        self._need_local("asked to rank given pages")
        wanted, options = page_ids(ids), self._options({"budget": budget, "hybrid": False})
        chosen, start = self._budget(options), time.perf_counter()
        calls = {
            name: partial(shard.index.score, query, wanted, budget=chosen, snippets=snippets)
            for name, shard in self._shards.items()
            if isinstance(shard, LocalShard)
        }
        found = self._search.answers(calls, None)
        question = Question.of(read_query(query))
        hits = self._search.merged(question, found, max(1, len(wanted)), options)
        hits.seconds = time.perf_counter() - start
        return hits

    def recall(
        self, queries: Sequence[Query], k: int = 10, **keywords: Unpack[SearchKeywords]
    ) -> float:
        """Share of the top ``k`` of one index of all pages that a search here finds.

        That one scores every page at the budget and counts words over the pages of all shards;
        it is the exact twin of :meth:`search`, whatever shards miss or do not know of each other.

        Raises:
            StoreError: A shard is a server, which does not hand out all of its pages.
        """
        self._need_local("measured")
        options = self._options(keywords, k)
        asked = self._questions(queries)
        exact = exact_top(self._local, asked, k, options, self._budget(options))
        found = self._found(asked, k, options, None)
        pairs = [
            ({hit.page.id for hit in one}, set(ids)) for one, ids in zip(found, exact, strict=True)
        ]
        total = sum(len(ids) for _, ids in pairs)
        return sum(len(some & ids) for some, ids in pairs) / total if total else 1.0

    def get(self, ids: Sequence[str]) -> list[Page]:
        """The stored pages of those ids that exist, in the order of ``ids``.

        Of a page that several shards hold, that of the shard which was named first.

        Raises:
            StoreError: A shard does not answer.
        """
        ids = page_ids(ids)
        calls = {name: partial(shard.get, ids) for name, shard in self._shards.items()}
        pages: dict[str, Page] = {}
        for found in self._asking.all(calls, self._deadline).whole().values():
            for page in found:
                pages.setdefault(page.id, page)
        return [pages[id] for id in ids if id in pages]

    def ids(self, where: Mapping[str, Any] | None = None) -> list[str]:
        """Ids of all pages, or of those that match a filter, sorted, each once.

        Raises:
            StoreError: A shard is a server, which does not list its pages, or does not answer.
        """
        self._need_local("asked for all ids")
        calls = {
            name: partial(shard.index.ids, where)
            for name, shard in self._shards.items()
            if isinstance(shard, LocalShard)
        }
        found = self._asking.all(calls, self._deadline).whole().values()
        return sorted({id for ids in found for id in ids})

    def picture(self, hit: Hit) -> Image.Image | None:
        """The picture of a hit, RGB, from its shard; None where the page has none.

        Raises:
            StoreError: The hit is of no shard here, or that one does not answer.
            PageError: The picture cannot be read.
        """
        name = hit.shard or ""
        if name not in self._shards:
            raise StoreError(f"the hit is of the shard {hit.shard!r}; here are {self.shards}")
        call = {name: partial(self._shards[name].picture, hit.page)}
        return self._asking.all(call, self._deadline).whole()[name]

    # -- parts -----------------------------------------------------------------------------

    def _options(self, keywords: Mapping[str, Any], k: int | None = None) -> SearchOptions:
        """What holds for a call; whether words count is decided for all shards together."""
        options = checked_options(SearchOptions.of(keywords, k)).over(self._defaults)
        if k is not None and k > MOST_SERVED and self._served:
            raise StoreError(f"a server gives {MOST_SERVED} hits at most; ask for fewer than {k}")
        if options.hybrid is None:
            every = all(shard.model.hybrid != "off" for shard in self._shards.values())
            options = replace(options, hybrid=HYBRID_AUTO if every else False)
        return options

    def _budget(self, options: SearchOptions) -> RetrievalBudget:
        most = RetrievalBudget(self.query_vectors, self.vectors_per_page)
        budget = options.unchosen(most)
        check_budget(budget, most)
        return budget

    def _questions(self, queries: Sequence[Query]) -> list[Question]:
        asked = [read_query(query) for query in queries]
        if not self._local:
            return [Question.of(query) for query in asked]
        vectors, _ = self._local[0].index.retrieval.encode_all(asked)
        return [Question.of(query, one) for query, one in zip(asked, vectors, strict=True)]

    def _found(
        self, asked: Sequence[Question], k: int, options: SearchOptions, deadline: float | None
    ) -> list[Hits]:
        """The hits of each query, without its time."""
        seconds = self._deadline if deadline is None else checked_deadline(deadline)
        plain = replace(options, budget=self._budget(options), r_q=None, r_c=None)
        return self._search.found(asked, k, plain, seconds) if asked else []

    def _need_local(self, what: str) -> None:
        if self._served:
            raise StoreError(f"{', '.join(sorted(self._served))} cannot be {what}: it is a server")


def _federated_again(
    shards: Mapping[str, PageIndex | str],
    deadline: float | None,
    budget: BudgetLike | None,
    pictures: Path | None,
) -> FederatedIndex:
    """The federated index that was pickled or copied; it closes the indexes that came with it."""
    found = FederatedIndex(shards, deadline=deadline, budget=budget, picture_folder=pictures)
    for shard in found._local:
        shard.owned = True
    return found
