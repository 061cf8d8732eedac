"""The sources of pages -> shards, and a manifest that a model card can quote.

A source is made part by part (a Debian package, a set of charts, 1,500 drawn pages). A part that is
there already is kept if it was made with the same settings, so that an interrupted run goes on.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from metaembed_rag.errors import DatasetError, PageError
from metaembed_rag.training.corpora import (
    TEX_PACKAGES,
    Outlines,
    deb_files,
    download,
    in_validation,
    read_jsonl,
    read_sources,
    tex_package,
)
from metaembed_rag.training.leaks import LeakCheck, find_leaks
from metaembed_rag.training.tokenizer import encode, load_tokenizer
from metaembed_rag.training.vision.drawing import describe_fonts, find_fonts
from metaembed_rag.training.vision.generated import Passage, draw_page
from metaembed_rag.training.vision.layer import TextLayer, token_boxes
from metaembed_rag.training.vision.shards import MAX_BYTES, PageSample, pack_picture, write_shards

if TYPE_CHECKING:
    from tokenizers import Tokenizer

logger = logging.getLogger(__name__)

SPLITS = ("train", "validation")
KINDS = ("tex", "opencqa", "drawn")
DRAWN_PER_PART = 1500
_FEWEST_CHARACTERS = 120
_MOST_TOKENS = 4096
"""A page with more is left out: its last words would have no box, as if they were paper."""

_RANDOM_PAGES = 10
_OWN_SETTINGS = {
    "tex": ("side", "pages_per_package", "pages_per_document"),
    "opencqa": ("charts",),
    "drawn": ("seed",),
}
"""What a source's parts depend on, beside the tokenizer."""


@dataclass(frozen=True)
class PrepareSettings:
    """What a run of preparation makes.

    Args:
        side: Pixels of the longer side of a rendered page.
        pages_per_package: At most so many pages of one Debian package; 0 takes all.
        pages_per_document: At most so many pages of one PDF, its titled ones and ten others.
        charts: At most so many charts; 0 takes all.
        drawn: Drawn pages for training; a tenth as many for validation.
        seed: Of the drawn pages.
        max_bytes: Largest shard.
    """

    side: int = 896
    pages_per_package: int = 0
    pages_per_document: int = 40
    charts: int = 0
    drawn: int = 6000
    seed: int = 0
    max_bytes: int = MAX_BYTES


def vocabulary_hash(tokenizer: Tokenizer) -> str:
    """SHA-256 of the vocabulary: shards and models that agree in it share their ids."""
    vocabulary = sorted(tokenizer.get_vocab(with_added_tokens=True).items(), key=lambda x: x[1])
    plain = [name for name, number in vocabulary if number < 2**16]
    return hashlib.sha256(json.dumps(plain).encode()).hexdigest()


