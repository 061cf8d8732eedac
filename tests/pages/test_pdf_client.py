"""Hostile and damaged PDFs cost themselves: no other page, no other file, not this process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

import pytest

from metaembed_rag.errors import PageError, ResourceLimitError
from metaembed_rag.index import PageIndex
from metaembed_rag.pages import Limits, Page, load_pages, page_texts, pdf_client, worker_client
from metaembed_rag.pages.load import count_pages
from metaembed_rag.testing import FakeEncoder
from tests.support.bombs import (
    FOLDER,
    LIMITS,
    SMALL,
    between_good_pages,
    of_operators,
    that_cannot_be_opened,
)
from tests.support.counting import falls_to, open_files, settled
from tests.support.files import make_pdf

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

BOMBS = sorted(LIMITS)


def load(path: Path, limits: Limits) -> tuple[list[Page], list[PageError]]:
    errors: list[PageError] = []
    return list(load_pages(path, on_skip=errors.append, limits=limits)), errors


def workers(of: int) -> list[int]:
    """The process numbers of the PDF workers that a process has started."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                stat, command = (entry / "stat").read_text(), (entry / "cmdline").read_bytes()
            except OSError:  # it has just ended
                continue
            if int(stat.rpartition(")")[2].split()[1]) == of and b"pdf_worker" in command:
                found.append(int(entry.name))
    return found


# ----------------------------------------------------------------------------------------- bombs


@pytest.mark.parametrize("bomb", BOMBS)
def test_fault_22_a_bomb_costs_its_page_and_no_other(tmp_path: Path, bomb: str) -> None:
    (tmp_path / "report.pdf").write_bytes(between_good_pages(bomb))
    pages, errors = load(tmp_path / "report.pdf", LIMITS[bomb])
    assert [(page.number, page.text, page.page_count) for page in pages] == [
        (1, "before", 3),
        (3, "behind", 3),
    ]
    assert [(type(error), Path(error.source).name) for error in errors] == [
        (ResourceLimitError, "report.pdf#2")
    ]


@pytest.mark.parametrize(
    ("bomb", "says"),
    [
        ("form_self.pdf", "needs more than 128 MiB of memory.* raise max_memory .--max-memory"),
        ("nested_4g.pdf", "needs more than 128 MiB of memory.* raise max_memory .--max-memory"),
        (
            "huge_shading.pdf",
            "took more than 0.5 seconds.* raise max_page_seconds .--max-page-seconds",
        ),
    ],
)
def test_fault_22_the_reason_names_the_limit_and_how_to_raise_it(bomb: str, says: str) -> None:
    with pytest.raises(ResourceLimitError, match=rf"{bomb}#1: this page of the PDF {says}"):
        list(load_pages(FOLDER / bomb, limits=LIMITS[bomb]))


def test_fault_22_a_pdf_that_cannot_be_opened_costs_itself(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(that_cannot_be_opened())
    make_pdf(tmp_path / "b.pdf", ["good"])
    pages, errors = load(tmp_path, SMALL)
    assert [page.text for page in pages] == ["good"]
    assert [error.source for error in errors] == [(tmp_path / "a.pdf").as_posix()]
    assert "opening this PDF needs more than 128 MiB" in errors[0].reason


def test_fault_22_packed_operators_cost_their_page(tmp_path: Path) -> None:
    bomb = of_operators()
    assert len(bomb) < 500_000
    (tmp_path / "a.pdf").write_bytes(bomb)
    make_pdf(tmp_path / "b.pdf", ["good"])
    pages, errors = load(tmp_path, SMALL)
    assert [page.text for page in pages] == ["good"]
    assert [error.source for error in errors] == [f"{(tmp_path / 'a.pdf').as_posix()}#1"]
    assert "this page of the PDF needs more than 128 MiB" in errors[0].reason


def test_fault_22_texts_alone_are_read_within_the_limits(tmp_path: Path) -> None:
    data = between_good_pages("nested_4g.pdf")
    assert list(page_texts(data, lambda count: [1, 3])) == [(1, "before"), (3, "behind")]
    read = []
    with pytest.raises(ResourceLimitError, match="a PDF#2: this page of the PDF needs more"):
        read.extend(page_texts(data, limits=SMALL))
    with pytest.raises(ResourceLimitError, match="a PDF: opening this PDF needs more"):
        list(page_texts(that_cannot_be_opened(), limits=SMALL))


def test_fault_22_counting_pages_survives_what_cannot_be_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pdf_client, "_COUNTING", SMALL.of_work())
    (tmp_path / "a.pdf").write_bytes(that_cannot_be_opened())
    good = make_pdf(tmp_path / "b.pdf", ["1", "2"])
    assert count_pages([tmp_path / "a.pdf", good, *(FOLDER / bomb for bomb in BOMBS)]) == 6


