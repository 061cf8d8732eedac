from __future__ import annotations

import datetime
import json
import shutil
import sys
from dataclasses import replace
from decimal import Decimal
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.errors import (
    BudgetError,
    IndexNotFoundError,
    MetadataError,
    MissingExtraError,
    ModelError,
    ModelMismatchError,
    NothingToReadError,
    PageError,
    StoreError,
)
from metaembed_rag.index import PageIndex
from metaembed_rag.model.inputs import page_input
from metaembed_rag.pages import Limits, Page
from metaembed_rag.store import records
from metaembed_rag.testing import FakeEncoder
from metaembed_rag.vectors.maxsim import maxsim
from tests.support.files import make_pdf
from tests.support.indexes import index_of
from tests.support.processes import CONTEXT, program

TEXTS = ["red apples grow", "blue whales swim", "green grass fields", "apples and whales"]


def pages(texts=TEXTS, source="book", **more):
    return [
        Page(source=source, number=n, text=text, page_count=len(texts), **more)
        for n, text in enumerate(texts, start=1)
    ]


@pytest.fixture
def index(encoder):
    return index_of(pages(), encoder)


# -- search --------------------------------------------------------------------------------


def test_the_page_with_the_words_is_found_first(index):
    hits = index.search("whales swim", k=2)
    assert [(hit.rank, hit.page.id) for hit in hits] == [(1, "book#2"), (2, "book#4")]
    assert hits.query == "whales swim"
    assert hits.budget == RetrievalBudget(16, 64)
    assert hits.seconds > 0


@pytest.mark.parametrize("budget", ["1,1", "2,4", "4,8", "8,16", "16,64"])
def test_scores_are_maxsim_over_r_q_of_the_stored_vectors(index, encoder, budget):
    budget = RetrievalBudget.parse(budget)
    query = encoder.encode_query(["apples"])[0]
    ids = index.ids()
    raw = maxsim(query, index.vectors(ids), budget)
    expected = dict(zip(ids, raw / budget.r_q, strict=True))
    hits = index.search("apples", k=9, budget=budget, hybrid=False)
    assert len(hits) == 4
    assert {hit.page.id: hit.score for hit in hits} == pytest.approx(expected, abs=0.01)
    assert all(-1 <= hit.score <= 1 for hit in hits)


@pytest.mark.parametrize("exhaustive", [False, True])
def test_the_budget_changes_the_ranking_work(index, exhaustive):
    for r_c, budget in ((1, "1,1"), (8, "4,8"), (64, "16,64")):
        hits = index.search("apples", budget=budget, exhaustive=exhaustive)
        assert hits.plan.stages[-1] == (r_c, 4)


def test_candidates_limit_what_is_reranked_and_recall_measures_it():
    encoder = FakeEncoder(dimension=16)
    index = PageIndex.open(":memory:", encoder)
    index.add(pages([f"word{i} word{i + 1} word{i + 2} common" for i in range(60)]))
    queries = [f"word{i} common" for i in range(0, 60, 7)]
    assert index.recall(queries, k=5, candidates=60) == 1.0
    low = index.recall(queries, k=5, candidates=5)
    assert 0 < low < 1.0
    exact = index.search(queries[0], k=5, exhaustive=True)
    assert [h.page.id for h in exact] == [
        h.page.id for h in index.search(queries[0], k=5, candidates=60)
    ]


def test_equal_scores_are_ordered_by_id(encoder):
    index = PageIndex.open(":memory:", encoder)
    index.add([Page(source=name, text="same words") for name in "cab"])
    for exhaustive in (False, True):
        hits = index.search("same", exhaustive=exhaustive)
        assert [hit.page.source for hit in hits] == ["a", "b", "c"]


def test_filters_leave_only_matching_pages(index):
    hits = index.search("apples", where={"page": {"$gt": 1}})
    assert {hit.page.number for hit in hits} == {2, 3, 4}
    assert index.search("apples", where={"source": "nowhere"}) == []


def test_text_and_image_together_are_one_query(index):
    red = Image.new("RGB", (8, 8), "red")
    index.add([Page(source="photo", image=red, text="apples"), Page(source="plain", image=red)])
    fused = {"text": "apples", "image": red}
    assert index.search(red, k=1, budget="fast")[0].page.source == "plain"
    assert index.search(fused, k=1, budget="fast")[0].page.source == "photo"


@pytest.mark.parametrize(
    "query",
    ["", "   ", None, {}, {"text": " "}, {"picture": "x"}, 5, b"x", ["a"], {"text": 5}, "\ud800"],
)
def test_an_empty_or_unknown_query_is_refused(index, query):
    with pytest.raises(ModelError, match="query"):
        index.search(query)


@pytest.mark.parametrize("k", [0, -1, 1.5])
def test_k_must_be_a_whole_number_of_at_least_one(index, k):
    with pytest.raises(StoreError, match="k must be"):
        index.search("apples", k)


def test_fewer_candidates_than_hits_are_refused(index):
    with pytest.raises(StoreError, match="candidates"):
        index.search("apples", k=5, candidates=4)


def test_a_budget_beyond_what_is_stored_is_refused(encoder):
    index = PageIndex.open(":memory:", encoder, vectors=8)
    index.add(pages())
    assert index.vectors(["book#1"]).shape == (1, 8, 64)
    assert index.search("apples", budget="4,8")
    with pytest.raises(BudgetError, match="at most 16,8"):
        index.search("apples", budget="full")


def test_an_empty_index_answers_nothing(encoder):
    index = PageIndex.open(":memory:", encoder)
    assert len(index) == 0
    assert index.search("apples") == []
    assert index.search("apples", exhaustive=True) == []
    assert index.recall(["apples"]) == 1.0


def test_given_pages_can_be_ranked_by_their_stored_vectors(index, encoder):
    encoded = len(encoder.encoded)
    hits = index.score("whales", ["book#1", "book#2", "missing#1"])
    assert [hit.page.id for hit in hits] == ["book#2", "book#1"]
    assert len(encoder.encoded) == encoded


