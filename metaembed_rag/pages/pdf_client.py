"""PDF -> pages, read in a worker process with limits: one bad page or file costs no other.

The functions are those of `pdf`, which the worker (`pdf_worker`) calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from metaembed_rag.errors import PageError
from metaembed_rag.pages.page import Page
from metaembed_rag.pages.worker_client import (
    Readers,
    Reading,
    Work,
    beyond,
    end_of,
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
    most = 3 * int(arguments["max_side"]) ** 2  # RGB: three bytes a pixel
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
    what, name = "opening this PDF", source
    try:
        with WORKERS.lease() as worker:
            worker.send(request("texts", limits, source=source), data)
            chosen = list(choose(worker.receive(limits.seconds, opened_of)))
            worker.send({"numbers": chosen})
            for number in chosen:
                what, name = _PAGE, f"{source}#{number}"
                yield number, worker.receive(limits.seconds, text_of)
            worker.receive(limits.seconds, end_of)
    except WorkerLostError as lost:
        raise beyond(lost, limits, name, what) from None


def count_pdf(path: Path) -> int:
    """The number of pages; 1 where the file cannot be read, which its reader will report."""
    if not READERS.can_start():
        from metaembed_rag.pages import pdf

        return pdf.count_pdf(path)
    with suppress(WorkerLostError, PageError), WORKERS.lease() as worker:
        worker.send(request("count", _COUNTING, path=str(path.absolute())))
        count = worker.receive(_COUNTING.seconds, opened_of)
        worker.receive(_COUNTING.seconds, end_of)
        return count
    return 1
