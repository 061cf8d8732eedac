"""Does it read? Tokens read right and pages found by pictures, each beside what chance gives."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.training.export import DOCUMENT_TOKENS, QUERY_TOKENS
from metaembed_rag.training.forward import encode_tokens
from metaembed_rag.training.retrieval import budget_curve
from metaembed_rag.training.vision.batches import PAPER, Drawer
from metaembed_rag.training.vision.dense import TokenRows, bags
from metaembed_rag.training.vision.pages import agreement
from metaembed_rag.training.vision.run import token_rows
from metaembed_rag.training.vision.shards import PageSet
from metaembed_rag.training.vision.tower import page_cells, page_vectors


@dataclass(frozen=True)
class Quality:
    """Measures on pages that were not trained on.

    Args:
        pages: How many, with their text known.
        queries: How many queries they answer.
        token_right: Share of the cells with text whose nearest token of the whole vocabulary is one
            of theirs; ``token_chance`` is the share of cells with the most frequent one.
        content_right: Share of the cells whose nearest token is the heaviest one there, among cells
            where that is heavier than the median token; ``content_chance`` likewise.
        paper_right: Share of the blank cells whose weight is below that of most text.
        agreement: Of a picture's vectors and its text's, as training measures it.
        agreement_of_others: The same with another page's text: what is not about the page.
        image: nDCG@5 at each budget, pages as pictures.
        text: The same, pages as text.
        chance: nDCG@5 of a random order.
    """

    pages: int
    queries: int
    token_right: float
    token_chance: float
    content_right: float
    content_chance: float
    paper_right: float
    agreement: float
    agreement_of_others: float
    image: dict[str, float]
    text: dict[str, float]
    chance: float


@torch.no_grad()
def measure(model: Any, pages: PageSet, *, limit: int = 200, seed: int = 0) -> Quality:
    """Measure a tower on at most ``limit`` pages with text.

    Args:
        model: A ``ModernVBertModel`` on its device.
        pages: Such as the validation split.
        limit: Pages, drawn with ``seed``.
        seed: Of the draw.
    """
    config = model.config.vision_config
    cell = config.patch_size * model.config.pixel_shuffle_factor
    drawer = Drawer(pages, side=config.image_size, cell=cell, seed=seed)
    readable = [page for page in range(len(pages)) if len(pages.tokens(page)) > 2]
    random = np.random.default_rng(seed)
    chosen = sorted(random.choice(readable, min(limit, len(readable)), replace=False).tolist())
    rows, counts = token_rows(model), _Counts()
    vectors = [_read(model, drawer, page, rows, counts, random) for page in chosen]
    seen = torch.cat(vectors)
    text = model.text_model
    tokens = [pages.tokens(page) for page in chosen]
    read = encode_tokens(text, tokens, query=False, max_tokens=DOCUMENT_TOKENS)
    queries, relevant = _queries(pages, chosen)
    asked = encode_tokens(text, queries, query=True, max_tokens=QUERY_TOKENS)
    return Quality(
        pages=len(chosen),
        queries=len(queries),
        **counts.shares(),
        agreement=float(agreement(read, seen, RetrievalBudget.PAPER)),
        agreement_of_others=float(agreement(read.roll(1, 0), seen, RetrievalBudget.PAPER)),
        image=budget_curve(asked, seen, relevant),
        text=budget_curve(asked, read, relevant),
        chance=float(sum(1 / np.log2(np.arange(2, 2 + min(5, len(chosen))))) / len(chosen)),
    )


class _Counts:
    """What cells were read as, page by page."""

    def __init__(self) -> None:
        self.hits = np.zeros(2)
        self.cells = np.zeros(2)
        self.paper = np.zeros(2)
        self.of_token: Counter[int] = Counter()
        self.heaviest: Counter[int] = Counter()

    def shares(self) -> dict[str, float]:
        """Shares, and what naming the most frequent token always would give."""
        most, heaviest = (max(c.values(), default=0) for c in (self.of_token, self.heaviest))
        cells = self.cells.clip(1)
        return {
            "token_right": float(self.hits[0] / cells[0]),
            "token_chance": most / float(cells[0]),
            "content_right": float(self.hits[1] / cells[1]),
            "content_chance": heaviest / float(cells[1]),
            "paper_right": float(self.paper[0] / self.paper[1].clip(1)),
        }


def _read(
    model: Any,
    drawer: Drawer,
    page: int,
    rows: TokenRows,
    counts: _Counts,
    random: np.random.Generator,
) -> Tensor:
    """Vectors of one page's picture, ``(1, 64, D)``; its cells are counted."""
    windows = drawer.given([page], random).windows
    pixels = torch.from_numpy(windows.pixels).to(rows.weight.device)
    cells = page_cells(model, pixels)
    normed = model.text_model.embeddings.norm(cells)[0].float()
    held = bags(windows, rows)
    seen = F.normalize(normed[held.cells][:, rows.content], dim=1)
    named = (seen @ rows.direction.T).argmax(1)
    right = ((named[:, None] == held.ids) & (held.mass > 0)).any(1)
    top = held.ids.gather(1, held.mass.argmax(1, keepdim=True))[:, 0]
    heavy = rows.weight[top] > rows.weight.median()
    counts.hits += [int(right.sum()), int((named == top)[heavy].sum())]
    counts.cells += [len(right), int(heavy.sum())]
    counts.heaviest.update(top[heavy].tolist())
    for ids, mass in zip(held.ids.tolist(), held.mass.tolist(), strict=True):
        counts.of_token.update({i for i, value in zip(ids, mass, strict=True) if value > 0})
    blank = torch.from_numpy(windows.ids[0, :, 0]).to(normed.device) == PAPER
    low = normed[blank, 0] < rows.weight.quantile(0.1)
    counts.paper += [int(low.sum()), len(low)]
    return page_vectors(model, cells).cpu()


def _queries(pages: PageSet, chosen: list[int]) -> tuple[list[np.ndarray], list[dict[int, float]]]:
    """Different queries of these pages, and the pages that answer each."""
    answers: dict[bytes, dict[int, float]] = {}
    tokens: dict[bytes, np.ndarray] = {}
    for place, page in enumerate(chosen):
        for query in pages.queries(page):
            answers.setdefault(query.tobytes(), {})[place] = 1.0
            tokens[query.tobytes()] = query
    return list(tokens.values()), list(answers.values())
