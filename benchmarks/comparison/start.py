"""What the functional initialisation of ``mini`` is worth before any training.

    python -m recipes.mini prepare pairs tokenizer bag
    python -m benchmarks.comparison.start

nDCG@5 in percent of the untrained model on the validation sets (no evaluation set is read), with
the page's Meta Tokens as clusters of the vocabulary or as windows over the page: at each budget,
and, for (16,64), on the first 128 and 64 dimensions.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.comparison.training.curve import budget_curve
from benchmarks.comparison.training.forward import encode_tokens
from metaembed_rag.evaluation import Dataset
from recipes.mini.bag import Bag
from recipes.mini.data.corpora import read_sources
from recipes.mini.data.validation import validation_sets
from recipes.mini.export import DOCUMENT_TOKENS, QUERY_TOKENS
from recipes.mini.functional_init import (
    PAGE_BLOCKS,
    InitSettings,
    Windows,
    build_model,
    functional_init,
)
from recipes.mini.tokenizer import encode, load_tokenizer

BLOCKS: dict[str, tuple[int | Windows, ...]] = {
    "clusters": (3, 4, 8, 48),
    "16 clusters, 48 windows": (3, 4, 8, PAGE_BLOCKS[-1]),
    "4 clusters, 60 windows": (3, *PAGE_BLOCKS[1:]),
    "windows": PAGE_BLOCKS,
    "narrow windows": (*PAGE_BLOCKS[:3], Windows(48, 14.0, 3.0)),
}


def curves(
    model: torch.nn.Module, tasks: list[Dataset], work: Path
) -> Iterator[tuple[str, list[float]]]:
    """Name of a set; nDCG@5 at each budget, then of the longest at 128 and 64 dimensions."""
    tokenizer = load_tokenizer(work)
    for task in tasks:
        queries = encode(tokenizer, [query.text for query in task.queries])
        pages = encode(tokenizer, [page.text for page in task.pages])
        asked = encode_tokens(model, queries, query=True, max_tokens=QUERY_TOKENS)  # type: ignore[arg-type]
        held = encode_tokens(model, pages, query=False, max_tokens=DOCUMENT_TOKENS)  # type: ignore[arg-type]
        found = list(budget_curve(asked, held, task).values())
        for size in (128, 64):
            found.append(list(budget_curve(asked, held, task, size).values())[-1])
        yield task.name, found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path(".data/mini"), help="folder of `mini`")
    data = os.environ.get("METAEMBED_DATA", "../shared/data")
    parser.add_argument("--data", type=Path, default=Path(data), help="folder of the data sets")
    given = parser.parse_args()
    torch.set_num_threads(1)
    bag = Bag.load(given.work / "bag.safetensors")
    vocabulary, hidden = bag.vectors.shape
    tasks = validation_sets(read_sources(given.work, given.data, part="validation"))
    print("| start | set | (1,1) | (2,4) | (4,8) | (8,16) | (16,64) | 128 dim. | 64 dim. |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, blocks in BLOCKS.items():
        torch.manual_seed(0)
        model = build_model(vocabulary, hidden, layers=1, intermediate=384).eval()
        functional_init(model, bag.vectors, bag.counts, InitSettings(blocks=blocks))
        for task, found in curves(model, tasks, given.work):
            print(f"| {name} | {task} | " + " | ".join(f"{100 * one:.1f}" for one in found) + " |")


if __name__ == "__main__":
    main()
