"""PDF -> pages, read in a worker process with limits: one bad page or file costs no other.

The functions are those of `pdf`, which the worker (`pdf_worker`) calls. A page at which the worker
ends is yielded as an error, and a new worker goes on behind it; after a worker that had read pages
before, the page is tried once more, since what ended it may have come from outside.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from metaembed_rag.errors import PageError, ResourceLimitError
from metaembed_rag.pages.frames import Header, error_of, field_of, page_of
from metaembed_rag.pages.page import Page
from metaembed_rag.pages.workers import Pool, WorkerLostError, WorkerStartError, WorkLimits

WORKERS = Pool("metaembed_rag.pages.pdf_worker")
"""Those of this process."""

_MOST_LOST = 10
"""Pages of one file at which a worker may end; what is behind them is given up."""

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
    if limits is None or not _can_start():
        from metaembed_rag.pages import pdf

        yield from pdf.read_pdf(data, source, **arguments)
        return
    reading = _Reading(data, source, limits, arguments)
    while not reading.finished:
        yield from reading.go_on()


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
    if limits is None or not _can_start():
        from metaembed_rag.pages import pdf

        yield from pdf.read_texts(data, choose, source)
        return
    what, name = "opening this PDF", source
    try:
        with WORKERS.lease() as worker:
            worker.send(_request("texts", limits, source=source), data)
            chosen = list(choose(worker.receive(limits.seconds, _opened)))
            worker.send({"numbers": chosen})
            for number in chosen:
                what, name = "this page of the PDF", f"{source}#{number}"
                yield number, worker.receive(limits.seconds, _text)
            worker.receive(limits.seconds, _end)
    except WorkerLostError as lost:
        raise _beyond(lost, limits, name, what) from None


def count_pdf(path: Path) -> int:
    """The number of pages; 1 where the file cannot be read, which its reader will report."""
    if not _can_start():
        from metaembed_rag.pages import pdf

        return pdf.count_pdf(path)
    with suppress(WorkerLostError, PageError), WORKERS.lease() as worker:
        worker.send(_request("count", _COUNTING, path=str(path.absolute())))
        count = worker.receive(_COUNTING.seconds, _opened)
        worker.receive(_COUNTING.seconds, _end)
        return count
    return 1


class _Reading:
    """A PDF on its way through one worker after the other.

    Attributes:
        finished: Nothing more will come.
    """

    def __init__(
        self, data: bytes, source: str, limits: WorkLimits, arguments: dict[str, Any]
    ) -> None:
        self.finished = False
        self._data, self._source, self._limits = data, source, limits
        self._arguments = {**arguments, "source": source}
        # RGB: three bytes a pixel.
        self._most = 3 * int(arguments["max_side"]) ** 2
        self._next, self._count, self._lost = 1, 0, 0

    def go_on(self) -> Iterator[Page | PageError]:
        """What one worker gives, until the last page or until it ends."""
        began, opened = self._next, False
        try:
            with WORKERS.lease() as worker:
                request = _request("pages", self._limits, first=began, **self._arguments)
                worker.send(request, self._data)
                self._count = worker.receive(self._limits.seconds, _opened)
                opened = True
                while item := worker.receive(self._limits.seconds, self._item, self._most):
                    self._next += 1
                    yield item
            self.finished = True
            return
        except WorkerLostError as error:
            lost = error
        again = self._next > began and lost.cause != "time"
        if not (again or lost.cause == "fork"):
            yield from self._after(lost, opened)

    def _item(self, header: Header, body: bytes) -> Page | PageError | None:
        """The next page, or why it cannot be read; None behind the last."""
        if "end" in header:
            _end(header, body)
            return None
        if header.get("beyond") == "memory":
            return self._page_error(WorkerLostError("memory"))
        if "error" not in header:
            return page_of(header, body, self._source)
        error = error_of(header)
        if isinstance(error, PageError):
            return error
        raise error

    def _after(self, lost: WorkerLostError, opened: bool) -> Iterator[PageError]:
        """What to say of the page, or the file, at which a worker ended."""
        if not opened:
            self.finished = True
            raise _beyond(lost, self._limits, self._source, "opening this PDF")
        if self._next <= self._count:
            yield self._page_error(lost)
            self._next += 1
            self._lost += 1
        self.finished = self._next > self._count
        if self._lost == _MOST_LOST and not self.finished:
            self.finished = True
            yield ResourceLimitError(
                self._source,
                f"pages {self._next:,} to {self._count:,} were not read, because"
                f" {_MOST_LOST} pages before could not be read within the limits; raise them, or"
                " take those pages out",
            )

    def _page_error(self, lost: WorkerLostError) -> PageError:
        return _beyond(lost, self._limits, f"{self._source}#{self._next}", "this page of the PDF")


@cache
def _can_start() -> bool:
    """Whether this program can start workers at all; if not, it is said once."""
    try:
        with WORKERS.lease():
            return True
    except WorkerStartError as error:
        warnings.warn(
            "PDFs are read in this process, without limits of memory and time, because no other"
            f" can be started for them ({error.how}): a damaged or hostile file may end it",
            RuntimeWarning,
            stacklevel=2,
        )
        return False
    except WorkerLostError:  # not now; each file says so
        return True


def _request(what: str, limits: WorkLimits, **arguments: Any) -> Header:
    return {"do": what, "seconds": limits.seconds, "memory": limits.memory, "arguments": arguments}


def _opened(header: Header, body: bytes) -> int:
    """The number of pages of a PDF that was opened; or the error is raised that says why not."""
    if "end" in header:
        _end(header, body)
    return field_of(header, "opened", int)


def _text(header: Header, body: bytes) -> str:
    if "end" in header:
        _end(header, body)
    return field_of(header, "text", str)


def _end(header: Header, body: bytes) -> None:
    """The last frame of an answer; or the error is raised that it holds."""
    field_of(header, "end", bool)
    if header.get("beyond") == "memory":
        raise WorkerLostError("memory")
    if "error" in header:
        raise error_of(header)


def _beyond(lost: WorkerLostError, limits: WorkLimits, name: str, what: str) -> ResourceLimitError:
    """The error of a page or file at which a worker ended."""
    if lost.cause == "time":
        why = (
            f"{what} took more than {limits.seconds:g} seconds; look whether it is what you think,"
            " or raise max_page_seconds (--max-page-seconds)"
        )
    elif lost.cause == "memory":
        mebibytes = limits.memory / 1024**2
        most = f"{mebibytes:,.0f} MiB" if mebibytes >= 1 else f"{limits.memory:,} bytes"
        why = (
            f"{what} needs more than {most} of memory, or breaks the PDF library; look whether it"
            " is what you think, or raise max_memory (--max-memory)"
        )
    elif lost.cause == "start":
        why = f"{what} needs a process, and none can be started now ({lost.how}); run again"
    else:
        why = (
            f"{what} ended the process that read it ({lost.how}), as damaged and hostile files do,"
            " or as the system does when memory runs out; run again, or save the PDF again"
        )
    return ResourceLimitError(name, why)
