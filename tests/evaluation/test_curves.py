"""A model at several budgets, measured with an encoder whose right answers are obvious."""

import json

import numpy as np
import pytest
from PIL import Image

from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.errors import BudgetError, DatasetError, ModelError
from metaembed_rag.evaluation import Dataset, Query, evaluate, exhaustive_scores
from metaembed_rag.index import PageIndex
from metaembed_rag.pages import Page, ocr
from metaembed_rag.testing import FakeEncoder
from metaembed_rag.vectors.formats import quantize

PAGES = (
    Page("a.txt", text="lift and drag of a wing", id="a"),
    Page("b.txt", text="heat conduction in slabs", id="b"),
    Page("c.txt", text="shock waves over cones", id="c"),
)
QUERIES = (Query("1", "drag"), Query("2", "heat"), Query("3", "shock"))
QRELS = {"1": {"a": 1}, "2": {"b": 1}, "3": {"c": 1}}


def small_set(pages=PAGES, queries=QUERIES, qrels=QRELS):
    return Dataset("small", tuple(pages), tuple(queries), qrels)


class ReadsText(FakeEncoder):
    """An encoder that would notice a picture."""

    def __init__(self):
        super().__init__(modalities=("text",))


@pytest.fixture
def pictures(tmp_path):
    """Two charts without text and the OCR that would read them, counting its work."""
    paths = [tmp_path / "red.png", tmp_path / "blue.png"]
    for path in paths:
        Image.new("RGB", (8, 8), path.stem).save(path)
    return tuple(Page(str(p), id=p.stem, image_path=str(p)) for p in paths)


@pytest.fixture
def read(monkeypatch):
    """Stands in for the OCR engine: red pictures say "sales", blue ones nothing."""
    calls = []

    def read_text(image):
        calls.append(image)
        return "sales by region" if image.getpixel((0, 0)) == (255, 0, 0) else " "

    monkeypatch.setattr(ocr, "read_text", read_text)
    return calls


def test_words_that_only_one_page_has_find_it_at_every_budget():
    report = evaluate(small_set(), FakeEncoder())
    assert [str(result.budget) for result in report.results] == [
        "1,1",
        "2,4",
        "4,8",
        "8,16",
        "16,64",
    ]
    assert report.results[0].mean("precision@1") == 1
    assert report.results[-1].mean("ndcg@5") == 1


def test_a_wrong_judgement_costs_what_its_place_costs():
    wrong = {"1": {"a": 1}, "2": {"b": 1}, "3": {"nowhere": 1}}
    result = evaluate(small_set(qrels=wrong), FakeEncoder(), budgets=["full"]).results[0]
    assert result.per_query["mrr@10"].tolist() == [1, 1, 0]
    assert result.mean("mrr@10") == pytest.approx(2 / 3)
    low, high = result.interval("mrr@10")
    assert low < 2 / 3 < high


def test_the_json_object_is_the_contract():
    report = evaluate(small_set(), FakeEncoder(dimension=8), budgets=["4,8"], mode="text", limit=2)
    found = json.loads(json.dumps(report.to_dict()))
    milliseconds = found["results"][0].pop("query_ms")
    assert milliseconds > 0
    assert found == {
        "dataset": "small",
        "model": "fake",
        "mode": "text",
        "queries": 2,
        "pages": 3,
        "results": [
            {
                "budget": [4, 8],
                "ndcg@5": 1.0,
                "ndcg@10": 1.0,
                "recall@10": 1.0,
                "mrr@10": 1.0,
                "precision@1": 1.0,
                "bytes_per_page": 8 * (8 + 2),
            }
        ],
    }


def test_every_page_is_encoded_once_for_all_budgets():
    encoder = FakeEncoder()
    evaluate(small_set(), encoder, batch_size=1)
    assert encoder.encoded == [page.text for page in PAGES]


def test_a_model_with_fewer_vectors_is_measured_at_the_budgets_that_it_has():
    report = evaluate(small_set(), FakeEncoder(query_vectors=4, document_vectors=8))
    assert [str(result.budget) for result in report.results] == ["1,1", "2,4", "4,8"]


def test_a_budget_beyond_the_model_is_refused_before_anything_is_encoded():
    encoder = FakeEncoder(query_vectors=4, document_vectors=8)
    with pytest.raises(BudgetError, match="8 are stored"):
        evaluate(small_set(), encoder, budgets=["4,9"])
    assert encoder.encoded == []


def test_an_unknown_mode_is_refused():
    with pytest.raises(ModelError, match="'both' is not one of fused, image, text"):
        evaluate(small_set(), FakeEncoder(), mode="both")
    with pytest.raises(TypeError, match="'modes'"):
        evaluate(small_set(), FakeEncoder(), modes="text")


def test_a_folder_serves_as_a_set(tmp_path):
    (tmp_path / "qrels").mkdir()
    (tmp_path / "corpus.jsonl").write_text('{"_id": "a", "text": "drag"}\n')
    (tmp_path / "queries.jsonl").write_text('{"_id": "1", "text": "drag"}\n')
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n1\ta\t1\n")
    report = evaluate(tmp_path, FakeEncoder(), budgets=["fast"])
    assert report.dataset == tmp_path.name
    assert report.results[0].mean("ndcg@10") == 1


def test_scores_are_maxsim_of_the_stored_vectors():
    generator = np.random.default_rng(0)
    queries = generator.standard_normal((40, 3, 5)).astype(np.float32)
    pages = quantize(generator.standard_normal((7, 6, 5)).astype(np.float32))
    stored = pages.dequantize()
    plain = np.array(
        [
            [sum(max(q @ c for c in page[:4]) for q in query[:2]) for page in stored]
            for query in queries
        ]
    )
    found = exhaustive_scores(queries, pages, RetrievalBudget(2, 4))
    np.testing.assert_allclose(found, plain, rtol=1e-5, atol=1e-5)


