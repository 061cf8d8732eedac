"""The benchmarks of what became slower, and of what checksums cost."""

from __future__ import annotations

import pytest

from benchmarks import results
from benchmarks.search import before_after, checksums


def test_ratios_are_of_runs_that_follow_each_other():
    cpu = {"before": (1.0, 2.0, 4.0), "after": (1.0, 4.0, 12.0)}
    taken = {tree: [{"cpu": one, "wall": 1.0} for one in of] for tree, of in cpu.items()}
    found = before_after.compared(taken)
    assert found["cpu"] == {"before": 2.0, "after": 4.0, "ratio": 2.0, "quartiles": [1.5, 2.5]}
    assert found["wall"]["ratio"] == 1.0


def test_the_same_checkout_does_the_same_work_twice(tmp_path):
    folders = dict.fromkeys(before_after.TREES, results.CHECKOUT)
    runner = before_after.Runner(folders, 1, tmp_path)
    rows = runner.compare("copy:", "map_vectors", pages=500)
    assert [one["work"] for one in rows][:2] == ["copy: write", "copy: open"]
    assert {one["pages"] for one in rows} == {500}
    assert all(one["cpu"]["ratio"] > 0 and one["unit"] == "ms" for one in rows)


def test_a_work_that_fails_is_an_error(tmp_path, capfd):
    runner = before_after.Runner({"after": results.CHECKOUT}, 1, tmp_path)
    with pytest.raises(RuntimeError, match="search of"):
        runner.once("after", "search", tmp_path / "none", pages="many")
    assert "invalid int value" in capfd.readouterr().err


def test_the_processor_time_of_a_work_counts_its_own_processes(tmp_path):
    runner = before_after.Runner({"after": results.CHECKOUT}, 1, tmp_path)
    found = runner.once("after", "store", tmp_path / "index", pages=3)
    assert found["pages"] == 3
    assert found["ways"][""]["cpu"] > 0


def test_checksums_are_timed_when_they_are_made_and_when_they_are_compared(tmp_path):
    rows = list(checksums.of_mapped(tmp_path / "mapped", 1000))
    rows += checksums.of_pictures(tmp_path / "pictures")
    assert {one["when"] for one in rows} == {"add", "open", "read", "check"}
    assert all(one["cpu_ms"] >= 0 for one in rows)
