"""What is asked of a search, once: the keywords of every method, framework and command."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from numbers import Real
from typing import Any, Literal, TypedDict, get_args

from metaembed_rag.budget import BudgetLike, RetrievalBudget, is_auto, parse_or_auto
from metaembed_rag.errors import BudgetError, StoreError, kind_of_value
from metaembed_rag.metadata.filters import all_of as all_of
from metaembed_rag.metadata.filters import normalize_where as normalize_where
from metaembed_rag.metadata.values import is_unicode

FusionName = Literal["minmax", "rrf"]


@dataclass(frozen=True)
class Fusion:
    """How MaxSim and BM25 become one score in [0, 1] (:mod:`metaembed_rag.search.fusion`).

    ``minmax`` is a convex combination: MaxSim scaled so that the worst page of the query counts 0
    and the best 1, BM25 divided by its best (0 stays 0: the page has none of the words). It keeps
    how far apart pages are, and gave the better ranking on every set of ``docs/hybrid.md``
    (Bruch, Gai and Ingber, TOIS 2023, found the same).

    ``rrf`` is reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009):
    Σ 1 / (60 + rank), divided by its largest value. It needs no weight and trusts both equally,
    however far apart the scores are.

    Args:
        name: ``minmax`` or ``rrf``.
        weight: What BM25 counts in ``minmax``, over 0 and under 1; MaxSim counts the rest. The
            default was chosen for the shipped ``mini`` on development data, together with
            :data:`metaembed_rag.search.words.PAIR_WEIGHT`.

    Raises:
        StoreError: Another name or weight.
    """

    name: FusionName = "minmax"
    weight: float = 0.6

    def __post_init__(self) -> None:
        if self.name not in get_args(FusionName) or not 0 < self.weight < 1:
            raise StoreError(f"{self.name!r} with the weight {self.weight!r}: {_HYBRID}")

    @classmethod
    def parse(cls, hybrid: HybridLike) -> Fusion | None:
        """Read the option ``hybrid``: off, on, a name, or BM25's weight.

        ``"auto"`` gives the same as True; whether words can count in a query, and how much, is for
        its search to find out.

        Raises:
            StoreError: It is none of these.
        """
        if hybrid is None or hybrid is False:
            return None
        if hybrid is True or is_optional(hybrid):
            return cls()
        if isinstance(hybrid, Fusion):
            return hybrid
        if isinstance(hybrid, str) and hybrid in get_args(FusionName):
            return cls(hybrid)  # type: ignore[arg-type]  # just compared with the names
        if isinstance(hybrid, float):
            return cls(weight=hybrid)
        raise StoreError(f"hybrid is {hybrid!r}: {_HYBRID}")


HybridLike = bool | float | str | Fusion | None
"""What :meth:`Fusion.parse` takes."""

HYBRID_AUTO = "auto"
"""The value of ``hybrid`` that lets words count wherever they can."""

_HYBRID = (
    'hybrid is "auto", True, "minmax", "rrf", or the weight of words as a number over 0 and under 1'
)


def is_optional(hybrid: HybridLike) -> bool:
    """Whether words are to count only where they can: ``hybrid="auto"``."""
    return isinstance(hybrid, str) and hybrid == HYBRID_AUTO


class ScoringKeywords(TypedDict, total=False):
    """How pages are scored; :class:`SearchOptions` explains each keyword."""

    budget: BudgetLike | None
    r_q: int | None
    r_c: int | None
    candidates: int | None
    exhaustive: bool | None
    hybrid: HybridLike
    max_ms: float | None
    min_recall: float | None
    min_confidence: float | None
    snippets: bool | None


class SearchKeywords(ScoringKeywords, total=False):
    """The keywords of a search beside the query and ``k``: also which pages may be found."""

    where: Mapping[str, Any] | None


@dataclass(frozen=True)
class SearchOptions:
    """How to search. None stands for what was not said, and leaves the choice to what is below.

    Attributes:
        k: At most so many hits.
        budget: Both sides of the retrieval budget: ``(4, 8)``, ``"4,8"``, ``"fast"``,
            ``"balanced"``, ``"full"`` or a :class:`metaembed_rag.RetrievalBudget`. Without one the
            environment variable ``METAEMBED_BUDGET`` counts, and without that all vectors that are
            stored. ``"auto"`` takes the budget and the stages that
            :meth:`metaembed_rag.PageIndex.calibrate` found to be enough.
        r_q: Query vectors that take part, instead of the budget's.
        r_c: Page vectors that take part, instead of the budget's.
        where: Only pages whose metadata match this filter in Chroma's language, such as
            ``{"year": {"$gte": 2020}}``; ``source`` and ``page`` are fields too, and
            ``{"#document": {"$contains": "net revenue"}}`` asks for words of the page's text,
            ``{"file_name": "report.pdf"}`` for its file (``file_path``, ``folder``, ``file_type``,
            ``page_label``, dates), ``{"title": {"$icontains": "budget"}}`` for a part. All
            keys must match. See :mod:`metaembed_rag.metadata.filters`.
        candidates: Score so many pages at the budget, those whose first vectors are nearest to the
            query's. Without it, every page is scored by its first vector, shares of them by 4 and
            by 16, and those that are left at the budget.
        exhaustive: Score every page at the budget, which is the exact twin of every other way.
        hybrid: Let the words of the query count too: True, a weight of the words over 0 and under
            1, ``"minmax"`` or ``"rrf"``; see :class:`Fusion`. As many pages are taken by their
            words (BM25) as by their vectors. Needs the extra ``hybrid``. ``"auto"`` lets them
            count where the extra is installed and a page has a word of the query, with a weight
            for each query; the plan of the hits says whether they did, and why not. Without a
            value the index decides: ``"auto"``, or False where an earlier version made it.
        max_ms: The best of what takes at most so many milliseconds beyond encoding the query. It
            asks for ``"auto"``, and so does ``min_recall``.
        min_recall: The fastest of what finds at least this share of the full budget's exact top k.
        min_confidence: Only hits whose :attr:`metaembed_rag.hits.Hit.confidence` is at least this,
            in [0, 1]: with 0.95, a question that has no answer in the index gets a hit in 5 of 100
            cases. Needs a calibration.
        snippets: Find in each hit the passage that matched (``hit.snippet``): pieces of its text
            are encoded for it, some 70 a hit (``docs/explain.md``).

    Raises:
        StoreError: ``k`` is no whole number of at least 1 or over ``candidates``, ``hybrid`` says
            nothing, or ``where`` asks for what no page can have.
        BudgetError: No budget, or options that exclude each other.
    """

    k: int | None = None
    budget: BudgetLike | None = None
    r_q: int | None = None
    r_c: int | None = None
    where: Mapping[str, Any] | None = None
    candidates: int | None = None
    exhaustive: bool | None = None
    hybrid: HybridLike = None
    max_ms: float | None = None
    min_recall: float | None = None
    min_confidence: float | None = None
    snippets: bool | None = None

    def __post_init__(self) -> None:
        if self.k is not None:
            check_k(self.k)
        if self.candidates is not None:
            _check_candidates(self.candidates)
        if None not in (self.k, self.candidates) and self.candidates < self.k:  # type: ignore[operator]
            raise StoreError(f"candidates ({self.candidates}) must be at least k ({self.k})")
        Fusion.parse(self.hybrid)
        normalize_where(self.where)
        for name in ("max_ms", "min_recall"):
            limit = getattr(self, name)
            if limit is not None and not (isinstance(limit, Real) and float(limit) > 0):
                raise BudgetError(f"{name} must be over 0, not {limit!r}")
        _check_share("min_confidence", self.min_confidence)
        fixed = parse_or_auto(self.budget) is not None and not self._says_auto
        if self._limits and (fixed or self._sides):
            sides = "leave out r_q and r_c, and " if self._sides else ""
            raise BudgetError(
                f'max_ms and min_recall choose the budget: {sides}ask for "auto" or name no '
                f"budget, or leave these two out"
            )
        if (self._limits or self._says_auto) and (self.candidates or self.exhaustive):
            raise BudgetError(
                'the budget "auto" chooses how many pages are scored: leave out candidates and '
                "exhaustive, or name a budget"
            )

    @classmethod
    def of(cls, keywords: Mapping[str, Any], k: int | None = None) -> SearchOptions:
        """The options among a call's keywords, which must all be options.

        Raises:
            TypeError: Another keyword; it would otherwise have no effect without a word.
        """
        check_keywords(keywords, SEARCH_KEYWORDS)
        return cls(k=k, **keywords)

    @property
    def keywords(self) -> SearchKeywords:
        """All of them but ``k``, for a call of a search."""
        return {name: getattr(self, name) for name in SEARCH_KEYWORDS}  # type: ignore[return-value]

    @property
    def is_auto(self) -> bool:
        """Whether a calibration is to choose budget and stages."""
        if self.budget is not None:
            return self._says_auto and not self._sides  # which is refused as no budget
        if self._limits:
            return True
        return is_auto(None) and not (self._sides or self.candidates or self.exhaustive)

    def over(self, below: SearchOptions) -> SearchOptions:
        """These options, and ``below`` where they say nothing; a page must pass both filters.

        A whole budget takes the place of all that is said of the budget below; ``"auto"`` and a
        limit keep the limits there that they do not name.

        Raises:
            BudgetError: The two exclude each other: one side here, a limit below.
        """
        if self._limits or self._says_auto:
            below = replace(below, budget=None, r_q=None, r_c=None)
        elif self.budget is not None or len(self._sides) == 2:
            below = replace(below, budget=None, r_q=None, r_c=None, max_ms=None, min_recall=None)
        said = {name: value for name, value in vars(self).items() if value is not None}
        return replace(below, **said | {"where": all_of(below.where, self.where)})

    def resolved(self, most: RetrievalBudget) -> RetrievalBudget:
        """The budget of a search that no calibration chooses.

        Args:
            most: All vectors that there are: what counts where neither these options nor the
                environment variable ``METAEMBED_BUDGET`` name a budget.

        Raises:
            BudgetError: One side of ``"auto"``.
        """
        if self.budget is not None:
            return replace(RetrievalBudget.parse(self.budget), **self._sides)
        if len(self._sides) == 2:
            return RetrievalBudget(**self._sides)
        return replace(RetrievalBudget.default() or most, **self._sides)

    def unchosen(self, most: RetrievalBudget) -> RetrievalBudget:
        """The budget where no calibration can choose, as in reranking.

        It is :meth:`resolved`, with ``"auto"`` as if no budget were named.
        """
        return (replace(self, budget=None) if self.is_auto else self).resolved(most)

    def exact(self, most: RetrievalBudget) -> SearchOptions:
        """The exhaustive twin of these options, which has all vectors where they are ``"auto"``."""
        return SearchOptions(
            k=self.k,
            budget=most if self.is_auto else self.resolved(most),
            where=self.where,
            exhaustive=True,
            hybrid=self.hybrid,
            min_confidence=self.min_confidence,
        )

    def fixed(self, below: RetrievalBudget) -> RetrievalBudget:
        """These options' budget over another one, which stands for ``"auto"`` too."""
        named = below if self.budget is None or self._says_auto else self.budget
        return replace(RetrievalBudget.parse(named), **self._sides)

    @property
    def _says_auto(self) -> bool:
        """Whether these options say so, and not the environment."""
        return self.budget is not None and is_auto(self.budget)

    @property
    def _sides(self) -> dict[str, int]:
        sides = {"r_q": self.r_q, "r_c": self.r_c}
        return {name: side for name, side in sides.items() if side is not None}

    @property
    def _limits(self) -> bool:
        return self.max_ms is not None or self.min_recall is not None


