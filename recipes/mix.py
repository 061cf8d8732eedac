"""Build the training mix again, as JSON lines, from ordinary sources.

::

    python -m recipes.mix --out .data/mix
    python -m recipes.mix --out .data/mix --only debian manpages wordnet

On any Debian machine with its mirror: ``debian`` (short -> long package descriptions), ``manpages``
(one-line descriptions -> manual pages, with held-out parts ``manpages_test`` and ``manpages_dev``)
and ``wordnet`` (words -> gloss). Where the project's data folder is present also ``tex`` (outline
titles -> text of the page), ``charts`` (OpenCQA's questions -> chart pictures) and ``answers``
(the same questions -> the written answers). Documents and queries of the evaluation sets that are
present are removed. ``manifest.json`` says what was made, of what, and what could not be.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import sys
import tarfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from metaembed_rag.errors import DatasetError
from metaembed_rag.training.data import Example, Side, read_training_set, write_training_set
from metaembed_rag.training.examples import normalise
from recipes.mini.data import corpora, debian, manuals
from recipes.mini.data.descriptions import read_descriptions
from recipes.mini.data.leaks import EvaluationText
from recipes.mini.data.rows import read_jsonl
from recipes.mini.pairs import title_page

logger = logging.getLogger(__name__)


@dataclass
class Workshop:
    """Where a source reads and writes, and what it reports.

    Attributes:
        out: The folder of the mix.
        work: The folder of downloads, which may be shared with the recipe of ``mini``.
        data: The project's data folder; it may be absent.
        leaks: The evaluation sets' text.
        removed: How many pairs were left out, by reason.
        notes: What else the manifest says of this set.
    """

    out: Path
    work: Path
    data: Path
    leaks: EvaluationText
    removed: Counter[str] = field(default_factory=Counter)
    notes: dict[str, Any] = field(default_factory=dict)

    def need(self, *parts: str) -> Path:
        """A file or folder of the data folder.

        Raises:
            DatasetError: It is absent.
        """
        path = self.data.joinpath(*parts)
        if not path.exists():
            raise DatasetError(f"{path} is missing; name the data folder with --data")
        return path


@dataclass(frozen=True)
class Source:
    """One training set of the mix: how it is made, and what is said of it."""

    build: Callable[[Workshop], list[Example]]
    about: str
    licence: str


def build_mix(
    out: Path,
    *,
    data: Path,
    work: Path | None = None,
    only: Sequence[str] = (),
    limit: int | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Write one file of JSON lines a source, and ``manifest.json``.

    Args:
        out: The folder to write to; a set that is there already is made anew, others stay.
        data: The project's data folder; what needs it is left out where it is absent.
        work: The folder of downloads, ``out/work`` by default.
        only: Names of :data:`SOURCES`; all of them by default.
        limit: At most so many pairs a set, drawn with ``seed``.
        seed: The same seed and sources make the same bytes.

    Returns:
        The manifest: ``sets``, and ``missing`` with the reason why a source could not be read.

    Raises:
        DatasetError: A name is unknown, or the limit is below 1.
    """
    _check(only, limit)
    leaks = EvaluationText(data)
    manifest = _old_manifest(out)
    for name in only or SOURCES:
        workshop = Workshop(out, work or out / "work", data, leaks)
        logger.info("%s: %s", name, SOURCES[name].about)
        manifest["missing"].pop(name, None)
        try:
            manifest["sets"][name] = _build(name, workshop, limit, seed)
        except (DatasetError, tarfile.TarError) as error:
            manifest["missing"][name] = _reason(error, workshop)
            logger.warning("%s left out: %s", name, manifest["missing"][name])
            manifest["sets"].pop(name, None)
            (out / f"{name}.jsonl").unlink(missing_ok=True)
    _write_manifest(out, manifest)
    return manifest


def _reason(error: Exception, workshop: Workshop) -> str:
    if isinstance(error, DatasetError):
        return str(error)
    return f"{workshop.work / 'debs'}: a download is damaged ({error}); delete it and run again"


