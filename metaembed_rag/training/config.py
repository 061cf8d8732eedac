"""What a training run is: a TOML file, in which every key is also a flag of ``metaembed train``.

Loads nothing heavy, so that ``metaembed train --help`` and wrong keys answer at once.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints

from metaembed_rag.errors import TrainingError
from metaembed_rag.training.values import READERS, check_range

SCHEDULES = ("cosine", "linear", "constant", "constant_with_warmup", "polynomial")


def _key(
    default: Any,
    text: str,
    *,
    least: float | None = None,
    above: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """A key with its help text and the values that it takes."""
    metadata = {"help": text, "least": least, "above": above, "choices": choices}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class ModelConfig:
    """``[model]``: what is trained."""

    backbone: str = _key(
        "mini",
        "a plain backbone (Meta Tokens are added) or a MetaEmbed checkpoint (its training goes "
        "on): a hub id, a folder, or a shipped name",
    )
    r_q: int | None = _key(None, "query vectors (16; a checkpoint brings its own)", least=1)
    r_c: int | None = _key(None, "page vectors (64; a checkpoint brings its own)", least=1)
    max_query_tokens: int | None = _key(
        None, "longest text of a query (128, or the checkpoint's)", least=1
    )
    max_document_tokens: int | None = _key(
        None, "longest text of a page (512, or the checkpoint's)", least=1
    )
    max_pixels: int | None = _key(
        None, "larger images are scaled down to it (802816, or the checkpoint's)", least=1
    )
    dtype: str = _key("float32", "of the weights", choices=("float32", "bfloat16"))
    attention: str | None = _key(
        None, "transformers' name: sdpa, eager, flash_attention_2 (the backbone's default)"
    )
    template: Mapping[str, str] | None = _key(
        None, "what stands around an input (the backbone's chat template)"
    )


@dataclass(frozen=True)
class LoraConfig:
    """``[lora]``: train low-rank adapters and the Meta Tokens only; absent: train everything."""

    rank: int = _key(32, "rank of the adapters", least=1)
    alpha: int = _key(32, "their scale is alpha / rank", least=1)
    dropout: float = _key(0.1, "in front of the adapters", least=0)
    targets: str | tuple[str, ...] = _key("all-linear", '"all-linear", or a list of module names')


@dataclass(frozen=True)
class DataConfig:
    """``[[data]]``: a training set; repeat the table for more."""

    path: str = _key(MISSING, "a .jsonl or .jsonl.gz file, or a folder in BEIR layout")
    weight: float = _key(1.0, "how often a batch comes from it, beside the other sets", above=0)
    name: str | None = _key(None, "what logs call it (the file's name)")
    split: str = _key("train", "of a folder, which judgements: qrels/<split>.tsv")
    limit: int | None = _key(None, "only the first so many examples", least=1)


@dataclass(frozen=True)
class LossConfig:
    """``[loss]``: Matryoshka Multi-Vector Retrieval."""

    groups: tuple[tuple[int, int], ...] | None = _key(
        None, "budgets (r_q, r_c) that are trained together (the paper's five, as far as they fit)"
    )
    weights: tuple[float, ...] | None = _key(
        None, "of the groups; they are divided by their sum (1 each)", least=0
    )
    temperatures: float | tuple[float, ...] = _key(
        0.05, "one number for all groups, or a list (the paper's is 0.03, with sums)", above=0
    )
    score: str = _key(
        "mean", "over the query's vectors (the paper's is sum)", choices=("mean", "sum")
    )
    dimensions: tuple[int, ...] | None = _key(
        None,
        "lengths of vector prefixes that are trained to work alone, such as 64, 128 (what the "
        "checkpoint brings, or whole vectors only)",
    )
    both_directions: bool = _key(False, "a page must find its query among the queries, too")
    evenness: float = _key(
        0.0, "weight of a penalty where few page vectors win every comparison", least=0
    )
    distill: float = _key(
        0.0, "weight of the backbone's own full-token late interaction as a teacher", least=0
    )


@dataclass(frozen=True)
class TrainConfig:
    """``[train]``: steps and rates."""

    steps: int = _key(1000, "batches in all", least=1)
    batch_size: int = _key(32, "queries of a batch, on each device", least=2)
    mini_batch: int = _key(
        0, "above 0: GradCache, the batch is computed so many inputs at a time", least=0
    )
    learning_rate: float = _key(1e-4, "at its peak", above=0)
    meta_learning_rate: float | None = _key(
        None,
        "of the Meta Tokens' rows (learning_rate for new ones, 0.005 of it where the checkpoint "
        "has trained ones: at the full rate the small budgets are lost)",
        least=0,
    )
    warm_up: int | None = _key(None, "steps until the peak (a tenth of all, at most 500)", least=0)
    schedule: str = _key("cosine", "of the learning rate after that", choices=SCHEDULES)
    weight_decay: float = _key(0.0, "of AdamW", least=0)
    clip: float = _key(1.0, "largest norm of the gradient; 0 does not clip", least=0)
    precision: str = _key("fp32", "of the computation", choices=("fp32", "bf16"))
    trained: str = _key(
        "all",
        "what is trained: all, or of a checkpoint with a readout that alone (its backbone's states "
        "are computed once and kept in memory)",
        choices=("all", "readout"),
    )
    gradient_checkpointing: bool = _key(False, "less memory, a third more time")
    negatives: int = _key(1, "at most so many explicit negatives a query", least=0)
    seed: int = _key(0, "of the order of the data, new rows and dropout", least=0)
    log_every: int = _key(10, "steps", least=1)
    save_every: int = _key(200, "steps", least=1)
    evaluate_every: int = _key(200, "steps", least=1)
    workers: int = _key(0, "processes that prepare batches (useful with images)", least=0)
    device: str | None = _key(None, "cpu, cuda or mps (the best there is)")


@dataclass(frozen=True)
class EvaluateConfig:
    """``[[evaluate]]``: a set in BEIR layout that is measured during training."""

    path: str = _key(MISSING, "a folder in BEIR layout")
    limit: int | None = _key(None, "only the first so many queries", least=1)
    mode: str = _key("fused", "what of a page is encoded", choices=("fused", "image", "text"))


@dataclass(frozen=True)
class RunConfig:
    """A whole run; see :func:`read_config`.

    Attributes:
        out: Folder of the run: checkpoints, log and, at the end, the model.
        model: What is trained.
        lora: None trains all weights.
        data: At least one training set.
        loss: What it is trained for.
        train: Steps and rates.
        evaluate: Sets measured during training.
    """

    out: str
    data: tuple[DataConfig, ...]
    model: ModelConfig = field(default_factory=ModelConfig)
    lora: LoraConfig | None = None
    loss: LossConfig = field(default_factory=LossConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluate: tuple[EvaluateConfig, ...] = ()

    def __post_init__(self) -> None:
        if not self.data:
            raise TrainingError("there is no training set; add [[data]] with a path, or --data")
        _check_groups(self.loss)

    @property
    def warm_up(self) -> int:
        """Steps until the learning rate's peak."""
        given = self.train.warm_up
        return min(500, self.train.steps // 10) if given is None else given


TABLES: dict[str, type] = {
    "model": ModelConfig,
    "lora": LoraConfig,
    "data": DataConfig,
    "loss": LossConfig,
    "train": TrainConfig,
    "evaluate": EvaluateConfig,
}
"""The tables of the file in their order."""

MANY = ("data", "evaluate")
"""Tables that may be repeated."""


def read_config(
    path: str | Path | None = None, flags: Mapping[str, Any] | None = None
) -> RunConfig:
    """A run from a TOML file, from flags, or from both: flags win.

    Paths are relative to the working directory, in the file too.

    Args:
        path: The file; None takes flags only.
        flags: Table -> key -> value, as the file would have them; ``"data"`` and ``"evaluate"``
            are lists of tables that replace the file's, ``"out"`` is text.

    Raises:
        TrainingError: A key is unknown, a value is of a wrong type or makes no sense; the message
            names the file and the line.
    """
    source = _Source(path)
    values = source.values
    for table, given in (flags or {}).items():
        whole = table not in TABLES or table in MANY
        values[table] = given if whole else {**source.table(table), **given}
        source.from_flags |= {table} if whole else {f"{table}.{key}" for key in given}
    for name in values:
        if name not in ("out", *TABLES):
            raise source.error(_unknown(name, ["out", *TABLES]), "", name)
    if not isinstance(values.get("out"), str) or not values["out"]:
        raise source.error('"out" must name the folder of the run (or give --out)', "", "out")
    built: dict[str, Any] = {
        table: _build(source, table, kind) for table, kind in TABLES.items() if table in values
    }
    try:
        return RunConfig(**{"data": (), **built, "out": values["out"]})
    except TrainingError as error:
        raise source.error(str(error), "loss", "") from None


class _Source:
    """The file's values, and where in it each stands."""

    def __init__(self, path: str | Path | None) -> None:
        self.path, self.text, self.values = path, "", dict[str, Any]()
        self.from_flags: set[str] = set()
        if path is None:
            return
        try:
            self.text = Path(path).read_text(encoding="utf-8-sig")
            self.values = tomllib.loads(self.text)
        except FileNotFoundError:
            raise TrainingError(f"{path}: no such file; name a TOML file, or use flags") from None
        except (OSError, UnicodeDecodeError) as error:
            raise TrainingError(f"{path}: cannot be read as UTF-8 text: {error}") from None
        except tomllib.TOMLDecodeError as error:
            raise TrainingError(f"{path}: not TOML: {error}") from None

    def error(self, message: str, table: str, key: str, index: int = 0) -> TrainingError:
        """The message, with file and line where the value came from the file."""
        if self.path is None or {table or key, f"{table}.{key}"} & self.from_flags:
            return TrainingError(message)
        number = _line_of(self.text, table, key, index)
        where = f"{self.path}, line {number}" if number else f"{self.path}"
        return TrainingError(f"{where}: {message}")

    def table(self, name: str) -> dict[str, Any]:
        """The values of a table; none where it is absent."""
        found = self.values.get(name, {})
        if not isinstance(found, dict):
            raise self.error(f"[{name}] must be a table", "", name)
        return found


def _line_of(text: str, table: str, key: str, index: int) -> int:
    """The line of a key, of its table's header, or 0: TOML's parser keeps no positions."""
    current, seen, header = "", -1, 0
    for number, line in enumerate(text.splitlines(), 1):
        if match := re.match(r"\s*\[\[?\s*([\w.-]+)", line):
            current = match[1]
            seen += current == table
            if current == table and seen == index:
                header = number
            if not table and current == key:
                return number
        inside = current == table and (not table or seen == index)
        if inside and key and re.match(rf'\s*"?{re.escape(key)}"?\s*[=.]', line):
            return number
    return header


def _build(source: _Source, name: str, kind: type) -> Any:
    if name not in MANY:
        return _read(source, name, kind, source.table(name))
    found = source.values[name]
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise source.error(f"write [[{name}]] with two brackets", "", name)
    return tuple(_read(source, name, kind, one, i) for i, one in enumerate(found))


def _read(source: _Source, table: str, kind: type, given: Mapping[str, Any], index: int = 0) -> Any:
    known = {one.name: one for one in fields(kind)}
    hints = get_type_hints(kind)
    values = {}
    for key, value in given.items():
        if key not in known:
            raise source.error(_unknown(key, list(known), table), table, key, index)
        try:
            values[key] = READERS[hints[key]](value)
            check_range(values[key], known[key])
        except (TypeError, ValueError) as error:
            message = f"{table}.{key} must be {error}, not {value!r}"
            raise source.error(message, table, key, index) from None
    for key, one in known.items():
        if one.default is MISSING and key not in values:
            message = f"[[{table}]] needs {key!r}: {one.metadata['help']}"
            raise source.error(message, table, "", index)
    return kind(**values)


def _unknown(key: str, known: list[str], table: str = "") -> str:
    near = difflib.get_close_matches(key, known, 1, 0.6)
    elsewhere = [name for name, kind in TABLES.items() if key in {one.name for one in fields(kind)}]
    hint = ""
    if near:
        hint = f"did you mean {near[0]!r}? "
    elif elsewhere and elsewhere[0] != table:
        hint = f"it belongs under [{elsewhere[0]}]. "
    place = f" in [{table}]" if table else ""
    return f"unknown key {key!r}{place}; {hint}Known: {', '.join(known)}"


def _check_groups(loss: LossConfig) -> None:
    if loss.weights is not None and not sum(loss.weights):
        raise TrainingError("loss.weights are all 0; at least one group must count")
    for name in ("weights", "temperatures"):
        values, groups = getattr(loss, name), loss.groups
        if groups is not None and isinstance(values, tuple) and len(values) != len(groups):
            raise TrainingError(
                f"loss.{name} has {len(values)} numbers for {len(groups)} groups; give one for each"
            )
