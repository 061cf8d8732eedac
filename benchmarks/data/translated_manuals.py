"""Debian's manual pages in several languages as evaluation sets: same page, other language.

    mkdir -p .data/debs && (cd .data/debs && apt-get download manpages-de manpages-de-dev \
        manpages-fr manpages-fr-dev manpages-es manpages-zh manpages-ja manpages manpages-dev \
        coreutils util-linux dpkg e2fsprogs passwd procps systemd iproute2)
    python -m benchmarks.data.translated_manuals .data/debs --out .data/translated_manuals

writes one folder in BEIR layout a language and part: ``test/de`` has German pages and asks for each
by the German description of its NAME section; ``test/en-de`` asks for the same pages by the English
descriptions. ``validation/...`` has other pages: names are divided by hash, so that no name is in
both parts in any language. English, German and French have the same pages; the other languages have
theirs.

What gives the answer away is not in a page's text: its NAME section, the description wherever the
text repeats it, and sections that all pages share (authors, copyright, see also, translation).
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import random
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from metaembed_rag.evaluation import Dataset, Query
from metaembed_rag.pages import Page
from recipes.mini.data.debian import deb_files
from recipes.mini.data.manuals import Manual, as_pair
from recipes.mini.data.roff import ManualPage, read_manual_page
from recipes.mini.data.rows import write_dataset

PAGES = 350
"""At most so many of a language and part."""
SHARED = ("en", "de", "fr")
"""Languages that have the same pages."""
_LEAST_CHARACTERS = 200
_MOST_CHARACTERS = 3000
_LEAST_DESCRIPTION = {"zh": 3, "ja": 3}
_FOLDERS = {"": "en", "de": "de", "fr": "fr", "es": "es", "zh_CN": "zh", "ja": "ja"}
"""Of translations below ``/usr/share/man``."""

_NAME = {
    "en": "NAME",
    "de": "BEZEICHNUNG|NAME",
    "fr": "NOM",
    "es": "NOMBRE",
    "zh": r"(NAME)?\W*(名称|名字|命令名)?\W*",
    "ja": "名前|名称|NAME",
}
_SHARED_SECTIONS = re.compile(
    r"autor(en)?|fehler( melden)?|copyright|siehe auch|übersetzung|kolophon|lizenz|verfügbarkeit"
    r"|auteurs?|bogues|signaler des bogues|voir aussi|traduction|colophon|licence|disponibilité"
    r"|autor(es)?|véase también|errores|informar de errores|traducción|licencia"
    r"|.*(作者|版权|版權|参见|另见|参考|bug|汉化|中文版|跋|著者|著作権|関連項目|バグ|翻訳|この文書).*",
    re.IGNORECASE,
)


def read_language(debs: Iterable[Path], language: str) -> dict[str, Manual]:
    """The pages of a language by name and section, each text and each description once."""
    found: dict[str, Manual] = {}
    seen: set[str] = set()
    for page in _pages(debs, language):
        manual = _pair(page)
        least = _LEAST_DESCRIPTION.get(language, 12)
        is_new = not {manual.query.casefold(), manual.text} & seen
        if len(manual.text) >= _LEAST_CHARACTERS and len(manual.query) >= least and is_new:
            found.setdefault(manual.id, manual)
            seen |= {manual.query.casefold(), manual.text}
    return found


def _pages(debs: Iterable[Path], language: str) -> Iterator[ManualPage]:
    for deb in debs:
        for path, packed in deb_files(deb, ".gz"):
            match = re.search(r"/usr/share/man/(?:(\w+)/)?man\d\w*/([^/]+)\.(\d\w*)\.gz$", path)
            if match and _FOLDERS.get(match[1] or "") == language:
                source = gzip.decompress(packed).decode(errors="replace")
                page = read_manual_page(
                    source, name=match[2], section=match[3], heading=_NAME[language]
                )
                if page is not None:
                    yield page


def _pair(page: ManualPage) -> Manual:
    """Query and text, without sections that all pages share and without the description."""
    kept = [(name, text) for name, text in page.sections if not _SHARED_SECTIONS.fullmatch(name)]
    pair = as_pair(ManualPage(page.name, page.section, page.names, page.description, tuple(kept)))
    text = pair.text.replace(page.description, "")[:_MOST_CHARACTERS]
    return Manual(pair.id, pair.query, text)


def part_of(id: str) -> str:
    """``"test"`` or ``"validation"``, by the page's name without its section."""
    name = id.rpartition(".")[0].lower()
    return "test" if hashlib.sha256(name.encode()).digest()[0] < 128 else "validation"


def make_sets(manuals: dict[str, dict[str, Manual]], out: Path, pages: int = PAGES) -> None:
    """Write every language's folders.

    Args:
        manuals: The pages of each language by id.
        out: The folder to write below.
        pages: At most so many of a language and part.
    """
    common = set.intersection(*(set(manuals[language]) for language in SHARED))
    for language, of_language in manuals.items():
        known = common if language in SHARED else set(of_language)
        for part in ("validation", "test"):
            drawn = sorted(id for id in known if part_of(id) == part)
            random.Random(0).shuffle(drawn)
            chosen = [of_language[id] for id in sorted(drawn[:pages])]
            _write(out / part / language, chosen, chosen)
            if language in SHARED and language != "en":
                asked = [manuals["en"][manual.id] for manual in chosen]
                _write(out / part / f"en-{language}", asked, chosen)


def _write(folder: Path, asking: Sequence[Manual], answering: Sequence[Manual]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    dataset = Dataset(
        folder.name,
        tuple(Page(manual.id, text=manual.text, id=manual.id) for manual in answering),
        tuple(Query(f"q-{manual.id}", manual.query) for manual in asking),
        {f"q-{manual.id}": {manual.id: 1} for manual in asking},
    )
    write_dataset(folder, dataset)
    print(f"{folder}: {len(answering)} pages", file=sys.stderr)


def main() -> None:
    """Read the command line and make the folders."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("debs", type=Path, help="the folder of the packages")
    parser.add_argument("--out", type=Path, required=True, help="the folder to make")
    parser.add_argument("--pages", type=int, default=PAGES, help="of a language and part")
    given = parser.parse_args()
    debs = sorted(given.debs.glob("*.deb"))
    manuals = {language: read_language(debs, language) for language in _NAME}
    make_sets(manuals, given.out, given.pages)


if __name__ == "__main__":
    main()
