"""The run of a million pages, with a few dozen."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.search import scaling, scaling_pages, scaling_plot, scaling_truth
from benchmarks.search.scaling_pages import ScalingPages
from metaembed_rag.vectors.formats import quantize

REAL, R, D = 20, 8, 32


@pytest.fixture
def encoded(tmp_path: Path) -> Path:
    """A file as ``tex_vectors`` writes it, and the texts beside it."""
    generator = np.random.default_rng(0)

    def unit(*shape: int) -> np.ndarray:
        made = generator.standard_normal(shape).astype(np.float32)
        return made / np.linalg.norm(made, axis=-1, keepdims=True)

    pages = quantize(unit(REAL, R, D))
    given = {"values": pages.values, "scales": pages.scales, "queries": unit(170, 16, D)}
    np.savez(tmp_path / "tex.npz", **given, fingerprint="f" * 32)
    texts = {"texts": [f"page {n} fox" for n in range(REAL)], "titles": ["fox"] * 170}
    (tmp_path / "tex.json").write_text(json.dumps(texts))
    return tmp_path / "tex.npz"


def test_any_part_of_the_pages_is_the_same_and_copies_are_near_their_originals(
    encoded, monkeypatch
):
    monkeypatch.setattr(scaling_pages, "CHUNK", 7)
    pages = ScalingPages(encoded, 4)
    whole = pages.block(0, 60)
    assert whole.shape == (60, 4, D)
    assert np.array_equal(pages.block(13, 31), whole[13:31])
    cosines = (whole[:REAL] * whole[REAL : 2 * REAL]).sum(-1)
    assert 0.8 < cosines.mean() < 0.95
    assert not np.array_equal(whole[REAL], whole[2 * REAL])
    assert pages.text(REAL + 3) == "page 3 fox 24"
    assert len({pages.text(row) for row in range(60)}) == 60  # of equal texts one is encoded


def test_a_size_is_stored_searched_and_drawn(encoded, tmp_path):
    place = tmp_path / "40x4" / "ours"
    place.mkdir(parents=True)
    scaling_truth.missing(tmp_path, encoded, [(40, 4)])
    for step in ("ingest", "search"):
        job = ["ours", step, "40", "4", str(place), "60"]
        scaling.job(argparse.Namespace(vectors=encoded, job=job))
    stored, searched = (json.loads((place / f"{s}.json").read_text()) for s in ("ingest", "search"))
    assert stored["pages"] == 40
    assert stored["disk_bytes"] > 40 * 4 * (D + 2)
    ways = {way["setting"]: way["recall"] for way in searched["ways"]}
    pages = ScalingPages(encoded, 4)
    query = pages.queries[scaling.CALIBRATED]
    scores = (query @ pages.block(0, 40).swapaxes(1, 2)).max(-1).sum(-1)
    truth = json.loads(scaling_truth.truth_of(tmp_path, 40, 4).read_text())
    assert truth[0] == np.argsort(-scores)[:10].tolist()  # each page has its own vectors
    assert ways["exhaustive"] == 1.0
    assert ways["auto 0.99"] > 0.9
    row = {"engine": "ours", "asked": 40, "vectors": 4, **stored, **searched}
    scaling_plot.draw([row, {**row, "failed": "x"}], tmp_path / "plot.svg")
    assert "recall 0.95" in (tmp_path / "plot.svg").read_text()


def test_one_reading_gives_the_truth_of_each_size(encoded, monkeypatch):
    monkeypatch.setattr(scaling_truth, "CHUNK", 7)
    pages = ScalingPages(encoded, 4)
    found = dict(scaling_truth.best(pages, [60, 25, 60]))
    assert [*found] == [25, 60]
    queries = pages.queries[scaling.CALIBRATED : scaling.CALIBRATED + scaling.TIMED]
    for size, rows in found.items():
        block = pages.block(0, size)
        scores = np.einsum("qid,pjd->qpij", queries, block).max(-1).sum(-1)
        assert rows == np.argsort(-scores, axis=1)[:, :10].tolist()


def test_an_index_grows_from_size_to_size_and_only_what_was_added_counts(encoded, tmp_path):
    where = ["--vectors", str(encoded), "--work", str(tmp_path / "work"), "--engines", "ours"]
    sizes = ["--run", "20x4", "--run", "40x4", "--grow"]
    subprocess.run([sys.executable, "-m", "benchmarks.search.scaling", *where, *sizes], check=True)
    small, large = (
        json.loads((tmp_path / "work" / size / "ours" / "measured.json").read_text())
        for size in ("20x4", "40x4")
    )
    assert (small["pages_before"], small["pages"]) == (0, 20)
    assert (large["pages_before"], large["pages"]) == (20, 40)
    assert {way["recall"] for way in large["ways"]} >= {1.0}
    assert [p.parts[-3] for p in tmp_path.glob("work/*/ours/store")] == ["40x4"]


def test_the_rate_is_that_of_the_pages_which_were_added(tmp_path, monkeypatch):
    class Growing:
        folder = tmp_path

        def there(self) -> int:
            return 20

        def ingest(self, count: int, until: float) -> int:
            clock.append(clock[-1] + 4)
            return count

    clock = [100.0]
    monkeypatch.setattr(scaling.time, "monotonic", lambda: clock[-1])
    told = scaling._ingest(Growing(), 40, 60, 0)
    assert (told["pages_before"], told["pages"], told["pages_per_second"]) == (20, 40, 5.0)


@pytest.mark.parametrize(
    ("program", "limits", "said"),
    [
        ("import time; time.sleep(60)", {"memory": 0, "limit": 60}, "0 GB of memory"),
        ("import time; time.sleep(60)", {"memory": 9, "limit": 0.1}, "minutes"),
        ("raise SystemExit('no room')", {"memory": 9, "limit": 60}, "no room"),
        ("pass", {"memory": 9, "limit": 60}, ""),
    ],
)
def test_what_exceeds_a_limit_or_fails_is_said(program, limits, said, tmp_path):
    given = argparse.Namespace(work=tmp_path, **limits)
    found = scaling._limited([sys.executable, "-c", program], given)
    assert said in found
    assert bool(found) == bool(said)
