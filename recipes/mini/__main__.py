"""Make the shipped checkpoint ``mini`` from nothing, stage by stage, from a clone.

::

    python -m recipes.mini prepare    # Debian's TeX documentation, handbooks and WordNet
    python -m recipes.mini pairs      # training pairs as JSON lines, validation sets
    python -m recipes.mini tokenizer  # BPE
    python -m recipes.mini bag        # token vectors: the bag model
    python -m recipes.mini start      # functional initialisation, as a checkpoint
    python -m recipes.mini train      # metaembed train with recipes/mini/mini.toml
    python -m recipes.mini average    # between start and trained weights, by validation sets
    python -m recipes.mini export     # the checkpoint in fp16
    python -m recipes.mini evaluate   # nDCG@5 at the five budgets

``python -m recipes.mini all`` runs them all. Each keeps its result in the working folder and is not
repeated while it is there; ``train`` continues from its last checkpoint. ``--data`` holds the
evaluation sets (they are only read to keep their text out of training) and the lists of pairs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from recipes import stages
from recipes.mini.stages import Mini, Sizes

STAGES = (
    "prepare", "pairs", "tokenizer", "bag", "start", "train", "average", "export", "evaluate",
)  # fmt: skip


def parser() -> argparse.ArgumentParser:
    """The options of every stage."""
    told = {"steps": "mini.toml has 4,000", "batch_size": "mini.toml has 80"}
    parse = stages.parser("mini", STAGES, **told)
    parse.add_argument("--out", type=Path, help="of the exported checkpoint (default: WORK/mini)")
    for size in fields(Sizes):
        name = f"--{size.name.replace('_', '-')}"
        parse.add_argument(name, type=int, default=size.default)
    return parse


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the stages named on the command line, in the order of :data:`STAGES`."""
    given = parser().parse_args(arguments)
    work = given.work.expanduser()
    sizes = Sizes(**{size.name: getattr(given, size.name) for size in fields(Sizes)})
    out = given.out or work / "mini"
    return stages.run_stages(
        given, STAGES, lambda: Mini(work, given.data, out, sizes, stages.asked(given))
    )


if __name__ == "__main__":
    sys.exit(main())
