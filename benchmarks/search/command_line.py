"""What a command costs beside its search: seconds of the processor, and which modules it imports.

    python -m benchmarks.search.command_line --runs 5 --json results/command_line.json

An index of three pages is searched by ``metaembed search``, once opened by the command itself and
once through a running ``metaembed serve``. Each runs in a process of its own, whose seconds are
counted, not those of the clock, since other programs may run beside it. Of one more run Python
tells what it imports (``-X importtime``): the milliseconds of each library's own modules are summed
up.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks import results
from benchmarks.search.serving import made_up_text, served
from metaembed_rag import MetaEmbedEncoder, Page, PageIndex

CLAIM = "A search by the command line, with an index of its own and through a server."
_COUNT = (
    "import sys, resource\nfrom metaembed_rag import cli\ncode = cli.main(sys.argv[1:])\n"
    "used = resource.getrusage(resource.RUSAGE_SELF)\n"
    "print(used.ru_utime + used.ru_stime, len(sys.modules), file=sys.stderr)\nsys.exit(code)"
)
_LINE = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\w+)")
_NAMED = 8
"""Libraries that are named."""


def cost(command: list[str], runs: int) -> dict[str, Any]:
    """Seconds of the processor and modules of one command, and which libraries it imports."""
    seconds, modules = [], 0
    for _ in range(runs):
        run = [sys.executable, "-c", _COUNT, *command]
        done = subprocess.run(run, capture_output=True, text=True, check=True)
        used, loaded = done.stderr.split()[-2:]
        seconds.append(float(used))
        modules = int(loaded)
    run = [sys.executable, "-X", "importtime", "-m", "metaembed_rag.cli", *command]
    told = subprocess.run(run, capture_output=True, text=True, check=True).stderr
    of: Counter[str] = Counter()
    for own, name in _LINE.findall(told):
        of[name] += int(own)
    named = {name: round(of[name] / 1000) for name, _ in of.most_common(_NAMED)}
    return {
        "cpu_seconds": round(statistics.median(seconds), 2),
        "modules": modules,
        "import_ms": round(of.total() / 1000),
        "libraries_ms": named,
    }


def main() -> None:
    """Measure, print, and keep the record."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--model", default="small")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "index"
        with PageIndex.open(place, MetaEmbedEncoder.from_pretrained(arguments.model)) as index:
            index.add([Page(f"page{n}", 1, made_up_text(n)) for n in range(3)])
        search = ["search", made_up_text(7, 8), "-k", "1"]
        with served(place) as address:
            commands = {
                "metaembed search --server": [*search, "--server", address],
                "metaembed search --index": [*search, "--index", str(place)],
            }
            found = {name: cost(one, arguments.runs) for name, one in commands.items()}
    print(json.dumps(found, indent=1))
    if arguments.json:
        results.write(arguments.json, CLAIM, {"runs": arguments.runs, "rows": found})


if __name__ == "__main__":
    main()
