"""Three retrieval tasks from text that training never sees; settings may be chosen on them."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence

from metaembed_rag.evaluation import Dataset, Query
from metaembed_rag.pages import Page
from metaembed_rag.training.examples import normalise
from recipes.mini.data.corpora import Pair, TexPage, TextSources


def validation_sets(sources: TextSources, *, seed: int = 0) -> list[Dataset]:
    """TeX titles, Debian descriptions and OpenCQA answers of the validation part.

    At most 1,200 documents and 600 queries each, drawn with ``seed``; a title that names pages of
    several documents is left out, as in ``texdoc_pages``.
    """
    rng = random.Random(seed)
    return [
        _title_task(sources.tex, rng),
        _pair_task("debian", sources.debian, rng),
        _pair_task("opencqa", sources.opencqa, rng),
    ]


def _title_task(pages: Sequence[TexPage], rng: random.Random) -> Dataset:
    titled = [page for page in pages if page.titles]
    corpus = rng.sample(titled, min(len(titled), 600))
    named: dict[str, set[int]] = defaultdict(set)
    for index, page in enumerate(corpus):
        for title in page.titles:
            if normalise(title) in normalise(page.text):
                named[title].add(index)
    queries = [title for title, where in named.items() if len(where) == 1 and len(title) > 4]
    queries = rng.sample(queries, min(len(queries), 600))
    asked = [(title, min(named[title])) for title in queries]
    return _dataset("tex titles", [page.text for page in corpus], asked)


def _pair_task(name: str, pairs: Sequence[Pair], rng: random.Random) -> Dataset:
    chosen = rng.sample(list(pairs), min(len(pairs), 1200))
    asked = [(query, index) for index, (query, _) in enumerate(chosen[:600])]
    return _dataset(name, [text for _, text in chosen], asked)


def _dataset(name: str, corpus: Sequence[str], asked: Sequence[tuple[str, int]]) -> Dataset:
    """Texts, and queries with the index of the text that answers each."""
    pages = [Page(name, number=number, text=text) for number, text in enumerate(corpus, 1)]
    return Dataset(
        name,
        tuple(pages),
        tuple(Query(str(number), query) for number, (query, _) in enumerate(asked)),
        {str(number): {pages[index].id: 1} for number, (_, index) in enumerate(asked)},
    )