def test_fault_22_a_file_of_bombs_only_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_client, "_MOST_LOST", 1)
    (tmp_path / "report.pdf").write_bytes(between_good_pages("nested_4g.pdf"))
    pages, errors = load(tmp_path / "report.pdf", SMALL)
    assert [page.text for page in pages] == ["before"]
    assert "#2: this page of the PDF" in str(errors[0])
    assert "report.pdf: pages 3 to 3 were not read" in str(errors[1])


@pytest.fixture
def batch(tmp_path: Path) -> Path:
    """A folder: good.pdf, notes.txt and the bombs between them."""
    folder = tmp_path / "batch"
    folder.mkdir()
    for bomb in BOMBS:
        (folder / bomb).write_bytes((FOLDER / bomb).read_bytes())
    make_pdf(folder / "good.pdf", ["apples"])
    (folder / "notes.txt").write_text("pears")
    return folder


SMALL_AND_SHORT = replace(SMALL, max_page_seconds=0.5)


def test_fault_22_the_good_files_of_a_batch_are_stored(tmp_path: Path, batch: Path) -> None:
    index = PageIndex.open(tmp_path / "index", FakeEncoder())
    report = index.sync(batch, limits=SMALL_AND_SHORT)
    assert (report.added, len(index)) == (2, 2)
    assert [Path(error.source).name for error in report.skipped] == [f"{b}#1" for b in BOMBS]


@pytest.mark.usefixtures("loaded")
def test_fault_22_the_command_line_names_the_bombs_and_stores_the_rest(
    tmp_path: Path, batch: Path, run: Callable[..., tuple[str, str]]
) -> None:
    options = ("--max-page-seconds", 0.5, "--max-memory", 128)
    out, err = run("index", batch, "--index", tmp_path / "i", *options, code=1)
    assert "2 added" in out
    assert [f"{bomb}#1: this page of the PDF" in err for bomb in BOMBS] == [True] * 3
    _, err = run("index", batch, "--index", tmp_path / "i", "--max-page-seconds", 1e9, code=2)
    assert "--max-page-seconds: '1000000000.0' is over 1,000,000 seconds" in err


# --------------------------------------------------------------------------------------- workers


def kept(tmp_path: Path, pages: int = 4) -> Path:
    return make_pdf(tmp_path / "kept.pdf", [f"page {number}" for number in range(1, pages + 1)])


def test_fault_22_a_worker_that_is_killed_in_the_middle_costs_nothing(tmp_path: Path) -> None:
    pages = load_pages(kept(tmp_path))
    read = [next(pages)]
    for pid in workers(os.getpid()):
        os.kill(pid, signal.SIGKILL)
    read += pages
    assert [page.text for page in read] == ["page 1", "page 2", "page 3", "page 4"]


def test_many_documents_are_open_at_once(tmp_path: Path) -> None:
    one, two, three = (load_pages(kept(tmp_path)) for _ in range(3))
    rows = list(zip_longest(one, two, three))
    assert [[page.number for page in row] for row in rows] == [[n] * 3 for n in range(1, 5)]
    assert len(workers(os.getpid())) <= 2


def test_a_reader_that_stops_early_leaves_no_busy_worker(tmp_path: Path) -> None:
    before = settled(open_files)
    for _ in range(3):
        pages = load_pages(kept(tmp_path, 40))
        next(pages)
        pages.close()  # type: ignore[attr-defined]
    pdf_client.WORKERS.close()
    assert workers(os.getpid()) == []
    assert falls_to(before, open_files)


def test_pages_are_those_that_are_read_in_this_process(tmp_path: Path) -> None:
    outline = [("Fruit", 0, 1), ("Pears", 1, 2)]
    path = make_pdf(tmp_path / "a.pdf", ["apples", "pears ﬁ é"], title="T", outline=outline)
    apart, here = (
        list(load_pages(path, limits=Limits(separate_process=way))) for way in (True, False)
    )
    assert apart == here
    assert [page.content_hash() for page in apart] == [page.content_hash() for page in here]


@pytest.mark.parametrize(
    "limit", [{"max_page_seconds": 0}, {"max_page_seconds": float("nan")}, {"max_memory": 0}]
)
def test_limits_that_make_no_sense_are_refused(limit: dict[str, float]) -> None:
    with pytest.raises(PageError, match=r"max_\w+=.*must be over 0"):
        Limits(**limit)  # type: ignore[arg-type]


@pytest.fixture
def no_worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    pdf_client.WORKERS.close()
    pdf_client.READERS.forget()
    monkeypatch.setattr(sys, "executable", "")
    yield
    pdf_client.READERS.forget()


