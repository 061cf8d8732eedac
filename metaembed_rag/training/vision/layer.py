"""A page's text with a box for every character, and its tokens with a box each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tokenizers import Tokenizer

NO_BOX = (0, 0, 0, 0)
"""The box of what cannot be seen: no area."""

_LARGEST = np.iinfo(np.int16).max


@dataclass(frozen=True)
class TextLayer:
    """Words joined by single spaces, and where each character stands.

    Args:
        text: Without spaces at its ends or runs of them.
        boxes: float32 ``(len(text), 4)``: left, top, right, bottom in pixels of the picture, y
            downwards; NaN where a character has none (spaces).
    """

    text: str
    boxes: np.ndarray

    def __post_init__(self) -> None:
        if self.boxes.shape != (len(self.text), 4):
            raise ValueError(f"{len(self.text)} characters need as many boxes of 4 numbers")


Placed = Sequence[tuple[str, tuple[float, float, float, float]]]
"""The characters of a word, each with its box."""


def join_words(words: Sequence[Placed]) -> TextLayer:
    """Words in reading order -> one layer."""
    nothing = (np.nan,) * 4
    pieces: list[str] = []
    boxes: list[tuple[float, ...]] = []
    for word in words:
        if pieces:
            pieces.append(" ")
            boxes.append(nothing)
        for character, box in word:
            pieces.append(character)
            boxes += [box] * len(character)
    return TextLayer("".join(pieces), np.array(boxes, np.float32).reshape(-1, 4))


def token_boxes(tokenizer: Tokenizer, layer: TextLayer) -> tuple[np.ndarray, np.ndarray]:
    """Token ids uint16 ``(n,)`` and their boxes int16 ``(n, 4)``, rounded outwards.

    A token that is broken across two lines gets the box of its part on the first one; one without
    a visible character gets :data:`NO_BOX`.
    """
    encoded = tokenizer.encode(layer.text, add_special_tokens=False)
    boxes = [_box(layer.boxes[begin:end]) for begin, end in encoded.offsets]
    return np.array(encoded.ids, np.uint16), np.array(boxes, np.int16).reshape(-1, 4)


def _box(characters: np.ndarray) -> tuple[int, int, int, int]:
    seen = characters[~np.isnan(characters[:, 0])]
    if not len(seen):
        return NO_BOX
    middle = (seen[:, 1] + seen[:, 3]) / 2
    same_line = seen[(middle >= seen[0, 1]) & (middle <= seen[0, 3])]
    low = np.floor(same_line[:, :2].min(0)).clip(0, _LARGEST)
    high = np.ceil(same_line[:, 2:].max(0)).clip(0, _LARGEST)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])
