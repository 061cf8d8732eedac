"""Training pages in files: pictures, token ids and boxes, each file at most 60 MiB.

A shard is one ``.safetensors`` file, read without a copy:

=================  ======================  =====================================================
``pictures``       uint8 (bytes,)          PNG files one after another, grey in 16 steps
``picture_ends``   int64 (pages,)          where each ends
``tokens``         uint16 (tokens,)        token ids of all pages, without special tokens
``token_ends``     int64 (pages,)
``boxes``          int16 (tokens, 4)       left, top, right, bottom of each token in its picture's
                                           pixels; no area where it cannot be seen
``queries``        uint16 (tokens,)        token ids of all queries
``query_ends``     int64 (queries,)
``query_page``     int32 (queries,)        the page that answers
``text_digests``   uint8 (pages, 16)       of the normalised text, zeros without text
``picture_digests``  uint8 (pages, 16)     of the picture's size and pixels
=================  ======================  =====================================================

The header's metadata holds ``format``, ``part``, ``split``, ``tokenizer`` (hash of its words) and
``names`` (JSON: document and page number of each page). Sixteen grey steps make PNG files of 18 kB
a page of TeX documentation (mean of 63), where JPEG at quality 40 takes 33 kB and WebP at quality
30 takes 20 kB and six times longer to decode.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from metaembed_rag.errors import DatasetError

FORMAT = "metaembed-pages-1"
MAX_BYTES = 60 * 2**20
GREY_STEPS = 16
DIGEST_BYTES = 16

_HEADER_ROOM = 2**16
_STEP = 255 // (GREY_STEPS - 1)


@dataclass(frozen=True)
class PageSample:
    """One page to learn from.

    Args:
        document: What it is a page of, such as the path of a PDF.
        number: Of the page, from 1.
        picture: A PNG file, as :func:`pack_picture` makes it.
        tokens: uint16 ``(n,)``; empty where the text is not known.
        boxes: int16 ``(n, 4)``.
        queries: uint16 arrays, each a query that this page answers.
        text: What the tokens came from; only its digest is stored.
    """

    document: str
    number: int
    picture: bytes
    tokens: np.ndarray
    boxes: np.ndarray
    queries: Sequence[np.ndarray] = ()
    text: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if self.boxes.shape != (len(self.tokens), 4):
            raise DatasetError(f"{self.document}#{self.number}: every token needs one box")

    @property
    def size(self) -> int:
        """Bytes that it takes in a shard, nearly."""
        words = sum(len(query) + 12 for query in self.queries)
        return len(self.picture) + 10 * len(self.tokens) + 2 * words + 128


def pack_picture(image: Image.Image) -> bytes:
    """A picture as a PNG file in 16 steps of grey."""
    grey = np.asarray(image.convert("L"), np.uint16)
    steps = ((grey + _STEP // 2) // _STEP).astype(np.uint8)
    packed = Image.fromarray(steps).convert("P")
    packed.putpalette([value for step in range(GREY_STEPS) for value in [step * _STEP] * 3])
    file = io.BytesIO()
    packed.save(file, "PNG", bits=4, optimize=True)
    return file.getvalue()


def unpack_picture(data: bytes) -> Image.Image:
    """The grey picture (mode ``L``) that :func:`pack_picture` made smaller."""
    return Image.open(io.BytesIO(data)).convert("L")


def digest_picture(data: bytes) -> bytes:
    """Of size and pixels, 16 bytes: the same however the file was compressed."""
    image = unpack_picture(data)
    return hashlib.sha256(f"{image.size}".encode() + image.tobytes()).digest()[:DIGEST_BYTES]


def digest_text(text: str) -> bytes:
    """Of letters and digits in lower case, 16 bytes; zeros where there are none."""
    from metaembed_rag.training.corpora import normalise

    plain = normalise(text)
    return hashlib.sha256(plain.encode()).digest()[:DIGEST_BYTES] if plain else bytes(DIGEST_BYTES)


def write_shards(
    samples: Iterable[PageSample],
    folder: Path,
    *,
    part: str,
    split: str,
    tokenizer: str,
    max_bytes: int = MAX_BYTES,
) -> list[Path]:
    """Write ``<part>-<split>-00001.safetensors`` and so on; the files in order.

    Args:
        samples: In the order in which they are stored; none makes no file.
        part: Name of the source.
        split: ``"train"`` or ``"validation"``.
        tokenizer: SHA-256 of the tokenizer's file.
        max_bytes: Largest file.

    Raises:
        DatasetError: One page alone is larger than a file may be.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number, held in enumerate(_pieces(samples, max_bytes - _HEADER_ROOM), start=1):
        path = folder / f"{part}-{split}-{number:05d}.safetensors"
        about = {"format": FORMAT, "part": part, "split": split, "tokenizer": tokenizer}
        _write(path, held, about)
        files.append(path)
    return files


def _pieces(samples: Iterable[PageSample], room: int) -> Iterator[list[PageSample]]:
    held: list[PageSample] = []
    size = 0
    for sample in samples:
        need = sample.size + len(sample.document) + 16
        if need > room:
            raise DatasetError(f"{sample.document}#{sample.number} does not fit into one shard")
        if size + need > room:
            yield held
            held, size = [], 0
        held.append(sample)
        size += need
    if held:
        yield held