@pytest.mark.usefixtures("no_worker")
def test_where_no_worker_can_start_pdfs_are_read_here_and_it_is_said_once(tmp_path: Path) -> None:
    path = kept(tmp_path)
    with pytest.warns(RuntimeWarning, match="without limits of memory and time") as warned:
        assert [page.number for page in load_pages(path)] == [1, 2, 3, 4]
        assert list(page_texts(path.read_bytes(), lambda count: [4])) == [(4, "page 4")]
        assert count_pages([path]) == 4
    assert len(warned) == 1


def test_a_system_without_room_for_a_process_is_told_and_the_next_file_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = kept(tmp_path)
    pdf_client.WORKERS.close()

    def refuse(*args: object, **options: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", refuse)
        with pytest.raises(ResourceLimitError, match=r"none can be started now \(.*unavailable"):
            list(load_pages(path))
    assert len(list(load_pages(path))) == 4


# -------------------------------------------------------------------------------- whole programs

PROGRAM = """
import os, sys, threading, time
from metaembed_rag.pages import Limits, load_pages
good, bomb = sys.argv[1:]
pages = load_pages(good)
print(next(pages).number, flush=True)
"""

AT_WORK = """
for page in load_pages(bomb, limits=Limits(max_page_seconds=4)):
    pass
"""

FORKED = """
child = os.fork()
print(*(page.number for page in pages), flush=True)
if not child:
    print(*(page.number for page in load_pages(good)), flush=True)
    os._exit(0)
sys.exit(os.waitpid(child, 0)[1])
"""


def start(code: str, tmp_path: Path) -> subprocess.Popen[str]:
    """A program in a process group of its own, which has read a page of a good file."""
    bomb = FOLDER / "huge_shading.pdf"
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", PROGRAM + code, str(kept(tmp_path)), str(bomb)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "1\n"
    return process


def in_group(group: int) -> list[str]:
    """The commands of all processes of a group."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            if int(stat.rpartition(")")[2].split()[2]) == group:
                found.append(stat)
    return found


def wait_until_gone(group: int, seconds: float) -> list[str]:
    end = time.monotonic() + seconds
    while (left := in_group(group)) and time.monotonic() < end:
        time.sleep(0.05)
    return left


@pytest.mark.integration
@pytest.mark.parametrize("code", ["", "list(pages)", "pages.close()", "time.sleep(0)"])
def test_fault_22_no_process_is_left_when_a_program_ends(tmp_path: Path, code: str) -> None:
    with start(code, tmp_path) as process:
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert wait_until_gone(process.pid, 5) == []


@pytest.mark.integration
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_fault_22_no_process_is_left_when_a_program_is_stopped_at_a_bomb(
    tmp_path: Path, number: signal.Signals
) -> None:
    with start(AT_WORK, tmp_path) as process:
        while len(workers(process.pid)) < 2:  # the second one is at the bomb
            time.sleep(0.02)
        os.kill(process.pid, number) if number == signal.SIGKILL else os.killpg(process.pid, number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert ("KeyboardInterrupt" in errors) == (number == signal.SIGINT)
    # At most the seconds of computing that the page had, on a busy machine.
    assert wait_until_gone(process.pid, 40) == []


@pytest.mark.integration
def test_a_forked_child_reads_on_with_a_worker_of_its_own(tmp_path: Path) -> None:
    with start(FORKED, tmp_path) as process:
        out, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert sorted(out.splitlines()) == ["1 2 3 4", "2 3 4", "2 3 4"]
    assert wait_until_gone(process.pid, 5) == []


@pytest.mark.integration
def test_where_the_system_sets_no_limit_a_worker_looks_itself_how_much_it_has() -> None:
    code = """
import threading, time
from metaembed_rag.pages.worker_program import Restraint, _peak
restraint = Restraint()
restraint._most = _peak() + 50 * 2**20
threading.Thread(target=restraint.watch, daemon=True).start()
held = []
while True:  # as slowly as a busy machine looks
    held.append(bytes([1]) * 2**20)
    time.sleep(0.002)
"""
    limited = f"ulimit -v 4000000; exec {sys.executable} -c '{code}'"
    assert subprocess.run(["bash", "-c", limited], timeout=60).returncode == 86


@pytest.mark.integration
def test_what_the_caller_had_is_not_counted_as_memory_of_a_worker() -> None:
    child = "from metaembed_rag.pages.worker_program import _peak; print(_peak())"
    caller = f"""
import subprocess, sys
held = bytes([1]) * 600 * 2**20
del held
sys.exit(subprocess.run([sys.executable, "-c", {child!r}]).returncode)
"""
    done = subprocess.run([sys.executable, "-c", caller], capture_output=True, timeout=60)
    assert int(done.stdout) < 400 * 2**20
