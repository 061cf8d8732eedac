"""Texts longer than a model's window: read in several passes, whose vectors are put into one order.

A window holds at most so many tokens of text. A longer text is divided into parts of equal length,
each of which is one pass of the model; a picture goes with the first. What the passes give is one
ordered set again (:func:`interleaved`), so that store, budgets and search know nothing of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from metaembed_rag.errors import CheckpointError
from metaembed_rag.model.inputs import Item
from metaembed_rag.model.pooling import Vectors

MAX_PASSES = 16
"""Passes of one document, where nothing else is asked: 16 × 768 tokens are some 7,000 words."""

_MARGIN = 16
"""A part ends at a word's end where there is one within a sixteenth of the window."""

_LEAST = np.float32(1e-6)


@dataclass(frozen=True)
class Passes:
    """What an encoder reads of one document.

    Attributes:
        items: One a pass, in the order of the text.
        unread: Tokens at the end of the text that no pass reads.
    """

    items: tuple[Item, ...]
    unread: int = 0


def checked_passes(number: int) -> int:
    """A greatest number of passes.

    Raises:
        CheckpointError: It is not a whole number of at least 1.
    """
    if type(number) is not int or number < 1:
        raise CheckpointError(f"max_passes must be a whole number of at least 1, not {number!r}")
    return number


def split_item(
    item: Item, tokenizer: Any, window: int, most: int, *, text: str | None = None
) -> Passes:
    """The passes of a document: itself where it fits, else parts of about equal length.

    Args:
        item: A document.
        tokenizer: Of transformers; one that tells no offsets (a slow one) splits nothing.
        window: Tokens of text that a pass reads, without what stands around them.
        most: Passes at most.
        text: What the tokenizer is given for the document's text, and the parts are of; the text
            itself by default.
    """
    read = item if text is None else replace(item, text=text)
    # A token covers at least one byte: shorter texts need no look.
    if len(read.text.encode()) <= window or not tokenizer.is_fast:
        return Passes((item,))
    told = tokenizer(
        read.text, add_special_tokens=False, return_offsets_mapping=True, verbose=False
    )
    starts = [start for start, _ in told["offset_mapping"]]
    if len(starts) <= window or most == 1:
        return Passes((item,), max(0, len(starts) - window))
    found = _divided(read, starts, window, most)
    return found if len(found.items) > 1 else Passes((item,), found.unread)


def halves(item: Item) -> tuple[Item, Item] | None:
    """A document in two, where only the model's answer shows that it was too long.

    Returns:
        Halves of the text that end with a word, the picture with the first; None where a half
        would be empty.
    """
    text, middle = item.text, len(item.text) // 2
    place = _word_end(text, range(len(text)), middle, middle // 2 + 1) if middle else 0
    if not (text[:place].strip() and text[place:].strip()):
        return None
    return replace(item, text=text[:place]), replace(item, text=text[place:], image=None)


def _divided(item: Item, starts: Sequence[int], window: int, most: int) -> Passes:
    """The passes of an item that does not fit; ``starts`` says where each token begins."""
    margin = min(max(2, window // _MARGIN), window // 2)
    step = window - margin
    read = min(len(starts), most * step)
    count = min(most, -(-read // step))
    bounds = [_word_end(item.text, starts, read * i // count, margin) for i in range(1, count)]
    end = len(item.text) if read == len(starts) else starts[read]
    places = [0, *bounds, end]
    texts = [item.text[a:b] for a, b in pairwise(places)]
    first = replace(item, text=texts[0] if texts[0].strip() else "")
    others = [replace(item, text=text, image=None) for text in texts[1:] if text.strip()]
    kept = [first, *others] if first.text or first.image else others
    return Passes(tuple(kept) or (item,), len(starts) - read)


def _word_end(text: str, starts: Sequence[int], token: int, margin: int) -> int:
    """Where to cut so that a part ends near this token, at most ``margin`` tokens before it."""
    for near in range(token, token - margin, -1):
        place = starts[near]
        if text[place].isspace() or (place and text[place - 1].isspace()):
            return place
    return starts[token]


def interleaved(passes: Sequence[Vectors], count: int, most: int) -> Vectors:
    """The vectors of a document's passes in one order, every prefix of which covers the document.

    The first vector is the normalised mean of the passes' first ones. Then come the first vector
    of each pass, the second of each, and so on, so that each pass gives a prefix of its own
    vectors. Of more passes than there is room for, neighbours share a place: their normalised mean.

    Args:
        passes: Of each pass float32 unit vectors (count, D).
        count: How many to give.
        most: How many all of them are, which decides how many passes have room.

    Returns:
        float32 (count, D), unit vectors; the first r of them do not depend on ``count``.
    """
    ordered = np.stack(passes)  # (passes, count, D)
    first = _unit_mean(ordered[:, :1])
    if len(ordered) >= most > 1:
        groups = np.array_split(ordered, most - 1)
        ordered = np.stack([_unit_mean(group) for group in groups])  # (most - 1, count, D)
    rest = ordered.swapaxes(0, 1).reshape(-1, ordered.shape[-1])
    return np.concatenate([first, rest])[:count]


def _unit_mean(vectors: Vectors) -> Vectors:
    """Normalised means over the first axis; where they cancel each other out, the first."""
    means: Vectors = vectors.mean(0)
    lengths = np.linalg.norm(means, axis=-1, keepdims=True)
    unit: Vectors = np.where(lengths > _LEAST, means / np.maximum(lengths, _LEAST), vectors[0])
    return unit
