"""The records of an index, some in memory at a time, each judged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from metaembed_rag.errors import PageError
from metaembed_rag.maintenance.findings import CONTENT, GRAPH, RECORD, VECTORS, Finding
from metaembed_rag.maintenance.vectors import graph_problem, is_first, payload_problem
from metaembed_rag.store import records
from metaembed_rag.store.chroma import ChromaStore
from metaembed_rag.store.raw import RawRecord
from metaembed_rag.store.reading import checked_record
from metaembed_rag.store.records import Record
from metaembed_rag.store.requests import slices
from metaembed_rag.vectors.formats import Encoded
from metaembed_rag.vectors.lengths import length_problems

AT_ONCE = 200
"""Records in memory: their vectors as float32 are 13 MB where a page has 64 of 256 values."""

_AGAIN = "`metaembed repair` takes it out; then index its file again"
_REWRITE = "`metaembed repair` writes it again"


@dataclass(frozen=True)
class Batch:
    """Some records that were read together.

    Attributes:
        ids: Those that were asked for.
        records: Those that can be read.
        vectors: All vectors of these.
        raw: What Chroma holds of them all.
        findings: What is wrong with them.
    """

    ids: Sequence[str]
    records: Sequence[Record]
    vectors: Encoded
    raw: Sequence[RawRecord]
    findings: Sequence[Finding]


def scan(store: ChromaStore, ids: Sequence[str]) -> Iterator[Batch]:
    """Read the records of some ids, and judge them.

    Args:
        store: Holds them.
        ids: Without repeats.

    Raises:
        StoreError: Chroma cannot read them at all.
    """
    for part in slices(len(ids), AT_ONCE):
        yield _judge(store, ids[part], store.raw(ids[part]))


def _judge(store: ChromaStore, ids: Sequence[str], raw: Sequence[RawRecord]) -> Batch:
    about = store.about
    found: list[Finding] = []
    readable: list[tuple[RawRecord, Record]] = []
    for one in raw:
        try:
            record = checked_record(one.id, one.metadata, about.unpack)
        except (ValueError, PageError) as error:
            found.append(Finding(RECORD, f"it cannot be read ({error})", _AGAIN, one.id))
            continue
        readable.append((one, record))
        if problem := payload_problem(about, record):
            found.append(Finding(VECTORS, problem, _AGAIN, one.id))
        if record.page.content_hash() != record.content_hash:
            what = "its text, picture or settings are not those that were encoded"
            found.append(Finding(CONTENT, what, _AGAIN, one.id))
    vectors = about.unpack([record for _, record in readable])
    lengths = length_problems(vectors)
    for row, (one, _) in enumerate(readable):
        if lengths[row]:
            found.append(Finding(VECTORS, lengths[row], _AGAIN, one.id))
        else:
            found.extend(_judge_graph(store, one, vectors.pages([row])))
    return Batch(ids, [record for _, record in readable], vectors, raw, found)


def _judge_graph(store: ChromaStore, raw: RawRecord, vectors: Encoded) -> Iterator[Finding]:
    """What is wrong with Chroma's vector of a page.

    Where it and the page's first vector are sound and differ, a checksum says which is right.
    """
    if problem := graph_problem(store.about, raw, vectors):
        yield Finding(GRAPH, problem, _REWRITE, raw.id)
    elif not is_first(raw, vectors):
        what = "its first vector is not the one in Chroma's graph"
        sealed = records.is_sealed(raw.metadata)
        yield Finding(GRAPH if sealed else VECTORS, what, _REWRITE if sealed else _AGAIN, raw.id)
