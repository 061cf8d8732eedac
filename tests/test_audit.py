"""What `make check` says about known vulnerabilities is never more than what was checked."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

AUDIT = Path(__file__).parents[1] / ".ci" / "audit"

pytestmark = pytest.mark.skipif(not AUDIT.exists(), reason="not part of the distribution")

BAD = {"id": "PYSEC-1", "fix_versions": ["2.0"]}


def audit(tmp_path: Path, canary: object, every: object) -> tuple[int, str]:
    """Run the audit with a pip-audit that gives these answers."""
    program = tmp_path / "pip-audit"
    answers = json.dumps([canary, every])
    program.write_text(
        f"#!{sys.executable}\nimport json, sys\n"
        f"canary, every = json.loads({answers!r})\n"
        f"print(json.dumps(every if '--local' in sys.argv else canary))\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    run = [sys.executable, str(AUDIT)]
    environment = {**os.environ, "BIN": str(tmp_path)}
    done = subprocess.run(run, capture_output=True, text=True, env=environment)
    assert done.stderr == ""
    return done.returncode, done.stdout


def answer(*packages: dict[str, object]) -> dict[str, object]:
    return {"dependencies": list(packages)}


KNOWN = answer({"name": "jinja2", "version": "2.4.1", "vulns": [BAD]})


@pytest.mark.parametrize(
    "canary",
    [
        answer({"name": "jinja2", "version": "2.4.1", "vulns": []}),
        answer({"name": "jinja2", "skip_reason": "Dependency not found on PyPI"}),
        "no answer at all",
    ],
)
def test_without_advisories_it_says_that_nothing_was_checked(tmp_path: Path, canary) -> None:
    clean = answer({"name": "torch", "version": "2.0", "vulns": []})
    code, out = audit(tmp_path, canary, clean)
    assert (code, "NOT CHECKED" in out, "0 known problems" in out) == (0, True, False)


def test_a_known_problem_fails_and_is_named(tmp_path: Path) -> None:
    every = answer({"name": "torch", "version": "1.0", "vulns": [BAD]})
    code, out = audit(tmp_path, KNOWN, every)
    assert (code, "torch 1.0: PYSEC-1 (fixed in: 2.0)" in out) == (1, True)


def test_what_is_checked_and_what_is_not_is_counted(tmp_path: Path) -> None:
    every = answer(
        {"name": "torch", "version": "2.0", "vulns": []},
        {"name": "metaembed-rag", "skip_reason": "Dependency not found on PyPI"},
    )
    code, out = audit(tmp_path, KNOWN, every)
    assert code == 0
    assert "1 packages checked, 0 known problems" in out
    assert "not checked: metaembed-rag" in out
    assert audit(tmp_path, KNOWN, "no answer at all")[0] == 1
