"""Training pairs as examples: what the bag model and ``metaembed train`` read as JSON lines.

Seven sets, by what asks for what: outline titles of TeX pages and headings of handbooks
(``title``, ``section``), a few words out of either (``span``, ``passage``), and pairs that exist as
such (``debian``, ``wordnet``, ``opencqa``). Whatever is random (which words a span is, whether
the page keeps them, which words of a query are dropped) is drawn once, by the seed and the pair's
number, so that the same text gives the same bytes.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from metaembed_rag.training.data import Example, Side
from recipes.mini.data.corpora import Pair, TexPage, TextSources

_TITLE_REMOVED = 77
"""Of 256 titles, by hash: those that are removed from their page, 30 %."""

_SPAN_WORDS = (3, 14)
_SPAN_REMOVED = 0.5
_SPAN_SHORTENED = 0.5
_QUERY_SHORTENED = 0.3
_WORDS_DROPPED = 0.3
_SWAPPED = 0.3
"""Of WordNet's pairs: the gloss asks for its words."""

_LEFT = 8
"""A page holds so many words more than a span of it."""

_Drawn = tuple[str, str, TexPage]
"""A query, the text that answers it, and the page that this text is made of."""


def training_pairs(sources: TextSources, *, seed: int = 0) -> dict[str, list[Example]]:
    """Every set by its name; one without any text is left out.

    Args:
        sources: The training part of the text.
        seed: Of everything that is drawn.
    """
    sets = {
        "title": title_pairs(sources.tex, f"{seed} title"),
        "span": span_pairs(sources.tex, f"{seed} span"),
        "section": title_pairs(sources.handbooks, f"{seed} section"),
        "passage": span_pairs(sources.handbooks, f"{seed} passage"),
        "debian": stored_pairs(sources.debian, f"{seed} debian"),
        "wordnet": stored_pairs(sources.wordnet, f"{seed} wordnet", swapped=_SWAPPED),
        "opencqa": stored_pairs(sources.opencqa, f"{seed} opencqa"),
    }
    return {name: examples for name, examples in sets.items() if examples}


def title_pairs(pages: Sequence[TexPage], seed: str) -> list[Example]:
    """Each title asks for the text of its page."""
    drawn = [(title, title_page(title, page.text), page) for page in pages for title in page.titles]
    return _with_neighbours(drawn, seed)


def title_page(title: str, text: str) -> str:
    """The page's text, for 30 % of the titles without the title, by hash of both."""
    if hashlib.sha256(f"{title}\n{text}".encode()).digest()[0] >= _TITLE_REMOVED:
        return text
    words = re.findall(r"[^\W_]+", title)
    pattern = r"\b" + r"[\W_]+".join(map(re.escape, words)) + r"\b"
    shorter = re.sub(pattern, "", text, flags=re.IGNORECASE) if words else text
    return " ".join(shorter.split()) or text


def span_pairs(pages: Sequence[TexPage], seed: str) -> list[Example]:
    """3 to 14 words of each page ask for it; half of the pages do not hold them any more."""
    drawn = (_span(page, random.Random(f"{seed} {i}")) for i, page in enumerate(pages))
    return _with_neighbours([one for one in drawn if one is not None], seed)


def _span(page: TexPage, rng: random.Random) -> _Drawn | None:
    words = page.text.split()
    fewest, most = _SPAN_WORDS
    if len(words) < fewest + _LEFT:
        return None
    count = rng.randint(fewest, min(most, len(words) - _LEFT))
    start = rng.randrange(len(words) - count + 1)
    query = words[start : start + count]
    if rng.random() < _SPAN_SHORTENED:
        query = _without_some(query, rng)
    if rng.random() < _SPAN_REMOVED:
        words = words[:start] + words[start + count :]
    return " ".join(query), " ".join(words), page


def stored_pairs(pairs: Iterable[Pair], seed: str, *, swapped: float = 0.0) -> list[Example]:
    """Pairs as they are, except that 30 % of the queries lose words.

    Args:
        pairs: Queries and texts; a pair with an empty side is left out.
        seed: Of what is drawn.
        swapped: The share of pairs in which the text asks for its query.
    """
    return [
        Example(Side(query), Side(text))
        for i, pair in enumerate(pairs)
        for query, text in [_varied(pair, random.Random(f"{seed} {i}"), swapped)]
        if query and text
    ]


def _varied(pair: Pair, rng: random.Random, swapped: float) -> Pair:
    query, text = reversed(pair) if rng.random() < swapped else pair
    if rng.random() < _QUERY_SHORTENED:
        query = " ".join(_without_some(query.split(), rng))
    return query.strip(), text.strip()


def _without_some(words: list[str], rng: random.Random) -> list[str]:
    """Without 30 % of the words; all of them where none would stay."""
    return [word for word in words if rng.random() >= _WORDS_DROPPED] or words


def _with_neighbours(drawn: Sequence[_Drawn], seed: str) -> list[Example]:
    """Examples; the negative is another page of the same document that does not answer, if any."""
    answers: dict[str, set[str]] = defaultdict(set)
    documents: dict[str, dict[str, None]] = defaultdict(dict)
    for query, text, page in drawn:
        answers[query.strip()] |= {text.strip(), page.text.strip()}
        documents[page.path][page.text.strip()] = None
    return [
        Example(Side(query.strip()), Side(text.strip()), tuple(_neighbour(others, rng)))
        for i, (query, text, page) in enumerate(drawn)
        for rng in [random.Random(f"{seed} neighbour {i}")]
        for others in [documents[page.path].keys() - answers[query.strip()]]
    ]


def _neighbour(texts: set[str], rng: random.Random) -> Iterator[Side]:
    if texts:
        yield Side(rng.choice(sorted(texts)))
