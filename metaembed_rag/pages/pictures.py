"""Pictures: any Pillow image -> RGB of a bounded size."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from metaembed_rag.errors import UnreadableFileError

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF")
"""Pillow reads no other format here, whatever the suffix says (EPS would start Ghostscript)."""

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


def open_picture(path: Path) -> Image.Image:
    """Open one picture file as RGB, at its own size, turned upright as its EXIF data say.

    Raises:
        UnreadableFileError: It is missing or damaged.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            return to_rgb(ImageOps.exif_transpose(image))
    except DAMAGE as error:
        raise UnreadableFileError(
            path.as_posix(), f"this picture cannot be opened ({error}); index its page again"
        ) from error


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


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert a picture of any Pillow mode to RGB.

    Transparent parts become white, as paper is (Pillow alone would make them black); greys of 16
    bits or floats are scaled to 8 bits.

    Returns:
        The same image when it is RGB without transparency, else a new one of the same size.
    """
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _grey_to_8_bits(image).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def _grey_to_8_bits(image: Image.Image) -> Image.Image:
    values: np.ndarray = np.nan_to_num(np.asarray(image, dtype=np.float32))
    if image.mode == "F":  # no fixed range: stretch what is there
        low, high = float(values.min()), float(values.max())
        values = (values - low) * (255 / (high - low) if high > low else 1)
    elif values.max(initial=0) > 255:
        values = values / 257  # 65,535 -> 255
    return Image.fromarray(values.clip(0, 255).round().astype(np.uint8), mode="L")
