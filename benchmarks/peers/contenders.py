"""What ``bench.py`` compares: ways to store pages of vectors and to find the best by MaxSim.

Each contender runs in a process of its own. It gets the pages as a float32 array, mapped from a
file and so shared by all, and answers a query of shape (r_q, D) with the rows of the best k. Those
that need no copy of the array have nothing to store; their bytes a page are those of the array.
"""

from __future__ import annotations

import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

CANDIDATES = 200
SAMPLE = 40
"""Queries that a calibration takes, beside those that are timed."""


class Contender(ABC):
    """One way to search.

    Attributes:
        name: In the table.
        module: What has to be installed for it.
        stores: Whether it writes to a folder; otherwise it reads the array in memory.
    """

    name: str
    module = "torch"
    stores = False

    @abstractmethod
    def build(self, pages: Array, folder: Path, sample: Array) -> None:
        """Store ``pages`` (n, R, D) in ``folder``, or take them as they are.

        ``sample`` are queries for those that tune themselves; none of them is timed.
        """

    @abstractmethod
    def search(self, query: Array, k: int) -> Sequence[int]:
        """Rows of the best ``k`` pages, best first."""

    def bytes_held(self, pages: Array, folder: Path) -> int:
        """What the pages take: on disk for those that store, in memory for the others."""
        if not self.stores:
            return pages.nbytes
        return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


class TorchFp32(Contender):
    """Brute force in blocks; what it finds is the truth for all others."""

    name = "torch fp32, brute force"
    dtype = "float32"

    def build(self, pages: Array, folder: Path, sample: Array) -> None:
        """See :class:`Contender`."""
        import torch

        self.type = getattr(torch, self.dtype)
        self.pages = torch.from_numpy(pages)
        if self.type != torch.float32:
            copied = torch.empty(self.pages.shape, dtype=self.type)
            for here, there in zip(self.pages.split(1000), copied.split(1000), strict=True):
                there.copy_(here)
            self.pages = copied

    def search(self, query: Array, k: int) -> Sequence[int]:
        """See :class:`Contender`."""
        import torch

        vectors = torch.from_numpy(query).to(self.type)
        parts = []
        for block in self.pages.split(256):
            similar = vectors @ block.flatten(0, 1).T
            parts.append(similar.view(len(vectors), len(block), -1).amax(2).float().sum(0))
        return list(torch.cat(parts).topk(k).indices.tolist())

    def bytes_held(self, pages: Array, folder: Path) -> int:
        """See :class:`Contender`."""
        return int(self.pages.nelement() * self.pages.element_size())


class TorchBf16(TorchFp32):
    """The same in half the bytes."""

    name = "torch bf16, brute force"
    dtype = "bfloat16"


class SentenceTransformers(Contender):
    """``sentence_transformers.util.maxsim``, in chunks of its own."""

    name = "sentence-transformers maxsim"
    module = "sentence_transformers"

    def build(self, pages: Array, folder: Path, sample: Array) -> None:
        """See :class:`Contender`."""
        import torch

        self.pages = torch.from_numpy(pages)

    def search(self, query: Array, k: int) -> Sequence[int]:
        """See :class:`Contender`."""
        import torch
        from sentence_transformers.util import maxsim

        return list(maxsim(torch.from_numpy(query[None]), self.pages)[0].topk(k).indices.tolist())


class MaxSimCpu(Contender):
    """``maxsim_cpu.maxsim_scores`` over one float32 array."""

    name = "maxsim-cpu"
    module = "maxsim_cpu"

    def build(self, pages: Array, folder: Path, sample: Array) -> None:
        """See :class:`Contender`."""
        self.pages = pages

    def search(self, query: Array, k: int) -> Sequence[int]:
        """See :class:`Contender`."""
        import maxsim_cpu

        return best(np.asarray(maxsim_cpu.maxsim_scores(query, self.pages)), k)


class NumKong(Contender):
    """``numkong.maxsim_packed``, a call a page; it sums the smallest angular distances."""

    name = "numkong maxsim_packed"
    module = "numkong"

    def build(self, pages: Array, folder: Path, sample: Array) -> None:
        """See :class:`Contender`."""
        import numkong

        self.pages = [numkong.maxsim_pack(page) for page in pages]

    def search(self, query: Array, k: int) -> Sequence[int]:
        """See :class:`Contender`."""
        import numkong

        packed = numkong.maxsim_pack(query)
        distances = [numkong.maxsim_packed(packed, page) for page in self.pages]
        return best(-np.array(distances), k)


class LanceDB(Contender):
    """A LanceDB table with a multivector column, without an index."""

    name = "LanceDB, brute force"
    module = "lancedb"
    stores = True

    def build(self, pages: Array, folder: Path, sample: Array) -> None:
        """See :class:`Contender`."""
        import lancedb

        database = lancedb.connect(folder)
        self.table = database.create_table("pages", _arrow_batches(pages, 1000))

    def search(self, query: Array, k: int) -> Sequence[int]:
        """See :class:`Contender`."""
        return self._rows(self.table.search(query).distance_type("cosine"), k)

    def _rows(self, asked: Any, k: int) -> list[int]:
        return list(asked.select(["row", "_distance"]).limit(k).to_arrow()["row"].to_pylist())


