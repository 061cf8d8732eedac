"""What an encoder is given: text, an image, or both; checked once, here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from metaembed_rag.errors import ModalityError

Input = str | Image.Image | Mapping[str, Any]
"""Text, an image, or ``{"text": ..., "image": ...}`` with either key absent or empty."""


@dataclass(frozen=True)
class Item:
    """One input after checking: never empty, and of a modality that the model reads."""

    text: str
    image: Image.Image | None

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
        return None if self.image is None else bound_pixels(flatten(self.image), max_pixels)


def as_inputs(inputs: Input | Sequence[Input]) -> list[Input]:
    """A list of inputs; a single text, image or dictionary becomes a list of one."""
    if isinstance(inputs, str | Image.Image | Mapping):
        return [inputs]
    return list(inputs)


def read_input(
    value: Input,
    *,
    modalities: frozenset[str],
    where: str = "the input",
    name: str = "this model",
) -> Item:
    """Check one input against what a model reads.

    Args:
        value: Text, an image, or a dictionary with ``text`` and/or ``image``.
        modalities: What the model reads: a subset of ``{"text", "image", "fused"}``.
        where: How to call the input in a message, such as ``"document 3"``.
        name: How to call the model in a message.

    Raises:
        ModalityError: It is empty, of an unknown kind, or of a kind that the model does not read.
    """
    text, image = _split(value, where)
    if image is None and not text.strip():
        raise ModalityError(
            f"{where} has neither text nor an image, so there is nothing to encode; "
            f"leave it out, or read its text first (a scan needs OCR)"
        )
    if image is not None and "image" not in modalities:
        raise ModalityError(
            f"{where} is an image, but {name} reads text only; turn images into text with OCR "
            f"(pip install 'metaembed-rag[ocr]'), or use a vision-language checkpoint"
        )
    return Item(text if text.strip() else "", image)


def _split(value: Input, where: str) -> tuple[str, Image.Image | None]:
    if isinstance(value, str):
        return value, None
    if isinstance(value, Image.Image):
        return "", value
    if isinstance(value, Mapping) and set(value) <= {"text", "image"}:
        text, image = value.get("text") or "", value.get("image")
        if isinstance(text, str) and (image is None or isinstance(image, Image.Image)):
            return text, image
    kind = f"a dictionary with {sorted(value)}" if isinstance(value, Mapping) else type(value)
    raise ModalityError(
        f"{where} is {kind}; give a str, a PIL image, or a dictionary with a str under 'text' "
        f"and a PIL image under 'image' (open a file with PIL.Image.open)"
    )


def flatten(image: Image.Image) -> Image.Image:
    """The image as RGB; transparent parts become white, as paper is (PIL would make them black)."""
    if image.mode == "RGB":
        return image
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")


def bound_pixels(image: Image.Image, max_pixels: int) -> Image.Image:
    """The image with at most ``max_pixels`` pixels, in its own aspect ratio."""
    pixels = image.width * image.height
    if pixels <= max_pixels:
        return image
    scale = (max_pixels / pixels) ** 0.5
    size = max(1, int(image.width * scale)), max(1, int(image.height * scale))
    return image.resize(size, Image.Resampling.LANCZOS)
