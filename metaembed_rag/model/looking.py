"""What is found on the picture of a page: letters, by OCR; else what it shows, in words."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import PurePath

from PIL import Image

from metaembed_rag.errors import (
    BlankPageError,
    MissingExtraError,
    NothingToReadError,
    ResourceLimitError,
)
from metaembed_rag.model.checkpoints import visual_words_are_on
from metaembed_rag.pages import Page
from metaembed_rag.pages.figure_texts import SECONDS, unread_figures, with_figure_texts
from metaembed_rag.pages.figures import Figure
from metaembed_rag.pages.legibility import legible, squeezed
from metaembed_rag.pages.ocr_languages import OcrLanguage
from metaembed_rag.pages.page import SCAN
from metaembed_rag.pages.parts import VISUAL_WORDS
from metaembed_rag.pages.reading import UNREAD, Ocr, completed, parts_of, with_part

Reader = Callable[[Page], str]
"""What reads the text of a page's picture."""
FigureReader = Callable[[Figure], str]
"""What reads the text of a picture inside of a page."""

_FEW, _FEW_ON_PHOTO = 32, 150
"""Letters and digits below which a picture's own text leaves open what the picture shows. Those of
a photo stand on things in it: shop signs, a bus. Charts with so few are told from photos by their
colours; a page that was photographed has more."""
_PICTURE_HELP = (
    "its name says nothing, no caption is in it, and no visual words are made of it: a file name"
    " that says what it shows would help, or describe= (--describe), or a model that reads pictures"
)


@dataclass
class Look:
    """One page's picture, read at most once.

    Attributes:
        policy: Whether OCR reads it, and whether its absence is an error (``"always"``).
        reader: Reads it in place of OCR.
        described: Whether somebody has described the picture, so that no visual words are made.
        read: What was read; None before.
        figure_reader: Reads the pictures inside of the page in place of OCR.
    """

    policy: Ocr
    reader: Reader | None = None
    described: bool = False
    read: str | None = None
    figure_reader: FigureReader | None = None

    def complete(self, page: Page) -> Page:
        """The page with what is on its picture, where that can be read."""
        try:
            return completed(page, self._once(page))
        except MissingExtraError:
            if self.policy == "always" or self.reader is not None:
                raise
            return page

    def figures(self, page: Page) -> Page:
        """The page with what is on the pictures inside of it, where that can be read in time.

        Those that cannot be read, and those after a minute, are left out.
        """
        texts: dict[str, str] = {}
        end = time.monotonic() + SECONDS
        for figure in unread_figures(page):
            if not figure.data or time.monotonic() > end:
                continue
            try:
                texts[figure.hash] = self._figure(page, figure)
            except ResourceLimitError:
                continue
            except MissingExtraError:
                if self.policy == "always" or self.reader is not None:
                    raise
                break
        return with_figure_texts(page, texts) if texts else page

    def _figure(self, page: Page, figure: Figure) -> str:
        if self.figure_reader is not None:
            return self.figure_reader(figure)
        alone = Page(page.source, page.number, image=figure.image)
        return _read_text(alone) if self.reader is None else self.reader(alone)

    def page(self, page: Page) -> Page:
        """The page with what is on its picture as its only text: letters, else what it shows.

        Where OCR is off or not installed, what the picture shows is told; the page stays unread.

        Raises:
            BlankPageError: There is nothing on the picture.
            NothingToReadError: OCR is off, or not installed, and nothing is seen.
        """
        bare = replace(page, text="", text_from_ocr=False, text_layer="", parts=())
        try:
            return self.describe(completed(bare, self.text(bare)))
        except NothingToReadError as error:
            blank = isinstance(error, BlankPageError)
            seen = self.describe(replace(bare, unread="" if blank else bare.unread or SCAN))
            if not seen.text:
                raise
            return seen

    def describe(self, page: Page) -> Page:
        """The page with what its picture shows in words, where it says little itself.

        Not where somebody has described the picture already, and not of a page of a document that
        OCR has not read: its picture is likely one of text.
        """
        parts = {part.origin: part.text for part in parts_of(page)}
        is_of_pdf = page.settings.startswith("pdf")
        if page.unread and ("text" in parts or page.unread != SCAN or is_of_pdf):
            return page
        said = squeezed(parts.get("text", "") + parts.get("ocr", ""))
        if self.described or "description" in parts:
            return page
        if len(said) >= (_FEW if is_of_pdf else _FEW_ON_PHOTO) or not visual_words_are_on():
            return page
        image = page.load_image()
        return page if image is None else _with_words(page, image, said, is_of_pdf)

    def text(self, page: Page) -> str:
        """What OCR reads of the picture.

        Raises:
            BlankPageError: There is none.
            NothingToReadError: OCR is off, or not installed.
        """
        what = UNREAD.get(page.unread, "the page is a picture without text")
        if self.policy == "never":
            raise NothingToReadError(page.id, f"{what}; OCR is off")
        try:
            text = self._once(page)
        except MissingExtraError as error:
            if self.reader is not None:
                raise
            raise NothingToReadError(
                page.id, f"the model reads text only: {what}; {error}"
            ) from error
        if not text.strip():
            more = f"; {_PICTURE_HELP}" if page.is_picture_file else ""
            raise BlankPageError(page.id, f"no text was found on the picture (blank page?){more}")
        return text

    def _once(self, page: Page) -> str:
        if self.read is None:
            self.read = _read_text(page) if self.reader is None else self.reader(page)
        return self.read


