"""Which plan an index takes for the budget ``"auto"``: measured once, kept beside it as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.errors import BudgetError, StoreError
from metaembed_rag.options import SearchOptions
from metaembed_rag.search.confidence import Unrelated
from metaembed_rag.search.plan import DEFAULT_K, Plan, Stage
from metaembed_rag.store.collection import CollectionModel
from metaembed_rag.store.places import replace_file
from metaembed_rag.store.privacy import make_folder

_HOW = "run `metaembed calibrate --index …`, or index.calibrate()"
_CHANGED = 2.0
"""An index that is so many times larger or smaller than it was wants to be calibrated again."""


@dataclass(frozen=True)
class Calibration:
    """Plans that were measured on one collection, and how.

    Attributes:
        k: Size of the top that they were to find.
        queries: How many were asked.
        pages: Of the collection then.
        plans: With recall and milliseconds.
        about: What the vectors were of, in the caller's words.
        fetch_ms: Milliseconds of a search that are the same for all plans.
        recall: That was wanted, where nothing else is.
        unrelated: What questions that have no answer in the collection score there; None where
            an earlier version calibrated.
    """

    k: int
    queries: int
    pages: int
    plans: tuple[Plan, ...]
    about: str = ""
    fetch_ms: float = 0.0
    recall: float | None = None
    unrelated: Unrelated | None = None

    def to_json(self) -> str:
        """As text, for :meth:`from_json`."""
        data = asdict(replace(self, unrelated=None))
        del data["unrelated"]
        if self.unrelated is not None:
            data["unrelated"] = self.unrelated.to_dict()
        return json.dumps(data)

    @classmethod
    def from_json(cls, text: str) -> Calibration:
        """Read what :meth:`to_json` wrote.

        Raises:
            ValueError: It did not write this.
        """
        try:
            data = json.loads(text)
            plans = tuple(_plan_of(plan) for plan in data.pop("plans"))
            unrelated = data.pop("unrelated", None)
            scores = None if unrelated is None else Unrelated.from_dict(unrelated)
            return cls(plans=plans, unrelated=scores, **data)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"this is no calibration: {error}") from error


def choose(
    calibration: Calibration,
    *,
    max_ms: float | None = None,
    min_recall: float | None = None,
    pages: int | None = None,
) -> Plan:
    """The plan for ``budget="auto"``.

    With ``min_recall``, the fastest that reaches it; with ``max_ms`` alone, the one of highest
    recall that is fast enough; with neither, the fastest that reaches the recall for which it was
    calibrated, or else the highest one.

    Args:
        calibration: From :func:`metaembed_rag.search.measuring.calibrate`.
        max_ms: Milliseconds that a query may take, beyond encoding it; ``fetch_ms`` of the
            calibration counts too.
        min_recall: Share of the full budget's exact top k that has to be found.
        pages: Pages now, if there are more or fewer than when it was calibrated.

    Raises:
        BudgetError: No plan does; the message names the nearest.
    """
    if max_ms is None and min_recall is None:
        min_recall = _reachable(calibration)
    able = [
        plan
        for plan in calibration.plans
        if (max_ms is None or plan.ms_for(pages) + calibration.fetch_ms <= max_ms)
        and (min_recall is None or plan.recall >= min_recall)
    ]
    if not able:
        raise BudgetError(_nothing_fits(calibration, max_ms, min_recall, pages))
    if min_recall is not None:
        return min(able, key=lambda plan: (plan.ms, -plan.recall))
    return min(able, key=lambda plan: (-plan.recall, plan.ms))


def _reachable(calibration: Calibration) -> float:
    """The recall that was wanted, or the best one where none reached it."""
    best = max(plan.recall for plan in calibration.plans)
    return best if calibration.recall is None else min(best, calibration.recall)


class CalibrationFile:
    """Where an index keeps its calibration.

    Args:
        path: The file; None for an index in memory, whose calibration lives as long.
        about: The model, format and shape that it must be of; see :func:`about_vectors`.
    """

    def __init__(self, path: Path | None, about: str) -> None:
        self.path = path
        self.about = about
        self._kept: Calibration | None = None
        self._read_last: tuple[tuple[int, ...], Unrelated | None] | None = None

    def unrelated(self) -> Unrelated | None:
        """What unrelated questions score; None where nobody calibrated, or it cannot be read.

        The file is read when it has changed, so that a search can ask.
        """
        if self.path is None:
            return None if self._kept is None else self._kept.unrelated
        try:
            stat = self.path.stat()
        except OSError:
            return None
        state = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        if self._read_last is None or self._read_last[0] != state:
            try:
                found = self.load().unrelated
            except BudgetError:
                found = None
            self._read_last = (state, found)
        return self._read_last[1]

    def load(self) -> Calibration:
        """The calibration.

        Raises:
            BudgetError: There is none, it is damaged, or of another model or format.
        """
        try:
            found = self._kept or self._read()
        except (OSError, ValueError) as error:
            raise BudgetError(
                f"the calibration {self.path} cannot be read ({error}): {_HOW}"
            ) from error
        if found is None:
            raise BudgetError(
                f'the budget "auto" needs a calibration, and this index has none: {_HOW}, or name '
                f"a budget"
            )
        if found.about != self.about:
            raise BudgetError(
                f"the calibration {self.path} is of another model or vector format: {_HOW}"
            )
        return found

    def plan_for(self, options: SearchOptions, pages: int) -> tuple[Plan, str]:
        """The plan for the budget ``"auto"``, and what is doubtful about it; ``""`` for nothing.

        Args:
            options: What was asked for: ``k``, ``max_ms`` and ``min_recall``.
            pages: Pages of the index now; the plan's milliseconds are those expected for so many.

        Raises:
            BudgetError: There is no calibration, or no plan is fast or accurate enough; the message
                names the nearest.
        """
        found = self.load()
        plan = choose(found, max_ms=options.max_ms, min_recall=options.min_recall, pages=pages)
        plan = replace(plan, ms=plan.ms_for(pages) + found.fetch_ms, pages=pages)
        return plan, _doubts(found, pages, DEFAULT_K if options.k is None else options.k)

    def _read(self) -> Calibration | None:
        if self.path is None or not self.path.exists():
            return None
        return Calibration.from_json(self.path.read_text(encoding="utf-8"))

    def save(self, calibration: Calibration) -> None:
        """Replace the calibration: a reader finds the old one or the new one, whole.

        Raises:
            StoreError: It cannot be written.
        """
        if self.path is None:
            self._kept = calibration
            return
        try:
            make_folder(self.path.parent)
            replace_file(self.path, calibration.to_json())
        except OSError as error:
            raise StoreError(
                f"the calibration {self.path} cannot be written ({error.strerror or error}); make "
                f"room or mend the folder's permissions, and try again"
            ) from error


def about_vectors(about: CollectionModel) -> str:
    """What a calibration is of, in one line."""
    return f"{about.fingerprint} {about.format} {about.vectors} x {about.dimension}"


def _doubts(calibration: Calibration, pages: int, k: int) -> str:
    """What a search should say of a calibration that does not quite fit; ``""`` for nothing."""
    found = []
    ratio = max(pages, 1) / calibration.pages
    if not 1 / _CHANGED <= ratio <= _CHANGED:
        found.append(f"it was made for {calibration.pages} pages and there are {pages} now")
    if k > calibration.k:
        found.append(f"it was made for the best {calibration.k} pages and {k} are asked for")
    return f"calibrate again: {' and '.join(found)}" if found else ""


def _plan_of(data: dict[str, Any]) -> Plan:
    stages = tuple(Stage(**stage) for stage in data.pop("stages"))
    return Plan(RetrievalBudget(**data.pop("budget")), stages, **data)


def _nothing_fits(
    calibration: Calibration, max_ms: float | None, min_recall: float | None, pages: int | None
) -> str:
    more = calibration.fetch_ms
    best = max(calibration.plans, key=lambda plan: plan.recall)
    fast = min(calibration.plans, key=lambda plan: plan.ms)
    wanted = [f"at most {max_ms} ms"] if max_ms is not None else []
    wanted += [f"a recall of at least {min_recall}"] if min_recall is not None else []
    return (
        f"no calibrated plan has {' and '.join(wanted)}: the fastest takes "
        f"{fast.ms_for(pages) + more:.2f} ms (recall {fast.recall:.3f}), the best reaches "
        f"{best.recall:.3f} ({best.ms_for(pages) + more:.2f} ms); ask for less, or calibrate again"
    )
