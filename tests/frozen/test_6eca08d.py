"""What the commit 6eca08d wrote with its ``small``, opened with the former version of now.

``fixtures/6eca08d`` holds an index of three pages, the hits that it gave, and vectors of that
checkpoint. None of these files is ever changed.
"""

from __future__ import annotations

import json
import pickle
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest

from metaembed_rag import MetaEmbedEncoder, Page, PageIndex
from metaembed_rag.errors import CheckpointError, ModelMismatchError
from metaembed_rag.model.checkpoints import SHIPPED, former_versions
from metaembed_rag.reopening import NamedModel

FROZEN = Path(__file__).parents[1] / "fixtures" / "6eca08d"
ANSWERS = json.loads((FROZEN / "answers.json").read_text(encoding="utf-8"))
FORMER = ANSWERS["info"]["fingerprint"]
NAME = f"small?version={FORMER}"
TEXTS = ["Revenue by region grew in the second quarter.", "the fox jumps over the lazy dog"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The old index, unpacked: Chroma writes when it opens."""
    with tarfile.open(FROZEN / "index.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "index"


@pytest.fixture(scope="module")
def former():
    return MetaEmbedEncoder.from_pretrained("small?version=1b3f3a73", device="cpu")


def test_the_former_small_has_its_fingerprint_and_vectors(former):
    assert (former.name, former.fingerprint) == (NAME, FORMER)
    assert former.loaded_by_name
    expected = np.load(FROZEN / "vectors.npz")
    np.testing.assert_allclose(former.encode_query(TEXTS), expected["query"], atol=1e-5)
    made = former.encode_document(TEXTS)[:, :16]
    np.testing.assert_allclose(made, expected["document"], atol=1e-5)


@pytest.mark.parametrize("deleted", ["nothing", "cache"])
def test_an_index_of_the_former_small_opens_searches_and_takes_pages(folder, deleted):
    shutil.rmtree(folder / deleted, ignore_errors=True)
    with PageIndex.open(folder, create=False, device="cpu") as index:
        assert {key: index.info()[key] for key in ANSWERS["info"]} == ANSWERS["info"]
        for query, expected in ANSWERS["hits"].items():
            hits = index.search(query, 3, budget="16,64", hybrid=False)
            assert [hit.page.id for hit in hits] == [id for id, _ in expected]
            scores = [score for _, score in expected]
            assert [hit.score for hit in hits] == pytest.approx(scores, abs=1e-5)
        assert (index.encoder.name, index.encoder.fingerprint) == (NAME, FORMER)
        index.add([Page(source="new.pdf", text="A xylophone has wooden bars.")])
        assert index.search("wooden instrument", 1)[0].page.source == "new.pdf"
        copy = pickle.loads(pickle.dumps(index))
    with copy:
        assert copy.search("wooden instrument", 1)[0].page.source == "new.pdf"


def test_an_index_made_with_the_former_small_records_its_version(tmp_path, former):
    with PageIndex.open(tmp_path / "index", former) as index:
        index.add([Page(source="a.pdf", text="Revenue by region.")])
        assert index.info()["model"] == NAME
    with PageIndex.open(tmp_path / "index", create=False, device="cpu") as again:
        assert again.search("sales", 1)[0].page.source == "a.pdf"


def test_the_command_line_takes_the_name_small_for_the_version_of_the_index(
    run, folder, tmp_path, monkeypatch
):
    search = ("search", "boat timetable", "--index", folder, "--json")
    for more in ((), ("--model", "small"), ("--model", "small?version=1b3f3a73")):
        out, _ = run(*search, *more)
        assert json.loads(out)["hits"][0]["source"] == "report.pdf"
    (tmp_path / "new.txt").write_text("A xylophone has wooden bars.", encoding="utf-8")
    monkeypatch.setenv("METAEMBED_MODEL", "small")
    out, _ = run("index", tmp_path / "new.txt", "--index", folder, "--json", "--quiet")
    assert json.loads(out)["added"] == 1


def test_the_present_small_is_refused_where_somebody_made_it_himself(folder):
    present = MetaEmbedEncoder.from_pretrained("small", device="cpu")
    assert present.fingerprint != FORMER
    with pytest.raises(ModelMismatchError, match="1b3f3a73"):
        PageIndex.open(folder, present)
    pinned = f"small?version={present.fingerprint[:8]}"
    assert MetaEmbedEncoder.from_pretrained(pinned, device="cpu").name == (
        f"small?version={present.fingerprint}"
    )


def test_langchain_and_a_pickled_name_find_the_version_too(folder):
    from metaembed_rag.langchain import MetaEmbedEmbeddings, MetaEmbedVectorStore

    text = ["A xylophone has wooden bars."]
    store = MetaEmbedVectorStore.from_texts(text, MetaEmbedEmbeddings("small"), where=folder)
    found = store.similarity_search("wooden instrument", 1)
    assert [one.page_content for one in found] == text
    assert NamedModel("small", FORMER).load("cpu").fingerprint == FORMER


def test_every_former_version_loads_and_no_other_does(tmp_path):
    assert former_versions("small") == [FORMER]
    assert former_versions("mini") == former_versions(f"../{SHIPPED.name}/small") == []
    for wrong, message in {
        "00000000": "has no version 00000000; the present one is .* former ones are: 1b3f3a73b079",
        "1b3f": "first 8 or more digits",
        "../../../x": "first 8 or more digits",
    }.items():
        with pytest.raises(CheckpointError, match=message):
            MetaEmbedEncoder.from_pretrained(f"small?version={wrong}", device="cpu")
    with pytest.raises(CheckpointError, match="nothing to pool"):
        MetaEmbedEncoder.from_pretrained("small?version=1b3f3a73&pooling=ward", device="cpu")


def test_a_former_version_beside_other_weights_than_its_own_is_refused(tmp_path):
    moved = tmp_path / "small"
    shutil.copytree(SHIPPED / "small", moved)
    kept = moved / "former" / f"{FORMER}.safetensors"
    kept.rename(kept.with_name(f"{'0' * 32}.safetensors"))
    with pytest.raises(CheckpointError, match="do not make its former version 0000"):
        MetaEmbedEncoder.from_pretrained(f"{moved}?version=00000000", device="cpu")
