"""How often a readable text layer is taken for an unreadable one, and a cipher for a text.

    python -m benchmarks.quality.text_layers FOLDER... --each 12 --ocr
    python -m benchmarks.quality.text_layers FOLDER... --catalogs /usr/share/locale

Pages of real PDFs are what should not be in doubt; the same pages with every letter moved through
the alphabet, and with letters replaced at random, are what should. ``--ocr`` reads the pages in
doubt, as an index does, and counts those whose text it would replace. ``--catalogs`` are folders of
translated messages (``*/LC_MESSAGES/*.mo``), taken 2,000 characters at a time, one row a language.
"""

from __future__ import annotations

import argparse
import gettext
import json
import random
import string
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import results
from metaembed_rag.errors import PageError
from metaembed_rag.pages import Page, list_files, load_pages
from metaembed_rag.pages.legibility import looks_enciphered
from metaembed_rag.pages.ocr import read_text
from metaembed_rag.pages.reading import completed

CLAIM = "Text layers of real PDFs in doubt, and ciphers that are not."
_PIECE = 2_000
_FEWEST_WORDS = 20


def pages_of(folders: Iterable[Path], each: int) -> Iterator[Page]:
    """At most ``each`` pages of every PDF, evenly spread."""
    for path in list_files(folders):
        if path.suffix.lower() != ".pdf":
            continue
        errors: list[PageError] = []
        for page in load_pages(path, on_skip=errors.append):
            step = max(1, (page.page_count or 1) // each)
            if page.number % step == 1 or step == 1:
                yield page


def measure(pages: Iterable[Page], *, ocr: bool = False) -> dict[str, Any]:
    """Count pages by why they are unread, and ciphers of them by whether they are noticed."""
    rng = random.Random(0)
    found: Counter[str] = Counter()
    doubted: list[str] = []
    for page in pages:
        found["pages"] += 1
        if page.unread:
            found[page.unread] += 1
            doubted.append(f"{page.unread}: {Path(page.source).name}#{page.number}")
        if page.unread in ("cipher", "undecodable") and ocr and page.image is not None:
            replaced = completed(page, read_text(page.image)).text_from_ocr
            found["replaced"] += replaced
        if len(page.text.split()) >= 2 * _FEWEST_WORDS and not page.unread:
            found["enciphered"] += 2
            found["noticed"] += looks_enciphered(page.text.translate(shift(rng)))
            found["noticed"] += looks_enciphered(page.text.translate(substitution(rng)))
    return {**found, "in_doubt": doubted}


def shift(rng: random.Random) -> dict[int, str]:
    """Every letter moved by the same number of places."""
    by = rng.randrange(1, 26)
    return _table(string.ascii_lowercase[by:] + string.ascii_lowercase[:by])


def substitution(rng: random.Random) -> dict[int, str]:
    """Every letter replaced by another one."""
    letters = list(string.ascii_lowercase)
    rng.shuffle(letters)
    return _table("".join(letters))


def _table(to: str) -> dict[int, str]:
    return str.maketrans(string.ascii_letters, to + to.upper())


def languages(folders: Iterable[Path]) -> dict[str, dict[str, int]]:
    """Pieces of translated messages, and how many are in doubt, by language."""
    messages: dict[str, list[str]] = defaultdict(list)
    for folder in folders:
        for path in sorted(folder.glob("*/LC_MESSAGES/*.mo")):
            with path.open("rb") as file:
                try:
                    catalog = vars(gettext.GNUTranslations(file))["_catalog"]
                except (OSError, ValueError, LookupError):  # a damaged catalog
                    continue
            messages[path.parts[-3]] += [v for k, v in catalog.items() if k and isinstance(v, str)]
    found = {}
    for language, texts in sorted(messages.items()):
        text = " ".join(texts)
        pieces = [text[at : at + _PIECE] for at in range(0, len(text) - _PIECE, _PIECE)]
        found[language] = {"pieces": len(pieces), "in_doubt": sum(map(looks_enciphered, pieces))}
    return found


def main() -> None:
    """Read the command line, measure, print one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER")
    parser.add_argument("--each", type=int, default=12, help="pages of a PDF, at most")
    parser.add_argument("--ocr", action="store_true", help="read the pages in doubt")
    parser.add_argument("--catalogs", nargs="*", type=Path, default=[], metavar="FOLDER")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    given = parser.parse_args()
    numbers = measure(pages_of(given.folders, given.each), ocr=given.ocr)
    if given.catalogs:
        numbers["languages"] = languages(given.catalogs)
    print(json.dumps(numbers, indent=1))
    if given.json:
        results.write(given.json, CLAIM, numbers)


if __name__ == "__main__":
    main()
