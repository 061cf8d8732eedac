"""What a user gives a federated index, looked at before anything is asked."""

from __future__ import annotations

from pathlib import Path

from metaembed_rag.errors import BudgetError, StoreError
from metaembed_rag.options import SearchOptions
from metaembed_rag.store.privacy import make_folder

_ALONE = (
    "a federated search names its budget: calibrations of several indexes choose several budgets, "
    "whose scores cannot be compared, and know nothing of each other's pages; leave out {names}"
)


def checked_options(options: SearchOptions) -> SearchOptions:
    """The options, where none is what the calibration of one index answers.

    Raises:
        BudgetError: It names those that are.
    """
    named = options.budget is not None and options.is_auto
    limits = ("max_ms", "min_recall", "min_confidence")
    names = ['budget "auto"'] if named else []
    names += [name for name in limits if getattr(options, name) is not None]
    if names:
        raise BudgetError(_ALONE.format(names=" and ".join(names)))
    return options


def checked_deadline(seconds: float | None) -> float | None:
    """Seconds in which shards have to answer, or None.

    Raises:
        StoreError: It is no number of seconds over 0.
    """
    if seconds is not None and not 0 < seconds < float("inf"):
        raise StoreError(f"deadline must be a number of seconds over 0, not {seconds!r}")
    return seconds


def made_folder(given: str | Path | None) -> Path | None:
    """The folder of that name, made where it is not there; None for none.

    Raises:
        StoreError: It cannot be made.
    """
    if given is None:
        return None
    folder = Path(given).expanduser()
    try:
        make_folder(folder)
    except OSError as error:
        raise StoreError(f"{folder} cannot be made ({error.strerror}); name another one") from error
    return folder
