"""Why a page matched a query: the answer of :meth:`metaembed_rag.PageIndex.explain`, its HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import chain
from pathlib import Path
from typing import Any

from metaembed_rag import html
from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.errors import PageError
from metaembed_rag.pages import Page
from metaembed_rag.pages.lines import Box

SNIPPET = 240
"""Characters that a snippet has about, where the passage is shorter."""

STYLE = """
.metaembed .why { display: flex; flex-wrap: wrap; gap: 18px; align-items: flex-start; }
.metaembed .why > div { flex: 1 1 320px; }
.metaembed .why h3 { font-size: 14px; margin: 10px 0 4px; }
.metaembed .why mark { background: #fff2b3; }
.metaembed .why td, .metaembed .why th { padding: 0 10px 0 0; font-size: 12px; text-align: right; }
.metaembed .why .bar { width: 180px; }
.metaembed .why .bar i { display: block; height: 9px; background: #3b6fd4; border-radius: 2px; }
.metaembed .why .picture { position: relative; border: 1px solid #d9dee6; }
.metaembed .why .picture img { display: block; width: 100%; }
.metaembed .why .picture i { position: absolute; }
.metaembed .why .passage { background: rgba(255, 214, 51, .28); }
.metaembed .why .best { background: rgba(255, 170, 0, .38); outline: 2px solid #e08700; }
.metaembed .why .word { border-bottom: 2px solid #c2185b; }
"""
"""The style sheet of explanations, beside that of cards."""

_DRAWN = 5
"""Boxes are drawn of so many passages."""


@dataclass(frozen=True)
class VectorShare:
    """What one vector of the query adds to the score of a page.

    Attributes:
        query: Number of the query's vector, from 0.
        page: Number of the page's vector that is nearest to it, from 0.
        similarity: Their inner product, in [-1, 1].
        share: What that adds to the score: similarity / r_q. The shares of all query vectors add up
            to the score.
    """

    query: int
    page: int
    similarity: float
    share: float


@dataclass(frozen=True)
class Passage:
    """A piece of a page that the query matches.

    Attributes:
        text: What stands there; ``""`` where it is a part of the picture without known text.
        start: Its first character in the page's text, and ``end`` the one behind its last.
        end: See ``start``.
        score: MaxSim / r_q of the piece alone, encoded as a page of its own at the same budget.
        share: The part of the page's score that falls to it: each query vector's share goes to the
            passage that is nearest to that vector. The shares of all passages of an explanation add
            up to the score.
        boxes: Where it stands on the page's picture, a box a line; none where that is not known.
    """

    text: str
    start: int
    end: int
    score: float
    share: float
    boxes: tuple[Box, ...] = ()


@dataclass(frozen=True)
class MatchedWord:
    """A word of the query, or two in a row, that stand on the page.

    Attributes:
        word: As the query has it.
        weight: What it adds to BM25; all weights together are the BM25 of the hit.
        spans: Where it stands in the page's text: first character, and the one behind the last.
        boxes: Where it stands on the picture; none where that is not known.
    """

    word: str
    weight: float
    spans: tuple[tuple[int, int], ...]
    boxes: tuple[Box, ...] = ()


@dataclass(frozen=True)
class Explanation:
    """Why a page has its score: which vectors, which passages and which words.

    All of it is of one version of the page, that of the record when the explanation was made.

    Attributes:
        query: Text of the query, ``"[image]"`` for a picture; None for vectors.
        budget: The vectors that took part.
        page: The page, its picture as ``image_path``.
        score: MaxSim / r_q, in [-1, 1], by the stored vectors.
        vectors: One for each of the r_q query vectors, in their order.
        passages: The pieces that match best, best first, none over another.
        words: By weight; none where words do not count.
        pieces: How many pieces of the page were encoded for it, which is its cost.
    """

    query: str | None
    budget: RetrievalBudget
    page: Page
    score: float
    vectors: tuple[VectorShare, ...]
    passages: tuple[Passage, ...]
    words: tuple[MatchedWord, ...] = ()
    pieces: int = field(default=0, compare=False)

    @property
    def snippet(self) -> str:
        """The best passage in one line, with what follows it where it is short.

        The beginning of the text where there is no passage.
        """
        return snippet_of(self.page.text, self.passages)

    def to_dict(self) -> dict[str, Any]:
        """For JSON; pages count from 1, vectors from 0, boxes are fractions of the picture."""
        return {
            "query": self.query,
            "budget": [self.budget.r_q, self.budget.r_c],
            "id": self.page.id,
            "source": self.page.source,
            "page": self.page.number,
            "score": round(self.score, 6),
            "vectors": [
                {
                    "query": one.query,
                    "page": one.page,
                    "similarity": round(one.similarity, 6),
                    "share": round(one.share, 6),
                }
                for one in self.vectors
            ],
            "passages": [
                {
                    "text": one.text,
                    "start": one.start,
                    "end": one.end,
                    "score": round(one.score, 6),
                    "share": round(one.share, 6),
                    "boxes": _rounded(one.boxes),
                }
                for one in self.passages
            ],
            "words": [
                {
                    "word": one.word,
                    "weight": round(one.weight, 6),
                    "spans": [list(span) for span in one.spans],
                    "boxes": _rounded(one.boxes),
                }
                for one in self.words
            ],
        }

    def _repr_html_(self) -> str:
        """Draw it in a notebook."""
        return explanation_html(self, max_side=700)


def snippet_of(text: str, passages: Sequence[Passage]) -> str:
    """The best passage of a text in one line, with what follows it, or stands before the end."""
    best = next((one for one in passages if one.text), None)
    start, end = (0, 0) if best is None else (best.start, best.end)
    if end - start < SNIPPET:
        end = _word_end(text, start + SNIPPET, end)
    if end - start < SNIPPET:
        start = _word_start(text, end - SNIPPET, start)
    return " ".join(text[start:end].split())


def _word_end(text: str, wanted: int, least: int) -> int:
    if wanted >= len(text):
        return len(text)
    cut = max(text.rfind(" ", least, wanted), text.rfind("\n", least, wanted))
    return cut if cut > least else least or wanted


def _word_start(text: str, wanted: int, most: int) -> int:
    if wanted <= 0:
        return 0
    cuts = [text.find(space, wanted, most) for space in " \n"]
    return min((cut for cut in cuts if cut >= 0), default=most)


def _rounded(boxes: Sequence[Box]) -> list[list[float]]:
    return [[round(value, 5) for value in box] for box in boxes]


def explanation_html(
    explanations: Explanation | Sequence[Explanation], *, max_side: int = 900
) -> str:
    """A fragment of HTML with explanations, one below the other.

    Args:
        explanations: One, or several, as of the hits of a search.
        max_side: Pictures are shrunk to this many pixels and embedded, so the fragment needs no
            other file.
    """
    several = [explanations] if not isinstance(explanations, Sequence) else explanations
    return html.fragment("".join(_section(one, max_side) for one in several), STYLE)


def explanation_page(
    explanations: Explanation | Sequence[Explanation], *, max_side: int = 900
) -> str:
    """A whole HTML document with them, for ``metaembed search --explain --html``."""
    several = [explanations] if not isinstance(explanations, Sequence) else explanations
    title = several[0].query if several and several[0].query else "Explanation"
    return html.document(title, explanation_html(several, max_side=max_side))


def _section(one: Explanation, max_side: int) -> str:
    page = one.page
    name = Path(page.source).name or page.source
    about = f"{name}, page {page.number} · {one.score:.3f} at budget ({one.budget})"
    return (
        f"<h2>{escape(one.query or '')}</h2>"
        f'<p class="about">{escape(about)}</p><div class="why">'
        f"{_picture(one, max_side)}<div>{_passages(one)}{_words(one)}{_vectors(one)}</div></div>"
    )


def _picture(one: Explanation, max_side: int) -> str:
    try:
        image = one.page.load_image()
    except PageError:
        image = None
    if image is None:
        return ""
    passages = [
        _box(box, "best" if place == 0 else "passage", f"{place + 1}. {passage.score:.3f}")
        for place, passage in enumerate(one.passages[:_DRAWN])
        for box in passage.boxes
    ]
    words = [_box(box, "word", word.word) for word in one.words for box in word.boxes]
    drawn = html.picture(image, one.page.number, max_side)
    return f'<div class="picture">{drawn}{"".join(chain(passages, words))}</div>'


def _box(box: Box, kind: str, said: str) -> str:
    """A box of fractions of the picture below it."""
    left, top, right, bottom = (100 * value for value in box)
    place = f"left:{left:.2f}%;top:{top:.2f}%;width:{right - left:.2f}%;height:{bottom - top:.2f}%"
    return f'<i class="{kind}" style="{place}" title="{escape(said)}"></i>'


def _passages(one: Explanation) -> str:
    rows = [
        f"<li><b>{passage.score:.3f}</b> <small>{passage.share:+.3f} of {one.score:.3f}</small> "
        f"<mark>{escape(' '.join(passage.text.split()) or 'a part of the picture')}</mark></li>"
        for passage in one.passages
    ]
    return f"<h3>Passages</h3><ol>{''.join(rows)}</ol>" if rows else ""


def _words(one: Explanation) -> str:
    rows = [
        f"<li>{escape(word.word)} <b>{word.weight:.2f}</b> <small>{len(word.spans)} ×</small></li>"
        for word in one.words
    ]
    return f'<h3>Words (BM25)</h3><ul class="words">{"".join(rows)}</ul>' if rows else ""


def _vectors(one: Explanation) -> str:
    most = max((abs(vector.similarity) for vector in one.vectors), default=0.0) or 1.0
    rows = [
        f"<tr><td>{vector.query}</td><td>{vector.page}</td>"
        f'<td class="bar"><i style="width:{100 * max(0.0, vector.similarity) / most:.1f}%"></i>'
        f"</td><td>{vector.similarity:.3f}</td></tr>"
        for vector in one.vectors
    ]
    head = "<tr><th>query vector</th><th>page vector</th><th></th><th>similarity</th></tr>"
    return f"<h3>Vectors</h3><table>{head}{''.join(rows)}</table>"
