"""What the bytes of a document are, whatever its name says: told by their content."""

from __future__ import annotations

import re
import zipfile
from io import BytesIO

from metaembed_rag.pages.documents.archives import DAMAGE

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_RTF = b"{\\rtf"
_ZIP = b"PK\x03\x04"
_HEAD = 4_096
_PARTS = (("word/", ".docx"), ("ppt/", ".pptx"), ("xl/", ".xlsx"))
"""Folders inside of Microsoft's containers."""
_MIMETYPES = {
    "application/vnd.oasis.opendocument.text": ".odt",
    "application/vnd.oasis.opendocument.presentation": ".odp",
    "application/vnd.oasis.opendocument.spreadsheet": ".ods",
    "application/epub+zip": ".epub",
}
_STREAMS = (("WordDocument", ".doc"), ("PowerPoint Document", ".ppt"), ("Workbook", ".xls"))
"""Of Microsoft's older files, whose names stand in them as UTF-16."""
_HTML = re.compile(rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*<(!doctype\s+html|html)\b", re.I | re.S)
_FIELD = re.compile(rb"[!-9;-~]+:[ \t]*\S")
_MAIL = frozenset({b"from", b"subject", b"received", b"return-path", b"message-id", b"date"})
_MAIL_FIELDS = 2

SHEETS = frozenset({".xlsx", ".xls", ".ods"})
"""Formats of workbooks."""


def suffix_by_content(data: bytes) -> str:
    """The usual suffix of the format of a document, e-mail or book; ``""`` where it is none."""
    if data.startswith(_ZIP):
        return _of_container(data)
    if data.startswith(_OLE):
        return next((suffix for name, suffix in _STREAMS if name.encode("utf-16-le") in data), "")
    if data.startswith(_RTF):
        return ".rtf"
    head = data[:_HEAD].removeprefix(b"\xef\xbb\xbf")
    if _HTML.match(head):
        return ".html"
    return ".eml" if _is_mail(head) else ""


def is_encrypted(data: bytes) -> bool:
    """Whether a document needs a password."""
    if data.startswith(_OLE):
        return "EncryptedPackage".encode("utf-16-le") in data
    if not data.startswith(_ZIP):
        return False
    try:
        with (
            zipfile.ZipFile(BytesIO(data)) as container,
            container.open("META-INF/manifest.xml") as manifest,
        ):
            return b"encryption-data" in manifest.read(1_000_000)
    except DAMAGE:
        return False


def _of_container(data: bytes) -> str:
    """Of a zip archive, by the type that it begins with, else by the folders in it."""
    try:
        with zipfile.ZipFile(BytesIO(data)) as container:
            names = container.namelist()
    except DAMAGE:
        return ""
    if named := _named_type(data):
        return named
    return next(
        (suffix for part, suffix in _PARTS if any(name.startswith(part) for name in names)), ""
    )


def _named_type(data: bytes) -> str:
    """Of containers whose first file, stored as it is, says what they are."""
    head = data[30:200]  # behind the fields of the first file
    if not head.startswith(b"mimetype"):
        return ""
    said = head.removeprefix(b"mimetype")
    known = (suffix for name, suffix in _MIMETYPES.items() if name.encode() in said)
    return next(known, "")


def _is_mail(head: bytes) -> bool:
    """Whether it begins with the fields of an e-mail."""
    fields = head.partition(b"\n\n")[0].partition(b"\r\n\r\n")[0].splitlines()
    own = [line for line in fields if not line.startswith((b" ", b"\t"))]
    if not own or not all(map(_FIELD.match, own[:5])):
        return False
    return len(_MAIL & {line.partition(b":")[0].lower() for line in own}) >= _MAIL_FIELDS
