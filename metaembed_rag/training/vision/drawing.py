"""Words drawn on a grey canvas, with the place of every character kept."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from metaembed_rag.errors import DatasetError
from metaembed_rag.training.vision.layer import Placed, TextLayer, join_words

_FOLDERS = ("/usr/share/fonts/truetype/dejavu", "/usr/share/fonts/truetype/liberation")
_SYMBOLS = ("cmex", "cmmi", "cmsy", "STIXSiz", "STIXNonUni", "LastResort", "SansDisplay")
"""Fonts without the Latin letters."""


def find_fonts() -> list[Path]:
    """TrueType fonts with Latin letters: matplotlib's own, DejaVu and Liberation; by name.

    Raises:
        DatasetError: There are none.
    """
    folders = [Path(folder) for folder in _FOLDERS]
    try:
        import matplotlib
    except ModuleNotFoundError:
        pass
    else:
        folders.insert(0, Path(matplotlib.get_data_path()) / "fonts" / "ttf")
    found = {path.name: path for folder in reversed(folders) for path in folder.glob("*.ttf")}
    fonts = [found[n] for n in sorted(found) if not any(part in n for part in _SYMBOLS)]
    if not fonts:
        raise DatasetError("no fonts to draw with: pip install matplotlib brings some")
    return fonts


def describe_fonts(fonts: Sequence[Path]) -> dict[str, str]:
    """Name -> first 16 digits of the SHA-256: two machines draw alike where these agree."""
    return {font.name: hashlib.sha256(font.read_bytes()).hexdigest()[:16] for font in fonts}


@cache
def load_font(path: Path, size: int) -> ImageFont.FreeTypeFont:
    """A font at a size in pixels, loaded once."""
    return ImageFont.truetype(str(path), size)


@dataclass(frozen=True)
class Face:
    """How words look: font, size in pixels, ink (0 is black)."""

    path: Path
    size: int
    ink: int = 0

    @property
    def font(self) -> ImageFont.FreeTypeFont:
        """The loaded font."""
        return load_font(self.path, self.size)

    def width(self, text: str) -> float:
        """Pixels that ``text`` takes."""
        return float(self.font.getlength(text))


class Canvas:
    """A grey page that remembers its words.

    Args:
        size: Width and height in pixels.
        paper: Grey of the paper, 255 is white.
    """

    def __init__(self, size: tuple[int, int], paper: int = 255) -> None:
        self.image = Image.new("L", size, paper)
        self.draw = ImageDraw.Draw(self.image)
        self._words: list[Placed] = []

    @property
    def layer(self) -> TextLayer:
        """All words in the order in which they were drawn."""
        return join_words(self._words)

    def word(self, x: float, y: float, text: str, face: Face) -> float:
        """Draw a word with its top left corner at ``(x, y)``; the x behind it."""
        at = (round(x), round(y))
        self.draw.text(at, text, font=face.font, fill=face.ink)
        top, bottom = face.font.getbbox(text)[1::2]
        ends = [at[0] + face.width(text[:end]) for end in range(len(text) + 1)]
        self._words.append(
            [
                (character, (ends[i], at[1] + float(top), ends[i + 1], at[1] + float(bottom)))
                for i, character in enumerate(text)
            ]
        )
        return ends[-1]

    def words(self, x: float, y: float, text: str, face: Face) -> float:
        """Draw words side by side; the x behind the last."""
        for word in text.split():
            x = self.word(x, y, word, face) + _space(face)
        return x

    def paragraph(
        self, text: str, face: Face, *, left: float, top: float, width: float, bottom: float
    ) -> float:
        """Draw words in lines as far as they fit above ``bottom``; the y below the last line."""
        pitch = face.size * 1.25
        for line in break_lines(text, face, width):
            if top + pitch > bottom:
                break
            self.words(left, top, line, face)
            top += pitch
        return top


def break_lines(text: str, face: Face, width: float) -> Iterator[str]:
    """Lines of whole words, each at most ``width`` pixels; a longer word is left out."""
    line = ""
    for word in text.split():
        longer = f"{line} {word}".strip()
        if face.width(longer) <= width:
            line = longer
        elif face.width(word) <= width:
            yield line
            line = word
    if line:
        yield line


def _space(face: Face) -> float:
    """Computer Modern's fonts have no space; a quarter of the size is the usual width."""
    return max(face.width(" "), face.size / 4)
