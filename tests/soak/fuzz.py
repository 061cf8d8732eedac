"""Hostile input: odd values from strategies of hypothesis, and files with changed bytes.

What is refused is refused in a sentence of this package's; what is taken comes back as it was
given. Cases come in portions, each with a seed of its own, which ``--case`` runs again.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import random
import signal
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import HypothesisWarning
from PIL import Image

from metaembed_rag import cli
from metaembed_rag.cli.calibrate import read_queries
from metaembed_rag.errors import MetaEmbedError, PageError
from metaembed_rag.evaluation.datasets import read_dataset
from metaembed_rag.index import PageIndex
from metaembed_rag.model.describing import Describer
from metaembed_rag.pages import Limits, Page, load_pages
from metaembed_rag.store import records
from metaembed_rag.store.connect import one_spelling
from metaembed_rag.training.data import read_corpus, read_training_set
from metaembed_rag.web import without_password
from tests.soak import strategies
from tests.soak.children import Running, start
from tests.soak.state import encoder
from tests.soak.tally import Share, Tally, again
from tests.support.files import pdf_bytes

_PORTION = 250
_LONGEST = 60.0
"""Seconds after which a case is a hang; a machine that does other things is slow, too."""
_PATIENCE = 300.0
"""Seconds after which a portion is given up, which may hold several cases that are late."""
_SMALL = Limits(max_page_seconds=2, max_memory=256 * 1024**2, max_pixels=10_000_000, max_pages=200)


class _Late(BaseException):
    """A case took too long."""


class Cases:
    """Cases of one portion, each a call that may refuse what it is given."""

    def __init__(self, tally: Tally, name: str) -> None:
        self.tally, self.name = tally, name

    def case(self, about: object, call: Callable[[], Any]) -> Any:
        """What the call returned; None where it refused."""
        begun = time.monotonic()
        self.tally.cases += 1
        self.tally.faults += 1
        try:
            with _alarm(), contextlib.suppress(MetaEmbedError):
                return call()
        except _Late:
            self.tally.fail("hangs", self.name, f"{about!r:.300}")
        except AssertionError as error:
            self.tally.fail("wrong", self.name, f"{about!r:.300}: {error}")
        except Exception as error:  # noqa: BLE001 (whatever it is, it is counted)
            where = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{Path(where.filename).name}:{where.lineno}"
            why = f"{type(error).__name__}: {error!s:.150} at {place}"
            self.tally.fail("tracebacks", self.name, f"{about!r:.300}: {why}")
        if time.monotonic() - begun > _LONGEST:
            self.tally.fail("hangs", self.name, f"{about!r:.300}")
        return None


@contextlib.contextmanager
def _alarm() -> Iterator[None]:
    """Raise where a case takes too long, unless somebody else has set the clock (pytest does)."""
    if signal.getitimer(signal.ITIMER_REAL) != (0.0, 0.0):
        yield
        return

    def late(*_: object) -> None:
        raise _Late

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, _LONGEST)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def each(strategy: Any, portion: int, count: int, use: Callable[[Any], None]) -> None:
    """Call ``use`` with so many values of a strategy."""

    @seed(portion)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def draw(value: Any) -> None:
        use(value)

    draw()


# -- values ------------------------------------------------------------


def pages(cases: Cases, portion: int, count: int) -> None:
    """Pages of odd fields: those that are taken come back as they were given."""
    taken: dict[str, Page] = {}

    def use(fields: dict[str, Any]) -> None:
        page = cases.case(fields, lambda: _storable(fields))
        if page is not None and page.text.strip():
            taken[page.id] = page

    each(strategies.fields, portion, count, use)
    with PageIndex.open(":memory:", encoder()) as index:
        cases.case("all pages that were taken", lambda: _come_back(index, list(taken.values())))


def _storable(fields: dict[str, Any]) -> Page:
    page = Page(**fields)
    records.stored_metadata(page.metadata, page.id)
    return page


def _come_back(index: PageIndex, given: Sequence[Page]) -> None:
    report = index.add(given)
    assert not report.skipped, report.skipped
    wanted = [page for page in given if page.page_count is None or page.number <= page.page_count]
    found = {page.id: page for page in index.get([page.id for page in wanted])}
    for page in wanted:
        assert page.id in found, f"{page.id!r:.99} is not there"
        back = found[page.id]
        for name in ("source", "number", "text", "settings", "page_count"):
            before, after = getattr(page, name), getattr(back, name)
            assert (type(before), before) == (type(after), after), f"{name}: {before!r}, {after!r}"
        stored = records.stored_metadata(page.metadata, page.id)
        assert records.same_metadata(stored, back.metadata), f"{stored!r}, {back.metadata!r}"


def queries(cases: Cases, portion: int, count: int) -> None:
    """Odd queries, options and ids, asked of a small index."""
    with _small() as index:

        def use(asked: tuple[Any, dict[str, Any], Any]) -> None:
            query, options, ids = asked
            cases.case((query, options), lambda: index.search(query, **options))
            cases.case(ids, lambda: (index.get(ids), index.score("fox", ids), index.vectors(ids)))

        asked = st.tuples(strategies.queries, strategies.searches, strategies.ids)
        each(asked, portion, (count + 1) // 2, use)


def filters(cases: Cases, portion: int, count: int) -> None:
    """Odd filters: a search and a list of ids agree in what passes."""
    with _small() as index:

        def agree(where: Any) -> None:
            found = index.search("fox", 9, where=where, hybrid=False)
            assert {hit.page.id for hit in found} == set(index.ids(where)), "they disagree"

        each(strategies.filters, portion, count, lambda one: cases.case(one, partial(agree, one)))


def _small() -> PageIndex:
    index = PageIndex.open(":memory:", encoder())
    index.add(
        [
            Page(name, text=f"{name} fox", metadata={"year": 2018 + n, "title": name})
            for n, name in enumerate("abcdef")
        ]
    )
    return index


def lines(cases: Cases, portion: int, count: int) -> None:
    """Odd JSON lines as evaluation sets, training sets and queries: file and line are named."""
    with tempfile.TemporaryDirectory(prefix="soak_") as scratch:
        folder = Path(scratch)
        (folder / "qrels").mkdir()

        def use(drawn: tuple[list[dict[str, Any]], int]) -> None:
            objects, way = drawn
            rows = [json.dumps(one) for one in objects]
            draw = random.Random(way)
            if draw.random() < 0.3:
                rows[-1] = _spoilt(rows[-1], draw)
            data = "\n".join(rows).encode("utf-8", "surrogatepass")
            for name in ("corpus.jsonl", "queries.jsonl"):
                (folder / name).write_bytes(data)
            id = str(objects[0].get("_id", "a"))
            qrels = f"q\tc\ts\n{id}\t{id}\t1\n"
            (folder / "qrels" / "test.tsv").write_bytes(qrels.encode("utf-8", "surrogatepass"))
            reader = _READERS[way % len(_READERS)]
            cases.case(rows, lambda: _named(reader, folder))

        each(st.tuples(strategies.lines, st.integers(0, 2**16)), portion, count, use)


_READERS: list[Callable[[Path], Any]] = [
    lambda folder: read_dataset(folder).pages,
    lambda folder: list(read_training_set(folder / "corpus.jsonl")),
    lambda folder: read_corpus(folder),
    lambda folder: read_queries(folder / "queries.jsonl"),
]


def _named(reader: Callable[[Path], Any], folder: Path) -> None:
    try:
        reader(folder)
    except MetaEmbedError as error:
        assert str(folder) in str(error) or "qrels" in str(error), f"no file in: {error}"
        raise


def _spoilt(row: str, draw: random.Random) -> str:
    kind = draw.randrange(6)
    if kind == 0:
        return "[" * 100_000
    if kind == 1:
        return '{"_id": ' + "9" * 6000 + ', "text": "a"}'
    if kind == 2:
        return row[: draw.randrange(len(row) + 1)]
    if kind == 3:
        return row.replace('"', "'", 1)
    if kind == 4:
        return '{"a":' * 5000 + "1" + "}" * 5000
    return row + draw.choice(["\ud800", "\0", "\x1a", "}", ",", "NaN"])


def addresses(cases: Cases, portion: int, count: int) -> None:
    """Odd addresses of indexes and of models; nothing is connected, no password is shown."""

    def use(text: str) -> None:
        cases.case(text, lambda: _hidden(text, one_spelling))
        cases.case(text, lambda: _hidden(text, Describer.of))
        cases.case(text, lambda: _hidden(text, without_password))

    each(strategies.addresses, portion, (count + 2) // 3, use)


def _hidden(text: str, read: Callable[[str], Any]) -> None:
    try:
        read(text)
    except MetaEmbedError as error:
        assert "user:secret@" not in str(error), f"a password in: {error}"
        raise


def command_lines(cases: Cases, portion: int, count: int) -> None:
    """Odd command lines: an exit code, never a traceback."""
    with tempfile.TemporaryDirectory(prefix="soak_") as scratch:
        folder = Path(scratch)
        (folder / "files").mkdir()
        (folder / "files" / "a.txt").write_text("a fox")
        with PageIndex.open(folder / "index", encoder()) as index:
            index.sync(folder / "files")
        before = Path.cwd()
        os.chdir(folder)
        named = {"FILES": str(folder / "files"), "INDEX": str(folder / "index")}

        def use(words: list[str]) -> None:
            given = [named.get(word, word) for word in words]
            cases.case(given, lambda: _command(given))

        try:
            with _fake_models(), _quiet():
                each(strategies.commands, portion, count, use)
        finally:
            os.chdir(before)


def _command(words: list[str]) -> None:
    try:
        code = cli.main(words)
    except SystemExit as stop:
        code = stop.code
    assert code in (0, 1, 2, None), f"exit code {code!r}"


@contextlib.contextmanager
def _fake_models() -> Iterator[None]:
    """Any model's name loads the encoder without weights."""
    with (
        patch("metaembed_rag.opening.load_encoder", lambda *_, **__: encoder()),
        patch.dict(os.environ, {"METAEMBED_DATA": "/nowhere"}),
    ):
        yield


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        patch("sys.stdin", io.StringIO("fox")),
    ):
        yield


