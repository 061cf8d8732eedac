"""Many clients of one ``metaembed serve``, with writes in between, beside the bare search.

    python -m benchmarks.search.serving --pages 500 --requests 1000 --clients 32 \
        --json results/serving.json

An index of made-up pages is searched in this process, then served by another one and searched by
one client, then by many at once. Of those, every twentieth request uploads a page or deletes one.
Each answer is checked: pages of the index by vectors alone must come in the order and with the
scores that the index itself gives, an uploaded page must be found first by its own words as soon as
it is acknowledged, and a deleted one not at all. Questions are new ones each time, so that each is
encoded; milliseconds are those of a whole request, as a client sees them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import results
from metaembed_rag import MetaEmbedEncoder, Page, PageIndex
from metaembed_rag.errors import ServerError
from metaembed_rag.federation.client import Server

CLAIM = "One served index and many clients at once, with writes in between, beside the bare search."
K = 10
_WORDS = """bridge harbour library engine garden mountain printer violin kitchen satellite carries
measures repairs paints describes compares moves stores counts sorts slowly precisely rarely hand
night winter noise care""".split()  # noqa: SIM905  # as a list it is thirty lines
_WRITE_EVERY = 20


def made_up_text(number: int, words: int = 60) -> str:
    """A page or a question that nobody else has, of words that many have."""
    return " ".join(random.Random(number).choices(_WORDS, k=words))


@dataclass
class Seen:
    """What clients saw.

    Attributes:
        milliseconds: Of each search.
        writes: Uploads and deletions that were acknowledged.
        errors: What a server refused or broke off.
        wrong: Answers that are not those of the index.
    """

    milliseconds: list[float] = field(default_factory=list)
    writes: int = 0
    errors: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def numbers(self) -> dict[str, Any]:
        """For the record."""
        return {
            "requests": len(self.milliseconds) + self.writes,
            "writes": self.writes,
            "errors": len(self.errors),
            "wrong": len(self.wrong),
            **percentiles(self.milliseconds),
        }


def percentiles(milliseconds: Sequence[float]) -> dict[str, float]:
    """The median, and what one of twenty is slower than."""
    if len(milliseconds) < 2:
        return {"p50_ms": sum(milliseconds), "p95_ms": sum(milliseconds)}
    cuts = statistics.quantiles(milliseconds, n=20)
    return {"p50_ms": round(statistics.median(milliseconds), 2), "p95_ms": round(cuts[-1], 2)}


Expected = dict[str, list[tuple[str, float]]]
"""Of each question the pages in order: text and score."""


def expected(index: PageIndex, questions: Sequence[str], budget: str) -> tuple[Expected, Seen]:
    """What the index itself answers, and how long it takes in this process."""
    seen, found = Seen(), {}
    for question in questions:
        start = time.perf_counter()
        hits = index.search(question, K, budget=budget, hybrid=False)
        seen.milliseconds.append(1000 * (time.perf_counter() - start))
        found[question] = [(hit.page.text, round(hit.score, 6)) for hit in hits]
    return found, seen


def crowd(
    server: Callable[[], Server], answers: Expected, budget: str, clients: int, write_every: int = 0
) -> Seen:
    """Let clients ask all questions once, at the same time.

    Args:
        server: Makes the connection of a client.
        answers: The questions, and what is right.
        budget: Of all searches.
        clients: Threads.
        write_every: Upload a page, find it and delete it after so many searches; 0 for never.
    """
    seen, questions = Seen(), iter(enumerate(answers.items()))
    lock = threading.Lock()

    def work() -> None:
        asks = server()
        while True:
            with lock:
                number, one = next(questions, (0, None))
            if one is None:
                return
            try:
                _search(asks, one[0], one[1], budget, seen)
                if write_every and number % write_every == 0:
                    _write(asks, number, seen)
            except ServerError as error:
                seen.errors.append(str(error))

    threads = [threading.Thread(target=work) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return seen


def _search(
    server: Server, question: str, right: Sequence[tuple[str, float]], budget: str, seen: Seen
) -> None:
    start = time.perf_counter()
    asked = {"query": question, "k": K, "budget": budget, "hybrid": False}
    found = server.post("/search", asked)
    seen.milliseconds.append(1000 * (time.perf_counter() - start))
    # Uploads of others may stand between; the rest has to be as if there were none.
    ours = [(h["text"], h["score"]) for h in found["hits"] if not h["source"].startswith("upload")]
    same = [
        text == expected and abs(score - wanted) < 1e-4
        for (text, score), (expected, wanted) in zip(ours, right, strict=False)
    ]
    if not ours or not all(same):
        seen.wrong.append(question)


def _write(server: Server, number: int, seen: Seen) -> None:
    """Upload a page, find it at once, delete it, and find it no more."""
    name, word = f"upload{number}.txt", f"zq{number}zq"
    told = list(server.events("/pages", [("files", name, f"{word} {word} is new".encode())]))
    if told[-1][0] != "done":
        raise ServerError(str(told[-1][1]))
    seen.writes += 1
    asked = {"query": word, "k": 1, "hybrid": True}
    hits = server.post("/search", asked)["hits"]
    if not hits or hits[0]["source"] != name:
        seen.wrong.append(f"{name} was not found")
    server.delete(f"/pages?source={name}")
    seen.writes += 1
    if any(hit["source"] == name for hit in server.post("/search", asked)["hits"]):
        seen.wrong.append(f"{name} was found after it was deleted")


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a ``metaembed serve`` of an index, in a process of its own."""
    command = [sys.executable, "-m", "metaembed_rag.cli", "serve", "--index", str(folder)]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [*command, "--port", "0"], stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")
        address = next(
            (found[0] for line in lines if (found := re.search(r"http://\S+", line))), ""
        )
        if not address:
            raise SystemExit(f"metaembed serve ended with {process.wait()}")
        try:
            yield address
        finally:
            process.terminate()
            process.wait()


