"""Debian's package descriptions: the short one asks for the long one."""

from __future__ import annotations

import getpass
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from metaembed_rag.errors import DatasetError
from metaembed_rag.training.examples import normalise
from recipes.mini.data.corpora import Pair

_HELPER = "/usr/lib/apt/apt-helper"
_LISTS = Path("/var/lib/apt/lists")
_MIN_CHARACTERS = 80


def read_descriptions(folder: Path, lists: Path = _LISTS) -> list[Pair]:
    """Short and long description of Debian's packages, one of those that begin alike.

    The machine's own lists are read where they hold the descriptions; where apt was told to fetch
    none (as in container images), lists of 16 MB are fetched into ``folder`` without touching the
    machine's.

    Raises:
        DatasetError: This is no Debian, or the mirror cannot be reached.
    """
    if shutil.which("apt-get") is None:
        raise DatasetError("the descriptions come from Debian's package lists: run this on Debian")
    found = _translations(lists) or _translations(_fetch(folder))
    if not found:
        raise DatasetError("apt has no list of English descriptions; run apt-get update")
    return distinct_pairs(pair for path in found for pair in parse_descriptions(_cat(path)))


def _translations(lists: Path) -> list[Path]:
    return sorted(lists.glob("*_i18n_Translation-en*"))


def _fetch(folder: Path) -> Path:
    """Fetch lists with descriptions into a folder of our own; what is there already is kept."""
    lists = folder.absolute() / "lists"
    if _translations(lists):
        return lists
    for name in (lists / "partial", folder / "cache" / "archives" / "partial"):
        name.mkdir(parents=True, exist_ok=True)
    settings = {
        "Dir::State": folder.absolute(),
        "Dir::State::lists": lists,
        "Dir::Cache": folder.absolute() / "cache",
        "Acquire::Languages": "en",
        "APT::Sandbox::User": getpass.getuser(),
    }
    options = [part for key, value in settings.items() for part in ("-o", f"{key}={value}")]
    done = subprocess.run(
        ["apt-get", *options, "update"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise DatasetError(f"apt-get update failed: {done.stderr.strip()[-300:]}")
    return lists


def _cat(path: Path) -> str:
    """A list of apt's, however it is compressed."""
    done = subprocess.run([_HELPER, "cat-file", str(path)], capture_output=True, check=False)
    if done.returncode:
        raise DatasetError(f"{path}: apt cannot read it: {done.stderr.decode()[-300:].strip()}")
    return done.stdout.decode("utf-8", "replace")


def parse_descriptions(text: str) -> Iterator[Pair]:
    """Short and long description of every entry of a Translation-en file.

    A line with a single full stop parts paragraphs; they are joined, like all lines.
    """
    for entry in text.split("\n\n"):
        _, found, description = entry.partition("Description-en:")
        short, _, long = description.partition("\n")
        lines = (line.strip() for line in long.splitlines() if line.startswith(" "))
        joined = " ".join("" if line == "." else line for line in lines)
        if found:
            yield short.strip(), " ".join(joined.split())


def distinct_pairs(pairs: Iterable[Pair]) -> list[Pair]:
    """One pair of those whose texts begin alike: packages of one source say the same first."""
    kept: dict[str, Pair] = {}
    for short, long in pairs:
        if len(long) >= _MIN_CHARACTERS and short:
            kept.setdefault(normalise(long)[:_MIN_CHARACTERS], (short, long))
    return list(kept.values())
