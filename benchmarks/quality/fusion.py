"""Ways to fuse MaxSim with BM25, compared on validation sets only; nDCG@5 in percent.

    python -m benchmarks.quality.fusion --checkpoint mini --validation ../shared/data \
        --prepared .data/mini --questions QUESTIONS --cache .data/fusion --json results/fusion.json

Sets of ``--validation`` ask in titles, keywords and sentences of answers, folders of
``--questions`` (in BEIR layout) in everyday words. A method that is to become the default must be
better on both kinds. Every method fuses the same pages: the 200 best at the budget and the 200 best
by BM25. For each set stand the better of plain and stemmed BM25, vectors alone, and each method,
as the mean over (1,1), (4,8) and (16,64); behind it the least gain over that BM25.

The methods, with BM25 as a search has it (words and half of their pairs):

- ``minmax w``: what ``hybrid=True`` does, with BM25 counting w.
- ``z w``: the same of z-scores over the pages that are fused (distribution-based fusion).
- ``theory w``: MaxSim scaled from its theoretical minimum, -1, instead of the worst page's.
- ``rrf k w``: reciprocal ranks, with BM25 counting w.
- ``bound w a``: ``minmax``, and BM25 counts less where the best page has little of what the
  query's words could give: w · (best BM25 / Σ idf of the query's words)^a.
- ``peak w``: ``minmax``, and what stands out counts more: the odds of w are multiplied by the root
  of the ratio of both gaps between the best page and the tenth.
- ``found a b``: MaxSim from 0 to 1, plus a times BM25 of the words and b times BM25 of the pairs,
  each as a share of what the query's words, or pairs, could give.
- ``auto``: what a search without options does, by the library's own functions.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks import results
from benchmarks.quality.hybrid import (
    Encoded,
    Words,
    among_candidates,
    encode,
    per_query,
    read,
    validation_datasets,
)
from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.evaluation import exhaustive_scores
from metaembed_rag.search.fusion import fuse, weighed
from metaembed_rag.search.words import LexicalIndex

Row = NDArray[np.float64]

CLAIM = "Ways to fuse vectors and words, on validation sets of titles and of questions."
BUDGETS = tuple(RetrievalBudget(*sides) for sides in ((1, 1), (4, 8), (16, 64)))
_GAP = 0.1
"""Added to both gaps of ``peak``: a gap of 0 must not decide alone."""


FOUND = {
    f"found {a} {b}": (a, b) for a in (0.5, 0.75, 1.0, 1.5, 2.0) for b in (0.0, 1.0, 1.5, 2.0, 4.0)
}
"""What the words and what the pairs count in each method ``found``."""


class Method(Protocol):
    """Fuses the scores of one query's pages, of shape (pages,), into others of that shape."""

    def __call__(self, maxsim: Row, bm25: Row, bound: float) -> Row:
        """``bound`` is what the query's words could give at most.

        In ``auto`` and ``found``, ``bm25`` is how much of the query is found, and ``bound`` its
        highest value on any page.
        """


def share(scores: Row, low: float) -> Row:
    """Scores from ``low`` (0) to the best (1); all 0 where they do not differ."""
    width = scores.max() - low
    return (scores - low) / width if width > 0 else np.zeros_like(scores)


def minmax(maxsim: Row, bm25: Row, bound: float, *, weight: float) -> Row:
    """A convex combination of both shares."""
    return (1 - weight) * share(maxsim, float(maxsim.min())) + weight * share(bm25, 0.0)


def theory(maxsim: Row, bm25: Row, bound: float, *, weight: float) -> Row:
    """The same from the least MaxSim that there can be."""
    return (1 - weight) * share(maxsim, -1.0) + weight * share(bm25, 0.0)


def z_scores(maxsim: Row, bm25: Row, bound: float, *, weight: float) -> Row:
    """A convex combination of z-scores."""
    both = ((one - one.mean()) / max(float(one.std()), 1e-9) for one in (maxsim, bm25))
    meaning, words = both
    return (1 - weight) * meaning + weight * words