def _write(path: Path, samples: Sequence[PageSample], about: dict[str, str]) -> None:
    from safetensors.numpy import save_file

    queries = [(i, query) for i, sample in enumerate(samples) for query in sample.queries]
    arrays = {
        "pictures": np.frombuffer(b"".join(s.picture for s in samples), np.uint8),
        "picture_ends": _ends([s.picture for s in samples]),
        "tokens": _joined([s.tokens for s in samples]),
        "token_ends": _ends([s.tokens for s in samples]),
        "boxes": np.concatenate([s.boxes for s in samples]).astype(np.int16),
        "queries": _joined([query for _, query in queries]),
        "query_ends": _ends([query for _, query in queries]),
        "query_page": np.array([page for page, _ in queries], np.int32),
        "text_digests": _digests([digest_text(s.text) for s in samples]),
        "picture_digests": _digests([digest_picture(s.picture) for s in samples]),
    }
    names = json.dumps([[s.document, s.number] for s in samples], ensure_ascii=False)
    part = path.with_suffix(".part")
    save_file(arrays, part, metadata={**about, "names": names})
    part.rename(path)


def _ends(values: Sequence[Any]) -> np.ndarray:
    return np.cumsum([len(value) for value in values], dtype=np.int64)


def _joined(values: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0, np.uint16), *values]).astype(np.uint16)


def _digests(values: Sequence[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(values), np.uint8).reshape(-1, DIGEST_BYTES)


class Shard:
    """One file, opened.

    Raises:
        DatasetError: It is no shard of this format, or damaged.
    """

    def __init__(self, path: Path) -> None:
        from safetensors import SafetensorError, safe_open

        self.path = path
        try:
            with safe_open(path, framework="np") as file:
                self.about: dict[str, str] = file.metadata() or {}
                self.arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise DatasetError(f"{path} cannot be read ({error}); prepare it again") from error
        if self.about.get("format") != FORMAT:
            raise DatasetError(f"{path} is no shard of pages ({FORMAT}); prepare it again")
        self.names: list[tuple[str, int]] = [tuple(n) for n in json.loads(self.about["names"])]

    def __len__(self) -> int:
        return len(self.names)

    def picture(self, page: int) -> Image.Image:
        """The grey picture of a page."""
        return unpack_picture(self._slice("pictures", "picture_ends", page).tobytes())

    def tokens(self, page: int) -> np.ndarray:
        """Token ids of a page, uint16 ``(n,)``."""
        return self._slice("tokens", "token_ends", page)

    def boxes(self, page: int) -> np.ndarray:
        """Boxes of a page's tokens, int16 ``(n, 4)``."""
        return self._slice("boxes", "token_ends", page)

    def query(self, number: int) -> np.ndarray:
        """Token ids of a query, uint16 ``(n,)``."""
        return self._slice("queries", "query_ends", number)

    def _slice(self, values: str, ends: str, i: int) -> np.ndarray:
        end: np.ndarray = self.arrays[ends]
        return self.arrays[values][int(end[i - 1]) if i else 0 : int(end[i])]  # type: ignore[no-any-return]


class PageSet:
    """The pages of several shards under one count; pictures are decoded when asked for.

    Raises:
        DatasetError: No file, or files made with different tokenizers.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        if not paths:
            raise DatasetError("there are no shards; run the prepare step, or name their folder")
        self.shards = [Shard(path) for path in paths]
        makers = {shard.about["tokenizer"] for shard in self.shards}
        if len(makers) > 1:
            raise DatasetError(
                f"{paths[0].parent}: shards of different tokenizers; prepare them all again"
            )
        self.tokenizer = makers.pop()
        self._begins = np.cumsum([0] + [len(shard) for shard in self.shards])
        self._queries: list[list[tuple[int, int]]] = [[] for _ in range(len(self))]
        for k, shard in enumerate(self.shards):
            for number, page in enumerate(shard.arrays["query_page"]):
                self._queries[int(self._begins[k]) + int(page)].append((k, number))

    @classmethod
    def of_split(cls, folder: Path, split: str) -> PageSet:
        """All shards of ``"train"`` or ``"validation"`` in a folder, by name."""
        return cls(sorted(folder.glob(f"*-{split}-*.safetensors")))

    def __len__(self) -> int:
        return int(self._begins[-1])

    def _at(self, page: int) -> tuple[Shard, int]:
        k = int(np.searchsorted(self._begins, page, side="right")) - 1
        return self.shards[k], page - int(self._begins[k])

    def name(self, page: int) -> str:
        """``"document#number"`` of a page."""
        shard, i = self._at(page)
        document, number = shard.names[i]
        return f"{document}#{number}"

    def document(self, page: int) -> str:
        """What the page is from."""
        shard, i = self._at(page)
        return shard.names[i][0]

    def picture(self, page: int) -> Image.Image:
        """Its grey picture."""
        shard, i = self._at(page)
        return shard.picture(i)

    def tokens(self, page: int) -> np.ndarray:
        """Its token ids, uint16 ``(n,)``."""
        shard, i = self._at(page)
        return shard.tokens(i)

    def boxes(self, page: int) -> np.ndarray:
        """Their boxes, int16 ``(n, 4)``."""
        shard, i = self._at(page)
        return shard.boxes(i)

    def queries(self, page: int) -> list[np.ndarray]:
        """Token ids of the queries that it answers, uint16 arrays."""
        return [self.shards[k].query(number) for k, number in self._queries[page]]
