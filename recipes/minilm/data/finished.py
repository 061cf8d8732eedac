"""The check for leaks over finished pairs: of what training reads, as it lies on the disk.

Sources are checked as whole pages before pairs are made of them. A pair has less than a page, and
other words: a page that is cut shares more of what is left with evaluation text, and a heading that
became a question may equal one. So the pairs are checked once more, negatives among them, by the
same rule.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from metaembed_rag.errors import DatasetError
from metaembed_rag.training.data import Example, read_training_set
from recipes.mini.data.leaks import EVALUATION_SETS, Leak, LeakCheck, find_leaks

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PairLeak:
    """A query or a text of a training pair that is evaluation text.

    Attributes:
        where: Path and line of the pair: ``"pairs/faq.jsonl, line 7"``.
        leak: What it has in common, and with which text.
    """

    where: str
    leak: Leak

    def __str__(self) -> str:
        return f"{self.where}: {self.leak.kind} of {self.leak.of}, {self.leak.share:.0%} in common"


def pair_leaks(files: Iterable[Path], checks: Sequence[LeakCheck]) -> Iterator[PairLeak]:
    """Every query, text and negative of training pairs that is evaluation text.

    Args:
        files: Training sets as JSON lines.
        checks: One for every collection of texts to be kept out; boilerplate is counted in each.

    Yields:
        Leaks in the order of files, checks and lines. A text that several pairs have in common is
        reported for the first of them. About 0.5 ms a distinct text and check.

    Raises:
        DatasetError: A file is missing or malformed.
    """
    seen: set[str] = set()
    for file in files:
        sides = [one for example in read_training_set(file) for one in _sides(example, seen)]
        for check in checks:
            for position, leak in find_leaks(check, ((query, text) for _, query, text in sides)):
                yield PairLeak(sides[position][0], leak)


def _sides(example: Example, seen: set[str]) -> Iterator[tuple[str, str, str]]:
    """Place, query and text: the pair's, then each negative's; a text that was seen is ``""``."""
    queries = [example.query.text, *("" for _ in example.negatives)]
    for query, side in zip(queries, (example.positive, *example.negatives), strict=True):
        yield example.where, query, "" if side.text in seen else side.text
        seen.add(side.text)


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
    leaks = list(pair_leaks(files, checks))
    if leaks:
        raise DatasetError(f"{_counted(leaks)}; delete {folder} and make the pairs again")
    logger.info("%s: no text of %s in %d files", folder, ", ".join(evaluation + own), len(files))


def _counted(leaks: Sequence[PairLeak]) -> str:
    counts = Counter(one.leak.of.split("/")[0] for one in leaks)
    told = ", ".join(f"{name}: {count}" for name, count in counts.items())
    return (
        f"{len(leaks)} texts of the training pairs are evaluation or validation text ({told}), "
        f"the first: {leaks[0]}"
    )
