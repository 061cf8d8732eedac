"""What went wrong, as a status and a sentence that names no place of this machine."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterable
from pathlib import Path

from metaembed_rag import errors
from metaembed_rag.serving.encoding import UnknownModelError
from metaembed_rag.serving.naming import NotFoundError, without_folders
from metaembed_rag.serving.service import CannotExplainError, ReadOnlyError
from metaembed_rag.serving.work import BusyError, GoneError, StoppingError

_log = logging.getLogger(__name__)

_STATUS: tuple[tuple[type[Exception], int], ...] = (
    (BusyError, 503),
    (StoppingError, 503),
    (GoneError, 499),
    (CannotExplainError, 501),
    (ReadOnlyError, 403),
    (UnknownModelError, 404),
    (errors.ServerError, 400),
    (errors.BudgetError, 400),
    (errors.ModalityError, 400),
    (NotFoundError, 404),
    (errors.FileTooLargeError, 413),
    (errors.PageError, 422),
    (errors.MissingExtraError, 501),
    (errors.IndexLockedError, 503),
    (errors.IndexClosedError, 503),
    (errors.IndexNotFoundError, 503),
    (errors.StoreError, 400),
)
"""The first that fits; what was asked is looked at before the store is, so that a `StoreError` most
often is about an option."""


def status_of(error: BaseException) -> int:
    """The status of an answer about an error."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return 507
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def sentence_of(error: BaseException, places: Iterable[Path]) -> str:
    """What an answer says of an error.

    Of what nobody has foreseen only that it happened; the log has the rest.

    Args:
        error: What was raised.
        places: Folders that no answer names.
    """
    if not isinstance(error, errors.MetaEmbedError):
        _log.error("a request failed", exc_info=error)
        if isinstance(error, OSError):
            return f"the server could not do it: {error.strerror or type(error).__name__}"
        if isinstance(error, MemoryError):
            return "the server is out of memory; send less at a time"
        return "the server failed at this; its log says more"
    text = str(error)
    for place in sorted(map(str, places), key=len, reverse=True):
        text = text.replace(place, Path(place).name)
    return without_folders(text)
