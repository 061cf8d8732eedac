"""What it costs to decode pictures and to read their letters in worker processes, in one run.

    python -m benchmarks.search.image_worker FOLDER --pages 100 --runs 5 --model small --ocr

Both ways read the same pictures in turn; the ratio is of the fastest runs. With ``--model`` whole
indexing is measured too, with ``--ocr`` OCR of so many of them alone (1 to 3 seconds each).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.search.pdf_worker import side_by_side
from metaembed_rag.index import PageIndex
from metaembed_rag.model.protocol import Encoder
from metaembed_rag.pages import Limits, Page, list_files, load_pages, ocr
from metaembed_rag.pages.pictures import to_rgb


def pages_of(files: Iterable[Path], limits: Limits, count: int) -> list[Page]:
    """The first so many pages of pictures."""
    return list(islice(load_pages(files, on_skip=lambda error: None, limits=limits), count))


def read(pages: Iterable[Page], limits: Limits) -> int:
    """Read the letters of pictures, and count these."""
    reader = ocr.read_text if limits.separate_process else ocr.read_here
    return sum(1 for page in pages if page.image is not None and reader(to_rgb(page.image)) != "\0")


def indexed(files: Iterable[Path], limits: Limits, count: int, encoder: Encoder) -> int:
    """Index pictures without OCR, by what is written beside the pixels, and count them."""
    with tempfile.TemporaryDirectory() as folder, PageIndex.open(f"{folder}/i", encoder) as index:
        return index.add(pages_of(files, limits, count), ocr="never").added


def main() -> None:
    """Read the command line, measure, print one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="a folder of pictures")
    parser.add_argument("--pages", type=int, default=100)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--model", help="measure whole indexing with it, too")
    parser.add_argument("--ocr", action="store_true", help="measure OCR, too")
    args = parser.parse_args()
    kinds = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff"}
    files = [path for path in list_files(args.folder) if path.suffix.lower() in kinds]
    found: dict[str, Any] = {
        "loading": side_by_side(lambda limits: len(pages_of(files, limits, args.pages)), args.runs)
    }
    if args.ocr:
        pages = pages_of(files, Limits(), args.pages)
        ocr.read_text(next(page.image for page in pages if page.image is not None))  # starts it
        found["ocr"] = side_by_side(lambda limits: read(pages, limits), args.runs)
    if args.model:
        from metaembed_rag.model import MetaEmbedEncoder

        encoder = MetaEmbedEncoder.from_pretrained(args.model)
        found["indexing"] = side_by_side(
            lambda limits: indexed(files, limits, args.pages, encoder), args.runs
        )
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
