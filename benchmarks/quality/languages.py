"""Words by language, and what an English checkpoint finds in other languages; nDCG@5.

    python -m benchmarks.quality.languages .data/translated_manuals --cache .data/languages \
        --english ../shared/data/texdoc_pages ../shared/data/cranfield \
        --json results/languages.json

The folders are those of ``benchmarks.data.translated_manuals``. On the validation part it was
chosen whether pages are read in a collection's language or each in its own; no choice was made on
the test part. "English" reads words with the English stemmer and stop words, as every index does
unless it is told otherwise; "as before" are bm25s' words alone, without pairs of characters. Dense
is MaxSim over all pages with the stored vectors, hybrid what ``hybrid="auto"`` makes of it and of
BM25 over all pages. ``--detectors`` compares the libraries that find a language, those that are
installed.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import results
from benchmarks.quality.bm25 import bm25_scores
from benchmarks.quality.encoded import code_digest, kept, read_sets, vectors_of
from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.evaluation import (
    Dataset,
    bootstrap_interval,
    exhaustive_scores,
    measure,
    read_dataset,
    top_pages,
)
from metaembed_rag.model.protocol import Encoder
from metaembed_rag.search import languages, tokens, words
from metaembed_rag.search.fusion import fuse, weighed
from metaembed_rag.search.words import LexicalIndex
from metaembed_rag.vectors.formats import Quantized, quantize

CLAIM = "Word search by language, and an English checkpoint in other languages."
METRIC = "ndcg@5"
OF_PAGES = {
    "en": "english",
    "de": "german",
    "en-de": "german",
    "fr": "french",
    "en-fr": "french",
    "es": "spanish",
    "zh": "chinese",
    "ja": "japanese",
}
"""The language of each set's pages."""
TOGETHER = ("en", "de", "fr")
"""Languages of the collection that holds the same pages in each."""
BUDGETS = (RetrievalBudget(1, 1), RetrievalBudget(16, 64))
ABSTRACT = 600
"""Characters of a page in English before the same page in German."""

Values = NDArray[np.float64]


def values_of(dataset: Dataset, scores: NDArray[Any]) -> Values:
    """The metric of each query, for scores of shape (queries, pages)."""
    ranked = top_pages(scores, [page.id for page in dataset.pages])
    rankings = {query.id: best for query, best in zip(dataset.queries, ranked, strict=True)}
    return measure(dataset.qrels, rankings)[METRIC]


def words_of(dataset: Dataset, language: str | None) -> LexicalIndex:
    """The words of a set's pages, read in a language."""
    ids, texts = [page.id for page in dataset.pages], [page.text for page in dataset.pages]
    return LexicalIndex.build(ids, texts, stemmer=language)


def by_words(dataset: Dataset, index: LexicalIndex) -> Values:
    """BM25 of words and pairs."""
    return values_of(dataset, np.stack([index.scores(query.text) for query in dataset.queries]))


def as_before(dataset: Dataset) -> Values:
    """BM25 of bm25s' own words, English."""
    texts, asked = [page.text for page in dataset.pages], [one.text for one in dataset.queries]
    return values_of(dataset, bm25_scores(texts, asked, stemmed=True)[0])


def by_both(dataset: Dataset, maxsim: NDArray[np.float32], index: LexicalIndex) -> Values:
    """What a search with ``hybrid="auto"`` makes of MaxSim and words, over all pages."""
    rows = zip(maxsim.astype(np.float64), dataset.queries, strict=True)
    return values_of(dataset, np.stack([_fused(row, one.text, index) for row, one in rows]))


def _fused(maxsim: Values, query: str, index: LexicalIndex) -> Values:
    found = index.search(query)
    if not found.highest():
        return maxsim
    return fuse(weighed(found.most_found()), maxsim, found.found_on(index.ids))


def joined(folder: Path) -> Dataset:
    """The sets of several languages as one collection, asked in each of them."""
    sets = {language: read_dataset(folder / language) for language in TOGETHER}
    pages = [replace(p, id=f"{name}/{p.id}") for name, one in sets.items() for p in one.pages]
    queries = [replace(q, id=f"{name}/{q.id}") for name, one in sets.items() for q in one.queries]
    qrels = {
        f"{name}/{query}": {f"{name}/{page}": grade for page, grade in found.items()}
        for name, one in sets.items()
        for query, found in one.qrels.items()
    }
    return Dataset(" + ".join(TOGETHER), tuple(pages), tuple(queries), qrels)


def mixed_pages(folder: Path, asked: str) -> Dataset:
    """German pages that begin with their English text, asked in ``de`` or ``en-de``."""
    german = read_dataset(folder / asked)
    english = {page.id: page.text for page in read_dataset(folder / "en").pages}
    pages = tuple(
        replace(page, text=f"{english[page.id][:ABSTRACT]}\n\n{page.text}") for page in german.pages
    )
    return replace(german, name=f"English abstract, asked {asked}", pages=pages)


