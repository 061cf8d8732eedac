"""What is trained on: a query, the page that answers it, pages that look as if they did."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import overload

from metaembed_rag.errors import DatasetError, PageError
from metaembed_rag.model.inputs import Input
from metaembed_rag.pages import Page


@dataclass(frozen=True, slots=True)
class Side:
    """One query or page of an example: text, a picture, or both; pictures stay on disk.

    Attributes:
        text: ``""`` where there is none.
        image: Absolute path of the picture.
        where: File and line, for messages; two sides with the same content are equal.
    """

    text: str = ""
    image: str | None = None
    where: str = field(default="", compare=False, repr=False)

    @property
    def modality(self) -> str:
        """``"text"``, ``"image"`` or ``"fused"``."""
        if self.image is None:
            return "text"
        return "fused" if self.text else "image"

    def load(self) -> Input:
        """What an encoder takes: a str, an RGB picture, or both under "text" and "image".

        Raises:
            DatasetError: The picture is damaged or has gone; the message names it and its line.
        """
        if self.image is None:
            return self.text
        try:
            image = Page(source=self.image, image_path=self.image).load_image()
        except PageError as error:
            raise DatasetError(
                f"{self.where or 'a training example'}: the picture {self.image} cannot be opened "
                f"({error.__cause__ or error.reason}); replace it, or take the line out"
            ) from error
        assert image is not None
        return {"text": self.text, "image": image} if self.text else image


@dataclass(frozen=True, slots=True)
class Example:
    """A query, a page that answers it, and pages that look as if they did.

    Attributes:
        query: The question.
        positive: The page that answers it.
        negatives: Pages that do not, from the most alike to the least; used for this query only.
        where: Where it was read: ``"pairs.jsonl, line 7"``.

    Raises:
        DatasetError: The positive is among the negatives.
    """

    query: Side
    positive: Side
    negatives: tuple[Side, ...] = ()
    where: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if self.positive in self.negatives:
            raise DatasetError(
                f"{self.where or 'a training example'}: the positive is also a negative; "
                f"take it out of one of them"
            )


class TrainingSet(Sequence[Example]):
    """Examples with a name, a weight and a digest of their content.

    Args:
        examples: At least one.
        name: What logs call it.
        weight: How often batches are drawn from it, beside the other sets' weights.
        path: Where it was read.

    Raises:
        DatasetError: There is no example, a page is both positive and negative of a query, or the
            weight is not a number above 0.
    """

    def __init__(
        self, examples: Iterable[Example], *, name: str, weight: float = 1.0, path: str = ""
    ) -> None:
        self._examples = tuple(examples)
        if not self._examples:
            raise DatasetError(f"{path or name}: no training examples; give it at least one line")
        if not 0 < weight < float("inf"):
            raise DatasetError(f"{path or name}: the weight must be a number above 0, not {weight}")
        self.name, self.weight, self.path = name, float(weight), path
        self._pictures = PictureKeys(side.image for side in sides_of(self._examples))
        self._check_negatives()

    def __len__(self) -> int:
        return len(self._examples)

    @overload
    def __getitem__(self, at: int) -> Example: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Example]: ...
    def __getitem__(self, at: int | slice) -> Example | Sequence[Example]:
        return self._examples[at]

    def __repr__(self) -> str:
        return f"TrainingSet({self.name!r}, {len(self)} examples, weight {self.weight:g})"

    def _check_negatives(self) -> None:
        if not any(example.negatives for example in self):
            return
        answers: dict[tuple[str, str], dict[tuple[str, str], str]] = defaultdict(dict)
        for example in self:
            page = self.content(example.positive)
            answers[self.content(example.query)].setdefault(page, example.where)
        for example in self:
            answering = answers[self.content(example.query)]
            for number, side in enumerate(example.negatives, 1):
                if (place := answering.get(self.content(side))) is not None:
                    raise DatasetError(
                        f"{example.where or self.name}: negative {number} answers the same query "
                        f"in {place or 'another example'}; take it out of one of them"
                    )

    @cached_property
    def digest(self) -> str:
        """Hash of every text, and of every picture's name and size in bytes, in their order.

        Returns:
            32 hexadecimal digits (BLAKE2b): the same for the same data in another folder, on
            another machine, compressed or not.
        """
        path = Path(self.path)
        folder = path if path.is_dir() else path.parent
        size_of = lru_cache(maxsize=None)(picture_bytes)
        digest = hashlib.blake2b(digest_size=16)
        for example in self:
            for side in sides_of([example]):
                row = [side.text]
                if side.image is not None:
                    row += [os.path.relpath(side.image, folder), str(size_of(side.image))]
                digest.update(json.dumps(row).encode())
            digest.update(b"\n")
        return digest.hexdigest()

    def content(self, side: Side) -> tuple[str, str]:
        """What two sides of this set agree in when they show the same: the text, and the picture.

        Pictures of the same number of bytes are compared by their bytes, whatever their names.
        """
        return side.text, self._pictures.of(side.image)


def sides_of(examples: Iterable[Example]) -> Iterator[Side]:
    """Every query, positive and negative, in their order."""
    for example in examples:
        yield example.query
        yield example.positive
        yield from example.negatives


class PictureKeys:
    """Names for pictures that two files share exactly when their bytes are the same.

    Args:
        paths: All pictures that are to be compared; None is passed over.
    """

    def __init__(self, paths: Iterable[str | None]) -> None:
        sizes: dict[int | None, list[str]] = defaultdict(list)
        for path in {path for path in paths if path is not None}:
            sizes[picture_bytes(path)].append(path)
        self._alike = {path for same in sizes.values() if len(same) > 1 for path in same}
        self._keys: dict[str, str] = {}

    def of(self, image: str | None) -> str:
        """``""`` for no picture; bytes are read only where two pictures have the same size."""
        if image is None or image not in self._alike:
            return image or ""
        if image not in self._keys:
            self._keys[image] = hashlib.blake2b(Path(image).read_bytes()).hexdigest()
        return self._keys[image]


def picture_bytes(path: str) -> int | None:
    """Size of a picture's file, or None where there is no such file."""
    file = Path(path)
    try:
        return file.stat().st_size if file.is_file() else None
    except OSError:  # a name that is too long, a folder that may not be entered
        return None


def normalise(text: str) -> str:
    """Lower case, letters and digits only, single spaces: what two equal texts agree in."""
    return " ".join(re.findall(r"[^\W_]+", text.lower()))
