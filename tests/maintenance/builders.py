"""Indexes that a test damages."""

from __future__ import annotations

from pathlib import Path

import chromadb
import numpy as np
from chromadb.config import Settings
from PIL import Image

from metaembed_rag import Page, PageIndex
from metaembed_rag.testing import FakeEncoder

COLOURS = ("red", "green", "blue")


def fake() -> FakeEncoder:
    """Small vectors, so that files are small."""
    return FakeEncoder(dimension=32, query_vectors=4, document_vectors=8)


def made(where: Path | str, files: Path, **settings: object) -> PageIndex:
    """Three picture files, two texts and a page with metadata, indexed and searched once."""
    files.mkdir(exist_ok=True)
    for colour in COLOURS:
        Image.new("RGB", (40, 30), colour).save(files / f"{colour}.png")
    (files / "a.txt").write_text("red apples grow on trees")
    (files / "b.txt").write_text("blue whales swim in the sea")
    index = PageIndex.open(where, fake(), **settings)  # type: ignore[arg-type]
    index.sync(files, ocr=False)
    index.add([Page("c.pdf", text="green pears", metadata={"year": 2001, "tags": ["a", "b"]})])
    index.search("apples", hybrid=True)
    return index


def reopened(where: Path | str, **settings: object) -> PageIndex:
    """The index as another process finds it."""
    return PageIndex.open(where, fake(), create=False, **settings)  # type: ignore[arg-type]


def raw_collection(where: Path | str, name: str = "pages"):
    """Chroma's own collection, past this package."""
    client = chromadb.PersistentClient(str(where), Settings(anonymized_telemetry=False))
    return client.get_collection(name, embedding_function=None)


def add_foreign(where: Path | str, dimension: int = 32) -> None:
    """A record of another program."""
    vector = np.ones((1, dimension), dtype=np.float32)
    raw_collection(where).add(ids=["foreign"], embeddings=vector, metadatas=[{"a": 1}])


def change_record(where: Path | str, id: str, **changes: object) -> None:
    """Change keys of a record behind this package's back."""
    keys = {f"metaembed:{key}": value for key, value in changes.items()}
    raw_collection(where).update(ids=[id], metadatas=[keys])


def flip(path: Path, at: int = -1) -> None:
    """Change one byte of a file."""
    data = bytearray(path.read_bytes())
    data[at] ^= 0x55
    path.write_bytes(data)


def levels(where: Path) -> list[Path]:
    """The files of the mapped vectors."""
    return sorted(where.glob("cache/*/*/level*.values"))


def pictures(where: Path) -> list[Path]:
    """The files of the pages' pictures."""
    return sorted(where.glob("pictures/*/*/*.webp"))


def content(index: PageIndex) -> dict[str, tuple[object, ...]]:
    """All that a page is, by id."""
    ids = index.ids()
    found = {}
    for page, vectors in zip(index.get(ids), index.vectors(ids), strict=True):
        picture = None if page.image_path is None else Path(page.image_path).read_bytes()
        kept = (page.source, page.number, page.text, dict(page.metadata), page.content_hash())
        found[page.id] = (*kept, vectors.tobytes(), picture)
    return found
