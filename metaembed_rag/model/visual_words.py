"""What a photo shows, in words: ImageNet's labels, WordNet's synonyms and broader terms of them.

For models that read text only. The words stand for the vector of a picture as in ConSE (Norouzi et
al., 2013, https://arxiv.org/abs/1312.5650): what the network finds likely is what is encoded. They
are told as text and not as a mean of vectors, so that words, vectors and explanations all have
them; ``python -m benchmarks.quality.photos`` measures both.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file

from metaembed_rag.model import efficientnet
from metaembed_rag.model.checkpoints import VISUAL_WORDS
from metaembed_rag.model.loading import check_threads, explained
from metaembed_rag.pages.pictures import to_rgb

WEIGHTS = "model.safetensors"
WORDS = "words.json"

_MOST_LABELS = 5
_LEAST_LIKELY = 0.02
_MOST_BROADER = 6
_LEAST_BROADER = 0.3
_SEEN, _SEEN_BROADER = 0.08, 0.5
"""From which probability of a label, or of a broader term, something is seen at all. White and grey
paper, with noise, black edges, holes or a line, stays below: at most 0.066 for a label."""

_CONTRAST = 2.0
"""Standard deviation of a colour (of 255) over 64 x 64 points; noise of paper has under 1."""
_EDGE, _DIFFERS, _SHOWN = 6, 16, 0.05
"""A picture shows something where, of 64 x 64 points without this edge, such a share differs so
much from the usual colour. Paper does not: its shade differs by less, and its black borders and
holes are in the edge."""
_PHOTO_COLOURS = 0.45
"""Share of a picture's points in its two usual colours (of 4,096) under which it is a photo: scenes
have 0.05 to 0.35, things on white more, and of 400 charts the most colourful one has 0.54."""

_LOCK = threading.Lock()


@dataclass(frozen=True)
class Vocabulary:
    """The words for the network's classes.

    Attributes:
        labels: By class its names, the usual one first.
        broader: Names of terms that stand for several classes, the narrowest first.
        covers: Which classes are under a term: float32 zeros and ones of shape (1000, terms).
    """

    labels: tuple[tuple[str, ...], ...]
    broader: tuple[str, ...]
    covers: NDArray[np.float32]

    @classmethod
    def read(cls, path: Path) -> Vocabulary:
        """Read what ``recipes/visual_words`` wrote."""
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        labels = tuple(tuple(names) for names in found["labels"])
        terms = sorted(found["broader"], key=lambda term: len(term["classes"]))
        covers = np.zeros((len(labels), len(terms)), dtype=np.float32)
        for number, term in enumerate(terms):
            covers[term["classes"], number] = 1
        return cls(labels, tuple(term["name"] for term in terms), covers)

    def describe(self, probabilities: NDArray[np.float32], *, unsure: bool = False) -> str:
        """Words for the probabilities of the classes, the likeliest first.

        Up to five labels with their synonyms, then up to six broader terms whose classes are
        likely together; chosen by ``python -m benchmarks.quality.photos``.

        Args:
            probabilities: Of shape (1000,); they sum to 1.
            unsure: Whether the likeliest classes are told where none is likely, too.

        Returns:
            One line, such as ``"a photo of a tabby, tabby cat, Egyptian cat, animal, cat"``; where
            nothing is likely ``""``, or ``"a photo, perhaps of a bottlecap, tray"``.
        """
        together = probabilities @ self.covers  # (terms,)
        is_sure = self.is_sure(probabilities)
        if not (is_sure or unsure):
            return ""
        best = np.argsort(-probabilities, kind="stable")[:_MOST_LABELS]
        likely = [k for at, k in enumerate(best) if at == 0 or probabilities[k] >= _LEAST_LIKELY]
        # Narrow before wide among terms that are about as likely.
        order = np.argsort(-together.round(1), kind="stable")
        broader = [self.broader[k] for k in order if together[k] >= _LEAST_BROADER]
        names = [name for k in likely for name in self.labels[k]]
        article = "an" if names[0][0] in "AEIOUaeiou" else "a"
        terms = dict.fromkeys(names + broader[:_MOST_BROADER])
        return f"a photo{'' if is_sure else ', perhaps'} of {article} {', '.join(terms)}"

    def is_sure(self, probabilities: NDArray[np.float32]) -> bool:
        """Whether a class, or a broader term, is likely.

        Args:
            probabilities: Of shape (1000,); they sum to 1.
        """
        together = probabilities @ self.covers  # (terms,)
        is_likely = probabilities.max() >= _SEEN or together.max(initial=0) >= _SEEN_BROADER
        return bool(is_likely)


UNSURE = "a photo, perhaps of "
"""How words begin that are only the likeliest of unlikely ones."""


def describe(image: Image.Image, *, unsure: bool = True) -> str:
    """What a picture shows, in words; about 60 ms on one core, and 0.2 s more the first time.

    Threads may call it at the same time.

    Args:
        image: Of any size and mode; transparent parts as :func:`to_rgb` fills them.
        unsure: Whether the likeliest words are told of a picture that shows something which the
            network does not know; they begin with :data:`UNSURE`.

    Returns:
        See :meth:`Vocabulary.describe`; ``""`` where nothing is seen, as on a blank page.

    Raises:
        ModelError: This process was forked from one in which a model had been loaded.
        CheckpointError: The network's files are damaged.
    """
    image = to_rgb(image)
    if _is_of_one_colour(image):
        return ""
    found = probabilities([image])[0]
    return vocabulary().describe(found, unsure=unsure and _shows_something(image))


def is_photo(image: Image.Image) -> bool:
    """Whether a picture is a photo of a scene by its colours, of which charts and pages have few.

    Args:
        image: Of any size and mode.
    """
    shape = np.asarray(to_rgb(image).resize((128, 128), Image.Resampling.NEAREST)) // 16
    colours = shape.astype(np.int64) @ (256, 16, 1)  # (128, 128)
    usual = np.sort(np.bincount(colours.ravel()))[-2:].sum()
    return bool(usual < _PHOTO_COLOURS * colours.size)


def probabilities(images: Sequence[Image.Image]) -> NDArray[np.float32]:
    """How likely each class is: of RGB pictures, float32 of shape (pictures, 1000).

    Raises:
        ModelError: This process was forked from one in which a model had been loaded.
        CheckpointError: The network's files are damaged.
    """
    check_threads("visual words")
    with _LOCK:
        network = _network()
    with torch.inference_mode():
        read = torch.stack([efficientnet.pixels(image) for image in images])
        found: NDArray[np.float32] = network(read).softmax(-1).numpy()
    return found


def _is_of_one_colour(image: Image.Image) -> bool:
    points = np.asarray(image.resize((64, 64), Image.Resampling.BOX), dtype=np.float32)
    return bool(points.std(axis=(0, 1)).max() < _CONTRAST)


def _shows_something(image: Image.Image) -> bool:
    """Whether a good part of an RGB picture has another colour than most of it."""
    points = np.asarray(image.resize((64, 64), Image.Resampling.BOX), dtype=np.float32)
    inner = points[_EDGE:-_EDGE, _EDGE:-_EDGE].reshape(-1, 3)
    differences = np.abs(inner - np.median(inner, axis=0)).max(axis=1)
    return bool((differences > _DIFFERS).mean() >= _SHOWN)


@cache
def _network() -> efficientnet.EfficientNetLite2:
    """The network on the CPU, made once per process."""
    with explained(VISUAL_WORDS):
        with torch.device("meta"):  # no random weights that are thrown away
            network = efficientnet.EfficientNetLite2()
        stored = load_file(VISUAL_WORDS / WEIGHTS)
        network.load_state_dict({k: v.float() for k, v in stored.items()}, assign=True)
    return network.eval()


@cache
def vocabulary() -> Vocabulary:
    """The words that come with the package, read once.

    Raises:
        CheckpointError: The file is missing or damaged.
    """
    with explained(VISUAL_WORDS):
        return Vocabulary.read(VISUAL_WORDS / WORDS)
