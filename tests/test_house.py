"""How the house is built: floors, circles, homes, public names, the tree of errors."""

from __future__ import annotations

import importlib
import inspect
import json
import re
import subprocess
import sys
import tomllib

import pytest

import metaembed_rag
from metaembed_rag import errors
from tests.support import house

README = (house.ROOT / "README.md").read_text(encoding="utf-8")
HOUSE = README.partition("## How the house is built\n")[2].partition("\n## ")[0]

DOCUMENTS = sorted(
    path
    for pattern in (
        *("*.md", "docs/**/*.md", "examples/*.py", "notebooks/*.ipynb"),
        "packages/**/*.md",
    )
    for path in house.ROOT.glob(pattern)
)


def test_every_part_stands_on_one_floor_and_every_floor_has_only_parts_that_are_there():
    table = [part for floor in house.FLOORS for part in floor]
    assert len(table) == len(set(table))
    here = {tree for tree in house.TREES[1:] if (house.ROOT / tree).is_dir()}
    parts = {house.part_of(module) for module in house.modules()} - {house.FACADE}
    assert parts == set(table) - (set(house.TREES[1:]) - here)


def test_a_file_imports_only_from_below_and_from_its_own_part():
    def allowed(part: str, other: str) -> bool:
        return part == other or house.floor_of(other) < house.floor_of(part)

    up = [
        f"{module} imports {other}"
        for module in house.modules()
        for other in sorted(house.imported_modules(module))
        if not allowed(house.part_of(module), house.part_of(other))
    ]
    assert up == []


def test_no_file_comes_back_to_itself_by_its_imports():
    edges = {module: house.imported_modules(module) for module in house.modules()}
    assert house.circles(edges) == []


def test_a_circle_is_found_wherever_it_begins_and_a_diamond_is_none():
    edges = {"a": ["b", "c"], "b": ["d"], "c": ["d"], "d": ["e"], "e": ["f"], "f": ["d"]}
    assert house.circles(edges) == [["d", "e", "f"]]
    assert house.circles({**edges, "f": []}) == []


def test_heavy_libraries_stay_at_home():
    astray = [
        f"{module} imports {name}"
        for module in house.modules()
        for name in sorted(house.imported_names(module))
        if (part := house.part_of(module)) not in house.TREES[1:]
        and part not in house.HOMES.get(name.partition(".")[0], {part})
    ]
    assert astray == []


def test_no_function_has_too_many_parameters():
    assert [
        f"{module}: {function} has {count}"
        for module in house.modules()
        for function, count in house.parameters(module)
        if count > house.MOST_PARAMETERS
    ] == []


def test_the_readme_draws_the_floors_of_the_table():
    assert house.drawn_floors() in " ".join(HOUSE.split())


def test_the_readme_says_of_every_part_what_it_is():
    said = dict(re.findall(r"^(?:[├└]── )?([\w-]+)(?:\.py|/\S*)? +(\S.*)$", HOUSE, re.MULTILINE))
    parts = [part for floor in house.FLOORS for part in floor]
    assert [part for part in parts if not said.get(part)] == []
    drawn = set(re.findall(r"^[├└]── (\w+)", HOUSE, re.MULTILINE))
    assert drawn - set(parts) == {"__init__", "checkpoints"}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_documents_examples_and_notebooks_use_public_modules_only(path):
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        text = "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])
    used = re.findall(r"^ *(?:from|import) (metaembed_rag[\w.]*)", text, re.MULTILINE)
    used += re.findall(r"-m (metaembed_rag[\w.]*)", text)
    assert set(used) - house.PUBLIC_MODULES == set()


@pytest.mark.parametrize("name", sorted(house.PUBLIC_MODULES))
def test_a_public_module_is_there(name):
    assert house.exists(name)


@pytest.mark.parametrize("path", [*DOCUMENTS, house.ROOT / "Makefile"], ids=lambda path: path.name)
def test_every_documented_installation_is_one_that_works(path):
    """From a clone, with extras that exist; one of them brings Chroma."""
    text = path.read_text(encoding="utf-8")
    made = path.name == "CHANGELOG.md"  # it tells of former commands
    assert made or ("install 'metaembed-rag" not in text and "install metaembed-rag" not in text)
    project = tomllib.loads((house.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for named in re.findall(r"(?:pip install|PIP\))[^'\n]*'\.\[([\w,-]+)\]'", text):
        extras = set(named.split(","))
        assert extras <= set(project["optional-dependencies"]), named
        assert extras & {"local", "chroma", "client", "all"}, named


def test_an_error_names_extras_that_exist():
    project = tomllib.loads((house.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(errors._EXTRAS) <= set(project["optional-dependencies"])


def test_importing_the_package_loads_nothing_heavy():
    heavy = ["torch", "chromadb", "transformers", "sentence_transformers", "numpy", "PIL"]
    code = f"import sys, metaembed_rag; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_the_public_names_are_those_that_the_documentation_promises():
    assert set(metaembed_rag.__all__) == {
        "AddReport",
        "FederatedIndex",
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


def test_the_version_is_the_same_wherever_it_stands():
    def said(file: str, pattern: str) -> list[str]:
        text = (house.ROOT / file).read_text(encoding="utf-8")
        return re.findall(pattern, text, re.MULTILINE)

    version = metaembed_rag.__version__
    assert said("pyproject.toml", r'^version = "(.+)"$') == [version]
    assert said("CITATION.cff", r"^version: (.+)$") == [version]
    assert said("README.md", r"note += \{Version (.+)\}") == [version]
    assert version in said("CHANGELOG.md", r"^## \[(\d.*?)\] - \d{4}-\d\d-\d\d$")


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
    with pytest.raises(errors.MissingExtraError, match=r"pip install '\.\[hybrid\]'"):
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
