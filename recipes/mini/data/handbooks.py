"""Sections of technical handbooks: prose under a heading, from Debian's documentation packages.

The manuals of about fifty packages (numerical analysis, mechanics, statistics, maps, signals,
systems) become rows ``{"path", "page", "titles", "text"}``, the rows of
:func:`corpora.extract_tex_pages`: a section is a page of its document, its heading the title.
Sections that are no prose are left out: too few of their words are the, of, is and the like.
"""

from __future__ import annotations

import hashlib
import re
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from metaembed_rag.errors import PageError
from metaembed_rag.training.examples import normalise
from recipes.mini.data.debian import deb_files, download
from recipes.mini.data.leaks import LeakCheck
from recipes.mini.data.rows import write_jsonl
from recipes.mini.data.sections import Texts, read_sections

PACKAGES = (
    "apbs-doc", "asymptote-doc", "calculix-ccx-doc", "crrcsim-doc", "debian-reference-en",
    "dict-foldoc", "dx-doc", "dynare-doc", "glpk-doc", "gmsh-doc", "gnuplot-doc", "grass-doc",
    "kicad-doc-en", "krb5-doc", "lammps-doc", "libboost1.74-doc", "libreoffice-help-en-us",
    "libsuitesparse-doc", "liggghts-doc", "linux-doc-6.1", "maxima-doc",
    "netcdf-doc", "ngspice-doc", "ns3-doc", "nut-doc", "octave-doc", "png-definitive-guide",
    "postgresql-doc-15", "povray-doc", "python-ase-doc", "python-biopython-doc",
    "python-brian-doc", "python-dipy-doc", "python-escript-doc", "python-fluids-doc",
    "python-sasmodels-doc", "python-scipy-doc", "python-sfepy-doc", "python-statsmodels-doc",
    "python3.11-doc", "r-cran-hsaur3", "r-doc-html", "r-doc-pdf", "rtklib-doc", "sqlite3-doc",
    "topcat-doc", "wireshark-doc", "yade-doc",
)  # fmt: skip
"""Where the sections are from; none of them is in :data:`manuals.PACKAGES`."""

_HTML_ONLY = (
    "asymptote-doc", "debian-reference-en", "gmsh-doc", "gnuplot-doc", "krb5-doc", "maxima-doc",
    "ngspice-doc", "nut-doc", "octave-doc", "python-biopython-doc", "python-sfepy-doc",
)  # fmt: skip
"""Packages that hold the same manual as HTML and as PDF."""

MIN_CHARACTERS, MAX_CHARACTERS = 200, 3000
MAX_OF_DOCUMENT, MAX_OF_PACKAGE = 150, 3000
_JOINED = 40
"""Files of a folder are joined to documents of at least this many sections."""
_MIN_PROSE, _MIN_LETTERS = 0.26, 0.68

_COMMON = re.compile(
    r"\b(a|about|after|all|also|an|and|any|are|as|at|be|been|but|by|can|"
    r"do|does|each|for|from|has|have|how|if|in|into|is|it|its|may|more|"
    r"must|no|not|of|on|one|only|or|other|should|so|some|such|than|that|"
    r"the|their|then|there|these|they|this|those|to|two|use|used|using|"
    r"was|we|were|what|when|where|which|will|with|would|you|your)\b"
)
_UNWANTED = re.compile(
    r"/generated/[^/]+\.(?-i:[A-Z])\w+\.\w+\.html|"
    r"genindex|modindex|/search\.html|/_modules/|/_sources/|changelog|changes|release|whatsnew|"
    r"oldnews|dynare-manual\.pdf|"
    r"licen[cs]e|copyright|copying|/news|/authors|/index-|_toc\.|/toc\.|/examples?/.*\.pdf|/log/|"
    r"/(de|fr|es|it|ja|pl|pt|pt_BR|pt-br|zh|zh_CN|ru|cs|nl|sv|ko|vi|tr|da|nb-NO|el|ar)([-_]\w+)?/|"
    r"translations/|/figures|bibliography|acknowledg|/class[A-Z_]\w+\.html|-members\.html|"
    r"_8(h|c|hpp|cpp)(_source)?\.html|/api/org/|javadoc|apidocs|/test/",
    re.IGNORECASE,
)
_READ = re.compile(r"\.(html?|pdf)(\.gz)?$|/dictd/.*\.dict\.dz$")
_SIGNATURE = re.compile(
    r"^(class |abstract |property |async |classmethod |static )*[\w.]+\([^\u2014]{0,300}?\)"
    r"( = <ufunc '\w+'>| → [^ ]+)?(\[source\])? (?=[A-Z])"
)
_FOOT = re.compile(
    r"(Copyright ©|©|\(C\) Copyright|\[ ?(OpenDX Home|IBM Home Page)|guido dhondt|\[ ?Top of page)"
    r".{0,300}$"
)
_LICENCE = re.compile(
    r"permission is hereby granted|all rights reserved|without warranty of any kind|"
    r"free documentation license|redistribution and use in source",
    re.IGNORECASE,
)