def test_a_batch_of_queries_gives_what_single_queries_give(index):
    together = index.search_batch(["apples", "whales"], k=2)
    alone = [index.search("apples", k=2), index.search("whales", k=2)]
    assert [list(hits) for hits in together] == [list(hits) for hits in alone]


# -- add -----------------------------------------------------------------------------------


def test_unchanged_pages_are_not_encoded_again(index, encoder):
    before = len(encoder.encoded)
    report = index.add(pages())
    assert (report.added, report.updated, report.unchanged) == (0, 0, 4)
    assert len(encoder.encoded) == before


def test_a_changed_page_is_replaced_and_only_it_is_encoded(index, encoder):
    before = len(encoder.encoded)
    report = index.add(pages(["red apples grow", "purple whales", *TEXTS[2:]]))
    assert (report.updated, report.unchanged) == (1, 3)
    assert encoder.encoded[before:] == ["purple whales"]
    assert index.search("purple", k=1)[0].page.text == "purple whales"


def test_changed_metadata_are_stored_without_encoding(index, encoder):
    before = len(encoder.encoded)
    assert index.add(pages(metadata={"year": 2024})).updated == 4
    assert index.add(pages(metadata={"year": 2024})).unchanged == 4
    assert index.get(["book#1"])[0].metadata == {"year": 2024}
    assert index.add(pages(metadata={})).updated == 4
    assert index.get(["book#1"])[0].metadata == {}
    assert len(encoder.encoded) == before


def test_another_mode_encodes_again(index, encoder):
    before = len(encoder.encoded)
    assert index.add(pages(), mode="text").updated == 4
    assert len(encoder.encoded) == before + 4


def test_pages_that_a_source_lost_are_removed(index):
    report = index.add(pages(TEXTS[:2]))
    assert report.removed == 2
    assert index.ids() == ["book#1", "book#2"]


@pytest.mark.parametrize("count", [None, 4])
def test_a_part_of_a_source_removes_nothing(index, count):
    index.add([Page(source="book", number=1, text="red apples grow", page_count=count)])
    assert len(index) == 4


def test_a_page_of_the_index_can_be_changed_and_added_again(index):
    page = index.get(["book#2"])[0]
    report = index.add([replace(page, metadata={"tag": "x"})])
    assert (report.updated, report.removed, len(index)) == (1, 0, 4)


def test_the_same_file_under_other_ids_is_left_alone(index):
    def tenant(name, texts):
        return [replace(page, id=f"{name}:{page.id}") for page in pages(texts)]

    index.add(tenant("ours", TEXTS))
    index.add(tenant("theirs", TEXTS[:2]))
    index.add(pages(TEXTS[:3]))
    assert len(index.ids()) == 3 + 4 + 2


@pytest.mark.parametrize("size", [0, -1])
def test_a_batch_holds_at_least_one_page(index, size):
    with pytest.raises(StoreError, match="batch_size"):
        index.add(pages(["new"], source="new"), batch_size=size)


def test_other_sources_are_left_alone(index):
    index.add(pages(["one page"], source="other"))
    assert len(index) == 5


def test_the_later_of_two_pages_with_one_id_counts(encoder):
    index = PageIndex.open(":memory:", encoder)
    index.add([Page(source="a", text="old"), Page(source="a", text="new")])
    assert [page.text for page in index.get(["a#1"])] == ["new"]


def test_metadata_that_cannot_be_stored_stop_before_anything_is_encoded(index, encoder):
    before = len(encoder.encoded)
    with pytest.raises(MetadataError, match="x#1.*'bad'"):
        index.add([Page(source="x", text="t", metadata={"bad": {"a": 1}})])
    assert len(encoder.encoded) == before
    assert len(index) == 4


def test_a_blank_page_is_reported_and_never_stored(index):
    report = index.add([Page(source="blank"), Page(source="good", text="hello")])
    assert [error.source for error in report.blank] == ["blank#1"]
    assert "neither text nor a picture" in report.blank[0].reason
    assert report.skipped == []
    assert index.ids({"source": "blank"}) == []


def test_a_page_that_became_blank_leaves_the_index(index):
    report = index.add(pages([*TEXTS[:3], ""]))
    assert (report.removed, len(report.blank)) == (1, 1)
    assert len(index) == 3


def test_an_unknown_mode_is_refused(index):
    with pytest.raises(ModelError, match="fused, image, text"):
        index.add(pages(), mode="all")


def test_batches_are_acknowledged_one_by_one(encoder):
    index = PageIndex.open(":memory:", encoder)
    counts = []
    index.add(
        pages(["a", "b", "c", "d", "e"]), batch_size=2, progress=lambda _: counts.append(len(index))
    )
    assert counts == [2, 4, 5]


def test_the_pages_before_an_error_are_kept(encoder):
    index = PageIndex.open(":memory:", encoder)

    def broken():
        yield from pages(TEXTS[:2])
        raise PageError("book", "cable pulled")

    with pytest.raises(PageError, match="cable pulled"):
        index.add(broken(), batch_size=1)
    assert len(index) == 2


# -- pictures ------------------------------------------------------------------------------


def test_pictures_are_kept_shown_replaced_and_deleted(tmp_path, encoder):
    index = PageIndex.open(tmp_path / "i", encoder)
    folder = tmp_path / "i" / "pictures"
    index.add([Page(source="photo", image=Image.new("RGB", (20, 10), "red"))])
    path = Path(index.search(Image.new("RGB", (9, 9), "red"))[0].page.image_path)
    assert path.is_relative_to(folder)
    with Image.open(path) as kept:
        assert kept.size == (20, 10)
    index.add([Page(source="photo", image=Image.new("RGB", (20, 10), "blue"))])
    [now] = [p for p in folder.rglob("*") if p.is_file()]
    assert now != path
    index.delete(source="photo")
    assert [p for p in folder.rglob("*") if p.is_file()] == []


