"""What an installation weighs, by package, and which packages indexing and searching never import:

    python -m benchmarks.install_size --json results/install.json

Weighed is what lies in the environment of the tests (`make test`): for each choice of extras the
packages that it asks for, directly or through others, by the sizes that their installation noted,
without the `.pyc` files that Python adds. With `--cuda`, PyPI is asked for the torch of the same
version, and the tables of contents of its wheels are read.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import IO, Any

import httpx
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchmarks import results

CHOICES = {
    "base": "",
    "chroma": "chroma",
    "chroma + LangChain": "chroma,langchain",
    "chroma + LlamaIndex": "chroma,llama-index",
    "local": "local",
    "local + LangChain": "local,langchain",
    "local + LlamaIndex": "local,llama-index",
    "local, words, OCR, server": "local,hybrid,ocr,server",
    "all": "all",
}
"""Name of a choice -> extras of metaembed-rag. `client` cannot lie beside Chroma:
``benchmarks.search.thin_client`` weighs it."""

MAIN = "metaembed-rag"

_PROGRAM = """
import json, sys
from importlib import metadata
from metaembed_rag import MetaEmbedEncoder, PageIndex, load_pages

index = PageIndex.open("index", MetaEmbedEncoder.from_pretrained("small"))
index.add(load_pages(sys.argv[1]))
assert index.search("how do I add a legend?", k=3)
loaded = {name.partition(".")[0] for name in sys.modules}
homes = metadata.packages_distributions()
print(json.dumps(sorted({home for name in loaded for home in homes.get(name, ())})))
"""


# -- the packages of a choice ------------------------------------------------------------------


def needs(name: str, extra: str = "") -> list[Requirement]:
    """What a package asks for here, for itself or for one of its extras alone.

    Of metaembed-rag it is what pyproject.toml says: an installed one may be older.
    """
    if name == MAIN:
        text = (results.CHECKOUT / "pyproject.toml").read_text(encoding="utf-8")
        project = tomllib.loads(text)["project"]
        lines = project["optional-dependencies"][extra] if extra else project["dependencies"]
        return [Requirement(line) for line in lines]
    every = [Requirement(line) for line in metadata.requires(name) or ()]
    return [one for one in every if _is_wanted(one, extra)]


def _is_wanted(requirement: Requirement, extra: str) -> bool:
    marker = requirement.marker
    without = marker is None or marker.evaluate({"extra": ""})
    if not extra:
        return without
    return marker is not None and not without and marker.evaluate({"extra": extra})


def packages(extras: str) -> dict[str, list[str]]:
    """Every package of a choice of extras, with the packages that ask for it.

    Args:
        extras: Of metaembed-rag, with commas between.
    """
    asked: dict[str, set[str]] = {MAIN: set()}
    ahead = [(MAIN, one) for one in ("", *filter(None, extras.split(",")))]
    done = set()
    while ahead:
        name, extra = ahead.pop()
        if (name, extra) in done:
            continue
        done.add((name, extra))
        for requirement in needs(name, extra):
            other = canonicalize_name(requirement.name)
            asked.setdefault(other, set()).update({name} - {other})
            ahead += [(other, one) for one in ("", *requirement.extras)]
    return {name: sorted(by) for name, by in asked.items()}


def size(name: str) -> int:
    """Bytes of what was installed of a package, compiled modules left out."""
    if name == MAIN:
        files = (results.CHECKOUT / "metaembed_rag").rglob("*")
        return sum(path.stat().st_size for path in files if _counts(path))
    found = metadata.distribution(name)
    return sum(file.size or 0 for file in found.files or () if file.suffix != ".pyc")


def _counts(path: Path) -> bool:
    return path.is_file() and path.suffix != ".pyc"


def imported() -> set[str]:
    """Packages that indexing a PDF and searching it import."""
    manual = results.CHECKOUT / "examples" / "files" / "bardiag.pdf"
    program = [sys.executable, "-c", _PROGRAM, str(manual)]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(program, capture_output=True, text=True, check=True, cwd=folder)
    return {canonicalize_name(name) for name in json.loads(done.stdout.splitlines()[-1])}


# -- torch with CUDA, on PyPI ------------------------------------------------------------------


class FarFile(io.RawIOBase):
    """A file on a server, read piece by piece: of a wheel, its table of contents is enough.

    Args:
        url: Where it is, on a server that knows ranges.
    """

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(follow_redirects=True, timeout=60)
        self._url, self._at = url, 0
        self._size = int(self._client.head(url).raise_for_status().headers["content-length"])

    def seekable(self) -> bool:
        """Yes."""
        return True

    def readable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """Where the next byte is."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go there; nothing is asked for yet."""
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def read(self, size: int = -1) -> bytes:
        """So many bytes from here, or all that follow."""
        end = self._size if size < 0 else min(self._at + size, self._size)
        if end <= self._at:
            return b""
        headers = {"range": f"bytes={self._at}-{end - 1}"}
        answer = self._client.get(self._url, headers=headers).raise_for_status()
        found = answer.content if answer.status_code == 206 else answer.content[self._at : end]
        self._at = end
        return found

    def close(self) -> None:
        """Let the server go."""
        self._client.close()
        super().close()


