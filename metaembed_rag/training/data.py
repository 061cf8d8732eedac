"""Training sets: JSON lines or folders in BEIR layout -> examples.

::

    {"query": "text", "positive": {"text": "...", "image": "charts/1.png"}, "negatives": ["text"]}

One object a line (UTF-8, gzip-compressed if the name ends in ``.gz``). A side is text, or an object
with ``text`` and/or ``image``; an image's path is relative to the folder of the file. ``negatives``
may be missing. Nothing else is taken: an unknown key, an empty side or a missing image is an error
that names the line. Pictures stay on disk until :meth:`Side.load`.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any, TextIO

from metaembed_rag.errors import DatasetError
from metaembed_rag.evaluation.datasets import json_object, read_dataset
from metaembed_rag.pages import Page
from metaembed_rag.store.places import replacing
from metaembed_rag.training.examples import Example, Side, TrainingSet, picture_bytes

__all__ = [
    "Example",
    "Side",
    "TrainingSet",
    "read_corpus",
    "read_training_set",
    "write_training_set",
]


def read_training_set(
    path: str | PathLike[str],
    *,
    name: str | None = None,
    weight: float = 1.0,
    split: str = "train",
    limit: int | None = None,
) -> TrainingSet:
    """Read a file of JSON lines, or a folder in BEIR layout.

    Of a folder every relevant page of a query makes one example; pages that were judged with
    grade 0 are its negatives. Where ``qrels/<split>.tsv`` is missing, the only other file of
    ``qrels/`` is read.

    Args:
        path: The file or folder.
        name: What logs call it; the file's name without suffix by default.
        weight: How often batches are drawn from it, beside the other sets' weights.
        split: Of a folder, which judgements.
        limit: Only the first so many examples.

    Raises:
        DatasetError: Something is missing, empty or malformed; the message names file and line.
    """
    path = Path(path).expanduser()
    if limit is not None and limit < 1:
        raise DatasetError(f"{path}: a limit of {limit} leaves no examples; ask for at least 1")
    examples: Iterator[Example] = _read_folder(path, split) if path.is_dir() else _read_file(path)
    return TrainingSet(
        islice(examples, limit), name=name or _stem(path), weight=weight, path=str(path.absolute())
    )


def read_corpus(path: str | PathLike[str]) -> list[Side]:
    """Read pages without questions: ``corpus.jsonl`` of a folder in BEIR layout, or such a file.

    Args:
        path: The folder or file; lines have ``text`` and/or ``image``, and may have ``_id``,
            ``title`` (put before the text) and ``metadata``.

    Raises:
        DatasetError: Something is missing, empty or malformed; the message names file and line.
    """
    path = Path(path).expanduser()
    path = path / "corpus.jsonl" if path.is_dir() else path
    size_of = lru_cache(maxsize=None)(picture_bytes)
    pages = []
    for number, line in _lines(path):
        where = f"{path}, line {number}"
        row = json_object(line, where)
        _check_keys(row, ("text", "image", "title", "_id", "metadata"), where)
        title, text = row.pop("title", None) or "", row.get("text") or ""
        if isinstance(title, str) and isinstance(text, str):
            row["text"] = f"{title} {text}"
        shown = {key: row[key] for key in ("text", "image") if key in row}
        pages.append(_SideReader(path.absolute().parent, where, size_of).read(shown, "the page"))
    if not pages:
        raise DatasetError(f"{path}: no pages; give it at least one line")
    return pages


def write_training_set(path: str | PathLike[str], examples: Iterable[Example]) -> None:
    """Write examples as JSON lines, whole or not at all; the same examples make the same bytes.

    Args:
        path: The file; compressed if its name ends in ``.gz``. Its folder is made.
        examples: At least one. Their pictures stay where they are, and are named relative to it.

    Raises:
        DatasetError: There is no example.
    """
    path = Path(path).expanduser().absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        with _open_to_write(part, compressed=path.suffix == ".gz") as lines:
            written = 0
            for example in examples:
                row = json.dumps(_to_json(example, path.parent), ensure_ascii=False)
                lines.write(row + "\n")
                written += 1
        if not written:
            raise DatasetError(f"{path}: there are no examples to write")


# -------------------------------------------------------------------------------------- reading


def _read_file(path: Path) -> Iterator[Example]:
    size_of = lru_cache(maxsize=None)(picture_bytes)
    for number, line in _lines(path):
        where = f"{path}, line {number}"
        row = json_object(line, where)
        _check_keys(row, ("query", "positive", "negatives"), where)
        reader = _SideReader(path.absolute().parent, where, size_of)
        yield Example(
            query=reader.read(row.get("query"), '"query"'),
            positive=reader.read(row.get("positive"), '"positive"'),
            negatives=reader.read_all(row.get("negatives")),
            where=where,
        )


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines that are not blank, counted from 1."""
    try:
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rt", encoding="utf-8-sig", newline="\n") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, line
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such training set; give a file or a folder") from None
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: cannot be read as UTF-8 text: {error}") from None
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DatasetError(f"{path}: cannot be read ({reason}); is the file whole?") from None


