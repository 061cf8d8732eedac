"""The model card of a trained checkpoint: data, recipe, scores, versions, in Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from metaembed_rag.model import MetaEmbedEncoder

_FRONT = """---
library_name: sentence-transformers
pipeline_tag: sentence-similarity
tags:
- metaembed
- multi-vector
- late-interaction
---
"""


def write_card(
    path: Path, run: Mapping[str, Any], result: Mapping[str, Any], encoder: MetaEmbedEncoder
) -> None:
    """Write README.md.

    Args:
        path: The file.
        run: What ``run.json`` holds.
        result: What ``result.json`` will hold.
        encoder: The trained encoder.
    """
    lines = [*_head(run, result, encoder), *_data(run), *_scores(result), *_collapse(result)]
    path.write_text(_FRONT + "\n".join([*lines, *_recipe(run)]) + "\n", encoding="utf-8")


def _head(
    run: Mapping[str, Any], result: Mapping[str, Any], encoder: MetaEmbedEncoder
) -> Iterator[str]:
    model, train = run["config"]["model"], run["config"]["train"]
    adapters = "all weights" if run["config"]["lora"] is None else "LoRA, merged"
    yield f"""
# A MetaEmbed encoder from {model["backbone"]}

Ordered multi-vectors for late interaction at a retrieval budget: {encoder.query_vectors} vectors a
query, {encoder.document_vectors} a page, {encoder.dimension} dimensions. It reads
{_joined(sorted(encoder.modalities))}.

Trained with metaembed-rag: {train["steps"]} steps of
{train["batch_size"]} queries on {run["devices"]} device(s), {adapters}. These are the weights of
step {result["best_step"]}.

```python
from metaembed_rag import MetaEmbedEncoder

encoder = MetaEmbedEncoder.from_pretrained("path/of/this/folder")
pages = encoder.encode_document(["..."])  # (1, {encoder.document_vectors}, {encoder.dimension})
```
"""


def _data(run: Mapping[str, Any]) -> Iterator[str]:
    yield "## Data\n"
    yield _columns("set", "weight", "examples", "digest")
    for one in run["data"]:
        yield f"| {one['name']} | {one['weight']:g} | {one['examples']} | `{one['digest']}` |"


def _scores(result: Mapping[str, Any]) -> Iterator[str]:
    if not result["after"]:
        return
    yield "\n## nDCG@5, before and after\n"
    yield _columns("set", "budget", "before", "after")
    for name, found in result["after"].items():
        before = result["before"].get(name, {})
        for budget, value in found.items():
            old = f"{100 * before[budget]:.1f}" if budget in before else "-"
            yield f"| {name} | ({budget}) | {old} | {100 * value:.1f} |"


def _collapse(result: Mapping[str, Any]) -> Iterator[str]:
    if not result["collapse"]:
        return
    yield "\n## Are the vectors of one page different?\n"
    yield "On the last batch; the cosine is taken after each slot has lost its mean.\n"
    yield _columns("budget", "centred cosine", "effective rank", "evenness")
    for budget, one in result["collapse"].items():
        yield (
            f"| ({budget}) | {one['centred_cosine']:.2f} | {one['effective_rank']:.1f} | "
            f"{one['evenness']:.2f} |"
        )


def _recipe(run: Mapping[str, Any]) -> Iterator[str]:
    yield "\n## Recipe\n"
    if run["told"]["command"]:
        yield f"```\n{run['told']['command']}\n```\n"
    yield _columns("key", "value")
    for table in ("model", "lora", "loss", "train"):
        for key, value in (run["config"][table] or {}).items():
            if value is not None:
                shown = str(value).replace("|", "\\|").replace("\n", "\\n")
                yield f"| {table}.{key} | {shown} |"
    versions = [f"{name} {version}" for name, version in run["told"]["versions"].items()]
    yield f"\nVersions: {', '.join(versions)}."


def _columns(*names: str) -> str:
    """The head of a table."""
    return f"| {' | '.join(names)} |\n|{'---|' * len(names)}"


def _joined(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
