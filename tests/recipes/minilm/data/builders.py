"""A few words of WordNet, as a package and read."""

from __future__ import annotations

from recipes.minilm.data.wordnet import Words
from tests.recipes.builders import deb

WORDS = Words(
    {"folder": ("directory",), "remove": ("take away",)},
    ["install", "print", "remove", "run", "use", "write", "set", "open", "copy", "change"],
)

_NOUNS = "00000001 06 n 02 folder 0 directory 0 000 | where files are  \n"
_VERBS = "00000002 30 v 02 remove 0 take_away 0 000 | take something away  \n"
_FILES = {
    "data.noun": "  1 a licence\n" + _NOUNS,
    "index.noun": "  1 a licence\nfolder n 1 0 1 1 00000001\nfile n 1 0 1 1 00000001\n",
    "data.verb": _VERBS,
    "index.verb": "remove v 1 0 1 1 00000002\nfile v 3 0 3 1 00000002 00000002 00000002\n",
}


def wordnet_deb(folder):
    return deb(
        folder, "wordnet-base", {f"usr/share/wordnet/{name}": text for name, text in _FILES.items()}
    )
