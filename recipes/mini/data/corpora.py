"""The text that the shipped checkpoint learns from, without any text of the evaluation sets.

Sources (all real, none of them made by this project): pages of Debian's TeX documentation with the
titles of their PDF outlines, Debian package descriptions, WordNet glosses, and the human questions
and answers of OpenCQA's training split. Everything is cached in one folder and made again by
``python -m recipes.mini prepare``.
"""

from __future__ import annotations

import hashlib
import logging
import random
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path, PurePosixPath
from typing import Any

from metaembed_rag.errors import DatasetError, PageError
from metaembed_rag.pages import page_texts
from recipes.mini.data.debian import deb_files, download
from recipes.mini.data.leaks import EvaluationText, LeakCheck, find_leaks
from recipes.mini.data.rows import read_jsonl, write_jsonl

logger = logging.getLogger(__name__)

TEX_PACKAGES = tuple(
    f"texlive-{name}-doc"
    for name in (
        "fonts-extra",
        "humanities",
        "latex-base",
        "latex-extra",
        "latex-recommended",
        "metapost",
        "pictures",
        "pstricks",
        "publishers",
        "science",
    )
)
"""The Debian packages that the outline titles of ``texdoc_pages`` were collected from."""

WORDNET_PACKAGE = "wordnet-base"
_MAX_CHARACTERS = 3000
_MIN_CHARACTERS = 120
_RANDOM_PAGES = 25
_MAX_PAGES = 120

Pair = tuple[str, str]
"""A query and the text that answers it."""


@dataclass(frozen=True)
class TexPage:
    """One page of a TeX document: where it is, its outline titles, its text layer."""

    path: str
    page: int
    titles: tuple[str, ...]
    text: str

    @property
    def package(self) -> str:
        """The TeX package that the document belongs to, such as ``latex/limap``."""
        return tex_package(self.path)


@dataclass(frozen=True)
class TextSources:
    """Texts by source; :func:`read_sources` fills it with the training or the validation part.

    Sections of handbooks have the form of TeX pages: a document, a place in it, headings, text.
    """

    tex: list[TexPage]
    debian: list[Pair]
    opencqa: list[Pair]
    wordnet: list[Pair]
    handbooks: list[TexPage] = field(default_factory=list)

    def texts(self) -> Iterator[str]:
        """Every text once, for the tokenizer."""
        for page in [*self.tex, *self.handbooks]:
            yield page.text
            yield from page.titles
        for pairs in (self.debian, self.opencqa, self.wordnet):
            for query, text in pairs:
                yield query
                yield text


def tex_package(path: str) -> str:
    """The TeX package of a path in a ``texlive-*-doc`` package, e.g. ``latex/limap``."""
    match = re.search(r"/texlive-doc/([^/]+)/([^/]+)", path)
    return f"{match[1]}/{match[2]}" if match else str(PurePosixPath(path).parent)


# ----------------------------------------------------------------------------------- extracting


def prepare(folder: Path, data: Path, packages: Sequence[str] = TEX_PACKAGES) -> None:
    """Download and extract everything into ``folder``; what is there already is kept.

    Args:
        folder: Gets ``tex/<package>.jsonl`` and ``debs/``.
        data: The folder of the evaluation sets and of the lists of pages.
        packages: Names of Debian packages with TeX documentation.

    Raises:
        DatasetError: A download fails, or ``data`` lacks the lists of pages.
    """
    outlines = Outlines(data / "texdoc_pages")
    for package in packages:
        target = folder / "tex" / f"{package}.jsonl"
        if not target.exists():
            deb = download(package, folder / "debs")
            write_jsonl(target, extract_tex_pages(deb, outlines))
    download(WORDNET_PACKAGE, folder / "debs")