def test_a_picture_whose_file_was_lost_comes_back(tmp_path, encoder):
    red = Image.new("RGB", (20, 10), "red")
    files = tmp_path / "files"
    files.mkdir()
    red.save(files / "photo.png")
    index = PageIndex.open(tmp_path / "i", encoder)
    index.sync(files)
    before = len(encoder.encoded)
    shutil.rmtree(tmp_path / "i" / "pictures")
    assert index.search(red)[0].page.image_path is None  # no path that leads nowhere
    assert index.sync(files).unchanged == 1
    assert index.search(red)[0].page.load_image().size == (20, 10)
    assert len(encoder.encoded) == before


@pytest.mark.parametrize("harm", ["lost", "cut off", "another page's"])
def test_fault_31_sync_brings_back_the_picture_of_any_page_of_a_file(tmp_path, encoder, harm):
    file = make_pdf(tmp_path / "report.pdf", ["one", "two", "three"])
    with PageIndex.open(tmp_path / "i", encoder) as index:
        index.sync(file)
        encoded = len(encoder.encoded)
        names = {id: index._store.get([id])[id].page.image_path for id in index.ids()}
        first, second, third = sorted(names)
        path = index._pictures.path(names[second])
        before = path.read_bytes()
        if harm == "another page's":
            index._store.update_metadata([second], [{records.IMAGE: names[third]}])
        else:
            path.write_bytes(before[:100])
        if harm == "lost":
            path.unlink()
        report = index.sync(file)
        assert (report.unchanged, report.updated, report.added) == (3, 0, 0)
        assert index._store.get([second])[second].page.image_path == names[second]
        assert path.read_bytes() == before
        assert index.check().findings == []
    assert len(encoder.encoded) == encoded


@pytest.mark.parametrize("given", ["path", "bytes", "opened", "beside a text"])
@pytest.mark.parametrize("harm", ["bomb", "cut off"])
def test_fault_31_a_hostile_picture_as_a_query_ends_in_a_sentence(tmp_path, encoder, harm, given):
    path = tmp_path / "query.png"
    Image.new("1", (9_000, 9_000) if harm == "bomb" else (300, 300)).save(path)
    if harm == "cut off":
        path.write_bytes(path.read_bytes()[:60])
    with PageIndex.open(tmp_path / "i", encoder) as index, Image.open(path) as opened:
        index.add([Page(source="a.txt", text="apples")])
        queries = {"path": path, "bytes": path.read_bytes(), "opened": opened}
        query = queries.get(given, {"text": "apples", "image": opened})
        with pytest.raises(ModelError, match="the picture of the query: "):
            index.search(query)


@pytest.mark.integration
def test_an_index_can_be_moved(tmp_path, encoder):
    PageIndex.open(tmp_path / "i", encoder).add(
        [Page(source="photo", text="x", image=Image.new("RGB", (20, 10), "red"))]
    )
    script = (
        "import sys; from metaembed_rag.index import PageIndex;"
        "from metaembed_rag.testing import FakeEncoder;"
        "h = PageIndex.open(sys.argv[1], FakeEncoder(), create=False).search('x')[0];"
        "print(h.page.load_image().size)"
    )
    shutil.move(tmp_path / "i", tmp_path / "moved")
    assert program(script, tmp_path / "moved").strip() == "(20, 10)"


# -- what is encoded -----------------------------------------------------------------------

RED = Image.new("RGB", (8, 8), "red")
ALL = frozenset({"text", "image", "fused"})
TEXT = frozenset({"text"})


@pytest.fixture
def ocr(monkeypatch):
    import metaembed_rag.pages.ocr

    monkeypatch.setattr(metaembed_rag.pages.ocr, "read_text", lambda image: "read by ocr")


@pytest.mark.parametrize(
    ("mode", "modalities", "page", "expected"),
    [
        ("fused", ALL, Page(source="p", text="t", image=RED), {"text": "t", "image": RED}),
        ("fused", ALL, Page(source="p", text="t"), "t"),
        ("fused", ALL, Page(source="p", image=RED), RED),
        ("image", ALL, Page(source="p", text="t", image=RED), RED),
        ("image", ALL, Page(source="p", text="t"), "t"),
        ("text", ALL, Page(source="p", text="t", image=RED), "t"),
        ("text", ALL, Page(source="p", image=RED), "read by ocr"),
        ("fused", TEXT, Page(source="p", text="t", image=RED), "t"),
        ("fused", TEXT, Page(source="p", image=RED), "read by ocr"),
        ("image", TEXT, Page(source="p", text="t", image=RED), "read by ocr"),
        ("text", TEXT, Page(source="p", text=" ", image=RED), "read by ocr"),
    ],
)
def test_what_of_a_page_is_encoded(ocr, mode, modalities, page, expected):
    read, given = page_input(page, mode, modalities)
    assert given == expected
    if given == "read by ocr" and not page.text.strip():
        assert (read.text, read.text_from_ocr) == ("read by ocr", True)
    else:
        assert (read.text, read.text_from_ocr) == (page.text, False)


def test_a_picture_without_readable_text_is_refused(monkeypatch):
    import metaembed_rag.pages.ocr

    monkeypatch.setattr(metaembed_rag.pages.ocr, "read_text", lambda image: " \n")
    with pytest.raises(NothingToReadError, match="no text was found"):
        page_input(Page(source="p", image=RED), "fused", TEXT)
    with pytest.raises(NothingToReadError, match="OCR is off"):
        page_input(Page(source="p", image=RED), "fused", TEXT, ocr=False)


def test_without_the_ocr_extra_the_reason_says_how_to_install_it(monkeypatch):
    import metaembed_rag.pages.ocr
    from metaembed_rag.errors import require

    def missing(image):
        monkeypatch.setitem(sys.modules, "rapidocr", None)
        require("rapidocr")

    monkeypatch.setattr(metaembed_rag.pages.ocr, "read_text", missing)
    with pytest.raises(NothingToReadError, match=r"pip install '\.\[ocr\]'"):
        page_input(Page(source="p", image=RED), "fused", TEXT)


