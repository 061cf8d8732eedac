"""Encode 100,000 real texts: Debian package descriptions, then WordNet glosses.

    python -m benchmarks.data.real_embeddings --pages 100000 [--minutes 30] [--encoded FILE.npz]

They go to ``.data/real`` in the layout of an index's vector cache (int8, level by level), block by
block: what was stopped goes on where it ended, and a run that was not finished can be used as it
is. Beside them lie ``queries.npy`` (float32, (queries, 16, D)) and ``qrels.json``: the set that
each query is of and the rows that answer it. Queries are the short descriptions of the Debian
packages that no checkpoint trained on, and the words of a thousand glosses.

Needs ``../shared/data/debian_packages`` (METAEMBED_DATA names its folder) and ``wordnet.jsonl``
from ``python -m recipes.mix``. ``--encoded`` names vectors that the same checkpoint
made before: an npz file with ``ids``, ``values`` (int8) and ``scales``.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metaembed_rag.store.level_writer import CacheWriter
from metaembed_rag.store.levels import MANIFEST, CachedVectors, Header
from metaembed_rag.vectors.formats import Encoded, vector_format

CHECKOUT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("METAEMBED_DATA", CHECKOUT.parent / "shared" / "data"))
OUT = CHECKOUT / ".data" / "real"
DEBIAN_PAGES, GLOSS_QUERIES, BLOCK = 10_000, 1000, 500


@dataclass(frozen=True)
class Text:
    """A text to encode, and the words that ask for it (empty: none)."""

    id: str
    text: str
    question: str = ""


@dataclass(frozen=True)
class Question:
    """A query, the set it is of, and the ids of the texts that answer it."""

    set: str
    text: str
    answers: tuple[str, ...]


@dataclass(frozen=True)
class RealSet:
    """What :func:`read_real` found.

    Attributes:
        vectors: The pages, mapped.
        queries: float32, shape (queries, 16, D); only those that a page here answers.
        answers: The rows that answer each query.
        sets: Name of the set that each query is of.
    """

    vectors: CachedVectors
    queries: NDArray[np.float32]
    answers: list[list[int]]
    sets: list[str]


def debian_texts(folder: Path, limit: int) -> list[Text]:
    """The corpus of the evaluation set, then long descriptions from the training pairs."""
    pages = [Text(row["_id"], row["text"]) for row in _lines(folder / "corpus.jsonl")]
    known, seen = {page.id for page in pages}, {page.text for page in pages}
    for row in _lines(folder / "train_pairs.jsonl.gz"):
        if len(pages) >= limit:
            break
        if row["id"] not in known and row["text"] not in seen:
            pages.append(Text(row["id"], row["text"]))
            known.add(row["id"])
            seen.add(row["text"])
    return pages[:limit]


def debian_questions(folder: Path) -> list[Question]:
    """The evaluation set's queries, which are in no training pair."""
    answers: dict[str, list[str]] = {}
    for line in (folder / "qrels" / "test.tsv").read_text().splitlines()[1:]:
        query, page, _ = line.split("\t")
        answers.setdefault(query, []).append(page)
    rows = _lines(folder / "queries.jsonl")
    return [Question("debian", r["text"], tuple(answers[r["_id"]])) for r in rows]


def gloss_texts(path: Path) -> list[Text]:
    """Every gloss once, with the words that it explains."""
    rows = {row["positive"]: row["query"] for row in _lines(path)}
    return [Text(f"gloss {n}", text, words) for n, (text, words) in enumerate(rows.items())]


