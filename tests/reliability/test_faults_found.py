"""The table of faults in ``docs/reliability.md`` names tests that are there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reliability.md"
_TITLE = "## Faults that were found"


def rows() -> dict[str, str]:
    """What is said of each fault's tests, by the fault."""
    table = PAGE.read_text(encoding="utf-8").partition(_TITLE)[2].partition("\n## ")[0]
    cells = [line.split(" | ") for line in table.splitlines() if line.startswith("| ")]
    return {fault.strip("| "): tests.strip("| ") for fault, tests in cells[1:]}


def named(tests: str) -> Iterator[tuple[str, str]]:
    """Modules and the tests of them that a cell names, by patterns; ``*`` for a whole module."""
    module, alone = "", False
    for word in re.findall(r"`([^`]+)`", tests):
        if word.startswith("tests/"):
            if alone:
                yield module, "*"
            module, alone = word, True
        elif word.startswith("test_"):
            yield module, word
            alone = False
    if alone:
        yield module, "*"


def names_in(module: str) -> list[str]:
    """The tests of the modules of a pattern, of all below a folder."""
    paths = [one for path in ROOT.glob(module) for one in (path, *path.rglob("*.py"))]
    found = [path.read_text(encoding="utf-8") for path in paths if path.suffix == ".py"]
    return re.findall(r"^(?:async )?def (test_\w+)\(", "\n".join(found), re.MULTILINE)


def test_the_table_is_read():
    assert len(rows()) > 40
    assert list(named("of a, `tests/a.py`: `test_b`, `test_c_*` (2); `tests/d`; `make soak`")) == [
        ("tests/a.py", "test_b"),
        ("tests/a.py", "test_c_*"),
        ("tests/d", "*"),
    ]


@pytest.mark.parametrize("fault", rows())
def test_the_tests_that_hold_a_fault_are_there(fault):
    found = list(named(rows()[fault]))
    assert found, "no test is named"
    for module, name in found:
        assert any(fnmatch(one, name) for one in names_in(module)), f"{module} has no {name}"