def test_a_page_with_nothing_to_read_is_reported_and_cannot_be_found():
    pages = (*PAGES, Page("empty.txt", id="empty"))
    qrels = {**QRELS, "1": {"empty": 1}}
    report = evaluate(small_set(pages, qrels=qrels), FakeEncoder(), budgets=["full"])
    assert [error.source for error in report.skipped] == ["empty"]
    assert report.pages == 4
    assert report.results[0].per_query["recall@10"].tolist() == [0, 1, 1]


def test_a_damaged_picture_is_reported_and_the_rest_goes_on(tmp_path):
    (tmp_path / "bad.png").write_text("no picture")
    pages = (*PAGES, Page("bad", id="bad", image_path=str(tmp_path / "bad.png")))
    report = evaluate(small_set(pages), FakeEncoder(), budgets=["full"])
    assert len(report.skipped) == 1
    assert report.results[0].mean("ndcg@5") == 1


def test_a_set_without_a_readable_page_is_refused_with_the_reason():
    with pytest.raises(DatasetError, match=r"no page can be read; the first: a: .*neither text"):
        evaluate(small_set([Page("a", id="a")]), FakeEncoder())


def test_a_model_that_reads_text_gets_the_text_of_pictures_by_ocr(pictures, read):
    encoder = ReadsText()
    sales = small_set((*PAGES, *pictures), [Query("s", "sales")], {"s": {"red": 1}})
    report = evaluate(sales, encoder, mode="image", budgets=["full"])
    assert encoder.encoded[3:] == ["sales by region"]
    assert report.results[0].mean("precision@1") == 1
    assert [error.source for error in report.skipped] == ["blue"]


def test_a_model_that_reads_pictures_gets_them_and_no_ocr_runs(pictures, read):
    encoder = FakeEncoder()
    report = evaluate(
        small_set(pictures, [Query("s", "sales")], {"s": {"red": 1}}), encoder, mode="image"
    )
    assert [image.size for image in encoder.encoded] == [(8, 8), (8, 8)]
    assert report.skipped == ()
    assert read == []


def test_image_mode_reads_the_picture_although_the_page_has_text(pictures, read):
    encoder = ReadsText()
    page = Page("p", id="p", text="text layer", image_path=pictures[0].image_path)
    one = small_set([page], [Query("s", "sales")], {"s": {"p": 1}})
    evaluate(one, encoder, mode="image", budgets=["fast"])
    evaluate(one, encoder, mode="fused", budgets=["fast"])
    assert encoder.encoded == ["sales by region", "text layer"]


def test_without_ocr_a_picture_is_reported(pictures, read):
    sales = small_set((*PAGES, *pictures))
    report = evaluate(sales, ReadsText(), budgets=["fast"], ocr=False)
    assert [error.source for error in report.skipped] == ["red", "blue"]
    assert read == []


def test_kept_ocr_texts_are_not_read_again(pictures, read, tmp_path):
    sales = small_set((*PAGES, *pictures))
    reports = [
        evaluate(sales, ReadsText(), budgets=["full"], cache_dir=tmp_path / "ocr") for _ in range(2)
    ]
    assert len(read) == 2
    assert len(list((tmp_path / "ocr").iterdir())) == 2
    assert [str(report.skipped[0]) for report in reports] == [str(reports[0].skipped[0])] * 2
    Image.new("RGB", (8, 8), "white").save(pictures[0].image_path)
    evaluate(sales, ReadsText(), budgets=["full"], cache_dir=tmp_path / "ocr")
    assert len(read) == 3


def test_hybrid_lets_words_decide_and_says_so():
    # Every page gets the same vectors, so only the words can tell them apart.
    class Blind(FakeEncoder):
        def _words(self, item):
            return ["same"]

    pages = tuple(Page(source=name, text=name) for name in ("apples", "pears", "quinces"))
    queries = tuple(Query(page.source, page.source) for page in pages)
    dataset = Dataset("toy", pages, queries, {q.id: {f"{q.id}#1": 1} for q in queries})
    blind = evaluate(dataset, Blind(), budgets=["full"])
    fused = evaluate(dataset, Blind(), budgets=["full"], hybrid=True)
    assert blind.results[0].mean("precision@1") == pytest.approx(1 / 3)
    assert fused.results[0].mean("precision@1") == 1
    assert (blind.hybrid, fused.hybrid) == (None, "minmax")
    auto = evaluate(dataset, Blind(), budgets=["full"], hybrid="auto")
    assert (auto.hybrid, auto.results[0].mean("precision@1")) == ("auto", 1)
    assert "hybrid" not in blind.to_dict()


def test_auto_ranks_as_an_index_does_without_options():
    texts = ("a red fox", "the fox is quick and quick", "a quick brown dog", "red red wine", "snow")
    pages = tuple(Page(source=f"{n}", text=text) for n, text in enumerate(texts))
    queries = tuple(Query(text, text) for text in ("quick fox", "red dog", "winter"))
    qrels = {query.id: {pages[0].id: 1} for query in queries}
    encoder = FakeEncoder()
    toy = Dataset("toy", pages, queries, qrels)
    report = evaluate(toy, encoder, budgets=["4,8"], hybrid="auto")
    index = PageIndex.open(":memory:", encoder)
    index.add(pages)
    for number, query in enumerate(queries):
        found = [hit.page.id for hit in index.search(query.text, budget="4,8")]
        rank = 1 + found.index(pages[0].id)
        assert report.results[0].per_query["mrr@10"][number] == pytest.approx(1 / rank)
