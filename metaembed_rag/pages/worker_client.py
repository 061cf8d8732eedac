"""What those who have files read in worker processes have in common.

A page at which the worker ends is tried once more by a new one, since what ended it may have come
from outside: the system may end an idle worker, too, which nobody notices before the next file. A
page that ends both is yielded as an error, and a third worker goes on behind it. What goes beyond
its time, or the memory of a new worker, is not tried again.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from metaembed_rag.errors import PageError, ResourceLimitError
from metaembed_rag.pages.frames import Header, error_of, field_of, page_of
from metaembed_rag.pages.page import Page
from metaembed_rag.pages.workers import Pool, WorkerLostError, WorkerStartError, WorkLimits

_MOST_LOST = 10
"""Pages of one file at which a worker may end; what is behind them is given up."""


@dataclass
class Readers:
    """The workers of this process that read one kind of work.

    Args:
        pool: The workers.
        kind: What they read, for messages: ``"PDFs"``.
    """

    pool: Pool
    kind: str
    _can_start: bool | None = field(default=None, init=False)

    def can_start(self) -> bool:
        """Whether this program can start workers at all; if not, it is said once."""
        if self._can_start is None:
            self._can_start = self._tried()
        return self._can_start

    def forget(self) -> None:
        """Try again whether workers can be started."""
        self._can_start = None

    def _tried(self) -> bool:
        try:
            with self.pool.lease():
                return True
        except WorkerStartError as error:
            warnings.warn(
                f"{self.kind} are read in this process, without limits of memory and time, because "
                f"no other can be started for them ({error.how}): a damaged or hostile file may "
                f"end it",
                RuntimeWarning,
                stacklevel=2,
            )
            return False
        except WorkerLostError:  # not now; each file says so
            return True


@dataclass(frozen=True)
class Work:
    """A file that is read page by page.

    Args:
        data: Its bytes.
        source: Its name.
        limits: Of opening it, and of each page.
        file: What it is called: ``"this PDF"``; and ``page``, one of its pages.
        is_document: Whether its only page has a number, too.
        most: Bytes of the largest picture.
        arguments: Further ones of the reader, of kinds that JSON has.
    """

    data: bytes
    source: str
    limits: WorkLimits
    file: str
    page: str
    is_document: bool
    most: int
    arguments: dict[str, Any]


class Reading:
    """A file on its way through one worker after the other.

    Args:
        readers: Those who read it.
        work: The file.

    Attributes:
        finished: Nothing more will come.
    """

    def __init__(self, readers: Readers, work: Work) -> None:
        self.finished = False
        self._pool, self._work = readers.pool, work
        self._data, self._source, self._limits = work.data, work.source, work.limits
        self._arguments = {**work.arguments, "source": work.source}
        self._next, self._count, self._lost = 1, 0, 0
        self._tried_again = 0  # the page at which that was last

    def go_on(self) -> Iterator[Page | PageError]:
        """What one worker gives, until the last page or until it ends."""
        began, opened, first = self._next, False, True
        try:
            with self._pool.lease(new=self._tried_again == began) as worker:
                first = not worker.used
                asked = request("pages", self._limits, first=began, **self._arguments)
                worker.send(asked, self._data)
                self._count = worker.receive(self._limits.seconds, opened_of)
                opened = True
                while item := worker.receive(self._limits.seconds, self._item, self._work.most):
                    self._next += 1
                    yield item
            self.finished = True
            return
        except WorkerLostError as error:
            lost = error
        if lost.cause == "fork":
            return
        if may_be_tried_again(lost, first and self._next == began, self._tried_again == self._next):
            self._tried_again = self._next
        else:
            yield from self._after(lost, opened)

    def _item(self, header: Header, body: bytes) -> Page | PageError | None:
        """The next page, or why it cannot be read; None behind the last."""
        if "end" in header:
            end_of(header, body)
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
            raise beyond(lost, self._limits, self._source, f"opening {self._work.file}")
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
        only = self._count == 1 and not self._work.is_document
        name = self._source if only else f"{self._source}#{self._next}"
        return beyond(lost, self._limits, name, self._work.page)

    def all(self) -> Iterator[Page | PageError]:
        """Every page, or why it cannot be read."""
        while not self.finished:
            yield from self.go_on()


def may_be_tried_again(lost: WorkerLostError, at_once: bool, was_tried_again: bool) -> bool:
    """Whether a new worker may do what one was lost at.

    Args:
        lost: How it was lost.
        at_once: It was new, and this was the first that it did.
        was_tried_again: This was the second worker already.
    """
    causes = ("crash",) if at_once else ("crash", "memory")
    return lost.cause in causes and not was_tried_again


def request(what: str, limits: WorkLimits, **arguments: Any) -> Header:
    """What is asked of a worker."""
    return {"do": what, "seconds": limits.seconds, "memory": limits.memory, "arguments": arguments}


def opened_of(header: Header, body: bytes) -> int:
    """The number of pages of a PDF that was opened; or the error is raised that says why not."""
    if "end" in header:
        end_of(header, body)
    return field_of(header, "opened", int)


def text_of(header: Header, body: bytes) -> str:
    """A text that was read; or the error is raised that says why there is none."""
    if "end" in header:
        end_of(header, body)
    return field_of(header, "text", str)


def end_of(header: Header, body: bytes) -> None:
    """The last frame of an answer; or the error is raised that it holds."""
    field_of(header, "end", bool)
    if header.get("beyond") == "memory":
        raise WorkerLostError("memory")
    if "error" in header:
        raise error_of(header)


def beyond(lost: WorkerLostError, limits: WorkLimits, name: str, what: str) -> ResourceLimitError:
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
            f"{what} needs more than {most} of memory, or breaks the library that reads it; look"
            " whether it is what you think, or raise max_memory (--max-memory)"
        )
    elif lost.cause == "start":
        why = f"{what} needs a process, and none can be started now ({lost.how}); run again"
    else:
        why = (
            f"{what} ended the process that read it ({lost.how}), as damaged and hostile files do,"
            " or as the system does when memory runs out; run again, or save the file again"
        )
    return ResourceLimitError(name, why)