def _check_keys(row: dict[str, Any], known: Sequence[str], where: str) -> None:
    unknown = sorted(set(row) - set(known))
    if unknown:
        raise DatasetError(f"{where}: unknown key {unknown[0]!r}; a line has {', '.join(known)}")


@dataclass(frozen=True)
class _SideReader:
    """JSON value -> :class:`Side`, for one line of a file."""

    folder: Path
    where: str
    size_of: Callable[[str], int | None]

    def read_all(self, value: Any) -> tuple[Side, ...]:
        if value is None:
            return ()
        if not isinstance(value, list):
            raise DatasetError(f'{self.where}: "negatives" must be a list')
        return tuple(self.read(one, f"negative {i}") for i, one in enumerate(value, 1))

    def read(self, value: Any, what: str) -> Side:
        if value is None:
            raise DatasetError(f"{self.where}: {what} is missing; give it text or an image")
        parts = {"text": value} if isinstance(value, str) else value
        if not isinstance(parts, dict) or not set(parts) <= {"text", "image"}:
            raise DatasetError(f'{self.where}: {what} must be text, or "text" and "image"')
        text, image = (self._string(parts.get(key), f"{what}: {key}") for key in ("text", "image"))
        if not text and not image:
            raise DatasetError(f"{self.where}: {what} is empty; give it text or an image")
        return Side(text, self._picture(image) if image else None, self.where)

    def _string(self, value: Any, what: str) -> str:
        if value is None:
            return ""
        if not isinstance(value, str):
            raise DatasetError(f"{self.where}: {what} must be a string, not {type(value).__name__}")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise DatasetError(
                f"{self.where}: {what} holds half a character (a lone surrogate)"
            ) from None
        return value.strip()

    def _picture(self, name: str) -> str:
        path = Path(os.path.normpath(self.folder / name)).as_posix()
        size = self.size_of(path)
        if size is None:
            raise DatasetError(f"{self.where}: no image at {path}")
        if not size:
            raise DatasetError(f"{self.where}: the image {path} has no bytes")
        return path


def _read_folder(folder: Path, split: str) -> Iterator[Example]:
    judged = _judgements(folder, split)
    data = read_dataset(folder, split=judged.stem)
    pages = {page.id: page for page in data.pages}
    for query in data.queries:
        where = f"{judged}, query {query.id!r}"
        grades = data.qrels[query.id]
        sides = {key: _page_side(pages[key], where, folder) for key in grades}
        right = {sides[key] for key, grade in grades.items() if grade > 0}
        wrong = tuple(side for side in sides.values() if side not in right)
        asked = Side(query.text, query.image_path, where)
        for key, grade in grades.items():
            if grade > 0:
                yield Example(asked, sides[key], wrong, where)


def _judgements(folder: Path, split: str) -> Path:
    """``qrels/<split>.tsv``, or the only file there is."""
    wanted = folder / "qrels" / f"{split}.tsv"
    found = sorted((folder / "qrels").glob("*.tsv"))
    if wanted in found or not found:
        return wanted  # where there is none, reading it says what is missing
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise DatasetError(
            f"{wanted}: missing, and there are {names}; name the split to train on, or make a "
            f"copy of the folder with that one alone"
        )
    return found[0]


def _page_side(page: Page, where: str, folder: Path) -> Side:
    if not page.text and page.image_path is None:
        raise DatasetError(
            f"{folder / 'corpus.jsonl'}, line {page.number}: page {page.id!r} is empty but judged "
            f"({where}); give it text or an image, or take the judgement out"
        )
    return Side(page.text, page.image_path, where)


def _stem(path: Path) -> str:
    if path.is_dir():
        return path.absolute().name
    return path.name.removesuffix(".gz").removesuffix(".jsonl") or path.name


# -------------------------------------------------------------------------------------- writing


@contextmanager
def _open_to_write(path: Path, *, compressed: bool) -> Iterator[TextIO]:
    """The file as UTF-8; compressed without name and time, so that equal texts make equal bytes."""
    if not compressed:
        with path.open("w", encoding="utf-8", newline="\n") as text:
            yield text
        return
    with (
        path.open("wb") as raw,
        gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as packed,
        io.TextIOWrapper(packed, encoding="utf-8", newline="\n") as text,
    ):
        yield text


def _to_json(example: Example, folder: Path) -> dict[str, Any]:
    row: dict[str, Any] = {
        "query": _side_to_json(example.query, folder),
        "positive": _side_to_json(example.positive, folder),
    }
    if example.negatives:
        row["negatives"] = [_side_to_json(side, folder) for side in example.negatives]
    return row


def _side_to_json(side: Side, folder: Path) -> str | dict[str, str]:
    if side.image is None:
        return side.text
    image = Path(os.path.relpath(side.image, folder)).as_posix()
    return {"text": side.text, "image": image} if side.text else {"image": image}