def reciprocal(maxsim: Row, bm25: Row, bound: float, *, weight: float, k: int) -> Row:
    """Weighted reciprocal ranks; a page without the words has none by them."""
    found = np.where(bm25 > 0, 1 / (k + _ranks(bm25)), 0)
    return (1 - weight) / (k + _ranks(maxsim)) + weight * found


def bounded(maxsim: Row, bm25: Row, bound: float, *, weight: float, power: float) -> Row:
    """``minmax`` whose words count by what the best page has of them."""
    covered = min(1.0, float(bm25.max()) / bound) if bound > 0 else 0.0
    meaning = share(maxsim, float(maxsim.min()))
    return (1 - weight) * meaning + weight * covered**power * share(bm25, 0.0)


def peaked(maxsim: Row, bm25: Row, bound: float, *, weight: float) -> Row:
    """``minmax`` whose weight follows how far the best page stands out."""
    meaning, words = share(maxsim, float(maxsim.min())), share(bm25, 0.0)
    odds = weight / (1 - weight) * np.sqrt((_gap(words) + _GAP) / (_gap(meaning) + _GAP))
    chosen = odds / (1 + odds)
    return np.asarray((1 - chosen) * meaning + chosen * words)


def automatic(maxsim: Row, bm25: Row, bound: float) -> Row:
    """What a search does with how much of the query is found; MaxSim alone where nothing is."""
    return fuse(weighed(bound), maxsim, bm25) if bound > 0 else maxsim


def _gap(shares: Row) -> float:
    """How far the tenth page is behind the best."""
    tenth = np.sort(shares)[-min(10, len(shares))]
    return float(shares.max() - tenth)


def _ranks(scores: Row) -> NDArray[np.int64]:
    return np.searchsorted(np.sort(-scores), -scores, side="left") + 1


def methods() -> dict[str, Method]:
    """Every method that is compared, by its name."""
    found: dict[str, Method] = {}
    for weight in (0.2, 0.3, 0.4, 0.5, 0.6, 0.7):
        found[f"minmax {weight}"] = partial(minmax, weight=weight)
    for weight in (0.3, 0.4, 0.5, 0.6):
        found[f"z {weight}"] = partial(z_scores, weight=weight)
        found[f"peak {weight}"] = partial(peaked, weight=weight)
    for weight in (0.4, 0.5, 0.6, 0.7, 0.8):
        for power in (0.5, 1.0):
            found[f"bound {weight} {power}"] = partial(bounded, weight=weight, power=power)
    for weight in (0.03, 0.05, 0.1, 0.2):
        found[f"theory {weight}"] = partial(theory, weight=weight)
    for k in (5, 10, 60):
        for weight in (0.4, 0.5):
            found[f"rrf {k} {weight}"] = partial(reciprocal, weight=weight, k=k)
    return found | dict.fromkeys(("auto", *FOUND), automatic)


