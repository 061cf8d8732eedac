"""Pages for ``scaling``: real ones as far as they reach, jittered copies of them beyond.

    python -m benchmarks.search.scaling_pages --vectors .data/tex10k.npz --out .data/tex10k.json

writes the texts and the titles of the pages that ``benchmarks.data.tex_vectors`` has encoded, by
drawing them again with its seed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from metaembed_rag.vectors.formats import FORMATS

CHUNK = 500
"""Pages that are made together, from one seed: any part of the set is the same in every process."""
JITTER = 0.35
"""Length of each of two random vectors, one of the copy and one of each of its vectors, that are
added to a unit vector: a copy's cosine with its original is about 0.9."""
NOISE = 8192
"""Random vectors, of which two are drawn for each: making them anew takes as long as all else."""
TEXT = 200
"""Characters of a page's text that are stored."""


class ScalingPages:
    """Encoded pages without end: page n is page n % N of the file, jittered but for the first N.

    Args:
        path: An npz file of ``benchmarks.data.tex_vectors``.
        vectors: How many of a page's, from the first on.
    """

    def __init__(self, path: Path, vectors: int) -> None:
        arrays = np.load(path)
        self._values = arrays["values"][:, :vectors]
        self._scales = arrays["scales"][:, :vectors].astype(np.float32)
        self.queries: NDArray[np.float32] = arrays["queries"].astype(np.float32)
        self.fingerprint = str(arrays["fingerprint"])
        self.real, self.vectors, self.dimension = self._values.shape
        noise = np.random.default_rng(0).standard_normal((NOISE, self.dimension), np.float32)
        self._noise = noise * np.float32(JITTER / np.sqrt(self.dimension))
        texts = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        self._texts: list[str] = texts["texts"]
        self.titles: list[str] = texts["titles"]

    def text(self, row: int) -> str:
        """The text of a page: that of its original and its own number.

        The number makes it a text of its own: pages of equal content are encoded once.
        """
        return f"{self._texts[row % self.real][:TEXT]} {row + 1}"

    def block(self, start: int, stop: int) -> NDArray[np.float32]:
        """Vectors of pages as int8 holds them, float32 of shape (pages, R, D)."""
        chunks = [self._chunk(n) for n in range(start // CHUNK, -(-stop // CHUNK))]
        first = start // CHUNK * CHUNK
        return np.concatenate(chunks)[start - first : stop - first]

    def _chunk(self, number: int) -> NDArray[np.float32]:
        rows = np.arange(number * CHUNK, (number + 1) * CHUNK)
        made = self._values[rows % self.real] * self._scales[rows % self.real][..., None]
        copies = rows >= self.real
        if copies.any():
            made[copies] = self._jittered(made[copies], np.random.default_rng(number))
        decoded: NDArray[np.float32] = FORMATS["int8"].encode(made).decode()
        return decoded

    def _jittered(
        self, vectors: NDArray[np.float32], generator: np.random.Generator
    ) -> NDArray[np.float32]:
        """Unit vectors beside these: shape (pages, R, D)."""
        pages, count, _ = vectors.shape
        of_page = self._noise[generator.integers(NOISE, size=(pages, 1))]
        of_vector = self._noise[generator.integers(NOISE, size=(pages, count))]
        moved = vectors + of_page
        moved += of_vector
        moved /= np.linalg.norm(moved, axis=-1, keepdims=True)
        return moved


def main() -> None:
    """Draw the pages of ``tex_vectors`` again; write their texts, and the titles asked for."""
    from benchmarks.data.tex_vectors import QUERIES
    from recipes.mini.data import corpora

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--vectors", type=Path, required=True, help="its npz file")
    parser.add_argument("--work", type=Path, default=Path(".data/mini"), help="folder of `mini`")
    data = os.environ.get("METAEMBED_DATA", "../shared/data")
    parser.add_argument("--data", type=Path, default=Path(data), help="folder of the data sets")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    count = len(np.load(given.vectors)["scales"])
    rng = random.Random(0)
    held = corpora.read_sources(given.work, given.data, part="train").tex
    pages = rng.sample(held, min(count, len(held)))
    titles = [page.titles[0] for page in pages if page.titles]
    asked = rng.sample(titles, min(QUERIES, len(titles)))
    made = {"texts": [page.text for page in pages], "titles": asked}
    given.out.write_text(json.dumps(made), encoding="utf-8")


if __name__ == "__main__":
    main()
