"""Whether the best passage of an explanation is where it should be: the title of its section.

    apt-get download texlive-latex-extra-doc …           # each package that SOURCE.md names
    for deb in *.deb; do dpkg-deb -x $deb pdfs; done
    python -m benchmarks.quality.pointing --pdfs pdfs --json results/pointing.json

The queries of texdoc_pages are titles of sections, taken from the outlines of PDFs, and each stands
on its page. Its place is found in the PDF: of the places where the page's text says the title
(letters and digits, whatever the case and spaces), the one that is nearest to where the outline
leads; without such a place in the outline, the one with the least beside it in its line. Queries
whose title the text layer says nowhere are left out, and counted.

A passage points at the title where the smallest box around the passage's lines holds at least half
of the title's area. Passages are those of ``PageIndex.explain``. Beside it: a random passage of as
many lines (the share of all of them that point at it), and of all passages of one to three lines
the one with most of the query's words, of equal ones the shortest, then the first.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pypdfium2 as pdfium
import pypdfium2.raw as raw
from numpy.typing import NDArray

from benchmarks import results
from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.errors import DatasetError
from metaembed_rag.explaining import pieces
from metaembed_rag.explaining.passages import PassageFinder
from metaembed_rag.model import MetaEmbedEncoder
from metaembed_rag.model.inputs import Input
from metaembed_rag.model.protocol import Encoder
from metaembed_rag.pages import Page
from metaembed_rag.pages.lines import Box, TextLine, boxes_of, unpacked
from metaembed_rag.pages.pdf import one_line, read_pdf

CLAIM = "The best passage of an explanation is where the title of the section stands."
SET = results.DATA / "texdoc_pages"
BUDGETS = ((16, 64), (4, 8), (1, 1))
WIDTHS = (1, 2, 3)
HELD = 0.5
"""Share of the title's area that a passage's box has to hold."""
_WORD = re.compile(r"\w\w+")


@dataclass(frozen=True)
class Titled:
    """A page, one of its titles, and where that stands.

    Args:
        title: The query.
        page: With its lines.
        lines: The same, unpacked.
        boxes: Of the title, a box a line.
        by_outline: Whether the outline says which place it is.
    """

    title: str
    page: Page
    lines: tuple[TextLine, ...]
    boxes: tuple[Box, ...]
    by_outline: bool


class Kept:
    """An encoder of documents that encodes none twice: titles of one page share its lines.

    Args:
        encoder: The model.

    Attributes:
        seconds: CPU time that encoding took.
        count: How many texts were encoded.
    """

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.seconds, self.count = 0.0, 0
        self._kept: dict[str, NDArray[np.float32]] = {}

    def __call__(self, inputs: Sequence[Input]) -> NDArray[np.float32]:
        """Float32 unit vectors of texts, shape (inputs, R, D)."""
        new = list(dict.fromkeys(str(one) for one in inputs if str(one) not in self._kept))
        if new:
            start = time.process_time()
            self._kept |= dict(zip(new, self._encoder.encode_document(new), strict=True))
            self.seconds += time.process_time() - start
            self.count += len(new)
        return np.stack([self._kept[str(one)] for one in inputs])

    def forget(self) -> None:
        """Another page follows."""
        self._kept.clear()


def titled_pages(pdfs: Path, limit: int | None) -> Iterator[Titled | str]:
    """Each title with its place; for one that is said nowhere, the title alone.

    Raises:
        DatasetError: A PDF is not there.
    """
    rows = [json.loads(line) for line in (SET / "corpus.jsonl").open(encoding="utf-8")]
    titles: dict[str, list[str]] = {}
    for line in (SET / "queries.jsonl").open(encoding="utf-8"):
        query = json.loads(line)
        titles.setdefault(query["_id"].partition("@")[0], []).append(query["text"])
    for row in rows[:limit]:
        about = row["metadata"]
        path = pdfs / about["path"].lstrip("/")
        if not path.is_file():
            raise DatasetError(f"{path} is not there; see the first lines of {__file__}")
        data = path.read_bytes()
        page = next(read_pdf(data, path.name, None, 896, 10_000, first=about["page"]))
        if not isinstance(page, Page):
            raise page
        places = outline_places(data, about["page"])
        for title in titles.get(row["_id"], []):
            yield placed(title, page, places) or title


def placed(title: str, page: Page, places: Sequence[tuple[str, float]]) -> Titled | None:
    """A title with its place on a page; None where the page does not say it.

    Args:
        title: Of a section.
        page: With its lines.
        places: Titles of the outline with how far down the page they lead, as a fraction.
    """
    lines = unpacked(page.lines, len(page.text))
    spans = [span for span in said(page.text, title) if boxes_of(lines, *span)]
    if not spans:
        return None
    downs = [down for heading, down in places if _plain(title)[0] in _plain(heading)[0]]
    if downs:
        best = min(spans, key=lambda span: abs(boxes_of(lines, *span)[0][1] - downs[0]))
    else:
        best = min(spans, key=lambda span: _beside(page.text, span))
    return Titled(title, page, lines, boxes_of(lines, *best), bool(downs))


def said(text: str, title: str) -> Iterator[pieces.Span]:
    """Where a text says a title, whatever the case, the spaces and the marks."""
    letters, places = _plain(text)
    wanted, _ = _plain(title)
    at = letters.find(wanted) if wanted else -1
    while at >= 0:
        yield places[at], places[at + len(wanted) - 1] + 1
        at = letters.find(wanted, at + 1)


def _plain(text: str) -> tuple[str, list[int]]:
    """Letters and digits in lower case, and where each stands."""
    kept = [(one.lower()[0], place) for place, one in enumerate(text) if one.isalnum()]
    return "".join(one for one, _ in kept), [place for _, place in kept]


def _beside(text: str, span: pieces.Span) -> int:
    """Characters beside a stretch in its lines."""
    start = text.rfind("\n", 0, span[0]) + 1
    end = text.find("\n", span[1])
    return (len(text) if end < 0 else end) - start - (span[1] - span[0])


def outline_places(data: bytes, number: int) -> list[tuple[str, float]]:
    """Titles of the outline that lead to a page, with how far down it, as a fraction."""
    found = []
    with pdfium.PdfDocument(data) as document:
        page = document[number - 1]
        for bookmark in document.get_toc():
            target = bookmark.get_dest()
            if target is None or target.get_index() != number - 1:
                continue
            mode, view = target.get_view()
            if mode == raw.PDFDEST_VIEW_XYZ and len(view) > 1 and view[1]:
                down = 1 - (view[1] - page.get_bbox()[1]) / page.get_height()
                found.append((one_line(bookmark.get_title()), down))
    return found


def points_at(boxes: Sequence[Box], title: Sequence[Box]) -> bool:
    """Whether the smallest box around boxes holds enough of the title's area."""
    around = _around(boxes)
    held = sum(_area(_cut(around, box)) for box in title)
    return held >= HELD * sum(map(_area, title))


