"""All sources -> the training sets of ``recipes/minilm``, one file a kind.

Every text passes the leak check of ``recipes/mini`` (evaluation documents, their near-duplicates
and queries), and so does it the same check against the documents of the validation questions; the
finished pairs pass both once more.
"""

from __future__ import annotations

import logging
import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from metaembed_rag.training.data import Example, Side, write_training_set
from metaembed_rag.training.examples import normalise
from recipes.mini.data import corpora
from recipes.mini.data.corpora import TexPage, TextSources
from recipes.mini.data.debian import download
from recipes.mini.data.handbooks import PACKAGES as HANDBOOKS
from recipes.mini.data.handbooks import is_prose, prepare_handbooks
from recipes.mini.data.leaks import EvaluationText, LeakCheck
from recipes.mini.pairs import span_pairs, stored_pairs, title_pairs
from recipes.minilm.data import faq, glossary
from recipes.minilm.data.cloze import Asked, cloze_pairs, heading_pairs
from recipes.minilm.data.finished import PairCheck
from recipes.minilm.data.guides import GNOME, prepare_guides
from recipes.minilm.data.guides import PACKAGES as GUIDES
from recipes.minilm.data.negatives import Neighbours
from recipes.minilm.data.wordnet import Words, read_words

T = TypeVar("T")

logger = logging.getLogger(__name__)

MAX_CHARACTERS, MAX_PIECES = 4000, 1000
_PIECE = re.compile(r"[^\W\d_]{1,7}|\d{1,3}|[^\w\s]|_")
"""About a word piece; names and code have more of them than English has."""


@dataclass(frozen=True)
class Counts:
    """At most how many examples of each kind.

    Args:
        title: TeX outline titles and their pages.
        section: Headings of handbooks and guides.
        span: A few words of TeX pages, for the vectors of words.
        passage: A few words of handbooks and guides, for the same.
        question: Questions made of sentences and headings.
        paraphrase: Sentences in other words.
        debian: Short and long package descriptions.
        dictionary: Entries of dictionaries.
        wordnet: Words and glosses.
    """

    title: int = 27_000
    section: int = 30_000
    span: int = 50_000
    passage: int = 42_000
    question: int = 30_000
    paraphrase: int = 25_000
    debian: int = 28_000
    dictionary: int = 20_000
    wordnet: int = 10_000


@dataclass(frozen=True)
class Packages:
    """Names of the Debian packages that the text comes from.

    Args:
        tex: With TeX documentation.
        handbooks: With handbooks and manuals in HTML or PDF.
        guides: More of these.
        gnome: With GNOME's help, or None.
        faqs: With answers to frequent questions.
        dictionaries: In dictd's format.
    """

    tex: tuple[str, ...] = corpora.TEX_PACKAGES
    handbooks: tuple[str, ...] = HANDBOOKS
    guides: tuple[str, ...] = GUIDES
    gnome: str | None = GNOME
    faqs: tuple[str, ...] = faq.PACKAGES
    dictionaries: tuple[str, ...] = glossary.PACKAGES


ALL = Packages()
FEW = Packages(
    tex=(),
    handbooks=("debian-reference-en",),
    guides=("debian-faq",),
    gnome=None,
    faqs=("debian-faq", "fetchmail"),
    dictionaries=("dict-devil", "dict-elements", "dict-vera"),
)
"""Small ones: enough to try every stage."""


def prepare(work: Path, data: Path, mini: Path | None = None, packages: Packages = ALL) -> None:
    """Download and extract every source; what is there already is kept.

    Args:
        work: Gets ``debs/`` and ``handbooks/``, and ``tex/`` where ``mini`` is None.
        data: The folder of the evaluation sets and of the lists of pairs.
        mini: The working folder of ``recipes.mini`` if its text is there already.
        packages: Where the text comes from.

    Raises:
        DatasetError: A download fails, or ``data`` lacks the lists of pages.
    """
    mini = mini or work
    corpora.prepare(mini, data, packages.tex)
    prepare_handbooks(mini, data, packages.handbooks)
    found = prepare_guides(work, data, packages.guides, packages.gnome)
    for package, report in found.items():
        logger.info("%s: %s", package, dict(report))
    for package in (*packages.faqs, *packages.dictionaries):
        _deb(package, work, mini)


