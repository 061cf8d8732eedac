"""Debian's manual pages as retrieval: the one-line description asks for the page.

From the text of a page its NAME section is removed, which holds the name and the very description
that is the query; so are the sections that all pages of a project share (authors, copyright,
reporting bugs, see also), and the description itself wherever the text repeats it word for word.
The page's name stays where the text uses it: the query does not hold it.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from metaembed_rag.errors import DatasetError
from metaembed_rag.evaluation import Dataset, Query
from metaembed_rag.pages import Page
from metaembed_rag.training.examples import normalise
from recipes.mini.data.debian import deb_files
from recipes.mini.data.roff import ManualPage, read_manual_page
from recipes.mini.data.rows import write_dataset

PACKAGES = (
    "btrfs-progs", "coreutils", "cryptsetup-bin", "debhelper", "dpkg", "dpkg-dev", "e2fsprogs",
    "git-man", "iproute2", "libssl-doc", "libx11-doc", "lvm2", "manpages", "manpages-dev",
    "ncurses-doc", "netpbm", "openssl", "passwd", "perl-doc", "procps", "systemd", "util-linux",
    "x11-apps", "xfsprogs",
)  # fmt: skip
"""Where the pages are from: 41 MB of Debian packages, none of which ``mini`` was trained on."""

MAX_CHARACTERS = 3000
_MIN_CHARACTERS = 200
_MIN_WORDS = 2
_HELD_OUT = {"test": 40, "dev": 20}
"""Of 256 names, by hash."""

_SHARED_SECTIONS = re.compile(
    r"name|authors?|maintainers?|contributors|acknowledge?ments?|credits|copyright|licen[cs]e"
    r"|(reporting )?bugs?( reports?)?|see also|colophon|availability|support|git|version"
    r"|document history|copyright and licen[cs]e|authors? and copyright|resources",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Manual:
    """One manual page as a retrieval pair.

    Attributes:
        id: Name and section: ``"strcpy.3"``.
        query: Its one-line description.
        text: The rest of it, at most 3,000 characters.
    """

    id: str
    query: str
    text: str

    @property
    def part(self) -> str:
        """``"test"``, ``"dev"`` or ``"train"``: by its name, so all sections of a name agree."""
        name = self.id.rpartition(".")[0].lower()
        byte = hashlib.sha256(name.encode()).digest()[0]
        for part, share in _HELD_OUT.items():
            if byte < share:
                return part
            byte -= share
        return "train"


def read_manuals(debs: Iterable[Path], removed: Counter[str]) -> list[Manual]:
    """The manual pages of ``.deb`` files, each text once, in their order.

    Args:
        debs: The packages.
        removed: Is told how many pages were left out, by reason.

    Raises:
        DatasetError: A package cannot be read.
    """
    kept: dict[str, Manual] = {}
    texts: set[str] = set()
    for page in _manual_pages(debs, removed):
        manual = as_pair(page)
        text = normalise(manual.text)
        if len(manual.text) < _MIN_CHARACTERS or len(manual.query.split()) < _MIN_WORDS:
            removed["too short"] += 1
        elif manual.id in kept or text in texts:
            removed["a page like another"] += 1
        else:
            kept[manual.id] = manual
            texts.add(text)
    return list(kept.values())


def _manual_pages(debs: Iterable[Path], removed: Counter[str]) -> Iterator[ManualPage]:
    for deb in debs:
        for path, packed in deb_files(deb, ".gz"):
            match = re.search(r"/usr/share/man/man\d\w*/([^/]+)\.(\d\w*)\.gz$", path)
            if match:
                page = read_manual_page(_decode(packed), name=match[1], section=match[2])
                if page is None:
                    removed["no page of its own in man(7)"] += 1
                else:
                    yield page


def _decode(packed: bytes) -> str:
    source = gzip.decompress(packed)
    try:
        return source.decode()
    except UnicodeDecodeError:
        return source.decode("latin-1")


def as_pair(page: ManualPage) -> Manual:
    """Query and text of a page, with what would give the answer away removed from the text."""
    kept = (text for heading, text in page.sections if not _SHARED_SECTIONS.fullmatch(heading))
    words = re.findall(r"[^\W_]+", page.description)
    text = " ".join(kept)
    if words:
        repeated = r"\b" + r"[\W_]+".join(map(re.escape, words)) + r"\b"
        text = re.sub(repeated, "", text, flags=re.IGNORECASE)
    text = " ".join(text.split())[:MAX_CHARACTERS]
    return Manual(f"{page.name}.{page.section}", page.description, text)


def split_manuals(manuals: Sequence[Manual], removed: Counter[str]) -> dict[str, list[Manual]]:
    """Test, dev and training part, without a description that stands in two of them.

    Args:
        manuals: All pages.
        removed: Is told how many pages were left out because the test or dev part asks the same.
    """
    parts: dict[str, list[Manual]] = {}
    asked: set[str] = set()
    for part in (*_HELD_OUT, "train"):
        parts[part] = [
            manual
            for manual in manuals
            if manual.part == part and normalise(manual.query) not in asked
        ]
        asked |= {normalise(manual.query) for manual in parts[part]}
    left = len(manuals) - sum(map(len, parts.values()))
    removed["asks what a held-out page asks"] = left
    return parts


def write_test_set(folder: Path, manuals: Sequence[Manual]) -> Mapping[str, int]:
    """Write held-out pages as a folder in BEIR layout.

    Pages with the same description answer the same query.

    Returns:
        How many ``pages`` and ``queries`` there are.

    Raises:
        DatasetError: There are no pages.
    """
    if not manuals:
        raise DatasetError(f"{folder}: no manual page is held out; name more packages")
    asking: dict[str, list[Manual]] = {}
    for manual in manuals:
        asking.setdefault(normalise(manual.query), []).append(manual)
    groups = list(asking.values())
    dataset = Dataset(
        folder.name,
        tuple(Page(manual.id, text=manual.text, id=manual.id) for manual in manuals),
        tuple(Query(f"q-{group[0].id}", group[0].query) for group in groups),
        {f"q-{group[0].id}": {manual.id: 1 for manual in group} for group in groups},
    )
    write_dataset(folder, dataset)
    return {"pages": len(manuals), "queries": len(groups)}
