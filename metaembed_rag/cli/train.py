"""``metaembed train``: a configuration file, flags, or both."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import Field, fields
from typing import Any, get_type_hints

from metaembed_rag.cli.output import shown
from metaembed_rag.cli.values import number_or_text
from metaembed_rag.errors import TrainingError
from metaembed_rag.training.config import MANY, TABLES, RunConfig, read_config
from metaembed_rag.training.values import Groups, Names, Numbers, Sizes, Temperatures, Template

SUMMARY = "train your own model: any backbone, all weights or LoRA"

_UNSET = object()
_EPILOG = """examples:
  metaembed train --backbone mini --data pairs.jsonl --out my-model --steps 200
  metaembed train recipes/qwen2.5-vl-3b.toml
  accelerate launch -m metaembed_rag.cli train recipes/qwen2.5-vl-3b.toml

The same command again goes on where an interrupted run stopped. docs/train.md says more.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The configuration file, and each of its keys as a flag."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_argument("config", nargs="?", metavar="CONFIG.toml", help="keys; flags win over it")
    parser.add_argument("--out", metavar="DIR", help="folder of the run; at the end, the model")
    parser.add_argument(
        "--data",
        action="append",
        default=[],
        metavar="PATH[=WEIGHT]",
        help="a .jsonl or .jsonl.gz file, or a folder in BEIR layout; may be repeated",
    )
    parser.add_argument(
        "--evaluate",
        action="append",
        default=[],
        metavar="DIR[=MODE]",
        help="a folder in BEIR layout, measured during training; MODE is fused, image or text; "
        "may be repeated",
    )
    parser.add_argument("--evaluate-limit", type=int, metavar="N", help="the first N queries only")
    parser.add_argument("--lora", action="store_true", help="train LoRA adapters, not all weights")
    for table, kind in TABLES.items():
        if table not in MANY:
            group = parser.add_argument_group(f"[{table}]")
            hints = get_type_hints(kind)
            for key in fields(kind):
                _add_flag(group, table, key, hints[key.name])


def run(given: argparse.Namespace) -> int:
    """Train, and print what came of it."""
    config = read_config(given.config, _flags(given))
    from metaembed_rag.progress import tqdm
    from metaembed_rag.training.fit import train
    from metaembed_rag.training.sharing import is_main

    # The arguments as they were typed, from ``train`` on.
    typed = sys.argv[sys.argv.index("train") :] if "train" in sys.argv else ["train"]
    result = train(
        config,
        command=shlex.join(["metaembed", *typed]),
        say=None if given.quiet else lambda line: tqdm.write(shown(line), file=sys.stderr),
        show_progress=not given.quiet and sys.stderr.isatty(),
    )
    if is_main():
        print(json.dumps(result) if given.json else shown(_summary(config, result)))
    return 0


def flag_of(table: str, key: str) -> str:
    """``("lora", "rank")`` -> ``"--lora-rank"``; other tables' keys stand alone."""
    name = f"lora-{key}" if table == "lora" else key
    return "--" + name.replace("_", "-")


def _add_flag(group: Any, table: str, key: Field[Any], hint: Any) -> None:
    options: dict[str, Any] = {"dest": f"{table}.{key.name}", "default": _UNSET}
    default = key.default
    told = "" if default is None or default is False else f" (default: {default})"
    options["help"] = (key.metadata["help"] + told).replace("%", "%%")
    if hint is bool:
        options["action"] = argparse.BooleanOptionalAction
    else:
        options |= {"type": _READERS.get(hint, number_or_text), "metavar": _metavar(key, hint)}
    group.add_argument(flag_of(table, key.name), **options)


def _metavar(key: Field[Any], hint: Any) -> str:
    if key.metadata["choices"]:
        return "|".join(key.metadata["choices"])
    if hint in (int, int | None):
        return "N"
    return "X" if hint in (float, float | None) else key.name.upper()


def _list(text: str) -> list[Any]:
    return [number_or_text(part) for part in text.split(",")]


def _pairs(text: str) -> list[list[Any]]:
    """``"1,1 4,8"`` -> [[1, 1], [4, 8]]."""
    return [_list(part) for part in text.split()]


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}") from None


_READERS: dict[Any, Callable[[str], Any]] = {
    str: str,
    str | None: str,
    Groups: _pairs,
    Numbers: _list,
    Sizes: _list,
    Temperatures: lambda text: _list(text) if "," in text else number_or_text(text),
    Names: lambda text: text.split(",") if "," in text else text,
    Template: _json,
}


def _flags(given: argparse.Namespace) -> dict[str, Any]:
    """What was given as flags: table -> key -> value."""
    flags: dict[str, Any] = {}
    if given.lora:
        flags["lora"] = {}
    for name, value in vars(given).items():
        table, dot, key = name.partition(".")
        if dot and value is not _UNSET:
            flags.setdefault(table, {})[key] = value
    if given.out:
        flags["out"] = given.out
    if given.data:
        flags["data"] = [_data(text) for text in given.data]
    if given.evaluate:
        flags["evaluate"] = [_evaluated(text, given.evaluate_limit) for text in given.evaluate]
    elif given.evaluate_limit is not None:
        raise TrainingError("--evaluate-limit goes with --evaluate; in a file, write limit there")
    return flags


def _data(text: str) -> dict[str, Any]:
    match = re.fullmatch(r"(.+)=(-?[0-9.]+)", text)
    return {"path": match[1], "weight": number_or_text(match[2])} if match else {"path": text}


def _evaluated(text: str, limit: int | None) -> dict[str, Any]:
    match = re.fullmatch(r"(.+)=(fused|image|text)", text)
    one = {"path": match[1], "mode": match[2]} if match else {"path": text}
    return one if limit is None else {**one, "limit": limit}


def _summary(config: RunConfig, result: Mapping[str, Any]) -> str:
    loss = "" if result["loss"] is None else f", loss {result['loss']:.4f}"
    lines = [f"{config.out}: {result['steps']} steps in {result['seconds']:.0f} s{loss}"]
    for name, found in result["after"].items():
        before = result["before"].get(name, {})
        lines.append(f"nDCG@5 on {name} at step {result['best_step']} (before training)")
        for budget, value in found.items():
            old = f"{100 * before[budget]:5.1f}" if budget in before else "    -"
            lines.append(f"  ({budget}){' ' * (8 - len(budget))}{100 * value:5.1f}  ({old})")
    return "\n".join(lines)