# -- files ------------------------------------------------------------


def files(cases: Cases, portion: int, count: int) -> None:
    """Files with changed bytes: read, or refused with a reason."""
    draw = random.Random(portion)
    with tempfile.TemporaryDirectory(prefix="soak_") as scratch:
        seeds = _seeds()
        for _ in range(count):
            name, data = draw.choice(seeds)
            changed = _changed(data, draw)
            path = Path(scratch) / f"{draw.choice(_NAMES)}{name}"
            path.write_bytes(changed)
            cases.case((name, len(changed), portion), lambda path=path: _read(path))
            path.unlink()


def _read(path: Path) -> None:
    refused: list[PageError] = []
    for page in load_pages(path, on_skip=refused.append, limits=_SMALL, max_side=256):
        records.stored_metadata(page.metadata, page.id)
    for error in refused:
        assert error.reason, "no reason"


_NAMES = ["a", "b c", "\x1b[31m", "é", "a" * 200, "-", "%s", "$(x)"]


def _seeds() -> list[tuple[str, bytes]]:
    """A suffix and the bytes of a file, some of each kind; PDFs, which are slow, are one in six."""
    picture = Image.linear_gradient("L").resize((40, 30)).convert("RGB")
    found = [(".pdf", pdf_bytes(["one", "two"], title="t", outline=[("a", 0, 1)]))]
    for suffix, form in ((".png", "PNG"), (".jpg", "JPEG"), (".webp", "WEBP"), (".tiff", "TIFF")):
        buffer = io.BytesIO()
        picture.save(buffer, form)
        found.append((suffix, buffer.getvalue()))
    found += [(".md", b"# A\n\ntext\n\n## B\n" * 5), (".txt", "é word ".encode("utf-16") * 9)]
    found += [(".docx", b"PK\3\4" + bytes(60)), (".txt", b"plain\r\n\r\n" * 40)]
    return found


