"""What an installation weighs, by package, and which packages indexing and searching never import:

    make dist
    python -m benchmarks.install_size --json results/install.json

pip resolves each choice against an empty environment and names the wheels; what they hold is added
up, without the `.pyc` files that Python adds at the first import. Then `local` is installed into an
environment of its own, where a PDF is indexed and searched, to see what is imported.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tempfile
import venv
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

import httpx

from benchmarks import results

CHOICES = {
    "base": "",
    "client": "client",
    "chroma": "chroma",
    "chroma + LangChain": "chroma,langchain",
    "chroma + LlamaIndex": "chroma,llama-index",
    "local": "local",
    "local + LangChain": "local,langchain",
    "local + LlamaIndex": "local,llama-index",
    "local, words, OCR, server": "local,hybrid,ocr,server",
    "all": "all",
}
"""Name of a choice -> extras of metaembed-rag."""

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


class Wheels:
    """Wheels that are weighed once each.

    Args:
        python: An interpreter with pip.
    """

    def __init__(self, python: Path) -> None:
        self._python = python
        self._known: dict[str, int] = {}

    def resolve(self, *requirements: str, constraints: bool = True) -> list[Mapping[str, Any]]:
        """What pip would install for these into an empty environment: its report's entries."""
        pinned = ["-c", str(results.CHECKOUT / "constraints.txt")] if constraints else []
        options = ["--dry-run", "--ignore-installed", "--quiet", "--report", "-"]
        said = self._pip("install", *options, *pinned, *requirements)
        found: list[Mapping[str, Any]] = json.loads(said)["install"]
        return found

    def sizes(self, entries: Iterable[Mapping[str, Any]]) -> dict[str, int]:
        """Bytes of each package, unpacked."""
        return {
            each["metadata"]["name"]: self._size(each["download_info"]["url"]) for each in entries
        }

    def _size(self, url: str) -> int:
        if url not in self._known:
            self._known[url] = self._fetched_size(url)
        return self._known[url]

    def _fetched_size(self, url: str) -> int:
        if url.startswith("file://"):
            return unpacked(Path(unquote(urlsplit(url).path)))
        with FarFile(url) as far:
            return unpacked(far)

    def _pip(self, *arguments: str) -> str:
        command = [str(self._python), "-m", "pip", "--disable-pip-version-check", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{' '.join(command)}\n{done.stderr}")
        return done.stdout


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


def asked_for_by(entries: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Which packages of a resolution name each package as a requirement, extras or not."""
    asking: dict[str, set[str]] = {}
    for each in entries:
        for line in each["metadata"].get("requires_dist", ()):
            asking.setdefault(normal(line), set()).add(each["metadata"]["name"])
    return {
        normal(e["metadata"]["name"]): sorted(asking.get(normal(e["metadata"]["name"]), ()))
        for e in entries
    }


def normal(requirement: str) -> str:
    """The name in a requirement, as package indexes compare names."""
    name = requirement
    for end in " ;[(<>=!~":
        name = name.partition(end)[0]
    return name.lower().replace("_", "-").replace(".", "-")


def imported(python: Path, scratch: Path, *requirements: str) -> set[str]:
    """Packages that indexing a PDF and searching it import, in an environment with these only."""
    pinned = ["-c", str(results.CHECKOUT / "constraints.txt")]
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([*pip, "--no-compile", *pinned, *requirements], check=True)
    manual = results.CHECKOUT / "examples" / "files" / "bardiag.pdf"
    program = [str(python), "-c", _PROGRAM, str(manual)]
    done = subprocess.run(program, capture_output=True, text=True, check=True, cwd=scratch)
    return {normal(name) for name in json.loads(done.stdout.splitlines()[-1])}


def measured(wheel: Path, scratch: Path) -> dict[str, Any]:
    """The numbers of the record: see :func:`main`."""
    venv.create(scratch / "venv", with_pip=True)
    python = scratch / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--upgrade", "pip"], check=True)
    wheels, numbers = Wheels(python), {}
    for name, extras in CHOICES.items():
        entries = wheels.resolve(f"{wheel}[{extras}]" if extras else str(wheel))
        numbers[name] = {"extras": extras, "bytes": wheels.sizes(entries)}
        print(f"{name}: {sum(numbers[name]['bytes'].values()) / 1e6:,.0f} MB", file=sys.stderr)
    torch = {
        "cpu": wheels.sizes(wheels.resolve("torch")),
        "pypi": wheels.sizes(wheels.resolve("torch", constraints=False)),
    }
    local = wheels.resolve(f"{wheel}[local]")
    used = imported(python, scratch, f"{wheel}[local]")
    unused = sorted({normal(one["metadata"]["name"]) for one in local} - used)
    asking = asked_for_by(local)
    return {
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        "choices": numbers,
        "torch": torch,
        "unused": {name: asking[name] for name in unused},
    }


def main() -> None:
    """Weigh every choice; write the record."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition(":\n")[0])
    parser.add_argument("--wheel", type=Path, help="of metaembed-rag; default: the one in dist/")
    parser.add_argument("--scratch", type=Path, help="a folder with 3 GB; default: a temporary one")
    parser.add_argument("--json", type=Path, help="write the record")
    given = parser.parse_args()
    wheel = given.wheel or next(results.CHECKOUT.glob("dist/metaembed_rag-*.whl"), None)
    if wheel is None:
        sys.exit("dist/ holds no wheel: make dist")
    with tempfile.TemporaryDirectory(dir=given.scratch) as scratch:
        numbers = measured(wheel.resolve(), Path(scratch))
    if given.json:
        results.write(given.json, "What each installation weighs, by package.", numbers)
    else:
        print(json.dumps(numbers, indent=1))


if __name__ == "__main__":
    main()
