"""WordNet -> names of ImageNet's classes, and the broader terms above them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metaembed_rag.errors import DatasetError

MOST_NAMES = 3
"""Names of a class that are kept: WordNet lists Latin ones last."""

_TOO_WIDE = (
    "abstraction, act, activity, artifact, attribute, causal agent, commodity, consumer goods, "
    "container, conveyance, covering, device, entity, event, group, instrumentality, living thing, "
    "matter, measure, natural object, object, organism, part, physical entity, relation, solid, "
    "substance, thing, vertebrate, whole"
)
TOO_WIDE = frozenset(_TOO_WIDE.split(", "))
"""Terms that say nothing of what a photo shows."""


@dataclass(frozen=True)
class Synset:
    """A meaning in WordNet.

    Attributes:
        names: Its words.
        counts: How often each word was met with this meaning in WordNet's tagged texts.
        above: Identifiers of the meanings one step broader.
    """

    names: tuple[str, ...]
    counts: tuple[int, ...]
    above: tuple[str, ...]

    @property
    def usual(self) -> str:
        """The word met most often; the first of several."""
        return self.names[self.counts.index(max(self.counts))]


def read_nouns(data: str, counts: str) -> dict[str, Synset]:
    """Meanings of nouns by their eight digits.

    Args:
        data: WordNet's ``data.noun``.
        counts: WordNet's ``cntlist.rev``.
    """
    met = {key: int(count) for key, _, count in map(str.split, counts.splitlines())}
    lines = (line for line in data.splitlines() if line[:1].isdigit())
    return dict(_synset(line.split(" | ")[0].split(), met) for line in lines)


def _synset(fields: Sequence[str], met: Mapping[str, int]) -> tuple[str, Synset]:
    """A line as ``wndb(5WN)`` has it: offset, file, type, words and their numbers, pointers."""
    number = int(fields[3], 16)
    words = [(fields[4 + 2 * k], int(fields[5 + 2 * k], 16)) for k in range(number)]
    keys = [f"{word.lower()}%1:{fields[1]}:{sense:02d}::" for word, sense in words]
    start = 4 + 2 * number
    pointers = [
        fields[at : at + 4] for at in range(start + 1, start + 1 + 4 * int(fields[start]), 4)
    ]
    return fields[0], Synset(
        names=tuple(word.replace("_", " ") for word, _ in words),
        counts=tuple(met.get(key, 0) for key in keys),
        above=tuple(to for kind, to, part, _ in pointers if kind in ("@", "@i") and part == "n"),
    )


def vocabulary(nouns: Mapping[str, Synset], classes: Sequence[str]) -> dict[str, Any]:
    """What the package keeps: ``labels``, names by class, and ``broader``, terms with classes.

    A broader term is kept where people use it: it occurs in WordNet's tagged texts.

    Args:
        nouns: See :func:`read_nouns`.
        classes: Identifiers such as ``"n02099601"``, in the network's order.

    Raises:
        DatasetError: WordNet lacks one: it is of another version than 3.0.
    """
    under: dict[str, list[int]] = defaultdict(list)
    for number, name in enumerate(classes):
        if name[1:] not in nouns:
            raise DatasetError(f"WordNet has no {name}: take version 3.0")
        for term in set(_above(nouns, name[1:])):
            under[term].append(number)
    kept = {term: found for term, found in under.items() if _is_of_use(nouns[term])}
    return {
        "labels": [list(nouns[name[1:]].names[:MOST_NAMES]) for name in classes],
        "broader": [{"name": nouns[term].usual, "classes": kept[term]} for term in sorted(kept)],
    }


def _is_of_use(term: Synset) -> bool:
    return max(term.counts) > 0 and term.names[0] not in TOO_WIDE


def _above(nouns: Mapping[str, Synset], term: str) -> Iterator[str]:
    for broader in nouns[term].above:
        yield broader
        yield from _above(nouns, broader)
