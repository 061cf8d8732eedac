"""What a sentence encoder finds: sentences of other pages that say the same in other words.

The encoder is a function from texts to unit vectors, on whatever device it likes (all-MiniLM-L6-v2
on a GPU encodes some thousand sentences a second)::

    model = SentenceTransformer("…/all-MiniLM-L6-v2")
    encode = partial(model.encode, convert_to_tensor=True, normalize_embeddings=True)
    examples = mined_pairs(pages, encode)
    examples = without_false_negatives(examples, encode)
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from metaembed_rag.training.data import Example, Side
from recipes.mini.data.corpora import TexPage
from recipes.mini.data.handbooks import is_prose
from recipes.minilm.data.negatives import words_of
from recipes.minilm.data.questions import FUNCTION_WORDS, sentences

Encode = Callable[[list[str]], Tensor]
"""Texts -> unit vectors, a row each."""

_AT_ONCE = 2048
_WORDS = (7, 40)


@dataclass(frozen=True)
class Alike:
    """When a sentence answers another.

    Attributes:
        least: Cosine from which on they say about the same.
        most: Cosine from which on they are copies.
        shared: At most this share of the shorter one's content words is in both.
        nearest: So many of the most similar sentences are looked at.
    """

    least: float = 0.6
    most: float = 0.95
    shared: float = 0.4
    nearest: int = 20


@dataclass(frozen=True)
class _Sentence:
    text: str
    page: TexPage
    words: frozenset[str]


def mined_pairs(
    pages: Sequence[TexPage],
    encode: Encode,
    *,
    most: int = 100_000,
    alike: Alike | None = None,
    seed: int = 0,
) -> list[Example]:
    """Sentences with the page that holds another page's sentence of the same meaning.

    The negative is the page of the most similar sentence that is not similar enough.

    Args:
        pages: Pages of manuals.
        encode: The encoder.
        most: Sentences that take part, drawn by the seed; all against all.
        alike: When a sentence answers another.
        seed: Of what is drawn.
    """
    alike = alike or Alike()
    found = list(_sentences(pages))
    if len(found) > most:
        found = random.Random(seed).sample(found, most)
    if not found:
        return []
    vectors = encode([one.text for one in found])
    examples: dict[str, Example] = {}
    for i, near in enumerate(_nearest(vectors, alike.nearest)):
        answer = next(
            (j for j, cosine in near if _answers(found[i], found[j], cosine, alike)), None
        )
        if answer is not None:
            wrong = [found[j].page.text for j, cosine in near if cosine < 0.8 * alike.least]
            text = found[answer].page.text
            negatives = tuple(Side(one) for one in wrong[:1] if one != text)
            examples.setdefault(found[i].text, Example(Side(found[i].text), Side(text), negatives))
    return list(examples.values())


def without_false_negatives(
    examples: Iterable[Example], encode: Encode, *, margin: float = 0.95
) -> list[Example]:
    """The examples without negatives at ``margin`` of their positive's similarity or above.

    Args:
        examples: Examples whose sides are texts.
        encode: The encoder; long texts are cut by it.
        margin: The share of the positive's cosine (positive-aware mining, as ``metaembed mine``).
    """
    examples = list(examples)
    texts = list(
        dict.fromkeys(side.text for one in examples if one.negatives for side in _sides(one))
    )
    if not texts:
        return examples
    vectors, place = encode(texts), {text: i for i, text in enumerate(texts)}

    def cosine(query: Side, side: Side) -> float:
        return float(vectors[place[query.text]] @ vectors[place[side.text]])

    return [
        Example(
            one.query,
            one.positive,
            tuple(
                side
                for side in one.negatives
                if cosine(one.query, side) < margin * cosine(one.query, one.positive)
            ),
            one.where,
        )
        for one in examples
    ]


def _sides(example: Example) -> tuple[Side, ...]:
    return (example.query, example.positive, *example.negatives)


def _sentences(pages: Sequence[TexPage]) -> Iterator[_Sentence]:
    seen: set[str] = set()
    fewest, most = _WORDS
    for page in pages:
        for text in sentences(page.text):
            if fewest <= len(text.split()) <= most and text not in seen and is_prose(text):
                seen.add(text)
                yield _Sentence(text, page, frozenset(words_of(text)) - FUNCTION_WORDS)


def _nearest(vectors: Tensor, count: int) -> Iterator[list[tuple[int, float]]]:
    """For each row the most similar other rows, best first, with their cosines."""
    count = min(count + 1, len(vectors))
    for start in range(0, len(vectors), _AT_ONCE):
        scores, places = torch.topk(vectors[start : start + _AT_ONCE] @ vectors.T, count)
        pairs = zip(places.tolist(), scores.tolist(), strict=True)
        for row, (where, cosines) in enumerate(pairs, start):
            yield [one for one in zip(where, cosines, strict=True) if one[0] != row]


def _answers(asking: _Sentence, other: _Sentence, cosine: float, alike: Alike) -> bool:
    fewer = min(len(asking.words), len(other.words)) or 1
    return (
        alike.least <= cosine < alike.most
        and asking.page.text != other.page.text
        and len(asking.words & other.words) <= alike.shared * fewer
    )
