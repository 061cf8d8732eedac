"""The text that the shipped checkpoint learns from, and the checks that keep evaluation text out.

Sources (all real, none of them made by this project): pages of Debian's TeX documentation with the
titles of their PDF outlines, Debian package descriptions, WordNet glosses, and the human questions
and answers of OpenCQA's training split. Everything is cached in one folder and made again by
``python -m recipes.mini.mini prepare``.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import random
import re
import shutil
import subprocess
import tarfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from metaembed_rag.errors import DatasetError, PageError
from metaembed_rag.pages import page_texts
from metaembed_rag.training.examples import normalise

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
EVALUATION_SETS = ("texdoc_pages", "debian_packages", "cranfield", "openmoji")
"""Never trained on, never used to choose a setting."""

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


@dataclass(frozen=True)
class RetrievalSet:
    """A small retrieval task: ``relevant[q]`` maps indices of ``corpus`` to gains above 0."""

    name: str
    corpus: list[str]
    queries: list[str]
    relevant: list[dict[int, float]] = field(repr=False)


def tex_package(path: str) -> str:
    """The TeX package of a path in a ``texlive-*-doc`` package, e.g. ``latex/limap``."""
    match = re.search(r"/texlive-doc/([^/]+)/([^/]+)", path)
    return f"{match[1]}/{match[2]}" if match else str(PurePosixPath(path).parent)


# ---------------------------------------------------------------------------------------- leaks


class EvaluationText:
    """Hashes of every document and query of the evaluation sets, to keep them out of training.

    Args:
        data: The folder that holds the evaluation sets; sets that are absent are left out.
    """

    def __init__(self, data: Path) -> None:
        self._documents: set[str] = set()
        self._queries: set[str] = set()
        self.sets = [name for name in EVALUATION_SETS if (data / name / "corpus.jsonl").exists()]
        for name in self.sets:
            for row in read_jsonl(data / name / "corpus.jsonl"):
                self._documents.add(_digest(row.get("text") or ""))
            for row in read_jsonl(data / name / "queries.jsonl"):
                self._queries.add(_digest(row["text"]))
        self._documents.discard(_digest(""))

    def holds_document(self, text: str) -> bool:
        """Whether ``text`` is a document of an evaluation set, up to case and punctuation."""
        return _digest(text) in self._documents

    def holds_query(self, text: str) -> bool:
        """Whether ``text`` is a query of an evaluation set, up to case and punctuation."""
        return _digest(text) in self._queries


def _digest(text: str) -> str:
    return hashlib.sha256(normalise(text).encode()).hexdigest()


# ------------------------------------------------------------------------------------ downloads


def download(package: str, folder: Path) -> Path:
    """The ``.deb`` of a Debian package in ``folder``, fetched with ``apt-get download`` if absent.

    Raises:
        DatasetError: apt-get is missing or does not know the package.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = sorted(folder.glob(f"{package}_*.deb"))
    if found:
        return found[-1]
    if shutil.which("apt-get") is None:
        raise DatasetError("the training text comes from Debian packages: run this on Debian")
    done = subprocess.run(
        ["apt-get", "download", package], cwd=folder, capture_output=True, text=True, check=False
    )
    found = sorted(folder.glob(f"{package}_*.deb"))
    if done.returncode or not found:
        raise DatasetError(f"apt-get download {package} failed: {done.stderr.strip()[-300:]}")
    return found[-1]


def deb_files(deb: Path, suffix: str) -> Iterator[tuple[str, bytes]]:
    """The files of a ``.deb`` whose path ends in ``suffix``, with their bytes, in archive order."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=subprocess.PIPE) as tar:
        assert tar.stdout is not None
        with tarfile.open(fileobj=tar.stdout, mode="r|") as archive:
            for member in archive:
                if member.isfile() and member.name.endswith(suffix):
                    opened = archive.extractfile(member)
                    assert opened is not None
                    yield "/" + member.name.lstrip("./"), opened.read()


def prepare(folder: Path, data: Path) -> None:
    """Download and extract everything into ``folder``; what is there already is kept.

    Raises:
        DatasetError: A download fails, or ``data`` lacks the lists of pages.
    """
    outlines = Outlines(data / "texdoc_pages")
    for package in TEX_PACKAGES:
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


def read_sources(folder: Path, data: Path, *, part: str) -> TextSources:
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
        for package in TEX_PACKAGES
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


def validation_sets(sources: TextSources, *, seed: int = 0) -> list[RetrievalSet]:
    """Three retrieval tasks from the validation part: TeX titles, Debian, OpenCQA answers.

    At most 1,200 documents and 600 queries each, drawn with ``seed``; a title that names pages of
    several documents is left out, as in ``texdoc_pages``.
    """
    rng = random.Random(seed)
    return [
        _title_task(sources.tex, rng),
        _pair_task("debian", sources.debian, rng),
        _pair_task("opencqa", sources.opencqa, rng),
    ]


def _title_task(pages: Sequence[TexPage], rng: random.Random) -> RetrievalSet:
    titled = [page for page in pages if page.titles]
    corpus = rng.sample(titled, min(len(titled), 600))
    named: dict[str, set[int]] = defaultdict(set)
    for index, page in enumerate(corpus):
        for title in page.titles:
            if normalise(title) in normalise(page.text):
                named[title].add(index)
    queries = [title for title, where in named.items() if len(where) == 1 and len(title) > 4]
    queries = rng.sample(queries, min(len(queries), 600))
    relevant = [dict.fromkeys(named[title], 1.0) for title in queries]
    return RetrievalSet("tex titles", [page.text for page in corpus], queries, relevant)


def _pair_task(name: str, pairs: Sequence[Pair], rng: random.Random) -> RetrievalSet:
    chosen = rng.sample(list(pairs), min(len(pairs), 1200))
    asked = range(min(len(chosen), 600))
    return RetrievalSet(
        name,
        [text for _, text in chosen],
        [chosen[i][0] for i in asked],
        [{i: 1.0} for i in asked],
    )


def read_evaluation_set(folder: Path) -> RetrievalSet:
    """A folder in BEIR layout as text: title and text of each document joined.

    Raises:
        DatasetError: A file is missing.
    """
    rows = list(read_jsonl(folder / "corpus.jsonl"))
    place = {row["_id"]: index for index, row in enumerate(rows)}
    gains: dict[str, dict[int, float]] = defaultdict(dict)
    for line in (folder / "qrels" / "test.tsv").read_text().splitlines()[1:]:
        query, document, gain = line.split("\t")
        if float(gain) > 0:
            gains[query][place[document]] = float(gain)
    asked = [row for row in read_jsonl(folder / "queries.jsonl") if row["_id"] in gains]
    return RetrievalSet(
        folder.name,
        [f"{row.get('title') or ''} {row.get('text') or ''}".strip() for row in rows],
        [row["text"] for row in asked],
        [gains[row["_id"]] for row in asked],
    )


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a JSON Lines file, gzip-compressed if its name says so.

    Raises:
        DatasetError: The file is missing, or a line is not JSON.
    """
    if not path.exists():
        raise DatasetError(f"{path} is missing; run the prepare step first or name its folder")
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                raise DatasetError(f"{path}, line {number}: not JSON ({error.msg})") from error


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write ``rows`` to ``path`` whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with part.open("w", encoding="utf-8") as lines:
        for row in rows:
            lines.write(json.dumps(row, ensure_ascii=False) + "\n")
    part.rename(path)