def _changed(data: bytes, draw: random.Random) -> bytes:
    """Some of the bytes changed, dropped, repeated, or swapped for telling ones."""
    out = bytearray(data)
    for _ in range(draw.choice((1, 1, 3, 20))):
        at = draw.randrange(len(out) + 1)
        kind = draw.randrange(6)
        if kind == 0:
            out[at : at + 1] = bytes([draw.randrange(256)])
        elif kind == 1:
            del out[at : at + draw.choice((1, 10, 1000))]
        elif kind == 2:
            out[at:at] = out[max(0, at - draw.randrange(200)) : at] * draw.choice((1, 1, 50))
        elif kind == 3:
            out[at : at + 4] = draw.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff"))
        elif kind == 4:
            out[at:at] = draw.choice(
                (b"obj", b"stream", b"999999999", b"<<", b"#" * 999, b" " * 999)
            )
        else:
            out = out[:at] or out
    return bytes(out)


# -- portions ------------------------------------------------------------

_KINDS = {
    "fuzz: pages": (pages, 16_000, 3),
    "fuzz: queries, ids": (queries, 20_000, 3),
    "fuzz: filters": (filters, 20_000, 2.5),
    "fuzz: JSON lines": (lines, 20_000, 3),
    "fuzz: addresses": (addresses, 15_000, 1.5),
    "fuzz: command lines": (command_lines, 4_000, 3.5),
    "fuzz: files": (files, 10_000, 3),
}


def portions(name: str, share: Share, *, apart: bool = True) -> Tally:
    """All portions of a kind, each in a process of its own, some at once, or in this one."""
    tally = Tally(name)
    whole = Share(share.seed, -(-share.cases // _PORTION), share.seconds, share.only)
    at_work: list[tuple[str, Running]] = []
    with share.telling(name, lambda: tally.cases):
        for number in whole.numbers():
            left = share.cases - number * _PORTION
            count = _PORTION if share.only is not None else min(_PORTION, left)
            case = again(name, share.seed, number)
            drawn = share.draw(name, number).randrange(2**32)
            if not apart:
                _KINDS[name][0](Cases(tally, case), drawn, count)
                continue
            at_work.append((case, start(_portion, name, case, drawn, count)))
            if len(at_work) >= share.workers:
                _finish(tally, *at_work.pop(0))
        for one in at_work:
            _finish(tally, *one)
    return tally


def _finish(tally: Tally, case: str, running: Running) -> None:
    """Count what a portion has found."""
    done = running.wait(_PATIENCE)
    if done.value is not None:
        tally.merge(done.value)
        return
    what = "hangs" if done.hung or done.killed else "tracebacks"
    tally.fail(what, case, f"the whole portion: {done.error or done}")


def _portion(name: str, case: str, drawn: int, count: int) -> Tally:
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore", HypothesisWarning)
    tally = Tally(name)
    _KINDS[name][0](Cases(tally, case), drawn, count)
    return tally


KINDS: dict[str, tuple[Callable[[Share], Tally], int, float]] = {
    name: (partial(portions, name), cases, minutes) for name, (_, cases, minutes) in _KINDS.items()
}
"""What runs a kind, how many cases it has, and for how many minutes at most."""
