"""Progress bars: widgets in a notebook that has them, and text on standard error elsewhere."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from typing import Any

with warnings.catch_warnings():
    # Without ipywidgets tqdm draws text, which does as well, and says so in four lines. It says it
    # once: Hugging Face's libraries, which import it too, are quiet after this.
    warnings.filterwarnings("ignore", message="IProgress not found")
    from tqdm.auto import tqdm

__all__ = ["PageCounter", "page_counter", "tqdm"]


class PageCounter:
    """Counts pages: those that are done for a callback, and those that were read for a bar, too.

    A batch is done long after its first page has been read, which may take seconds a page, so the
    bar counts pages as they are read.

    Args:
        progress: Called with each number of pages that are done; may be None.
        bar: Moved, and made longer where there are more pages than was estimated; may be None.
    """

    def __init__(self, progress: Callable[[int], None] | None, bar: tqdm[Any] | None) -> None:
        self._progress, self._bar = progress, bar
        self._done, self._read = 0, 0

    def __call__(self, done: int, *, read: int = 0) -> None:
        """Count pages that are done, as many of which as ``read`` says were counted when read."""
        self._done, self._read = self._done + done, self._read - read
        self._draw()
        if self._progress is not None:
            self._progress(done)

    def reading(self, pages: int = 1) -> None:
        """Count pages that were read and are not done."""
        self._read += pages
        self._draw()

    def _draw(self) -> None:
        if self._bar is None:
            return
        count = self._done + self._read
        if self._bar.total is not None:
            self._bar.total = max(self._bar.total, count)
        self._bar.update(count - self._bar.n)


@contextmanager
def page_counter(
    progress: Callable[[int], None] | None, *, shown: bool, total: Callable[[], int | None]
) -> Iterator[PageCounter]:
    """Give a callback that is told how many pages were done, and moves a bar if one is shown.

    Args:
        progress: Called with each number of pages that the callback is told; may be None. A
            counter, whose bar somebody else draws, is given as it is where none is shown.
        shown: Whether a bar is drawn.
        total: Computes the length of the bar in pages, None where it is unknown; called only when
            a bar is drawn.
    """
    if not shown:
        yield progress if isinstance(progress, PageCounter) else PageCounter(progress, None)
        return
    with tqdm(total=total(), unit="page", mininterval=_pause()) as bar:
        yield PageCounter(progress, bar)
        bar.total = bar.n  # it was an estimate; short of it, a widget would end in red
        bar.refresh()


def _pause() -> float:
    """Seconds between two states of a bar; many in a log file, which keeps them all."""
    is_log = isinstance(sys.stderr, TextIOWrapper) and not sys.stderr.isatty()  # not of a notebook
    return 10.0 if is_log else 0.1
