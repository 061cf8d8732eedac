"""A Ray cluster of two workers on this machine; and writers that are killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from metaembed_rag.index import PageIndex
from metaembed_rag.testing import FakeEncoder
from tests.ray import kill_the_writer

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
FILES = ROOT / "examples" / "files"


def python(*arguments: object, **more: str) -> subprocess.CompletedProcess[str]:
    """A program of its own: Ray's warnings are none of ours, and its processes end with it."""
    words = [sys.executable, "-W", "ignore", "-m", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **more}
    return subprocess.run(
        words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=280
    )


@pytest.fixture(scope="module")
def lost(tmp_path_factory) -> dict[str, Any]:
    """What came of a run one of whose two workers was killed."""
    pytest.importorskip("ray")
    done = python("tests.ray.lose_a_worker", tmp_path_factory.mktemp("lost"))
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
def test_a_worker_that_is_killed_loses_nothing_and_gives_nothing_twice(lost):
    assert lost["killed"] == 1
    assert lost["workers"] == 3  # another one came in its place
    assert lost["rows"] == lost["distinct_rows"] == 120
    assert lost["acknowledged"] == lost["stored"] == 120
    assert lost["report"].startswith("120 added, 0 updated, 0 unchanged")
    assert lost["again"].startswith("0 added, 0 updated, 120 unchanged")


@pytest.mark.slow
def test_workers_with_another_checkpoint_are_refused_with_what_to_do(lost):
    assert lost["refused"].startswith("ModelMismatchError: this worker's 'mini' is another model")
    assert "put the same checkpoint and the same version of metaembed-rag" in lost["refused"]


@pytest.mark.slow
def test_the_command_line_indexes_by_ray_and_finds_all_unchanged_without_it(tmp_path):
    pytest.importorskip("ray")
    docs, short = tmp_path / "docs", os.environ.get("TMPDIR", "/tmp")
    docs.mkdir()
    for name in ("retrieval_notes.md", "co2_chart.png"):
        (docs / name).write_bytes((FILES / name).read_bytes())
    words = ("metaembed_rag.cli", "index", docs, "--index", tmp_path / "i", "--model", "mini")
    by_ray = (*words, "--ray", "--ray-workers", 1, "--json", "--quiet")
    first = python(*by_ray, RAY_TMPDIR=short)
    assert first.returncode == 0, first.stderr
    found = json.loads(first.stdout)
    assert (found["added"], found["skipped"]) == (found["pages"], [])
    again = json.loads(python(*words, "--json", "--quiet").stdout)
    assert (again["unchanged"], again["added"]) == (found["pages"], 0)
    assert again["acknowledged"] == sorted(found["acknowledged"], key=again["acknowledged"].index)


@pytest.mark.parametrize("after", [10, 90, 150])
def test_a_writer_that_is_killed_loses_no_acknowledged_page(tmp_path, after):
    done = python("tests.ray.kill_the_writer", tmp_path / "i", after)
    told = done.stdout.split()
    assert done.returncode == -9, done.stderr
    assert len(told) >= after
    with PageIndex.open(tmp_path / "i", FakeEncoder(**kill_the_writer.SHAPE)) as index:
        assert set(told) <= set(index.ids())
        assert index.check().findings == []
    done = python("tests.ray.kill_the_writer", tmp_path / "i", 1000)
    assert done.returncode == 0
    with PageIndex.open(tmp_path / "i", FakeEncoder(**kill_the_writer.SHAPE)) as index:
        assert len(index.ids()) == kill_the_writer.PAGES
