"""How the house is built: floors, homes, public names, the tree of errors."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import metaembed_rag
from metaembed_rag import errors

PACKAGE = Path(metaembed_rag.__file__).parent

FLOORS = [
    {"errors", "budget", "progress"},
    {"pages", "ocr", "multivector", "formats", "pooling", "phrases"},
    {"maxsim", "model", "store", "testing", "hits", "lexical", "fusion", "display", "inputs"},
    {"adding", "cascade"},
    {"searching", "calibrating"},
    {"index", "adapters", "plan"},
    {"llama_index", "langchain", "training", "evaluation"},
    {"cli"},
]
"""From the ground up; a module imports only from its own part and from floors below."""

SAME_FLOOR = {("budget", "errors"), ("store", "hits"), ("store", "lexical"), ("ocr", "pages")}
SAME_FLOOR |= {("formats", "multivector"), ("display", "hits"), ("hits", "display")}
SAME_FLOOR |= {("training", "evaluation"), ("adapters", "index")}
"""Neighbours that may use each other: the first imports the second."""

HOMES = {
    "chromadb": {"store"},
    "pypdfium2": {"pages", "training"},
    "rapidocr": {"ocr"},
    "sentence_transformers": {"model", "training"},
    "transformers": {"model", "training"},
    "tokenizers": {"model", "training"},
    "llama_index": {"llama_index"},
    "langchain_core": {"langchain"},
    "ir_measures": {"evaluation"},
    "mteb": {"evaluation"},
    "bm25s": {"lexical"},
    "Stemmer": {"lexical"},
}
"""Which part may import a heavy library."""


def part_of(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    return relative.parts[0].removesuffix(".py")


def modules() -> list[Path]:
    return [path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"]


def imported(path: Path) -> set[str]:
    """Dotted names of all imports in a file, those inside functions too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def floor(part: str) -> int:
    return next(i for i, parts in enumerate(FLOORS) if part in parts)


def test_every_module_stands_on_a_floor():
    assert {part_of(path) for path in modules()} - {"checkpoints"} <= set().union(*FLOORS)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path):
    part = part_of(path)
    for name in imported(path):
        if name.startswith("metaembed_rag."):
            other = name.split(".")[1]
            if other in {"__version__", part}:
                continue
            below = floor(other) < floor(part) or (part, other) in SAME_FLOOR
            assert below, f"{part} imports {name}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_heavy_libraries_stay_at_home(path):
    for name in imported(path):
        homes = HOMES.get(name.split(".")[0])
        assert homes is None or part_of(path) in homes, f"{part_of(path)} imports {name}"


def test_importing_the_package_loads_nothing_heavy():
    heavy = ["torch", "chromadb", "transformers", "sentence_transformers", "numpy", "PIL"]
    code = f"import sys, metaembed_rag; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_the_public_names_are_those_that_the_documentation_promises():
    assert set(metaembed_rag.__all__) == {
        "AddReport",
        "Hit",
        "Hits",
        "MetaEmbedEncoder",
        "MetaEmbedError",
        "Page",
        "PageIndex",
        "RetrievalBudget",
        "__version__",
        "load_pages",
    }
    for name in metaembed_rag.__all__:
        assert getattr(metaembed_rag, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = metaembed_rag.nothing


def test_the_tree_of_errors_is_the_one_that_the_docstring_draws():
    def lines(cls: type, depth: int = 0) -> list[tuple[str, int]]:
        below = [line for child in cls.__subclasses__() for line in lines(child, depth + 1)]
        return [(cls.__name__, depth), *below]

    drawn = re.findall(r"^    ([│├└─ ]*)(\w+Error)\b", errors.__doc__ or "", re.MULTILINE)
    tree = [(name, len(prefix) // 4) for prefix, name in drawn]
    real = [line for line in lines(errors.MetaEmbedError) if hasattr(errors, line[0])]
    assert tree == real


def test_a_missing_extra_names_the_line_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "bm25s", None)
    with pytest.raises(errors.MissingExtraError, match=r"pip install 'metaembed-rag\[hybrid\]'"):
        errors.require("bm25s")


@pytest.mark.parametrize(
    "package", ["metaembed_rag", "metaembed_rag.llama_index", "metaembed_rag.langchain"]
)
def test_every_public_name_and_method_says_what_it_is(package):
    module = importlib.import_module(package)
    for name in set(module.__all__) - {"__version__"}:
        value = getattr(module, name)
        assert inspect.getdoc(value), name
        own = vars(value).items() if inspect.isclass(value) else ()
        public = [(n, v) for n, v in own if not n.startswith("_") and inspect.isroutine(v)]
        for method, routine in public:
            assert inspect.getdoc(routine), f"{name}.{method}"
