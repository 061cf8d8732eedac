"""Pages with versions, and whether an index holds just these."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
from PIL import Image

from metaembed_rag import cli
from metaembed_rag.index import PageIndex
from metaembed_rag.pages import Page
from metaembed_rag.testing import FakeEncoder
from metaembed_rag.vectors.formats import vector_format

QUERIES = ("apple river", "stone", "version", "cloud apple night")
WORDS = ("apple", "river", "stone", "cloud", "night", "glass", "paper", "wheel", "salt", "iron")
_TEXT = re.compile(r"page (\d+) version (\d+)")


def encoder() -> FakeEncoder:
    """A small one: 4 × 8 vectors of 128 values, so many that an index keeps them in bundles."""
    return FakeEncoder(dimension=128, query_vectors=4, document_vectors=8)


def text_of(number: int, version: int) -> str:
    """The text of a page, which names its version; other words in each."""
    first, second = (number * 5 + version) % len(WORDS), (number + 3 * version) % len(WORDS)
    return f"page {number} version {version} {WORDS[first]} {WORDS[second]}"


def version_of(text: str) -> int:
    """The version that a text names; -1 for none."""
    found = _TEXT.match(text)
    return int(found[2]) if found else -1


def page_of(number: int, version: int) -> Page:
    """A page of a version; each fifth has a picture."""
    picture = None
    if number % 5 == 0:
        picture = Image.new("RGB", (8, 8), _colour(version, number))
    return Page(f"doc{number}", text=text_of(number, version), image=picture)


def _colour(*numbers: int) -> tuple[int, ...]:
    """One that stays the same word of the encoder when the picture is kept with losses."""
    return (*(16 + 32 * (number % 8) for number in numbers), 144)


def pages_of(numbers: Iterable[int], version: int) -> list[Page]:
    return [page_of(number, version) for number in numbers]


def opened(folder: Path, made: FakeEncoder | None = None) -> PageIndex:
    return PageIndex.open(folder, made or encoder())


def rounded(index: PageIndex, vectors: np.ndarray) -> np.ndarray:
    """Vectors as the index stores them."""
    form = vector_format(index.info()["vector_format"])
    return form.encode(vectors).decode()


def expected_vectors(index: PageIndex, pages: Sequence[Page]) -> np.ndarray:
    """What an index is to hold of pages, made again from their texts and pictures."""
    inputs = []
    for page in pages:
        image = page.load_image()
        inputs.append({"text": page.text, "image": image} if image else page.text)
    return rounded(index, encoder().encode_document(inputs))


def problems(index: PageIndex) -> list[str]:
    """What is wrong with an index: vectors that are not those of the texts, hits that are not the
    best pages."""
    ids = index.ids()
    if not ids:
        return []
    pages = index.get(ids)
    if len(pages) != len(ids):
        return [f"{len(ids) - len(pages)} of {len(ids)} pages cannot be read"]
    stored, expected = index.vectors(ids), expected_vectors(index, pages)
    wrong = [id for id, a, b in zip(ids, stored, expected, strict=True) if not np.array_equal(a, b)]
    found = [f"vectors of {id} are not those of its text" for id in wrong]
    for query in QUERIES:
        found += _wrong_hits(index, query, dict(zip(ids, stored, strict=True)))
    return found


def _wrong_hits(index: PageIndex, query: str, vectors: Mapping[str, np.ndarray]) -> list[str]:
    scores = exhaustive(query, vectors)
    best = sorted(scores.values(), reverse=True)[:5]
    found = []
    for way in ({}, {"exhaustive": True}):
        hits = index.search(query, 5, hybrid=False, **way)
        given = [hit.score for hit in hits]
        mine = [scores[hit.page.id] for hit in hits]
        if not (np.allclose(given, mine, atol=2e-3) and np.allclose(mine, best, atol=2e-3)):
            found.append(f"{query!r} {way}: {given} for {mine}, the best are {best}")
    return found


def exhaustive(query: str, vectors: Mapping[str, np.ndarray]) -> dict[str, float]:
    """MaxSim / R_q of every page, by its definition."""
    asked = encoder().encode_query([query])[0]
    return {id: score(asked, one) for id, one in vectors.items()}


def score(query: np.ndarray, page: np.ndarray) -> float:
    return float((query @ page.T).max(axis=1).mean())


def checked(*place: str) -> list[str]:
    """What ``metaembed check`` finds of the index that is named by ``--index PLACE …``."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = cli.main(["check", "--index", *place, "--json"])
    return [] if code == 0 else [f"check: {out.getvalue()[:300]} {err.getvalue()[-300:]}"]


def versions(index: PageIndex) -> dict[str, int]:
    """The version of each page, by id."""
    return {page.id: version_of(page.text) for page in index.get(index.ids())}
