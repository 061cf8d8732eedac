"""What `make dist` and `make packages` refuse, and what they say."""

from __future__ import annotations

import subprocess
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

import metaembed_rag
from tests.support.house import ROOT

DIST = ROOT / ".ci" / "dist"

pytestmark = pytest.mark.skipif(not DIST.exists(), reason="not part of the distribution")


@pytest.fixture(scope="module")
def dist() -> ModuleType:
    """The program as a module; no bytecode is left beside it."""
    loader = SourceFileLoader("dist_program", str(DIST))
    spec = spec_from_loader("dist_program", loader)
    assert spec is not None
    module = module_from_spec(spec)
    exec(compile(DIST.read_text(encoding="utf-8"), str(DIST), "exec"), module.__dict__)
    return module


def test_all_packages_are_built_metaembed_rag_first(dist):
    names = list(dist.folders())
    assert names[0] == "metaembed-rag"
    assert names[1:] == sorted(path.parent.name for path in ROOT.glob("packages/*/pyproject.toml"))


def test_the_tag_names_the_version_of_what_is_built(dist):
    dist.check_tag(f"v{metaembed_rag.__version__}")
    with pytest.raises(dist.Failed, match=r"v9\.9\.9 is not of the version"):
        dist.check_tag("v9.9.9")


def test_packages_of_several_versions_are_refused(dist, monkeypatch):
    versions = iter(["1.0", "1.1"])
    monkeypatch.setattr(dist, "folders", lambda: {"metaembed-rag": ROOT, "other": ROOT})
    monkeypatch.setattr(dist, "project", lambda _: {"project": {"version": next(versions)}})
    with pytest.raises(dist.Failed, match="different versions"):
        dist.version()


def test_a_failure_is_a_sentence_and_the_exit_code_1(tmp_path):
    program = [sys.executable, str(DIST), "suites", "--out", str(tmp_path)]
    done = subprocess.run(program, capture_output=True, text=True)
    assert done.returncode == 1
    assert "is not in" in done.stderr and "make dist builds it" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_python_that_is_not_here_is_named_and_none_at_all_is_a_failure(dist, capsys, tmp_path):
    assert dist.main(["try", "--python", "3.99", "--out", str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert "Python 3.99: NOT TRIED, because it is not on this machine" in said.out
    assert "none of 3.99 is on this machine" in said.err


def test_this_python_is_found(dist):
    assert dist.interpreter(f"{sys.version_info.major}.{sys.version_info.minor}") == Path(
        sys.executable
    )


def test_an_environment_is_removed_also_where_what_it_is_for_fails(dist, tmp_path, monkeypatch):
    monkeypatch.setattr(dist, "run", lambda *_, **__: "")
    with pytest.raises(RuntimeError), dist.environment(tmp_path, "one", Path("python")) as place:
        assert place.is_dir()
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_the_readme_has_a_first_program(dist):
    assert "PageIndex" in dist.first_program(ROOT / "README.md")
