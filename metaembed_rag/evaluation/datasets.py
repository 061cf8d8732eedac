"""Evaluation sets in BEIR layout (Thakur et al., BEIR, NeurIPS 2021), with images.

::

    folder/
    ├── corpus.jsonl      {"_id", "title"?, "text" and/or "image": a path relative to the folder}
    ├── queries.jsonl     {"_id", "text" and/or "image"}
    └── qrels/test.tsv    a header line, then query-id <tab> corpus-id <tab> whole-number grade
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

from metaembed_rag.errors import DatasetError, PageError
from metaembed_rag.metadata.values import is_unicode
from metaembed_rag.pages import Page


@dataclass(frozen=True)
class Query:
    """A question: text, a picture, or both."""

    id: str
    text: str = ""
    image_path: str | None = None

    def as_input(self) -> Any:
        """What an encoder takes: a str, an RGB picture, or both under "text" and "image".

        Raises:
            PageError: The picture cannot be read.
        """
        if self.image_path is None:
            return self.text
        image = Page(source=self.image_path, image_path=self.image_path).load_image()
        return {"text": self.text, "image": image} if self.text else image


@dataclass(frozen=True)
class Dataset:
    """Pages, queries, and which pages answer which query.

    Attributes:
        name: The folder's name.
        pages: In the order of ``corpus.jsonl``; pictures are opened on :meth:`Page.load_image`.
        queries: Those with at least one relevant page, in the order of ``queries.jsonl``.
        qrels: Query id -> page id -> grade, for exactly these queries; relevant means over 0.
        unjudged: How many lines of ``queries.jsonl`` have no relevant page and are not used (the
            file of a BEIR set also holds the training and development queries).
    """

    name: str
    pages: tuple[Page, ...]
    queries: tuple[Query, ...]
    qrels: Mapping[str, Mapping[str, int]]
    unjudged: int = 0

    def first(self, limit: int) -> Dataset:
        """The same pages with the first ``limit`` queries (all of them where there are fewer).

        Raises:
            DatasetError: ``limit`` is less than 1.
        """
        if limit < 1:
            raise DatasetError(f"a limit of {limit} leaves no queries; ask for at least 1")
        queries = self.queries[:limit]
        return replace(self, queries=queries, qrels={q.id: self.qrels[q.id] for q in queries})


def read_dataset(folder: str | PathLike[str], *, split: str = "test") -> Dataset:
    """Read a folder in BEIR layout.

    A title is put before the text, with a space. Pages with empty text and no picture stay in the
    corpus: an evaluation reports them.

    Args:
        folder: The folder.
        split: Which file of ``qrels/`` holds the judgements.

    Raises:
        DatasetError: Something is missing or malformed; the message names the file and the line.
    """
    folder = Path(folder).absolute()
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder; give a folder in BEIR layout")
    pages = {page.id: page for page in _read_pages(folder)}
    queries = {query.id: query for query in _read_queries(folder)}
    qrels = _read_qrels(folder / "qrels" / f"{split}.tsv", queries, pages)
    judged = {qid: grades for qid, grades in qrels.items() if max(grades.values()) > 0}
    if not judged:
        raise DatasetError(f"{folder}: no query has a relevant page in qrels/{split}.tsv")
    used = tuple(query for query in queries.values() if query.id in judged)
    return Dataset(
        name=folder.name,
        pages=tuple(pages.values()),
        queries=used,
        qrels={query.id: judged[query.id] for query in used},
        unjudged=len(queries) - len(used),
    )


def _read_pages(folder: Path) -> Iterator[Page]:
    for number, record, where in _read_records(folder / "corpus.jsonl"):
        image = _image_path(record, folder, where)
        try:
            yield Page(
                source=image or str(folder / "corpus.jsonl"),
                number=1 if image else number,
                text=f"{_text(record, 'title', where)} {_text(record, 'text', where)}".strip(),
                id=record["_id"],
                metadata=record.get("metadata") or {},
                image_path=image,
            )
        except PageError as error:
            raise DatasetError(f"{where}: {error.reason}") from None


def _read_queries(folder: Path) -> Iterator[Query]:
    for _, record, where in _read_records(folder / "queries.jsonl"):
        query = Query(
            id=record["_id"],
            text=_text(record, "text", where).strip(),
            image_path=_image_path(record, folder, where),
        )
        if not query.text and query.image_path is None:
            raise DatasetError(f"{where}: query {query.id!r} is empty; give it text or an image")
        yield query


def _read_records(path: Path) -> Iterator[tuple[int, dict[str, Any], str]]:
    """Line number, JSON object with a unique text ``_id``, and "file, line N" for messages."""
    seen: dict[str, int] = {}
    for number, line in _read_lines(path):
        where = f"{path}, line {number}"
        record = json_object(line, where)
        key = record.get("_id")
        if not isinstance(key, str) or not key:
            raise DatasetError(f'{where}: needs an "_id" that is text, not {key!r}')
        if key in seen:
            raise DatasetError(f'{where}: the "_id" {key!r} is already on line {seen[key]}')
        if record.get("text") is None and record.get("image") is None:
            raise DatasetError(f'{where}: needs "text" or "image" (or both)')
        seen[key] = number
        yield number, record, where
    if not seen:
        raise DatasetError(f"{path}: empty")


def json_object(line: str, where: str) -> dict[str, Any]:
    """The JSON object of a line.

    Args:
        line: What was read.
        where: File and line, for messages.

    Raises:
        DatasetError: It is not JSON, or not an object.
    """
    try:
        found = json.loads(line)
    except json.JSONDecodeError as error:
        raise DatasetError(f"{where}: not JSON ({error.msg} at column {error.colno})") from None
    except ValueError:
        raise DatasetError(f"{where}: a number of thousands of digits; make it text") from None
    except RecursionError:
        raise DatasetError(f"{where}: nested too deeply") from None
    if not isinstance(found, dict):
        raise DatasetError(f"{where}: not a JSON object; write one object a line")
    return found


def _read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines that are not blank, counted from 1."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, line.rstrip("\r\n")
    except FileNotFoundError:
        raise DatasetError(
            f"{path}: missing; a set in BEIR layout has corpus.jsonl, queries.jsonl and "
            f"qrels/test.tsv"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: cannot be read as UTF-8 text: {error}") from None


def _text(record: dict[str, Any], key: str, where: str) -> str:
    value = record.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise DatasetError(f'{where}: "{key}" must be text, not {type(value).__name__}')
    if not is_unicode(value):
        raise DatasetError(f'{where}: "{key}" holds half a character (a lone surrogate)')
    return value


def _image_path(record: dict[str, Any], folder: Path, where: str) -> str | None:
    name = _text(record, "image", where)
    if not name:
        return None
    path = folder / name
    if not _is_file(path):
        raise DatasetError(f"{where}: no image at {path}")
    return path.as_posix()


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long, a folder that may not be entered
        return False


def _read_qrels(
    path: Path, queries: Mapping[str, Query], pages: Mapping[str, Page]
) -> dict[str, dict[str, int]]:
    qrels: dict[str, dict[str, int]] = {}
    for number, line in _read_lines(path):
        where = f"{path}, line {number}"
        fields = line.split("\t")
        if len(fields) != 3:
            raise DatasetError(
                f"{where}: needs three columns with tabs between them (query-id, corpus-id, "
                f"score), not {len(fields)}"
            )
        query, page, grade = fields
        if number == 1:  # a file without a header would silently lose its first judgement
            if grade.strip().lstrip("-").isdigit():
                raise DatasetError(f"{where}: must be the header (query-id, corpus-id, score)")
            continue
        if query not in queries:
            raise DatasetError(f"{where}: query {query!r} is not in queries.jsonl")
        if page not in pages:
            raise DatasetError(f"{where}: page {page!r} is not in corpus.jsonl")
        grades = qrels.setdefault(query, {})
        if page in grades:
            raise DatasetError(f"{where}: query {query!r} and page {page!r} are judged twice")
        try:
            grades[page] = int(grade)
        except ValueError:
            problem = f"the score must be a whole number, not {grade!r}"
            raise DatasetError(f"{where}: {problem}") from None
    return qrels
