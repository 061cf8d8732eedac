"""What an encoder is given of a page or of a query: text, a picture, or both; checked once, here.

In the order of the way: a page or a query becomes an input that a model of certain modalities
reads (:func:`page_input`, :func:`query_input`), and the encoder reads it as an :class:`Item`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

from PIL import Image

from metaembed_rag.errors import (
    BlankPageError,
    ModalityError,
    ModelError,
    NothingToReadError,
    PageError,
    ResourceLimitError,
    UnreadableFileError,
    install_line,
)
from metaembed_rag.model.checkpoints import visual_words_are_on
from metaembed_rag.model.looking import FigureReader, Look, Reader, wants_figures, wants_ocr
from metaembed_rag.pages import Page
from metaembed_rag.pages.figure_texts import unread_figures
from metaembed_rag.pages.page import SCAN
from metaembed_rag.pages.parts import VISUAL_WORDS, joined
from metaembed_rag.pages.pictures import is_undecoded, picture_of, to_rgb
from metaembed_rag.pages.reading import UNREAD, Ocr, ocr_policy
from metaembed_rag.pages.uploads import OpenFile, is_upload

Mode = Literal["fused", "image", "text"]
"""What of a page is encoded: picture and text in one input, the picture, or the text."""
Input = str | Image.Image | Mapping[str, Any]
"""Text, an image, or ``{"text": ..., "image": ...}`` with either key absent or empty."""
Query = Input | bytes | os.PathLike[str] | OpenFile
"""As an input; a picture can also be bytes, an open file (an upload, too) or a ``Path``, and under
``"image"`` a path as text."""

_log = logging.getLogger(__name__)

_KEYS = frozenset({"text", "image"})
_OCR_HELP = f"{install_line('ocr')}, and index it again"


def check_mode(mode: str) -> None:
    """Refuse a mode that is none.

    Raises:
        ModelError: It names those that there are.
    """
    if mode not in get_args(Mode):
        raise ModelError(f"mode {mode!r} is not one of {', '.join(get_args(Mode))}")


def page_input(
    page: Page,
    mode: Mode,
    modalities: frozenset[str],
    *,
    ocr: bool | Ocr | Reader = True,
    reader: Reader | None = None,
    described: bool = False,
    figure_reader: FigureReader | None = None,
) -> tuple[Page, Input]:
    """What an encoder of these modalities is given of a page.

    ``fused`` gives picture and text together, ``image`` the picture, ``text`` the text. What is
    missing is made up for: a page without a picture is encoded by its text, a page without text
    by its picture, and so is every page with one in ``fused`` mode where the model reads pictures
    but not both together (ColPali); and where the model cannot read pictures, or ``text`` was
    asked of a page that has none, the picture is read by OCR, and what it shows is told in words
    where OCR finds little (:mod:`metaembed_rag.model.visual_words`). In ``image`` mode the text
    layer is never encoded while there is a picture. A page whose text is not all that it shows
    (``page.unread``) is read by OCR first, where that is wanted (:func:`wants_ocr`) and possible,
    and so are the pictures inside of it (``page.figures``, :func:`wants_figures`).
    What is written beside the pixels of a picture, or was said of it (``page.parts``), is text in
    every mode: a picture that has some is no blank page.

    Args:
        page: Any page.
        mode: What of it is encoded.
        modalities: What the model reads.
        ocr: ``"always"``, ``"auto"`` or ``"never"``, as :data:`.Ocr` explains; True is ``auto``,
            False is ``never``, and a function is ``auto`` with this ``reader``.
        reader: Reads the text of a page's picture in place of OCR; its own errors pass.
        described: Whether there is a description of the picture, which the page is given later;
            then no network looks at it.
        figure_reader: Reads the pictures inside of a page in place of OCR.

    Returns:
        The page, with what OCR read, and the encoder's input. The page is still ``unread`` where
        OCR is off or not installed.

    Raises:
        BlankPageError: There is nothing on the page, or nothing is read and seen on its picture.
        NothingToReadError: There is nothing to encode; the reason says what would help.
        MissingExtraError: ``ocr`` is ``"always"`` and the extra ``ocr`` is not installed.
    """
    look = (
        Look("auto", ocr, described) if callable(ocr) else Look(ocr_policy(ocr), reader, described)
    )
    look.figure_reader = figure_reader
    is_seen = mode != "text" and "image" in modalities  # by the model itself
    is_scan = page.unread == SCAN
    if look.policy != "never" and wants_ocr(page, mode, modalities, look.policy):
        page = look.complete(page)
    if wants_figures(page, mode, modalities, look.policy):
        page = look.figures(page)
    if is_scan and not is_seen:
        page = look.describe(page)
    text = page.text.strip()
    image = page.load_image() if mode != "text" or not text else None
    if image is None:
        if not text:
            raise BlankPageError(page.id, "the page has neither text nor a picture")
        return page, page.text
    if mode == "fused" and text and "fused" in modalities:
        return page, {"text": page.text, "image": image}
    if mode == "fused" and text and "image" not in modalities:
        return page, page.text
    if is_seen:
        return page, image
    if about := joined(part for part in page.parts if part.origin != "text"):
        return page, about
    read = look.page(page)
    return (page if text else read), read.text


def read_page(page: Page, ocr: bool | Ocr = "auto", reader: Reader | None = None) -> Page:
    """The page with the text that OCR reads, for whoever wants text whatever the model.

    ``auto`` reads the pictures of pages without text and of those that are ``unread``, and the
    pictures inside of pages; ``always`` every picture. A page stays as it is where nothing is
    found, in ``auto`` where OCR is not installed, and, with a warning, where OCR fails. A
    ``reader`` is as for :func:`page_input`.

    Raises:
        MissingExtraError: ``ocr`` is ``"always"`` and the extra ``ocr`` is not installed.
    """
    policy = ocr_policy(ocr)
    is_wanted = policy == "always" or page.unread or not page.text.strip()
    if policy == "never" or not (is_wanted or page.figures):
        return page
    look = Look(policy, reader)
    try:
        return look.figures(look.complete(page) if is_wanted else page)
    except ResourceLimitError as error:
        _log.warning("%s", error)
        return page


def page_inputs(
    pages: Iterable[Page],
    mode: Mode,
    modalities: frozenset[str],
    *,
    ocr: bool | Ocr = True,
    on_skip: Callable[[PageError], None] | None,
    on_note: Callable[[PageError], None] | None = None,
    described: Callable[[str], bool] | None = None,
    figure_reader: FigureReader | None = None,
) -> tuple[list[Page], list[Input]]:
    """Those pages that can be read, with what the encoder is given; see :func:`page_input`.

    Args:
        pages: Any pages.
        mode: What of them is encoded.
        modalities: What the model reads.
        ocr: As for :func:`page_input`.
        on_skip: Called with the error of each page that cannot be read; without it the error is
            raised.
        on_note: Called with what is missing of each page that can be read in part.
        described: Whether there is a description of the page with this id; without it there is of
            none.
        figure_reader: As for :func:`page_input`.
    """
    readable: list[Page] = []
    inputs: list[Input] = []
    for page in pages:
        try:
            seen = described is not None and described(page.id)
            known = partial(page_input, described=seen, figure_reader=figure_reader)
            page, value, note = _as_far_as_possible(known, page, mode, modalities, ocr)
        except PageError as error:
            if on_skip is None:
                raise
            on_skip(error)
        else:
            readable.append(page)
            inputs.append(value)
            if on_note is not None and note is not None:
                on_note(note)
    return readable, inputs


def _as_far_as_possible(
    made: Callable[..., tuple[Page, Input]],
    page: Page,
    mode: Mode,
    modalities: frozenset[str],
    ocr: bool | Ocr,
) -> tuple[Page, Input, PageError | None]:
    """:func:`page_input`, and what is missing; without OCR where that fails and there is more."""
    try:
        page, value = made(page, mode, modalities, ocr=ocr)
    except ResourceLimitError as error:
        try:
            page, value = made(page, mode, modalities, ocr="never")
        except NothingToReadError:
            raise error from None
        return page, value, error
    if page.unread and wants_ocr(page, mode, modalities):
        return page, value, unread_note(page, ocr)
    return page, value, _figures_note(page, mode, modalities, ocr_policy(ocr))


def _figures_note(page: Page, mode: Mode, modalities: frozenset[str], ocr: Ocr) -> PageError | None:
    """What is missing of a page with pictures inside that OCR was asked for and could not read.

    Not where nobody drew them, because OCR is not installed: whoever adds pages counts those.
    """
    if not wants_figures(page, mode, modalities, ocr):
        return None
    missing = [figure for figure in unread_figures(page) if figure.data]
    if not missing:
        return None
    what = (
        "a picture inside of it" if len(missing) == 1 else f"{len(missing)} pictures inside of it"
    )
    return PageError(
        page.id, f"{what} could not be read by OCR within the limits, and is no part of the text"
    )


def unread_note(page: Page, ocr: bool | Ocr) -> PageError:
    """What is missing of a page that could not be read by OCR, and what would help."""
    help = "OCR is off" if ocr_policy(ocr) == "never" else f"to have it read by OCR, {_OCR_HELP}"
    return PageError(page.id, f"{UNREAD[page.unread]}; {help}")


def query_input(query: Input, modalities: frozenset[str]) -> Input:
    """What an encoder of these modalities is given of a query.

    Where the model reads text only, a picture is read by OCR, and what it shows is told in words
    where OCR finds little, as of pages.

    Raises:
        ModalityError: Nothing is read and seen on the picture.
    """
    text, image = _parts(query)
    if image is None or "image" in modalities:
        return query
    try:
        read = Look("auto").page(Page(source="the query's picture", image=image)).text
    except NothingToReadError as error:
        if text.strip():
            return str(text)
        blank = isinstance(error, BlankPageError)
        why = "no text was found on it, and nothing else seen" if blank else str(error.__cause__)
        raise ModalityError(f"the model reads text only, the query is a picture: {why}") from error
    return f"{text}\n{read}".strip()


def sight() -> str:
    """What tells in words what pictures show, for :func:`.way_of`; ``""`` where nothing does.

    The number rises when more is told than before, so that what was blank is looked at again.
    """
    return f"{VISUAL_WORDS} 2" if visual_words_are_on() else ""


def query_text(query: Input) -> str:
    """The words of a query; none where it is a picture."""
    return str(_parts(query)[0])


LONGEST_QUERY = 100_000
"""Characters: models read far fewer, and words are counted in milliseconds."""


def read_query(query: Query) -> Input:
    """A query with its picture opened.

    Raises:
        ModelError: It is empty or of an unknown form, or its picture cannot be opened; the message
            says what a query is.
    """
    if isinstance(query, os.PathLike) or is_upload(query) or is_undecoded(query):
        query = _open_picture(query)
    elif isinstance(query, Mapping):
        image = query.get("image")
        if isinstance(image, str | os.PathLike) or is_upload(image) or is_undecoded(image):
            query = {**query, "image": _open_picture(image)}
    check_query(query)  # type: ignore[arg-type]
    return query  # type: ignore[return-value]


def _open_picture(value: Any) -> Image.Image:
    try:
        return picture_of(value)
    except UnreadableFileError as error:
        raise ModelError(f"the picture of the query: {error}") from error


def check_query(query: Input) -> None:
    """Refuse a query that is empty or of an unknown form.

    Raises:
        ModelError: It says what a query is.
    """
    text, image = _parts(query)
    for part, kind in ((text, str), (image, Image.Image)):
        if part is not None and not isinstance(part, kind):
            raise ModelError(
                f'a query is text, a PIL image, or {{"text": …, "image": …}}, not a '
                f"{type(part).__name__}"
            )
    if isinstance(query, Mapping) and (unknown := set(query) - _KEYS):
        raise ModelError(f'a query has the keys "text" and "image", not {sorted(unknown)}')
    if len(text or "") > LONGEST_QUERY:
        raise ModelError(
            f"a query of {len(text or ''):,} characters is too long, at most {LONGEST_QUERY:,} are "
            f"looked for; ask with a part of it (a whole document is a page to be added)"
        )
    try:
        (text or "").encode("utf-8")
    except UnicodeEncodeError:
        raise ModelError("the query is not valid Unicode text; check its encoding") from None
    if image is None and not (text or "").strip():
        raise ModelError("the query is empty; give some text or an image")


def _parts(value: Input | None) -> tuple[Any, Any]:
    """The text (``""`` where there is none) and the image (None where there is none)."""
    if isinstance(value, Mapping):
        text = value.get("text")
        return "" if text is None else text, value.get("image")
    return ("", value) if isinstance(value, Image.Image) else (value, None)


@dataclass(frozen=True)
class Item:
    """One input as an encoder reads it: never empty, and of a modality that the model reads.

    Attributes:
        text: ``""`` where there is none.
        image: In any of PIL's modes; None where there is none.
        where: How messages call the input, such as ``"document 3"``.
    """

    text: str
    image: Image.Image | None
    where: str = "the input"

    @property
    def modality(self) -> str:
        """``"text"``, ``"image"`` or ``"fused"``."""
        if self.image is None:
            return "text"
        return "fused" if self.text else "image"

    @property
    def length(self) -> int:
        """A cheap stand-in for the number of tokens, to sort by: characters and pixels / 28²."""
        pixels = 0 if self.image is None else self.image.width * self.image.height
        return len(self.text) + pixels // 784

    def prepare_image(self, max_pixels: int) -> Image.Image | None:
        """The image as RGB and of at most ``max_pixels`` pixels; made late, to save memory."""
        return None if self.image is None else bound_pixels(to_rgb(self.image), max_pixels)


def as_inputs(inputs: Input | Sequence[Input]) -> list[Input]:
    """A list of inputs; a single text, image or dictionary becomes a list of one."""
    if isinstance(inputs, str | Image.Image | Mapping):
        return [inputs]
    return list(inputs)


def read_input(
    value: Input | Item,
    *,
    modalities: frozenset[str],
    where: str = "the input",
    name: str = "this model",
) -> Item:
    """Check one input against what a model reads.

    Args:
        value: Text, an image, or a dictionary with ``text`` and/or ``image``. An item passes.
        modalities: What the model reads: a subset of ``{"text", "image", "fused"}``.
        where: How to call the input in a message, such as ``"document 3"``.
        name: How to call the model in a message.

    Raises:
        ModalityError: It is empty, of an unknown kind, or of a kind that the model does not read.
    """
    if isinstance(value, Item):
        return value
    text, image = _parts(value)
    known = isinstance(text, str) and isinstance(image, Image.Image | None)
    if not known or (isinstance(value, Mapping) and not set(value) <= _KEYS):
        kind = f"a dictionary with {sorted(value)}" if isinstance(value, Mapping) else type(value)
        raise ModalityError(
            f"{where} is {kind}; give a str, a PIL image, or a dictionary with a str under 'text' "
            f"and a PIL image under 'image' (open a file with PIL.Image.open)"
        )
    if image is None and not text.strip():
        raise ModalityError(
            f"{where} has neither text nor an image, so there is nothing to encode; "
            f"leave it out, or read its text first (a scan needs OCR)"
        )
    if image is not None and "image" not in modalities:
        raise ModalityError(
            f"{where} is an image, but {name} reads text only; turn images into text with OCR "
            f"({install_line('ocr')}), or use a vision-language checkpoint"
        )
    return Item(text if text.strip() else "", image, where)


def bound_pixels(image: Image.Image, max_pixels: int) -> Image.Image:
    """The image with at most ``max_pixels`` pixels, in its own aspect ratio."""
    pixels = image.width * image.height
    if pixels <= max_pixels:
        return image
    scale = (max_pixels / pixels) ** 0.5
    size = max(1, int(image.width * scale)), max(1, int(image.height * scale))
    return image.resize(size, Image.Resampling.LANCZOS)