def test_the_picture_of_a_query_is_read_where_the_model_reads_text_only(ocr):
    index = PageIndex.open(":memory:", FakeEncoder(modalities=["text"]))
    index.add([Page(source="a", text="read by ocr"), Page(source="b", text="apples")])
    assert index.search(RED, k=1)[0].page.source == "a"
    both = index.search({"text": "apples", "image": RED}, k=2)
    assert {hit.page.source for hit in both if hit.score > 0.2} == {"a", "b"}


def test_a_query_picture_without_text_is_refused_by_a_text_only_model(monkeypatch):
    import metaembed_rag.pages.ocr

    monkeypatch.setattr(metaembed_rag.pages.ocr, "read_text", lambda image: "")
    index = PageIndex.open(":memory:", FakeEncoder(modalities=["text"]))
    with pytest.raises(ModelError, match="reads text only.*no text was found"):
        index.search(RED)


def test_a_page_from_the_index_has_the_content_hash_of_the_page_that_was_added(tmp_path, encoder):
    page = Page(source="photo", text="x", image=RED, settings="image:896")
    index = PageIndex.open(tmp_path / "i", encoder)
    index.add([page])
    back = index.get([page.id])[0]
    assert back.image is None
    assert back.content_hash() == page.content_hash()
    assert index.add([page]).unchanged == 1


def test_ocr_text_is_kept_on_the_page_and_not_read_again(ocr):
    encoder = FakeEncoder(modalities=["text"])
    index = PageIndex.open(":memory:", encoder)
    index.add([Page(source="scan", image=RED)])
    hit = index.search("ocr")[0]
    assert (hit.page.text, hit.page.text_from_ocr) == ("read by ocr", True)
    assert index.add([Page(source="scan", image=RED)]).unchanged == 1
    assert encoder.encoded == ["read by ocr"]


# -- delete, get ---------------------------------------------------------------------------


def test_delete_by_id_source_and_filter(index):
    index.add(pages(["x", "y"], source="other", metadata={"lang": "de"}))
    assert index.delete("book#1") == 1
    assert index.delete(["book#2", "missing"]) == 1
    assert index.delete(where={"lang": "de", "page": 2}) == 1
    assert index.delete(source="book") == 2
    assert index.delete(source="book") == 0
    assert index.ids() == ["other#1"]


@pytest.mark.parametrize("given", [{}, {"ids": ["a"], "source": "b"}])
def test_delete_wants_exactly_one_way_to_name_pages(index, given):
    with pytest.raises(StoreError, match="exactly one"):
        index.delete(**given)


def test_an_empty_filter_deletes_nothing(index):
    with pytest.raises(StoreError, match="would delete every page"):
        index.delete(where={})
    assert len(index) == 4


def test_an_id_may_be_asked_for_twice(index):
    twice = ["book#1", "book#1"]
    assert len(index.get(twice)) == 2
    assert index.vectors(twice).shape == (2, 64, 64)
    assert len(index.score("apples", twice)) == 1
    assert index.delete(twice) == 1


def test_pages_come_back_in_the_order_asked_for(index):
    assert [page.id for page in index.get(["book#3", "none", "book#1"])] == ["book#3", "book#1"]


def test_vectors_of_a_missing_page_are_refused(index):
    with pytest.raises(StoreError, match="no page with the id 'none'"):
        index.vectors(["book#1", "none"])


# -- open ----------------------------------------------------------------------------------


def test_an_index_opens_again_as_it_was(tmp_path, encoder):
    PageIndex.open(tmp_path / "i", encoder, vectors=16).add(pages())
    again = PageIndex.open(tmp_path / "i", FakeEncoder(), create=False)
    assert again.search("whales swim", budget="16,16")[0].page.id == "book#2"
    info = again.info()
    assert (info["pages"], info["vectors_per_page"], info["bytes_per_page"]) == (4, 16, 16 * 66)


def test_another_model_is_refused_by_name(tmp_path, encoder):
    PageIndex.open(tmp_path / "i", encoder)
    with pytest.raises(ModelMismatchError, match="made with the model 'fake'.*another folder"):
        PageIndex.open(tmp_path / "i", FakeEncoder(seed=1))


def test_another_number_of_vectors_is_refused(tmp_path, encoder):
    PageIndex.open(tmp_path / "i", encoder, vectors=16)
    with pytest.raises(ModelMismatchError, match="stores 16 vectors a page, not 8"):
        PageIndex.open(tmp_path / "i", encoder, vectors=8)


@pytest.mark.parametrize("vectors", [0, 65])
def test_more_vectors_than_the_model_makes_are_refused(encoder, vectors):
    with pytest.raises(StoreError, match="the model makes 64"):
        PageIndex.open(":memory:", encoder, vectors=vectors)


def test_a_missing_index_is_not_made_by_reading(tmp_path, encoder):
    with pytest.raises(IndexNotFoundError):
        PageIndex.open(tmp_path / "i", encoder, create=False)


def test_collections_of_one_folder_are_separate(tmp_path, encoder):
    one = PageIndex.open(tmp_path / "i", encoder, collection="tenant-one")
    two = PageIndex.open(tmp_path / "i", encoder, collection="tenant-two")
    one.add(pages())
    assert (len(one), len(two)) == (4, 0)
    assert two.search("apples") == []


# -- files ---------------------------------------------------------------------------------


def write_files(folder: Path, **texts: str) -> None:
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / f"{name}.txt").write_text(text)


def test_sync_follows_a_folder(tmp_path, encoder):
    files = tmp_path / "files"
    write_files(files, a="red apples", b="blue whales", c="green grass")
    index = PageIndex.open(tmp_path / "i", encoder)
    assert index.sync(files).added == 3
    before = len(encoder.encoded)
    assert index.sync(files).unchanged == 3

    (files / "a.txt").unlink()
    write_files(files, b="blue dolphins", d="yellow sun")
    report = index.sync([files])
    assert (report.added, report.updated, report.unchanged, report.removed) == (1, 1, 1, 1)
    assert encoder.encoded[before:] == ["blue dolphins", "yellow sun"]
    assert {Path(page.source).name for page in index.get(index.ids())} == {
        "b.txt",
        "c.txt",
        "d.txt",
    }


