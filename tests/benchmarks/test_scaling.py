"""The run of a million pages, with a few dozen."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.search import scaling, scaling_pages, scaling_plot
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
    truth = json.loads((tmp_path / "40x4" / "truth.json").read_text())
    assert truth[0] == np.argsort(-scores)[:10].tolist()  # each page has its own vectors
    assert ways["exhaustive"] == 1.0
    assert ways["auto 0.99"] > 0.9
    row = {"engine": "ours", "asked": 40, "vectors": 4, **stored, **searched}
    scaling_plot.draw([row, {**row, "failed": "x"}], tmp_path / "plot.svg")
    assert "recall 0.95" in (tmp_path / "plot.svg").read_text()


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
