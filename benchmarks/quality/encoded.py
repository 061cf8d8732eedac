"""Evaluation sets as a checkpoint reads them: inputs, vectors, scores; each made once and kept.

What ``checkpoint.py`` and ``wrong_answers.py`` share. A set that holds page pictures and texts is
read in all three modes; modes that give the very same inputs (a text-only model in ``text`` and
``fused``) become one :class:`InputSet`. Pictures of a set are held in memory.

MaxSim is computed in two steps: whole-number scores of all pages by the library's kernel, with
queries rounded to int8, then the best :data:`SHORTLIST` pages of every budget again in float32 with
the queries as they are. Only the second decides the ranking, as in an index;
``checkpoint.py --check`` compares it with float32 over all pages.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.evaluation import Dataset, measure, ocr_text, read_dataset, top_pages
from metaembed_rag.evaluation.reading import PageReader
from metaembed_rag.model import passes
from metaembed_rag.model.inputs import Input, Mode
from metaembed_rag.model.protocol import Encoder
from metaembed_rag.vectors import formats, integers, maxsim
from metaembed_rag.vectors.formats import Encoded
from metaembed_rag.vectors.integers import maxsim_levels, quantize_queries

Vectors = NDArray[np.float32]
Scores = dict[RetrievalBudget, NDArray[np.float32]]
"""Budget -> MaxSim, (queries, pages)."""

KEPT = ("ndcg@5", "ndcg@10", "recall@10", "precision@1")
"""Metrics of every query that are kept."""
SHORTLIST = 40
"""Pages of each query and budget that are scored in float32; rankings have 10."""
SCORING = (formats, maxsim, integers, passes)
"""Modules on whose code kept scores depend; how long pages are read is no part of a fingerprint."""
_TRIED = 20
"""Pictures that OCR reads before it is let loose on a whole set."""
_LEAST_READ = 0.5


@dataclass(frozen=True)
class InputSet:
    """A set in the modes that give a model the same inputs.

    Attributes:
        dataset: Queries, judgements and all pages.
        modes: ``fused``, ``image``, ``text``, or those that are one here.
        by_ocr: Whether pictures became text by OCR.
        ids: Of the pages that could be read.
        texts: Their texts, which BM25 reads; what OCR found where they have none, and in image
            mode of a model that reads no pictures.
        inputs: What the model is given of each.
        skipped: Why other pages could not be read.
    """

    dataset: Dataset
    modes: tuple[Mode, ...]
    by_ocr: bool
    ids: list[str]
    texts: list[str]
    inputs: list[Input]
    skipped: list[str]

    @property
    def label(self) -> str:
        """For tables: ``"texdoc_pages, text = fused"``."""
        return f"{self.dataset.name}, {' = '.join(self.modes)}{' by OCR' if self.by_ocr else ''}"

    @cached_property
    def digest(self) -> str:
        """Of everything that figures depend on: inputs, queries and judgements."""
        return digest(
            self.inputs_digest,
            *self.ids,
            *self.texts,
            *(json.dumps([q.id, q.text, q.image_path]) for q in self.dataset.queries),
            json.dumps({query: dict(found) for query, found in self.dataset.qrels.items()}),
        )

    @cached_property
    def inputs_digest(self) -> str:
        """Of what the model is given."""
        return digest(*(part for one in self.inputs for part in _parts(one)))

    def values(self, scores: NDArray[Any]) -> dict[str, list[float]]:
        """Every kept metric of each query, for scores of shape (queries, pages)."""
        ranked = top_pages(scores, self.ids)
        names = [query.id for query in self.dataset.queries]
        found = measure(self.dataset.qrels, dict(zip(names, ranked, strict=True)))
        return {name: [round(float(value), 5) for value in found[name]] for name in KEPT}


# -- reading ---------------------------------------------------------------------------------


def read_sets(
    folder: Path,
    encoder: Encoder,
    ocr_cache: Path,
    *,
    limit: int | None = None,
    skip_pictures: bool = False,
) -> tuple[list[InputSet], list[str]]:
    """A set in each mode that it has pages for, and a sentence for each mode that is refused.

    With ``skip_pictures``, pictures of a set whose pages have texts are left out.
    """
    dataset = read_dataset(folder)
    dataset = dataset if limit is None else dataset.first(limit)
    found: dict[str, InputSet] = {}
    refused = []
    modes = _modes(dataset)
    for mode in modes:
        if skip_pictures and mode == "image" and "text" in modes:
            continue
        reason = _refusal(dataset, mode, encoder, ocr_cache)
        if reason:
            refused.append(f"{dataset.name}, {mode}: {reason}")
            continue
        one = _read(dataset, mode, encoder, ocr_cache)
        same = found.get(one.inputs_digest)
        found[one.inputs_digest] = replace(same, modes=(*same.modes, mode)) if same else one
    return list(found.values()), refused


def _modes(dataset: Dataset) -> list[Mode]:
    """Those that make sense of its pages: a page may have a text, a picture, or both."""
    kinds = {(bool(page.text.strip()), page.image_path is not None) for page in dataset.pages}
    texts, pictures = any(text for text, _ in kinds), any(picture for _, picture in kinds)
    if texts and pictures:
        return ["text", "image", "fused"]
    return ["text"] if texts else ["image"]


def _refusal(dataset: Dataset, mode: Mode, encoder: Encoder, ocr_cache: Path) -> str:
    """Why pictures are not worth reading by OCR; empty where they are, or are not read so."""
    if mode != "image" or "image" in encoder.modalities:
        return ""
    step = max(1, len(dataset.pages) // _TRIED)
    tried = dataset.pages[::step][:_TRIED]
    read = sum(bool(ocr_text(page, ocr_cache).strip()) for page in tried)
    if read >= _LEAST_READ * len(tried):
        return ""
    return (
        f"refused, since {encoder.name} reads text only and OCR found text on {read} of "
        f"{len(tried)} pictures tried"
    )


def _read(dataset: Dataset, mode: Mode, encoder: Encoder, ocr_cache: Path) -> InputSet:
    by_ocr = mode == "image" and "image" not in encoder.modalities
    reader = PageReader(encoder, mode=mode, cache_dir=ocr_cache)
    inputs = list(reader.read(dataset.pages))
    of_id = {page.id: page for page in dataset.pages}
    read = [of_id[page] for page in reader.read_ids]
    texts = inputs if by_ocr else [page.text.strip() or ocr_text(page, ocr_cache) for page in read]
    return InputSet(
        dataset=dataset,
        modes=(mode,),
        by_ocr=by_ocr,
        ids=reader.read_ids,
        texts=[str(text) for text in texts],
        inputs=inputs,
        skipped=[str(error) for error in reader.skipped],
    )


def _parts(value: Input) -> Iterator[str | bytes]:
    """A text, a picture's size and bytes, or both."""
    for part in value.values() if isinstance(value, Mapping) else [value]:
        if isinstance(part, str):
            yield part
        else:
            yield from (str(part.size), part.tobytes())


