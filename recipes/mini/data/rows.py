"""Files that the recipes read and write: JSON Lines, and evaluation sets in BEIR layout."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from metaembed_rag.errors import DatasetError
from metaembed_rag.evaluation import Dataset


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a JSON Lines file, gzip-compressed if its name says so.

    Raises:
        DatasetError: The file is missing, or a line is not JSON.
    """
    if not path.exists():
        raise DatasetError(f"{path} is missing; run the prepare step first or name its folder")
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                raise DatasetError(f"{path}, line {number}: not JSON ({error.msg})") from error


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write ``rows`` to ``path`` whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with part.open("w", encoding="utf-8") as lines:
        for row in rows:
            lines.write(json.dumps(row, ensure_ascii=False) + "\n")
    part.rename(path)


def write_dataset(folder: Path, dataset: Dataset) -> None:
    """Write the texts of an evaluation set as a folder in BEIR layout."""
    write_jsonl(folder / "corpus.jsonl", ({"_id": p.id, "text": p.text} for p in dataset.pages))
    write_jsonl(folder / "queries.jsonl", ({"_id": q.id, "text": q.text} for q in dataset.queries))
    judged = (
        f"{query}\t{page}\t{grade}\n"
        for query, grades in dataset.qrels.items()
        for page, grade in grades.items()
    )
    (folder / "qrels").mkdir(exist_ok=True)
    (folder / "qrels" / "test.tsv").write_text(
        "query-id\tcorpus-id\tscore\n" + "".join(judged), encoding="utf-8"
    )