def measure(arguments: argparse.Namespace, encoder: Any, folder: Path) -> dict[str, Any]:
    """The rows of the table."""
    pages = [Page(f"page{n}", 1, made_up_text(n)) for n in range(arguments.pages)]
    # No question twice: the server remembers the vectors of those that it was asked.
    count, few = arguments.requests, max(1, arguments.requests // 10)
    questions = [made_up_text(10**6 + n, 8) for n in range(count + 2 * few)]
    rows: dict[str, Any] = {}
    with PageIndex.open(folder, encoder) as index:
        index.add(pages)
        index.search("warm", 1)
        answers, seen = expected(index, questions, arguments.budget)
        rows["bare search, in the process"] = {"clients": 1, **seen.numbers()}
    with served(folder) as address:
        asked = list(answers.items())
        many = f"{arguments.clients} clients"
        for name, clients, part, every in (
            ("one client", 1, asked[:few], 0),
            (many, arguments.clients, asked[few : 2 * few], 0),
            (f"{many}, with writes", arguments.clients, asked[2 * few :], _WRITE_EVERY),
        ):
            start = time.perf_counter()
            seen = crowd(lambda: Server(address), dict(part), arguments.budget, clients, every)
            seconds = time.perf_counter() - start
            found = seen.numbers()
            rows[name] = {
                "clients": clients,
                **found,
                "per_second": round(found["requests"] / seconds, 1),
            }
            for line in [*seen.errors, *seen.wrong][:5]:
                print(f"{name}: {line}", file=sys.stderr)
    return rows


def main() -> None:
    """Measure, print, and keep the record."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pages", type=int, default=500)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--budget", default="16,64")
    parser.add_argument("--model", default="small")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    encoder = MetaEmbedEncoder.from_pretrained(arguments.model)
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(arguments, encoder, Path(folder) / "index")
    print(json.dumps(rows, indent=1))
    if arguments.json:
        numbers = {"pages": arguments.pages, "k": K, "budget": arguments.budget, "rows": rows}
        results.write(arguments.json, CLAIM, numbers)


if __name__ == "__main__":
    main()
