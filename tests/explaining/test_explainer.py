"""index.explain and hit.explain: vectors, passages, words and their places, of one version."""

from __future__ import annotations

import copy
import gc
import json
import pickle
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metaembed_rag import Hits, Page, PageIndex, load_pages
from metaembed_rag.errors import BudgetError, StoreError
from metaembed_rag.explanation import Explanation
from metaembed_rag.pages.lines import Lettering, TextLine, packed
from metaembed_rag.testing import FakeEncoder
from metaembed_rag.vectors.maxsim import maxsim
from tests.support.files import pdf_bytes
from tests.support.indexes import index_of

TEXT = """Annual report
The harbour was dredged in spring.
Revenue by region
Europe grew by a tenth, Asia did not.
Boilers were replaced in the plant.
Index of tables"""


def encoder(*modalities: str) -> FakeEncoder:
    return FakeEncoder(query_vectors=4, document_vectors=8, modalities=modalities or ("text",))


@pytest.fixture
def index() -> PageIndex:
    pages = [Page(source="report.txt", text=TEXT), Page(source="other.txt", text="Whales swim.")]
    return index_of(pages, encoder())


def test_the_shares_of_the_vectors_add_up_to_the_score(index: PageIndex) -> None:
    found = index.explain("revenue by region", "report.txt#1", budget=(3, 5))
    assert [one.query for one in found.vectors] == [0, 1, 2]
    assert sum(one.share for one in found.vectors) == pytest.approx(found.score, abs=1e-6)
    [hit] = index.search("revenue by region", 1, budget=(3, 5), hybrid=False)
    assert found.score == pytest.approx(hit.score, abs=1e-5)


def test_each_query_vector_names_its_nearest_page_vector(index: PageIndex) -> None:
    found = index.explain("revenue by region", "report.txt#1", budget=(4, 8))
    query = index.encoder.encode_query(["revenue by region"])[0]
    similarities = query @ index.vectors(["report.txt#1"])[0].T
    assert [one.page for one in found.vectors] == similarities.argmax(axis=1).tolist()
    assert [one.similarity for one in found.vectors] == pytest.approx(similarities.max(axis=1))


def test_the_best_passage_is_the_line_that_says_it_and_the_shares_add_up(index: PageIndex) -> None:
    found = index.explain("revenue by region", "report.txt#1")
    best = found.passages[0]
    assert best.text == "Revenue by region"
    assert TEXT[best.start : best.end] == best.text
    assert best.score == pytest.approx(1, abs=1e-5)
    assert sum(one.share for one in found.passages) == pytest.approx(found.score, abs=1e-6)


def test_a_passage_is_scored_as_a_page_of_its_own(index: PageIndex) -> None:
    found = index.explain("harbour in spring", "report.txt#1", budget=(2, 3))
    query = index.encoder.encode_query(["harbour in spring"])[0]
    for passage in found.passages:
        alone = index.encoder.encode_document([passage.text])
        assert passage.score == pytest.approx(maxsim(query, alone, found.budget)[0] / 2, abs=1e-5)


def test_passages_are_best_first_and_none_is_over_another(index: PageIndex) -> None:
    found = index.explain("boilers and harbour", "report.txt#1").passages
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    spans = sorted((one.start, one.end) for one in found)
    assert all(one[1] <= other[0] for one, other in zip(spans, spans[1:], strict=False))


def test_an_explanation_is_the_same_each_time(index: PageIndex) -> None:
    asked = ("boilers and harbour", "report.txt#1")
    assert index.explain(*asked) == index.explain(*asked)


def test_a_long_page_is_read_coarse_to_fine_and_costs_a_bounded_number_of_pieces() -> None:
    lines = ["a line about nothing much"] * 300
    lines[177] = "the walrus sings"
    wide = FakeEncoder(modalities=("text",), document_vectors=32)
    index = index_of([Page(source="long", text="\n".join(lines))], wide)
    found = index.explain("walrus sings", "long#1")
    assert "the walrus sings" in found.passages[0].text
    assert found.pieces <= 2 * 13 + 64 + 15


def test_words_weigh_what_bm25_of_the_hit_is_made_of(index: PageIndex) -> None:
    pytest.importorskip("bm25s")
    query = "revenue by region of the regions in spring"
    hit = next(hit for hit in index.search(query) if hit.page.source == "report.txt")
    found = hit.explain()
    assert hit.bm25 is not None
    assert sum(word.weight for word in found.words) == pytest.approx(hit.bm25, rel=1e-5)
    spans = {word.word: [TEXT[a:b] for a, b in word.spans] for word in found.words}
    assert spans["revenue"] == ["Revenue"]
    assert spans["revenue region"] == ["Revenue by region"]


def test_words_do_not_count_in_a_hit_of_vectors_alone(index: PageIndex) -> None:
    assert index.search("revenue", hybrid=False)[0].explain().words == ()


