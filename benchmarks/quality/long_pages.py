"""Whether a quotation finds the long page that it stands on, wherever it stands.

    python -m benchmarks.quality.long_pages mini ../shared/data/texdoc_pages \
        ../shared/data/debian_packages ../shared/data/cranfield --json results/long_pages.json

A long page is made of texts of a set in BEIR layout, in a random order, joined and cut at 2,500
words. A query is a quotation of 20 words; five are drawn from each third of each of 40 pages. The
share of quotations whose page is ranked first is measured by MaxSim at three budgets and by hybrid
search, once with the whole text read and once with the first pass only (``max_passes=1``).
"""

from __future__ import annotations

import argparse
import logging
import random
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import results
from metaembed_rag import MetaEmbedEncoder
from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.evaluation import exhaustive_scores, read_dataset
from metaembed_rag.model.base import OrderedEncoder
from metaembed_rag.options import Fusion
from metaembed_rag.search.fusion import fuse
from metaembed_rag.search.words import LexicalIndex
from metaembed_rag.vectors.formats import quantize

logger = logging.getLogger("long_pages")

CLAIM = "A quotation of 20 words finds its page of 2,500 words among 40, wherever it stands."
THIRDS = ("first", "middle", "last")
BUDGETS = ((1, 1), (4, 8), (16, 64))
PAGES, WORDS, QUOTED, QUOTATIONS = 40, 2500, 20, 5

Quotation = tuple[int, str, str]
"""The page's place, the third that it stands in, the words."""


def long_pages(texts: Sequence[str], words: int = WORDS, pages: int = PAGES) -> list[str]:
    """At most so many pages of ``words`` words each, of whole texts but for the last of each."""
    order = list(texts)
    random.Random(0).shuffle(order)
    found, held, count = [], [], 0
    for text in order:
        held.append(text)
        count += len(text.split())
        if count >= words:
            joined = "\n\n".join(held)
            last = list(re.finditer(r"\S+", joined))[words - 1]
            found.append(joined[: last.end()])
            held, count = [], 0
        if len(found) == pages:
            break
    return found


def quotations(pages: Sequence[str], each: int = QUOTATIONS) -> list[Quotation]:
    """Runs of words, ``each`` from each third of each page."""
    drawn, found = random.Random(1), []
    for place, page in enumerate(pages):
        words = page.split()
        for number, third in enumerate(THIRDS):
            low, high = number * len(words) // 3, (number + 1) * len(words) // 3 - QUOTED
            for _ in range(each):
                start = drawn.randrange(low, high)
                found.append((place, third, " ".join(words[start : start + QUOTED])))
    return found


def shares(scores: np.ndarray[Any, Any], asked: Sequence[Quotation]) -> dict[str, float]:
    """The share of each third's quotations whose page is first; ``scores`` (queries, pages)."""
    right = scores.argmax(1) == np.array([place for place, _, _ in asked])
    thirds = np.array([third for _, third, _ in asked])
    return {third: round(float(right[thirds == third].mean()), 4) for third in THIRDS}


def measured(name: str, texts: Sequence[str], encoder: OrderedEncoder) -> dict[str, Any]:
    """Every way of searching a set's long pages."""
    pages = long_pages(texts)
    asked = quotations(pages)
    words = [text for _, _, text in asked]
    lexical = LexicalIndex.build([str(i) for i in range(len(pages))], pages)
    by_words = np.array([lexical.scores(text) for text in words], np.float64)
    queries, rows = encoder.encode_query(words), []
    most = encoder.max_passes
    for read, passes in (("first pass", 1), ("whole text", most)):
        encoder.max_passes = passes
        stored = quantize(encoder.encode_document(pages))
        for r_q, r_c in BUDGETS:
            maxsim = exhaustive_scores(queries, stored, RetrievalBudget(r_q, r_c))
            rows.append({"read": read, "system": f"({r_q},{r_c})", **shares(maxsim, asked)})
        pairs = zip(maxsim.astype(np.float64), by_words, strict=True)
        fused = np.stack([fuse(Fusion(), *both) for both in pairs])
        rows.append({"read": read, "system": f"({r_q},{r_c}) hybrid", **shares(fused, asked)})
    rows.append({"read": "words", "system": "BM25", **shares(by_words, asked)})
    unread = sum(encoder.unread_tokens(pages))
    about = {"set": name, "pages": len(pages), "quotations": len(asked), "unread_tokens": unread}
    return {**about, "rows": rows}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure each set, print the rows, and write the record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("folders", nargs="+", type=Path, help="sets in BEIR layout, with texts")
    parser.add_argument("--json", type=Path, help="write the record here")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    encoder = MetaEmbedEncoder.from_pretrained(given.model, device="cpu")
    sets = []
    for folder in given.folders:
        texts = [page.text for page in read_dataset(folder).pages if page.text.strip()]
        sets.append(measured(folder.name, texts, encoder))
        for row in sets[-1]["rows"]:
            logger.info("%s %s", folder.name, row)
    if given.json:
        numbers = {"words": WORDS, "quoted": QUOTED, "passes": encoder.max_passes, "sets": sets}
        results.write(given.json, CLAIM, numbers, fingerprint=encoder.fingerprint)
    return 0


if __name__ == "__main__":
    sys.exit(main())
