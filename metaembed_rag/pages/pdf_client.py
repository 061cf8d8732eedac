"""PDF -> pages, read in a worker process with limits: one bad page or file costs no other.

The functions are those of `pdf`, which the worker (`pdf_worker`) calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from metaembed_rag.errors import PageError, ResourceLimitError
from metaembed_rag.pages.figures import MOST_PIXELS
from metaembed_rag.pages.page import Page
from metaembed_rag.pages.worker_client import (
    Readers,
    Reading,
    Work,
    beyond,
    end_of,
    may_be_tried_again,
    opened_of,
    request,
    text_of,
)
from metaembed_rag.pages.workers import Pool, WorkerLostError, WorkLimits

WORKERS = Pool("metaembed_rag.pages.pdf_worker")
"""Those of this process."""
READERS = Readers(WORKERS, "PDFs")

_PAGE = "this page of the PDF"
_COUNTING = WorkLimits(seconds=5.0, memory=512 * 1024**2)


def read_pdf(
    data: bytes, source: str, limits: WorkLimits | None, **arguments: Any
) -> Iterator[Page | PageError]:
    """Yield each page of a PDF, or the error of a page that cannot be read.

    Args:
        data: The bytes of the file.
        source: Its name.
        limits: Of opening it, and of each page; None reads it in this process, without any.
        **arguments: Further ones of `pdf.read_pdf`, of kinds that JSON has.

    Raises:
        PageError: The file cannot be read; see `pdf.read_pdf`.
        ResourceLimitError: It cannot be opened within the limits.
    """
    if limits is None or not READERS.can_start():
        from metaembed_rag.pages import pdf

        yield from pdf.read_pdf(data, source, **arguments)
        return
    # RGB: three bytes a pixel; pixels that do not get smaller grow a little when they are packed.
    most = 3 * int(arguments["max_side"]) ** 2 + 4 * MOST_PIXELS
    work = Work(data, source, limits, "this PDF", _PAGE, True, most, arguments)
    yield from Reading(READERS, work).all()


def read_texts(
    data: bytes,
    choose: Callable[[int], Iterable[int]],
    limits: WorkLimits | None,
    source: str = "a PDF",
) -> Iterator[tuple[int, str]]:
    """Yield number (from 1) and text layer of the pages that ``choose`` takes of their count.

    Raises:
        PageError: The PDF, or one of these pages, cannot be read.
        ResourceLimitError: The same within the limits.
    """
    if limits is None or not READERS.can_start():
        from metaembed_rag.pages import pdf

        yield from pdf.read_texts(data, choose, source)
        return
    reading = _Texts(data, choose, limits, source)
    while not reading.finished:
        yield from reading.go_on()


class _Texts:
    """The text layers of a PDF on their way through one worker, or two.

    Args:
        data: As for `read_texts`, and so are the others.
    """

    def __init__(
        self, data: bytes, choose: Callable[[int], Iterable[int]], limits: WorkLimits, source: str
    ) -> None:
        self.finished = False
        self._data, self._choose, self._limits, self._source = data, choose, limits, source
        self._left: list[int] | None = None  # the pages that are still to be read
        self._tried_again = False

    def go_on(self) -> Iterator[tuple[int, str]]:
        """What one worker gives; only the first one that is lost to something outside counts."""
        seconds, first, read = self._limits.seconds, True, 0
        try:
            with WORKERS.lease(new=self._tried_again) as worker:
                first = not worker.used
                worker.send(request("texts", self._limits, source=self._source), self._data)
                count = worker.receive(seconds, opened_of)
                left = self._left = list(self._choose(count)) if self._left is None else self._left
                worker.send({"numbers": left})
                while left:
                    text = worker.receive(seconds, text_of)
                    read += 1
                    yield left.pop(0), text
                worker.receive(seconds, end_of)
            self.finished = True
        except WorkerLostError as lost:
            if not may_be_tried_again(lost, first and not read, self._tried_again):
                raise self._beyond(lost) from None
            self._tried_again = True

    def _beyond(self, lost: WorkerLostError) -> ResourceLimitError:
        if not self._left:
            return beyond(lost, self._limits, self._source, "opening this PDF")
        return beyond(lost, self._limits, f"{self._source}#{self._left[0]}", _PAGE)


def count_pdf(path: Path) -> int:
    """The number of pages; 1 where the file cannot be read, which its reader will report."""
    if not READERS.can_start():
        from metaembed_rag.pages import pdf

        return pdf.count_pdf(path)
    with suppress(WorkerLostError, PageError):
        try:
            return _counted(path, new=False)
        except WorkerLostError as lost:
            if may_be_tried_again(lost, at_once=False, was_tried_again=False):
                return _counted(path, new=True)
    return 1


def _counted(path: Path, *, new: bool) -> int:
    with WORKERS.lease(new=new) as worker:
        worker.send(request("count", _COUNTING, path=str(path.absolute())))
        count = worker.receive(_COUNTING.seconds, opened_of)
        worker.receive(_COUNTING.seconds, end_of)
        return count
