"""Write the questions and the pages that they search as a folder in BEIR layout.

``python -m recipes.minilm.validation.build --work .data/mini --data ../shared/data --out FOLDER``,
after ``python -m recipes.mini prepare`` has extracted the text of the packages.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from metaembed_rag.errors import DatasetError
from metaembed_rag.evaluation import Dataset, Query
from metaembed_rag.pages import Page
from metaembed_rag.training.examples import normalise
from recipes.mini.data.rows import read_jsonl, write_dataset
from recipes.minilm.validation.questions import (
    DESCRIPTIONS,
    Document,
    Question,
    read_documents,
    read_questions,
    reference,
)

logger = logging.getLogger(__name__)

NAME = "questions"


def digest(text: str) -> str:
    """Twelve hexadecimal digits that stand for a text, up to case and punctuation."""
    return hashlib.sha256(normalise(text).encode()).hexdigest()[:12]


def read_task(work: Path, data: Path) -> Dataset:
    """The questions over the pages that ``corpus.json`` lists.

    Args:
        work: Holds the extracted text: ``tex/<package>.jsonl`` and ``handbooks/<package>.jsonl``.
        data: Holds ``debian_packages/train_pairs.jsonl.gz``.

    Raises:
        DatasetError: A file or a page is missing, or the text of an answer is not the text that the
            question was written for.
    """
    documents, questions = read_documents(), read_questions()
    texts = _texts(work, data, documents)
    for question in questions:
        _check_answers(question, texts)
    pages = (
        Page(f"{one.package}:{one.path}", number=page, text=texts[one.references[index]])
        for one in documents
        for index, page in enumerate(one.pages)
    )
    return Dataset(
        NAME,
        tuple(pages),
        tuple(Query(question.id, question.question) for question in questions),
        {question.id: dict.fromkeys(question.answers, 1) for question in questions},
    )


def _check_answers(question: Question, texts: dict[str, str]) -> None:
    for answer, expected in zip(question.answers, question.digests, strict=True):
        if answer not in texts:
            raise DatasetError(f"{question.id}: its answer {answer} is not in the corpus")
        if digest(texts[answer]) != expected:
            raise DatasetError(
                f"{question.id}: {answer} has another text than when the question was written; "
                "extract the version of the package that corpus.json names"
            )


def _texts(work: Path, data: Path, documents: Sequence[Document]) -> dict[str, str]:
    """Text by reference, for every page of the documents."""
    wanted: dict[str, set[str]] = defaultdict(set)
    for one in documents:
        wanted[one.package].update(one.references)
    texts: dict[str, str] = {}
    for package, references in wanted.items():
        for path, page, text in _rows(package, work, data):
            if reference(package, path, page) in references:
                texts[reference(package, path, page)] = text
    missing = sorted(set().union(*wanted.values()) - set(texts))
    if missing:
        raise DatasetError(
            f"{len(missing)} pages of the corpus are not in {work}, among them {missing[0]}; "
            "extract the versions of the packages that corpus.json names"
        )
    return texts


def _rows(package: str, work: Path, data: Path) -> list[tuple[str, int, str]]:
    if package == DESCRIPTIONS:
        rows = read_jsonl(data / DESCRIPTIONS / "train_pairs.jsonl.gz")
        return [(row["id"], 1, row["text"]) for row in rows]
    folder = "tex" if package.startswith("texlive-") else "handbooks"
    rows = read_jsonl(work / folder / f"{package}.jsonl")
    return [(row["path"], row["page"], row["text"]) for row in rows]


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the task to ``--out``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path(".data/mini"))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    dataset = read_task(options.work, options.data)
    write_dataset(options.out, dataset)
    logger.info("%d questions, %d pages", len(dataset.queries), len(dataset.pages))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main()
