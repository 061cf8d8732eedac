"""What an installation weighs, by package, and which packages indexing and searching never import:

    python -m benchmarks.install_size --json results/install.json

Weighed is what lies in the environment of the tests (`make test`): for each choice of extras the
packages that it asks for, directly or through others, by the sizes that their installation noted,
without the `.pyc` files that Python adds.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

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


def measured() -> dict[str, Any]:
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
    return numbers


def main() -> None:
    """Weigh every choice; write the record."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition(":\n")[0])
    parser.add_argument("--json", type=Path, help="write the record")
    given = parser.parse_args()
    numbers: Mapping[str, Any] = measured()
    if given.json:
        results.write(given.json, "What each installation weighs, by package.", numbers)
    else:
        print(json.dumps(numbers, indent=1))


if __name__ == "__main__":
    main()