SEARCH_KEYWORDS = tuple(field.name for field in fields(SearchOptions) if field.name != "k")
"""The names in :class:`SearchKeywords`."""
SCORING_KEYWORDS = tuple(name for name in SEARCH_KEYWORDS if name != "where")
"""The names in :class:`ScoringKeywords`; each framework has a filter of its own instead."""


def check_k(k: int) -> None:
    """Refuse a number of hits that is none.

    Raises:
        StoreError: It is no whole number of at least 1.
    """
    if not isinstance(k, int) or k < 1:
        raise StoreError(f"k must be a whole number of at least 1, not {k!r}")


def _check_candidates(candidates: Any) -> None:
    """Refuse what is no number of pages; one below ``k`` is told of apart."""
    if not isinstance(candidates, int) or isinstance(candidates, bool):
        raise StoreError(f"candidates must be a whole number of at least k, not {candidates!r}")


def _check_share(name: str, given: Any) -> None:
    """Refuse what is no share; None was not said."""
    number = isinstance(given, Real) and not isinstance(given, bool)
    if given is not None and not (number and 0 <= given <= 1):
        raise StoreError(f"{name} is a number from 0 to 1, not {given!r}")


def page_ids(given: Any) -> list[str]:
    """The ids in what was given as one id or several.

    Raises:
        StoreError: Something else was given, or an id that no page can have.
    """
    if isinstance(given, str):
        given = [given]
    if isinstance(given, bytes) or not isinstance(given, Iterable):
        raise StoreError(f"ids are a list of texts, not {kind_of_value(given)}")
    ids = list(given)
    for id in ids:
        if not isinstance(id, str):
            raise StoreError(f"the id of a page is text, not {kind_of_value(id)}")
        if not id.isascii() and not is_unicode(id):
            raise StoreError(f"{id!r} is the id of no page: it is not valid Unicode")
    return ids


def check_keywords(given: Mapping[str, Any], known: tuple[str, ...]) -> None:
    """Refuse keywords that nothing would read.

    Raises:
        TypeError: It names them and those that there are.
    """
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise TypeError(f"no keyword {', '.join(unknown)}; there are {', '.join(known) or 'none'}")