def _around(boxes: Sequence[Box]) -> Box:
    if not boxes:
        return (0.0, 0.0, 0.0, 0.0)
    left, top, right, bottom = zip(*boxes, strict=True)
    return min(left), min(top), max(right), max(bottom)


def _cut(one: Box, other: Box) -> Box:
    left, top = max(one[0], other[0]), max(one[1], other[1])
    return left, top, max(left, min(one[2], other[2])), max(top, min(one[3], other[3]))


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def baselines(one: Titled, width: int) -> tuple[float, bool]:
    """The share of the passages of so many lines that point at a title; and whether that does
    which has most of the title's words."""
    text, units = one.page.text, pieces.units(one.page.text)
    every = [
        pieces.span_of(units, range(start, start + lines))
        for lines in WIDTHS
        for start in range(len(units) - lines + 1)
    ]
    same = every[_first(len(units), width) : _first(len(units), width + 1)]
    hits = [points_at(boxes_of(one.lines, *span), one.boxes) for span in same]
    asked = _words(one.title)
    most = max(every, key=lambda span: len(asked & _words(text[slice(*span)])))
    return float(np.mean(hits)), points_at(boxes_of(one.lines, *most), one.boxes)


def _first(units: int, width: int) -> int:
    """How many passages have fewer lines."""
    return sum(max(0, units - lines + 1) for lines in range(1, width))


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.lower()))


Row = tuple[bool, float, bool, float, int]
"""Pointed at, by chance, by words; area of the box, pieces that were encoded."""


def measured(encoder: Encoder, pages: Sequence[Titled]) -> dict[str, Any]:
    """Shares of the titles that are pointed at, at each budget; and what a piece costs."""
    rows: dict[tuple[int, int], list[Row]] = {size: [] for size in BUDGETS}
    encode = Kept(encoder)
    before: Page | None = None
    for one in pages:
        if one.page is not before:
            encode.forget()
            before = one.page
        query = encoder.encode_query([one.title])[0]
        for size in BUDGETS:
            rows[size].append(pointed(one, query, RetrievalBudget(*size), encode))
    return {
        "cpu_ms_a_piece": round(1000 * encode.seconds / max(1, encode.count), 2),
        "rows": [{"budget": list(size), **_means(found)} for size, found in rows.items()],
    }


def pointed(one: Titled, query: NDArray[np.float32], budget: RetrievalBudget, encode: Kept) -> Row:
    """What happens for one title, whose vectors have the shape (R_q, D)."""
    finder = PassageFinder(query[: budget.r_q], budget, encode)
    best = finder.in_text(one.page.text, one.lines)[0]
    units = pieces.units(one.page.text)
    width = sum(best.start <= start < best.end for start, _ in units)
    random, words = baselines(one, width)
    hit = points_at(best.boxes, one.boxes)
    return hit, random, words, _area(_around(best.boxes)), finder.encoded


def _means(rows: Sequence[Row]) -> dict[str, float]:
    names = ("explained", "random", "most_words", "area", "pieces")
    means = np.array(rows, dtype=np.float64).mean(axis=0)
    return {name: round(float(mean), 4) for name, mean in zip(names, means, strict=True)}


def main() -> None:
    """Measure, print and record."""
    parser = argparse.ArgumentParser(description=CLAIM)
    parser.add_argument("--pdfs", type=Path, required=True)
    parser.add_argument("--model", default="small")
    parser.add_argument("--limit", type=int, help="pages")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    encoder = MetaEmbedEncoder.from_pretrained(given.model)
    every = list(titled_pages(given.pdfs, given.limit))
    pages = [one for one in every if isinstance(one, Titled)]
    numbers = {
        "model": given.model,
        "queries": len(every),
        "placed": len(pages),
        "placed_by_outline": sum(one.by_outline for one in pages),
        **measured(encoder, pages),
    }
    print(json.dumps(numbers, indent=1))
    if given.json:
        results.write(given.json, CLAIM, numbers, fingerprint=encoder.fingerprint)


if __name__ == "__main__":
    main()