def test_an_index_within_the_indexed_folder_does_not_index_itself(tmp_path, encoder):
    Image.new("RGB", (20, 10), "red").save(tmp_path / "photo.png")
    index = PageIndex.open(tmp_path / "i", encoder)
    for _ in range(2):
        index.sync([tmp_path, tmp_path / "i"])
    assert len(index) == 1


def test_a_home_folder_is_expanded_everywhere(tmp_path, encoder, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_files(tmp_path / "files", a="red apples", b="blue whales", c="green grass")
    index = PageIndex.open(tmp_path / "i", encoder)
    index.sync("~/files")
    (tmp_path / "files" / "a.txt").unlink()
    assert index.sync("~/files").removed == 1
    assert index.delete(source="~/files/b.txt") == 1


def test_a_model_folder_is_recorded_so_that_it_is_found_from_anywhere(
    tmp_path, encoder, monkeypatch
):
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    encoder.name = "./model"
    assert PageIndex.open("i", encoder).info()["model"] == str(tmp_path / "model")


def test_nothing_is_left_of_an_index_that_cannot_be_made(tmp_path, encoder):
    with pytest.raises(StoreError, match="the model makes 64"):
        PageIndex.open(tmp_path / "i", encoder, vectors=100)
    assert not (tmp_path / "i").exists()


def test_without_a_budget_all_that_is_stored_takes_part(encoder, monkeypatch):
    index = PageIndex.open(":memory:", encoder, vectors=8)
    assert index.search("apples").budget == RetrievalBudget(16, 8)
    monkeypatch.setenv("METAEMBED_BUDGET", "2,4")
    assert index.search("apples").budget == RetrievalBudget(2, 4)


def test_an_unmounted_folder_loses_nothing(tmp_path, encoder):
    files = tmp_path / "files"
    write_files(files, a="red apples")
    index = PageIndex.open(tmp_path / "i", encoder)
    index.sync(files)
    (files / "a.txt").unlink()
    report = index.sync(files)
    assert (report.removed, len(report.skipped), len(index)) == (0, 1, 1)


@pytest.mark.parametrize("how", ["missing", "empty", "hidden", "deep"])
def test_a_sub_folder_that_is_not_mounted_loses_nothing_until_that_is_said(tmp_path, encoder, how):
    files = tmp_path / "files"
    write_files(files, a="red apples", b="blue whales")
    (files / "disk").mkdir()
    write_files(files / "disk" / "in", c="green pears", d="old maps")
    index = PageIndex.open(tmp_path / "i", encoder)
    assert index.sync(files).added == 4
    (files / "b.txt").unlink()
    if how == "deep":
        for path in (files / "disk" / "in").iterdir():
            path.unlink()
        (files / "disk" / "own.xyz").write_text("of another kind")
    else:
        shutil.rmtree(files / "disk")
    if how in ("empty", "hidden"):
        (files / "disk").mkdir()
    if how == "hidden":
        (files / "disk" / ".not-mounted").touch()
    report = index.sync(files)
    assert (report.removed, len(index)) == (1, 3)  # b.txt has gone from a folder that is there
    (kept,) = report.unpruned
    assert Path(kept.source) == files / "disk" / ("in" if how == "deep" else "")
    state = "is missing" if how == "missing" else "is empty"
    assert f"this folder {state}, and 2 pages" in kept.reason
    assert index.sync(files, prune=True).removed == 2
    assert index.sync(files).unpruned == []
    assert len(index) == 1


def test_files_that_have_gone_from_a_sub_folder_with_others_lose_their_pages(tmp_path, encoder):
    (tmp_path / "files").mkdir()
    write_files(tmp_path / "files" / "sub", a="red apples", b="blue whales")
    index = PageIndex.open(tmp_path / "i", encoder)
    index.sync(tmp_path / "files")
    (tmp_path / "files" / "sub" / "a.txt").unlink()
    report = index.sync(tmp_path / "files")
    assert (report.removed, report.unpruned) == (1, [])


def test_a_named_folder_that_is_empty_is_pruned_where_that_is_said(tmp_path, encoder):
    write_files(tmp_path / "files", a="red apples")
    index = PageIndex.open(tmp_path / "i", encoder)
    index.sync(tmp_path / "files")
    (tmp_path / "files" / "a.txt").unlink()
    assert index.sync(tmp_path / "files").removed == 0
    assert index.sync(tmp_path / "files", prune=True).removed == 1


def test_a_link_out_of_a_followed_folder_is_read_where_that_is_said(tmp_path, encoder):
    write_files(tmp_path / "files", a="red apples")
    write_files(tmp_path / "private", letter="my password")
    (tmp_path / "files" / "link").symlink_to(tmp_path / "private")
    index = PageIndex.open(tmp_path / "i", encoder)
    report = index.sync(tmp_path / "files")
    assert (report.added, [Path(error.source).name for error in report.skipped]) == (1, ["link"])
    report = index.sync(tmp_path / "files", limits=Limits(follow_links=True))
    assert (report.added, report.skipped) == (1, [])
    assert index.sync(tmp_path / "files").removed == 0  # of what links led to nothing is known


def test_a_damaged_file_is_reported_and_the_rest_goes_on(tmp_path, encoder):
    files = tmp_path / "files"
    write_files(files, a="red apples")
    (files / "b.pdf").write_bytes(b"%PDF-1.7 broken")
    (files / "c.xyz").write_bytes(b"?")
    index = PageIndex.open(tmp_path / "i", encoder)
    report = index.sync(files)
    assert report.added == 1
    assert [Path(error.source).name for error in report.skipped] == ["b.pdf"]
    assert [path.name for path in report.ignored] == ["c.xyz"]


def test_delete_takes_a_file_as_it_was_named(tmp_path, encoder, monkeypatch):
    write_files(tmp_path / "files", a="red apples", b="blue whales")
    index = PageIndex.open(tmp_path / "i", encoder)
    index.sync(tmp_path / "files")
    monkeypatch.chdir(tmp_path)
    assert index.delete(source="files/a.txt") == 1
    assert index.delete(source=tmp_path / "files" / "b.txt") == 1


# -- processes -----------------------------------------------------------------------------


def _add_slowly(where: Path, told: Connection) -> None:
    index = PageIndex.open(where, FakeEncoder())
    image = Image.new("RGB", (64, 64), "red")
    made = (Page(source="s", number=n, text=f"word{n}", image=image) for n in range(1, 100_000))
    index.add(made, batch_size=5, progress=lambda done: told.send(int(done)))


@pytest.mark.integration
@pytest.mark.parametrize("acknowledged", [5, 60, 300])
def test_a_killed_process_loses_nothing_that_was_acknowledged(tmp_path, acknowledged):
    here, there = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=_add_slowly, args=(tmp_path / "i", there))
    process.start()
    there.close()
    done = 0
    while done < acknowledged:
        done += here.recv()
    process.kill()
    process.join()
    check = (
        "import json, sys; from metaembed_rag.index import PageIndex;"
        "from metaembed_rag.testing import FakeEncoder;"
        "i = PageIndex.open(sys.argv[1], FakeEncoder(), create=False);"
        "p = i.get(i.ids());"
        "i.vectors(i.ids());"
        "h = i.search('word3', k=1)[0];"
        "print(json.dumps([len(p), h.page.text, all(x.load_image() for x in p)]))"
    )
    count, text, pictures = json.loads(program(check, tmp_path / "i"))
    assert count >= acknowledged
    assert count % 5 == 0
    assert (text, pictures) == ("word3", True)