class LanceDBIndex(LanceDB):
    """The same with its IVF_PQ index, 16 lists of them searched, 20 k pages scored exactly."""

    name = "LanceDB, IVF_PQ"

    def build(self, pages: Array, folder: Path, sample: Array) -> None:
        """See :class:`Contender`."""
        from lancedb.index import IvfPq

        super().build(pages, folder, sample)
        self.table.create_index("vector", config=IvfPq(distance_type="cosine"))

    def search(self, query: Array, k: int) -> Sequence[int]:
        """See :class:`Contender`."""
        asked = self.table.search(query).distance_type("cosine").nprobes(16).refine_factor(20)
        return self._rows(asked, k)


class Qdrant(Contender):
    """Qdrant's local mode, which is Python and numpy and meant for tests, with MaxSim."""

    name = "Qdrant, local mode"
    module = "qdrant_client"
    stores = True

    def build(self, pages: Array, folder: Path, sample: Array) -> None:
        """See :class:`Contender`."""
        from qdrant_client import QdrantClient, models

        self.client = QdrantClient(path=str(folder))
        several = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
        vectors = models.VectorParams(
            size=pages.shape[-1], distance=models.Distance.DOT, multivector_config=several
        )
        self.client.create_collection("pages", vectors_config=vectors)
        for start in range(0, len(pages), 100):
            block = pages[start : start + 100].tolist()
            points = [models.PointStruct(id=start + n, vector=v) for n, v in enumerate(block)]
            self.client.upsert("pages", points)

    def search(self, query: Array, k: int) -> Sequence[int]:
        """See :class:`Contender`."""
        found = self.client.query_points("pages", query=query.tolist(), limit=k)
        return [int(point.id) for point in found.points]


class FastPlaid(Contender):
    """PLAID: centroids and 4-bit residuals, with its defaults."""

    name = "fast-plaid"
    module = "fast_plaid"
    stores = True

    def build(self, pages: Array, folder: Path, sample: Array) -> None:
        """See :class:`Contender`."""
        import torch
        from fast_plaid.search import FastPlaid as Plaid

        self.index = Plaid(str(folder), device="cpu")
        self.index.create([torch.from_numpy(page) for page in pages])

    def search(self, query: Array, k: int) -> Sequence[int]:
        """See :class:`Contender`."""
        import torch

        asked = torch.from_numpy(query[None])
        (found,) = self.index.search(asked, top_k=k, show_progress=False)
        return [int(row) for row, _ in found]


class Broken(Contender):
    """Fails, to show what the table says then."""

    name = "broken"
    module = "metaembed_rag"

    def build(self, pages: Array, folder: Path, sample: Array) -> None:
        """Refuse."""
        raise NotImplementedError("this contender only fails")

    def search(self, query: Array, k: int) -> Sequence[int]:
        """Refuse."""
        raise NotImplementedError("this contender only fails")


class Ours(Contender):
    """This package's mapped int8 levels, all pages scored at the full budget."""

    name = "ours, exhaustive"
    module = "metaembed_rag"
    stores = True
    kernel = ""

    def build(self, pages: Array, folder: Path, sample: Array) -> None:
        """See :class:`Contender`."""
        from metaembed_rag.budget import RetrievalBudget
        from metaembed_rag.search.plan import Plan
        from metaembed_rag.store.levels import CachedVectors

        os.environ["METAEMBED_KERNEL"] = self.kernel
        write_levels(pages, folder)
        vectors = CachedVectors.load(folder)
        self.levels = vectors.levels(pages.shape[1])
        self.plan = Plan(RetrievalBudget(sample.shape[1], pages.shape[1]))
        self.tune(sample)

    def tune(self, sample: Array) -> None:
        """Choose another plan, where a contender has one."""

    def search(self, query: Array, k: int) -> Sequence[int]:
        """See :class:`Contender`."""
        from metaembed_rag.search.cascade import search

        return list(search(query, self.levels, self.plan, k, threads=1)[0].rows.tolist())


class OursPortable(Ours):
    """The same without the compiled kernel."""

    name = "ours, exhaustive, portable"
    kernel = "portable"


class OursCandidates(Ours):
    """The best 200 by their first vector, scored at the full budget."""

    name = f"ours, {CANDIDATES} candidates"

    def tune(self, sample: Array) -> None:
        """See :class:`Ours`."""
        from metaembed_rag.search.plan import Plan, Stage

        share = min(1.0, CANDIDATES / len(self.levels[0]))
        self.plan = Plan(self.plan.budget, (Stage(1, share),))


