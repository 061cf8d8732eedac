"""A contact sheet of a checkpoint's wrong answers, and how many there are of each kind.

    python -m benchmarks.quality.wrong_answers mini ../shared/data/texdoc_pages \
        --as-text opencqa400 --json results/wrong_answers.json

A query is answered wrongly where the page ranked first, of all pages at the full budget in int8,
is not a right one. Kinds are told by words (lower case, no stop words) and counted over all
queries; the examples are drawn from each kind with a seed, not chosen. Pages are shown as
pictures, or with ``--as-text`` by the beginning of what was read on them, where a set's pictures
may not be copied (OpenCQA's may not).

Writes ``wrong_answers.png`` to ``--out`` and the counts to ``--json``. Shares its cache with
``checkpoint.py``.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps

from benchmarks import results
from benchmarks.quality.encoded import InputSet, int8_scores, read_sets
from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.errors import MetaEmbedError, require
from metaembed_rag.pages import Page

CLAIM = "How many queries are answered wrongly at the full budget, and in which way."
KINDS = {
    "words ignored": "the right page has more of the query's words than the page ranked first: the "
    "vectors blur exact words, which BM25 counts",
    "words on both": "both pages have as many of the query's words: what tells them apart is what "
    "the right page is about, its heading or its place, and the other one only mentions the words",
    "words elsewhere": "the page ranked first has more of the query's words than the right one: "
    "the right page says it in other words, or they were hyphenated or misread",
    "not read": "nothing could be read on the right page, so no query can find it",
}
"""Kind -> what it is."""

COLUMNS, WIDTH, THUMBNAIL, TEXT = 3, 590, (285, 370), 82
COLOURS = 40
_RIGHT, _WRONG, _GREY = (0, 110, 40), (170, 30, 30), (90, 90, 90)


@dataclass(frozen=True)
class Wrong:
    """A query whose first page is not right.

    Args:
        query: Its text.
        kind: One of :data:`KINDS`.
        right: The right page that is ranked best.
        rank: Its place, from 1; 0 where it could not be read.
        first: The page ranked first.
        scores: MaxSim / r_q of the right page and of the first.
    """

    query: str
    kind: str
    right: Page
    rank: int
    first: Page
    scores: tuple[float, float]

    @property
    def same_document(self) -> bool:
        """Whether both pages are of one document, as far as ids say so."""
        right, first = (page.id.rpartition("_p") for page in (self.right, self.first))
        return bool(right[1]) and right[0] == first[0]


def wrong_answers(data: InputSet, scores: NDArray[np.float32], r_q: int) -> list[Wrong]:
    """All of a set, in the order of its queries.

    Args:
        data: Queries, judgements and texts.
        scores: MaxSim, (queries, pages that could be read).
        r_q: Query vectors that took part.
    """
    pages = {page.id: page for page in data.dataset.pages}
    place = {id: i for i, id in enumerate(data.ids)}
    words = [set(found) for found in _words(data.texts)]
    asked = _words([query.text for query in data.dataset.queries])
    found = []
    for query, row, wanted in zip(data.dataset.queries, scores, asked, strict=True):
        relevant = [id for id, grade in data.dataset.qrels[query.id].items() if grade > 0]
        first = int(row.argmax())
        if data.ids[first] in relevant:
            continue
        readable = [place[id] for id in relevant if id in place]
        right = max(readable, key=lambda i: row[i], default=None)
        found.append(
            Wrong(
                query=query.text,
                kind="not read"
                if right is None
                else _kind(set(wanted), words[right], words[first]),
                right=pages[relevant[0] if right is None else data.ids[right]],
                rank=0 if right is None else 1 + int((row > row[right]).sum()),
                first=pages[data.ids[first]],
                scores=(np.nan if right is None else row[right] / r_q, row[first] / r_q),
            )
        )
    return found


def _kind(asked: set[str], right: set[str], first: set[str]) -> str:
    on_right, on_first = len(asked & right), len(asked & first)
    if on_right == on_first:
        return "words on both"
    return "words ignored" if on_right > on_first else "words elsewhere"


def _words(texts: Sequence[str]) -> list[list[str]]:
    """Lower-case words without English stop words, as plain BM25 takes them."""
    options = {"stopwords": "en", "return_ids": False, "show_progress": False}
    found: list[list[str]] = require("bm25s").tokenize(list(texts), **options)
    return found


def drawn(wrong: Sequence[Wrong], each: int, seed: int) -> list[Wrong]:
    """Up to ``each`` of every kind, drawn at random."""
    generator, found = random.Random(seed), []
    for kind in KINDS:
        some = [one for one in wrong if one.kind == kind]
        found += generator.sample(some, min(each, len(some)))
    return found


# -- the counts ------------------------------------------------------------------------------


def counts(sets: Sequence[tuple[InputSet, Sequence[Wrong]]]) -> list[dict[str, Any]]:
    """A row a set and kind that occurs in it, and one of all kinds."""
    rows = []
    for data, wrong in sets:
        for kind in (*KINDS, "all"):
            some = [one for one in wrong if kind in (one.kind, "all")]
            if some:
                rows.append(
                    {
                        "set": data.label,
                        "kind": kind,
                        "wrong": len(some),
                        "queries": len(data.dataset.queries),
                        "same_document": sum(one.same_document for one in some),
                        "right_in_top_5": sum(1 < one.rank <= 5 for one in some),
                    }
                )
    return rows


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: a row a set and kind, and what the kinds are."""
    head = ["set", "kind", "queries", "first page of the same document", "right page in the top 5"]
    lines = [_line(head), "|" + "---|" * len(head)]
    for row in rows:
        share = f"{row['wrong']} of {row['queries']} ({row['wrong'] / row['queries']:.0%})"
        same, near = str(row["same_document"]), str(row["right_in_top_5"])
        lines.append(_line([row["set"], row["kind"], share, same, near]))
    seen = {row["kind"] for row in rows}
    lines += ["", *(f"- *{kind.capitalize()}*: {KINDS[kind]}." for kind in KINDS if kind in seen)]
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