OTHER_PROCESS = """
import sys
from metaembed_rag.index import PageIndex
from metaembed_rag.pages import Page
from metaembed_rag.testing import FakeEncoder
index = PageIndex.open(sys.argv[1], FakeEncoder())
index.add([Page(source="new", text="yellow sun"), Page(source="book", number=2, text="x")])
index.delete("book#1")
"""


@pytest.mark.integration
def test_what_other_processes_write_is_found_without_opening_again(tmp_path, encoder):
    index = PageIndex.open(tmp_path / "i", encoder)
    index.add(pages())
    assert index.search("yellow sun", k=1)[0].page.source == "book"
    program(OTHER_PROCESS, tmp_path / "i")
    found = {hit.page.id for hit in index.search("yellow sun")}
    assert found == {"new#1", "book#2", "book#3", "book#4"}
    index.add([Page(source="mine", text="purple")])  # our own writes are seen as well
    assert index.search("purple", k=1)[0].page.id == "mine#1"
    assert len(index.search("purple", k=9)) == 5


def test_two_indexes_of_one_process_on_one_folder_see_each_other(tmp_path, encoder):
    one, two = (PageIndex.open(tmp_path / "i", encoder) for _ in range(2))
    one.add(pages())
    assert two.search("whales swim", k=1)[0].page.id == "book#2"
    two.add([Page(source="new", text="yellow sun")])
    assert one.search("yellow sun", k=1)[0].page.id == "new#1"
    one.delete("book#2")
    assert "book#2" not in {hit.page.id for hit in two.search("whales swim", k=9)}


@pytest.mark.integration
def test_a_server_does_what_a_folder_does(server, tmp_path, encoder):
    def scenario(where, name):
        files = tmp_path / name
        write_files(files, a="red apples", b="blue whales")
        options = {"collection": "books", "pictures": tmp_path / f"{name}-pictures"}
        index = PageIndex.open(where, encoder, **options)
        reports = [str(index.sync(files))]
        write_files(files, b="blue dolphins")
        reports.append(str(index.sync(files)))
        index.add([Page(source="photo", text="x", image=RED)])
        again = PageIndex.open(where, encoder, create=False, **options)
        found = [
            (round(hit.score, 5), hit.page.text, hit.page.image_path is not None)
            for budget in ("fast", "full")
            for hit in again.search("blue x", budget=budget)
        ]
        again.delete(source=files / "a.txt")
        return reports, found, len(again)

    assert scenario(server, "one") == scenario(tmp_path / "i", "two")


def test_a_server_that_does_not_answer_is_a_sentence(encoder):
    with pytest.raises(StoreError, match="Chroma at http://127.0.0.1:9: Could not connect"):
        PageIndex.open("http://127.0.0.1:9", encoder)


@pytest.mark.integration
def test_large_batches_fit_a_servers_requests(server):
    encoder = FakeEncoder(dimension=1024)
    index = PageIndex.open(server, encoder, collection="large")
    report = index.add(pages([f"word{i}" for i in range(400)]), batch_size=400)
    assert report.added == 400
    assert index.vectors(index.ids()).shape == (400, 64, 1024)
    assert np.isfinite(index.vectors(["book#1"])).all()


# -- hybrid search -------------------------------------------------------------------------


def test_hybrid_adds_the_candidates_that_have_the_words():
    index = PageIndex.open(":memory:", FakeEncoder(dimension=8))
    texts = [f"word{i} word{i + 1} common" for i in range(40)]
    index.add(pages([*texts, "many other things and one zebra"]))
    assert index.search("common zebra", k=1, candidates=1, hybrid=False)[0].page.number != 41
    assert index.search("common zebra", k=1, candidates=1, hybrid=True)[0].page.number == 41


@pytest.mark.parametrize("hybrid", [True, "minmax", "rrf", 0.3])
@pytest.mark.parametrize("exhaustive", [False, True])
def test_hybrid_hits_say_both_scores_and_the_fused_one(index, hybrid, exhaustive):
    alone = {hit.page.id: hit.score for hit in index.search("apples swim", k=9, hybrid=False)}
    hits = index.search("apples swim", k=9, hybrid=hybrid, exhaustive=exhaustive)
    assert {hit.page.id: hit.maxsim for hit in hits} == pytest.approx(alone, abs=1e-5)
    assert {hit.page.id for hit in hits if hit.bm25 > 0} == {"book#1", "book#2", "book#4"}
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert all(0 <= hit.score <= 1 for hit in hits)
    assert [hit.rank for hit in hits] == [1, 2, 3, 4]