def choice(folder: Path) -> list[dict[str, Any]]:
    """BM25 on the validation part by how pages are read."""
    sets = {
        **{name: (read_dataset(folder / name), OF_PAGES[name]) for name in ("de", "fr", "es")},
        "abstract, asked in German": (mixed_pages(folder, "de"), "german"),
        "abstract, asked in English": (mixed_pages(folder, "en-de"), "german"),
    }
    rows = [_chosen(name, dataset, right) for name, (dataset, right) in sets.items()]
    together = joined(folder)
    by_query = {name: by_words(together, words_of(together, name)) for name in (*_READINGS, None)}
    for language in TOGETHER:
        mine = [query.id.startswith(f"{language}/") for query in together.queries]
        means = {str(name): _mean(found[mine]) for name, found in by_query.items()}
        right = means[OF_PAGES[language]]
        rows.append({"set": f"{together.name}, asked in {language}", **means, "right": right})
    return rows


_READINGS = ("english", "german", "french", "auto")


def _chosen(name: str, dataset: Dataset, right: str) -> dict[str, Any]:
    readings = dict.fromkeys((*_READINGS, right, None))
    means = {str(one): _mean(by_words(dataset, words_of(dataset, one))) for one in readings}
    return {"set": name, **means, "right": means[right]}


class Measured:
    """Every system on the sets of the test part, with vectors of one encoder.

    Args:
        folder: The test part.
        encoder: The checkpoint.
        cache: Keeps vectors.
    """

    def __init__(self, folder: Path, encoder: Encoder, cache: Path) -> None:
        self._folder, self._encoder, self._cache = folder, encoder, cache
        self._stored: dict[str, tuple[Quantized, NDArray[np.float32]]] = {}

    def rows(self, name: str) -> list[dict[str, Any]]:
        """One set, as the only row."""
        return [self._row(name)]

    def _row(self, name: str) -> dict[str, Any]:
        dataset, right = read_dataset(self._folder / name), OF_PAGES[name]
        pages, queries = self._vectors(name)
        english, own = words_of(dataset, "english"), words_of(dataset, right)
        return {
            "set": name,
            "pages": len(dataset.pages),
            "queries": len(dataset.queries),
            "as before": _mean(as_before(dataset)),
            "own": _mean(by_words(dataset, own)),
            **self._systems(dataset, exhaustive(queries, pages), english, own),
        }

    def together(self) -> list[dict[str, Any]]:
        """One collection of several languages, by the language of the query."""
        dataset = joined(self._folder)
        parts = [self._vectors(name) for name in TOGETHER]
        pages = Quantized(
            np.concatenate([one.values for one, _ in parts]),
            np.concatenate([one.scales for one, _ in parts]),
        )
        maxsim = exhaustive(np.concatenate([queries for _, queries in parts]), pages)
        english, own = words_of(dataset, "english"), words_of(dataset, "auto")
        rows = []
        for language in TOGETHER:
            mine = [query.id.startswith(f"{language}/") for query in dataset.queries]
            part = replace(dataset, queries=tuple(np.array(dataset.queries, dtype=object)[mine]))
            part = replace(part, qrels={one.id: dataset.qrels[one.id] for one in part.queries})
            scores = {budget: found[mine] for budget, found in maxsim.items()}
            rows.append(
                {
                    "set": f"{dataset.name}, asked in {language}",
                    "pages": len(part.pages),
                    "queries": len(part.queries),
                    "as before": _mean(as_before(part)),
                    "own": _mean(by_words(part, own)),
                    **self._systems(part, scores, english, own),
                }
            )
        return rows

    def _systems(
        self,
        dataset: Dataset,
        maxsim: dict[RetrievalBudget, NDArray[np.float32]],
        english: LexicalIndex,
        own: LexicalIndex,
    ) -> dict[str, Any]:
        found: dict[str, Any] = {"english": _mean(by_words(dataset, english))}
        for budget, scores in maxsim.items():
            before, after = (by_both(dataset, scores, index) for index in (english, own))
            gain = after - before
            found[str(budget)] = {
                "dense": _mean(values_of(dataset, scores)),
                "hybrid english": _mean(before),
                "hybrid own": _mean(after),
                "gain": [round(float(one), 4) for one in (gain.mean(), *bootstrap_interval(gain))],
            }
        return found

    def _vectors(self, name: str) -> tuple[Quantized, NDArray[np.float32]]:
        if name not in self._stored:
            [one], _ = read_sets(self._folder / name, self._encoder, self._cache / "ocr")
            queries, pages = vectors_of(one, self._encoder, self._cache)
            self._stored[name] = quantize(pages), queries
        return self._stored[name]


def exhaustive(
    queries: NDArray[np.float32], pages: Quantized
) -> dict[RetrievalBudget, NDArray[np.float32]]:
    """MaxSim of all pages at each budget, (queries, pages)."""
    return {budget: exhaustive_scores(queries, pages, budget) for budget in BUDGETS}


def _mean(values: Values) -> float:
    return round(float(values.mean()), 4)