@dataclass(frozen=True)
class Trial:
    """A validation set with all that a method looks at.

    Attributes:
        encoded: The set.
        words: Its BM25.
        bounds: What each query's words could give at most, shape (queries,).
        shares: Of words and of pairs in what they could give, shape (2, queries, pages).
        found: How much of each query is on each page, as a search counts it, (queries, pages).
    """

    encoded: Encoded
    words: Words
    bounds: Row
    shares: Row
    found: Row

    @classmethod
    def of(cls, encoded: Encoded) -> Trial:
        """Score a set by its words."""
        dataset = encoded.dataset
        ids, asked = [page.id for page in dataset.pages], [one.text for one in dataset.queries]
        index = LexicalIndex.build(ids, [page.text for page in dataset.pages])
        shares = np.array([index.shares(one, *index.parts(one)) for one in asked], dtype=np.float64)
        found = [index.search(one).found_on(ids) for one in asked]
        return cls(
            encoded,
            Words.of(dataset),
            np.array([index.most(one) for one in asked]),
            shares.swapaxes(0, 1),
            np.array(found, dtype=np.float64),
        )

    def quality(self, name: str, maxsim: NDArray[np.float64]) -> float:
        """Mean nDCG@5 of a method, for MaxSim of shape (queries, pages)."""
        method, (counted, bounds) = methods()[name], self._counted(name)
        rows = zip(maxsim, self.words.both(), counted, bounds, strict=True)
        fused = [among_candidates(partial(method, bound=b), m, w, c) for m, w, c, b in rows]
        return float(per_query(self.encoded.dataset, np.stack(fused)).mean())

    def _counted(self, name: str) -> tuple[Row, Row]:
        """What a method fuses with MaxSim, shape (queries, pages), and each query's bound."""
        if name != "auto" and name not in FOUND:
            return self.words.both(), self.bounds
        weights = FOUND.get(name)
        found = self.found if weights is None else np.tensordot(weights, self.shares, 1)
        return found, found.max(axis=1)

    def report(self) -> dict[str, Any]:
        """Every method on this set; quality in [0, 1]."""
        dataset = self.encoded.dataset
        both = (per_query(dataset, one).mean() for one in (self.words.plain, self.words.stemmed))
        plain, stemmed = (round(float(one), 4) for one in both)
        scored = [
            exhaustive_scores(self.encoded.queries, self.encoded.pages, one).astype(np.float64)
            / one.r_q
            for one in BUDGETS
        ]
        alone = [round(float(per_query(dataset, one).mean()), 4) for one in scored]
        found = {name: [round(self.quality(name, one), 4) for one in scored] for name in methods()}
        return {
            "dataset": dataset.name,
            "queries": len(dataset.queries),
            "bm25": {"plain": plain, "stemmed": stemmed},
            "vectors": alone,
            "methods": found,
        }


def summary(kinds: Mapping[str, Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Each method's mean of each kind of set and least gain over the better BM25, best first."""
    every = [report for reports in kinds.values() for report in reports]
    rows = []
    for name in methods():
        means = {
            kind: float(np.mean([report["methods"][name] for report in reports]))
            for kind, reports in kinds.items()
            if reports
        }
        gains = [min(r["methods"][name]) - max(r["bm25"].values()) for r in every]
        values = means | {"mean": float(np.mean(list(means.values()))), "least gain": min(gains)}
        rows.append({"method": name} | {key: round(value, 4) for key, value in values.items()})
    return sorted(rows, key=lambda row: -row["mean"])


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The summary as a Markdown table, in percent."""
    names = list(rows[0])
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    for row in rows:
        cells = [f"{100 * row[name]:.1f}" for name in names[1:]]
        lines.append(f"| {' | '.join([row['method'], *cells])} |")
    return "\n".join(lines)


def main() -> None:
    """Read the command line; print the table, write the figures."""
    args = _arguments()
    from metaembed_rag.model import MetaEmbedEncoder

    encoder = MetaEmbedEncoder.from_pretrained(args.checkpoint)
    keywords = validation_datasets(args.validation, args.prepared) if args.validation else ()
    asked = (replace(read(one, None), name=one.name) for one in args.questions)
    kinds = {
        kind: [Trial.of(encode(one, encoder, args.cache)).report() for one in sets]
        for kind, sets in (("keywords", keywords), ("questions", asked))
    }
    rows = summary(kinds)
    print(table(rows))
    if args.json:
        numbers = {"model": args.checkpoint, "sets": kinds, "summary": rows}
        results.write(args.json, CLAIM, numbers, fingerprint=encoder.fingerprint)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--checkpoint", "--model", default="mini")
    add("--validation", type=Path, metavar="DATA", help="use mini's validation sets")
    add("--prepared", type=Path, help="the training text, for --validation")
    add("--questions", nargs="+", type=Path, default=[], help="folders in BEIR layout")
    add("--cache", type=Path, help="folder that keeps the encoded sets")
    add("--json", type=Path, help="write all figures to this file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