def test_without_hybrid_nothing_of_it_is_loaded(index, monkeypatch):
    monkeypatch.setitem(sys.modules, "bm25s", None)
    hits = index.search("apples", k=1)
    assert (hits.scoring, hits[0].maxsim, hits[0].bm25) == ("maxsim", None, None)
    with pytest.raises(MissingExtraError, match=r"\.\[hybrid\]"):
        index.search("apples", hybrid=True)


def test_the_text_of_a_fused_query_is_searched_for_and_a_picture_has_none(index):
    red = Image.new("RGB", (8, 8), "red")
    both = index.search({"text": "whales", "image": red}, k=9, hybrid=True)
    assert {hit.page.id for hit in both if hit.bm25} == {"book#2", "book#4"}
    for picture in (red, {"image": red}):
        assert index.search(picture, hybrid=True).scoring == "maxsim"


@pytest.mark.parametrize("exhaustive", [False, True])
def test_hybrid_search_respects_filters(index, exhaustive):
    options = {"hybrid": True, "exhaustive": exhaustive}
    index.add([Page(source="secret", text="apples apples apples", metadata={"tenant": "b"})])
    hits = index.search("apples", k=9, where={"source": "book"}, **options)
    assert {hit.page.source for hit in hits} == {"book"}
    assert index.search("apples", where={"tenant": "nobody"}, **options) == []


def test_hybrid_search_of_an_empty_index_or_with_unknown_words(index, encoder):
    assert PageIndex.open(":memory:", encoder).search("apples", hybrid=True) == []
    hits = index.search("zebra", k=4, hybrid=True)
    assert [hit.page.id for hit in hits] == [hit.page.id for hit in index.search("zebra", k=4)]
    with pytest.raises(StoreError, match="hybrid"):
        index.search("apples", hybrid="bm25")


def test_recall_measures_hybrid_candidates_too():
    index = PageIndex.open(":memory:", FakeEncoder(dimension=16))
    index.add(pages([f"word{i} word{i + 1} word{i + 2} common" for i in range(60)]))
    queries = [f"word{i} common" for i in range(0, 60, 7)]
    assert index.recall(queries, k=5, candidates=60, hybrid=True) == 1.0
    assert 0 < index.recall(queries, k=5, candidates=5, hybrid=True) < 1.0


WRITER = """
import sys
from metaembed_rag.index import PageIndex
from metaembed_rag.pages import Page
from metaembed_rag.testing import FakeEncoder
index = PageIndex.open(sys.argv[1], FakeEncoder(), create=False)
index.add([Page(source="book", number=1, text="yellow quinces")])
index.delete("book#2")
index.add([Page(source="new", text="apples everywhere")])
"""


@pytest.mark.integration
def test_hybrid_search_sees_what_another_process_wrote(tmp_path, encoder):
    index = PageIndex.open(tmp_path / "i", encoder)
    index.add(pages())

    def with_word(word):
        hits = index.search(word, k=9, hybrid=True)
        return {hit.page.id for hit in hits if hit.bm25}

    assert with_word("apples") == {"book#1", "book#4"}
    program(WRITER, tmp_path / "i")
    assert with_word("apples") == {"book#4", "new#1"}
    assert with_word("quinces") == {"book#1"}
    assert with_word("swim") == set()


def test_the_lexical_index_lies_beside_the_index_and_may_be_deleted(tmp_path, encoder):
    index = PageIndex.open(tmp_path / "i", encoder)
    index.add(pages())
    before = index.search("whales", hybrid=True)
    [kept] = (tmp_path / "i" / "lexical" / "pages" / "english").iterdir()
    damaged = kept / "pages.json"
    damaged.write_text(damaged.read_text()[:20])
    again = PageIndex.open(tmp_path / "i", encoder)
    assert list(again.search("whales", hybrid=True)) == list(before)
    shutil.rmtree(tmp_path / "i" / "lexical")
    assert list(again.search("whales", hybrid=True)) == list(before)


def test_a_plain_hybrid_search_compares_whole_words(tmp_path, encoder):
    PageIndex.open(tmp_path / "i", encoder).add(pages())
    for stemmer, score in (("english", True), (None, False)):
        index = PageIndex.open(tmp_path / "i", encoder, stemmer=stemmer)
        assert any(hit.bm25 for hit in index.search("whale", hybrid=True)) == score


@pytest.mark.integration
def test_hybrid_search_on_a_server_keeps_words_in_the_users_cache(
    server, tmp_path, encoder, monkeypatch
):
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / name))
    writer = PageIndex.open(server, encoder, collection="words")
    writer.add(pages())
    reader = PageIndex.open(server, encoder, collection="words", create=False)

    def with_word(word):
        return {hit.page.id for hit in reader.search(word, k=9, hybrid=True) if hit.bm25}

    assert with_word("apples") == {"book#1", "book#4"}
    writer.add([Page(source="book", number=1, text="yellow quinces")])
    writer.delete("book#4")
    assert with_word("apples") == set()
    assert with_word("quinces") == {"book#1"}
    [kept] = (tmp_path / "metaembed_rag" / "lexical").rglob("pages.json")
    assert json.loads(kept.read_text())["ids"] == ["book#1", "book#2", "book#3"]


# -- metadata and filters --------------------------------------------------------------------

ODD = {
    "tags": ("a", "b"),
    "when": datetime.date(2024, 2, 1),
    "path": Path("/a/b"),
    "count": np.int64(3),
    "share": Decimal("0.5"),
    "ok": np.bool_(True),
    "nothing": None,
}
STORED = {
    "tags": ["a", "b"],
    "when": "2024-02-01",
    "path": "/a/b",
    "count": 3,
    "share": 0.5,
    "ok": True,
}


def test_fault_09_metadata_come_back_as_they_were_converted_and_are_unchanged(encoder):
    index = index_of(pages(metadata=ODD), encoder)
    assert dict(index.search("whales", 1)[0].page.metadata) == STORED
    assert index.add(pages(metadata=ODD)).unchanged == 4
    assert index.add(pages(metadata=STORED)).unchanged == 4
    for key in ("when", "path", "count", "share", "ok"):
        assert len(index.search("whales", where={key: ODD[key]})) == 4, key


