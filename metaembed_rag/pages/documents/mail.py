"""E-mails: who wrote what to whom and when, the text, and what is attached."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from email.utils import parsedate_to_datetime
from typing import Any

from metaembed_rag.errors import UnreadableFileError
from metaembed_rag.pages.decoding import decode
from metaembed_rag.pages.documents.markup import read_html
from metaembed_rag.pages.documents.pages import Extracted, chunked, decoded, of_csv

_SHOWN = ("Subject", "From", "To", "Cc", "Date")
_KEPT = {"subject": "Subject", "from": "From", "to": "To"}
_MAIL = "message/rfc822"
_MOST_PARTS = 1_000
_DEEPEST = 3
"""E-mails attached to one another that are read."""
_LONGEST = 500


def of_mail(data: bytes, source: str) -> Extracted:
    """An e-mail: its fields and text, then each attachment that is a text, table or e-mail.

    Others are named as ``Attachment: name``. ``subject`` (also as ``title``), ``from``, ``to`` and
    ``date`` (ISO 8601) are metadata.

    Raises:
        UnreadableFileError: It is no e-mail.
    """
    message = BytesParser(policy=policy.default).parsebytes(data)
    if not any(_field(message, name) for name in ("From", "Subject", "Date", "Received")):
        raise UnreadableFileError(source, "is no e-mail: it has no subject, sender or date")
    return Extracted(list(_chunks(message, source, 0)), _metadata(message))


def _chunks(message: EmailMessage, source: str, depth: int) -> Iterator[tuple[str, str]]:
    """Section and text of each page: of the e-mail itself, then of what is attached."""
    body = _body(message)
    attached = list(_attached(message, body))
    names = [f"Attachment: {_name(part)}" for part in attached]
    fields = [f"{name}: {said}" for name in _SHOWN if (said := _field(message, name))]
    said = "" if body is None else _text(body, source)
    text = "\n\n".join(filter(None, ["\n".join(fields), said, "\n".join(names)]))
    subject = _field(message, "Subject")
    yield from ((section or subject, own) for section, own in chunked(text).chunks)
    for part in attached:
        yield from _of_attachment(part, source, depth)


def _of_attachment(part: EmailMessage, source: str, depth: int) -> Iterator[tuple[str, str]]:
    kind, name = part.get_content_type(), _name(part)
    if (inner := _inner(part)) is not None:
        if depth < _DEEPEST:
            yield from _chunks(inner, source, depth + 1)
        return
    data = _bytes(part)
    if kind.startswith("text/") and data.strip():
        table = kind == "text/csv" or name.lower().endswith((".csv", ".tsv"))
        found = of_csv(data, source) if table else chunked(_text(part, source))
        yield from ((name, own) for _, own in found.chunks)


def _leaves(message: EmailMessage) -> Iterator[EmailMessage]:
    """What an e-mail is made of: texts, files, and e-mails as a whole."""
    ahead: list[Any] = [message]
    for _ in range(_MOST_PARTS):
        if not ahead:
            return
        part = ahead.pop()
        inner = part.get_payload()
        if part.get_content_type() != _MAIL and isinstance(inner, list):
            ahead += reversed(inner)
        elif part.get_content_type() != _MAIL or _inner(part) is not None:
            yield part


def _body(message: EmailMessage) -> EmailMessage | None:
    """The text of an e-mail: the first plain one that is no attachment, else the first of HTML."""
    own = [part for part in _leaves(message) if not part.is_attachment()]
    for kind in ("text/plain", "text/html"):
        if found := [part for part in own if part.get_content_type() == kind]:
            return found[0]
    return None


def _attached(message: EmailMessage, body: EmailMessage | None) -> Iterator[EmailMessage]:
    """All other parts, without the same text as HTML."""
    for part in _leaves(message):
        is_other = part.is_attachment() or part.get_filename()
        if part is not body and (is_other or part.get_content_maintype() != "text"):
            yield part


def _inner(part: EmailMessage) -> EmailMessage | None:
    """The e-mail that is attached as a part."""
    found: Any = part.get_payload()
    is_whole = isinstance(found, list) and found and isinstance(found[0], EmailMessage)
    return found[0] if is_whole else None


def _text(part: EmailMessage, source: str) -> str:
    """The words of a part that is a text, in the encoding that it says or another."""
    data = _bytes(part)
    if part.get_content_type() == "text/html":
        return read_html(_decoded(part, data, source)).text
    return _decoded(part, data, source)


def _decoded(part: EmailMessage, data: bytes, source: str) -> str:
    charset = part.get_content_charset()
    try:
        return data.decode(charset or "ascii").replace("\r\n", "\n")
    except (LookupError, ValueError):
        is_html = part.get_content_type() == "text/html"
        return decoded(data, source) if is_html else decode(data, source)


def _bytes(part: EmailMessage) -> bytes:
    found = part.get_payload(decode=True)
    return found if isinstance(found, bytes) else b""


def _name(part: EmailMessage) -> str:
    """What an attachment is called; an e-mail by its subject."""
    if name := part.get_filename():
        return " ".join(name.split())[:_LONGEST]
    if (inner := _inner(part)) is not None:
        return _field(inner, "Subject") or "an e-mail"
    return part.get_content_type()


def _metadata(message: EmailMessage) -> dict[str, str]:
    found = {name: said for name, at in _KEPT.items() if (said := _field(message, at))}
    if "subject" in found:
        found["title"] = found["subject"]
    with suppress(TypeError, ValueError):  # none, or one that is no date
        found["date"] = parsedate_to_datetime(_field(message, "Date")).isoformat()
    return found


def _field(message: EmailMessage, name: str) -> str:
    """A field as one line; ``""`` where it is missing or damaged."""
    try:
        value = message.get(name)
    except (ValueError, LookupError, AttributeError, TypeError):  # of Python's own parser
        return ""
    said = str(value or "").encode("utf-8", "replace").decode()
    return " ".join(said.split())[:_LONGEST]