class Outlines:
    """The lists of outline titles beside ``texdoc_pages``: training titles, held-out packages."""

    def __init__(self, folder: Path) -> None:
        self.titles: dict[str, dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
        for row in read_jsonl(folder / "tex_train_pairs.jsonl.gz"):
            self.titles[row["path"]][row["page"]].append(row["text"])
        held_out = [row["path"] for row in read_jsonl(folder / "tex_heldout_pairs.jsonl.gz")]
        self._packages = {PurePosixPath(tex_package(path)).name for path in held_out}
        self._files = {PurePosixPath(path).name for path in held_out}

    def is_held_out(self, path: str) -> bool:
        """Whether the document's package, or a file of its name, belongs to the evaluation."""
        package = PurePosixPath(tex_package(path)).name
        return package in self._packages or PurePosixPath(path).name in self._files


def extract_tex_pages(deb: Path, outlines: Outlines) -> Iterator[dict[str, Any]]:
    """Titled pages and 25 random pages of every PDF in ``deb`` that is not held out, as rows.

    A PDF that cannot be read is named in a warning, and the rest goes on.
    """
    for path, content in deb_files(deb, ".pdf"):
        if not outlines.is_held_out(path):
            try:
                yield from _document_rows(path, content, outlines.titles.get(path, {}))
            except PageError as error:
                logger.warning("%s: %s", path, error.reason)


def _document_rows(
    path: str, content: bytes, titles: dict[int, list[str]]
) -> Iterator[dict[str, Any]]:
    def choose(page_count: int) -> list[int]:
        return _chosen(page_count, path, titles)

    for number, text in page_texts(content, choose):
        text = " ".join(text.split())[:_MAX_CHARACTERS]
        if len(text) >= _MIN_CHARACTERS:
            yield {"path": path, "page": number, "titles": titles.get(number, []), "text": text}


def _chosen(page_count: int, path: str, titles: dict[int, list[str]]) -> list[int]:
    drawn = random.Random(path).sample(range(1, page_count + 1), min(page_count, _RANDOM_PAGES))
    return sorted({n for n in titles if n <= page_count} | set(drawn))[:_MAX_PAGES]


# -------------------------------------------------------------------------------------- reading


def read_sources(
    folder: Path, data: Path, *, part: str, packages: Sequence[str] = TEX_PACKAGES
) -> TextSources:
    """The training or validation part of every source, without any text of the evaluation sets.

    Validation (``part="validation"``) holds 1 in 20 TeX packages and Debian source packages by
    hash of their name, and OpenCQA's validation split; WordNet is for training only.

    Raises:
        DatasetError: Something is missing; run ``prepare`` first.
    """
    if part not in ("train", "validation"):
        raise ValueError(f"part must be 'train' or 'validation', not {part!r}")
    leaks, validation = EvaluationText(data), part == "validation"
    tex = [
        TexPage(row["path"], row["page"], _clean_titles(row["titles"], leaks), row["text"])
        for package in packages
        for row in read_jsonl(folder / "tex" / f"{package}.jsonl")
        if in_validation(tex_package(row["path"])) == validation
        and not leaks.holds_document(row["text"])
    ]
    debian = [
        (row["query"], row["text"])
        for row in read_jsonl(data / "debian_packages" / "train_pairs.jsonl.gz")
        if in_validation(_family(row["id"])) == validation
    ]
    split = "val" if validation else "train"
    opencqa = [
        (row["text"], row["answer"])
        for row in read_jsonl(data / "opencqa_train" / f"{split}.jsonl")
    ]
    wordnet = [] if validation else read_wordnet(download(WORDNET_PACKAGE, folder / "debs"))
    debian, opencqa, wordnet = (without_leaks(one, leaks) for one in (debian, opencqa, wordnet))
    handbooks = [] if validation else read_handbooks(folder / "handbooks", leaks)
    return TextSources(tex, debian, opencqa, wordnet, handbooks)


def read_training_text(
    folder: Path, data: Path, packages: Sequence[str] = TEX_PACKAGES
) -> TextSources:
    """The training part without near-duplicates of evaluation text, which the log counts.

    Args:
        folder: The folder that :func:`prepare` filled.
        data: The folder of the evaluation sets and of the lists of pairs.
        packages: Those that were prepared.

    Raises:
        DatasetError: Something is missing; run ``prepare`` first.
    """
    kept, left_out = without_near_duplicates(
        read_sources(folder, data, part="train", packages=packages), LeakCheck.of_sets(data)
    )
    logger.info("left out as near-duplicates of evaluation text: %s", left_out)
    return kept


def without_near_duplicates(
    sources: TextSources, check: LeakCheck
) -> tuple[TextSources, dict[str, int]]:
    """The sources without near-duplicates of evaluation text, and how many were left out of each.

    A page that nearly equals an evaluation document goes, and so does a pair with either leak.
    """
    kept: dict[str, Any] = {}
    left_out: dict[str, int] = {}
    for source in fields(sources):
        held = getattr(sources, source.name)
        pages = source.name in ("tex", "handbooks")
        texts = [("", one.text) for one in held] if pages else held
        leaks = {position for position, _ in find_leaks(check, texts)}
        kept[source.name] = [one for i, one in enumerate(held) if i not in leaks]
        left_out[source.name] = len(held) - len(kept[source.name])
    return TextSources(**kept), left_out


def read_handbooks(folder: Path, leaks: EvaluationText) -> list[TexPage]:
    """The sections in ``folder`` (one file a Debian package), for training only.

    Raises:
        DatasetError: There are none; run ``prepare`` first.
    """
    files = sorted(folder.glob("*.jsonl"))
    if not files:
        raise DatasetError(f"{folder} holds no handbooks; run the prepare step first")
    return [
        TexPage(row["path"], row["page"], _clean_titles(row["titles"], leaks), row["text"])
        for file in files
        for row in read_jsonl(file)
        if not leaks.holds_document(row["text"])
    ]


def in_validation(name: str) -> bool:
    """1 name in 20, by hash: the same on every machine and in every run."""
    return hashlib.sha256(name.encode()).digest()[0] < 13  # 13 / 256


def _family(package: str) -> str:
    """The start of a package name, so that ``foo-dev`` and ``foo-doc`` fall on the same side."""
    return re.split(r"[-.0-9]", package.removeprefix("lib"))[0] or package


def _clean_titles(titles: Sequence[str], leaks: EvaluationText) -> tuple[str, ...]:
    return tuple(title for title in titles if not leaks.holds_query(title))


def without_leaks(pairs: Iterable[Pair], leaks: EvaluationText) -> list[Pair]:
    """The ``pairs`` whose text is no evaluation document and whose query is no evaluation query."""
    return [
        (query, text)
        for query, text in pairs
        if not (leaks.holds_document(text) or leaks.holds_query(query))
    ]


def read_wordnet(deb: Path) -> list[Pair]:
    """Words and gloss of every synset: ``("dog, domestic dog", "a member of the genus ...")``."""
    pairs = []
    for path, content in deb_files(deb, ""):
        if not re.search(r"/wordnet/data\.(noun|verb|adj|adv)$", path):
            continue
        for line in content.decode("latin-1").splitlines():
            if not line.startswith("  ") and " | " in line:
                pairs.append(_synset(line))
    return pairs


def _synset(line: str) -> Pair:
    """One line of WordNet's data files: offset, file, kind, word count (hex), words ... | gloss."""
    fields, gloss = line.split(" | ", 1)
    parts = fields.split()
    words = [parts[4 + 2 * i].replace("_", " ").split("(")[0] for i in range(int(parts[3], 16))]
    return ", ".join(words), gloss.strip()
