"""Dictionaries: what a word means, and which word something is called.

Entries ask in four ways: "what is X" for the entry, its definition without the word for the entry,
its first sentence for the rest, and the word itself.
"""

from __future__ import annotations

import gzip
import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from recipes.mini.data.debian import deb_files
from recipes.minilm.data.questions import paraphrase, sentences
from recipes.minilm.data.wordnet import Words

PACKAGES = ("dict-gcide", "dict-foldoc", "dict-jargon", "dict-vera", "dict-elements", "dict-devil")
"""GPL-3+ (GCIDE), GFDL (FOLDOC, V.E.R.A.), public domain (Jargon File, Elements, Devil's)."""

MAX_CHARACTERS = 3000
_MIN_CHARACTERS = {"gcide": 160, "vera": 25}
_SHORTEST, _LEAST_LEFT, _FEWEST_WORDS = 80, 60, 5

_ASKED = ("what is {}", "what does {} mean", "{} meaning", "define {}", "explain {}", "{}")
_ABBREVIATION = ("what does {} stand for", "{} abbreviation", "meaning of {}", "{}")
_MARKS = re.compile(
    r"\[(1913 Webster|WordNet [\d.]+|PJC|Webster[^]]*|AS|Century[^]]*|R\.|Obs\."
    r"|[^]]{1,30}PJC[^]]*)\]"
    r"|\\[^\\\n]{1,60}\\|[{}]|<[\w ,]+>|\((19|20)\d\d-\d\d-\d\d\)|--[A-Z][\w. ]+(?=\s\s|$)"
)


@dataclass(frozen=True)
class Entry:
    """A headword and its article, on one line, from the dictionary ``source``."""

    source: str
    word: str
    text: str


def read_entries(debs: Iterable[Path]) -> list[Entry]:
    """The entries of dictionaries in dictd's format, without those too short to say anything.

    Raises:
        DatasetError: A package cannot be read.
    """
    return [
        entry
        for deb in debs
        for path, content in deb_files(deb, ".dict.dz")
        for entry in parse_entries(Path(path).name.split(".")[0], _decode(gzip.decompress(content)))
    ]


def parse_entries(source: str, text: str) -> Iterator[Entry]:
    """The entries of one dictionary: a headword starts a line, except in lists of elements."""
    split = r"\n\s*\n(?=\S)" if source in ("elements", "devil") else r"^(?=\S)"
    fewest = _MIN_CHARACTERS.get(source, _SHORTEST)
    for found in re.split(split, text, flags=re.MULTILINE):
        head, _, body = found.strip().partition("\n")
        if source == "devil":
            head, _, start = head.partition(",")
            body = f"{start.partition('.')[2]}\n{body}"
            head = head.lower()
        word = re.split(r"\s*\\|\s{2,}|;", head)[0].strip()
        body = " ".join(
            _MARKS.sub(" ", re.sub(r"\n\s*\[[^]\n]{1,40}\]\s*(?=\n|$)", "\n", body)).split()
        )
        body = re.sub(r" (?=[,.;:)])", "", body)[:MAX_CHARACTERS]
        if 1 < len(word) <= 60 and not word.startswith("00-") and len(body) >= fewest:
            yield Entry(source, word, body)


def entry_pairs(
    entries: Iterable[Entry], words: Words, seed: str
) -> Iterator[tuple[Entry, str, str]]:
    """Entry, query and text of one pair for each entry; the kind is drawn by the seed."""
    for i, entry in enumerate(entries):
        rng = random.Random(f"{seed} {i}")
        query, text = _asked(entry, words, rng)
        if query and text:
            yield entry, query, text


def _asked(entry: Entry, words: Words, rng: random.Random) -> tuple[str, str]:
    article = f"{entry.word}: {entry.text}"
    if entry.source == "vera":
        return rng.choice(_ABBREVIATION).format(entry.word), article
    said = [one for one in sentences(entry.text) if len(one.split()) >= _FEWEST_WORDS]
    kind = rng.random()
    if kind < 0.25 or not said:
        return rng.choice(_ASKED).format(entry.word), article
    described = kind < 0.6 or len(said) < 3
    chosen = said[0] if described else rng.choice(said[:3])
    kept = described and rng.random() < 0.5
    left = "" if kept else " ".join(entry.text.replace(chosen, " ").split())
    if described:
        chosen = re.sub(rf"\b{re.escape(entry.word)}\w*", "", chosen, flags=re.IGNORECASE)
    text = f"{entry.word}: {left}" if len(left) >= _LEAST_LEFT else article
    return paraphrase(chosen, words, rng), text


def _decode(content: bytes) -> str:
    return content.decode("utf-8", "replace")
