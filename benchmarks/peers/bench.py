"""Scoring and search beside peers, in one run: `make bench`, or

    .data/bench-venv/bin/python -m benchmarks.peers.bench --sizes 1000 10000 \
        --json results/peers.json

Every contender (``contenders.py``) has a process of its own with one thread, builds from the same
float32 file and then answers the same queries in turn: first all of them the first query, then all
the second, so that other work on the machine meets all alike. Milliseconds are medians over the
queries; CPU time stands beside wall time, which a busy machine stretches. Recall@10 is the share of
the top 10 by torch in float32. Contenders that are not installed, that fail or that exceed their
time (of the processor, so that other work costs nobody a place) are listed with the reason; what
exceeded it is not tried with more pages, and neither is what two sizes have shown to need half as
much again.

``--set random``: random unit vectors, 64 a page; nothing is near anything, which is hardest for
everything that is not brute force. ``--set real``: texts encoded by ``real_embeddings.py`` (int8,
decoded: the exact top 10 is that of the stored vectors). Progress goes to standard error, a
Markdown table to standard output.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import results as records
from benchmarks.data.real_embeddings import read_real
from benchmarks.peers.contenders import CONTENDERS, SAMPLE, Array, Contender

CLAIM = "Exhaustive search and the cascade beside other libraries, one thread each, in one run."
K = 10
_IMPORT_SECONDS = 300
_PATIENCE = 6
"""Seconds of the clock for a second of the processor, on a machine that is busy."""
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")
OTHER_THREADS = ("LANCE_CPU_THREADS", "TOKIO_WORKER_THREADS", "POLARS_MAX_THREADS")


@dataclass(frozen=True)
class Task:
    """What is searched.

    Attributes:
        source: npy file of float32 pages, shape (n, R, D).
        queries: float32, shape (queries, r_q, D).
        sample: The like, for calibration; none of them is timed.
        answers: The rows that answer each query, where that is known.
    """

    source: Path
    queries: Array
    sample: Array
    answers: list[list[int]] | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the pages."""
        n, vectors, dimension = np.load(self.source, mmap_mode="r").shape
        return n, vectors, dimension


