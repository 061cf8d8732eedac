"""From 100,000 to a million pages: memory, disk, ingest, opening and search, beside other engines.

    python -m benchmarks.search.scaling_pages --vectors .data/tex10k.npz --out .data/tex10k.json
    python -m benchmarks.search.scaling --vectors .data/tex10k.npz --work .data/scaling \
        --run 100000x16 --run 300000x16 --run 100000x64 --json results/scaling.json

Pages are 10,000 real ones and jittered copies of them (``scaling_pages``). Of each size, ours is
stored first, by ``PageIndex.add``: where its time runs out, the size is what was reached, and the
others get that. The truth is read from the vectors (``scaling_truth``). Each engine stores in one
process and searches in another, with a limit of time and of memory; one that exceeds it is recorded
as such. What a run before has measured (``--work``) is not measured again; folders of the others
are removed. With ``--grow``, the first engine's index of a size becomes that of the next one, and
the rate is that of the pages which were added to it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import results
from benchmarks.search import scaling_truth
from benchmarks.search.scaling_engines import ENGINES, Engine, Ours
from benchmarks.search.scaling_pages import ScalingPages
from benchmarks.search.scaling_truth import CALIBRATED, TIMED, K

CLAIM = (
    "Memory, disk, ingest, opening and search as an index grows, beside engines that ended in time."
)
_FEW, _MANY_PAGES = 40, 200_000
"""Of these, so many where there are more pages than that: exhaustive search is what takes time."""
_EXHAUSTIVE, _LARGE = 10, 30_000_000
"""Queries that are asked exhaustively where there are more vectors than that: they may not fit
into memory, and each then reads them from the disk."""
_LOOK = 0.5
"""Seconds between two looks at the memory of a process."""


def run(given: argparse.Namespace, pages: int, vectors: int) -> list[dict[str, Any]]:
    """Every engine at one size."""
    done = []
    for name in given.engines:
        place = given.work / f"{pages}x{vectors}" / name
        ready = place / "measured.json"
        if not ready.exists() and given.measured:
            continue
        if not ready.exists():
            if name != given.engines[0]:  # which goes on where it was cut off
                shutil.rmtree(place / "store", ignore_errors=True)
            place.mkdir(parents=True, exist_ok=True)
            if given.grow and name == given.engines[0]:
                _grow(given.work, vectors, place)
            count = _reached(given, pages, vectors) if name != given.engines[0] else pages
            ready.write_text(json.dumps(_engine(given, name, count, vectors, place), indent=1))
        done.append(json.loads(ready.read_text()))
        kept = name == given.engines[0] and (given.keep or given.grow)
        if not given.measured and not kept:
            shutil.rmtree(place / "store", ignore_errors=True)
        print(json.dumps(done[-1]), file=sys.stderr, flush=True)
    return done


def _reached(given: argparse.Namespace, pages: int, vectors: int) -> int:
    """How many pages the first engine has stored."""
    first = given.work / f"{pages}x{vectors}" / given.engines[0] / "measured.json"
    return int(json.loads(first.read_text())["pages"]) if first.exists() else pages


def _grow(work: Path, vectors: int, place: Path) -> None:
    """Go on with the largest index of the same engine and as many vectors, if there is one."""
    store = place / "store"
    others = [p for p in work.glob(f"*x{vectors}/{place.name}/store") if p != store]
    if others and not store.exists():
        max(others, key=lambda p: int(p.parts[-3].split("x")[0])).rename(store)


def _engine(
    given: argparse.Namespace, name: str, pages: int, vectors: int, place: Path
) -> dict[str, Any]:
    """One engine at one size: storing, then searching, each in a process of its own."""
    found = {"engine": ENGINES[name].name, "asked": pages, "vectors": vectors}
    for step in ("ingest", "search"):
        told = place / f"{step}.json"
        count = int(found.get("pages", pages))
        if step == "search":
            scaling_truth.missing(given.work, given.vectors, [(count, vectors)])
        job = [name, step, str(count), str(vectors), str(place), str(given.limit)]
        failed = _limited(
            [sys.executable, "-m", __spec__.name, "--vectors", str(given.vectors), "--job", *job],
            given,
        )
        if failed or not told.exists():
            return {**found, "pages": count, "failed": f"{step}: {failed or 'it gave nothing'}"}
        found |= json.loads(told.read_text())
    return found


def _limited(command: Sequence[str], given: argparse.Namespace) -> str:
    """Run a process within the limits; why it was ended, or how it failed; ``""`` for neither."""
    log = given.work / "errors.log"
    with log.open("ab") as errors:
        process = subprocess.Popen(command, stdout=errors, stderr=errors)
        end = time.monotonic() + 2 * given.limit
        while process.poll() is None:
            if _anonymous(process.pid) > given.memory * 1e9:
                process.kill()
                process.wait()
                return f"took more than {given.memory:g} GB of memory"
            if time.monotonic() > end:
                process.kill()
                process.wait()
                return f"took more than {2 * given.limit / 60:.0f} minutes"
            time.sleep(_LOOK)
    if process.returncode:
        lines = log.read_text(errors="replace").strip().splitlines()
        return lines[-1][:200] if lines else f"exit code {process.returncode}"
    return ""


def _anonymous(pid: int) -> int:
    """Bytes of memory that a process has for itself; mapped files are not among them."""
    return _memory(f"/proc/{pid}/status").get("RssAnon", 0)


def _memory(path: str) -> dict[str, int]:
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return {}
    return {
        name: int(words.split()[0]) * 1024
        for name, _, words in (line.partition(":") for line in lines)
        if words.strip().endswith("kB")
    }


def job(given: argparse.Namespace) -> None:
    """One step of one engine, in this process."""
    name, step, pages, vectors, place, limit = given.job
    source = ScalingPages(given.vectors, int(vectors))
    engine = ENGINES[name](source, Path(place) / "store")
    before = _memory("/proc/self/status").get("RssAnon", 0)
    work = _ingest if step == "ingest" else _search
    told = work(engine, int(pages), float(limit), before)
    (Path(place) / f"{step}.json").write_text(json.dumps(told))


def _ingest(engine: Engine, pages: int, limit: float, before: int) -> dict[str, Any]:
    there = engine.there()
    start, spent = time.monotonic(), time.process_time()
    count = engine.ingest(pages, start + limit)
    seconds = time.monotonic() - start
    files = [file for file in engine.folder.rglob("*") if file.is_file()]
    peak = _memory("/proc/self/status").get("VmHWM", 0)
    return {
        "pages": count,
        "pages_before": there,
        "ingest_s": round(seconds, 1),
        "ingest_cpu_s": round(time.process_time() - spent, 1),
        "pages_per_second": round((count - there) / seconds, 1),
        "ingest_peak_bytes": peak - before,
        "disk_bytes": sum(file.stat().st_blocks * 512 for file in files),
    }


def _search(engine: Engine, pages: int, limit: float, before: int) -> dict[str, Any]:
    queries, exact = engine.pages.queries, _truth(engine, pages)
    start = time.perf_counter()
    engine.open()
    opened = time.perf_counter()
    engine.search(queries[0], engine.settings[-1] if not isinstance(engine, Ours) else "exhaustive")
    first = time.perf_counter()
    timed = queries[CALIBRATED : CALIBRATED + TIMED]
    ways = _ours(engine, exact) if isinstance(engine, Ours) else _others(engine, timed, exact)
    status = _memory("/proc/self/status")
    return {
        "opening_s": round(opened - start, 3),
        "first_search_s": round(first - opened, 3),
        "memory_bytes": status.get("RssAnon", 0) - before,
        "mapped_bytes": status.get("RssFile", 0),
        "ways": ways,
    }


def _truth(engine: Engine, pages: int) -> list[list[int]]:
    """The best rows of each timed query."""
    found = scaling_truth.truth_of(engine.folder.parents[2], pages, engine.pages.vectors)
    rows: list[list[int]] = json.loads(found.read_text())
    return rows


def _ours(engine: Ours, exact: Sequence[Sequence[int]]) -> list[dict[str, Any]]:
    """Exhaustive search, then the calibrated ones."""
    spent: dict[str, list[float]] = {}
    found: dict[str, list[list[int]]] = {}
    large = engine.stored() * engine.pages.vectors > _LARGE
    seconds: dict[str, float] = {}
    for setting in ("exhaustive", "auto 0.99", "auto 0.95", "hybrid auto 0.99"):
        if setting == "auto 0.99":  # which measures plans for smaller recalls, too
            few = engine.stored() > _MANY_PAGES
            seconds[setting] = engine.calibrate(0.99, _FEW if few else CALIBRATED)
        if setting.startswith("hybrid"):
            start = time.perf_counter()
            engine.asked(engine.pages.queries[0], setting, engine.pages.titles[0])
            seconds[setting] = time.perf_counter() - start
        spent[setting], found[setting] = [], []
        asked = _EXHAUSTIVE if large and setting == "exhaustive" else TIMED
        for row in range(CALIBRATED, CALIBRATED + asked):
            start = time.perf_counter()
            rows = engine.asked(engine.pages.queries[row], setting, engine.pages.titles[row])
            spent[setting].append(time.perf_counter() - start)
            found[setting].append(rows)
    return [
        _way(setting, spent[setting], None if "hybrid" in setting else _recall(rows, exact))
        | ({"preparing_s": round(seconds[setting], 1)} if setting in seconds else {})
        for setting, rows in found.items()
    ]


def _others(engine: Engine, queries: Any, exact: Sequence[Sequence[int]]) -> list[dict[str, Any]]:
    """Each setting until one reaches a recall of 0.99."""
    ways: list[dict[str, Any]] = []
    for setting in engine.settings:
        spent, found = [], []
        for query in queries:
            start = time.perf_counter()
            found.append(engine.search(query, setting))
            spent.append(time.perf_counter() - start)
        ways.append(_way(str(setting), spent, _recall(found, exact)))
        if ways[-1]["recall"] >= 0.99:
            break
    return ways


def _way(setting: str, spent: Sequence[float], recall: float | None) -> dict[str, Any]:
    p50, p95 = np.percentile(spent, [50, 95]) * 1000
    return {
        "setting": setting,
        "p50_ms": round(float(p50), 2),
        "p95_ms": round(float(p95), 2),
        "recall": recall,
    }


def _recall(found: Sequence[Sequence[int]], exact: Sequence[Sequence[int]]) -> float:
    pairs = zip(found, exact[: len(found)], strict=True)
    return round(float(np.mean([len({*a} & {*b}) / K for a, b in pairs])), 4)


def main() -> None:
    """Read the command line, measure, write the record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--vectors", type=Path, required=True, help="npz of tex_vectors")
    parser.add_argument("--work", type=Path, help="folder for indexes and what was measured")
    parser.add_argument("--run", action="append", default=[], metavar="PAGESxVECTORS")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=[*ENGINES])
    parser.add_argument("--limit", type=float, default=1500, help="seconds to store, for each")
    parser.add_argument("--memory", type=float, default=10, help="GB, for each")
    parser.add_argument("--keep", action="store_true", help="keep the first engine's index")
    parser.add_argument("--grow", action="store_true", help="let the first engine's index grow")
    parser.add_argument("--measured", action="store_true", help="take what is measured, no more")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--job", nargs=6, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.job:
        job(given)
        return
    given.work.mkdir(parents=True, exist_ok=True)
    rows = [
        row for size in given.run for row in run(given, *(int(part) for part in size.split("x")))
    ]
    if given.json:
        real = ScalingPages(given.vectors, 1)
        found = {"real_pages": real.real, "limit_s": given.limit, "memory_gb": given.memory}
        results.write(given.json, CLAIM, {**found, "rows": rows}, fingerprint=real.fingerprint)


if __name__ == "__main__":
    main()
