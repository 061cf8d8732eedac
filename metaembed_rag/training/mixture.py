"""Which rows of which training set make up the batch of a step."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from metaembed_rag.errors import DatasetError
from metaembed_rag.training.examples import TrainingSet

_LOOK_AHEAD = 16
"""A batch looks at so many times its own size of rows before it stays smaller."""
_DRAWN_AT_ONCE = 1024


class Mixture:
    """Which rows make up the batch of a step; the same on any machine and in any order of asking.

    A batch is drawn from one set; sets are drawn by their weights. A set's rows are shuffled anew
    each epoch, and each is used once an epoch. No page of a batch answers another row's query, as
    far as the set says (the same page twice, or two pages of one query, would be trained on as
    wrong answers), so the rows of such a page wait for a later batch of the epoch.

    A set of n rows makes at least ``ceil(n / batch_size)`` batches an epoch, whose sizes differ as
    little as they can: 33 rows at 32 a batch are batches of 17 and 16, and a set with fewer rows
    than ``batch_size`` is one batch. Where many rows share a page, batches are smaller.

    Args:
        sets: At least one.
        batch_size: Most rows of a batch.
        seed: From 0; another seed is another order.

    Raises:
        DatasetError: There is no set, or the batch size or the seed makes no sense.
    """

    def __init__(self, sets: Sequence[TrainingSet], batch_size: int, seed: int) -> None:
        if not sets:
            raise DatasetError("there are no training sets; name at least one")
        if batch_size < 1:
            raise DatasetError(f"a batch size of {batch_size} makes no batch; ask for at least 1")
        if seed < 0:
            raise DatasetError(f"the seed must be 0 or more, not {seed}")
        self.sets, self.batch_size, self.seed = tuple(sets), batch_size, seed
        weights = np.array([one.weight for one in self.sets])
        self._shares = np.cumsum(weights / weights.sum())[:-1]  # (sets - 1,)
        self._drawn = [np.zeros(len(self.sets), dtype=np.int64)]
        self._orders = [_Order(one, batch_size, (seed, i)) for i, one in enumerate(self.sets)]

    def batch(self, step: int) -> tuple[int, list[int]]:
        """The batch of a step.

        Args:
            step: From 0.

        Returns:
            The index of a set, and the indices of its rows in the order that they were shuffled to.

        Raises:
            IndexError: ``step`` is negative.
        """
        if step < 0:
            raise IndexError(f"steps count from 0, not {step}")
        block, at = divmod(step, _DRAWN_AT_ONCE)
        choices = self._choices(block)
        which = int(choices[at])
        before = self._count_before(block)[which] + np.count_nonzero(choices[:at] == which)
        return which, self._orders[which].batch(int(before))

    def epoch_batches(self, which: int) -> int:
        """How many batches the first epoch of a set has; later ones have nearly as many."""
        return len(self._orders[which].epoch(0))

    def _choices(self, block: int) -> NDArray[np.intp]:
        """Sets of `_DRAWN_AT_ONCE` successive steps."""
        drawn = _random_bits(_DRAWN_AT_ONCE, (self.seed, block)) / 2**64
        return np.searchsorted(self._shares, drawn, side="right")

    def _count_before(self, block: int) -> NDArray[np.int64]:
        """How many batches of each set were drawn before a block, shape (sets,)."""
        while len(self._drawn) <= block:
            counts = np.bincount(self._choices(len(self._drawn) - 1), minlength=len(self.sets))
            self._drawn.append(self._drawn[-1] + counts)
        return self._drawn[block]


class _Order:
    """The batches of one set, epoch after epoch."""

    def __init__(self, rows: TrainingSet, batch_size: int, seed: tuple[int, int]) -> None:
        self._size, self._seed = batch_size, seed
        self._page, self._answers = _answers(rows)
        self._begins = [0]
        """Number of the first batch of each epoch that has been planned, and of the one after."""
        self._plan: tuple[int, list[list[int]]] = (-1, [])

    def batch(self, number: int) -> list[int]:
        """The ``number``-th batch of the set, counted over all epochs from 0."""
        while number >= self._begins[-1]:
            self._begins.append(self._begins[-1] + len(self.epoch(len(self._begins) - 1)))
        epoch = bisect_right(self._begins, number) - 1
        return self.epoch(epoch)[number - self._begins[epoch]]

    def epoch(self, number: int) -> list[list[int]]:
        """All batches of an epoch."""
        if self._plan[0] != number:
            bits = _random_bits(len(self._page), (*self._seed, number))
            order = np.argsort(bits, kind="stable").tolist()
            self._plan = (number, list(self._split(deque(order))))
        return self._plan[1]

    def _split(self, waiting: deque[int]) -> Iterator[list[int]]:
        while waiting:
            batches = -(-len(waiting) // self._size)
            yield self._take(waiting, -(-len(waiting) // batches))

    def _take(self, waiting: deque[int], size: int) -> list[int]:
        """Move at most ``size`` rows that do not answer each other out of ``waiting``."""
        taken, refused = list[int](), list[int]()
        pages, answers = set[int](), set[int]()  # of the rows that are taken
        for _ in range(min(len(waiting), _LOOK_AHEAD * size)):
            row = waiting.popleft()
            if self._page[row] in answers or not self._answers[row].isdisjoint(pages):
                refused.append(row)
                continue
            taken.append(row)
            pages.add(self._page[row])
            answers |= self._answers[row]
            if len(taken) == size:
                break
        waiting.extendleft(reversed(refused))
        return taken


def _answers(rows: TrainingSet) -> tuple[list[int], list[set[int]]]:
    """Of each row the page, and all pages that the set gives its query, as numbers."""
    numbers: dict[tuple[str, str], int] = {}
    queries = [rows.content(row.query) for row in rows]
    pages = [numbers.setdefault(rows.content(row.positive), len(numbers)) for row in rows]
    of_query: dict[tuple[str, str], set[int]] = defaultdict(set)
    for query, page in zip(queries, pages, strict=True):
        of_query[query].add(page)
    return pages, [of_query[query] for query in queries]


def _random_bits(count: int, seed: Sequence[int]) -> NDArray[np.uint64]:
    """Raw bits, whose stream numpy promises to keep (NEP 19); that of ``Generator`` may change."""
    generator = np.random.PCG64(np.random.SeedSequence(tuple(seed)))
    return np.asarray(generator.random_raw(count), dtype=np.uint64)