def gloss_questions(texts: Sequence[Text], count: int) -> list[Question]:
    """Words of glosses from all over the set; every gloss of these words answers."""
    answers: dict[str, list[str]] = {}
    for text in texts:
        answers.setdefault(text.question, []).append(text.id)
    step = max(1, len(answers) // count)
    chosen = itertools.islice(answers.items(), 0, None, step)
    return [Question("wordnet", words, tuple(ids)) for words, ids in chosen][:count]


def encode_pages(
    texts: Sequence[Text],
    encoder: Any,
    folder: Path,
    encoded: Mapping[str, tuple[NDArray[np.int8], NDArray[np.float16]]] | None = None,
    minutes: float = float("inf"),
) -> int:
    """Add what is missing of ``texts``, a block at a time; the number of pages there now."""
    header = Header(
        "real", encoder.fingerprint, "int8", encoder.dimension, encoder.document_vectors
    )
    before = CachedVectors.load(folder) if (folder / MANIFEST).exists() else None
    if before is not None and before.header != header:
        raise SystemExit(f"{folder} holds vectors of another checkpoint: delete it")
    end = time.monotonic() + 60 * minutes
    with CacheWriter(folder, header, before) as writer:
        for start in range(writer.row_count, len(texts), BLOCK):
            block = texts[start : start + BLOCK]
            ids = [text.id for text in block]
            writer.append(ids, [""] * len(ids), _vectors(block, encoder, encoded or {}))
            writer.commit()
            print(f"{writer.row_count} of {len(texts)} pages", file=sys.stderr, flush=True)
            if time.monotonic() > end:
                break
        return writer.row_count


def write_questions(
    questions: Sequence[Question], texts: Sequence[Text], encoder: Any, folder: Path
) -> None:
    """Encode the queries, and write which rows answer them."""
    rows = {text.id: row for row, text in enumerate(texts)}
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "queries.npy", encoder.encode_query([q.text for q in questions]))
    entries = [
        {"set": q.set, "text": q.text, "rows": [rows[id] for id in q.answers if id in rows]}
        for q in questions
    ]
    (folder / "qrels.json").write_text(json.dumps(entries))


def read_real(folder: Path = OUT) -> RealSet:
    """What is there, also while it is still being made.

    Raises:
        FileNotFoundError: Nothing is there.
    """
    vectors = CachedVectors.load(folder)
    entries = json.loads((folder / "qrels.json").read_text())
    answers = [[row for row in entry["rows"] if row < len(vectors)] for entry in entries]
    kept = [n for n, rows in enumerate(answers) if rows]
    queries = np.load(folder / "queries.npy")[kept]
    return RealSet(vectors, queries, [answers[n] for n in kept], [entries[n]["set"] for n in kept])


def _vectors(
    block: Sequence[Text],
    encoder: Any,
    encoded: Mapping[str, tuple[NDArray[np.int8], NDArray[np.float16]]],
) -> Encoded:
    shape = (len(block), encoder.document_vectors)
    values = np.empty((*shape, encoder.dimension), dtype=np.int8)
    scales = np.empty(shape, dtype=np.float16)
    new = [n for n, text in enumerate(block) if text.id not in encoded]
    for n, text in enumerate(block):
        if text.id in encoded:
            values[n], scales[n] = encoded[text.id]
    if new:
        made = encoder.encode_document([block[n].text for n in new])
        quantized = vector_format("int8").encode(made)
        values[new], scales[new] = quantized.values, quantized.scales
    return Encoded(vector_format("int8"), encoder.dimension, values, scales)


def _read_encoded(paths: Iterable[Path]) -> dict[str, tuple[NDArray[np.int8], NDArray[np.float16]]]:
    found: dict[str, tuple[NDArray[np.int8], NDArray[np.float16]]] = {}
    for path in paths:
        with np.load(path) as stored:
            ids, values, scales = stored["ids"], stored["values"], stored["scales"]
        found |= {str(id): (values[n], scales[n]) for n, id in enumerate(ids)}
    return found


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        yield from map(json.loads, file)


def main() -> None:
    """Encode queries and pages, as many as there is time for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pages", type=int, default=100_000)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after so many")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--glosses", type=Path, default=CHECKOUT / ".data/mix/wordnet.jsonl")
    parser.add_argument("--encoded", type=Path, nargs="*", default=[], help="vectors made before")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    from metaembed_rag import MetaEmbedEncoder

    encoder = MetaEmbedEncoder.from_pretrained(given.model)
    glosses = gloss_texts(given.glosses)
    texts = [*debian_texts(DATA / "debian_packages", DEBIAN_PAGES), *glosses][: given.pages]
    if not (given.out / "qrels.json").exists():
        questions = debian_questions(DATA / "debian_packages")
        questions += gloss_questions(texts[DEBIAN_PAGES:], GLOSS_QUERIES)
        write_questions(questions, texts, encoder, given.out)
    done = encode_pages(texts, encoder, given.out, _read_encoded(given.encoded), given.minutes)
    print(json.dumps({"folder": str(given.out), "pages": done, "wanted": len(texts)}))


if __name__ == "__main__":
    main()