def pairs(
    work: Path,
    data: Path,
    out: Path,
    *,
    mini: Path | None = None,
    held_out: HeldOut | None = None,
    counts: Counts | None = None,
    packages: Packages = ALL,
    seed: int = 0,
) -> dict[str, int]:
    """Write the training sets as JSON lines into ``out``, one file a kind.

    Args:
        work: The folder that :func:`prepare` filled.
        data: The folder of the evaluation sets.
        out: Gets ``<kind>.jsonl``.
        mini: As in :func:`prepare`.
        held_out: What belongs to the validation questions.
        counts: How many examples of each kind.
        packages: As in :func:`prepare`.
        seed: Of everything that is drawn.

    Returns:
        How many examples of each kind there are.

    Raises:
        DatasetError: Something is missing; run ``prepare`` first.
    """
    held_out = held_out or HeldOut()
    sources = Sources.read(work, data, mini or work, held_out, packages)
    check, written = PairCheck([LeakCheck.of_sets(data), held_out.check]), {}
    for kind, examples in training_sets(sources, counts or Counts(), seed=seed).items():
        fair = check.fair(examples)
        if fair:
            write_training_set(out / f"{kind}.jsonl", fair)
            written[kind] = len(fair)
        logger.info(
            "%s: %d examples, %d leaks left out", kind, len(fair), len(examples) - len(fair)
        )
    return written


@dataclass(frozen=True)
class HeldOut:
    """What belongs to the validation questions, and training leaves out.

    Args:
        document: Whether the document of a path does; by default none does.
        check: Of texts and queries against theirs.
    """

    document: Callable[[str], bool] = lambda path: False
    check: LeakCheck = field(default_factory=lambda: LeakCheck({}, {}))

    def holds(self, path: str, text: str, query: str = "") -> bool:
        """Whether a text, or a query for it, belongs to them."""
        if path and self.document(path):
            return True
        return bool(self.check.text(text) or (query and self.check.query(query)))


@dataclass(frozen=True)
class Sources:
    """The text that training sets are made of, without leaks and held-out documents."""

    text: TextSources
    faqs: list[faq.Answered]
    entries: list[glossary.Entry]
    words: Words

    @classmethod
    def read(
        cls, work: Path, data: Path, mini: Path, held_out: HeldOut, packages: Packages = ALL
    ) -> Sources:
        """Read what ``prepare`` left in ``work`` and ``mini``."""
        check = LeakCheck.of_sets(data)
        faqs = faq.read_faqs(_deb(name, work, mini) for name in packages.faqs)
        entries = glossary.read_entries(_deb(name, work, mini) for name in packages.dictionaries)
        return cls(
            _without(_texts(work, data, mini, check, packages), held_out),
            [one for one in faqs if _fair(check, held_out, one.document, one.answer, one.question)],
            [one for one in entries if _fair(check, held_out, "", one.text, one.word)],
            read_words(_deb(corpora.WORDNET_PACKAGE, work, mini)),
        )


def _texts(
    work: Path, data: Path, mini: Path, check: LeakCheck, packages: Packages = ALL
) -> TextSources:
    """The text of ``recipes.mini`` and the guides, each page once."""
    found = corpora.read_training_text(mini, data, packages.tex)
    if work == mini:
        return found
    pages = corpora.read_handbooks(work / "handbooks", EvaluationText(data))
    fair = [page for page in pages if check.text(page.text) is None]
    return replace(found, handbooks=list(_distinct([*found.handbooks, *fair])))


def _without(text: TextSources, held_out: HeldOut) -> TextSources:
    return TextSources(
        [page for page in text.tex if not held_out.holds(page.path, page.text)],
        *(
            [pair for pair in held if not held_out.holds("", pair[1], pair[0])]
            for held in (text.debian, text.opencqa, text.wordnet)
        ),
        [page for page in text.handbooks if not held_out.holds(page.path, page.text)],
    )


def _fair(check: LeakCheck, held_out: HeldOut, path: str, text: str, query: str) -> bool:
    leaks = check.text(text) or check.query(query)
    return not (leaks or held_out.holds(path, text, query))


