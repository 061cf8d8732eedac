"""How the house is built: one table of floors and parts, the homes of heavy libraries, what is
public. ``tests/test_house.py`` holds the code, the README, docs, examples and notebooks to it."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The repository."""

TREES = ("metaembed_rag", "recipes", "benchmarks")
"""Folders whose modules stand on floors; the last two are not part of every distribution."""

FLOORS: tuple[tuple[str, ...], ...] = (
    ("errors", "forks", "progress"),
    ("budget", "html", "metadata", "web"),
    ("filesystems", "options"),
    ("pages", "vectors"),
    ("explanation",),
    ("model", "store", "hits"),
    ("search", "ingest", "opening", "cost", "reranking", "testing", "comparison"),
    ("maintenance", "reopening", "retrieval", "explaining"),
    ("index",),
    ("federation",),
    ("adapters", "tools", "evaluation"),
    ("llama_index", "langchain", "mcp_server", "ray", "training"),
    ("serving",),
    ("cli",),
    ("recipes",),
    ("benchmarks",),
)
"""From the ground up. A file imports from floors below and from its own part, never from a
neighbour on its floor."""

FACADE = "metaembed_rag"
"""The package's own ``__init__``: it names what is public and imports it on first use. It stands
on `federation`; of the package only what is above that may import it."""

HOMES: Mapping[str, frozenset[str]] = {
    "bm25s": frozenset({"search"}),
    "chromadb": frozenset({"store"}),
    "datasets": frozenset({"evaluation", "training"}),
    "fastapi": frozenset({"serving"}),
    "fsspec": frozenset({"filesystems"}),
    "ir_measures": frozenset({"evaluation"}),
    "kreuzberg": frozenset({"pages"}),
    "langchain_core": frozenset({"langchain"}),
    "llama_index": frozenset({"llama_index"}),
    "mcp": frozenset({"mcp_server"}),
    "mcp_types": frozenset({"mcp_server"}),
    "mteb": frozenset({"evaluation"}),
    "peft": frozenset({"training"}),
    "py3langid": frozenset({"search"}),
    "pypdfium2": frozenset({"pages"}),
    "pillow_heif": frozenset({"pages"}),
    "pyarrow": frozenset({"ray"}),
    "qdrant_client": frozenset({"maintenance"}),
    "ray": frozenset({"ray"}),
    "rapidocr": frozenset({"pages"}),
    "scipy": frozenset({"model"}),
    "sentence_transformers": frozenset({"model", "training"}),
    "starlette": frozenset({"mcp_server", "serving"}),
    "Stemmer": frozenset({"search"}),
    "tokenizers": frozenset({"model", "training"}),
    "torch": frozenset({"vectors", "model", "testing", "evaluation", "training"}),
    "transformers": frozenset({"model", "training"}),
    "uvicorn": frozenset({"serving", "mcp_server"}),
}
"""Which parts of the package may import a heavy library; recipes and benchmarks may import any."""

PUBLIC_MODULES = frozenset(
    {
        "metaembed_rag",
        "metaembed_rag.cli",
        "metaembed_rag.comparison",
        "metaembed_rag.errors",
        "metaembed_rag.evaluation",
        "metaembed_rag.evaluation.mteb",
        "metaembed_rag.explanation",
        "metaembed_rag.hits",
        "metaembed_rag.html",
        "metaembed_rag.langchain",
        "metaembed_rag.llama_index",
        "metaembed_rag.model",
        "metaembed_rag.model.pooling",
        "metaembed_rag.options",
        "metaembed_rag.pages",
        "metaembed_rag.ray",
        "metaembed_rag.serving",
        "metaembed_rag.testing",
        "metaembed_rag.training.data",
        "metaembed_rag.vectors.formats",
        "metaembed_rag.vectors.maxsim",
    }
)
"""What others may import, and all that documents, examples and notebooks import: names in these
modules change by the deprecation rule of CONTRIBUTING.md, all others at any time."""

MOST_PARAMETERS = 9
"""Of one function, ``self`` and ``cls`` not counted; ``**keywords`` count as one."""


@cache
def modules() -> dict[str, Path]:
    """Every module of the trees that are here, by its dotted name."""
    found = {}
    for tree in TREES:
        for path in sorted((ROOT / tree).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def part_of(module: str) -> str:
    """The part of the table that a module belongs to, or the facade."""
    tree, _, rest = module.partition(".")
    return (rest.partition(".")[0] or FACADE) if tree == "metaembed_rag" else tree


def floor_of(part: str) -> float:
    """How high a part stands; half a floor above `federation` for the facade."""
    if part == FACADE:
        return floor_of("federation") + 0.5
    return next(height for height, parts in enumerate(FLOORS) if part in parts)


@cache
def syntax(module: str) -> tuple[ast.AST, ...]:
    """Every node of a module's file."""
    return tuple(ast.walk(ast.parse(modules()[module].read_text(encoding="utf-8"))))


@cache
def imported_names(module: str) -> frozenset[str]:
    """Dotted names of all imports in a file, those in functions and under ``TYPE_CHECKING`` too."""
    found: set[str] = set()
    for node in syntax(module):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = (node.module or "", *(alias.name for alias in node.names))
            base = ".".join(filter(None, (_package_above(module, node.level), names[0])))
            found |= {f"{base}.{name}" for name in names[1:]}
    return frozenset(found)


def _package_above(module: str, level: int) -> str:
    """What the dots of a relative import stand for; nothing where there are none."""
    if not level:
        return ""
    steps = level - (modules()[module].name == "__init__.py")
    return module.rsplit(".", steps)[0] if steps else module


def parameters(module: str) -> Iterator[tuple[str, int]]:
    """Name and number of parameters of every function in a module's file."""
    for node in syntax(module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            a = node.args
            every = [*a.posonlyargs, *a.args, *a.kwonlyargs, a.vararg, a.kwarg]
            names = [each.arg for each in every if each and each.arg not in {"self", "cls"}]
            yield node.name, len(names)


@cache
def imported_modules(module: str) -> frozenset[str]:
    """The modules of the trees that a module's file imports, itself left out."""
    names = imported_names(module)
    found = {_module_of(name) for name in names if name.partition(".")[0] in TREES}
    return frozenset(found - {None, module})


def _module_of(name: str) -> str | None:
    """The longest beginning of a dotted name that is a module: the rest names things in it."""
    while name and name not in modules():
        name = name.rpartition(".")[0]
    return name or None


def circles(edges: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """One way round for each module from which a way leads back to it.

    Modules of one circle give the same sorted list once.
    """
    found = set()
    for start in edges:
        came_from = {start: start}
        ahead = [start]
        while ahead:
            here = ahead.pop(0)
            for other in edges[here]:
                if other == start:
                    found.add(tuple(sorted(_way(came_from, here))))
                    ahead.clear()
                    break
                if other not in came_from:
                    came_from[other] = here
                    ahead.append(other)
    return [list(circle) for circle in sorted(found)]


def _way(came_from: Mapping[str, str], end: str) -> Iterator[str]:
    yield end
    while came_from[end] != end:
        end = came_from[end]
        yield end


def drawn_floors() -> str:
    """The floors as the README draws them, in one line."""
    return " ← ".join(f"`{', '.join(parts)}`" for parts in FLOORS)


def exists(name: str) -> bool:
    """Whether a dotted name is a module that can be imported."""
    return importlib.util.find_spec(name) is not None