def test_passages_and_words_have_their_boxes_on_the_picture() -> None:
    pages = load_pages(pdf_bytes([TEXT], size=(300, 400)), source="report.pdf")
    index = index_of(pages, encoder())
    found = index.explain("revenue by region", "report.pdf#1")
    [box] = found.passages[0].boxes
    assert box[0] == pytest.approx(30 / 300, abs=0.02)
    assert box[1] < 1 - 310 / 400 < box[3]  # the third line is drawn 90 points below the top
    for word in found.words:
        assert len(word.boxes) == len(word.spans)
        assert box[1] <= word.boxes[0][1] <= word.boxes[0][3] <= box[3]


def test_lines_survive_the_index_export_and_import(tmp_path: Path) -> None:
    index = PageIndex.open(tmp_path / "index", encoder())
    index.add(load_pages(pdf_bytes([TEXT]), source="report.pdf"))
    asked = ("revenue by region", "report.pdf#1")
    boxes = index.explain(*asked).passages[0].boxes
    assert boxes
    assert index.check().findings == []
    index.export(tmp_path / "file")
    PageIndex.import_(tmp_path / "file", tmp_path / "other")
    with PageIndex.open(tmp_path / "other", encoder()) as other:
        assert other.explain(*asked).passages[0].boxes == boxes


def test_an_index_from_before_gets_lines_when_its_pages_are_added_again() -> None:
    [page] = load_pages(pdf_bytes([TEXT]), source="report.pdf")
    index = index_of([replace(page, lines="")], encoder())
    index.encoder.encoded.clear()  # type: ignore[attr-defined]
    assert index.get([page.id])[0].lines == ""
    assert index.add([page]).unchanged == 1
    assert index.get([page.id])[0].lines == page.lines
    assert index.encoder.encoded == []  # type: ignore[attr-defined]


