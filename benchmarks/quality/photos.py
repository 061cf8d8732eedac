"""Photos without text, found by captions: visual words as text, beside a mean of vectors.

    python -m benchmarks.quality.photos --model small --json results/photos.json

The photos and their captions are those of Debian's ``tuxpaint-stamps-default`` (things, animals and
plants on white, fetched with ``apt-get download``); drawings are left out. Queries are the captions
("A pair of cherries."), and categories in everyday words ("musical instruments"), for which every
photo of some folders is right. Half of the queries is for choosing, half for reporting.

``--sentences FOLDER`` adds a model of sentence-transformers, which also encodes the mean of its
vectors of labels, weighted by the square root of their probabilities (ConSE).
"""

from __future__ import annotations

import argparse
import hashlib
import io
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks import results
from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.evaluation import exhaustive_scores, measure, top_pages
from metaembed_rag.model import MetaEmbedEncoder, visual_words
from metaembed_rag.pages.pictures import to_rgb
from metaembed_rag.search.words import LexicalIndex
from metaembed_rag.vectors.formats import quantize
from recipes.mini.data.debian import deb_files, download

CLAIM = "How well photos without text are found by what they show, in words and in vectors."
PACKAGE = "tuxpaint-stamps-default"
METRIC = "ndcg@5"
DRAWN = ("symbols", "cartoon", "seasonal", "roadsigns", "flags", "shapes")
CATEGORIES: Mapping[str, str] = {
    "a bird": "animals/birds",
    "fish in the water": "animals/fish",
    "insects": "animals/insects",
    "dogs and their wild cousins": "animals/mammals/dogs",
    "big cats": "animals/mammals/cats",
    "animals with horns on a farm": "animals/mammals/bovines",
    "small furry rodents": "animals/mammals/rodents",
    "horses": "animals/mammals/equines",
    "monkeys and apes": "animals/mammals/apes",
    "bears": "animals/mammals/bears",
    "fresh fruit": "food/fruit",
    "vegetables for cooking": "food/vegetables",
    "a flower in bloom": "plants/flowers",
    "trees": "plants/trees",
    "musical instruments": "hobbies/music",
    "vehicles that drive on the road": "vehicles",
    "outer space": "space",
    "tools from the workshop": "household/tools",
    "something to wear": "clothes",
    "army weapons": "military",
    "sports equipment": "sports",
    "things a doctor uses": "medical",
}
MOST_LABELS = 30


@dataclass(frozen=True)
class Photos:
    """Photos with what they show, as probabilities and as words.

    Attributes:
        names: Paths below the folder of stamps.
        captions: What people wrote of each.
        probabilities: Of shape (photos, 1000).
        texts: Visual words of each.
        milliseconds: That one photo took.
    """

    names: Sequence[str]
    captions: Sequence[str]
    probabilities: NDArray[np.float32]
    texts: Sequence[str]
    milliseconds: float

    @classmethod
    def read(cls, deb: Path) -> Photos:
        """Those of the package that are photos and have a caption."""
        pictures: dict[str, Image.Image] = {}
        captions: dict[str, str] = {}
        for path, content in deb_files(deb, ""):
            name = path.partition("/stamps/")[2]
            if not name or any(word in name for word in DRAWN):
                continue
            stem = str(PurePosixPath(name).with_suffix(""))
            if name.endswith(".png"):
                pictures[stem] = to_rgb(Image.open(io.BytesIO(content)))
                pictures[stem].thumbnail((896, 896))
            elif name.endswith(".txt"):
                captions[stem] = content.decode("utf-8").split("\n")[0].strip(" .!").lower()
        names = sorted(pictures.keys() & captions.keys())
        visual_words.describe(pictures[names[0]])  # loads the network
        start = time.perf_counter()
        texts = [visual_words.describe(pictures[name]) for name in names]
        took = 1000 * (time.perf_counter() - start) / len(names)
        found = np.concatenate([visual_words.probabilities([pictures[name]]) for name in names])
        return cls(names, [captions[name] for name in names], found, texts, took)

    def queries(self) -> dict[str, set[str]]:
        """The photos that are right for each query."""
        right: dict[str, set[str]] = defaultdict(set)
        for name, caption in zip(self.names, self.captions, strict=True):
            right[caption].add(name)
        for query, folder in CATEGORIES.items():
            right[query] |= {name for name in self.names if name.startswith(folder)}
        return dict(right)

    def labels(self, most: int = 5, least: float = 0.02) -> list[str]:
        """The likeliest labels by their first names alone: what visual words are compared with."""
        found = []
        for row in self.probabilities:
            best = np.argsort(-row, kind="stable")[:most]
            likely = [k for at, k in enumerate(best) if at == 0 or row[k] >= least]
            names = [visual_words.vocabulary().labels[k][0] for k in likely]
            found.append("a photo of a " + ", ".join(names))
        return found