@dataclass
class Running:
    """A contender's process, and what it answered so far."""

    name: str
    process: Any
    connection: Connection
    stores: bool
    built: dict[str, Any] = field(default_factory=dict)
    answers: list[dict[str, Any]] = field(default_factory=list)
    failed: str = ""

    def ask(self, message: tuple[Any, ...], seconds: float) -> dict[str, Any] | None:
        """Its answer; None if it takes more of the processor's time or dies, which ends it."""
        end, limit = time.monotonic() + _PATIENCE * seconds, self._spent() + seconds
        try:
            self.connection.send(message)
            while not self.connection.poll(1):
                if time.monotonic() > end or self._spent() > limit:
                    break
            else:
                found: dict[str, Any] = self.connection.recv()
                return found
            self.failed = f"over {seconds:.0f} s for one {message[0]}"
        except (EOFError, BrokenPipeError, ConnectionResetError):
            self.process.join(10)
            self.failed = f"ended in a {message[0]} (exit code {self.process.exitcode})"
        self.end()
        return None

    def _spent(self) -> float:
        """Seconds of the processor, or of the clock where /proc does not tell."""
        with suppress(OSError):
            times = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
            return (int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK")
        return time.monotonic()

    def end(self) -> None:
        """Stop the process."""
        self.process.kill()
        self.process.join()
        self.connection.close()


def random_task(folder: Path, pages: int, dimension: int, queries: int, vectors: int = 64) -> Task:
    """Random unit vectors, the same in every run."""
    generator = np.random.default_rng(0)
    source = folder / f"pages{pages}.npy"
    shape = (pages, vectors, dimension)
    out = np.lib.format.open_memmap(source, mode="w+", dtype=np.float32, shape=shape)
    for start in range(0, pages, 1000):
        out[start : start + 1000] = _units(generator, *out[start : start + 1000].shape)
    asked = _units(generator, queries + SAMPLE, min(16, vectors), dimension)
    return Task(source, asked[:queries], asked[queries:])


def real_task(folder: Path, pages: int, queries: int, real: Any) -> Task:
    """The first ``pages`` of the real set, and queries that they answer, from all over it."""
    vectors = real.vectors
    source = folder / f"real{pages}.npy"
    shape = (pages, vectors.header.vectors, vectors.header.dimension)
    out = np.lib.format.open_memmap(source, mode="w+", dtype=np.float32, shape=shape)
    for start in range(0, pages, 1000):
        rows = np.arange(start, min(start + 1000, pages))
        out[rows] = vectors.take(rows, shape[1]).decode()
    able = [n for n, rows in enumerate(real.answers) if max(rows) < pages]
    picked = [able[i] for i in np.linspace(0, len(able) - 1, queries + SAMPLE).astype(int)]
    timed = picked[:: max(1, len(picked) // queries)][:queries]
    sample = [n for n in picked if n not in set(timed)]
    return Task(source, real.queries[timed], real.queries[sample], [real.answers[n] for n in timed])


def serve(
    connection: Connection, contender: type[Contender], source: Path, folder: Path, sample: Array
) -> None:
    """What a contender's process does: build, and answer queries until it is ended."""
    way = contender()
    __import__(way.module)
    imported = memory_mb()
    while True:
        verb, *rest = connection.recv()
        if verb == "import":
            connection.send({})
        elif verb == "build":
            pages = np.load(source, mmap_mode="c").view(np.ndarray)
            spent = _clocks()
            way.build(pages, folder, sample)
            wall, cpu = _since(spent)
            held = way.bytes_held(pages, folder)
            del pages
            connection.send({"seconds": wall, "cpu_seconds": cpu, "bytes": held})
        elif verb == "search":
            spent = _clocks()
            rows = [int(row) for row in way.search(*rest)]
            wall, cpu = _since(spent)
            connection.send({"rows": rows, "ms": 1000 * wall, "cpu_ms": 1000 * cpu})
        else:
            connection.send({"mb": memory_mb(), "imports_mb": imported})


def run(
    task: Task,
    ways: Sequence[type[Contender]],
    *,
    rounds: int,
    build_seconds: float,
    search_seconds: float,
) -> list[dict[str, Any]]:
    """Build all, ask all in turn, and one row of figures for each of them."""
    with tempfile.TemporaryDirectory(dir=task.source.parent) as where:
        running = [_start(way, task, Path(where)) for way in ways]
        for one in running:
            _build(one, build_seconds)
        for query in (task.queries[0], *task.queries):  # the first time does not count
            _ask_all(running, query, search_seconds, rounds)
        rows = [_figures(one, task, running[0]) for one in running]
        for one in running:
            if not one.failed:
                one.end()
    return rows


def measure(
    tasks: Iterable[Task], ways: Sequence[type[Contender]], **limits: Any
) -> Iterator[list[dict[str, Any]]]:
    """All sizes, from small to large; after each the rows so far, with the machine's load then."""
    results: list[dict[str, Any]] = []
    late: dict[str, str] = {}
    for task in tasks:
        pages = task.shape[0]
        _say(f"{pages} pages")
        late = _hopeless(results, pages, limits["build_seconds"]) | late
        able = [way for way in ways if way.name not in late]
        rows = run(task, able, **limits)
        late |= {
            row["name"]: f"{row['failed']} at {pages:,} pages" for row in rows if row["failed"]
        }
        tried = {row["name"] for row in rows}
        given_up = [
            {"name": way.name, "failed": late[way.name]} for way in ways if way.name not in tried
        ]
        size = {"pages": pages, "load": round(os.getloadavg()[0], 1)}
        results += [size | row for row in [*rows, *given_up]]
        yield results


def _hopeless(results: Sequence[dict[str, Any]], pages: int, seconds: float) -> dict[str, str]:
    """Names whose last two builds say that so many pages take 1.5 times ``seconds``, and why."""
    late = {}
    for name in dict.fromkeys(row["name"] for row in results):
        done = [row for row in results if row["name"] == name and "ms" in row]
        built = {row["pages"]: row["pages"] / max(row["pages_per_cpu_second"], 0.1) for row in done}
        if len(built) > 1:
            (few, quick), (many, slow) = sorted(built.items())[-2:]
            expected = slow + (slow - quick) / (many - few) * (pages - many)
            if expected > 1.5 * seconds:
                late[name] = f"would take about {expected:.0f} s to build {pages:,} pages"
    return late


def installed(ways: Sequence[type[Contender]]) -> tuple[list[type[Contender]], list[str]]:
    """Those that can run, and the names of those that are not installed."""
    able = [way for way in ways if importlib.util.find_spec(way.module)]
    return able, [way.name for way in ways if way not in able]


def table(results: Sequence[dict[str, Any]], missing: Sequence[str] = ()) -> str:
    """Markdown, one table a size."""
    lines = []
    for pages in sorted({row["pages"] for row in results}):
        rows = [row for row in results if row["pages"] == pages]
        load = f" (load {rows[0]['load']:.1f})" if "load" in rows[0] else ""
        lines += [f"{pages:,} pages{load}:", "", _HEAD, "|" + "---|" * _HEAD.count(" | ") + "---|"]
        lines += [_line(row) for row in rows]
        lines.append("")
    lines += [f"Not installed: {name}." for name in missing]
    return "\n".join(lines)


def merged(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a contender and number of pages: the last one."""
    return list({(row["pages"], row["name"]): row for row in results}.values())


def plot(results: Sequence[dict[str, Any]], path: Path, title: str) -> None:
    """Median CPU milliseconds by number of pages, one line a contender."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "bench"  # the same drawing from the same numbers
    from matplotlib import pyplot

    colours = pyplot.get_cmap("tab20")
    figure, axes = pyplot.subplots(figsize=(8, 6), layout="constrained")
    for n, name in enumerate(dict.fromkeys(row["name"] for row in results)):
        points = [(r["pages"], r["cpu_p50_ms"]) for r in results if r["name"] == name and "ms" in r]
        style = "-o" if name.startswith("ours") else "--s"
        if points:
            axes.plot(*zip(*points, strict=True), style, color=colours(n % 20), label=name, ms=4)
    axes.set(xscale="log", yscale="log", xlabel="pages", ylabel="CPU ms a query (median)")
    axes.set_title(title)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", fontsize=8, ncols=3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def memory_mb() -> float:
    """Resident memory of this process, mapped files included; 0 where /proc does not tell."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    return 0.0


def _start(way: type[Contender], task: Task, where: Path) -> Running:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    folder = where / way.name.replace(" ", "_").replace(",", "")
    folder.mkdir()
    arguments = (there, way, task.source, folder, task.sample)
    process = context.Process(target=serve, args=arguments, daemon=True)
    process.start()
    there.close()
    return Running(way.name, process, here, way.stores)


def _build(one: Running, seconds: float) -> None:
    if one.ask(("import",), _IMPORT_SECONDS) is not None:
        one.built = one.ask(("build",), seconds) or {}
    _say(f"  {one.name}: {one.failed or 'built in {:.1f} s'.format(one.built['seconds'])}")


def _ask_all(running: Sequence[Running], query: Array, seconds: float, rounds: int) -> None:
    """Each of them in turn, ``rounds`` times; the truth (the first) has to answer every query."""
    for one in [one for one in running if not one.failed]:
        spent = sum(answer["cpu_ms"] for answer in one.answers) / 1000
        times = rounds if spent < seconds or one is running[0] else 0
        found = [one.ask(("search", query, K), max(seconds, 60)) for _ in range(times)]
        done = [answer for answer in found if answer]
        if done:
            middle = {key: float(np.median([d[key] for d in done])) for key in ("ms", "cpu_ms")}
            one.answers.append({"rows": done[0]["rows"], **middle})


def _figures(one: Running, task: Task, truth: Running) -> dict[str, Any]:
    timed = list(zip(one.answers[1:], truth.answers[1:], strict=False))
    memory = None if one.failed else one.ask(("memory",), 60)
    if one.failed or memory is None or not timed:
        return {"name": one.name, "failed": one.failed or "no time for a query"}
    pages = task.shape[0]
    ms, cpu = ([answer[key] for answer, _ in timed] for key in ("ms", "cpu_ms"))
    kept = [len(set(a["rows"]) & set(b["rows"])) / len(b["rows"]) for a, b in timed]
    row = {
        "name": one.name,
        "failed": "",
        "pages_per_second": round(pages / max(one.built["seconds"], 1e-9), 1),
        "pages_per_cpu_second": round(pages / max(one.built["cpu_seconds"], 1e-9), 1),
        "stores": one.stores,
        "bytes_per_page": round(one.built["bytes"] / pages),
        "queries": len(timed),
        "ms": round(float(np.median(ms)), 3),
        "p95_ms": round(float(np.percentile(ms, 95)), 3),
        "cpu_p50_ms": round(float(np.median(cpu)), 3),
        "recall@10": round(float(np.mean(kept)), 4),
        "resident_mb": round(memory["mb"], 1),
        "imports_mb": round(memory["imports_mb"], 1),
    }
    if task.answers is not None:
        pairs = zip(timed, task.answers, strict=False)
        row["ndcg@10"] = round(float(np.mean([ndcg(a["rows"], rows) for (a, _), rows in pairs])), 4)
    return row


def ndcg(found: Sequence[int], relevant: Sequence[int]) -> float:
    """nDCG@10 of one query with relevances 0 and 1."""
    gains = [1 / math.log2(n + 2) for n in range(K)]
    ideal = sum(gains[: len(relevant)])
    return sum(gain for gain, row in zip(gains, found, strict=False) if row in relevant) / ideal


_HEAD = (
    "| contender | ingest, pages/s | bytes a page | p50 ms | p95 ms | CPU p50 ms | recall@10 "
    "| nDCG@10 | resident MB | queries |"
)


def _line(row: dict[str, Any]) -> str:
    if row["failed"]:
        return f"| {row['name']} | {row['failed']} |" + " |" * 8
    ingest = f"{row['pages_per_second']:,.0f}" if row["stores"] else "–"
    where = "" if row["stores"] else " in memory"
    quality = f"{row['ndcg@10']:.3f}" if "ndcg@10" in row else "–"
    cells = [
        row["name"],
        ingest,
        f"{row['bytes_per_page']:,}{where}",
        *(f"{row[key]:,.1f}" for key in ("ms", "p95_ms", "cpu_p50_ms")),
        f"{row['recall@10']:.3f}",
        quality,
        f"{row['resident_mb']:,.0f}",
        str(row["queries"]),
    ]
    return f"| {' | '.join(cells)} |"


def _units(generator: np.random.Generator, *shape: int) -> Array:
    made: Array = generator.standard_normal(shape, dtype=np.float32)
    return made / np.linalg.norm(made, axis=-1, keepdims=True)


def _clocks() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def _since(start: tuple[float, float]) -> tuple[float, float]:
    return time.perf_counter() - start[0], time.process_time() - start[1]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _about(given: argparse.Namespace) -> dict[str, Any]:
    return {
        "time": time.strftime("%H:%M UTC", time.gmtime()),
        "load": [round(load, 1) for load in os.getloadavg()],
        "set": given.set,
        "queries": given.queries,
        "rounds": given.rounds,
    }


def _read_rows(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(path.read_text())["numbers"]["rows"]
    return rows


def _tasks(given: argparse.Namespace, folder: Path) -> Iterator[Task]:
    if given.set == "random":
        for size in sorted(given.sizes):
            yield random_task(folder, size, given.dimension, given.queries)
        return
    real = read_real(given.real) if given.real else read_real()
    for size in sorted({min(size, len(real.vectors)) for size in given.sizes}):
        yield real_task(folder, size, given.queries, real)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, write JSON and the plot after every size."""
    given = _parser().parse_args(arguments)
    os.environ.update(dict.fromkeys((*THREADS, *OTHER_THREADS), "1"))
    wanted = [way for way in CONTENDERS if not given.only or _matches(way.name, given.only)]
    ways, missing = installed(list(dict.fromkeys((CONTENDERS[0], *wanted))))
    _say(f"not installed: {', '.join(missing) or 'none'}")
    before = [row for path in given.add for row in _read_rows(path)]
    about, found = {**_about(given), "missing": missing}, before
    limits = {name: getattr(given, name) for name in ("rounds", "build_seconds", "search_seconds")}
    with tempfile.TemporaryDirectory(dir=given.scratch) as folder:
        for rows in measure(_tasks(given, Path(folder)), ways, **limits):
            found = merged([*before, *rows])
            _keep(given, about, found)
    print(table(found, missing))
    return 0


def _keep(given: argparse.Namespace, about: dict[str, Any], rows: Sequence[dict[str, Any]]) -> None:
    """What is measured so far: a run that is stopped leaves it."""
    if given.json:
        records.write(given.json, CLAIM, {**about, "rows": rows})
    if given.plot:
        plot(rows, given.plot, f"(16,64) over {given.set} vectors, one thread")


def _matches(name: str, parts: Sequence[str]) -> bool:
    return any(part.lower() in name.lower() for part in parts)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--set", choices=("random", "real"), default="random")
    parser.add_argument("--real", type=Path, help="where real_embeddings.py wrote")
    parser.add_argument("--sizes", type=int, nargs="*", default=[1000, 10_000, 100_000])
    parser.add_argument("--dimension", type=int, default=128, help="of random vectors")
    parser.add_argument("--queries", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=1, help="times each query is asked")
    parser.add_argument("--build-seconds", type=float, default=300, help="CPU time to store pages")
    parser.add_argument("--search-seconds", type=float, default=60, help="CPU time for all queries")
    parser.add_argument("--only", nargs="+", default=[], help="parts of contenders' names")
    parser.add_argument("--add", type=Path, nargs="*", default=[], help="JSON of runs before")
    parser.add_argument("--scratch", type=Path, help="a folder on a disk with room")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    return parser


if __name__ == "__main__":
    sys.exit(main())
