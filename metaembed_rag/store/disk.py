"""What the files of an index take, by kind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from metaembed_rag.store.places import BESIDE_DATABASE, DATABASE, Places


@dataclass(frozen=True)
class DiskBytes:
    """Bytes of an index's files, as they are long; of all collections where they share a file.

    Attributes:
        records: Chroma's database: pages, their texts and vectors. 0 for a server's.
        graph: Chroma's graphs of neighbours, and marks of writers. 0 for a server's.
        cache: The mapped copy of the vectors.
        words: What word search derives.
        pictures: The pages' pictures.
        readings: What OCR has read and no record says, and the calibration.
    """

    records: int
    graph: int
    cache: int
    words: int
    pictures: int
    readings: int

    @property
    def database(self) -> int:
        """What is Chroma's."""
        return self.records + self.graph

    @property
    def copies(self) -> int:
        """What is derived for speed."""
        return self.cache + self.words + self.readings

    @property
    def total(self) -> int:
        """All of them."""
        return self.database + self.copies + self.pictures

    @classmethod
    def of(cls, places: Places, pictures: Path) -> DiskBytes:
        """The bytes that lie on this machine now.

        Args:
            places: Of the collection.
            pictures: The folder of its pictures.
        """
        theirs = []
        if places.folder is not None and places.folder.is_dir():
            inside = places.folder.iterdir()
            theirs = [path for path in inside if path.name not in BESIDE_DATABASE]
        records = [path for path in theirs if path.name.startswith(DATABASE)]
        others = [path for path in theirs if path not in records]
        return cls(
            records=sum(map(bytes_of, records)),
            graph=sum(map(bytes_of, others)),
            cache=_bytes_at(places.vectors),
            words=_bytes_at(places.words),
            pictures=bytes_of(pictures),
            readings=_bytes_at(places.readings) + _bytes_at(places.calibration),
        )


def bytes_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder; 0 where there is none."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(_size(file) for file in files)


def _bytes_at(path: Path | None) -> int:
    return 0 if path is None else bytes_of(path)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:  # deleted meanwhile
        return 0