def is_for_choosing(query: str) -> bool:
    """Whether a query is in the half on which settings may be chosen."""
    return hashlib.blake2b(query.encode(), digest_size=1).digest()[0] % 2 == 0


def quality(photos: Photos, scores: NDArray[Any]) -> dict[str, float]:
    """nDCG@5 of both halves, and of the categories alone; ``scores``: (queries, photos)."""
    right = photos.queries()
    ranked = dict(zip(right, top_pages(scores, list(photos.names)), strict=True))
    qrels = {query: dict.fromkeys(names, 1) for query, names in right.items()}
    found = dict(zip(right, measure(qrels, ranked)[METRIC], strict=True))
    parts = {
        "choosing": [value for query, value in found.items() if is_for_choosing(query)],
        "reporting": [value for query, value in found.items() if not is_for_choosing(query)],
        "categories": [found[query] for query in CATEGORIES],
    }
    return {name: round(float(np.mean(values)), 4) for name, values in parts.items()}


def words(photos: Photos, texts: Sequence[str]) -> dict[str, Any]:
    """BM25 of texts."""
    index = LexicalIndex.build(photos.names, texts, stemmer="english")
    return quality(photos, np.array([index.parts(query)[0] for query in photos.queries()]))


def vectors(photos: Photos, texts: Sequence[str], encoder: MetaEmbedEncoder) -> dict[str, Any]:
    """The checkpoint on texts, at the smallest and the largest budget."""
    stored = quantize(encoder.encode_document(list(texts)))
    asked = encoder.encode_query(list(photos.queries()))
    budgets = [RetrievalBudget(1, 1), RetrievalBudget(16, 64)]
    return {
        str(budget): quality(photos, np.asarray(exhaustive_scores(asked, stored, budget)))
        for budget in budgets
    }


def sentences(photos: Photos, texts: Mapping[str, Sequence[str]], folder: str) -> dict[str, Any]:
    """A model of one vector a text, on texts and on the weighted mean of its vectors of labels."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(folder, device="cpu")

    def encoded(given: Sequence[str]) -> NDArray[np.float32]:
        made = model.encode(list(given), normalize_embeddings=True, show_progress_bar=False)
        return np.asarray(made, dtype=np.float32)

    queries = encoded(list(photos.queries()))
    found = {way: quality(photos, queries @ encoded(given).T) for way, given in texts.items()}
    labels = visual_words.vocabulary().labels
    for way, said in (
        ("vectors", [f"a photo of a {names[0]}" for names in labels]),
        ("vectors, with synonyms", [f"a photo of a {', '.join(names)}" for names in labels]),
    ):
        least = -np.sort(-photos.probabilities, axis=1)[:, MOST_LABELS - 1, None]
        weights = np.sqrt(np.where(photos.probabilities >= least, photos.probabilities, 0))
        pages = weights @ encoded(said)  # (photos, dimension)
        pages /= np.linalg.norm(pages, axis=1, keepdims=True)
        found[way] = quality(photos, queries @ pages.T)
    return found


def compare(photos: Photos, encoder: MetaEmbedEncoder, folder: str | None) -> dict[str, Any]:
    """Every way of telling what the photos show, by every way of searching."""
    seen = [text or "a photo" for text in photos.texts]  # nothing seen: found by nothing
    unsure = [text.startswith(visual_words.UNSURE) for text in photos.texts]
    texts = {"labels": photos.labels(), "visual words": seen}
    numbers: dict[str, Any] = {
        "photos": len(photos.names),
        "queries": len(photos.queries()),
        "seen": sum(map(bool, photos.texts)),
        "unsure": sum(unsure),
        "model": encoder.name,
        "milliseconds": round(photos.milliseconds, 1),
        "bm25": {way: words(photos, given) for way, given in texts.items()},
        "checkpoint": {way: vectors(photos, given, encoder) for way, given in texts.items()},
    }
    if folder:
        numbers["sentences"] = sentences(photos, texts, folder)
    return numbers


def main() -> None:
    """Print the record, or write it."""
    parse = argparse.ArgumentParser(description=__doc__)
    parse.add_argument("--work", type=Path, default=Path(".data/photos"), help="working folder")
    parse.add_argument("--sentences", metavar="FOLDER", help="a sentence-transformers model")
    parse.add_argument("--model", default="small")
    parse.add_argument("--json", type=Path)
    given = parse.parse_args()
    encoder = MetaEmbedEncoder.from_pretrained(given.model, device="cpu")
    photos = Photos.read(download(PACKAGE, given.work))
    numbers = compare(photos, encoder, given.sentences)
    print(numbers)
    if given.json:
        results.write(given.json, CLAIM, numbers, fingerprint=encoder.fingerprint)


if __name__ == "__main__":
    main()