def unpacked(wheel: Path | IO[bytes]) -> int:
    """Bytes of all files in a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return sum(entry.file_size for entry in archive.infolist())


def cuda() -> dict[str, int]:
    """Bytes of PyPI's torch for Linux, of the version that is here, and of the CUDA packages that
    it pins."""
    version = metadata.version("torch").partition("+")[0]
    return dict(_cuda(Requirement(f"torch=={version}"), {}))


def _cuda(requirement: Requirement, seen: dict[str, int]) -> Iterator[tuple[str, int]]:
    name, pins = requirement.name, [str(one.version) for one in requirement.specifier]
    if name in seen or len(pins) != 1:
        return  # what is not pinned is the same with either torch
    seen[name] = 1
    address = f"https://pypi.org/pypi/{name}/{pins[0].removesuffix('.*')}/json"
    about = httpx.get(address, follow_redirects=True, timeout=60).raise_for_status().json()
    python = f"cp{sys.version_info.major}{sys.version_info.minor}"
    kept = [
        one
        for one in about["urls"]
        if "win" not in one["filename"] and "mac" not in one["filename"]
    ]
    fits = [one for one in kept if "x86_64" in one["filename"] or "none-any" in one["filename"]]
    fits = [
        one
        for one in fits
        if f"{python}-{python}-" in one["filename"] or "-py3-" in one["filename"]
    ]
    if fits:
        with FarFile(fits[0]["url"]) as far:
            yield name, unpacked(far)
    for line in about["info"]["requires_dist"] or ():
        other = Requirement(line)
        if any(_is_wanted(other, extra) for extra in ("", *requirement.extras)):
            yield from _cuda(other, seen)


def measured(with_cuda: bool) -> dict[str, Any]:
    """The numbers of the record."""
    numbers: dict[str, Any] = {"python": f"{sys.version_info.major}.{sys.version_info.minor}"}
    numbers["choices"] = {}
    for name, extras in CHOICES.items():
        try:
            sizes = {one: size(one) for one in packages(extras)}
        except metadata.PackageNotFoundError as error:
            print(f"{name}: left out, because {error.name} is not installed", file=sys.stderr)
        else:
            numbers["choices"][name] = {"extras": extras, "bytes": sizes}
    local = packages("local")
    unused = sorted(set(local) - imported() - {MAIN})
    numbers["unused"] = {name: local[name] for name in unused}
    numbers["torch"] = {"cpu": {"torch": size("torch")}, "pypi": cuda() if with_cuda else {}}
    return numbers


def main() -> None:
    """Weigh every choice; write the record."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition(":\n")[0])
    parser.add_argument("--cuda", action="store_true", help="ask PyPI for its torch, too")
    parser.add_argument("--json", type=Path, help="write the record")
    given = parser.parse_args()
    numbers: Mapping[str, Any] = measured(given.cuda)
    if given.json:
        results.write(given.json, "What each installation weighs, by package.", numbers)
    else:
        print(json.dumps(numbers, indent=1))


if __name__ == "__main__":
    main()