def _check(only: Sequence[str], limit: int | None) -> None:
    unknown = sorted(set(only) - set(SOURCES))
    if unknown:
        raise DatasetError(f"no source {unknown[0]!r}; there are {', '.join(SOURCES)}")
    if limit is not None and limit < 1:
        raise DatasetError(f"a limit of {limit} leaves nothing; ask for at least 1")


def _build(name: str, workshop: Workshop, limit: int | None, seed: int) -> dict[str, Any]:
    found = SOURCES[name].build(workshop)
    path = workshop.out / f"{name}.jsonl"
    write_training_set(path, draw(without_leaks(found, workshop), limit, f"{seed} {name}"))
    made = read_training_set(path)
    logger.info("%s: %d pairs, left out: %s", name, len(made), dict(workshop.removed))
    return {
        "file": path.name,
        "examples": len(made),
        "digest": made.digest,
        "about": SOURCES[name].about,
        "licence": SOURCES[name].licence,
        "left_out": dict(workshop.removed),
        "without_evaluation_sets": workshop.leaks.sets,
        "limit": limit,
        "seed": seed,
        **workshop.notes,
    }


def without_leaks(examples: Iterable[Example], workshop: Workshop) -> list[Example]:
    """The examples that no evaluation set holds, and each pair once; the rest is counted."""
    kept: dict[tuple[str, str, str], Example] = {}
    for example in examples:
        query, page = example.query.text, example.positive
        key = normalise(query), normalise(page.text), page.image or ""
        if workshop.leaks.holds_query(query) or workshop.leaks.holds_document(page.text):
            workshop.removed["part of an evaluation set"] += 1
        elif key in kept:
            workshop.removed["a pair like another"] += 1
        elif not key[0] or not (key[1] or key[2]):
            workshop.removed["a side without words"] += 1
        else:
            kept[key] = example
    return list(kept.values())


def draw(examples: Sequence[Example], limit: int | None, seed: str) -> list[Example]:
    """At most ``limit`` examples, in their order; the same for a seed on every machine."""
    if limit is None or limit >= len(examples):
        return list(examples)

    def rank(at: int) -> bytes:
        return hashlib.blake2b(f"{seed} {at}".encode(), digest_size=8).digest()

    return [examples[at] for at in sorted(sorted(range(len(examples)), key=rank)[:limit])]


def _old_manifest(out: Path) -> dict[str, Any]:
    path = out / "manifest.json"
    if not path.exists():
        return {"sets": {}, "missing": {}}
    try:
        old = json.loads(path.read_text(encoding="utf-8"))
        return {"sets": dict(old["sets"]), "missing": dict(old["missing"])}
    except (ValueError, KeyError, TypeError):
        raise DatasetError(f"{path}: not a manifest of a mix; delete it") from None


