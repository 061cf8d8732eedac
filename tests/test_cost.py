from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from metaembed_rag import cost as module
from metaembed_rag.cli import main
from metaembed_rag.cost import disk_bytes, index_cost
from metaembed_rag.errors import StoreError
from metaembed_rag.store.packing import pack_text
from metaembed_rag.testing import FakeEncoder
from metaembed_rag.vectors.formats import FORMATS, pack_bytes


@pytest.fixture(autouse=True)
def brief(monkeypatch):
    """Measure for a moment only."""
    monkeypatch.setattr(module, "_BLOCK_BYTES", 50_000)
    monkeypatch.setattr(module, "_SECONDS_A_MEASURE", 0.0)


def test_bytes_are_those_of_the_formats():
    found = index_cost(1000, dimension=128)
    sizes = {one.format: one.bytes_per_page for one in found.formats}
    assert sizes == {"fp16": 64 * 256, "int8": 64 * 130, "int4": 64 * 66, "bits": 64 * 18}
    assert [one.vectors_bytes for one in found.formats] == [1000 * size for size in sizes.values()]
    int8 = found.formats[1]
    assert [b.bytes_per_page for b in int8.budgets] == [130, 4 * 130, 8 * 130, 16 * 130, 64 * 130]


def test_budgets_are_those_that_there_are_vectors_for():
    budgets = [b.budget for b in index_cost(10, dimension=16, vectors=12).formats[0].budgets]
    assert budgets == [(1, 1), (2, 4), (4, 8), (16, 12)]
    budgets = [b.budget for b in index_cost(10, dimension=16, vectors=1).formats[0].budgets]
    assert budgets == [(1, 1), (16, 1)]


def test_milliseconds_are_the_measured_ones_scaled(monkeypatch):
    monkeypatch.setattr(module, "_milliseconds", lambda block, budget: 3.0)
    found = index_cost(1000, dimension=128)
    for one in found.formats:
        measured = found.measured_pages[one.format]
        assert measured == 50_000 // one.bytes_per_page
        assert {b.exhaustive_ms for b in one.budgets} == {3.0 * 1000 / measured}


def test_measuring_measures():
    assert all(
        b.exhaustive_ms > 0 for one in index_cost(10, dimension=16).formats for b in one.budgets
    )


def test_milliseconds_are_those_of_one_thread(monkeypatch, capsys):
    score, threads = module.maxsim_levels, set()

    def spy(*given, **options):
        threads.add(options.get("threads"))
        return score(*given, **options)

    monkeypatch.setattr(module, "maxsim_levels", spy)
    assert main(["plan", "--pages", "10"]) == 0
    assert threads == {1}
    assert "on one thread" in capsys.readouterr().out


@pytest.mark.parametrize("name", FORMATS)
def test_disk_grows_with_the_coded_vectors_their_pages_and_the_cache(name):
    vectors = np.random.default_rng(0).standard_normal((1, 64, 384)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    (page,) = pack_bytes(FORMATS[name].encode(vectors))
    coded = len(pack_text(bytes(page))) / len(page)
    grown = disk_bytes(10**6, 4000, 128, format=name) - disk_bytes(10**6, 3000, 128, format=name)
    assert grown == pytest.approx(10**6 * (1.01 * coded * 1000 + 1000), rel=0.01)


@pytest.mark.parametrize(
    ("name", "given"), [("pages", (0, 8, 1)), ("dimension", (1, 0, 1)), ("vectors", (1, 8, 0))]
)
def test_nonsense_is_a_sentence(name, given):
    pages, dimension, vectors = given
    with pytest.raises(StoreError, match=f"{name} must be at least 1, not 0"):
        index_cost(pages, dimension=dimension, vectors=vectors)


def test_the_command_prints_one_object(capsys):
    assert main(["plan", "--pages", "1000", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["model"], found["pages"], found["dimension"]) == ("mini", 1000, 256)
    assert [one["format"] for one in found["formats"]] == list(FORMATS)
    assert found["formats"][1]["bytes_per_page"] == 64 * 258
    assert found["formats"][1]["budgets"][4]["budget"] == [16, 64]


def test_the_object_has_the_keys_that_scripts_read(capsys):
    assert main(["plan", "--pages", "10", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == ["model", "pages", "vectors", "dimension", "measured_pages", "formats"]
    assert list(found["formats"][0]) == [
        "format",
        "bytes_per_page",
        "vectors_bytes",
        "disk_bytes",
        "memory_bytes",
        "mapped_bytes",
        "budgets",
    ]
    assert list(found["formats"][0]["budgets"][0]) == ["budget", "bytes_per_page", "exhaustive_ms"]


def test_the_command_says_what_is_estimated(capsys):
    assert main(["plan", "--pages", "1000", "--dimension", "128", "--vectors", "16"]) == 0
    out = capsys.readouterr().out
    assert "1,000 pages, 16 vectors a page, 128 values a vector" in out
    assert "(8,16)" in out
    assert "(16,64)" not in out
    assert "estimates" in out


def test_a_model_that_is_not_there_is_a_sentence(capsys):
    assert main(["plan", "--pages", "10", "--model", "none-such"]) == 1
    assert "no checkpoint 'none-such'" in capsys.readouterr().err


@pytest.mark.integration
def test_planning_loads_no_model():
    code = (
        "import sys; from metaembed_rag.cli import main; main(['plan', '--pages', '9', '--json']);"
        "print({'transformers', 'sentence_transformers', 'chromadb'} & sys.modules.keys())"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.splitlines()[-1] == "set()"


def test_the_command_chooses_the_format_of_a_new_index(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("metaembed_rag.opening.load_encoder", lambda name, device: FakeEncoder())
    (tmp_path / "a.txt").write_text("Whales swim far.")
    where = ["--index", str(tmp_path / "i")]
    assert main(["index", str(tmp_path / "a.txt"), *where, "--format", "bits", "--quiet"]) == 0
    assert main(["info", *where, "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["vector_format"] == "bits"
    command = ["index", str(tmp_path / "a.txt"), *where, "--format", "int4", "--quiet"]
    assert main(command) == 1
    assert "stores bits vectors, not int4" in capsys.readouterr().err
    assert main([*command[:-3], "--dimension", "32", "--quiet"]) == 1
    assert "stores 64 values a vector, not 32" in capsys.readouterr().err
