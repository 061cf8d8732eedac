"""PDFs that take all memory or time, and files among which one of them stands."""

from __future__ import annotations

import io
import zlib
from pathlib import Path

from pypdf import PdfReader, PdfWriter

from metaembed_rag.pages import Limits
from tests.support.files import pdf_bytes

FOLDER = Path(__file__).parents[1] / "fixtures" / "bombs"

SMALL = Limits(max_page_seconds=10, max_memory=128 * 1024**2)
"""Enough for a page of a few words, and soon reached by what asks for more memory."""

SHORT = Limits(max_page_seconds=0.5)
"""The same for what computes."""

LIMITS = {"form_self.pdf": SMALL, "nested_4g.pdf": SMALL, "huge_shading.pdf": SHORT}
"""The limits at which each bomb is met."""


def between_good_pages(bomb: str) -> bytes:
    """A PDF of three pages: ``before``, the bomb, ``behind``."""
    writer = PdfWriter()
    for data in (pdf_bytes(["before"]), (FOLDER / bomb).read_bytes(), pdf_bytes(["behind"])):
        writer.append(PdfReader(io.BytesIO(data)))
    buffer = io.BytesIO()
    writer.write(buffer)
    return buffer.getvalue()


def of_operators(megabytes: int = 200) -> bytes:
    """A PDF of one page, drawn by so many megabytes of operators, packed into 2 KB each."""
    packer = zlib.compressobj(9)
    drawn = b"".join(packer.compress(b"0 0 m 9 9 l " * 87_381) for _ in range(megabytes))
    drawn += packer.flush()
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 99 99] /Contents 4 0 R >>",
        b"<< /Filter /FlateDecode /Length %d >>\nstream\n%s\nendstream" % (len(drawn), drawn),
    ]
    whole = b"".join(b"%d 0 obj\n%s\nendobj\n" % one for one in enumerate(objects, start=1))
    return b"%PDF-1.7\n" + whole + b"trailer\n<< /Root 1 0 R /Size 5 >>\n%%EOF\n"


def that_cannot_be_opened(megabytes: int = 300) -> bytes:
    """A PDF whose table of objects is so many megabytes of zeros, packed into 5 KB each."""
    packer = zlib.compressobj(1)
    table = b"".join(packer.compress(bytes(2**20)) for _ in range(megabytes)) + packer.flush()
    head = b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog /Pages 1 0 R >>\nendobj\n"
    entry = b"2 0 obj\n<< /Type /XRef /Size 3 /W [1 4 1] /Root 1 0 R /Filter /FlateDecode /Length "
    end = b"\nendstream\nendobj\nstartxref\n%d\n%%%%EOF\n" % len(head)
    return head + entry + b"%d >>\nstream\n" % len(table) + table + end