class Preparation:
    """Makes the parts of the sources in ``work/vision``.

    Args:
        work: The working folder of ``python -m metaembed_rag.training.mini`` (its ``prepare``
            stage gives the texts that are drawn, and the Debian packages).
        data: Folder of the evaluation sets, the lists of titles and OpenCQA.
        text_model: Folder with the ``tokenizer.json`` whose ids are stored.
        settings: Sizes and seed.
    """

    def __init__(self, work: Path, data: Path, text_model: Path, settings: PrepareSettings) -> None:
        self.work, self.data, self.settings = work, data, settings
        self.folder = work / "vision"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.tokenizer = load_tokenizer(text_model)
        self.tokenizer_hash = vocabulary_hash(self.tokenizer)
        self.removed = {"evaluation document": 0, "evaluation query": 0, "held-out document": 0}

    @cached_property
    def leaks(self) -> LeakCheck:
        """What stays out: documents of the evaluation sets, near-duplicates too, and queries."""
        return LeakCheck.of_sets(self.data)

    def run(self, kinds: Sequence[str] = KINDS) -> dict[str, Any]:
        """Make every part of these kinds that is not there yet; the manifest.

        Raises:
            DatasetError: A source is missing.
        """
        for kind in kinds:
            getattr(self, f"_{kind}")()
        return write_manifest(self.folder)

    # ------------------------------------------------------------------------------- TeX pages

    def _tex(self) -> None:
        outlines = Outlines(self.data / "texdoc_pages")
        for package in TEX_PACKAGES:
            name = "tex-" + package.removeprefix("texlive-").removesuffix("-doc")
            if self._missing(name):
                deb = download(package, self.work / "debs")
                pages = self._package_pages(deb, outlines)
                self._part(name, pages, package=package, deb=deb.name)

    def _package_pages(self, deb: Path, outlines: Outlines) -> Iterator[tuple[str, PageSample]]:
        most, count = self.settings.pages_per_package, 0
        for path, content in deb_files(deb, ".pdf"):
            if outlines.is_held_out(path):
                self.removed["held-out document"] += 1
                continue
            split = SPLITS[in_validation(tex_package(path))]
            for sample in self._document_pages(path, content, outlines.titles.get(path, {})):
                yield split, sample
                count += 1
                if count == most:
                    return

    def _document_pages(
        self, path: str, content: bytes, titles: dict[int, list[str]]
    ) -> Iterator[PageSample]:
        from metaembed_rag.training.vision.pdf_words import read_pages

        try:
            choose = _chooser(path, titles, self.settings.pages_per_document)
            pages = read_pages(content, choose, side=self.settings.side, source=path)
            for number, image, layer in pages:
                sample = self._sample(path, number, image, layer, titles.get(number, []))
                if sample is not None and len(layer.text) >= _FEWEST_CHARACTERS:
                    yield sample
        except PageError as error:
            logger.warning("%s: %s", path, error.reason)

    # ---------------------------------------------------------------------------------- charts

    def _opencqa(self) -> None:
        if self._missing("opencqa"):
            self._part("opencqa", self._charts())

    def _charts(self) -> Iterator[tuple[str, PageSample]]:
        folder = self.data / "opencqa_train"
        for split, name in zip(SPLITS, ("train", "val"), strict=True):
            rows = list(read_jsonl(folder / f"{name}.jsonl"))
            for row in rows[: self.settings.charts or len(rows)]:
                with Image.open(folder / row["image"]) as opened:
                    image = opened.convert("L")
                nothing = TextLayer("", np.zeros((0, 4), np.float32))
                sample = self._sample(row["image"], 1, image, nothing, [row["text"]])
                if sample is not None and sample.queries:
                    yield split, sample

    # ----------------------------------------------------------------------------- drawn pages

    def _drawn(self) -> None:
        counts = {"train": self.settings.drawn, "validation": self.settings.drawn // 10}
        for split, count in counts.items():
            for part, begin in enumerate(range(0, count, DRAWN_PER_PART)):
                name = f"drawn-{split}-{part:03d}"
                if self._missing(name):
                    numbers = range(begin, min(begin + DRAWN_PER_PART, count))
                    fonts = describe_fonts(find_fonts())
                    self._part(name, self._drawings(split, numbers), fonts=fonts)

    def _drawings(self, split: str, numbers: range) -> Iterator[tuple[str, PageSample]]:
        passages, fonts = self._passages(split), find_fonts()
        seed = self.settings.seed + SPLITS.index(split)
        for number in numbers:
            page = draw_page(passages, fonts, (seed, number))
            name = f"drawn/{split}/{seed}"
            sample = self._sample(name, number + 1, page.image, page.layer, page.queries)
            if sample is not None:
                yield split, sample

    def _passages(self, split: str) -> list[Passage]:
        """Real queries and texts; kept in one file, which is all that drawing needs."""
        path = self.folder / f"texts-{split}.jsonl.gz"
        if not path.exists():
            texts = read_sources(self.work, self.data, part=split)
            pairs = [*texts.debian, *texts.wordnet, *texts.opencqa]
            pairs += [(title, page.text) for page in texts.tex for title in page.titles]
            random.Random(self.settings.seed).shuffle(pairs)
            with gzip.open(path, "wt", encoding="utf-8", compresslevel=9) as lines:
                for query, text in self._clean(pairs[:60_000]):
                    row = {"query": query, "text": text[:1200]}
                    lines.write(json.dumps(row, ensure_ascii=False) + "\n")
        return [Passage(row["query"], row["text"]) for row in read_jsonl(path)]

    def _clean(self, pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
        leaky = {position for position, _ in find_leaks(self.leaks, pairs)}
        return [pair for position, pair in enumerate(pairs) if position not in leaky]

    # ------------------------------------------------------------------------------------ parts

    def _sample(
        self, document: str, number: int, image: Image.Image, layer: TextLayer, asked: Sequence[str]
    ) -> PageSample | None:
        """None, and counted, where the page belongs to an evaluation set."""
        if self.leaks.text(layer.text) is not None:
            self.removed["evaluation document"] += 1
            return None
        kept = [query for query in asked if self.leaks.query(query) is None]
        self.removed["evaluation query"] += len(asked) - len(kept)
        tokens, boxes = token_boxes(self.tokenizer, layer)
        if len(tokens) > _MOST_TOKENS:
            return None
        queries = [query for query in encode(self.tokenizer, kept) if len(query)]
        return PageSample(
            document, number, pack_picture(image), tokens, boxes, queries, text=layer.text
        )

    def _settings_of(self, name: str) -> dict[str, Any]:
        """What a part depends on, so that another one's settings leave it as it is."""
        every = asdict(self.settings)
        kind = name.split("-")[0]
        names = ("max_bytes", *_OWN_SETTINGS[kind])
        return {"tokenizer": self.tokenizer_hash, **{key: every[key] for key in names}}

    def _missing(self, name: str) -> bool:
        record = self.folder / f"{name}.json"
        if not record.exists():
            return True
        made = json.loads(record.read_text(encoding="utf-8"))
        if made["settings"] != self._settings_of(name):
            raise DatasetError(
                f"{record} was made with other settings; remove it and the shards that it names, "
                f"or choose another --work"
            )
        return False

    def _part(self, name: str, samples: Iterator[tuple[str, PageSample]], **about: Any) -> None:
        """Write the shards of a part, and last its record."""
        before = dict(self.removed)
        held: dict[str, list[PageSample]] = {split: [] for split in SPLITS}
        for split, sample in samples:
            held[split].append(sample)
        files = [
            file
            for split, rows in held.items()
            for file in write_shards(
                rows,
                self.folder,
                part=name,
                split=split,
                tokenizer=self.tokenizer_hash,
                max_bytes=self.settings.max_bytes,
            )
        ]
        record = {
            "part": name,
            **about,
            "settings": self._settings_of(name),
            "removed": {key: self.removed[key] - before[key] for key in before},
            **{split: _tally(rows) for split, rows in held.items()},
            "shards": [_describe(file) for file in files],
        }
        _write_json(self.folder / f"{name}.json", record)
        logger.info("%s: %s pages", name, [len(held[split]) for split in SPLITS])


def _chooser(path: str, titles: dict[int, list[str]], most: int) -> Callable[[int], list[int]]:
    """Titled pages and ten others of a PDF, at most ``most``, drawn with its path as the seed."""

    def choose(count: int) -> list[int]:
        draw = random.Random(path)
        drawn = draw.sample(range(1, count + 1), min(count, _RANDOM_PAGES))
        chosen = sorted({n for n in titles if n <= count} | set(drawn))
        return sorted(draw.sample(chosen, min(len(chosen), most)))

    return choose


def _tally(samples: Sequence[PageSample]) -> dict[str, int]:
    return {
        "pages": len(samples),
        "tokens": sum(len(sample.tokens) for sample in samples),
        "queries": sum(len(sample.queries) for sample in samples),
    }


def _sum(counts: Sequence[dict[str, int]]) -> dict[str, int]:
    return {key: sum(count[key] for count in counts) for key in (counts[0] if counts else ())}


def _describe(file: Path) -> dict[str, Any]:
    content = file.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return {"file": file.name, "bytes": len(content), "sha256": digest}


def write_manifest(folder: Path) -> dict[str, Any]:
    """Join the records of all parts in ``folder`` into ``manifest.json``, with the sums.

    Raises:
        DatasetError: A shard that a record names is missing or has changed.
    """
    parts = []
    for path in sorted(folder.glob("*.json")):
        if path.name != "manifest.json":
            parts.append(json.loads(path.read_text(encoding="utf-8")))
    for shard in (shard for part in parts for shard in part["shards"]):
        file = folder / shard["file"]
        if not file.exists() or _describe(file) != shard:
            raise DatasetError(f"{file} is missing or has changed; remove its part's .json")
    sums = {key: _sum([part[key] for part in parts]) for key in (*SPLITS, "removed")}
    manifest = {**sums, "parts": parts}
    _write_json(folder / "manifest.json", manifest)
    return manifest


def _write_json(path: Path, value: Any) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    part.rename(path)
