"""How fast checkpoints encode in several kinds of arithmetic, side by side, and what that changes.

    pip install onnx
    OMP_NUM_THREADS=2 python -m benchmarks.quality.encoding_speed small mini \
        ../shared/data/texdoc_pages --json results/encoding_speed.json

Pages are those texts of the set that come nearest to 1,000 tokens; they are encoded in rounds of a
few pages, and queries one at a time. In each round every arithmetic has its turn, so that all meet
the same load of the machine; ratios are medians over rounds. The whole way is timed: tokenizer,
backbone, Meta Tokens. Beside the wall clock stands the time that the processor's cores spent.

- ``float32`` and ``bfloat16``: ``MetaEmbedEncoder.from_pretrained(..., dtype=...)``, which leaves
  the readout of `small` in float32.
- ``int8``: torch's dynamic quantization of the backbone's linear layers.
- ``onnxruntime`` and ``onnxruntime int8``: the BERT inside `small`, exported (the package ``onnx``
  is needed for that and for nothing else); without the package both are left out, and the record
  says so.

The vectors are compared with those of float32 by their cosines, and with ``--validation FOLDER``
(a set in BEIR layout) nDCG@5 at two budgets.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks import results
from metaembed_rag import MetaEmbedEncoder
from metaembed_rag.evaluation import Dataset, evaluate, read_dataset

CLAIM = "How fast checkpoints encode on two threads in float32, bfloat16, int8 and onnxruntime."
TOKENS = 1000
"""Of a page: the texts nearest to it are taken."""
BUDGETS = ("1,1", "16,64")
Vectors = NDArray[np.float32]


class OnnxText(nn.Module):
    """A BERT in onnxruntime, in the place of the one inside a readout.

    Args:
        text: The BERT; its vocabulary is kept.
        folder: Gets the exported files.
        int8: Whether its weights are rounded to int8.
    """

    def __init__(self, text: Any, folder: Path, *, int8: bool) -> None:
        super().__init__()
        import onnxruntime

        self.config, self._vocabulary = text.config, text.get_input_embeddings()
        file = folder / "bert.onnx"
        if not file.exists():
            _export(text, file)
        if int8:
            from onnxruntime.quantization import QuantType, quantize_dynamic

            rounded = folder / "bert-int8.onnx"
            quantize_dynamic(file, rounded, weight_type=QuantType.QInt8)
            file = rounded
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        self._session = onnxruntime.InferenceSession(
            file, options, providers=["CPUExecutionProvider"]
        )

    def get_input_embeddings(self) -> nn.Module:
        """The vocabulary."""
        return self._vocabulary  # type: ignore[no-any-return]

    def forward(self, input_ids: torch.Tensor, attention_mask: Any = None) -> SimpleNamespace:
        """Last hidden states, float32 (batch, length, D); without a mask nothing is padding."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        given = {"input_ids": input_ids.numpy(), "attention_mask": mask.numpy()}
        (states,) = self._session.run(None, given)
        return SimpleNamespace(last_hidden_state=torch.from_numpy(states))


