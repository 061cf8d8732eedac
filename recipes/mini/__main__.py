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
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import torch

from metaembed_rag.errors import MetaEmbedError
from recipes.mini.stages import Mini, Sizes, logger

STAGES = (
    "prepare", "pairs", "tokenizer", "bag", "start", "train", "average", "export", "evaluate",
)  # fmt: skip


def parser() -> argparse.ArgumentParser:
    """The options of every stage."""
    parse = argparse.ArgumentParser(prog="python -m recipes.mini")
    parse.add_argument("stages", nargs="+", choices=[*STAGES, "all"])
    parse.add_argument("--work", type=Path, default=Path(".data/mini"), help="working folder")
    default = os.environ.get("METAEMBED_DATA", "../shared/data")
    parse.add_argument("--data", type=Path, default=Path(default), help="folder of the data sets")
    parse.add_argument("--out", type=Path, help="of the exported checkpoint (default: WORK/mini)")
    for size in fields(Sizes):
        name = f"--{size.name.replace('_', '-')}"
        parse.add_argument(name, type=int, default=size.default)
    parse.add_argument("--steps", type=int, help="of the train stage (mini.toml has 4,000)")
    parse.add_argument("--batch-size", type=int, help="of the train stage (mini.toml has 80)")
    parse.add_argument("--device", help="of the train stage: cpu, cuda or mps")
    parse.add_argument("--threads", type=int, default=1)
    return parse


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the stages named on the command line, in the order of :data:`STAGES`."""
    given = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    torch.set_num_threads(given.threads)
    work = given.work.expanduser()
    asked = {name: getattr(given, name) for name in ("steps", "batch_size", "device")}
    mini = Mini(
        work,
        given.data,
        given.out or work / "mini",
        Sizes(**{size.name: getattr(given, size.name) for size in fields(Sizes)}),
        {name: value for name, value in asked.items() if value is not None},
    )
    try:
        for stage in STAGES:
            if stage in given.stages or "all" in given.stages:
                logger.info("stage: %s", stage)
                getattr(mini, stage)()
    except MetaEmbedError as error:
        logger.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