def test_fault_09_source_and_number_of_a_page_are_what_they_mean(index):
    page = Page(Path("/a/b.pdf"), np.int64(3), "new")
    assert (page.source, page.number, page.id) == ("/a/b.pdf", 3, "/a/b.pdf#3")
    assert index.add([page]).added == index.add([page]).unchanged == 1
    assert index.ids({"source": Path("/a/b.pdf"), "page": np.int64(3)}) == [page.id]
    for odd in ({"source": object()}, {"source": "a", "number": "three"}):
        with pytest.raises(PageError):
            Page(**odd)


@pytest.mark.parametrize("kind", [list, iter])
def test_fault_09_one_odd_page_stops_its_batch_before_anything_of_it_is_written(index, kind):
    changed = Page("book", 1, TEXTS[0], page_count=4, metadata={"year": 5})
    odd = Page("odd", text="odd", metadata={"bad": {1, 2}})
    new = [Page("new", n, "new") for n in range(1, 4)]
    with pytest.raises(MetadataError, match="'odd#1': metadata key 'bad' is a set"):
        index.add(kind([changed, *new, odd]))
    assert len(index) == 4
    assert not index.ids({"year": 5})


def test_fault_09_of_pages_in_a_list_none_is_written_where_one_is_odd(index):
    odd = Page("odd", text="odd", metadata={"bad": object()})
    with pytest.raises(MetadataError, match="'odd#1': metadata key 'bad'"):
        index.add([*(Page("new", n, "new") for n in range(1, 100)), odd], batch_size=8)
    assert len(index) == 4


WAYS_TO_SEARCH = [{}, {"exhaustive": True}, {"candidates": 10}, {"hybrid": True}]


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("keywords", WAYS_TO_SEARCH)
@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"page": {"$gte": 2, "$lt": 4}}, {2, 3}),
        ({"page": {"$in": []}}, set()),
        ({"page": {"$nin": []}}, {1, 2, 3, 4}),
        ({"$or": [{"page": 3}]}, {3}),
        ({"page": {"$in": list(range(2, 30_000))}}, {2, 3, 4}),
        ({"#document": {"$contains": "whales"}}, {2, 4}),
        ({"#document": {"$regex": "(?i)APPLES$"}, "page": {"$gt": 1}}, set()),
        ({"$or": [{"#document": {"$contains": "grass"}}, {"page": 1}]}, {1, 3}),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_fault_10_every_way_of_searching_takes_every_filter(
    index, cached, keywords, where, expected
):
    index._searcher._without = not cached
    found = {hit.page.number for hit in index.search("apples", 10, where=where, **keywords)}
    assert found == expected


@pytest.mark.parametrize("cached", [True, False])
def test_fault_10_a_filter_that_no_page_passes_says_so(index, cached, caplog):
    index._searcher._without = not cached
    index.add([Page("dated", text="apples", metadata={"author": "Ö", "year": 2024})])
    hits = index.search("apples", where={"autor": "Ö"})
    assert hits == []
    assert hits.note == (
        "no page passes the filter; no page has a metadata key 'autor', they have author, page, "
        "source, year, and of each also file_name, file_path, folder, file_type, page_label, "
        "total_pages, file_size, creation_date, last_modified_date"
    )
    assert hits.to_dict()["note"] == hits.note
    assert f"{hits.note}: {{'autor': 'Ö'}}" in caplog.text
    assert "metadata key &#x27;autor&#x27;" in hits._repr_html_()
    note = index.search("apples", where={"year": 2023}).note
    assert note == "no page passes the filter; year is 2024"
    assert index.search("apples", where={"year": 2024}).note == ""
    assert "note" not in index.search("apples").to_dict()
    index.delete(index.ids())
    assert index.search("apples", where={"autor": "Ö"}).note == ""


@pytest.mark.parametrize(
    "where", [{}, {"page": {"$nin": []}}, {"$and": []}, {"$or": [{}, {"page": 1}]}]
)
def test_fault_10_a_filter_that_every_page_passes_deletes_nothing(index, where):
    with pytest.raises(StoreError, match="would delete every page"):
        index.delete(where=where)
    assert len(index) == 4


@pytest.mark.parametrize(
    "where",
    [
        {"title": {"$not_contains": ""}},
        {"page": {"$gte": 1}},
        {"source": {"$ne": ""}},
        {"#document": {"$regex": ".*"}},
        {"misspelt": {"$ne": 2020}},
        {"#document": {"$not_contains": "a word that no page has"}},
        {"$or": [{"page": 1}, {"misspelt": {"$nin": [1]}}]},
    ],
)
def test_what_deletes_by_a_filter_never_deletes_all_pages_by_mistake(index, where):
    with pytest.raises(StoreError):
        index.delete(where=where)
    assert len(index) == 4


def test_all_pages_are_deleted_where_that_is_said(index):
    with pytest.raises(StoreError, match="exactly one of ids, source and where, or"):
        index.delete("book#1", everything=True)
    assert index.delete(where={"page": {"$ne": 1}}) > 0  # spares some, and may
    rest = len(index)
    assert rest > 0
    assert index.delete(everything=True) == rest
    assert len(index) == 0


def test_fault_10_pages_can_be_deleted_by_their_text(index):
    assert index.delete(where={"#document": {"$contains": "whales"}}) == 2
    assert index.delete(where={"page": {"$in": []}}) == 0
    assert index.ids() == ["book#1", "book#3"]


@pytest.mark.parametrize(
    "vectors",
    [
        np.full((2, 16), np.nan),
        np.zeros((2, 16)),
        np.ones(16),
        np.ones((1, 2, 16)),
        [["a"]],
        np.empty((0, 16)),
    ],
)
def test_fault_23_vectors_that_are_none_of_a_query_are_refused(vectors):
    index = PageIndex.open(":memory:", FakeEncoder(dimension=16))
    index.add([Page(source="a", text="red apples")])
    with pytest.raises(StoreError, match="query's vectors"):
        index.search_vectors(vectors)
    assert index.search_vectors([[1.0] * 16])
