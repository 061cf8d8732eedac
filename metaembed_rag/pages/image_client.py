"""Picture files -> pages, decoded in a worker process with limits, as PDFs are.

The function is that of `images`, which the worker (`image_worker`) calls.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from metaembed_rag.errors import PageError
from metaembed_rag.pages import images
from metaembed_rag.pages.frames import parts_frame
from metaembed_rag.pages.page import Page
from metaembed_rag.pages.parts import PicturePart
from metaembed_rag.pages.pictures import largest_fitted
from metaembed_rag.pages.worker_client import Readers, Reading, Work
from metaembed_rag.pages.workers import Pool, WorkLimits

WORKERS = Pool("metaembed_rag.pages.image_worker")
"""Those of this process."""
READERS = Readers(WORKERS, "pictures")


def read_image(
    data: bytes,
    source: str,
    names: Sequence[PicturePart],
    limits: WorkLimits | None,
    **arguments: Any,
) -> Iterator[Page | PageError]:
    """Yield the picture of an image file, or each frame of a TIFF; or the error of a frame.

    Args:
        data: The bytes of the file.
        source: Its name.
        names: What the name of the file says.
        limits: Of opening it, and of each frame; None reads it in this process, without any.
        **arguments: Further ones of `images.read_image`, of kinds that JSON has.

    Raises:
        PageError: The file cannot be read; see `images.read_image`.
        ResourceLimitError: It cannot be opened within the limits.
    """
    if limits is None or not READERS.can_start():
        yield from images.read_image(data, source, names, **arguments)
        return
    most = 3 * largest_fitted(int(arguments["max_side"]))  # RGB: three bytes a pixel
    arguments["names"] = parts_frame(names)
    what = "this picture"
    work = Work(data, source, limits, what, what, False, most, arguments)
    yield from Reading(READERS, work).all()
