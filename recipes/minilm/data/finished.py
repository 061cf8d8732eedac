"""The check for leaks over finished pairs: of what training reads, as it lies on the disk.

Sources are checked as whole pages before pairs are made of them. A pair has less than a page, and
other words: a page that is cut shares more of what is left with evaluation text, and a heading that
became a question may equal one. So the pairs are checked once more, negatives among them, by the
same rule: when they are made (:class:`PairCheck`), and as they lie there (:func:`check_pairs`).
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

from metaembed_rag.errors import DatasetError
from metaembed_rag.training.data import Example, read_training_set
from recipes.mini.data.leaks import EVALUATION_SETS, Leak, LeakCheck

logger = logging.getLogger(__name__)


class PairCheck:
    """Compares training pairs with several collections of texts to be kept out.

    Args:
        checks: One for each collection; boilerplate is counted in each for itself.
    """

    def __init__(self, checks: Iterable[LeakCheck]) -> None:
        self._checks = tuple(checks)
        self._known: dict[int, Leak | None] = {}  # pages are negatives of many pairs

    def leak(self, example: Example) -> Leak | None:
        """The first leak of a pair: of its query, its text or a negative; about 1 ms a new text."""
        asked = (check.query(example.query.text) for check in self._checks)
        read = (self._of_text(side.text) for side in (example.positive, *example.negatives))
        return next((one for one in chain(asked, read) if one is not None), None)

    def fair(self, examples: Iterable[Example]) -> list[Example]:
        """The pairs without leaks; of negatives those that leak go, and the pair stays."""
        kept = []
        for one in examples:
            negatives = tuple(side for side in one.negatives if not self._of_text(side.text))
            bare = replace(one, negatives=negatives)
            if self.leak(bare) is None:
                kept.append(bare)
        return kept

    def _of_text(self, text: str) -> Leak | None:
        key = hash(text)
        if key not in self._known:
            found = (check.text(text) for check in self._checks)
            self._known[key] = next((one for one in found if one is not None), None)
        return self._known[key]


def check_pairs(folder: Path, data: Path) -> None:
    """Compare the pairs of a folder with the evaluation sets and with its own validation sets.

    Args:
        folder: What the stage ``pairs`` wrote: ``<kind>.jsonl``, and ``validation/<set>/`` in BEIR
            layout.
        data: The folder of the evaluation sets; those that are absent are left out.

    Raises:
        DatasetError: There are no pairs or no evaluation sets, or some pair leaks; the message
            counts the leaks by set and names the first.
    """
    files = sorted(folder.glob("*.jsonl"))
    if not files:
        raise DatasetError(
            f"{folder} holds no pairs; make them: python -m recipes.minilm prepare pairs"
        )
    evaluation = [name for name in EVALUATION_SETS if (data / name / "corpus.jsonl").exists()]
    if not evaluation:
        raise DatasetError(f"{data} holds no evaluation set; name their folder with --data")
    own = sorted(path.parent.name for path in folder.glob("validation/*/corpus.jsonl"))
    checks = [LeakCheck.of_sets(data, evaluation), LeakCheck.of_sets(folder / "validation", own)]
    leaks = list(_leaks(files, PairCheck(checks)))
    if leaks:
        raise DatasetError(f"{_counted(leaks)}; delete {folder} and make the pairs again")
    logger.info("%s: no text of %s in %d files", folder, ", ".join(evaluation + own), len(files))


def _leaks(files: Iterable[Path], check: PairCheck) -> Iterator[tuple[str, Leak]]:
    """Path and line of every pair that leaks, and its first leak."""
    for file in files:
        for example in read_training_set(file):
            leak = check.leak(example)
            if leak is not None:
                yield example.where, leak


def _counted(leaks: Sequence[tuple[str, Leak]]) -> str:
    counts = Counter(leak.of.split("/")[0] for _, leak in leaks)
    told = ", ".join(f"{name}: {count}" for name, count in counts.items())
    where, first = leaks[0]
    return (
        f"{len(leaks)} training pairs hold evaluation or validation text ({told}), the first: "
        f"{where}: {first.kind} of {first.of}, {first.share:.0%} in common"
    )
