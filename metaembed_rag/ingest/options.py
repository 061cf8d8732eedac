"""What is asked when pages are added, once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

from metaembed_rag.errors import StoreError
from metaembed_rag.model.describing import DescribeLike, Describer
from metaembed_rag.model.inputs import Mode, check_mode
from metaembed_rag.pages import Limits
from metaembed_rag.pages.ocr_languages import OcrLanguage
from metaembed_rag.pages.reading import Ocr, ocr_policy


@dataclass(frozen=True)
class AddOptions:
    """How pages are added; :meth:`metaembed_rag.PageIndex.add` explains each.

    Raises:
        StoreError: ``batch_size`` is under 1.
        ModelError: There is no such mode, no such policy or language of OCR, or ``describe`` names
            nobody who could describe a picture.
    """

    mode: Mode = "fused"
    batch_size: int = 64
    ocr: bool | Ocr = True
    progress: Callable[[int], None] | None = None
    show_progress: bool = False
    lock_timeout: float = 0.0
    describe: DescribeLike | None = None
    reread: bool = False

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise StoreError(f"batch_size must be at least 1, not {self.batch_size}")
        check_mode(self.mode)
        object.__setattr__(self, "ocr", ocr_policy(self.ocr))
        if self.ocr != "never":
            OcrLanguage.of()  # one that the environment names and that is not here is told at once
        object.__setattr__(self, "describe", Describer.of(self.describe))

    @property
    def describer(self) -> Describer | None:
        """Who describes pictures, None for nobody."""
        return Describer.of(self.describe)


class FollowKeywords(TypedDict, total=False):
    """How files and folders are followed by :meth:`metaembed_rag.PageIndex.sync`.

    Attributes:
        prune: Remove also the pages of files below a sub-folder that is missing or empty now, and
            below a named folder that is empty; without it they are kept and the report lists them
            (``unpruned``), for that is how an unmounted disk looks.
        password: As for :func:`metaembed_rag.load_pages`, and so are the next two.
        max_side: Longest side of a page's picture in pixels.
        limits: Sizes above which a file is refused, and whether links are followed.
        reread: Read unchanged files again, too: what this version reads of their pages and an
            earlier one did not (pictures inside of pages) is added; the others stay as they are.
        storage_options: Of object stores, where paths are addresses such as ``s3://bucket/docs``.
    """

    prune: bool
    reread: bool
    password: str | None
    max_side: int
    limits: Limits
    storage_options: Mapping[str, Any] | None
