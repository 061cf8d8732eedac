"""What an index will cost, before anything is indexed: bytes, memory and milliseconds.

Bytes follow from the vector format. Milliseconds come from scoring a block of random vectors on
one thread of this machine, scaled to the number of pages: scoring is linear in pages, and its time
does not depend on the values.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.errors import StoreError
from metaembed_rag.store.levels import level_ends
from metaembed_rag.vectors.formats import FORMATS, Encoded, VectorFormat
from metaembed_rag.vectors.integers import maxsim_levels

_BLOCK_BYTES = 16_000_000
"""Of vectors that are scored for the measurement: more than a core's own caches hold."""
_SECONDS_A_MEASURE = 0.06
"""For one format and budget; 20 of them stay under 2 s."""
_RECORD, _GRAPH = 1_000, 230
"""Bytes of a page in Chroma beside its texts and its first vector, in SQLite and in the graph."""
_TEXTS = 8.4
"""Bytes of a character: Chroma holds a text, its document, three times, of which one leaves blocks
half empty, and an index of its pieces of three letters."""
_BUNDLED = 1.01
"""Packed vectors as text are held once; SQLite fills its pages so far."""
_CHARACTERS = {"fp16": 1.15, "int8": 1.165, "int4": 1.09, "bits": 1.26}
"""Characters of a byte of random unit vectors as :mod:`metaembed_rag.store.packing` codes them.
Those of a model are coded better: of ``small`` 1.05 in int8 and 0.86 in int4."""
_QUEUE, _QUEUED = 1_000, 1_400
"""Records that Chroma's log holds, or has held, and the bytes of one beside its content."""
_TEXT = 500
"""Characters of text that a page is taken to have."""
_CACHE_ROW = 150
"""Bytes of a page in the cache beside its vectors: its id and stamp."""
_PROCESS, _PROCESS_PAGE = 150_000_000, 400
"""Memory of a process that searches, without a model: Python and Chroma, and its ids a page."""


@dataclass(frozen=True)
class BudgetCost:
    """What a search at one budget costs in one format.

    Attributes:
        budget: (r_q, r_c).
        bytes_per_page: Bytes of a page's vectors that the budget reads.
        exhaustive_ms: Estimated milliseconds to score every page for one query on one thread.
    """

    budget: tuple[int, int]
    bytes_per_page: int
    exhaustive_ms: float


@dataclass(frozen=True)
class FormatCost:
    """What an index costs in one format.

    Attributes:
        format: Name of the format.
        bytes_per_page: Bytes of a page's vectors.
        vectors_bytes: Bytes of the vectors of all pages: what the cache maps.
        disk_bytes: Estimated bytes of the index: Chroma's files and the cache, without pictures.
        memory_bytes: Estimated bytes that a searching process has for itself, without the model.
        mapped_bytes: Bytes that it may have mapped beside these, shared by all processes.
        budgets: Costs of the paper's budgets that there are vectors for, and of all vectors.
    """

    format: str
    bytes_per_page: int
    vectors_bytes: int
    disk_bytes: int
    memory_bytes: int
    mapped_bytes: int
    budgets: tuple[BudgetCost, ...]


@dataclass(frozen=True)
class IndexCost:
    """What an index of so many pages costs in each format.

    Attributes:
        pages: N, the number of pages.
        vectors: R, the vectors stored a page.
        dimension: D, the values of a vector.
        measured_pages: For each format the random pages that were scored for the milliseconds.
        formats: Costs of each format, from the exact one to the smallest.
    """

    pages: int
    vectors: int
    dimension: int
    measured_pages: dict[str, int]
    formats: tuple[FormatCost, ...]

    def to_dict(self) -> dict[str, Any]:
        """The costs as one JSON object, as ``metaembed plan --json`` prints it."""
        return asdict(self)