def read_documents(deb: Path, removed: Counter[str]) -> Iterator[tuple[str, Texts]]:
    """Path, headings and texts of the manuals in a documentation package, in archive order.

    Args:
        deb: The package.
        removed: Is told how many files were left out, by reason.
    """
    waiting: list[tuple[str, Texts]] = []
    for path, texts in _read_files(deb, removed):
        if waiting and _series(waiting[0][0]) != _series(path):
            yield from _joined(waiting)
            waiting = []
        waiting.append((path, texts))
        if sum(len(one) for _, one in waiting) >= _JOINED:
            yield from _joined(waiting)
            waiting = []
    if waiting:
        yield from _joined(waiting)


def _joined(files: Sequence[tuple[str, Texts]]) -> Iterator[tuple[str, Texts]]:
    path, texts = files[0][0], [text for _, texts in files for text in texts]
    for start in range(0, len(texts), MAX_OF_DOCUMENT):
        part = start // MAX_OF_DOCUMENT
        yield f"{path}#{part + 1}" if part else path, texts[start : start + MAX_OF_DOCUMENT]


def _series(path: str) -> str:
    """What files must agree in to be joined: the folder of HTML files, else the file."""
    return str(PurePosixPath(path).parent) if ".htm" in path else path


def _read_files(deb: Path, removed: Counter[str]) -> Iterator[tuple[str, Texts]]:
    for path, content in deb_files(deb, ""):
        if not _READ.search(path) or (".pdf" in path and deb.name.split("_")[0] in _HTML_ONLY):
            continue
        if _UNWANTED.search(path):
            removed["a file of another kind or language"] += 1
            continue
        try:
            texts = read_sections(path, content)
        except PageError:
            removed["a PDF that cannot be read"] += 1
            continue
        if texts:
            yield path, texts


# -------------------------------------------------------------------------------------- rows


def extract_sections(
    package: str, deb: Path, leaks: LeakCheck, removed: Counter[str]
) -> list[dict[str, Any]]:
    """The sections of a documentation package as rows ``{"path", "page", "titles", "text"}``.

    A long section is split at the ends of sentences into texts of at most 3,000 characters, of
    which the first keeps the heading; a heading that several sections of a document have is no
    title, for it would ask for all of them. Documents are taken by the hash of their path until
    the package has 3,000 sections.

    Args:
        package: The package's name, for the draw.
        deb: The package.
        leaks: The evaluation text to keep out.
        removed: Is told how many texts were left out, by reason.
    """
    seen: set[str] = set()
    documents = []
    for path, texts in read_documents(deb, removed):
        rows = _rows(path, texts, leaks, seen, removed)
        documents.append((hashlib.sha256(f"{package}{path}".encode()).digest(), rows))
    kept: list[dict[str, Any]] = []
    for _, rows in sorted(documents, key=lambda document: document[0]):
        if len(kept) < MAX_OF_PACKAGE:
            kept += rows
        else:
            removed["beyond the share of a package"] += len(rows)
    return sorted(kept, key=lambda row: (row["path"], row["page"]))


