"""Records of measurements, ``results/*.json``: the one source of every number in the documents.

A benchmark writes its record itself, with ``--json results/NAME.json``; ``python -m
benchmarks.tables`` puts the numbers into the documents. A record has

- ``claim``: what the numbers show, in a sentence;
- ``command``, ``commit``, ``measured`` (a date) and ``machine``: how they were made;
- ``fingerprint``: of the checkpoint whose quality they are; absent where none took part;
- ``numbers``.
"""

from __future__ import annotations

import datetime
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[1]
FOLDER = CHECKOUT / "results"
DATA = Path(os.environ.get("METAEMBED_DATA", CHECKOUT.parent / "shared" / "data"))
"""Where the evaluation sets are."""
FEATURES = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "amx_int8",
    "amx_bf16",
    "asimd",
    "i8mm",
)
"""Instructions of a processor that decide how fast MaxSim is."""
CODE = ("metaembed_rag", "benchmarks", "recipes")


def write(path: Path, claim: str, numbers: Any, *, fingerprint: str | None = None) -> None:
    """Write the record of what this process measured.

    Args:
        path: ``results/NAME.json``.
        claim: What the numbers show, in a sentence.
        numbers: Anything that JSON holds.
        fingerprint: Of the checkpoint whose quality they are.
    """
    record = {
        "claim": claim,
        "command": command(sys.argv[1:]),
        "measured": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": commit(),
        "machine": machine(),
        **({} if fingerprint is None else {"fingerprint": fingerprint}),
        "numbers": numbers,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(record, indent=1, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def read(name: str) -> dict[str, Any]:
    """The record ``results/NAME.json``."""
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return found


def command(arguments: list[str]) -> str:
    """What to type to measure again; folders of this machine are named as in the documents."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    module = Path(sys.argv[0]).stem if spec is None else spec.name.removesuffix(".__main__")
    return shlex.join(["python", "-m", module, *map(_shown, arguments)])


def _shown(argument: str) -> str:
    path = Path(argument)
    if not path.is_absolute():
        return argument
    with suppress(ValueError):
        return (Path("../shared/data") / path.relative_to(DATA)).as_posix()
    return path.name


def commit() -> str:
    """The commit of the code; with a plus where files differ from it, empty outside a clone."""
    head = _git("rev-parse", "--short=7", "HEAD")
    return head + "+" if head and _git("status", "--porcelain", "--", *CODE) else head


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else ""


def machine() -> Mapping[str, Any]:
    """Cores, the processor with the features that matter here, threads, and the load now."""
    told: dict[str, str] = {}
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            told.setdefault(name.strip(), value.strip())
    flags = set(told.get("flags", told.get("Features", "")).split())
    threads = os.environ.get("OMP_NUM_THREADS")
    return {
        "cores": os.cpu_count(),
        "cpu": told.get("model name", ""),
        "features": [name for name in FEATURES if name in flags],
        "threads": int(threads) if threads and threads.isdigit() else None,
        "load": round(os.getloadavg()[0], 1),
    }
