"""WordNet's words: synonyms for paraphrase, and the base form of a word in ``-ing``."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Container, Iterable, Mapping
from pathlib import Path

from recipes.mini.data.debian import deb_files

_MOST_WORDS_OF_SENSE = 6
_PARTS = ("noun", "verb", "adj", "adv")


class Words:
    """Which words mean about the same, by the commonest sense of each.

    Args:
        synonyms: For each word the other words of its commonest sense.
        verbs: Verbs in their base form.
    """

    def __init__(self, synonyms: Mapping[str, tuple[str, ...]], verbs: Iterable[str]) -> None:
        self._synonyms, self._verbs = synonyms, frozenset(verbs)

    def synonyms(self, word: str) -> tuple[str, ...]:
        """Other words for a word in lower case; none where the word is ambiguous or unknown."""
        found = self._synonyms.get(word, ())
        if found or not word.endswith("s") or word.endswith("ss"):
            return found
        return tuple(f"{one}s" for one in self._synonyms.get(word[:-1], ()) if one[-1] not in "syx")

    def is_verb(self, word: str) -> bool:
        """Whether a word in lower case is the base form of a verb."""
        return word in self._verbs

    def base_form(self, word: str) -> str | None:
        """``"installing"`` -> ``"install"``; None where no verb is known for it."""
        if not word.endswith("ing") or len(word) < 5:
            return None
        stem = word[:-3]
        doubled = len(stem) > 2 and stem[-1] == stem[-2] and stem[-1] not in "sl"
        candidates = ([stem[:-1]] if doubled else []) + [stem, f"{stem}e", stem[:-1]]
        silent = bool(re.fullmatch(r".*[^aeiou][aeiou](s|z|v|c|g|u)|.*[aeiou]t", stem))
        if silent:
            candidates.insert(0, f"{stem}e")
        return next((one for one in candidates if one in self._verbs), None)


def read_words(deb: Path) -> Words:
    """The synonyms and verbs of the package ``wordnet-base``.

    A word that several parts of speech share is replaced only where one of them has most of its
    senses; otherwise a verb's synonyms would replace a noun. Words that nobody uses (no sense
    of them stands in WordNet's concordance) replace none.
    """
    files = {
        path.rpartition("/")[2]: content.decode("latin-1")
        for path, content in deb_files(deb, "")
        if re.search(r"/wordnet/(data|index)\.(noun|verb|adj|adv)$", path)
    }
    senses: dict[str, list[tuple[int, tuple[str, ...]]]] = defaultdict(list)
    verbs, used = [], set()
    for part in _PARTS:
        words_of = _words_of_senses(files.get(f"data.{part}", ""))
        for line in files.get(f"index.{part}", "").splitlines():
            if line.startswith(" "):
                continue
            word, _, count, *rest = line.split()
            number = int(count)
            if int(rest[-number - 1]):  # senses that were found in a body of text
                used.add(word)
            if "_" not in word:
                senses[word].append((number, words_of.get(rest[-number], ())))
                verbs += [word] if part == "verb" else []
    found = {word: _clear(word, senses[word], used) for word in senses}
    return Words({word: others for word, others in found.items() if others}, verbs)


def _words_of_senses(data: str) -> dict[str, tuple[str, ...]]:
    found = {}
    for line in data.splitlines():
        fields = line.split(" | ", 1)[0].split()
        if not line.startswith("  ") and len(fields) > 4:
            words = [fields[4 + 2 * i].split("(")[0] for i in range(int(fields[3], 16))]
            found[fields[0]] = tuple(words[:_MOST_WORDS_OF_SENSE])
    return found


def _clear(
    word: str, senses: list[tuple[int, tuple[str, ...]]], used: Container[str]
) -> tuple[str, ...]:
    """Synonyms of the part of speech that has at least three quarters of the word's senses."""
    count, words = max(senses)
    if 4 * count < 3 * sum(number for number, _ in senses):
        return ()
    known = (one for one in words if one.lower() in used and one.count("_") < 2)
    others = (one.replace("_", " ") for one in known)
    return tuple(one for one in others if one.lower() != word and one.islower())