def wants_ocr(page: Page, mode: str, modalities: frozenset[str], ocr: Ocr = "auto") -> bool:
    """Whether OCR is to complete the text that a page has.

    ``auto`` reads what is in doubt always, and a scan below a short text where its text is what
    is encoded: a model that reads pictures sees the scan. Pages without any text are not meant.
    """
    if page.image is None and page.image_path is None:
        return False
    if ocr == "always":
        return True
    if page.unread == SCAN:
        return mode == "text" or "image" not in modalities
    return page.unread != ""


def wants_figures(page: Page, mode: str, modalities: frozenset[str], ocr: Ocr = "auto") -> bool:
    """Whether OCR is to read pictures inside of a page that were drawn and nobody has read.

    ``auto`` does where the page's text is what is encoded: a model that reads pictures sees them.
    Not on pages in letters that OCR does not know (:class:`.OcrLanguage`): it would read others.
    """
    if not needs_figures(page, mode, modalities, ocr):
        return False
    is_drawn = any(figure.data for figure in unread_figures(page))
    return is_drawn and OcrLanguage.of().reads(page.text_layer or page.text)


def needs_figures(page: Page, mode: str, modalities: frozenset[str], ocr: Ocr) -> bool:
    """Whether OCR would be asked for pictures inside of a page, were it here and could it."""
    if ocr == "never" or not page.figures:
        return False
    is_needed = ocr == "always" or mode == "text" or "image" not in modalities
    return is_needed and bool(unread_figures(page))


def _read_text(page: Page) -> str:
    from metaembed_rag.pages.ocr import read_text

    image = page.load_image()
    try:
        return "" if image is None else read_text(image)
    except ResourceLimitError as error:
        raise ResourceLimitError(page.id, error.reason) from error


def _with_words(page: Page, image: Image.Image, said: str, is_of_pdf: bool) -> Page:
    """The page with what its picture shows in words, and of ``said`` what is no accident."""
    from metaembed_rag.model.visual_words import UNSURE, describe, is_photo

    of_scene = not is_of_pdf and is_photo(image)
    if len(said) >= _FEW and not of_scene:
        return page
    words = describe(image, unsure=False) if is_of_pdf else describe(image)
    if words.startswith(UNSURE) and _is_unnamed(page):
        words += f"\n{PurePath(page.source).stem}"
    seen = with_part(page, VISUAL_WORDS, words)
    if words and (of_scene or (len(said) == 1 and not is_of_pdf)):
        read = next((part.text for part in parts_of(page) if part.origin == "ocr"), "")
        seen = with_part(seen, "ocr", legible(read))
    return replace(seen, unread=page.unread)  # whether OCR has read it is known here


def _is_unnamed(page: Page) -> bool:
    """Whether a page is of a file whose name is no part of its text, because it says nothing."""
    return page.is_picture_file and all(part.origin != "file name" for part in page.parts)