# -- the picture -----------------------------------------------------------------------------


def sheet(examples: Sequence[tuple[Wrong, str, str | None, str | None]]) -> Image.Image:
    """The contact sheet, with few colours.

    Args:
        examples: A wrong answer, the name of its set, and texts to show instead of the right and
            the first page's pictures (None shows the pictures).
    """
    cards = [_card(*example) for example in examples]
    rows = [cards[i : i + COLUMNS] for i in range(0, len(cards), COLUMNS)]
    heights = [max(card.height for card in row) for row in rows]
    whole = Image.new("RGB", (COLUMNS * WIDTH, sum(heights)), "white")
    top = 0
    for row, height in zip(rows, heights, strict=True):
        for column, card in enumerate(row):
            whole.paste(card, (column * WIDTH, top))
        top += height
    return whole.quantize(COLOURS, dither=Image.Dither.NONE)


def _card(one: Wrong, name: str, right: str | None, first: str | None) -> Image.Image:
    card = Image.new("RGB", (WIDTH, TEXT + THUMBNAIL[1] + 36), "white")
    draw = ImageDraw.Draw(card)
    draw.text((8, 6), f"{name}: {one.kind}", _GREY, font=_font(14))
    query = textwrap.shorten(one.query, 110, placeholder=" …")
    draw.multiline_text((8, 25), textwrap.fill(query, 62), "black", font=_font(15, bold=True))
    for x, page, text, colour, label in (
        (5, one.right, right, _RIGHT, f"right, rank {one.rank or '–'}: {one.scores[0]:.3f}"),
        (WIDTH // 2 + 2, one.first, first, _WRONG, f"ranked first: {one.scores[1]:.3f}"),
    ):
        draw.text((x + 3, TEXT - 13), label, colour, font=_font(14))
        card.paste(_shown(page, text, colour), (x, TEXT + 8))
    return card


def _shown(page: Page, text: str | None, colour: tuple[int, int, int]) -> Image.Image:
    """A page in a frame: its picture, or the beginning of its text."""
    box = Image.new("RGB", THUMBNAIL, "white")
    image = page.load_image() if text is None else None
    if image is not None:
        small = ImageOps.contain(image.convert("L"), (THUMBNAIL[0] - 4, THUMBNAIL[1] - 4))
        small = ImageOps.autocontrast(ImageOps.posterize(small, 4)).convert("RGB")
        box.paste(small, ((THUMBNAIL[0] - small.width) // 2, (THUMBNAIL[1] - small.height) // 2))
    else:
        told = textwrap.fill(textwrap.shorten(text or page.text, 720, placeholder=" …"), 36)
        ImageDraw.Draw(box).multiline_text((8, 8), told, "black", font=_font(13))
    ImageDraw.Draw(box).rectangle((0, 0, box.width - 1, box.height - 1), outline=colour, width=2)
    return box


def _font(size: int, *, bold: bool = False) -> Any:
    """DejaVu Sans, which matplotlib brings along."""
    folder = Path(require("matplotlib").get_data_path()) / "fonts" / "ttf"
    return ImageFont.truetype(str(folder / f"DejaVuSans{'-Bold' if bold else ''}.ttf"), size)


# -- the command -----------------------------------------------------------------------------


def main() -> int:
    """Read the command line, count, draw and write."""
    given = _arguments()
    logging.basicConfig(stream=sys.stderr)
    from metaembed_rag import MetaEmbedEncoder

    try:
        encoder = MetaEmbedEncoder.from_pretrained(given.checkpoint, device="cpu")
        sets, examples = [], []
        for folder in [*given.sets, *given.as_text]:
            for data in read_sets(folder, encoder, given.ocr_cache, skip_pictures=True)[0][:1]:
                budget = RetrievalBudget(encoder.query_vectors, encoder.document_vectors)
                found = int8_scores(data, encoder, given.cache)
                wrong = wrong_answers(data, found.get(budget, [*found.values()][-1]), budget.r_q)
                sets.append((data, wrong))
                texts = dict(zip(data.ids, data.texts, strict=True))
                for one in drawn(wrong, given.each, given.seed):
                    held = (texts.get(page.id, "") for page in (one.right, one.first))
                    instead = tuple(held) if folder in given.as_text else (None, None)
                    examples.append((one, data.dataset.name, *instead))
    except MetaEmbedError as error:
        print(error, file=sys.stderr)
        return 1
    given.out.mkdir(parents=True, exist_ok=True)
    sheet(examples).save(given.out / "wrong_answers.png", optimize=True)
    print(table(counts(sets)))
    if given.json:
        results.write(given.json, CLAIM, counts(sets), fingerprint=encoder.fingerprint)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoint")
    parser.add_argument("sets", nargs="+", type=Path, help="folders in BEIR layout")
    parser.add_argument(
        "--as-text", nargs="+", type=Path, default=[], help="sets whose pictures are not shown"
    )
    parser.add_argument("--each", type=int, default=3, help="examples of each kind and set")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("docs"))
    parser.add_argument("--json", type=Path, help="write the counts to this file")
    parser.add_argument("--cache", type=Path, default=Path(".data/checkpoint"))
    parser.add_argument("--ocr-cache", type=Path, default=Path(".data/ocr"), help="OCR texts")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