def test_where_lines_are_not_known_the_kept_picture_is_read_by_ocr(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from metaembed_rag.explaining import explainer
    from metaembed_rag.pages import ocr

    [page] = load_pages(pdf_bytes([TEXT]), source="report.pdf")
    index = index_of([replace(page, lines="")], encoder())
    box = (0.1, 0.2, 0.5, 0.25)
    monkeypatch.setattr(explainer, "ocr_is_installed", lambda: True)
    read = Lettering("Revenue by region", [("Revenue by region", box)])
    monkeypatch.setattr(ocr, "read_text", lambda image: read)
    asked = ("revenue by region", "report.pdf#1")
    assert index.explain(*asked).passages[0].boxes == (box,)
    assert index.explain(*asked, ocr=False).passages[0].boxes == ()


def test_a_damaged_list_of_lines_costs_the_boxes_and_nothing_else() -> None:
    index = index_of([Page(source="a", text="walrus", lines="!damaged!")], encoder())
    found = index.explain("walrus", "a#1")
    assert (found.passages[0].text, found.passages[0].boxes) == ("walrus", ())


def test_a_model_that_reads_pictures_gets_parts_of_them() -> None:
    image = Image.new("RGB", (400, 600), "white")
    image.paste((200, 0, 0), (160, 360, 400, 600))
    lines = packed([TextLine(0, 6, (0.6, 0.8, 0.9, 0.9))])
    page = Page(source="p.png", text="walrus", image=image, lines=lines)
    index = index_of([page], encoder("image"))
    found = index.explain(Image.new("RGB", (9, 9), (200, 0, 0)), "p.png#1")
    assert found.query == "[image]"
    best = found.passages[0]
    [(left, top, _, _)] = best.boxes
    assert left >= 0.4
    assert top >= 0.6
    assert best.score == pytest.approx(1, abs=1e-5)
    assert found.pieces == 14
    assert any(passage.text == "walrus" for passage in found.passages)


def test_a_page_of_text_and_picture_is_cut_as_a_text_where_no_lines_are_known() -> None:
    image = Image.new("RGB", (400, 600), "white")
    pages = [Page(source="p", text=TEXT, image=image)]
    index = index_of(pages, encoder("text", "image", "fused"))
    found = index.explain("revenue by region", "p#1", ocr=False)
    assert found.passages[0].text == "Revenue by region"


def test_a_page_that_is_not_there_and_a_budget_that_there_is_not_are_refused(
    index: PageIndex,
) -> None:
    with pytest.raises(StoreError, match="no page with the id 'gone'"):
        index.explain("whale", "gone")
    with pytest.raises(BudgetError):
        index.explain("whale", "report.txt#1", budget=(16, 64))


@pytest.mark.parametrize("page", [None, 3, b"a#1", ["a#1"]])
def test_what_names_no_page_is_refused(index: PageIndex, page: object) -> None:
    with pytest.raises(StoreError, match="the id of a page is text, not"):
        index.explain("fox", page)  # type: ignore[arg-type]


def test_the_page_is_explained_as_the_index_has_it_now(index: PageIndex) -> None:
    [hit] = index.search("revenue by region", 1, hybrid=False)
    index.add([Page(source="report.txt", text="Only walruses.")])
    found = hit.explain()
    assert found.page.text == "Only walruses."
    assert [one.text for one in found.passages] == ["Only walruses."]
    query = index.encoder.encode_query(["revenue by region"])[0]
    expected = maxsim(query, index.vectors(["report.txt#1"]))[0] / 4
    assert found.score == pytest.approx(expected, abs=1e-5)


def test_a_hit_explains_itself_at_the_budget_of_its_search(index: PageIndex) -> None:
    [hit] = index.search("revenue by region", 1, budget=(2, 3), hybrid=False)
    assert str(hit.explain().budget) == "2,3"
    assert hit.explain().score == pytest.approx(hit.score, abs=1e-5)
    assert str(hit.explain("4,8").budget) == "4,8"
    assert index.explain("revenue by region", hit, budget=(2, 3)) == hit.explain()
    by_page = index.explain("revenue by region", hit.page, budget=(2, 3))
    assert replace(by_page, words=()) == hit.explain()  # of a page words are looked for, too


def test_a_hit_of_vectors_explains_itself_too(index: PageIndex) -> None:
    vectors = index.encoder.encode_query(["revenue by region"])[0]
    found = index.search_vectors(vectors, 1)[0].explain()
    assert (found.query, found.passages[0].text) == (None, "Revenue by region")


def test_hits_are_equal_pickled_and_copied_without_their_index(index: PageIndex) -> None:
    one, other = (index.search("revenue by region", 1)[0] for _ in range(2))
    assert one == other
    for copied in (pickle.loads(pickle.dumps(one)), copy.deepcopy(one)):
        assert copied == one
        with pytest.raises(StoreError, match="index.explain"):
            copied.explain()
    assert asdict(one)["rank"] == 1


def test_hits_keep_no_index_alive() -> None:
    index = index_of([Page(source="a", text="walrus")], encoder())
    [hit] = index.search("walrus", 1)
    del index
    gc.collect()
    with pytest.raises(StoreError, match="the index of this hit is gone"):
        hit.explain()


def test_snippets_are_made_where_they_are_asked_for() -> None:
    text = TEXT.replace("Index of", "\n".join(["Filler that says little."] * 30) + "\nIndex of")
    index = index_of([Page(source="a", text=text)], encoder())
    assert index.search("revenue by region")[0].snippet is None
    hits = index.search("revenue by region", snippets=True)
    assert hits[0].snippet is not None
    assert hits[0].snippet.startswith("Revenue by region Europe grew")
    assert len(hits[0].snippet) <= 240
    assert hits.to_dict()["hits"][0]["snippet"] == hits[0].snippet
    assert index.score("revenue by region", ["a#1"], snippets=True)[0].snippet == hits[0].snippet


def test_a_short_text_is_its_own_snippet_and_nothing_is_encoded_for_it() -> None:
    index = index_of([Page(source="a", text="A walrus\nsings.")], encoder())
    index.encoder.encoded.clear()  # type: ignore[attr-defined]
    [hit] = index.search("walrus", snippets=True)
    assert hit.snippet == "A walrus sings."
    assert index.encoder.encoded == []  # type: ignore[attr-defined]


def test_the_json_has_the_keys_that_clients_read(index: PageIndex) -> None:
    found = index.explain("revenue by region", "report.txt#1", budget=(1, 1)).to_dict()
    assert json.loads(json.dumps(found)) == found
    assert list(found) == [
        *("query", "budget", "id", "source", "page", "score", "vectors", "passages", "words")
    ]
    assert list(found["vectors"][0]) == ["query", "page", "similarity", "share"]
    assert list(found["passages"][0]) == ["text", "start", "end", "score", "share", "boxes"]
    if found["words"]:
        assert list(found["words"][0]) == ["word", "weight", "spans", "boxes"]


def test_without_the_extra_there_are_no_words(
    index: PageIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "bm25s", None)
    found = index.explain("revenue", "report.txt#1")
    assert isinstance(found, Explanation)
    assert found.words == ()


def test_nothing_is_explained_of_no_hits(index: PageIndex) -> None:
    hits = index.search("whale", where={"page": 7}, snippets=True)
    assert isinstance(hits, Hits)
    assert hits == []


def test_similarities_of_stored_vectors_are_those_of_their_format() -> None:
    pages = [Page(source="a", text=TEXT)]
    with PageIndex.open(":memory:", encoder(), format="int4") as index:
        index.add(pages)
        found = index.explain("revenue", "a#1")
        [hit] = index.search("revenue", 1, hybrid=False)
        assert found.score == pytest.approx(hit.score, abs=1e-5)
        assert np.isfinite([one.similarity for one in found.vectors]).all()
