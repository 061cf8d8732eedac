"""Meta Tokens against what else fits into the same bytes, everything trained alike.

    python -m recipes.mini prepare pairs tokenizer bag     # once: text and token vectors
    python -m benchmarks.comparison.arms ../shared/data opencqa400 --steps 400 --seeds 0 1

Each arm starts from the same functional initialisation, sees the same batches (they depend on seed
and step alone), and has the same optimizer and number of steps:

- ``meta``: Meta Tokens with MMR; ``meta-distil``: the same, also drawn to token-level scores.
- ``meta-full``: Meta Tokens without MMR, the loss of (16, 64) alone.
- ``last``: one vector a text, its last token (the first Meta Token alone); ``mean``: one vector,
  the mean of the text tokens' states.
- ``tokens``: late interaction over all tokens; afterwards each page is pooled to r vectors by Ward
  clustering. Its queries keep all their tokens.

Pages are stored as int8 with an fp16 scale a vector in every arm, so r vectors cost the same bytes.
BM25 stands beside them. ``opencqa400`` is a folder that ``benchmarks/data/opencqa.py`` made; the
text of its charts, and of the pages in image mode, is read by OCR (``--cache`` keeps it).

Stages are resumed: a run that was stopped continues from its last state, and results that exist
are not computed again. Writes ``table.md``, ``results.json`` and ``comparison.svg`` to ``--out``.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.comparison.training.batches import Sampler, load_sources
from benchmarks.comparison.training.curve import budget_curve
from benchmarks.comparison.training.forward import encode_tokens
from benchmarks.comparison.training.objectives import (
    MeanVectorLoss,
    MetaTokenLoss,
    Objective,
    TokenLoss,
    mean_vectors,
    one_group,
    plain,
    token_vectors,
)
from benchmarks.comparison.training.settings import TrainSettings
from benchmarks.comparison.training.teacher import TokenTeacher
from benchmarks.comparison.training.trainer import Progress, load_state, train
from benchmarks.quality.bm25 import bm25_scores
from benchmarks.quality.encoded import kept
from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.evaluation import bootstrap_interval, measure, read_dataset, top_pages
from metaembed_rag.evaluation.reading import PageReader
from metaembed_rag.model.pooling import ward
from metaembed_rag.training.collapse import measure_collapse
from metaembed_rag.training.mmr import MMRSettings
from metaembed_rag.vectors.formats import quantize
from recipes.mini.bag import Bag
from recipes.mini.data.corpora import read_sources
from recipes.mini.data.validation import validation_sets
from recipes.mini.export import DOCUMENT_TOKENS, QUERY_TOKENS
from recipes.mini.functional_init import InitSettings, build_model, functional_init
from recipes.mini.tokenizer import encode, load_tokenizer, save_pretrained_tokenizer

logger = logging.getLogger("comparison")

TEMPERATURE = 0.05
WARD_SIZES = (1, 4, 8, 16, 64)
SETTINGS = TrainSettings(
    steps=400,
    shapes=((128, 128), (128, 128), (64, 256)),
    learning_rate=1e-3,
    token_learning_rate=2e-3,
    teacher_weight=2.0,
)
"""Of every arm, up to the number of steps, the seed and the groups of the loss."""


@dataclass(frozen=True)
class Arm:
    """One way to train and to represent a page.

    Args:
        kind: ``meta``, ``mean`` or ``tokens``: what a text becomes.
        mmr: Groups of the loss, for Meta Tokens.
        distil: Also learn from token-level scores of the backbone's token vectors.
        options: Further arguments of :class:`MetaTokenLoss`.
    """

    kind: str
    mmr: MMRSettings = field(default_factory=MMRSettings)
    distil: bool = False
    options: Mapping[str, Any] | None = None

    def objective(self, teacher: TokenTeacher) -> Objective:
        """The loss of a batch."""
        if self.kind == "meta":
            return MetaTokenLoss(teacher if self.distil else None, **(self.options or {}))
        return MeanVectorLoss() if self.kind == "mean" else TokenLoss()


def _per_group(temperatures: Sequence[float], score: str = "mean") -> MMRSettings:
    return MMRSettings(temperatures=tuple(temperatures), score=score)


ARMS: dict[str, Arm] = {
    "meta": Arm("meta"),
    "meta-distil": Arm("meta", distil=True),
    "meta-full": Arm("meta", mmr=one_group((16, 64), TEMPERATURE)),
    "last": Arm("meta", mmr=one_group((1, 1), TEMPERATURE)),
    "mean": Arm("mean"),
    "tokens": Arm("tokens"),
}
"""What the comparison consists of."""

TRIALS: dict[str, Arm] = {
    "sum-0.03": Arm("meta", mmr=_per_group([0.03] * 5, "sum")),
    "sum-per-group": Arm("meta", mmr=_per_group([0.05, 0.1, 0.2, 0.4, 0.8], "sum")),
    "mean-falling": Arm("meta", mmr=_per_group([0.05, 0.045, 0.04, 0.035, 0.03])),
    "evenness-0.5": Arm("meta", options={"evenness": 0.5}),
    "diversity-1": Arm("meta", options={"diversity": 1.0}),
    "dimensions": Arm("meta", options={"dimensions": (256, 128, 64)}),
    "causal": Arm("meta", options={"causal": True}),
}
"""Against collapse; compared with ``meta`` on validation data (``--trials``)."""


# -- training ------------------------------------------------------------------------------


class Start:
    """The text, the token vectors and the initialised backbone that all arms share."""

    def __init__(self, work: Path, data: Path) -> None:
        self.work = work
        self.sources = load_sources(work, data)
        self.bag = Bag.load(work / "bag.safetensors")

    def model(self, seed: int) -> Any:
        """The backbone before training."""
        torch.manual_seed(seed)
        vocabulary, hidden = self.bag.vectors.shape
        model = build_model(vocabulary, hidden, layers=1, intermediate=384)
        functional_init(model, self.bag.vectors, self.bag.counts, InitSettings(seed=seed))
        return model


def train_arm(start: Start, name: str, arm: Arm, seed: int, steps: int, folder: Path) -> Any:
    """The trained model of one arm; what is there already is not trained again."""
    model = start.model(seed)
    state, log = folder / "train.pt", folder / "log.jsonl"
    folder.mkdir(parents=True, exist_ok=True)
    settings = replace(SETTINGS, steps=steps, seed=seed, mmr=arm.mmr)

    def progressed(progress: Progress) -> None:
        logger.info("%s, seed %d: %s", name, seed, progress)
        with log.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(vars(progress)) + "\n")

    train(
        model,
        Sampler(start.sources, seed=seed + 7),
        settings,
        objective=arm.objective(TokenTeacher(start.bag.vectors)),
        state=state,
        on_progress=progressed,
    )
    load_state(state, model)
    return model.eval()


def export_tokens(model: Any, work: Path, folder: Path) -> None:
    """Write a ``tokens`` arm as a late-interaction checkpoint of sentence-transformers."""
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Normalize, Transformer
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

    with tempfile.TemporaryDirectory() as backbone:
        model.save_pretrained(backbone)
        longest = DOCUMENT_TOKENS + 2
        save_pretrained_tokenizer(load_tokenizer(work), Path(backbone), max_length=longest)
        text_only = MultiVectorMask(["[CLS]", "[SEP]"], skiplist_tasks=["query", "document"])
        modules = [Transformer(backbone), text_only, Normalize("token_embeddings")]
        MultiVectorEncoder(modules=modules, device="cpu").save_pretrained(str(folder))


# -- evaluation ----------------------------------------------------------------------------


@dataclass(frozen=True)
class TextSet:
    """An evaluation set as the backbone reads it; pages without any text are left out."""

    name: str
    ids: list[str]
    texts: list[str]
    queries: dict[str, str]
    qrels: dict[str, dict[str, int]]


class _TextReader:
    """What :class:`PageReader` asks of an encoder that reads text only."""

    modalities = frozenset({"text"})


def read_set(folder: Path, mode: Any, cache: Path) -> TextSet:
    """Read a BEIR folder in a mode; pictures become text by OCR."""
    dataset = read_dataset(folder)
    reader = PageReader(_TextReader(), mode=mode, cache_dir=cache)  # type: ignore[arg-type]
    texts = [str(value) for value in reader.read(dataset.pages)]
    return TextSet(
        f"{dataset.name}, {mode}",
        reader.read_ids,
        texts,
        {query.id: query.text for query in dataset.queries},
        {query: dict(pages) for query, pages in dataset.qrels.items()},
    )


@dataclass(frozen=True)
class Point:
    """One system at one size: its vectors, and what they cost.

    Args:
        label: Such as ``"(4,8)"`` or ``"Ward 8"``.
        r_c: Stored vectors a page; None for all tokens.
        r_q: Query vectors that take part, on average.
        queries: Unit vectors of each query, ``(r_q, D)``.
        documents: Unit vectors of each page, ``(r_c, D)``.
    """

    label: str
    r_c: int | None
    r_q: float
    queries: Sequence[NDArray[np.float32]]
    documents: Sequence[NDArray[np.float32]]


def points(model: Any, arm: Arm, data: TextSet, tokenizer: Any) -> Iterator[Point]:
    """All sizes at which one trained arm represents a set."""
    queries = encode(tokenizer, list(data.queries.values()))
    documents = encode(tokenizer, data.texts)
    if arm.kind == "meta":
        yield from _meta_points(model, arm, queries, documents)
    elif arm.kind == "mean":
        asked, held = (_rows(model, mean_vectors, texts) for texts in (queries, documents))
        yield Point("1 vector", 1, 1, asked, held)
    else:
        yield from _token_points(model, queries, documents)


def _meta_points(
    model: Any, arm: Arm, queries: list[NDArray[Any]], documents: list[NDArray[Any]]
) -> Iterator[Point]:
    causal = bool((arm.options or {}).get("causal"))
    asked, held = (
        encode_tokens(model, texts, query=query, max_tokens=limit, causal=causal).numpy()
        for texts, query, limit in (
            (queries, True, QUERY_TOKENS),
            (documents, False, DOCUMENT_TOKENS),
        )
    )
    one = arm.mmr.groups == ((1, 1),)
    for budget in RetrievalBudget.paper()[: 1 if one else None]:
        label = "1 vector" if one else f"({budget})"
        cut = list(asked[:, : budget.r_q]), list(held[:, : budget.r_c])
        yield Point(label, budget.r_c, budget.r_q, *cut)


def _token_points(
    model: Any, queries: list[NDArray[Any]], documents: list[NDArray[Any]]
) -> Iterator[Point]:
    asked, held = (_rows(model, token_vectors, texts) for texts in (queries, documents))
    r_q = float(np.mean([len(one) for one in asked]))
    for vectors in WARD_SIZES:
        pooled = [ward(one, vectors) for one in held]
        yield Point(f"Ward {vectors}", vectors, r_q, asked, pooled)
    yield Point("all tokens", None, r_q, asked, held)


@torch.no_grad()
def _rows(
    model: Any, read: Callable[..., Any], texts: list[NDArray[Any]]
) -> list[NDArray[np.float32]]:
    """Unit vectors of each text: ``(1, D)`` of its mean, or ``(tokens, D)``."""
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    rows: list[Any] = [None] * len(texts)
    for start in range(0, len(order), 64):
        some = order[start : start + 64]
        found = read(model, plain([texts[i] for i in some], DOCUMENT_TOKENS).to(model.device))
        vectors, kept = found if isinstance(found, tuple) else (found, None)
        for place, i in enumerate(some):
            row = vectors[place] if kept is None else vectors[place][kept[place]]
            rows[i] = row.numpy()
    return rows


def stored(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """What int8 with an fp16 scale a vector keeps of ``(r, D)``."""
    return quantize(vectors[None]).dequantize()[0]


def maxsim_scores(
    queries: Sequence[NDArray[np.float32]], documents: Sequence[NDArray[np.float32]]
) -> NDArray[np.float32]:
    """MaxSim of every query and document of any sizes, float32 ``(queries, documents)``."""
    owner = torch.from_numpy(np.repeat(np.arange(len(queries)), [len(one) for one in queries]))
    flat = torch.from_numpy(np.concatenate(queries))  # (query vectors, D)
    scores = torch.zeros(len(queries), len(documents))
    order = sorted(range(len(documents)), key=lambda i: len(documents[i]))
    for start in range(0, len(order), 64):
        some = order[start : start + 64]
        longest = len(documents[some[-1]])
        block = torch.stack(  # a repeated vector changes no maximum
            [
                torch.from_numpy(np.resize(stored(documents[i]), (longest, flat.shape[1])))
                for i in some
            ]
        )
        for rows in torch.arange(len(flat)).split(4096):
            best = (flat[rows] @ block.flatten(0, 1).T).view(len(rows), len(some), -1).amax(-1)
            part = torch.zeros(len(queries), len(some)).index_add_(0, owner[rows], best)
            scores[:, some] += part
    return scores.numpy()


def evaluate_arm(model: Any, arm: Arm, data: TextSet, tokenizer: Any) -> list[dict[str, Any]]:
    """nDCG@5 of every query at every size."""
    rows = []
    for point in points(model, arm, data, tokenizer):
        scores = maxsim_scores(point.queries, point.documents)
        size = point.r_c or float(np.mean([len(one) for one in point.documents]))
        dimension = point.documents[0].shape[1]
        rows.append(
            {
                "label": point.label,
                "bytes": round(size * (dimension + 2)),
                "flops": round(2 * point.r_q * size * dimension),
                "values": _ndcg(data, scores),
            }
        )
    return rows


def _ndcg(data: TextSet, scores: NDArray[np.float32]) -> list[float]:
    rankings = dict(zip(data.queries, top_pages(scores, data.ids), strict=True))
    return [round(float(value), 4) for value in measure(data.qrels, rankings)["ndcg@5"]]


def evaluate_bm25(data: TextSet) -> list[dict[str, Any]]:
    """Both variants of BM25 on the same texts."""
    return [
        {
            "label": "stemmed" if stemmed else "plain",
            "bytes": None,
            "flops": None,
            "values": _ndcg(
                data, bm25_scores(data.texts, list(data.queries.values()), stemmed=stemmed)[0]
            ),
        }
        for stemmed in (False, True)
    ]


# -- the trials ----------------------------------------------------------------------------


def report_trial(start: Start, name: str, arm: Arm, model: Any, data: Path) -> dict[str, Any]:
    """nDCG@5 on the validation sets at the five budgets, and the measures of collapse."""
    part = read_sources(start.work, data, part="validation")
    tokenizer, found = load_tokenizer(start.work), {}
    options = {"causal": bool((arm.options or {}).get("causal"))}
    for task in validation_sets(part):
        queries = encode(tokenizer, [query.text for query in task.queries])
        documents = encode(tokenizer, [page.text for page in task.pages])
        asked = encode_tokens(model, queries, query=True, max_tokens=QUERY_TOKENS, **options)
        held = encode_tokens(model, documents, query=False, max_tokens=DOCUMENT_TOKENS, **options)
        place = {page.id: index for index, page in enumerate(task.pages)}
        own = torch.tensor([place[next(iter(task.qrels[query.id]))] for query in task.queries])
        found[task.name] = {
            f"D={size}": {
                budget: round(value, 4)
                for budget, value in budget_curve(asked, held, task, size).items()
            }
            for size in (256, 64)
        } | {"collapse": vars(measure_collapse(asked[:300], held[own[:300]]))}
    return {"trial": name, "validation": found}


# -- the report ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Cell:
    """One system at one size on one set, over all seeds.

    Args:
        values: nDCG@5 of each query, the mean over seeds, ``(queries,)``.
        seeds: The mean over queries of each seed.
    """

    values: NDArray[np.float64]
    seeds: list[float]

    def __str__(self) -> str:
        low, high = bootstrap_interval(self.values)
        seeds = "/".join(f"{100 * one:.1f}" for one in self.seeds)
        mean = f"**{100 * self.values.mean():.1f}** [{100 * low:.1f}, {100 * high:.1f}]"
        return mean if len(self.seeds) == 1 else f"{mean} ({seeds})"


def collect(results: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], dict[str, Cell]]:
    """``(arm, label) -> set -> cell``, in the order of the results."""
    values: dict[tuple[str, str], dict[str, list[list[float]]]] = {}
    for result in results:
        for row in result["rows"]:
            of_sets = values.setdefault((result["arm"], row["label"]), {})
            of_sets.setdefault(result["set"], []).append(row["values"])
    return {
        key: {
            name: Cell(np.mean(runs, axis=0), [float(np.mean(run)) for run in runs])
            for name, runs in of_sets.items()
        }
        for key, of_sets in values.items()
    }


def table(results: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: a row a system and size, a column a set."""
    cells = collect(results)
    sets = list(dict.fromkeys(result["set"] for result in results))
    sizes: dict[tuple[str, str], set[int]] = {}
    for result in results:
        for row in result["rows"]:
            of_point = sizes.setdefault((result["arm"], row["label"]), set())
            of_point |= {row["bytes"]} - {None}
    lines = [
        "| arm | size | bytes a page | " + " | ".join(sets) + " |",
        "|---|---|---|" + "---|" * len(sets),
    ]
    for (arm, label), found in cells.items():
        ends = sorted({min(sizes[arm, label]), max(sizes[arm, label])}) if sizes[arm, label] else []
        amount = " to ".join(f"{end:,}" for end in ends) or "–"
        row = [str(found[name]) if name in found else "–" for name in sets]
        lines.append(f"| {arm} | {label} | {amount} | " + " | ".join(row) + " |")
    return "\n".join(lines) + "\n"