def _rows(
    path: str, texts: Texts, leaks: LeakCheck, seen: set[str], removed: Counter[str]
) -> list[dict[str, Any]]:
    counts = Counter(normalise(heading) for heading, _ in texts)
    rows: list[dict[str, Any]] = []
    for heading, text in texts:
        text = _without_frame(text)
        if counts[normalise(heading)] > 1 or leaks.query(heading) or not _is_title(heading):
            heading = ""
        titles, text = _asked(heading, text)
        for piece in split_text(text):
            reason = _unfit(piece, leaks, seen)
            if reason:
                removed[reason] += 1
                continue
            seen.add(normalise(piece))
            rows.append({"path": path, "page": len(rows) + 1, "titles": titles, "text": piece})
            titles = []
    return rows


def _without_frame(text: str) -> str:
    """Without the signature of a function at the start and the page's foot at the end."""
    return _FOOT.sub("", _SIGNATURE.sub("", text))


def _is_title(heading: str) -> bool:
    letters = sum(character.isalpha() for character in heading)
    return 3 <= letters <= 120 and letters >= 0.6 * len(heading)


def _asked(heading: str, text: str) -> tuple[list[str], str]:
    """Titles and text; a name such as ``r.sun`` is replaced by the sentence that explains it."""
    if not heading:
        return [], text
    first, _, rest = text.partition(". ")
    if " " not in heading and 4 <= len(first.split()) <= 20 and len(rest) >= MIN_CHARACTERS:
        return [first], rest
    return [heading], text


def _unfit(text: str, leaks: LeakCheck, seen: set[str]) -> str | None:
    """Why a text is left out, or None."""
    if len(text) < MIN_CHARACTERS:
        return "too short"
    if not is_prose(text):
        return "no English prose"
    if _LICENCE.search(text):
        return "a licence"
    if normalise(text) in seen:
        return "a text like another"
    return "text of an evaluation set" if leaks.text(text) else None


def is_prose(text: str) -> bool:
    """Whether a text is made of English sentences rather than code, tables or lists of names.

    At least 26 % of its words are among the 90 commonest of English prose, and at least 68 % of its
    characters are letters.
    """
    text = text.lower()
    words, common = len(re.findall(r"[^\W_]+", text)), len(_COMMON.findall(text))
    letters = sum(character.isalpha() for character in text)
    return letters >= _MIN_LETTERS * len(text) and common >= _MIN_PROSE * words


def split_text(text: str) -> list[str]:
    """Parts of about equal length, of at most 3,000 characters, cut at ends of sentences."""
    wanted = max(1, -(-len(text) // MAX_CHARACTERS))
    limit = min(MAX_CHARACTERS, len(text) // wanted + MIN_CHARACTERS)
    parts = [""]
    for sentence in re.split(r"(?<=[.!?]) ", text):
        for piece in textwrap.wrap(sentence, limit):  # a list without full stops may be longer
            if len(parts[-1]) + len(piece) >= limit:
                parts.append("")
            parts[-1] = f"{parts[-1]} {piece}".strip()
    return [part for part in parts if part]


def prepare_handbooks(
    folder: Path, data: Path, packages: Iterable[str] = PACKAGES
) -> dict[str, Counter[str]]:
    """Download and extract the handbooks into ``folder``; what is there already is kept.

    Args:
        folder: Gets ``handbooks/<package>.jsonl`` and ``debs/``.
        data: The folder of the evaluation sets, whose texts stay out.
        packages: Names of Debian packages.

    Returns:
        For each package extracted now: the number of rows ("kept") and of what was left out.

    Raises:
        DatasetError: A download fails.
    """
    leaks, reports = LeakCheck.of_sets(data), {}
    for package in packages:
        target = folder / "handbooks" / f"{package}.jsonl"
        if not target.exists():
            removed: Counter[str] = Counter()
            rows = extract_sections(package, download(package, folder / "debs"), leaks, removed)
            write_jsonl(target, rows)
            reports[package] = removed + Counter(kept=len(rows))
    return reports