def _write_manifest(out: Path, manifest: dict[str, Any]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    part = out / ".manifest.json.part"
    part.write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    part.replace(out / "manifest.json")


# --------------------------------------------------------------------------------------- sources


def _debian(workshop: Workshop) -> list[Example]:
    path = workshop.data / "debian_packages" / "train_pairs.jsonl.gz"
    if path.exists():
        workshop.notes["origin"] = "train_pairs.jsonl.gz of debian_packages"
        pairs = [(row["query"], row["text"]) for row in read_jsonl(path)]
    else:
        workshop.notes["origin"] = "the lists of apt"
        pairs = read_descriptions(workshop.work / "apt")
    return _text_examples(pairs)


def _manpages(workshop: Workshop) -> list[Example]:
    debs, absent = [], {}
    for package in manuals.PACKAGES:
        try:
            debs.append(debian.download(package, workshop.work / "debs"))
        except DatasetError as error:
            absent[package] = str(error)
    if not debs:
        raise DatasetError(f"no package could be downloaded: {next(iter(absent.values()))}")
    pages = manuals.read_manuals(debs, workshop.removed)
    parts = manuals.split_manuals(pages, workshop.removed)
    held_out = {
        f"manpages_{part}": manuals.write_test_set(workshop.out / f"manpages_{part}", parts[part])
        for part in ("test", "dev")
    }
    workshop.notes |= {
        "origin": [deb.name for deb in debs],
        "missing_packages": absent,
        "held_out": held_out,
    }
    return _text_examples((page.query, page.text) for page in parts["train"])


def _wordnet(workshop: Workshop) -> list[Example]:
    deb = debian.download(corpora.WORDNET_PACKAGE, workshop.work / "debs")
    workshop.notes["origin"] = deb.name
    return _text_examples(corpora.read_wordnet(deb))


def _tex(workshop: Workshop) -> list[Example]:
    workshop.need("texdoc_pages", "tex_train_pairs.jsonl.gz")
    corpora.prepare(workshop.work, workshop.data)
    workshop.notes["origin"] = list(corpora.TEX_PACKAGES)
    pairs = []
    for package in corpora.TEX_PACKAGES:
        for row in read_jsonl(workshop.work / "tex" / f"{package}.jsonl"):
            if corpora.in_validation(corpora.tex_package(row["path"])):
                workshop.removed["validation"] += len(row["titles"])
            elif workshop.leaks.holds_document(row["text"]):
                workshop.removed["part of an evaluation set"] += len(row["titles"])
            else:
                pairs += [(title, title_page(title, row["text"])) for title in row["titles"]]
    return _text_examples(pairs)


def _charts(workshop: Workshop) -> list[Example]:
    folder = workshop.need("opencqa_train")
    return [
        Example(Side(row["text"]), Side(image=str((folder / row["image"]).absolute())))
        for row in read_jsonl(folder / "train.jsonl")
    ]


def _answers(workshop: Workshop) -> list[Example]:
    rows = read_jsonl(workshop.need("opencqa_train", "train.jsonl"))
    return _text_examples((row["text"], row["answer"]) for row in rows)


def _text_examples(pairs: Iterable[corpora.Pair]) -> list[Example]:
    return [Example(Side(query), Side(text)) for query, text in pairs]


SOURCES = {
    "debian": Source(
        _debian,
        "short package descriptions -> long ones (Debian)",
        "each description under its package's licence, free under Debian's guidelines",
    ),
    "manpages": Source(
        _manpages,
        "one-line descriptions -> manual pages without them (Debian)",
        "each page under its own licence, free under Debian's guidelines",
    ),
    "wordnet": Source(_wordnet, "words of a synset -> its gloss (WordNet)", "WordNet licence"),
    "tex": Source(
        _tex,
        "outline titles -> text of the page (Debian's TeX documentation)",
        "each document under its own licence, free under Debian's guidelines",
    ),
    "charts": Source(
        _charts,
        "human questions -> chart pictures (OpenCQA, training split)",
        "GPL-3.0; the pictures are Pew Research Center's and stay where they are",
    ),
    "answers": Source(
        _answers, "human questions -> written answers (OpenCQA, training split)", "GPL-3.0"
    ),
}
"""Every set of the mix by its name, which is also its file's."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the mix; 1 where a source that was named with ``--only`` cannot be read."""
    parse = argparse.ArgumentParser(prog="python -m recipes.mix")
    parse.add_argument("--out", type=Path, default=Path(".data/mix"), help="folder of the mix")
    default = os.environ.get("METAEMBED_DATA", "../shared/data")
    parse.add_argument("--data", type=Path, default=Path(default), help="the data folder, if any")
    parse.add_argument("--work", type=Path, help="folder of downloads (default: OUT/work)")
    parse.add_argument("--only", nargs="+", default=[], metavar="SET", help=", ".join(SOURCES))
    parse.add_argument("--limit", type=int, help="at most so many pairs a set")
    parse.add_argument("--seed", type=int, default=0, help="of --limit")
    given = parse.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    only = [name for names in given.only for name in names.split(",") if name]
    try:
        manifest = build_mix(
            given.out, data=given.data, work=given.work, only=only, limit=given.limit,
            seed=given.seed,
        )  # fmt: skip
    except DatasetError as error:
        logger.error("%s", error)
        return 1
    return 1 if set(only) & set(manifest["missing"]) or not manifest["sets"] else 0


if __name__ == "__main__":
    sys.exit(main())
