"""What is written on a page of a PDF beside its text layer: form fields, notes, attached files.

All by pypdfium2, under the caller's lock. PDFium answers a damaged annotation with nothing, so it
costs nothing but itself.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pypdfium2 as pdfium
import pypdfium2.raw as raw

_MAX_ANNOTATIONS = 5_000
_MAX_ATTACHMENTS = 1_000
_MAX_BYTES = 1_000_000  # of one value; a form that holds more is no text to be searched
_MAX_CHARACTERS = 1_000_000  # of a page
_UNSEEN_FLAGS = raw.FPDF_ANNOT_FLAG_HIDDEN | raw.FPDF_ANNOT_FLAG_NOVIEW
_PASSWORD_FIELD = 1 << 13
_WITHOUT_TEXT = frozenset(
    {raw.FPDF_ANNOT_LINK, raw.FPDF_ANNOT_POPUP, raw.FPDF_ANNOT_WIDGET, raw.FPDF_ANNOT_UNKNOWN}
)
"""A link's contents describe it, and a pop-up's are those of the note that it belongs to."""
_CHOICES = frozenset({raw.FPDF_FORMFIELD_COMBOBOX, raw.FPDF_FORMFIELD_LISTBOX})
_TICKED = frozenset({raw.FPDF_FORMFIELD_CHECKBOX, raw.FPDF_FORMFIELD_RADIOBUTTON})
_STAMPS = frozenset(
    [
        "Approved",
        "Experimental",
        "NotApproved",
        "AsIs",
        "Expired",
        "NotForPublicRelease",
        "Confidential",
        "Final",
        "Sold",
        "Departmental",
        "ForComment",
        "TopSecret",
        "Draft",
        "ForPublicRelease",
    ]
)
"""Names that viewers draw as words where a stamp brings no picture of its own."""
_CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z])")


def annotation_texts(page: pdfium.PdfPage) -> list[str]:
    """Values of visible form fields, texts of notes, names of files attached to a page.

    Args:
        page: Opened after ``init_forms``, where the document is a form.

    Returns:
        One text each, in the order of the page's annotations: the value of a text field, the
        chosen options of a list, ``"name: value"`` for a box that is ticked, the contents of a
        note, ``"Attachment: name"``. Passwords and what is hidden are left out.
    """
    found: list[str] = []
    left = _MAX_CHARACTERS
    for text in (text for one in _seen(page) for text in _texts(one, page) if text):
        left -= len(text)
        if left < 0:
            break
        found.append(text)
    return found


def draw_into_page(page: pdfium.PdfPage) -> bool:
    """Make what visible annotations show a part of the page, and so of its text.

    This is how the text of a signature or a stamp, which is in no field, is found. The document
    in memory is changed, and the page has to be opened again.

    Returns:
        Whether there was anything to draw.
    """
    drawn = False
    for annotation in _annotations(page):
        subtype = raw.FPDFAnnot_GetSubtype(annotation)
        if subtype in (raw.FPDF_ANNOT_LINK, raw.FPDF_ANNOT_POPUP):
            continue
        if _is_unseen(annotation) or not _shows_words(annotation, page):
            flags = raw.FPDFAnnot_GetFlags(annotation) | raw.FPDF_ANNOT_FLAG_HIDDEN
            raw.FPDFAnnot_SetFlags(annotation, flags)
            continue
        drawn = True
    return drawn and raw.FPDFPage_Flatten(page, raw.FLAT_NORMALDISPLAY) == raw.FLATTEN_SUCCESS


def attachment_names(document: pdfium.PdfDocument) -> list[str]:
    """``"Attachment: name"`` for each file that is embedded in the document."""
    found = []
    for index in range(min(document.count_attachments(), _MAX_ATTACHMENTS)):
        with suppress(pdfium.PdfiumError, UnicodeDecodeError):
            found.append(f"Attachment: {document.get_attachment(index).get_name()}")
    return found


def _annotations(page: pdfium.PdfPage) -> Iterator[Any]:
    for index in range(min(raw.FPDFPage_GetAnnotCount(page), _MAX_ANNOTATIONS)):
        with _annotation(page, index) as annotation:
            if annotation:
                yield annotation


@contextmanager
def _annotation(page: pdfium.PdfPage, index: int) -> Iterator[Any]:
    annotation = raw.FPDFPage_GetAnnot(page, index)
    try:
        yield annotation
    finally:
        if annotation:
            raw.FPDFPage_CloseAnnot(annotation)


def _seen(page: pdfium.PdfPage) -> Iterator[Any]:
    return (annotation for annotation in _annotations(page) if not _is_unseen(annotation))


def _is_unseen(annotation: Any) -> bool:
    """Whether it is hidden on a screen, or a field without area, as invisible signatures are."""
    if raw.FPDFAnnot_GetFlags(annotation) & _UNSEEN_FLAGS:
        return True
    if raw.FPDFAnnot_GetSubtype(annotation) != raw.FPDF_ANNOT_WIDGET:
        return False
    box = raw.FS_RECTF()
    if not raw.FPDFAnnot_GetRect(annotation, box):
        return True
    return bool(box.left == box.right or box.top == box.bottom)


def _texts(annotation: Any, page: pdfium.PdfPage) -> Iterator[str]:
    subtype = raw.FPDFAnnot_GetSubtype(annotation)
    if subtype == raw.FPDF_ANNOT_WIDGET:
        yield from _field_texts(annotation, page)
        return
    if subtype in _WITHOUT_TEXT:
        return
    contents = _string(annotation, b"Contents")
    yield contents
    if subtype == raw.FPDF_ANNOT_STAMP:
        name = _string(annotation, b"Name")
        yield _CAPITAL.sub(" ", name) if name in _STAMPS else ""
    if subtype == raw.FPDF_ANNOT_FILEATTACHMENT:
        file = raw.FPDFAnnot_GetFileAttachment(annotation)
        name = _wide(lambda *space: raw.FPDFAttachment_GetName(file, *space)) if file else ""
        yield f"Attachment: {name}" if name else ""


def _field_texts(annotation: Any, page: pdfium.PdfPage) -> Iterator[str]:
    kind = _field_type(annotation, page)
    if kind is None:
        return
    form = page.formenv
    if kind in _TICKED:
        if raw.FPDFAnnot_IsChecked(form, annotation):
            yield _ticked(form, annotation)
    elif kind in _CHOICES:
        chosen = list(_chosen(form, annotation))
        yield from chosen or [_field(raw.FPDFAnnot_GetFormFieldValue, form, annotation)]
    elif kind == raw.FPDF_FORMFIELD_TEXTFIELD and not _is_password(form, annotation):
        yield _field(raw.FPDFAnnot_GetFormFieldValue, form, annotation)


def _field_type(annotation: Any, page: pdfium.PdfPage) -> int | None:
    """The kind of a form field; None for other annotations and in documents without a form."""
    if not page.formenv or raw.FPDFAnnot_GetSubtype(annotation) != raw.FPDF_ANNOT_WIDGET:
        return None
    return int(raw.FPDFAnnot_GetFormFieldType(page.formenv, annotation))


def _shows_words(annotation: Any, page: pdfium.PdfPage) -> bool:
    """Whether it is drawn for its words.

    Ticks are characters of a font of symbols, which would read "4" or "l". Values of fields are
    known; drawn one by one they would be read as one word ("12", "34" as "1234").
    """
    kind = _field_type(annotation, page)
    if kind in _TICKED:
        return False
    if kind != raw.FPDF_FORMFIELD_TEXTFIELD and kind not in _CHOICES:
        return True
    if kind == raw.FPDF_FORMFIELD_TEXTFIELD and _is_password(page.formenv, annotation):
        return False
    return not any(_field_texts(annotation, page))


def _is_password(form: Any, annotation: Any) -> bool:
    return bool(raw.FPDFAnnot_GetFormFieldFlags(form, annotation) & _PASSWORD_FIELD)


def _ticked(form: Any, annotation: Any) -> str:
    """What a ticked box says: what it is called on the screen, or else by the form."""
    name = _field(raw.FPDFAnnot_GetFormFieldAlternateName, form, annotation)
    name = name or _field(raw.FPDFAnnot_GetFormFieldName, form, annotation).rpartition(".")[2]
    return f"{name}: {_field(raw.FPDFAnnot_GetFormFieldExportValue, form, annotation) or 'yes'}"


def _chosen(form: Any, annotation: Any) -> Iterator[str]:
    for index in range(min(raw.FPDFAnnot_GetOptionCount(form, annotation), _MAX_ANNOTATIONS)):
        if raw.FPDFAnnot_IsOptionSelected(form, annotation, index):
            yield _wide(
                lambda *space, at=index: raw.FPDFAnnot_GetOptionLabel(form, annotation, at, *space)
            )


def _field(ask: Callable[..., int], form: Any, annotation: Any) -> str:
    return _wide(lambda *space: ask(form, annotation, *space))


def _string(annotation: Any, key: bytes) -> str:
    return _wide(lambda *space: raw.FPDFAnnot_GetStringValue(annotation, key, *space))


def _wide(ask: Callable[..., int]) -> str:
    """A UTF-16 string that PDFium writes into a buffer of the size that it asks for."""
    size = ask(None, 0)
    if not 2 < size <= _MAX_BYTES:
        return ""
    buffer = ctypes.create_string_buffer(size)
    ask(ctypes.cast(buffer, ctypes.POINTER(raw.FPDF_WCHAR)), size)
    return buffer.raw[: size - 2].decode("utf-16-le", "replace")
