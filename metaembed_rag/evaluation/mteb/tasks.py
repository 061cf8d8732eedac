"""A set in BEIR layout as a retrieval task of mteb."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import datasets as hf_datasets
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData
from mteb.abstasks.task_metadata import TaskMetadata

from metaembed_rag.evaluation.datasets import Dataset, Query, read_dataset
from metaembed_rag.pages import Page


def as_task(
    dataset: Dataset | str | PathLike[str],
    *,
    language: str = "eng-Latn",
    main_score: str = "ndcg_at_10",
) -> AbsTaskRetrieval:
    """A retrieval task from a set in BEIR layout, with its data loaded.

    Args:
        dataset: An evaluation set, or its folder.
        language: Of its texts, as mteb writes it.
        main_score: mteb's name of the metric that counts.

    Returns:
        A task for ``mteb.evaluate(model, tasks=[...])``. Its revision is a hash of the contents.
    """
    if not isinstance(dataset, Dataset):
        dataset = read_dataset(dataset)
    sides = _kinds(dataset.queries), _kinds(dataset.pages)
    metadata = TaskMetadata.model_validate(
        {
            "name": dataset.name,
            "description": f"{len(dataset.queries)} queries on {len(dataset.pages)} pages.",
            "dataset": {"path": dataset.name, "revision": _digest(dataset)},
            "type": "Retrieval" if set(sides) == {"t"} else "Any2AnyRetrieval",
            "category": f"{sides[0]}2{sides[1]}",
            "modalities": [name for name in ("text", "image") if name[0] in "".join(sides)],
            "eval_langs": [language],
            "main_score": main_score,
        }
    )
    task: AbsTaskRetrieval = type("LocalTask", (AbsTaskRetrieval,), {"metadata": metadata})()
    split: RetrievalSplitData = {
        "queries": _table(dataset.queries, sides[0]),
        "corpus": _table(dataset.pages, sides[1]),
        "relevant_docs": {query: dict(pages) for query, pages in dataset.qrels.items()},
        "top_ranked": None,
    }
    task.dataset = {"default": {"test": split}}
    task.data_loaded = True
    return task


def _kinds(items: Sequence[Page] | Sequence[Query]) -> str:
    """mteb's letters of what items hold: ``"t"``, ``"i"`` or ``"it"``."""
    pictures = any(_picture(item) is not None for item in items)
    texts = not pictures or any(item.text.strip() for item in items)
    return "i" * pictures + "t" * texts


def _table(items: Sequence[Page] | Sequence[Query], kinds: str) -> hf_datasets.Dataset:
    columns: dict[str, list[Any]] = {"id": [item.id for item in items]}
    features = {"id": hf_datasets.Value("string")}
    if "t" in kinds:
        columns["text"] = [item.text for item in items]
        features["text"] = hf_datasets.Value("string")
    if "i" in kinds:
        columns["image"] = [_picture(item) for item in items]
        features["image"] = hf_datasets.Image()
    return hf_datasets.Dataset.from_dict(columns, features=hf_datasets.Features(features))


def _picture(item: Page | Query) -> Any:
    """A path, a PIL image, or None."""
    return item.image_path or getattr(item, "image", None)


def _digest(dataset: Dataset) -> str:
    """Of everything that a score depends on."""
    digest = hashlib.blake2b(repr(dataset.qrels).encode(), digest_size=16)
    items: list[Page | Query] = [*dataset.pages, *dataset.queries]
    for item in items:
        picture = _picture(item)
        if isinstance(picture, str):
            picture = Path(picture).read_bytes()
        elif picture is not None:
            picture = picture.tobytes()
        seen = hashlib.blake2b(picture or b"", digest_size=16).hexdigest()
        digest.update(repr((item.id, item.text, seen)).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
