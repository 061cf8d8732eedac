"""Bytes of the kept pictures of pages, as WebP and as the JPEG of before, and what is lost.

    python -m benchmarks.search.picture_size FILE.pdf PHOTO.jpg ... --json results/pictures.json

For each picture: bytes, PSNR in dB (99: nothing lost), milliseconds of the processor, and whether
OCR reads the same letters as on the picture itself.
"""

from __future__ import annotations

import argparse
import io
import json
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks import results
from metaembed_rag import load_pages
from metaembed_rag.pages.ocr import read_text
from metaembed_rag.store import picture_format

CLAIM = "Bytes of the kept pictures of pages, as WebP and as the JPEG of before."
_NOTHING_LOST = 99.0
_A_FILE = 4
"""Pages of a file that are taken."""


def jpeg(image: Image.Image) -> bytes:
    """A picture as earlier versions kept it."""
    file = io.BytesIO()
    image.convert("RGB").save(file, "JPEG", quality=85)
    return file.getvalue()


WAYS: dict[str, Callable[[Image.Image], bytes]] = {
    "JPEG, before": jpeg,
    "WebP": picture_format.encoded,
}


def measured(images: Sequence[Image.Image]) -> list[dict[str, Any]]:
    """Each way over all pictures."""
    letters = [read_text(image) for image in images]
    return [_way(name, way, images, letters) for name, way in WAYS.items()]


def _way(
    name: str,
    way: Callable[[Image.Image], bytes],
    images: Sequence[Image.Image],
    letters: Sequence[str],
) -> dict[str, Any]:
    start = time.process_time()
    files = [way(image) for image in images]
    seconds = time.process_time() - start
    back = [Image.open(io.BytesIO(file)).convert("RGB") for file in files]
    fidelity = [psnr(*pair) for pair in zip(images, back, strict=True)]
    same = [read_text(image) == text for image, text in zip(back, letters, strict=True)]
    return {
        "way": name,
        "pictures": len(images),
        "bytes": round(float(np.mean([len(file) for file in files]))),
        "psnr": round(float(np.mean(fidelity)), 1),
        "least_psnr": round(min(fidelity), 1),
        "cpu_ms": round(1000 * seconds / len(images), 1),
        "same_letters": sum(same),
    }


def psnr(image: Image.Image, other: Image.Image) -> float:
    """Peak signal to noise, in dB."""
    error = np.asarray(image, np.float32) - np.asarray(other, np.float32)
    mean = float((error * error).mean())
    return _NOTHING_LOST if mean == 0 else float(10 * np.log10(255**2 / mean))


def main() -> None:
    """Read the command line, measure, print one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path, help="PDFs and pictures")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    given = parser.parse_args()
    pages = [page for path in given.files for page in islice(load_pages(path), _A_FILE)]
    images = [image.convert("RGB") for page in pages if (image := page.load_image())]
    found = measured(images)
    print(json.dumps(found, indent=2))
    if given.json:
        results.write(given.json, CLAIM, found)


if __name__ == "__main__":
    main()
