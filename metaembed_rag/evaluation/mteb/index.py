"""The index at a budget, as mteb's ``SearchProtocol``."""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any, Unpack

from mteb._create_dataloaders import create_dataloader
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.types import PromptType

from metaembed_rag.budget import BudgetLike
from metaembed_rag.errors import StoreError
from metaembed_rag.evaluation.mteb.inputs import (
    Row,
    encode_options,
    pages_of,
    queries_of,
    rows_of,
    warn_of_skipped,
)
from metaembed_rag.evaluation.mteb.meta import choose_budget, model_meta
from metaembed_rag.evaluation.reading import chunks
from metaembed_rag.hits import Hits
from metaembed_rag.index import PageIndex
from metaembed_rag.model.inputs import Input, Mode
from metaembed_rag.model.protocol import Encoder
from metaembed_rag.opening import OpenSettings
from metaembed_rag.options import HybridLike
from metaembed_rag.pages.reading import Ocr
from metaembed_rag.progress import tqdm


class IndexOptions(OpenSettings, total=False):
    """How pages are stored, and how they are searched."""

    exhaustive: bool
    hybrid: HybridLike


class MTEBIndex:
    """A :class:`PageIndex` at one budget, as mteb's ``SearchProtocol``.

    So mteb measures an index as users have it: pages stored in Chroma in int8, the best by the
    first vector ranked by MaxSim at the budget. For retrieval and reranking tasks.

    Args:
        encoder: The model.
        budget: Without one, that of ``METAEMBED_BUDGET``, or else all vectors that there are.
        candidates: Pages, the best by their first vector, that are ranked. At most so many
            can be found, so metrics deeper than that (such as recall@1000) stay low.
        mode: As for :class:`MTEBEncoder`, like ``ocr`` and ``about``.
        folder: Keep the indexes here, one for each task and set of page ids: a second run, at
            another budget for instance, encodes no page again. Without it a temporary folder
            serves as long as this object lives. In both, languages that ask about the same pages
            (ViDoRe v2 and v3) share them.
        **options: ``exhaustive`` scores every page instead of candidates; each query then reads the
            whole index, and for thousands of pages :class:`MTEBEncoder` is faster. ``hybrid`` lets
            words count, as :class:`metaembed_rag.options.SearchOptions` explains it. The rest is
            for :meth:`PageIndex.open`, such as ``vectors=16``.

    Attributes:
        mteb_model_meta: What mteb records; see :class:`MTEBEncoder`.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        budget: BudgetLike | None = None,
        candidates: int = 200,
        mode: Mode = "fused",
        ocr: bool | Ocr = True,
        folder: str | PathLike[str] | None = None,
        about: Mapping[str, Any] | None = None,
        **options: Unpack[IndexOptions],
    ) -> None:
        open_options: dict[str, Any] = {**options}
        hybrid: HybridLike = open_options.pop("hybrid", None) or False
        exhaustive = open_options.pop("exhaustive", None)
        if candidates < 1:
            raise StoreError(f"candidates must be at least 1, not {candidates}")
        self.encoder = encoder
        self.budget = choose_budget(budget, encoder)
        self._candidates = None if exhaustive else candidates
        self._hybrid = hybrid
        self._reading: dict[str, Any] = {"mode": mode, "ocr": ocr}
        self._folder = None if folder is None else Path(folder)
        self._open_options = open_options
        self._index: PageIndex | None = None
        choices: dict[str, Any] = {
            "budget": str(self.budget),
            "candidates": self._candidates or "exhaustive",
            "hybrid": str(hybrid),
            **self._reading,
            **{name: str(value) for name, value in open_options.items()},
        }
        self.mteb_model_meta = model_meta(encoder, choices, about)

    def index(
        self,
        corpus: Any,
        *,
        task_metadata: TaskMetadata,
        hf_split: str,
        hf_subset: str,
        encode_kwargs: Mapping[str, Any],
        num_proc: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Encode and store the pages of a corpus that are not stored yet."""
        batch_size, shown = encode_options(encode_kwargs)
        task = task_metadata.name
        ids = list(corpus["id"])
        rows = _rows(corpus, PromptType.document, task_metadata, batch_size, num_proc)
        pages = pages_of(tqdm(rows, desc=task, total=len(ids), disable=not shown), task)
        self.close()
        self._index = PageIndex.open(self._place(task, ids), self.encoder, **self._open_options)
        report = self._index.add(pages, batch_size=batch_size, **self._reading)
        warn_of_skipped(report.unread, task)

    def search(
        self,
        queries: Any,
        *,
        task_metadata: TaskMetadata,
        hf_split: str,
        hf_subset: str,
        top_k: int,
        encode_kwargs: Mapping[str, Any],
        top_ranked: Mapping[str, Sequence[str]] | None = None,
        num_proc: int | None = None,
        **kwargs: Any,
    ) -> dict[str, dict[str, float]]:
        """The best pages of every query, or the order of those in ``top_ranked``.

        Returns:
            Query id -> page id -> score, at most ``top_k`` pages a query.

        Raises:
            StoreError: :meth:`index` was not called.
            ModelError: A query is empty.
        """
        batch_size, _ = encode_options(encode_kwargs)
        rows = _rows(queries, PromptType.query, task_metadata, batch_size, num_proc)
        asked = zip(queries["id"], queries_of(rows, self.encoder), strict=True)
        found: dict[str, dict[str, float]] = {}
        for some in chunks(asked, batch_size, 1):
            ids, texts = zip(*some, strict=True)
            given = None if top_ranked is None else [top_ranked.get(id, ()) for id in ids]
            ranked = self._ranked(texts, given, top_k)
            for id, hits in zip(ids, ranked, strict=True):
                found[id] = {hit.page.id: hit.score for hit in islice(hits, top_k)}
        return found

    def close(self) -> None:
        """Release the index of the last corpus; a search then needs :meth:`index` again."""
        if self._index is not None:
            self._index.close()
        self._index = None

    def _ranked(
        self, queries: Sequence[Input], given: Sequence[Sequence[str]] | None, top_k: int
    ) -> list[Hits]:
        """Hits of some queries: among the pages ``given`` to each, or without them among all."""
        if self._index is None:
            raise StoreError("nothing is indexed yet: call index() before search()")
        if given is not None:
            return [
                self._index.score(query, ids, budget=self.budget)
                for query, ids in zip(queries, given, strict=True)
            ]
        return self._index.search_batch(
            queries,
            min(top_k, self._candidates or top_k),
            budget=self.budget,
            candidates=self._candidates,
            exhaustive=self._candidates is None,
            hybrid=self._hybrid,
        )

    def _place(self, task: str, ids: Sequence[str]) -> Path:
        """The folder of one corpus: pages of another one can never be found in it."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="metaembed_mteb_"))
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        corpus = hashlib.blake2b(repr(sorted(ids)).encode(), digest_size=8).hexdigest()
        return self._folder / f"{re.sub(r'[^A-Za-z0-9.-]+', '_', task)}_{corpus}"


def _rows(
    table: Any, side: PromptType, task: TaskMetadata, batch_size: int, num_proc: int | None
) -> Iterator[Row]:
    loader = create_dataloader(
        table, task_metadata=task, prompt_type=side, batch_size=batch_size, num_proc=num_proc
    )
    return rows_of(loader, task.name)
