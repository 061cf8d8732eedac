"""The retrieval budget: how many vectors a side take part in a score, and what that costs."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import ClassVar, Final, Literal

from metaembed_rag.errors import BudgetError


@dataclass(frozen=True, order=True)
class RetrievalBudget:
    """Use the first ``r_q`` query vectors and the first ``r_c`` candidate vectors of a page.

    MetaEmbed trains its ordered vectors so that every prefix works alone (Matryoshka
    Multi-Vector Retrieval), so a budget is a slice of what is stored and never a new encoding.

    Args:
        r_q: Query vectors, at least 1.
        r_c: Candidate (page) vectors, at least 1.

    Raises:
        BudgetError: A number is not a whole number of at least 1.
    """

    r_q: int
    r_c: int

    PRESETS: ClassVar[dict[str, tuple[int, int]]] = {
        "fast": (1, 1),
        "balanced": (4, 8),
        "full": (16, 64),
    }
    """Named budgets."""

    PAPER: ClassVar[tuple[tuple[int, int], ...]] = ((1, 1), (2, 4), (4, 8), (8, 16), (16, 64))
    """The five groups that MetaEmbed trains and reports, from cheap to full."""

    def __post_init__(self) -> None:
        for name in ("r_q", "r_c"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise BudgetError(
                    f"{name} must be a whole number of at least 1, not {value!r}; {_HOW}"
                )

    @classmethod
    def parse(cls, value: BudgetLike) -> RetrievalBudget:
        """Read a budget: itself, a pair, ``"4,8"``, ``"4x8"`` or a preset's name.

        Raises:
            BudgetError: ``value`` is none of these.
        """
        if isinstance(value, RetrievalBudget):
            return value
        if isinstance(value, str):
            name = value.strip().lower()
            if name == AUTO:
                raise BudgetError(
                    f'"{AUTO}" is for the search of an index, with no r_q or r_c beside it; {_HOW}'
                )
            if name in cls.PRESETS:
                return cls(*cls.PRESETS[name])
            match = re.fullmatch(r"\(?\s*(\d{1,9})\s*[,x]\s*(\d{1,9})\s*\)?", name)
            if match:
                return cls(int(match[1]), int(match[2]))
        elif isinstance(value, tuple | list) and len(value) == 2:
            return cls(*value)
        raise BudgetError(f"{value!r} is not a retrieval budget; {_HOW}")

    @classmethod
    def default(cls) -> RetrievalBudget | None:
        """The budget in the environment variable ``METAEMBED_BUDGET``.

        None where it is not set, and where it is ``auto``: see :func:`is_auto`.

        Raises:
            BudgetError: The variable holds no budget.
        """
        value = os.environ.get(VARIABLE, "").strip()
        if not value or value.lower() == AUTO:
            return None
        try:
            return cls.parse(value)
        except BudgetError as error:
            raise BudgetError(f"the environment variable {VARIABLE}: {error}") from None

    @classmethod
    def paper(cls) -> list[RetrievalBudget]:
        """The paper's five budgets, from (1, 1) to (16, 64)."""
        return [cls(r_q, r_c) for r_q, r_c in cls.PAPER]

    def check(self, *, query_vectors: int, page_vectors: int) -> None:
        """Refuse to ask for more vectors than there are.

        Raises:
            BudgetError: The model makes fewer query vectors, or the index holds fewer page vectors.
        """
        if self.r_q > query_vectors:
            raise BudgetError(
                f"budget ({self}) asks for {self.r_q} query vectors, but the model makes "
                f"{query_vectors}; use a budget of at most {query_vectors},{page_vectors}"
            )
        if self.r_c > page_vectors:
            raise BudgetError(
                f"budget ({self}) asks for {self.r_c} vectors a page, but {page_vectors} are "
                f"stored; use a budget of at most {query_vectors},{page_vectors}, or index again "
                f"with more vectors"
            )

    def flops(self, pages: int, dimension: int) -> int:
        """Floating-point operations to score N pages for one query: 2 · r_q · r_c · D · N."""
        return 2 * self.r_q * self.r_c * dimension * pages

    def bytes(self, pages: int, dimension: int, bytes_per_value: float = 2) -> int:
        """Bytes of page vectors that one exhaustive search reads: r_c · D · N · bytes a value.

        ``bytes_per_value`` is 2 for bf16 (the paper's tables), 1 for int8 (what this package
        stores, beside 2 bytes of scale a vector), 4 for fp32.
        """
        return round(self.r_c * dimension * pages * bytes_per_value)

    def __str__(self) -> str:
        return f"{self.r_q},{self.r_c}"


VARIABLE = "METAEMBED_BUDGET"
"""The environment variable of the default budget."""

AUTO: Final = "auto"
"""Instead of a budget, where an index is searched: its calibration chooses one."""

BudgetLike = RetrievalBudget | str | tuple[int, int] | list[int]
"""What :meth:`RetrievalBudget.parse` takes."""

_HOW = 'write two whole numbers such as "4,8", or one of ' + ", ".join(
    f'"{name}" ({r_q},{r_c})' for name, (r_q, r_c) in RetrievalBudget.PRESETS.items()
)


def is_auto(asked: BudgetLike | None) -> bool:
    """Whether :data:`AUTO` is asked for, or nothing is and the environment variable says so."""
    if asked is None:
        return os.environ.get(VARIABLE, "").strip().lower() == AUTO
    return isinstance(asked, str) and asked.strip().lower() == AUTO


def parse_or_auto(asked: BudgetLike | None) -> RetrievalBudget | Literal["auto"] | None:
    """:meth:`RetrievalBudget.parse` that lets :data:`AUTO` and None pass.

    Raises:
        BudgetError: ``asked`` is no budget.
    """
    if asked is None:
        return None
    return AUTO if is_auto(asked) else RetrievalBudget.parse(asked)
