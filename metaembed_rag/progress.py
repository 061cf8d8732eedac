"""Progress bars: widgets in a notebook that has them, and text on standard error elsewhere."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

with warnings.catch_warnings():
    # Without ipywidgets tqdm draws text, which does as well, and says so in four lines. It says it
    # once: Hugging Face's libraries, which import it too, are quiet after this.
    warnings.filterwarnings("ignore", message="IProgress not found")
    from tqdm.auto import tqdm

__all__ = ["page_counter", "tqdm"]


@contextmanager
def page_counter(
    progress: Callable[[int], None] | None, *, shown: bool, total: Callable[[], int | None]
) -> Iterator[Callable[[int], None] | None]:
    """Give a callback that is told how many pages were done, and moves a bar if one is shown.

    Args:
        progress: Called with each number of pages that the callback is told; may be None.
        shown: Whether a bar is drawn; without one the callback is ``progress`` itself.
        total: Computes the length of the bar in pages, None where it is unknown; called only when
            a bar is drawn.
    """
    if not shown:
        yield progress
        return
    with tqdm(total=total(), unit="page") as bar:

        def count(done: int) -> None:
            bar.update(done)
            if progress is not None:
                progress(done)

        yield count
        bar.total = bar.n  # it was an estimate; short of it, a widget would end in red
        bar.refresh()
