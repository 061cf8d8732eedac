"""Charts that are bitmaps inside of PDF pages: found with and without OCR of them, and its cost.

    python -m benchmarks.quality.figures_in_pages --charts 60 --json results/figures.json
    python -m benchmarks.quality.figures_in_pages --charts 0 --costs 6 --pdfs FOLDER... \
        --json results/figures_cost.json

Each chart of OpenCQA's validation split is put into a PDF page of its own, below a paragraph of
running text and above a caption with nothing but its number; the questions are those that people
wrote for it. The pages are indexed with OCR off and on (``never``, ``auto``), and searched with and
without words. ``--costs`` measures CPU seconds a page of such pages, and ``--pdfs`` of real ones,
in one process and one run: loaded without figures, with figures drawn, and figures read.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen import canvas

from benchmarks import results
from metaembed_rag import MetaEmbedEncoder, PageIndex, load_pages
from metaembed_rag.pages import Limits, Page, list_files
from metaembed_rag.pages.ocr import read_here

CLAIM = "Questions that are answered by charts inside of PDF pages, without and with OCR of them."
COST_CLAIM = "CPU seconds a page of PDFs with pictures inside, without and with OCR of them."
LINES = 14
K = 5


def chart_page(image: Image.Image, number: int, lines: Sequence[str]) -> bytes:
    """A PDF of one page: running text, a chart, and a caption that says nothing of it."""
    buffer = io.BytesIO()
    pdf = canvas.Canvas(buffer, pagesize=(595, 842), invariant=True)
    pdf.setFont("Helvetica", 10)
    for row, line in enumerate(lines):
        pdf.drawString(60, 780 - 14 * row, line)
    width = 380.0
    height = min(480.0, width * image.height / image.width)
    width = height * image.width / image.height
    pdf.drawImage(ImageReader(image), 60, 570 - height, width, height)
    pdf.drawString(60, 550 - height, f"Figure {number}")
    pdf.save()
    return buffer.getvalue()


def questions(count: int, folder: Path, out: Path) -> dict[str, str]:
    """Write pages with charts; the page's id that answers each question."""
    rows = [json.loads(line) for line in (folder / "val.jsonl").read_text().splitlines()]
    chosen = random.Random(18).sample(rows, count)
    filler = [" ".join(row["answer"].split())[:95] for row in rows if row not in chosen]
    asked = {}
    for number, row in enumerate(chosen, start=1):
        lines = random.Random(number).sample(filler, LINES)
        path = out / f"report{number:04d}.pdf"
        path.write_bytes(
            chart_page(Image.open(folder / row["image"]).convert("RGB"), number, lines)
        )
        asked[row["text"]] = f"{path.resolve().as_posix()}#1"
    return asked


def ndcg(index: PageIndex, asked: dict[str, str], *, hybrid: bool) -> float:
    """Mean nDCG@5 of questions with one right page each."""
    gains = []
    for question, right in asked.items():
        hits = index.search(question, k=K, hybrid=hybrid)
        ranks = [rank for rank, hit in enumerate(hits, start=1) if hit.page.id == right]
        gains.append(1 / np.log2(ranks[0] + 1) if ranks else 0.0)
    return float(np.mean(gains))


def quality(count: int, model: str) -> dict[str, Any]:
    """nDCG@5 and seconds of indexing with OCR off and on, of the same pages."""
    encoder = MetaEmbedEncoder.from_pretrained(model)
    found: dict[str, Any] = {"charts": count, "model": model, "fingerprint": encoder.fingerprint}
    with tempfile.TemporaryDirectory() as work:
        files = Path(work, "files")
        files.mkdir()
        asked = questions(count, results.DATA / "opencqa_train", files)
        for ocr in ("never", "auto"):
            index = PageIndex.open(Path(work, ocr), encoder)
            start = time.perf_counter()
            report = index.sync(files, ocr=ocr)  # type: ignore[arg-type]
            seconds = time.perf_counter() - start
            found[ocr] = {
                "vectors": ndcg(index, asked, hybrid=False),
                "hybrid": ndcg(index, asked, hybrid=True),
                "seconds_a_page": round(seconds / count, 3),
                "ocr_seconds_a_page": round(report.seconds["ocr"] / count, 3),
            }
            start = time.perf_counter()
            index.sync(files, ocr=ocr)  # type: ignore[arg-type]
            found[ocr]["again_seconds_a_page"] = round((time.perf_counter() - start) / count, 4)
            index.close()
    return found


def costs(count: int, folders: Iterable[Path]) -> list[dict[str, Any]]:
    """CPU seconds a page of chart pages and of real PDFs: loaded, figures drawn, figures read."""
    with tempfile.TemporaryDirectory() as work:
        if count:
            questions(count, results.DATA / "opencqa_train", Path(work))
        charts = [Path(work)] if count else []
        made = {"a chart of OpenCQA": list_files(charts)} if count else {}
        real = {path.name: [path] for path in list_files(folders) if path.suffix == ".pdf"}
        return [{"what": name, **_cost(paths)} for name, paths in (made | real).items()]


def _cost(paths: Sequence[Path]) -> dict[str, Any]:
    plain, pages = _loaded(paths, figures=False)
    drawn, pages = _loaded(paths, figures=True)
    figures = [figure for page in pages for figure in page.figures]
    start = time.process_time()
    letters = sum(len(read_here(figure.image)) for figure in figures)
    read = time.process_time() - start
    return {
        "pages": len(pages),
        "with_figures": sum(bool(page.figures) for page in pages),
        "figures": len(figures),
        "loaded": round(plain / len(pages), 4),
        "drawn": round(drawn / len(pages), 4),
        "read": round(read / len(pages), 3),
        "characters": letters,
    }


def _loaded(paths: Sequence[Path], *, figures: bool) -> tuple[float, list[Page]]:
    """In this process, whose CPU time counts."""
    start = time.process_time()
    pages = list(load_pages(paths, limits=Limits(figures=figures, separate_process=False)))
    return time.process_time() - start, pages


def main() -> None:
    """Read the command line, measure, print one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--charts", type=int, default=60, help="of OpenCQA's validation split")
    parser.add_argument("--costs", type=int, default=0, help="pages with a chart, for the CPU time")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--pdfs", nargs="*", type=Path, default=[], help="folders of real PDFs")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    given = parser.parse_args()
    found: dict[str, Any] = {}
    if given.costs or given.pdfs:
        read_here(Image.new("RGB", (99, 99)))  # loads the models
        found["costs"] = costs(given.costs, given.pdfs)
    if given.charts:
        found |= quality(given.charts, given.model)
    print(json.dumps(found, indent=1))
    if given.json:
        claim = CLAIM if given.charts else COST_CLAIM
        results.write(given.json, claim, found, fingerprint=found.pop("fingerprint", None))


if __name__ == "__main__":
    main()
