"""PNG, JPEG, WebP, TIFF, GIF, BMP, AVIF and HEIC -> pages."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from PIL import Image, ImageOps

from metaembed_rag.errors import (
    FileTooLargeError,
    MissingExtraError,
    PageError,
    UnreadableFileError,
)
from metaembed_rag.pages.captions import caption_parts
from metaembed_rag.pages.page import Page
from metaembed_rag.pages.parts import PicturePart
from metaembed_rag.pages.pictures import DAMAGE, fitted, formats_of, to_rgb
from metaembed_rag.pages.reading import with_part

_ONE_COLOR = 8
"""Steps of 256 in which a picture without content may differ; JPEG makes some."""


def read_image(
    data: bytes,
    source: str,
    names: Sequence[PicturePart],
    *,
    max_side: int,
    max_pages: int,
    max_pixels: int,
    first: int = 1,
    opened: Callable[[int], object] = lambda count: None,
) -> Iterator[Page | PageError]:
    """Yield the picture of an image file, or each frame of a TIFF; or the error of a frame.

    From the ``first`` frame on; ``opened`` is told the number of frames when it is known.

    The text of a page is what is written beside the pixels. ``names``, what the name of the file
    says, are of the first frame, and not of a picture of one colour, which stays a blank page.

    Raises:
        UnreadableFileError: It is damaged or of another format.
        FileTooLargeError: More pixels than ``max_pixels``, or more frames than ``max_pages``.
    """
    with _open(data, source, max_pixels) as image:
        count = _frames(image, source, max_pages)
        opened(count)
        said: set[str] = set()
        for index in range(first - 1, count):
            beside = _captions(image, index, said)
            name = source if count == 1 else f"{source}#{index + 1}"
            try:
                picture = _decode(image, index, name, max_side, max_pixels)
            except PageError as error:
                yield error
                continue
            page = Page(source=source, number=index + 1, image=picture, page_count=count)
            if index == 0 and not _is_of_one_color(picture):
                beside = [*names, *beside]
            for part in beside:
                page = with_part(page, part.origin, part.text)
            yield page


def _captions(image: Image.Image, index: int, said: set[str]) -> list[PicturePart]:
    """What is written beside the pixels of a frame, without what earlier ones have ``said``."""
    with suppress(*DAMAGE), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of damaged EXIF data
        image.seek(index)
        return caption_parts(image, said)
    return []


def _is_of_one_color(picture: Image.Image) -> bool:
    """Whether nothing can be seen on an RGB picture."""
    return all(high - low <= _ONE_COLOR for low, high in picture.getextrema())  # type: ignore


def _open(data: bytes, source: str, max_pixels: int) -> Image.Image:
    try:
        with warnings.catch_warnings():
            # Pillow only warns from 89 million pixels, the check below refuses; and it warns of
            # damaged EXIF data, without which the picture can be read.
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data), formats=formats_of(data[:12]))
    except Image.DecompressionBombError as error:
        raise FileTooLargeError(
            source, f"{error}; make it smaller (the limit here is {max_pixels:,} pixels)"
        ) from None
    except MissingExtraError as error:
        raise UnreadableFileError(source, f"is a HEIC picture: {error}") from None
    except DAMAGE as error:
        raise UnreadableFileError(
            source,
            "is damaged, or no PNG, JPEG, WebP, TIFF, GIF, BMP or AVIF; open it in a viewer to "
            "check",
        ) from error
    _check_pixels(image, source, max_pixels)
    return image


def _frames(image: Image.Image, source: str, max_pages: int) -> int:
    """Frames of a TIFF are pages; other animations count as their first frame."""
    if image.format != "TIFF":
        return 1
    try:
        count = int(getattr(image, "n_frames", 1))
    except DAMAGE as error:
        raise UnreadableFileError(source, f"its list of frames is damaged ({error})") from error
    if count > max_pages:
        raise FileTooLargeError(
            source,
            f"has {count:,} frames, over the limit of {max_pages:,}; split it, or raise max_pages",
        )
    return count


def _decode(
    image: Image.Image, index: int, name: str, max_side: int, max_pixels: int
) -> Image.Image:
    try:
        image.seek(index)
        _check_pixels(image, name, max_pixels)
        if image.format == "JPEG":
            # Lets the decoder skip detail: 0.41 instead of 0.68 s for 8,000 x 6,000 pixels.
            image.draft("RGB", (2 * max_side, 2 * max_side))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of damaged EXIF data
            upright = ImageOps.exif_transpose(image)
        if max(upright.size) > max_side and upright.mode not in ("RGB", "L"):
            upright = to_rgb(upright)
        return to_rgb(fitted(upright, max_side))
    except DAMAGE as error:
        raise UnreadableFileError(
            name, f"this picture is damaged ({error}); copy or export it again"
        ) from error


def _check_pixels(image: Image.Image, name: str, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise FileTooLargeError(
            name,
            f"has {width:,} x {height:,} = {width * height:,} pixels, over the limit of"
            f" {max_pixels:,}; make it smaller, or raise max_pixels",
        )
