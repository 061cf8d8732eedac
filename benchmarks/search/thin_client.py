"""What a client without torch weighs, and how soon it is there, beside a whole installation.

    python -m benchmarks.search.thin_client --json results/thin_client.json

Builds the wheel and installs it into new environments, with the extra ``client`` and with
``local``. Then, in processes of their own and by turns: seconds of importing ``PageIndex`` and
``MetaEmbedEncoder``, and until a query has its vectors, by ``small`` loaded there and by ``small``
at a loopback server, which runs in this environment. Needs a package index, minutes and 2 GB for a
while. Python's files are compiled by a first turn, which does not count.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from benchmarks.results import CHECKOUT, write

EXTRAS = ("client", "local")
MODEL = "small"
_IMPORT = """
import time; start = time.perf_counter()
from metaembed_rag import MetaEmbedEncoder, PageIndex
print(time.perf_counter() - start)
"""
_ENCODE = """
import sys, time; start = time.perf_counter()
from metaembed_rag import MetaEmbedEncoder, PageIndex
MetaEmbedEncoder.from_pretrained(sys.argv[1]).encode_query(["legend of a chart"])
print(time.perf_counter() - start)
status = open("/proc/self/status").read()  # ru_maxrss would count what the caller had, too
print(int(status.partition("VmHWM:")[2].split(maxsplit=1)[0]) / 1024)
"""
CLAIM = "a client of servers installs and starts in a fraction of a whole installation's"


def environment(place: Path, wheel: Path, name: str) -> dict[str, Any]:
    """Make an environment, and say what it weighs beyond an empty one."""
    subprocess.run([sys.executable, "-m", "venv", place], check=True)
    (packages,) = place.glob("lib/python*/site-packages")
    empty, before = megabytes(packages), len(list(packages.glob("*.dist-info")))
    start = time.perf_counter()
    pip = [place / "bin" / "python", "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    pinned = ["--no-compile", "-c", CHECKOUT / "constraints.txt"]
    subprocess.run([*pip, *pinned, f"{wheel}[{name}]"], check=True)
    return {
        "megabytes": round(megabytes(packages) - empty, 1),
        "of_checkpoints": round(megabytes(packages / "metaembed_rag" / "checkpoints"), 1),
        "packages": len(list(packages.glob("*.dist-info"))) - before,
        "install_seconds": round(time.perf_counter() - start, 1),
    }


def megabytes(folder: Path) -> float:
    """What the files below a folder hold, compiled Python left out."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return sum(path.stat().st_size for path in files) / 1e6


def told(python: Path, program: str, *arguments: str, folder: Path) -> list[float]:
    """The numbers that a program prints."""
    run = [python, "-c", program, *arguments]
    done = subprocess.run(run, check=True, capture_output=True, text=True, cwd=folder)
    return [float(line) for line in done.stdout.split()]


@contextmanager
def encoder_server() -> Iterator[str]:
    """The address of ``metaembed serve --encoder-only``."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    run = [sys.executable, "-m", "metaembed_rag.cli", "serve", "--encoder-only", "--model", MODEL]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([*run, "--port", str(port)], cwd=CHECKOUT, **quiet) as process:
        address = f"http://127.0.0.1:{port}"
        try:
            while not answers(address):
                if process.poll() is not None:
                    sys.exit("the server of the encoder has ended")
                time.sleep(0.2)
            yield address
        finally:
            process.terminate()


def answers(address: str) -> bool:
    """Whether a server takes requests."""
    try:
        return httpx.get(f"{address}/health", timeout=2).is_success
    except httpx.HTTPError:
        return False


def measure(folder: Path, repeats: int) -> dict[str, dict[str, Any]]:
    """The numbers of each environment."""
    pip = [sys.executable, "-m", "pip", "wheel", "-qq", "--no-deps", "-w", folder, CHECKOUT]
    subprocess.run(pip, check=True)
    (wheel,) = folder.glob("*.whl")
    found = {name: environment(folder / name, wheel, name) for name in EXTRAS}
    pythons = {name: folder / name / "bin" / "python" for name in EXTRAS}
    with encoder_server() as address:
        models = {"client": address, "local": MODEL}
        seen: dict[str, list[list[float]]] = {}
        for _ in range(repeats + 1):  # the first one compiles Python's files
            for name, model in models.items():
                imported = told(pythons[name], _IMPORT, folder=folder)
                encoded = told(pythons[name], _ENCODE, model, folder=folder)
                seen.setdefault(name, []).append([*imported, *encoded])
    names = ("import_seconds", "first_query_seconds", "peak_mb")
    for name, rows in seen.items():
        columns = zip(*rows[1:], strict=True)
        medians = (round(statistics.median(column), 2) for column in columns)
        found[name] |= dict(zip(names, medians, strict=True))
    return found


def main(arguments: list[str] | None = None) -> None:
    """Measure, print and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the record there")
    given = parser.parse_args(arguments)
    os.environ.pop("PYTHONPATH", None)  # or the checkout would be imported in place of the wheel
    with tempfile.TemporaryDirectory() as folder:
        numbers = measure(Path(folder), given.repeats)
    print(json.dumps(numbers, indent=2))
    if given.json is not None:
        write(given.json, CLAIM, numbers)


if __name__ == "__main__":
    main()