class _States(nn.Module):
    """A BERT that returns a tensor, as the exporter wants it."""

    def __init__(self, text: nn.Module) -> None:
        super().__init__()
        self.text = text

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        return self.text(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state


def _export(text: nn.Module, file: Path) -> None:
    ids = torch.ones((2, 8), dtype=torch.long)
    names = ["input_ids", "attention_mask"]
    axes = {name: {0: "batch", 1: "length"} for name in (*names, "states")}
    with _quiet(), torch.no_grad():
        torch.onnx.export(
            _States(text).eval(), (ids, ids), file, input_names=names, output_names=["states"],
            dynamic_axes=axes, opset_version=17, dynamo=False,
        )  # fmt: skip


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """torch warns that this exporter and this quantization have successors, which need more."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def kinds(checkpoint: str, folder: Path) -> dict[str, Callable[[], Any]]:
    """What makes an encoder in each arithmetic that the checkpoint and this machine have.

    Args:
        checkpoint: As ``from_pretrained`` takes it.
        folder: For exported files.
    """

    def loaded(dtype: str = "float32") -> Any:
        return MetaEmbedEncoder.from_pretrained(checkpoint, device="cpu", dtype=dtype)

    def rounded() -> Any:
        encoder = loaded()
        model = encoder.backbone.model
        with _quiet():
            torch.ao.quantization.quantize_dynamic(
                getattr(model, "text", model), {nn.Linear}, inplace=True
            )
        return encoder

    def onnx(int8: bool) -> Any:
        encoder = loaded()
        model = encoder.backbone.model
        model.text = OnnxText(model.text, folder, int8=int8)
        return encoder

    found: dict[str, Callable[[], Any]] = {
        "float32": loaded,
        "bfloat16": lambda: loaded("bfloat16"),
        "int8": rounded,
    }
    if hasattr(loaded().backbone.model, "text") and importlib.util.find_spec("onnx"):
        found |= {"onnxruntime": lambda: onnx(False), "onnxruntime int8": lambda: onnx(True)}
    return found


@dataclass
class Times:
    """Seconds of one arithmetic: by the wall clock and of all cores, shape (2,) each.

    Attributes:
        pages: Of each round.
        queries: Of each query.
    """

    pages: list[NDArray[np.float64]] = field(default_factory=list)
    queries: list[NDArray[np.float64]] = field(default_factory=list)


def _timed(make: Callable[[], Vectors]) -> tuple[NDArray[np.float64], Vectors]:
    wall, busy = time.perf_counter(), time.process_time()
    made = make()
    return np.array([time.perf_counter() - wall, time.process_time() - busy]), made


def whole_pages(encoder: Any, texts: Sequence[str], count: int) -> list[str]:
    """The ``count`` texts whose numbers of tokens are nearest to :data:`TOKENS`."""
    tokenizer = encoder.backbone.tokenizer
    sizes = [len(one) for one in tokenizer(list(texts), verbose=False)["input_ids"]]
    order = sorted(range(len(texts)), key=lambda i: (abs(sizes[i] - TOKENS), i))
    return [texts[i] for i in order[:count]]


def rows(
    encoders: dict[str, Any], pages: Sequence[str], queries: Sequence[str], rounds: int
) -> list[dict[str, Any]]:
    """A row an arithmetic, that of float32 first.

    Args:
        encoders: By the arithmetic's name; ``"float32"`` is among them.
        pages: Texts; each is encoded once by every encoder.
        queries: The same.
        rounds: Into how many parts both are divided.
    """
    times = {name: Times() for name in encoders}
    vectors: dict[str, tuple[list[Vectors], list[Vectors]]] = {name: ([], []) for name in encoders}
    for encoder in encoders.values():  # the first call warms buffers and caches
        encoder.encode_document([pages[0]])
        encoder.encode_query([queries[0]])
    for number in range(rounds):
        some, asked = pages[number::rounds], queries[number::rounds]
        for name, encoder in encoders.items():
            spent, found = _timed(partial(encoder.encode_document, some))
            times[name].pages.append(spent)
            vectors[name][0].append(found)
            for query in asked:
                spent, found = _timed(partial(encoder.encode_query, [query]))
                times[name].queries.append(spent)
                vectors[name][1].append(found)
    return [
        {
            "arithmetic": name,
            **speed(times[name], times["float32"], len(pages)),
            **nearness(vectors[name], vectors["float32"]),
        }
        for name in encoders
    ]


def speed(own: Times, plain: Times, pages: int) -> dict[str, float]:
    """Pages a second, milliseconds a query, and how many times as fast as float32."""
    spent, queries = np.stack(own.pages), np.stack(own.queries)  # (rounds, 2), (queries, 2)
    each = pages / len(spent)
    ratio = np.median(np.stack(plain.pages) / spent, axis=0)
    quicker = np.median(np.stack(plain.queries) / queries, axis=0)
    return {
        "pages_per_second": round(each / float(np.median(spent[:, 0])), 1),
        "pages_per_second_best": round(each / float(spent[:, 0].min()), 1),
        "page_ms_cpu": round(1000 * float(np.median(spent[:, 1])) / each, 1),
        "query_ms": round(1000 * float(np.median(queries[:, 0])), 1),
        "query_ms_best": round(1000 * float(queries[:, 0].min()), 1),
        "query_ms_cpu": round(1000 * float(np.median(queries[:, 1])), 1),
        "pages_times_as_fast": round(float(ratio[0]), 2),
        "pages_times_as_fast_cpu": round(float(ratio[1]), 2),
        "queries_times_as_fast": round(float(quicker[0]), 2),
    }


def nearness(
    own: tuple[list[Vectors], list[Vectors]], plain: tuple[list[Vectors], list[Vectors]]
) -> dict[str, float]:
    """Smallest and mean cosine between the vectors of an arithmetic and those of float32."""
    found: dict[str, float] = {}
    for side, mine, exact in zip(("page", "query"), own, plain, strict=True):
        cosines = np.concatenate(
            [(a * b).sum(-1).ravel() for a, b in zip(mine, exact, strict=True)]
        )
        found[f"{side}_cosine_least"] = round(float(cosines.min()), 5)
        found[f"{side}_cosine_mean"] = round(float(cosines.mean()), 6)
    return found


def quality(encoder: Any, dataset: Dataset) -> dict[str, float]:
    """nDCG@5 on a validation set, in percent, at two budgets."""
    report = evaluate(dataset, encoder, mode="text", budgets=BUDGETS)
    return {str(one.budget): round(100 * one.mean("ndcg@5"), 2) for one in report.results}


def measured(
    checkpoint: str, dataset: Dataset, validation: Dataset | None, *, pages: int, rounds: int
) -> list[dict[str, Any]]:
    """Everything about one checkpoint."""
    with tempfile.TemporaryDirectory() as folder:
        encoders = {name: make() for name, make in kinds(checkpoint, Path(folder)).items()}
        texts = [page.text for page in dataset.pages if page.text.strip()]
        chosen = whole_pages(encoders["float32"], texts, pages)
        queries = [query.text for query in dataset.queries if query.text][:pages]
        found = rows(encoders, chosen, queries, rounds)
        if validation is not None:
            for row in found:
                row["ndcg@5"] = quality(encoders[row["arithmetic"]], validation)
    return [{"checkpoint": checkpoint, **row} for row in found]


def processor() -> dict[str, bool]:
    """What torch says of the processor's instructions for rounded numbers."""
    asked = ("_is_vnni_supported", "_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return {name[4:-10]: bool(getattr(torch.cpu, name)()) for name in asked}


def main() -> int:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoints", nargs="+")
    parser.add_argument("dataset", type=Path, help="a folder in BEIR layout whose pages have texts")
    parser.add_argument("--validation", type=Path, help="a set for nDCG@5, in the same layout")
    parser.add_argument("--pages", type=int, default=120, help="and as many queries")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    dataset = read_dataset(given.dataset)
    validation = None if given.validation is None else read_dataset(given.validation)
    found = [
        row
        for one in given.checkpoints
        for row in measured(one, dataset, validation, pages=given.pages, rounds=given.rounds)
    ]
    for row in found:
        print(row)
    if given.json:
        first = MetaEmbedEncoder.from_pretrained(given.checkpoints[0], device="cpu")
        numbers = {
            "checkpoint": given.checkpoints[0],
            "threads": given.threads,
            "processor": processor(),
            "onnx": importlib.util.find_spec("onnx") is not None,
            "rows": found,
        }
        results.write(given.json, CLAIM, numbers, fingerprint=first.fingerprint)
    return 0


if __name__ == "__main__":
    sys.exit(main())
