"""Pictures: any Pillow image -> RGB of a bounded size."""

from __future__ import annotations

import importlib.util
import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from metaembed_rag.errors import UnreadableFileError, require
from metaembed_rag.pages.uploads import Source, read_bytes

_AVIF = ("AVIF",) if importlib.util.find_spec("PIL.AvifImagePlugin") else ()  # Pillow 11.3
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", *_AVIF)
"""Pillow reads no other format here, whatever the suffix says (EPS would start Ghostscript)."""

_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1"})

DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    EOFError,
    RuntimeError,
    MemoryError,
    struct.error,
    zlib.error,
)
"""What Pillow's readers raise on damaged files."""


_MOST_PIXELS = 80_000_000
"""Of a picture that is opened in this process; as many as a file may have by default."""
_LONG = 2.5
"""How many times longer than wide a picture is that is read in pieces."""
_LONGEST = 32
_PROBE = 1_000
_LIGHT = 0.63
"""Brightness (of 1) above which a colour is hard to see on white."""


def formats_of(head: bytes) -> tuple[str, ...]:
    """The formats that Pillow may take a picture for that begins with these 12 bytes.

    Raises:
        MissingExtraError: It is HEIC, and pillow-heif is not installed.
    """
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS:
        require("pillow_heif").register_heif_opener()
        return (*FORMATS, "HEIF")
    return FORMATS


def open_picture(path: Path) -> Image.Image:
    """Open one picture file as RGB, at its own size, turned upright as its EXIF data say.

    Raises:
        UnreadableFileError: It is missing or damaged.
    """
    try:
        return _upright(path)
    except (*DAMAGE, Image.DecompressionBombError) as error:
        raise UnreadableFileError(
            path.as_posix(), f"this picture cannot be opened ({error}); index its page again"
        ) from error


def picture_of(value: Source | Image.Image) -> Image.Image:
    """A picture as users give it, as RGB at its own size and turned as its EXIF data say.

    Args:
        value: A path, bytes, a file open for reading bytes (an upload, too), or a PIL image.

    Raises:
        UnreadableFileError: It is missing, damaged or of another format.
    """
    is_path = isinstance(value, str | os.PathLike)
    is_read = is_path or isinstance(value, Image.Image)
    file: Any = value if is_read else io.BytesIO(read_bytes(value))
    try:
        # Of a PIL image that was opened and not yet read, the pixels are decoded here.
        return _of_pillow(file) if isinstance(file, Image.Image) else _upright(file)
    except (*DAMAGE, Image.DecompressionBombError) as error:
        name = str(value) if is_path else "an image given as bytes"
        raise UnreadableFileError(name, f"cannot be opened as a picture ({error})") from error


def _upright(file: Any) -> Image.Image:
    with Image.open(file, formats=formats_of(_head(file))) as image:
        _check_size(image)
        return to_rgb(ImageOps.exif_transpose(image))


def _head(file: Any) -> bytes:
    """The first bytes of a path, or of a file in memory."""
    if isinstance(file, io.BytesIO):
        return file.getvalue()[:12]
    with Path(file).open("rb") as opened:
        return opened.read(12)


def _of_pillow(image: Image.Image) -> Image.Image:
    if is_undecoded(image):
        _check_size(image)
    return to_rgb(image)


def is_undecoded(value: object) -> bool:
    """Whether it is a PIL image of a file of which only the header was read so far."""
    return isinstance(value, Image.Image) and getattr(value, "fp", None) is not None


def _check_size(image: Image.Image) -> None:
    """Refuse to decode a picture of too many pixels; raises ValueError."""
    if image.width * image.height > _MOST_PIXELS:
        raise ValueError(f"it has {image.width:,} x {image.height:,} pixels, over {_MOST_PIXELS:,}")