# -- keeping ---------------------------------------------------------------------------------


def digest(*parts: str | bytes) -> str:
    """Of parts in their order; where one ends and the next begins counts."""
    found = hashlib.blake2b(digest_size=12)
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        found.update(len(data).to_bytes(8, "little") + data)
    return found.hexdigest()


def code_digest(*modules: ModuleType) -> str:
    """Of the modules' source, so that figures made by older code are made again."""
    return digest(*(inspect.getsource(module) for module in modules))


def kept(path: Path, make: Callable[[], Any]) -> Any:
    """The JSON that ``path`` holds, made first where it is not there yet."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(make()), encoding="utf-8")
        part.replace(path)
    return json.loads(path.read_text(encoding="utf-8"))


def kept_array(path: Path, make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
    """The array that ``path`` (``.npy``) holds, made first where it is not there yet."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.npy")
        np.save(part, make())
        part.replace(path)
    return cast(NDArray[Any], np.load(path))


def vectors_of(data: InputSet, encoder: Encoder, cache: Path) -> tuple[Vectors, Vectors]:
    """Queries (queries, R_q, D) and pages (pages, R_c, D) of a set in float32."""
    key = f"{encoder.fingerprint[:16]}-{data.inputs_digest}-{code_digest(passes)[:8]}"
    pages = kept_array(
        cache / "vectors" / f"{key}.npy", lambda: encoder.encode_document(data.inputs)
    )
    asked = [query.as_input() for query in data.dataset.queries]
    key = f"{encoder.fingerprint[:16]}-{digest(*(part for one in asked for part in _parts(one)))}"
    queries = kept_array(cache / "vectors" / f"{key}-q.npy", lambda: encoder.encode_query(asked))
    return queries, pages


