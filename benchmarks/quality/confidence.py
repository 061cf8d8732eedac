"""How often ``min_confidence`` lets through what is no match, and drops what is one.

    python -m benchmarks.quality.confidence ../shared/data/texdoc_pages … --model small \
        --cache .data/hybrid --json results/confidence.json

In each set the shipped unrelated questions are asked, as ``metaembed calibrate`` does. Then

- *false alarms*: 100 other unrelated questions (``benchmarks/quality/unrelated.txt``) whose best
  page has the confidence all the same; a share of 1 less the confidence is expected;
- *strangers*: the same of the queries of the other sets, which are nearer to what the set is about
  (the manual of one program asked about another);
- *misses*: queries whose best page is a right one, and is dropped.

Both for searches by vectors and for ``hybrid="auto"``. With ``--validation`` the sets are those on
which :data:`metaembed_rag.search.confidence.WORD_WEIGHT` was chosen.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import results
from benchmarks.quality.hybrid import Encoded, encode, read, validation_datasets
from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.evaluation import exhaustive_scores
from metaembed_rag.search.confidence import Unrelated, evidence, unrelated_questions
from metaembed_rag.search.fusion import fuse, weighed
from metaembed_rag.search.words import LexicalIndex

CLAIM = "What min_confidence lets through of unrelated questions, and what it drops of right pages."
BUDGETS = tuple(RetrievalBudget(*sides) for sides in ((1, 1), (4, 8), (16, 64)))
LEVELS = (0.5, 0.9, 0.95, 0.99)
HELD_OUT = Path(__file__).with_name("unrelated.txt")

Row = NDArray[np.float64]


@dataclass(frozen=True)
class Asked:
    """Questions put to a set, at one budget.

    Attributes:
        maxsim: MaxSim / r_q, shape (questions, pages).
        found: How much of the words each page has, the same shape.
    """

    maxsim: Row
    found: Row

    def best(self, words: bool) -> NDArray[np.intp]:
        """The first page of each question: by vectors, or as ``hybrid="auto"`` ranks."""
        if not words:
            return self.maxsim.argmax(axis=1)
        pairs = zip(self.maxsim, self.found, strict=True)
        return np.array(
            [int((fuse(weighed(f.max()), m, f) if f.max() > 0 else m).argmax()) for m, f in pairs],
            dtype=np.intp,
        )

    def most(self, words: bool) -> list[float]:
        """What calibrating keeps: the highest score, or the most evidence."""
        scores = evidence(self.maxsim, self.found) if words else self.maxsim  # type: ignore[arg-type]
        return [float(one) for one in np.max(scores, axis=1)]

    def confidence(
        self, scale: Unrelated, budget: RetrievalBudget, places: Sequence[int], words: bool
    ) -> Row:
        """Of one page of each question."""
        told = [
            scale.confidence(budget, float(m[p]), float(f[p]) if words and f.max() > 0 else None)
            for m, f, p in zip(self.maxsim, self.found, places, strict=True)
        ]
        return np.array(told, dtype=np.float64)


def report(
    one: Encoded, unrelated: Mapping[str, NDArray[np.float32]], others: Sequence[Encoded]
) -> dict[str, Any]:
    """Every share on one set.

    Args:
        one: The set.
        unrelated: Vectors by question: the shipped ones first, then those held out.
        others: The other sets, for their queries.
    """
    pages = one.dataset.pages
    index = LexicalIndex.build([page.id for page in pages], [page.text for page in pages])
    ids = [page.id for page in pages]
    shipped = [text for text in unrelated if text in set(unrelated_questions())]
    held_out = [text for text in unrelated if text not in set(unrelated_questions())]
    right = [_right(one, number, ids) for number in range(len(one.dataset.queries))]

    def asked(texts: Sequence[str], vectors: NDArray[np.float32]) -> list[Asked]:
        found = np.array([index.search(text).found_on(ids) for text in texts], dtype=np.float64)
        return [
            Asked(exhaustive_scores(vectors, one.pages, b).astype(np.float64) / b.r_q, found)
            for b in BUDGETS
        ]

    mine = asked([query.text for query in one.dataset.queries], one.queries)
    learnt, alarms = (
        asked(texts, np.stack([unrelated[text] for text in texts])) for texts in (shipped, held_out)
    )
    strange = asked(
        [query.text for other in others for query in other.dataset.queries],
        np.concatenate([other.queries for other in others]),
    )
    rows = []
    for place, budget in enumerate(BUDGETS):
        size = (budget.r_q, budget.r_c)
        scale = Unrelated.of({size: learnt[place].most(False)}, {size: learnt[place].most(True)})
        for words in (False, True):
            first = mine[place].best(words)
            hit = np.array([int(page) in some for page, some in zip(first, right, strict=True)])
            sure, *wrong = (
                some[place].confidence(scale, budget, some[place].best(words).tolist(), words)
                for some in (mine, alarms, strange)
            )
            rows.append(
                {
                    "budget": str(budget),
                    "hybrid": words,
                    "right": int(hit.sum()),
                    "auc": round(_auc(sure[hit], wrong[0]), 4),
                    "levels": {
                        str(level): {
                            "misses": round(float((sure[hit] < level).mean()), 4),
                            "false alarms": round(float((wrong[0] >= level).mean()), 4),
                            "strangers": round(float((wrong[1] >= level).mean()), 4),
                        }
                        for level in LEVELS
                    },
                }
            )
    return {"dataset": one.dataset.name, "queries": len(one.dataset.queries), "rows": rows}


def _right(one: Encoded, number: int, ids: Sequence[str]) -> set[int]:
    """Places of the right pages of a query."""
    graded = one.dataset.qrels[one.dataset.queries[number].id]
    return {place for place, id in enumerate(ids) if graded.get(id, 0) > 0}


def _auc(higher: Row, lower: Row) -> float:
    """How often one of the first is over one of the second; ties count half."""
    if not len(higher):
        return float("nan")
    return float((higher[:, None] > lower).mean() + 0.5 * (higher[:, None] == lower).mean())


def table(sets: Iterable[Mapping[str, Any]]) -> str:
    """The shares in percent."""
    lines = [
        "set | budget | words | auc | " + " | ".join(f"{one}: miss/false/strange" for one in LEVELS)
    ]
    for one in sets:
        for row in one["rows"]:
            cells = (
                " / ".join(f"{100 * share:.1f}" for share in of.values())
                for of in row["levels"].values()
            )
            lines.append(
                f"{one['dataset'][:20]} | {row['budget']} | {row['hybrid']} | "
                f"{row['auc']:.3f} | " + " | ".join(cells)
            )
    return "\n".join(lines)


def main() -> None:
    """Read the command line; print the table, write the figures."""
    given = _arguments()
    from metaembed_rag.model import MetaEmbedEncoder

    encoder = MetaEmbedEncoder.from_pretrained(given.model)
    datasets = [read(folder, given.ocr) for folder in given.folders]
    if given.validation:
        datasets += validation_datasets(given.validation, given.prepared)
    sets = [encode(one, encoder, given.cache) for one in datasets]
    texts = [*unrelated_questions(), *HELD_OUT.read_text(encoding="utf-8").split("\n")]
    texts = [text for text in texts if text]
    unrelated = dict(zip(texts, encoder.encode_query(texts), strict=True))
    found = []
    for one in sets:
        others = [other for other in sets if other is not one]
        found.append(report(one, unrelated, others))
        print(table(found[-1:]), file=sys.stderr)
    if given.json:
        numbers = {"model": given.model, "questions": len(unrelated_questions()), "sets": found}
        results.write(given.json, CLAIM, numbers, fingerprint=encoder.fingerprint)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("folders", nargs="*", type=Path, help="folders in BEIR layout")
    add("--model", default="small")
    add("--validation", type=Path, metavar="DATA", help="use mini's validation sets, too")
    add("--prepared", type=Path, help="the training text, for --validation")
    add("--cache", type=Path, help="folder that keeps the encoded sets")
    add("--ocr", type=Path, help="folder that keeps the texts of pictures")
    add("--json", type=Path, help="write all figures to this file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