def bounded(image: Image.Image, max_side: int) -> Image.Image:
    """``image`` with its longest side at most ``max_side`` pixels; never enlarged.

    Args:
        image: Of any mode that Lanczos resampling takes (RGB, L, RGBA, …).
        max_side: Pixels, at least 1.

    Returns:
        The same image when it fits, else a smaller copy with the same proportions.
    """
    longest = max(image.size)
    if longest <= max_side:
        return image
    width, height = (max(1, round(side * max_side / longest)) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)


def fitted(image: Image.Image, max_side: int) -> Image.Image:
    """``image`` so small that a page of ``max_side`` pixels is no larger, and still legible.

    Like :func:`bounded`; but of a picture that is over 2.5 times longer than wide (a screenshot of
    a whole web page, a till roll, a banner) the shorter side is bounded, by that of an A4 page of
    ``max_side`` pixels, and the longer one by 32 times ``max_side``. A screenshot of 1080 x 8000
    pixels would have 121 pixels of width otherwise, and no letter could be read.
    """
    longest, shortest = max(image.size), min(image.size)
    if longest <= _LONG * shortest:
        return bounded(image, max_side)
    scale = min(1.0, max_side / 2**0.5 / shortest, _LONGEST * max_side / longest)
    return bounded(image, max(max_side, int(longest * scale)))


def largest_fitted(max_side: int) -> int:
    """Pixels that a picture has at most that :func:`fitted` has made smaller."""
    return _LONGEST * max_side**2


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert a picture of any Pillow mode to RGB.

    Transparent parts become white, as paper is (Pillow alone would make them black); but black
    where white would hide what stands there, such as white letters. Greys of 16 bits or floats are
    scaled to 8 bits.

    Returns:
        The same image when it is RGB without transparency, else a new one of the same size.
    """
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _grey_to_8_bits(image).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        color = "black" if _is_hidden_by_white(image) else "white"
        image = Image.alpha_composite(Image.new("RGBA", image.size, color), image)
    return image.convert("RGB")


def _is_hidden_by_white(image: Image.Image) -> bool:
    """Whether what an RGBA picture shows is lost on white paper.

    Looked at are thin strokes on transparency (letters, lines) by their own brightness, and thin
    holes by that of what is around them; where there are none of either, the whole.
    """
    image = image.copy()
    image.thumbnail((_PROBE, _PROBE), Image.Resampling.BOX)
    alpha = np.asarray(image.getchannel("A"), np.float32) / 255  # (height, width), as all here
    bright = np.asarray(image.convert("RGB").convert("L"), np.float32) / 255
    near = _blurred(alpha)
    around = _blurred(alpha * bright) / np.maximum(near, 1e-6)
    strokes, holes = alpha * (near < 0.4), (1 - alpha) * (near > 0.6)
    thin = float(strokes.sum() + holes.sum())
    if thin > 0.01 * alpha.sum():
        light = (strokes * (bright > _LIGHT)).sum() + (holes * (around > _LIGHT)).sum()
        return bool(light > thin / 2)
    is_cut_out = alpha.mean() < 0.95  # not only round corners
    return bool(is_cut_out and (alpha * (bright > _LIGHT)).sum() > 0.99 * alpha.sum())


def _blurred(values: np.ndarray) -> np.ndarray:
    """The mean of what is around each value; float32 of (height, width) in [0, 1], as given."""
    radius = max(2, max(values.shape) // 50)
    bits = Image.fromarray((values * 255).round().astype(np.uint8))
    return np.asarray(bits.filter(ImageFilter.BoxBlur(radius)), np.float32) / 255


def _grey_to_8_bits(image: Image.Image) -> Image.Image:
    values: np.ndarray = np.nan_to_num(np.asarray(image, dtype=np.float32))
    if image.mode == "F":  # no fixed range: stretch what is there
        low, high = float(values.min()), float(values.max())
        values = (values - low) * (255 / (high - low) if high > low else 1)
    elif values.max(initial=0) > 255:
        values = values / 257  # 65,535 -> 255
    return Image.fromarray(values.clip(0, 255).round().astype(np.uint8), mode="L")
