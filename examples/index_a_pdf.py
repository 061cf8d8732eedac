"""Index a PDF, ask it a question, and index it again.

    python examples/index_a_pdf.py                            # the manual in examples/files
    python examples/index_a_pdf.py my.pdf "what is it about"  # yours; folders and pictures too

Everything happens on this computer: the model is the small one that comes with the package, which
reads text (pictures without a text layer are read by OCR).
"""

import sys
import tempfile
from pathlib import Path

from metaembed_rag import MetaEmbedEncoder, PageIndex, load_pages

MANUAL = Path(__file__).parent / "files" / "bardiag.pdf"
QUESTION = "patterns instead of colours for printing in black and white"


def nearest_line(text: str, question: str) -> str:
    """The line of a page that shares most words with the question."""
    words = set(question.lower().split())
    lines = [line.strip() for line in text.splitlines()] or [""]
    return max(lines, key=lambda line: len(words & set(line.lower().split())))


def main(path: Path, question: str) -> None:
    """Print the pages of ``path`` that answer ``question``."""
    encoder = MetaEmbedEncoder.from_pretrained("small")
    with tempfile.TemporaryDirectory() as folder:  # a folder of your own keeps the index
        index = PageIndex.open(folder, encoder)
        report = index.add(load_pages(path))
        print(f"{path.name}: {report}")
        for error in report.skipped:
            print(f"  skipped {error}")

        hits = index.search(question, k=3, budget="full")
        print(f"\n{question!r} at the budget ({hits.budget}), {hits.seconds * 1000:.0f} ms:")
        for hit in hits:
            name = Path(hit.page.source).name
            print(f"  {hit.rank}. {hit.score:.3f}  {name}, page {hit.page.number}")
            print(f"            “{nearest_line(hit.page.text, question)}”")
            print(f"            its picture: {hit.page.image_path}")

        again = index.add(load_pages(path))
        print(f"\nthe same file once more: {again} (nothing was encoded twice)")


if __name__ == "__main__":
    given = sys.argv[1:]
    main(Path(given[0]) if given else MANUAL, given[1] if len(given) > 1 else QUESTION)