def key_of(data: InputSet, encoder: Encoder, modules: Sequence[ModuleType] = SCORING) -> str:
    """What figures of a model on a set are kept under."""
    return f"{encoder.fingerprint[:16]}-{data.digest}-{code_digest(*modules)}-{SHORTLIST}"


# -- scoring ---------------------------------------------------------------------------------


def budgets_of(encoder: Encoder) -> list[RetrievalBudget]:
    """The paper's, as far as the encoder makes so many vectors."""
    return [
        budget
        for budget in RetrievalBudget.paper()
        if budget.r_q <= encoder.query_vectors and budget.r_c <= encoder.document_vectors
    ]


def int8_scores(data: InputSet, encoder: Encoder, cache: Path) -> Scores:
    """MaxSim of int8 pages at each budget, (queries, pages); kept."""
    budgets = budgets_of(encoder)

    def make() -> Vectors:
        queries, pages = vectors_of(data, encoder, cache)
        stored = formats.FORMATS["int8"].encode(pages)
        rough = rough_scores(queries, stored, budgets)
        return np.stack(list(scores_in_float32(queries, stored.decode(), rough).values()))

    path = cache / "scores" / f"{key_of(data, encoder)}.npy"
    return dict(zip(budgets, kept_array(path, make), strict=True))


def rough_scores(queries: Vectors, pages: Encoded, budgets: Sequence[RetrievalBudget]) -> Scores:
    """MaxSim of all pages in whole numbers: queries are rounded to int8."""
    rounded = quantize_queries(queries)
    return {budget: maxsim_levels(rounded, [pages], budget) for budget in budgets}


def shortlist(rough: Scores) -> NDArray[np.bool_]:
    """The best pages of each query at any of the budgets, (queries, pages)."""
    chosen = [
        scores >= np.partition(scores, -SHORTLIST, axis=1)[:, -SHORTLIST, None]
        for scores in rough.values()
        if scores.shape[1] > SHORTLIST
    ]
    first = next(iter(rough.values()))
    return cast(NDArray[np.bool_], np.any(chosen, 0)) if chosen else np.ones(first.shape, bool)


def scores_in_float32(queries: Vectors, pages: Vectors, rough: Scores) -> Scores:
    """MaxSim with the queries as they are of shortlisted pages; other pages keep rough scores.

    These lie below the shortlist's worst, so that no other page comes before it.

    Args:
        queries: (queries, R_q, D).
        pages: As stored, decoded: (pages, R_c, D).
        rough: Scores that choose the pages.
    """
    chosen, exact = shortlist(rough), {budget: one.copy() for budget, one in rough.items()}
    held = torch.from_numpy(np.ascontiguousarray(pages))
    for i, query in enumerate(torch.from_numpy(queries)):
        rows = np.flatnonzero(chosen[i])
        found = _nested_maxsim(query, held[torch.from_numpy(rows)], list(rough))
        for budget, scores in found.items():
            row = np.minimum(exact[budget][i], scores.min())
            row[rows] = scores
            exact[budget][i] = row
    return exact


def _nested_maxsim(query: Any, pages: Any, budgets: Sequence[RetrievalBudget]) -> Scores:
    """One query's MaxSim at each budget, (pages,), from one product; budgets ascend."""
    count, _, dimension = pages.shape
    similar = (pages.reshape(-1, dimension) @ query.T).reshape(count, -1, len(query))
    best, done, found = None, 0, {}
    for budget in budgets:
        new = similar[:, done : budget.r_c].amax(1)  # (pages, R_q)
        best, done = new if best is None else torch.maximum(best, new), budget.r_c
        found[budget] = best[:, : budget.r_q].sum(1).numpy()
    return found