def differences(results: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: Meta Tokens minus Ward pooling at equal bytes, with paired intervals."""
    cells = collect(results)
    sets = list(dict.fromkeys(result["set"] for result in results))
    lines = ["| at equal bytes | " + " | ".join(sets) + " |", "|---|" + "---|" * len(sets)]
    for arm in ("meta", "meta-distil"):
        for budget in RetrievalBudget.paper():
            ours, theirs = (
                cells.get((arm, f"({budget})")),
                cells.get(("tokens", f"Ward {budget.r_c}")),
            )
            if ours and theirs:
                row = [_difference(ours[name], theirs[name]) for name in sets]
                lines.append(f"| {arm} ({budget}) − Ward {budget.r_c} | " + " | ".join(row) + " |")
    return "\n".join(lines) + "\n"


def _difference(ours: Cell, theirs: Cell) -> str:
    apart = ours.values - theirs.values
    low, high = bootstrap_interval(apart)
    return f"{100 * apart.mean():+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"


LINES = {
    "meta": ("Meta Tokens, MMR", "o-", "C0"),
    "meta-distil": ("Meta Tokens, MMR + distillation", "s-", "C3"),
    "meta-full": ("Meta Tokens without MMR", "o:", "C0"),
    "tokens": ("late interaction, Ward pooling", "^-", "C1"),
    "mean": ("one vector: mean", "D", "C2"),
    "last": ("one vector: last token", "*", "C4"),
}


def plot(results: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Quality against bytes a page (above) and against scoring cost (below), a column a set."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    pyplot.rcParams |= {"svg.hashsalt": "metaembed", "svg.fonttype": "none"}
    sets = list(dict.fromkeys(result["set"] for result in results))
    cells = collect(results)
    figure, axes = pyplot.subplots(
        2, len(sets), figsize=(3.4 * len(sets), 6.4), squeeze=False, sharey="col"
    )
    cost = {
        (result["set"], result["arm"], row["label"]): row
        for result in results
        for row in result["rows"]
    }
    for column, name in enumerate(sets):
        for row, measure_of in enumerate(("bytes", "flops")):
            axis = axes[row][column]
            for arm, (label, style, colour) in LINES.items():
                found = [
                    (key, by[name]) for key, by in cells.items() if key[0] == arm and name in by
                ]
                x = [cost[name, *key][measure_of] for key, _ in found]
                y = [100 * cell.values.mean() for _, cell in found]
                spread = [[100 * s for s in bootstrap_interval(cell.values)] for _, cell in found]
                if found:
                    errors = np.abs(np.array(spread).T - y)
                    axis.errorbar(
                        x, y, errors, fmt=style, color=colour, label=label, capsize=2, lw=1.2, ms=4
                    )
            best = max(
                (by[name].values.mean() for k, by in cells.items() if k[0] == "BM25"), default=0
            )
            axis.axhline(100 * best, color="grey", ls="--", lw=1, label="better BM25")
            axis.set_xscale("log")
            axis.set_xlabel("bytes a page" if measure_of == "bytes" else "FLOPs a page and query")
            axis.grid(alpha=0.25)
        axes[0][column].set_title(name, fontsize=10)
    for row in range(2):
        axes[row][0].set_ylabel("nDCG@5, %")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncol=4, fontsize=9, frameon=False)
    figure.tight_layout(rect=(0, 0.07, 1, 1))
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


# -- the command ---------------------------------------------------------------------------


def sets_of(data: Path, charts: Path | None, cache: Path) -> list[TextSet]:
    """The sets of the table; fused pages are read as text, since the backbone sees no picture."""
    wanted: list[tuple[Path, str]] = [
        (data / "texdoc_pages", "fused"),
        (data / "texdoc_pages", "image"),
        (data / "debian_packages", "text"),
        (data / "cranfield", "text"),
    ]
    if charts is not None:
        wanted.insert(2, (charts, "image"))
    return [read_set(folder, mode, cache) for folder, mode in wanted]


def compare(options: argparse.Namespace) -> None:
    """Train, evaluate and report all arms and seeds."""
    start, out = Start(options.work, options.data), options.out
    sets, tokenizer = (
        sets_of(options.data, options.charts, options.cache),
        load_tokenizer(start.work),
    )
    results = []
    for name in options.arms or ARMS:
        for seed in options.seeds:
            folder = out / f"{name}-seed{seed}"
            model = train_arm(start, name, ARMS[name], seed, options.steps, folder)
            if ARMS[name].kind == "tokens" and not (folder / "checkpoint").exists():
                export_tokens(model, start.work, folder / "checkpoint")
            for data in sets:
                rows = kept(
                    folder / f"{data.name}.json",
                    lambda model=model, data=data, name=name: evaluate_arm(
                        model, ARMS[name], data, tokenizer
                    ),
                )
                results.append({"arm": name, "seed": seed, "set": data.name, "rows": rows})
                logger.info("%s, seed %d, %s: done", name, seed, data.name)
    results += [{"arm": "BM25", "seed": 0, "set": s.name, "rows": evaluate_bm25(s)} for s in sets]
    (out / "results.json").write_text(json.dumps(results), encoding="utf-8")
    (out / "table.md").write_text(table(results) + "\n" + differences(results), encoding="utf-8")
    plot(results, out / "comparison.svg")
    print((out / "table.md").read_text(encoding="utf-8"))


def try_out(options: argparse.Namespace) -> None:
    """Train the trials and ``meta`` with the first seed; a JSON line each."""
    start, seed = Start(options.work, options.data), options.seeds[0]
    arms = {"meta": ARMS["meta"], "meta-distil": ARMS["meta-distil"], **TRIALS}
    for name in options.arms or arms:
        folder = options.out / f"{name}-seed{seed}"
        model = train_arm(start, name, arms[name], seed, options.steps, folder)
        found = kept(
            folder / "validation.json",
            lambda model=model, name=name: report_trial(
                start, name, arms[name], model, options.data
            ),
        )
        print(json.dumps(found), flush=True)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with the evaluation sets")
    parser.add_argument("charts", type=Path, nargs="?", help="folder of benchmarks.data.opencqa")
    parser.add_argument("--work", type=Path, default=Path(".data/mini"), help="folder of `mini`")
    parser.add_argument("--out", type=Path, default=Path(".data/comparison"))
    parser.add_argument("--cache", type=Path, default=Path(".data/ocr"), help="OCR texts")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--arms", nargs="+", help="only these")
    parser.add_argument("--trials", action="store_true", help="train the trials instead")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    (try_out if options.trials else compare)(options)


if __name__ == "__main__":
    main()
