"""A LangChain document loader for PDFs, pictures, texts and folders of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import Document

from metaembed_rag.adapters import OCR_TEXTS, with_text
from metaembed_rag.errors import PageError
from metaembed_rag.langchain.documents import MAX_SIDE, page_to_document
from metaembed_rag.pages import Limits, Ocr, Page, load_pages
from metaembed_rag.pages.folders import warn_of_ignored
from metaembed_rag.pages.reading import ocr_policy
from metaembed_rag.pages.uploads import Source, listed
from metaembed_rag.store.pictures import PictureFolder
from metaembed_rag.store.places import user_folder

_SHOWN_AS_IT_IS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".gif"})
"""Picture files that are their own ``image_path``; what others show is kept as a picture."""


class MetaEmbedLoader(BaseLoader):
    """Pages of files as documents: the text, and in the metadata the path of the page's picture.

    A page of a PDF or TIFF is drawn into ``pictures``, under a name that follows from its content:
    the same page has the same ``image_path`` in every run, so LangChain's indexing API sees which
    pages have changed. A picture file is its own ``image_path``, and its ``content_hash`` in the
    metadata changes with its content. Ids are ``"<path>#<page>"``.

    Args:
        paths: Files and folders, bytes, or open files, as for :func:`metaembed_rag.load_pages`.
        on_skip: Called with the error of each file or page that cannot be read, and the rest goes
            on; without it the error is raised.
        password: For those PDFs that need one.
        max_side: Longest side of a drawn page in pixels.
        pictures: Folder of the drawn pages and of what OCR read; one in the user's cache folder by
            default.
        limits: Sizes above which a file is refused, and the memory and time that a page may take.
        ocr: ``auto`` (True) gives the text on pictures without text, on scans below a short text
            and of text layers that cannot be read, 1 to 3 seconds each; ``always`` of every
            picture, ``never`` (False) of none. What was not read is ``unread`` in the metadata.

    Attributes:
        skipped: What could not be read in the last run.
        ignored: Files inside folders that are of a kind that is not read, in the last run.
    """

    def __init__(
        self,
        paths: Source | Iterable[Source],
        *,
        on_skip: Callable[[PageError], None] | None = None,
        password: str | None = None,
        max_side: int = MAX_SIDE,
        pictures: str | Path | None = None,
        limits: Limits | None = None,
        ocr: bool | Ocr = True,
    ) -> None:
        self.paths = listed(paths)
        self.on_skip = on_skip
        self.password = password
        self.max_side = max_side
        self.limits = limits or Limits()
        self.ocr: Ocr = ocr_policy(ocr)
        self._pictures = PictureFolder(
            user_folder("pictures", "langchain_loader") if pictures is None else Path(pictures)
        )
        self.skipped: list[PageError] = []
        self.ignored: list[Path] = []

    def lazy_load(self) -> Iterator[Document]:
        """Read one page at a time.

        Raises:
            PageError: Something cannot be read, and there is no ``on_skip``.
        """
        self.skipped, self.ignored = [], []
        pages = load_pages(
            self.paths,
            on_skip=self._skip,
            on_ignore=self.ignored.append,
            password=self.password,
            max_side=self.max_side,
            limits=self.limits,
        )
        for page in pages:
            page = with_text(page, self.ocr, self._pictures.folder / OCR_TEXTS)
            yield page_to_document(self._with_path(page))
        warn_of_ignored(self.ignored)

    def _skip(self, error: PageError) -> None:
        self.skipped.append(error)
        if self.on_skip is None:
            raise error
        self.on_skip(error)

    def _with_path(self, page: Page) -> Page:
        """The page with its picture as a path; it keeps its content hash.

        It loses the number of pages of its file: in a document's metadata it would make all pages
        look changed to the indexing API when the file gains one.
        """
        single = page.page_count == 1
        page = replace(page, page_count=None)
        if page.image is None:
            return page
        digest = page.picture_hash()
        path = Path(page.source)  # an upload's has no folder: it names no file of the disk
        if not (path.suffix.lower() in _SHOWN_AS_IT_IS and single and path.is_absolute()):
            name = self._pictures.save(page.image, page.id, page.content_hash(digest))
            path = self._pictures.path(name).resolve()
        return replace(page, image=None, image_path=str(path), image_hash=digest)