# -- libraries that find a language ------------------------------------------------------------


def _py3langid() -> Callable[[str], str]:
    library = importlib.import_module("py3langid.langid")
    found = library.LanguageIdentifier.from_model_file(library.MODEL_FILE, norm_probs=True)
    return lambda text: str(found.classify(text)[0])


def _lingua() -> Callable[[str], str]:
    built = importlib.import_module("lingua").LanguageDetectorBuilder.from_all_languages().build()

    def detect(text: str) -> str:
        found = built.detect_language_of(text)
        return found.iso_code_639_1.name.lower() if found else ""

    return detect


def _langdetect() -> Callable[[str], str]:
    library = importlib.import_module("langdetect")
    library.DetectorFactory.seed = 0

    def detect(text: str) -> str:
        try:
            return str(library.detect(text))[:2]
        except library.lang_detect_exception.LangDetectException:  # a text without letters
            return ""

    return detect


def _pycld2() -> Callable[[str], str]:
    library = importlib.import_module("pycld2")
    return lambda text: str(library.detect(text)[2][0][1])[:2]


DETECTORS: dict[str, Callable[[], Callable[[str], str]]] = {
    "py3langid": _py3langid,
    "lingua": _lingua,
    "langdetect": _langdetect,
    "pycld2": _pycld2,
}


def detectors(folder: Path) -> list[dict[str, Any]]:
    """How often each library names the language of pages and of queries, and its CPU time."""
    asked_in = ("en", "de", "fr", "es", "zh", "ja")
    sets = {language: read_dataset(folder / language) for language in asked_in}
    pages = [(name, page.text) for name, one in sets.items() for page in one.pages]
    asked = [(name, query.text) for name, one in sets.items() for query in one.queries]
    return [
        {"library": name, "pages": _share(make(), pages), "queries": _share(make(), asked)}
        for name, make in DETECTORS.items()
        if importlib.util.find_spec(name)
    ]


def _share(detect: Callable[[str], str], texts: Sequence[tuple[str, str]]) -> dict[str, float]:
    detect("the first one loads the model")
    start = time.process_time()
    right = sum(detect(text) == language for language, text in texts)
    spent = 1000 * (time.process_time() - start) / len(texts)
    return {"right": round(right / len(texts), 4), "ms": round(spent, 2)}


def english(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """BM25 on the English sets: as read by default, and each page by its own language."""
    sets = [read_dataset(folder) for folder in folders]
    return [
        {"set": one.name}
        | {name: _mean(by_words(one, words_of(one, name))) for name in ("english", "auto")}
        for one in sets
    ]


def characters(folder: Path) -> list[dict[str, Any]]:
    """BM25 of Chinese and Japanese: runs as words, pairs of characters, and the language named."""
    sets = [read_dataset(folder / name) for name in ("zh", "ja")]
    return [
        {
            "set": one.name,
            "as before": _mean(as_before(one)),
            "now": _mean(by_words(one, words_of(one, "english"))),
            "own": _mean(by_words(one, words_of(one, OF_PAGES[one.name]))),
        }
        for one in sets
    ]


def parts_of(given: argparse.Namespace, encoder: Encoder) -> dict[str, Callable[[], Any]]:
    """What is measured, by name; each can be measured by a process of its own and is kept."""
    test, validation = given.folder / "test", given.folder / "validation"
    measured = Measured(test, encoder, given.cache)
    return {
        "choice": lambda: choice(validation),
        **{f"sets {name}": partial(measured.rows, name) for name in given.sets},
        "sets together": measured.together,
        "english": lambda: english(given.english),
        "characters": lambda: characters(test),
        "detectors": lambda: detectors(validation) if given.detectors else [],
    }


def main() -> None:
    """Read the command line and write the figures."""
    given = _arguments()
    from metaembed_rag.model import MetaEmbedEncoder

    encoder = MetaEmbedEncoder.from_pretrained(given.model, device="cpu")
    made_by = code_digest(sys.modules[__name__], words, tokens, languages)
    numbers: dict[str, list[Any]] = {}
    for name, make in parts_of(given, encoder).items():
        if given.part in (None, name):
            rows = kept(given.cache / f"{name}-{made_by}.json", make)
            numbers.setdefault(name.partition(" ")[0], []).extend(rows)
            print(name, *rows, sep="\n", flush=True)
    if given.json and given.part is None:
        results.write(given.json, CLAIM, numbers, fingerprint=encoder.fingerprint)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="of benchmarks.data.translated_manuals")
    parser.add_argument("--model", default="small", help="a checkpoint")
    parser.add_argument("--cache", type=Path, required=True, help="folder of vectors and figures")
    parser.add_argument("--english", nargs="*", type=Path, default=[], help="English sets")
    parser.add_argument("--sets", nargs="*", default=["de", "fr", "en-de", "en-fr", "en"])
    parser.add_argument("--detectors", action="store_true", help="compare the libraries, too")
    parser.add_argument("--part", help="measure only this part, and keep it")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
