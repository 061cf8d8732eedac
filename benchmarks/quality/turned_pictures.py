"""OCR of pictures that are upside down or lie on their side, beside the same pictures upright.

    python -m benchmarks.quality.turned_pictures --pages 2 --charts 4

Of every picture: the engine's confidence upright and upside down, which decides whether it is
turned; and for each angle the share of the upright picture's words that are found, and the CPU
seconds beside those of the upright one. ``plain`` is the CPU time of reading it upright without
looking at the confidence at all.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks import results
from metaembed_rag.pages import ocr
from metaembed_rag.pages.pictures import to_rgb

CLAIM = "Share of the words that OCR finds of pictures that are turned, and what looking costs."
ANGLES = (180, 90, 270)


def measure(image: Image.Image) -> dict[str, Any]:
    """Confidence, words found and relative CPU seconds of one picture, by angle."""
    image = to_rgb(image)
    text, upright = _timed(lambda: ocr.read_text(image))
    lines, plain = _timed(lambda: ocr._read(image))
    words = set(text.split())
    found: dict[str, Any] = {
        "confidence": round(ocr._confidence(lines), 3),
        "upside_down": round(ocr._confidence(ocr._read(image.rotate(180))), 3),
        "words": len(words),
        "plain": round(plain / upright, 2),
    }
    for angle in ANGLES:
        turned = image.rotate(angle, expand=True)
        again, seconds = _timed(lambda turned=turned: ocr.read_text(turned))  # type: ignore[misc]
        share = len(words & set(again.split())) / max(1, len(words))
        found[str(angle)] = {"words": round(share, 3), "times": round(seconds / upright, 2)}
    return found


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    start = time.process_time()
    done = work()
    return done, max(1e-9, time.process_time() - start)


def _some(folder: Path, pattern: str, count: int) -> Iterable[Path]:
    return random.Random(21).sample(sorted(folder.rglob(pattern)), count)


def main() -> None:
    """Read the command line, measure, print one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pages", type=int, default=2, help="of texdoc_pages")
    parser.add_argument("--charts", type=int, default=4, help="of opencqa_train")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    given = parser.parse_args()
    ocr.read_text(Image.new("RGB", (99, 99)))  # loads the models
    paths = [
        *_some(results.DATA / "texdoc_pages", "*.jpg", given.pages),
        *_some(results.DATA / "opencqa_train", "*.webp", given.charts),
    ]
    found = {path.name: measure(Image.open(path)) for path in paths}
    print(json.dumps(found, indent=2))
    if given.json:
        results.write(given.json, CLAIM, found)


if __name__ == "__main__":
    main()