class OursCascade(Ours):
    """The cascade, calibrated on the sample to a recall of 0.99."""

    name = "ours, cascade for 0.99"

    def tune(self, sample: Array) -> None:
        """See :class:`Ours`."""
        from metaembed_rag.search.calibration import choose
        from metaembed_rag.search.measuring import calibrate

        budget = self.plan.budget
        measured = calibrate(
            sample, self.levels, recalls=[0.99, 0.999], budgets=[budget], threads=1
        )
        reached = max(plan.recall for plan in measured.plans)
        self.plan = choose(measured, min_recall=min(0.99, reached))


class OursIndex(Contender):
    """``PageIndex`` in a Chroma folder, 200 candidates: all that a user's search does."""

    name = f"ours, PageIndex, {CANDIDATES} candidates"
    module = "metaembed_rag"
    stores = True

    def build(self, pages: Array, folder: Path, sample: Array) -> None:
        """See :class:`Contender`."""
        from metaembed_rag.index import PageIndex
        from metaembed_rag.pages import Page

        self.index = PageIndex.open(folder, ReadyEncoder(pages, sample.shape[1]))
        named = (Page("bench", number=n + 1, text=f"page {n}") for n in range(len(pages)))
        self.index.add(named, batch_size=500)

    def search(self, query: Array, k: int) -> Sequence[int]:
        """See :class:`Contender`."""
        budget = (query.shape[0], self.index.encoder.document_vectors)
        hits = self.index.search_vectors(query, k, budget=budget, candidates=CANDIDATES)
        return [hit.page.number - 1 for hit in hits]


class ReadyEncoder:
    """Hands out vectors that exist already, in the order in which pages come.

    Args:
        pages: float32, shape (n, R, D).
        query_vectors: r_q.
    """

    name = "ready"
    modalities = frozenset({"text"})
    fingerprint = "0" * 32

    def __init__(self, pages: Array, query_vectors: int) -> None:
        self._pages, self._next = pages, 0
        _, self.document_vectors, self.dimension = pages.shape
        self.query_vectors = query_vectors

    def encode_document(
        self, documents: Sequence[Any], *, batch_size: int = 32, show_progress: bool = False
    ) -> Array:
        """The next ``len(documents)`` pages' vectors."""
        start, self._next = self._next, self._next + len(documents)
        return np.array(self._pages[start : self._next])

    def encode_query(
        self, queries: Sequence[Any], *, batch_size: int = 32, show_progress: bool = False
    ) -> Array:
        """Not needed: searches bring their vectors."""
        raise NotImplementedError("search with vectors")


CONTENDERS: tuple[type[Contender], ...] = (
    TorchFp32,
    TorchBf16,
    SentenceTransformers,
    MaxSimCpu,
    NumKong,
    LanceDB,
    LanceDBIndex,
    Qdrant,
    FastPlaid,
    Ours,
    OursPortable,
    OursCandidates,
    OursCascade,
    OursIndex,
)
"""All of them; the first finds the truth."""


def best(scores: NDArray[np.float32], k: int) -> list[int]:
    """Rows of the ``k`` highest scores, best first."""
    kept = np.argpartition(-scores, k - 1)[:k]
    return [int(row) for row in kept[np.argsort(-scores[kept])]]


def write_levels(pages: Array, folder: Path, block: int = 1000) -> None:
    """The pages in int8 as an index's cache holds them."""
    from metaembed_rag.store.level_writer import CacheWriter
    from metaembed_rag.store.levels import Header
    from metaembed_rag.vectors.formats import vector_format

    shutil.rmtree(folder, ignore_errors=True)
    header = Header("bench", "", "int8", pages.shape[2], pages.shape[1])
    with CacheWriter(folder, header) as writer:
        for start in range(0, len(pages), block):
            encoded = vector_format("int8").encode(pages[start : start + block])
            ids = [str(row) for row in range(start, start + len(encoded))]
            writer.append(ids, [""] * len(ids), encoded)
        writer.commit()


def _arrow_batches(pages: Array, block: int) -> Any:
    """A reader of record batches (row, list of fixed-size vectors), for LanceDB."""
    import pyarrow as pa

    vector = pa.list_(pa.list_(pa.float32(), pages.shape[2]))
    schema = pa.schema([("row", pa.int64()), ("vector", vector)])

    def batches() -> Iterator[Any]:
        for start in range(0, len(pages), block):
            part = np.ascontiguousarray(pages[start : start + block])
            flat = pa.FixedSizeListArray.from_arrays(pa.array(part.reshape(-1)), part.shape[2])
            ends = np.arange(0, len(part) * part.shape[1] + 1, part.shape[1], dtype=np.int32)
            rows = pa.array(np.arange(start, start + len(part)))
            lists = pa.ListArray.from_arrays(ends, flat).cast(vector)
            yield pa.RecordBatch.from_arrays([rows, lists], schema=schema)

    return pa.RecordBatchReader.from_batches(schema, batches())
