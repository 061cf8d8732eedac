"""A few words of WordNet, as a package and read."""

from __future__ import annotations

from recipes.minilm.data.wordnet import Words
from tests.recipes.builders import deb

WORDS = Words(
    {"folder": ("directory",), "remove": ("take away",)},
    ["install", "print", "remove", "run", "use", "write", "set", "open", "copy", "change"],
)

_SENSES = {
    "noun": "00000001 06 n 03 folder 0 directory 0 binder 0 000 | where files are  \n",
    "verb": "00000002 30 v 02 remove 0 take_away 0 000 | take something away  \n",
}
_NOUNS = ("folder n 1 0 1 1 00000001", "directory n 1 0 1 1 00000001", "file n 1 0 1 1 00000001")
_VERBS = (
    "remove v 1 0 1 1 00000002",
    "take_away v 1 0 1 1 00000002",
    "file v 3 0 3 1 00000002 00000002 00000002",
)
_FILES = {
    "data.noun": "  1 a licence\n" + _SENSES["noun"],
    "data.verb": _SENSES["verb"],
    "index.noun": "\n".join(("  1 a licence", *_NOUNS, "")),
    "index.verb": "\n".join((*_VERBS, "")),
}


def wordnet_deb(folder):
    return deb(
        folder, "wordnet-base", {f"usr/share/wordnet/{name}": text for name, text in _FILES.items()}
    )
