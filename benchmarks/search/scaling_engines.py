"""What ``scaling`` compares. Each engine stores pages in a folder, and is opened there again."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.search.scaling_pages import ScalingPages
from benchmarks.search.scaling_truth import ROUND, K

BLOCK = 500
"""Pages that are made and written at a time."""
_UNRELATED = 20
"""Queries that stand for unrelated ones: confidence is not looked at here, so the least number."""
Array = NDArray[np.float32]


class Engine(ABC):
    """One engine.

    Attributes:
        name: In the table.
        settings: Ways to search, from fast to thorough; those that reach a recall are its answer.
    """

    name: str
    settings: Sequence[Any] = ("default",)

    def __init__(self, pages: ScalingPages, folder: Path) -> None:
        self.pages, self.folder = pages, folder

    def there(self) -> int:
        """How many pages the folder holds already."""
        return 0

    @abstractmethod
    def ingest(self, count: int, until: float) -> int:
        """Store the first ``count`` pages; give up at ``until`` (``time.monotonic``).

        Returns:
            How many pages are stored.
        """

    @abstractmethod
    def open(self) -> None:
        """Open what was stored, as another process would."""

    @abstractmethod
    def search(self, query: Array, setting: Any) -> list[int]:
        """Rows of the best :data:`K` pages of a query, shape (16, D)."""

    def _blocks(self, count: int, until: float) -> Iterator[tuple[int, Array]]:
        for start in range(0, count, BLOCK):
            if time.monotonic() > until:
                raise TimeoutError(f"{start:,} of {count:,} pages were stored in that time")
            yield start, self.pages.block(start, min(start + BLOCK, count))


class Ours(Engine):
    """``PageIndex`` in a folder, by ``add`` and ``search_vectors``: all that a user's search does.

    A run that was cut off goes on where it was; one whose time runs out stops at a round number.
    """

    name = "ours"
    settings = ("auto 0.95", "auto 0.99", "exhaustive", "hybrid auto 0.99")
    format: str | None = None

    def there(self) -> int:
        """See :class:`Engine`."""
        index = self._index()
        count = len(index)
        index.close()
        return count

    def ingest(self, count: int, until: float) -> int:
        """See :class:`Engine`."""
        from metaembed_rag import Page

        index = self._index()
        there = len(index)
        index.encoder.next = there  # type: ignore[attr-defined]

        def rows() -> Iterator[Page]:
            for row in range(there, count):
                if row % ROUND == 0 and time.monotonic() > until:
                    return
                yield Page("tex", number=row + 1, text=self.pages.text(row))

        index.add(rows(), batch_size=BLOCK)
        made = index.encoder.next  # type: ignore[attr-defined]
        if made != len(index):
            raise RuntimeError(f"vectors of {made:,} pages were asked for {len(index):,} pages")
        return len(index)

    def open(self) -> None:
        """See :class:`Engine`."""
        self.index, self._calibrated = self._index(), ""

    def search(self, query: Array, setting: Any) -> list[int]:
        """See :class:`Engine`."""
        return self.asked(query, setting, "")

    def asked(self, query: Array, setting: str, text: str) -> list[int]:
        """As :meth:`search`, with the words of the query."""
        if setting == "exhaustive":
            hits = self.index.search_vectors(query, K, exhaustive=True, hybrid=False)
        elif setting.startswith("hybrid"):
            hits = self.index.search_vectors(query, K, text=text, budget="auto", hybrid="auto")
        else:
            recall = float(setting.split()[1])
            hits = self.index.search_vectors(
                query, K, budget="auto", min_recall=recall, hybrid=False
            )
        return [hit.page.number - 1 for hit in hits]

    def calibrate(self, recall: float, queries: int) -> float:
        """Calibrate by the first queries of the file; seconds."""
        start = time.perf_counter()
        asked = [str(n) for n in range(queries)]
        self.index.calibrate(asked, recall=recall, unrelated=asked[:_UNRELATED])
        return time.perf_counter() - start

    def stored(self) -> int:
        """How many pages there are."""
        return len(self.index)

    def _index(self) -> Any:
        from metaembed_rag import PageIndex

        return PageIndex.open(self.folder, ReadyEncoder(self.pages), format=self.format)


class OursBits(Ours):
    """The same with a bit a value."""

    name = "ours, bits"
    format = "bits"


class ReadyEncoder:
    """Vectors of pages in their order, and of queries by their number.

    Attributes:
        next: The row of the next page.
    """

    name = "ready"
    modalities = frozenset({"text"})
    query_vectors = 16

    def __init__(self, pages: ScalingPages) -> None:
        self._pages, self.next = pages, 0
        self.document_vectors, self.dimension = pages.vectors, pages.dimension
        self.fingerprint = pages.fingerprint

    def encode_document(
        self, documents: Sequence[Any], *, batch_size: int = 32, show_progress: bool = False
    ) -> Array:
        """Of the next ``len(documents)`` pages."""
        start, self.next = self.next, self.next + len(documents)
        return self._pages.block(start, self.next)

    def encode_query(
        self, queries: Sequence[Any], *, batch_size: int = 32, show_progress: bool = False
    ) -> Array:
        """Of queries that are numbers."""
        rows = [int(query) % len(self._pages.queries) for query in queries]
        found: Array = self._pages.queries[rows]
        return found


class LanceDB(Engine):
    """A table with a multivector column and an IVF_PQ index of it."""

    name = "LanceDB 0.40, IVF_PQ"
    settings = ((8, 5), (16, 20), (32, 50), (64, 100), (128, 200))
    """Lists that are searched, and k times this many pages scored exactly."""

    def ingest(self, count: int, until: float) -> int:
        """See :class:`Engine`."""
        import lancedb
        import pyarrow as pa
        from lancedb.index import IvfPq

        size = self.pages.dimension
        schema = pa.schema(
            [("row", pa.int64()), ("vector", pa.list_(pa.list_(pa.float32(), size)))]
        )
        table = lancedb.connect(self.folder).create_table("pages", schema=schema)
        for start, block in self._blocks(count, until):
            table.add(_lists(block, start, schema))
        table.create_index("vector", config=IvfPq(distance_type="cosine"))
        return count

    def open(self) -> None:
        """See :class:`Engine`."""
        import lancedb

        self.table = lancedb.connect(self.folder).open_table("pages")

    def search(self, query: Array, setting: Any) -> list[int]:
        """See :class:`Engine`."""
        probes, refine = setting
        asked = self.table.search(query).distance_type("cosine").nprobes(probes)
        found = asked.refine_factor(refine).select(["row", "_distance"]).limit(K).to_arrow()
        return list(found["row"].to_pylist())


def _lists(block: Array, start: int, schema: Any) -> Any:
    """A record batch of (row, list of fixed-size vectors)."""
    import pyarrow as pa

    flat = pa.FixedSizeListArray.from_arrays(pa.array(block.reshape(-1)), block.shape[2])
    ends = np.arange(0, len(block) * block.shape[1] + 1, block.shape[1], dtype=np.int32)
    lists = pa.ListArray.from_arrays(ends, flat).cast(schema.field("vector").type)
    rows = pa.array(np.arange(start, start + len(block)))
    return pa.Table.from_batches([pa.RecordBatch.from_arrays([rows, lists], schema=schema)])


class Qdrant(Engine):
    """Qdrant's engine in this process (Qdrant Edge), with named vectors as the export writes them.

    The first vector of a page has a graph; the others rescore what it finds.
    """

    name = "Qdrant Edge 0.9"
    settings = ((200, 50), (1_000, 200), (5_000, 1_000), (20_000, 4_000), "exact")
    """Pages that the first vector finds, and how many of them the first four keep."""

    def ingest(self, count: int, until: float) -> int:
        """See :class:`Engine`."""
        import qdrant_edge as edge

        self.folder.mkdir(parents=True, exist_ok=True)
        shard = edge.EdgeShard.create(str(self.folder), self._config())
        for start, block in self._blocks(count, until):
            points = [edge.Point(start + n, self._named(page)) for n, page in enumerate(block)]
            shard.update(edge.UpdateOperation.upsert_points(points))
        shard.optimize()
        shard.flush()
        shard.close()
        return count

    def open(self) -> None:
        """See :class:`Engine`."""
        import qdrant_edge as edge

        self.shard = edge.EdgeShard.load(str(self.folder))

    def search(self, query: Array, setting: Any) -> list[int]:
        """See :class:`Engine`."""
        import qdrant_edge as edge

        levels, asked = self._levels(), query.tolist()
        nearest = {level: edge.Query.Nearest(asked, using=f"v{level}") for level in levels}
        stages, exact = [], edge.SearchParams(exact=True)
        if setting != "exact":
            first, kept = setting
            found = edge.SearchParams(hnsw_ef=first)
            stages = [edge.Prefetch(first, query=nearest[1], params=found)]
            if levels[1:-1]:
                stages = [edge.Prefetch(kept, query=nearest[levels[1]], prefetches=stages)]
        request = edge.QueryRequest(
            K,
            query=nearest[levels[-1]],
            prefetches=stages,
            params=exact if setting == "exact" else None,
        )
        return [int(point.id) for point in self.shard.query(request)]

    def _levels(self) -> tuple[int, ...]:
        from metaembed_rag.maintenance.qdrant import levels_of

        return levels_of(self.pages.vectors)

    def _named(self, page: Array) -> dict[str, Any]:
        return {f"v{level}": page[:level].tolist() for level in self._levels()}

    def _config(self) -> Any:
        import qdrant_edge as edge

        several = edge.MultiVectorConfig(edge.MultiVectorComparator.MaxSim)
        rescoring = {
            "hnsw_config": edge.HnswIndexConfig(m=0, ef_construct=100, full_scan_threshold=10_000),
            "memory": edge.Memory.Cold,
        }
        return edge.EdgeConfig(
            vectors={
                f"v{level}": edge.EdgeVectorParams(
                    self.pages.dimension,
                    edge.Distance.Dot,
                    multivector_config=several,
                    **({} if level == 1 else rescoring),
                )
                for level in self._levels()
            }
        )


class FastPlaid(Engine):
    """PLAID: centroids and 4-bit residuals."""

    name = "fast-plaid 1.7"
    settings = ((4, 1024), (8, 4096), (16, 8192), (32, 16384), (64, 65536))
    """Lists that are searched, and pages whose score is approximated."""

    def ingest(self, count: int, until: float) -> int:
        """See :class:`Engine`."""
        import torch
        from fast_plaid.search import FastPlaid as Plaid

        parts = [torch.from_numpy(page) for _, b in self._blocks(count, until) for page in b]
        Plaid(str(self.folder), device="cpu").create(parts)
        return count

    def open(self) -> None:
        """See :class:`Engine`."""
        from fast_plaid.search import FastPlaid as Plaid

        self.index = Plaid(str(self.folder), device="cpu")

    def search(self, query: Array, setting: Any) -> list[int]:
        """See :class:`Engine`."""
        import torch

        probes, scored = setting
        (found,) = self.index.search(
            torch.from_numpy(query[None]),
            top_k=K,
            n_ivf_probe=probes,
            n_full_scores=scored,
            show_progress=False,
        )
        return [int(row) for row, _ in found]


ENGINES: dict[str, type[Engine]] = {
    "ours": Ours,
    "ours-bits": OursBits,
    "lancedb": LanceDB,
    "qdrant": Qdrant,
    "fast-plaid": FastPlaid,
}
"""By the name of the option. Ours comes first: its exact top is the truth for all."""
