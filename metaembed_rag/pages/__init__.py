"""Pages: what is indexed, found and shown; and how files become pages.

::

    page.py     Page, the value that travels through the package
    parts.py    what the text of a page of a picture is made from
    folders.py  which files there are below the given paths
    uploads.py  bytes and open files in place of paths
    load.py     load_pages: files -> pages, lazily, with every failure reported
    limits.py, digests.py, file_bytes.py   what is refused; which file it was; its bytes
    documents/  Office documents, web pages, tables, e-mails and books -> pages
    pdf.py      PDF -> pages (text, outline, labels, picture), by pypdfium2
    pdf_client.py, pdf_worker.py   the same, in a process whose memory and time are limited
    workers.py, frames.py          such processes, and what is said to them and by them
    worker_program.py, worker_client.py   what those that answer have in common, and those that ask
    pdf_fields.py   form fields, notes, stamps, signatures and attached files of a PDF
    pdf_xfa.py  values of forms that are made of XML
    pdf_lines.py, lines.py   where the lines of a text stand on the picture of its page
    remote.py       files of object stores: s3://bucket/docs/
    pdf_pictures.py how much of a page of a PDF is drawn and not written, and where its figures are
    pdf_turned.py   pages of a PDF that lie on their side, made upright
    figures.py, figure_texts.py   pictures inside of pages, and what OCR read of them
    legibility.py   whether a text layer can be read, in any language
    reading.py  what a page shows beyond its text, and OCR's text beside its own
    images.py   PNG, JPEG, WebP, TIFF, GIF, BMP, AVIF, HEIC -> pages
    image_client.py, image_worker.py   the same in a process with limits
    captions.py what is written beside the pixels: EXIF, IPTC, XMP, comments
    file_names.py  names of files and folders as words
    decoding.py bytes of a text file -> text, in the encodings that there are
    texts.py    text and Markdown -> pages of about 1,800 characters
    pictures.py any Pillow image -> RGB of a bounded size
    sending.py  pictures as a model is sent them: bytes, within limits
    ocr.py, ocr_worker.py   the text of a picture, by rapidocr in a process with limits, for models
                that read text only
    ocr_order.py, ocr_languages.py   in which order pieces of text are read; which letters are

Reading PDFs is pypdfium2's alone: on 87 pages of Debian's LaTeX manuals its text layer took 2.2 ms
a page where pypdf took 18 ms, and pypdf raised an error on the twelfth file. Forms and notes are
its part, too: it answers a damaged one with nothing, and knows what fields inherit.
"""

from metaembed_rag.pages.folders import KINDS, list_files
from metaembed_rag.pages.limits import Limits
from metaembed_rag.pages.load import file_digest, load_pages, page_texts
from metaembed_rag.pages.page import Page
from metaembed_rag.pages.pictures import bounded
from metaembed_rag.pages.reading import Ocr

__all__ = [
    "KINDS",
    "Limits",
    "Ocr",
    "Page",
    "bounded",
    "file_digest",
    "list_files",
    "load_pages",
    "page_texts",
]