def index_cost(
    pages: int, *, dimension: int, vectors: int = 64, query_vectors: int = 16
) -> IndexCost:
    """Say what an index costs; measures scoring on one thread for about a second.

    Args:
        pages: N, the number of pages, at least 1.
        dimension: D, the values of a vector.
        vectors: R, the vectors stored a page.
        query_vectors: R_q, the query vectors that the model makes.

    Raises:
        StoreError: A number is below 1.
    """
    for name, value in (("pages", pages), ("dimension", dimension), ("vectors", vectors)):
        if value < 1:
            raise StoreError(f"{name} must be at least 1, not {value}")
    fitting = [b for b in RetrievalBudget.paper() if b.r_q <= query_vectors and b.r_c <= vectors]
    budgets = sorted({*fitting, RetrievalBudget(query_vectors, vectors)})
    measured: dict[str, int] = {}
    found = []
    for format in FORMATS.values():
        block = _random_block(format, dimension, vectors)
        measured[format.name] = len(block[0])
        found.append(_format_cost(block, pages, budgets))
    return IndexCost(pages, vectors, dimension, measured, tuple(found))


def _format_cost(block: list[Encoded], pages: int, budgets: list[RetrievalBudget]) -> FormatCost:
    format, dimension = block[0].format, block[0].dimension
    size = format.bytes_per_vector(dimension)
    page = size * sum(level.values.shape[1] for level in block)
    return FormatCost(
        format.name,
        page,
        page * pages,
        disk_bytes(pages, page, dimension, format=format.name),
        _PROCESS + (_PROCESS_PAGE + _GRAPH + 4 * dimension) * pages,
        page * pages,
        tuple(
            BudgetCost(
                (b.r_q, b.r_c), b.r_c * size, _milliseconds(block, b) * pages / len(block[0])
            )
            for b in budgets
        ),
    )


def disk_bytes(
    pages: int, page: int, dimension: int, text: int = _TEXT, *, format: str = "int8"
) -> int:
    """Estimated bytes on disk of pages with ``page`` bytes of vectors and ``text`` characters each.

    Within 4 % of what Chroma 1.5.9 and the cache took for 2,000 and 10,000 pages in int8 and bits,
    with 16 to 64 vectors of 256 and 384 values and 500 and 1,800 characters
    (``benchmarks.search.disk_size``), of random unit vectors. Those of a model take less, and so
    do vectors of a page that are equal. Pictures are not among them.
    """
    packed = round(_BUNDLED * _CHARACTERS[format] * page)
    first = 4 * dimension
    record = _RECORD + round(_TEXTS * text) + packed + _GRAPH + first
    queue = min(pages, _QUEUE) * (text + first + _QUEUED)
    return pages * (record + page + _CACHE_ROW) + queue


def _random_block(format: VectorFormat, dimension: int, vectors: int) -> list[Encoded]:
    """Random pages in levels, as the cache has them.

    They are made of random bytes: encoding random vectors would take longer than scoring them.
    """
    pages = max(1, _BLOCK_BYTES // (vectors * format.bytes_per_vector(dimension)))
    block = []
    for start, end in pairwise((0, *level_ends(vectors))):
        shape = (pages, end - start, format.width(dimension))
        random = np.random.default_rng(end - start).integers(-128, 128, shape, dtype=np.int8)
        small = random / np.float32(1024)
        values = random.view(format.dtype) if format.scaled else small.astype(np.float16)
        block.append(Encoded(format, dimension, values, np.full(shape[:2], 0.001, np.float16)))
    return block


def _milliseconds(block: list[Encoded], budget: RetrievalBudget) -> float:
    """The quickest of some runs on one thread, in CPU time: other work does not stretch it.

    The first run may compile or load the kernel and is left out.
    """
    shape = (budget.r_q, block[0].dimension)
    query = np.random.default_rng(1).standard_normal(shape, dtype=np.float32)
    maxsim_levels(query, block, budget, rows=np.arange(1), threads=1)
    seconds: list[float] = []
    end = time.perf_counter() + _SECONDS_A_MEASURE
    while len(seconds) < 2 or time.perf_counter() < end:
        start = time.process_time()
        maxsim_levels(query, block, budget, threads=1)
        seconds.append(time.process_time() - start)
    return min(seconds) * 1000
