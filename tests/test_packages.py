"""The packages of packages/ say what they are, name what there is, and are released together."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

import metaembed_rag
from tests.support.house import ROOT

FOLDERS = sorted(path.parent for path in ROOT.glob("packages/*/pyproject.toml"))
WORKFLOWS = ROOT / ".github" / "workflows"

pytestmark = pytest.mark.skipif(not FOLDERS, reason="not part of the distribution")
each = pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)


def project(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))


def module(folder: Path) -> Path:
    """The file that names what a package gives."""
    hub = project(folder)["tool"].get("llamahub", {})
    name = hub.get("import_path", folder.name.replace("-", "_"))
    return folder.joinpath(*name.split(".")) / "__init__.py"


def public(file: Path) -> list[str]:
    """What ``__all__`` of a file lists."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    raise AssertionError(f"{file} has no __all__")


def test_the_five_packages_are_there():
    assert [folder.name for folder in FOLDERS] == [
        "langchain-metaembed",
        "llama-index-embeddings-metaembed",
        "llama-index-postprocessor-metaembed-rerank",
        "llama-index-retrievers-metaembed",
        "llama-index-vector-stores-metaembed",
    ]
    assert [project(folder)["project"]["name"] for folder in FOLDERS] == [
        folder.name for folder in FOLDERS
    ]


@each
def test_a_package_has_the_version_of_metaembed_rag_and_takes_no_other_minor_version(folder):
    about = project(folder)["project"]
    assert about["version"] == metaembed_rag.__version__
    needs = {one.name: one for one in map(Requirement, about["dependencies"])}
    ours = needs["metaembed-rag"]
    major, minor = Version(metaembed_rag.__version__).release[:2]
    assert ours.specifier.contains(metaembed_rag.__version__)
    assert not ours.specifier.contains(f"{major}.{minor + 1}.0")
    extras = project(ROOT)["project"]["optional-dependencies"]
    (framework,) = ours.extras
    assert {str(one) for one in map(Requirement, extras[framework])} <= {
        str(one) for one in needs.values()
    }


@each
def test_a_package_takes_the_pythons_of_metaembed_rag_and_carries_its_licence(folder):
    about, ours = project(folder)["project"], project(ROOT)["project"]
    for key in ("requires-python", "license"):
        assert about[key] == ours[key]
    pythons = [one for one in ours["classifiers"] if one.startswith("Programming Language")]
    assert set(pythons) <= set(about["classifiers"])
    assert (folder / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


@each
def test_a_package_gives_public_names_of_metaembed_rag_and_nothing_of_its_own(folder):
    names = public(module(folder))
    tree = ast.parse(module(folder).read_text(encoding="utf-8"))
    (imported,) = (node for node in tree.body if isinstance(node, ast.ImportFrom))
    home = str(imported.module)
    assert home in {"metaembed_rag.langchain", "metaembed_rag.llama_index"}
    assert sorted(alias.name for alias in imported.names) == sorted(names)
    assert set(names) <= set(public(ROOT.joinpath(*home.split(".")) / "__init__.py"))
    assert len(tree.body) == 3  # docstring, import, __all__


@each
def test_a_package_of_llama_index_lies_in_its_namespaces_and_names_its_class(folder):
    hub = project(folder)["tool"].get("llamahub")
    assert (hub is None) == folder.name.startswith("langchain-")
    if hub is not None:
        assert set(hub["class_authors"]) <= set(public(module(folder)))
        above = [path / "__init__.py" for path in module(folder).parents[1:3]]
        assert not any(path.exists() for path in above)  # a namespace has none
        assert hub["contains_example"] == bool(list(folder.glob("examples/*.py")))


@each
def test_a_package_has_tests_an_example_and_a_program_in_its_readme(folder):
    assert list(folder.glob("tests/test_*.py")) and list(folder.glob("examples/*.py"))
    readme = (folder / "README.md").read_text(encoding="utf-8")
    program = re.search(r"```python\n(.*?)```", readme, re.DOTALL)
    assert program is not None
    compile(program[1], "README.md", "exec")
    for link in re.findall(r"\]\(([^)#:]+)\)", readme):
        assert (folder / link).exists(), link


def test_a_release_publishes_every_package_and_only_when_it_is_switched_on():
    jobs = yaml.safe_load((WORKFLOWS / "release.yml").read_text(encoding="utf-8"))["jobs"]
    thin = jobs["publish-thin"]
    assert thin["strategy"]["matrix"]["package"] == [folder.name for folder in FOLDERS]
    assert (thin["needs"], jobs["publish"]["needs"]) == ("publish", "build")
    assert "vars.PUBLISH_TO_PYPI == 'true'" in jobs["publish"]["if"]
    assert "tag" in jobs["publish"]["if"]
    for name in ("publish", "publish-thin"):
        assert jobs[name]["permissions"] == {"id-token": "write"}
        assert jobs[name]["environment"].startswith("pypi-")
        assert jobs[name]["steps"][-1]["uses"].startswith("pypa/gh-action-pypi-publish@")
    assert "permissions" not in jobs["build"]  # what builds and runs code can publish nothing


@pytest.mark.parametrize("file", sorted(WORKFLOWS.glob("*.yml")), ids=lambda path: path.name)
def test_a_workflow_runs_targets_and_programs_that_are_there(file):
    text = file.read_text(encoding="utf-8")
    assert yaml.safe_load(text)["permissions"] == {"contents": "read"}
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for line in re.findall(r"run: make ([^\n]+)", text):
        for target in (word for word in line.split() if "=" not in word):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for program in re.findall(r"run: (\.ci/\w+)", text):
        assert (ROOT / program).stat().st_mode & 0o100, program


TEXTS = sorted(
    path
    for pattern in (
        *("*.md", "docs/**/*.md", "notebooks/*.ipynb", "examples/*.py", "recipes/**/*.md"),
        *("packages/**/*.md", "packages/**/*.py", "metaembed_rag/**/*.py"),
        *("metaembed_rag/**/*.md", "metaembed_rag/**/*.html"),
    )
    for path in ROOT.glob(pattern)
    if path.name != "CHANGELOG.md"  # it tells of former commands
)
ON_NO_INDEX = re.compile(
    r"(?:pip3? install|pipx install|uv add|uv pip install|poetry add)(?: -{1,2}[\w-]+)* "
    r"""["']?(?:metaembed[-_]rag|langchain-metaembed|llama-index-[\w-]*metaembed)"""
)


def test_nobody_is_told_to_install_from_an_index_what_no_index_has():
    told = {
        str(path.relative_to(ROOT)): found
        for path in TEXTS
        if (found := ON_NO_INDEX.findall(path.read_text(encoding="utf-8")))
    }
    assert told == {}


@pytest.mark.parametrize(
    ("line", "is_told"),
    [
        ("pip install 'metaembed-rag[local]'", True),
        ("pip install --upgrade langchain-metaembed", True),
        ("uv add llama-index-retrievers-metaembed", True),
        ("pip install '.[local]' ./packages/langchain-metaembed", False),
        ("pip install '.[local]' in a clone of metaembed-rag", False),
    ],
)
def test_what_counts_as_telling_so(line, is_told):
    assert bool(ON_NO_INDEX.search(line)) == is_told


def test_the_extra_chroma_is_the_chroma_of_the_extra_local():
    extras = project(ROOT)["project"]["optional-dependencies"]
    assert set(extras["chroma"]) <= set(extras["local"])
