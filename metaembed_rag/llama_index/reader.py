"""Files as LlamaIndex documents that keep their pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from llama_index.core.bridge.pydantic import Field, PrivateAttr
from llama_index.core.readers.base import BasePydanticReader
from llama_index.core.schema import BaseNode, Document

from metaembed_rag.adapters import OCR_TEXTS, with_text
from metaembed_rag.errors import PageError, UnreadableFileError
from metaembed_rag.llama_index.nodes import page_to_document, page_to_node
from metaembed_rag.llama_index.pickling import PickledWhole
from metaembed_rag.model.inputs import Mode, check_mode
from metaembed_rag.pages import Limits, Ocr, Page, load_pages
from metaembed_rag.pages.reading import ocr_policy
from metaembed_rag.pages.remote import of_file_system
from metaembed_rag.pages.uploads import Source, listed
from metaembed_rag.store.pictures import PictureFolder
from metaembed_rag.store.places import user_folder

Paths = Source | Iterable[Source]


class MetaEmbedReader(PickledWhole, BasePydanticReader):
    """PDFs, pictures, texts and folders of them as documents: one for each page.

    A document has the page's text and, as a path, its picture; its id is the page's id, its
    metadata hold source, page number, content hash and what the file says (title, author,
    label, section). Because the content hash is of the pixels and the text, a pipeline sees that
    a file changed although its path did not.

    Pictures are written to ``pictures``, where documents refer to them; a
    :class:`MetaEmbedVectorStore` keeps a copy of its own. Use it for whole folders, or for files
    of a kind in LlamaIndex's own reader:
    ``SimpleDirectoryReader("papers", file_extractor={".pdf": MetaEmbedReader()})``.

    Args:
        mode: ``fused`` gives text and picture, ``image`` the picture where there is one, ``text``
            the text where there is some.
        pictures: Folder for page pictures and for what OCR read; in the user's cache folder by
            default.
        max_side: Longest side of a picture in pixels.
        password: For those PDFs that need one.
        on_skip: Called with the error of each file or page that cannot be read, and the rest goes
            on; without it the error is raised.
        limits: Sizes above which a file is refused, and the memory and time that a page may take.
        ocr: ``auto`` (True) gives the text on pictures without text, on scans below a short text
            and of text layers that cannot be read, 1 to 3 seconds each; ``always`` of every
            picture, ``never`` (False) of none. What was not read is ``unread`` in the metadata.

    Raises:
        ModelError: ``mode`` or ``ocr`` is none of these.
    """

    mode: str = Field(default="fused", description="Text and picture, or one of them.")
    pictures: str | None = Field(default=None, description="Folder for page pictures.")
    max_side: int = Field(default=896, description="Longest side of a picture in pixels.")
    ocr: str = Field(default="auto", description="When pictures are read by OCR.")
    _password: str | None = PrivateAttr(default=None)
    _on_skip: Callable[[PageError], None] | None = PrivateAttr(default=None)
    _limits: Limits = PrivateAttr(default_factory=Limits)

    def __init__(
        self,
        *,
        mode: Mode = "fused",
        pictures: str | Path | None = None,
        max_side: int = 896,
        password: str | None = None,
        on_skip: Callable[[PageError], None] | None = None,
        limits: Limits | None = None,
        ocr: bool | Ocr = True,
        **options: Any,
    ) -> None:
        check_mode(mode)
        options |= {
            "mode": mode,
            "pictures": None if pictures is None else str(pictures),
            "max_side": max_side,
            "ocr": ocr_policy(ocr),
        }
        super().__init__(**options)
        self._password = password
        self._on_skip = on_skip
        self._limits = limits or Limits()

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex serialises it, without password, ``on_skip``, limits."""
        return "MetaEmbedReader"

    def lazy_load_data(
        self, paths: Paths, extra_info: Mapping[str, Any] | None = None, fs: Any = None
    ) -> Iterator[Document]:
        """Yield the documents of files and folders, one page in memory at a time.

        Args:
            paths: One path or several; or bytes or open files, as for
                :func:`metaembed_rag.load_pages`.
            extra_info: Metadata for every document, as ``SimpleDirectoryReader`` gives them.
            fs: The file system of fsspec on which the paths are, as ``SimpleDirectoryReader`` gives
                it; the disk by default. Addresses such as ``s3://bucket/docs/`` need none.

        Raises:
            PageError: Something cannot be read, and there is no ``on_skip``.
        """
        for page in self._pages(paths, fs):
            document = page_to_document(page)
            document.metadata.update(extra_info or {})
            yield document

    def load_nodes(
        self, paths: Paths, extra_info: Mapping[str, Any] | None = None
    ) -> list[BaseNode]:
        """The same as nodes, which name their file as the source document."""
        nodes = [page_to_node(page) for page in self._pages(paths, None)]
        for node in nodes:
            node.metadata.update(extra_info or {})
        return nodes

    def _pages(self, paths: Paths, fs: Any) -> Iterator[Page]:
        if fs is not None and not _is_disk(fs):
            paths = cast(Any, [of_file_system(fs, path) for path in listed(paths)])
        place = self.pictures
        folder = PictureFolder(
            user_folder("llama_index_pictures") if place is None else Path(place).resolve()
        )
        pages = load_pages(
            paths,
            on_skip=self._on_skip,
            password=self._password,
            max_side=self.max_side,
            limits=self._limits,
        )
        for page in pages:
            if self.mode != "image":
                kept = folder.folder / OCR_TEXTS
                page = with_text(page, ocr_policy(self.ocr), kept)  # type: ignore[arg-type]
            yield self._with_picture(page, folder)

    def _with_picture(self, page: Page, folder: PictureFolder) -> Page:
        """The page as ``mode`` wants it, its picture kept as a file."""
        if self.mode == "text" and page.text.strip():
            # What OCR read is no content of its own: without its picture it would have no hash.
            digest = page.picture_hash() if page.text_from_ocr else ""
            page = replace(page, image=None, image_hash=digest)
        image = page.image
        if image is None:
            return page
        if self.mode == "image":
            page = replace(page, text="", parts=())
        name = folder.save(image, page.id, page.content_hash())
        return replace(page, image_path=str(folder.path(name)))


def _is_disk(fs: Any) -> bool:
    """Whether a file system is this machine's own, whose paths are read as they are.

    Raises:
        UnreadableFileError: It is none of fsspec's.
    """
    protocols = getattr(fs, "protocol", None)
    if protocols is None:
        raise UnreadableFileError(str(fs), "fs is a file system of fsspec, or None for the disk")
    return "file" in ((protocols,) if isinstance(protocols, str) else protocols)