def training_sets(sources: Sources, counts: Counts, *, seed: int = 0) -> dict[str, list[Example]]:
    """Every set by its name; one without any text is left out."""
    text = sources.text
    pages = [page for page in text.tex if is_prose(page.text)] + text.handbooks
    near = Neighbours((page.path, page.text) for page in [*text.tex, *text.handbooks])
    pages = _some(pages, 2 * max(counts.question, counts.paraphrase), seed)
    cloze = cloze_pairs(pages, sources.words, f"{seed} cloze")
    headings = heading_pairs(text.handbooks, sources.words, f"{seed} heading")
    asked = [one for one in cloze if one.kind == "question"]
    other = [one for one in cloze if one.kind == "paraphrase"]
    drawn: dict[str, list[Example]] = {
        "faq": [_example(one.question, one.answer) for one in sources.faqs],
        "title": _some(title_pairs(text.tex, f"{seed} title"), counts.title, seed),
        "section": _some(title_pairs(text.handbooks, f"{seed} section"), counts.section, seed),
        "span": _some(span_pairs(text.tex, f"{seed} span"), counts.span, seed),
        "passage": _some(span_pairs(text.handbooks, f"{seed} passage"), counts.passage, seed),
        "question": _with_negatives(_some(headings + asked, counts.question, seed), near),
        "paraphrase": _with_negatives(_some(other, counts.paraphrase, seed), near),
        "dictionary": _dictionary(sources, counts.dictionary, seed),
        "debian": _some(stored_pairs(text.debian, f"{seed} debian"), counts.debian, seed),
        "wordnet": _some(
            stored_pairs(text.wordnet, f"{seed} wordnet", swapped=0.5), counts.wordnet, seed
        ),
        "opencqa": stored_pairs(text.opencqa, f"{seed} opencqa"),
    }
    return {name: consistent(examples) for name, examples in drawn.items() if examples}


def consistent(examples: Iterable[Example]) -> list[Example]:
    """Bounded examples without those that lack a side, and without negatives that answer."""
    bound = [
        _bounded(one) for one in examples if one.query.text.strip() and one.positive.text.strip()
    ]
    answers: dict[str, set[str]] = defaultdict(set)
    for one in bound:
        answers[normalise(one.query.text)].add(normalise(one.positive.text))
    return [
        replace(
            one,
            negatives=tuple(
                side
                for side in one.negatives
                if normalise(side.text) not in answers[normalise(one.query.text)]
            ),
        )
        for one in bound
    ]


def _dictionary(sources: Sources, count: int, seed: int) -> list[Example]:
    large = [one for one in sources.entries if one.source in ("gcide", "vera")]
    small = [one for one in sources.entries if one.source not in ("gcide", "vera")]
    chosen = _some(small, 2 * count // 3, seed)
    chosen = chosen + _some(large, count - len(chosen), seed)
    drawn = glossary.entry_pairs(chosen, sources.words, f"{seed} dictionary")
    return [_example(query, text) for _, query, text in drawn]


def _with_negatives(asked: Iterable[Asked], near: Neighbours) -> list[Example]:
    return [
        _example(
            one.query, one.text, near.hardest(one.page.path, one.query, (one.page.text, one.text))
        )
        for one in asked
    ]


def _example(query: str, text: str, negative: str | None = None) -> Example:
    wrong = () if negative is None or negative == text else (Side(negative),)
    return Example(Side(query.strip()), Side(text.strip()), wrong)


def _some(rows: Sequence[T], count: int, seed: int) -> list[T]:
    """``count`` of the rows in their order, drawn by the seed."""
    if len(rows) <= count:
        return list(rows)
    kept = sorted(random.Random(f"{seed} {len(rows)}").sample(range(len(rows)), count))
    return [rows[i] for i in kept]


def _bounded(example: Example) -> Example:
    positive = bounded(example.positive.text)
    wrong = (bounded(side.text) for side in example.negatives)
    negatives = tuple(Side(text) for text in wrong if text != positive)
    return Example(example.query, Side(positive), negatives)


@lru_cache(maxsize=20_000)  # pages are positives of some examples and negatives of others
def bounded(text: str) -> str:
    """The start of a text, at most 4,000 characters and about 1,000 word pieces."""
    text = text[:MAX_CHARACTERS]
    if len(text) < MAX_PIECES:
        return text
    for number, found in enumerate(_PIECE.finditer(text), 1):
        if number > MAX_PIECES:
            return text[: found.start()].rstrip()
    return text


def _distinct(pages: Iterable[TexPage]) -> Iterator[TexPage]:
    seen: set[str] = set()
    for page in pages:
        if page.text not in seen:
            seen.add(page.text)
            yield page


def _deb(package: str, work: Path, mini: Path) -> Path:
    """The package in either folder, fetched into the first if it is in neither."""
    found = sorted((mini / "debs").glob(f"{package}_*.deb"))
    return found[-1] if found else download(package, work / "debs")
