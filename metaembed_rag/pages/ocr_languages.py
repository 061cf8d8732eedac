"""Which letters OCR reads: those of the models in rapidocr's package, or of one in a folder.

rapidocr's package has one model, which reads Latin letters with all their accents, Chinese and
Japanese. Others (Cyrillic, Arabic, Korean, ...) are files that somebody puts into a folder: nothing
is fetched from the internet while pages are read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from metaembed_rag.errors import ModelError
from metaembed_rag.pages.legibility import script_of

LANGUAGE, MODELS = "METAEMBED_OCR_LANGUAGE", "METAEMBED_OCR_MODELS"
"""Environment variables: what OCR reads, and the folder with the models of other languages."""

_LIST = "https://rapidai.github.io/RapidOCRDocs/main/model_list/"
_SHIPPED = frozenset({"Latin", "Han", "Kana"})
_SHIPPED_NAMES = frozenset({"latin", "en", "ch", "chinese_cht", "japan"})
_SCRIPTS: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(sorted(_SHIPPED_NAMES), _SHIPPED),
    "cyrillic": frozenset({"Cyrillic", "Latin"}),
    "eslav": frozenset({"Cyrillic", "Latin"}),
    "el": frozenset({"Greek", "Latin"}),
    "arabic": frozenset({"Arabic", "Latin"}),
    "korean": frozenset({"Hangul", "Latin"}),
    "th": frozenset({"Thai", "Latin"}),
    **dict.fromkeys(("devanagari", "ka", "ta", "te"), frozenset({"Indic", "Latin"})),
}
"""Names that rapidocr gives its models, and the scripts that they read."""
_MOST_PART = 0.5


@dataclass(frozen=True)
class OcrLanguage:
    """What OCR reads.

    Attributes:
        name: As rapidocr has it; ``""`` for the model of its package.
        model: The file that recognises letters; None for the model of the package.
    """

    name: str = ""
    model: Path | None = None

    @classmethod
    def of(cls, name: str | None = None) -> OcrLanguage:
        """The language of this name; by default what the environment says.

        Raises:
            ModelError: There is no such language, or no model of it here; it says which there are
                and where to put one.
        """
        name = (os.environ.get(LANGUAGE, "") if name is None else name).strip().lower()
        if not name or name in _SHIPPED_NAMES:
            return cls()
        if name not in _SCRIPTS:
            raise ModelError(f"OCR knows no language {name!r}; it knows {', '.join(_SCRIPTS)}")
        return cls(name, _model(name))

    @property
    def scripts(self) -> frozenset[str]:
        """Scripts whose letters it reads."""
        return _SCRIPTS[self.name] if self.name else _SHIPPED

    @property
    def characters(self) -> Path | None:
        """The file that lists the model's characters, where they are not in the model itself."""
        if self.model is None:
            return None
        beside = self.model.with_suffix(".txt")
        return beside if beside.is_file() else None

    def reads(self, text: str) -> bool:
        """Whether it reads most letters of a text; True where that has none."""
        found = [script for char in text if (script := script_of(char))]
        return not found or sum(script in self.scripts for script in found) >= (
            _MOST_PART * len(found)
        )


def _model(name: str) -> Path:
    """The file of a language's model, the newest version of several.

    Raises:
        ModelError: There is none.
    """
    folder = os.environ.get(MODELS, "")
    found = sorted(Path(folder).expanduser().glob(f"{name}_*rec*.onnx")) if folder else []
    if found:
        return found[-1]
    where = f"{folder} has none" if folder else f"{MODELS} names no folder"
    raise ModelError(
        f"OCR of {name!r} needs a model that rapidocr's package does not have (it reads Latin "
        f"letters, Chinese and Japanese), and {where}: put {name}_PP-OCRv5_rec_mobile.onnx, or an "
        f"older version, from {_LIST} into a folder and name that by {MODELS}"
    )
