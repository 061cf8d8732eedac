"""The benchmarks run, at toy sizes; what they measure is in results/."""

import asyncio
import json
import os
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from benchmarks.data import opencqa
from benchmarks.quality import bm25, formats, fusion, hybrid
from benchmarks.search import async_retrieval, disk_size, gpu, index_speed, search_speed
from metaembed_rag import PageIndex
from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.evaluation import Dataset, Query, read_dataset
from metaembed_rag.options import Fusion
from metaembed_rag.pages import Page, ocr
from metaembed_rag.search.fusion import fuse
from metaembed_rag.search.words import FOUND_PAIRS, FOUND_WORDS
from metaembed_rag.testing import FakeEncoder
from metaembed_rag.vectors.formats import FORMATS

pytestmark = pytest.mark.integration

CHECKOUT = Path(__file__).parents[2]
DATA = Path(os.environ.get("METAEMBED_DATA", CHECKOUT.parent / "shared" / "data"))


@pytest.fixture
def text_set(tmp_path):
    """A BEIR folder: two pages of text, and a picture for OCR."""
    folder = tmp_path / "toy"
    (folder / "qrels").mkdir(parents=True)
    Image.new("RGB", (4, 4), "red").save(folder / "chart.png")
    pages = [
        {"_id": "a", "text": "the lift of wings"},
        {"_id": "b", "text": "a wing that drags"},
        {"_id": "c", "image": "chart.png"},
    ]
    queries = [
        {"_id": "1", "text": "wing"},
        {"_id": "2", "text": "sales"},
        {"_id": "3", "text": "the"},
    ]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, pages)))
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    (folder / "qrels" / "test.tsv").write_text("query\tpage\tscore\n1\tb\t1\n2\tc\t1\n3\ta\t1\n")
    return folder


def test_stemming_makes_bm25_find_other_forms_of_a_word():
    texts = ["the lift of wings", "a wing that drags"]
    (plain,), _ = bm25.bm25_scores(texts, ["wing"], stemmed=False)
    (stemmed,), _ = bm25.bm25_scores(texts, ["wing"], stemmed=True)
    assert plain[0] == 0 < plain[1]
    assert stemmed[0] > 0 < stemmed[1]


def test_bm25_gives_no_points_for_a_query_of_stop_words():
    scores, _ = bm25.bm25_scores(["some text"], ["the of"], stemmed=False)
    assert scores.tolist() == [[0]]


@pytest.mark.integration
@pytest.mark.parametrize(
    ("name", "pages", "queries", "plain", "stemmed"),
    [
        ("texdoc_pages", 420, 538, 89.2, 84.7),
        ("debian_packages", 3518, 2000, 78.9, 82.0),
        ("cranfield", 1400, 225, 31.8, 33.6),
    ],
)
def test_bm25_on_real_sets_is_what_another_implementation_of_ndcg_gave(
    name, pages, queries, plain, stemmed
):
    if not (DATA / name).is_dir():
        pytest.skip(f"the set {name} is not at {DATA}; METAEMBED_DATA names its folder")
    dataset = read_dataset(DATA / name)
    assert (len(dataset.pages), len(dataset.queries), dataset.unjudged) == (pages, queries, 0)
    found = [100 * result["ndcg@5"] for result in bm25.bm25_results(dataset)]
    assert found == pytest.approx([plain, stemmed], abs=0.06)


@pytest.mark.parametrize("copy", [True, False])
def test_opencqa_charts_become_a_set_of_pictures_and_all_their_questions(tmp_path, copy):
    source = tmp_path / "source"
    (source / "images").mkdir(parents=True)
    for name in "123":
        Image.new("RGB", (2, 2)).save(source / "images" / f"{name}.webp")
    records = [{"image": f"images/{n}.webp", "text": f"{n}{q}?"} for n in "123" for q in "xy"]
    (source / "val.jsonl").write_text("\n".join(map(json.dumps, records)))
    assert opencqa.make_opencqa(source, tmp_path / "out", charts=2, seed=1, copy=copy) == (2, 4)
    dataset = read_dataset(tmp_path / "out")
    assert [page.text for page in dataset.pages] == ["", ""]
    assert all(query.text[0] in dataset.qrels[query.id] for query in dataset.queries)
    with pytest.raises(FileExistsError, match="name a new folder"):
        opencqa.make_opencqa(source, tmp_path / "out")


def test_index_speed_accounts_for_its_pages_and_time(tmp_path):
    pages = [Page("p", number=n, text=f"page {n}", image=Image.new("RGB", (9, 9))) for n in (1, 2)]
    found = index_speed.index_speed(pages, FakeEncoder(), tmp_path / "index")
    assert found["pages"] == 2
    assert found["skipped"] == []
    assert sum(found["seconds_of"].values()) <= found["seconds"] + 0.05
    assert 0 < found["share_of_store_and_hash"] <= 1
    assert found["index_bytes_per_page"] > 64 * (64 + 2)


def test_search_speed_times_candidate_and_exhaustive_searches(tmp_path):
    encoder = search_speed.RandomEncoder(8)
    index, _ = search_speed.build(tmp_path / "index", 30, encoder)
    assert len(index) == 30
    found = search_speed.search_speed(index, encoder, searches=2, exhaustive_searches=1)
    assert [result["budget"] for result in found[:5]] == [list(b) for b in RetrievalBudget.PAPER]
    assert [result.get("exhaustive", False) for result in found] == [False] * 7 + [True] * 5
    assert all(0 < result["p50_ms"] <= result["p95_ms"] for result in found)
    ways = search_speed.search_ways(index, encoder.encode_query(range(3)))
    assert [(way["source"], way["searches"]) for way in ways] == [("cache", 3)] * 5
    assert {way["way"]: way["recall@10"] for way in ways}["cascade"] == 1.0  # 30 pages are few


def test_the_parts_of_an_index_on_disk_are_its_whole(tmp_path):
    found = disk_size.disk_size(tmp_path / "index", 20, {"dimension": 8, "text": 50})
    assert set(found["bytes_per_page"]) == {
        "Chroma's database",
        "Chroma's graph and other files",
        "vector cache",
    }
    assert sum(found["bytes_per_page"].values()) == pytest.approx(found["whole"], abs=3)
    assert found["vectors"] == 64 * (8 + 2)


def test_hybrid_compares_every_fusion_with_each_system_alone(text_set, tmp_path, monkeypatch):
    monkeypatch.setattr(ocr, "read_text", lambda picture: "")
    encoder = FakeEncoder()
    for _ in range(2):  # the second time from the cache
        encoded = hybrid.encode(hybrid.read(text_set, tmp_path / "ocr"), encoder, tmp_path)
        report = hybrid.compare(encoded)
    assert len(encoder.encoded) == 2  # the picture has no text
    # "sales" finds nothing and "the" leaves ties by id: a. Stemmed, "wing" finds a before b.
    assert report["bm25"] == {"plain": 0.6667, "stemmed": 0.5436, "words and pairs": 0.5436}
    assert [row["budget"] for row in report["results"]] == ["1,1", "2,4", "4,8", "8,16", "16,64"]
    for row in report["results"]:
        mean, low, high = row["gain"]
        assert mean == pytest.approx(row["hybrid"] - 0.6667, abs=2e-4)
        assert low <= mean <= high
    assert "| toy | (16,64) | 66.7 | 54.4 | 54.4 |" in hybrid.table([report])
    found = hybrid.choices([encoded])
    assert len(found) == len(hybrid.WEIGHTS) * len(hybrid.PAIR_WEIGHTS)
    assert all(one["least gain"] <= one["mean"] - 0.6666 for one in found)
    assert len(hybrid.choice_table(found).splitlines()) == 2 + len(hybrid.PAIR_WEIGHTS)


def test_fusion_compares_every_method_on_both_kinds_of_sets(text_set, tmp_path, monkeypatch):
    monkeypatch.setattr(ocr, "read_text", lambda picture: "")
    encoded = hybrid.encode(hybrid.read(text_set, tmp_path / "ocr"), FakeEncoder(), None)
    report = fusion.Trial.of(encoded).report()
    assert report["bm25"] == {"plain": 0.6667, "stemmed": 0.5436}
    rows = fusion.summary({"keywords": [report], "questions": [report]})
    assert {row["method"] for row in rows} == set(fusion.methods())
    for row in rows:
        assert row["keywords"] == row["questions"] == row["mean"]
        assert row["least gain"] <= row["mean"] - 0.6666
    assert fusion.table(rows).splitlines()[0] == (
        "| method | keywords | questions | mean | least gain |"
    )


def test_the_fusions_that_a_search_has_are_as_a_search_has_them():
    maxsim, words = np.array([1.0, 5.0, 3.0]), np.array([8.0, 0.0, 2.0])
    convex = fusion.minmax(maxsim, words, 9.0, weight=0.6)
    assert convex == pytest.approx(fuse(Fusion(), maxsim, words))
    ranks = fusion.reciprocal(maxsim, words, 9.0, weight=0.5, k=60)
    assert ranks * 61 == pytest.approx(fuse(Fusion("rrf"), maxsim, words))


def test_auto_is_what_a_search_without_options_does(tmp_path):
    texts = ["lift and drag of wings", "wings lift a bird", *(f"page {n} of wings" for n in "1234")]
    pages = tuple(Page("p", number=n, text=text) for n, text in enumerate(texts, 1))
    query = Query("q", "the lift of wings in region five")
    data = Dataset("toy", pages, (query,), {"q": {pages[0].id: 1}})
    trial = fusion.Trial.of(hybrid.encode(data, FakeEncoder(), None))
    index = PageIndex.open(tmp_path / "index", FakeEncoder())
    index.add(pages)
    hits = index.search(query.text, k=len(pages), budget=(4, 8))
    maxsim = hybrid._maxsim(trial.encoded, RetrievalBudget(4, 8))[0]
    [found], [bound] = trial._counted("auto")
    expected = dict(zip((p.id for p in pages), fusion.automatic(maxsim, found, bound), strict=True))
    assert {hit.page.id: hit.score for hit in hits} == pytest.approx(expected, abs=1e-5)
    [same], _ = trial._counted(f"found {FOUND_WORDS} {FOUND_PAIRS}")
    assert same == pytest.approx(found, rel=1e-5)
    assert fusion.automatic(maxsim, np.zeros(6), 0.0) is maxsim  # as where words cannot count


def test_words_count_less_where_the_best_page_has_few_of_them():
    # The best page has half of what the words could give: 0.6 becomes 0.3.
    maxsim, words = np.array([1.0, 3.0]), np.array([4.0, 0.0])
    fused = fusion.bounded(maxsim, words, 8.0, weight=0.6, power=1.0)
    assert fused == pytest.approx([0.3, 0.4])
    assert fusion.bounded(maxsim, words, 4.0, weight=0.6, power=1.0) == pytest.approx([0.6, 0.4])


def test_a_set_can_be_read_by_ocr_though_it_has_text(text_set, monkeypatch):
    monkeypatch.setattr(ocr, "read_text", lambda picture: "sales rose")
    assert [page.text for page in hybrid.read_pictures(text_set, None).pages] == [
        "",  # no text layer and no picture
        "",
        "sales rose",
    ]
    assert hybrid.read(text_set, None).pages[0].text == "the lift of wings"


def test_development_data_share_no_query_and_no_chart_with_evaluation_sets(text_set, tmp_path):
    toy = read_dataset(text_set)
    assert [query.text for query in hybrid.without_queries(toy, [toy]).queries] == []
    rows = [{"image": f"images/{name}.webp", "text": f"What of {name}?"} for name in ("chart", "x")]
    (tmp_path / "val.jsonl").write_text("\n".join(map(json.dumps, [*rows, rows[1]])))
    charts = hybrid.development_charts(tmp_path, [toy])  # toy's picture is chart.png
    assert [page.id for page in charts.pages] == ["x"]
    assert charts.qrels == {"x@0": {"x": 1}, "x@1": {"x": 1}}


def test_only_candidates_are_fused(monkeypatch):
    monkeypatch.setattr(hybrid, "CANDIDATES", 1)
    scores = hybrid.among_candidates(np.add, np.array([1.0, 9.0, 2.0]), np.array([0.0, 0.0, 5.0]))
    assert scores.tolist() == [-np.inf, 9.0, 7.0]


def test_what_is_fused_here_is_what_an_index_finds(tmp_path):
    texts = [f"wings lift {word} drag" for word in "abcdefgh"] + ["sales by region", "wings"]
    pages = tuple(Page("p", number=n, text=text) for n, text in enumerate(texts, 1))
    query = Query("q", "wings of region")
    data = Dataset("toy", pages, (query,), {"q": {pages[0].id: 1}})
    encoded = hybrid.encode(data, FakeEncoder(), None)
    index = PageIndex.open(tmp_path / "index", FakeEncoder())
    index.add(pages)
    hits = index.search(query.text, k=len(pages), budget=(4, 8), hybrid=True)
    maxsim, words = hybrid._maxsim(encoded, RetrievalBudget(4, 8)), hybrid.Words.of(data).both()
    fused = hybrid.among_candidates(partial(fuse, Fusion()), maxsim[0], words[0])
    expected = dict(zip((page.id for page in pages), fused, strict=True))
    assert {hit.page.id: hit.score for hit in hits} == pytest.approx(expected, abs=1e-5)


def test_scoring_on_a_device_is_timed_where_it_gives_the_bits_of_the_cpu():
    rows = gpu.measure("cpu", pages=50, dimension=32, queries=[1, 2], rounds=1)
    assert len({(row["budget"], row["queries"]) for row in rows}) == 5 * 2
    assert all(row["ms"] > 0 for row in rows)


def test_the_benchmark_compares_formats_on_a_set(tmp_path, monkeypatch, capsys):
    (tmp_path / "qrels").mkdir()
    write = {
        "corpus.jsonl": "".join(f'{{"_id": "d{n}", "text": "word{n} x"}}\n' for n in range(12)),
        "queries.jsonl": '{"_id": "q", "text": "word7"}\n',
        "qrels/test.tsv": "query-id\tcorpus-id\tscore\nq\td7\t1\n",
    }
    for name, text in write.items():
        (tmp_path / name).write_text(text)
    fake = SimpleNamespace(from_pretrained=lambda name: FakeEncoder())
    monkeypatch.setattr(formats, "MetaEmbedEncoder", fake)
    assert formats.main([str(tmp_path), "--json", str(tmp_path / "formats.json")]) == 0
    record = json.loads((tmp_path / "formats.json").read_text())
    assert record["fingerprint"] == FakeEncoder().fingerprint
    rows = record["numbers"]["rows"]
    assert [row["format"] for row in rows[::5]] == ["fp32", *FORMATS]
    assert all(row["kept@10"] == 1 for row in rows[:5])
    full = {row["format"]: row for row in rows if row["budget"] == [16, 64]}
    assert all(row["ndcg@10"] == 1 for row in full.values())
    assert full["int4"]["bytes_per_page"] == 64 * (64 // 2 + 2)
    assert "ms" not in full["fp32"]
    assert full["int8"]["ms"] > 0
    assert "| int4 | (16, 64) | 2,176 | 100.0% | 100.0% |" in capsys.readouterr().out


def test_a_search_that_blocks_the_event_loop_is_noticed():
    async def blocking(query: str) -> None:
        if query == async_retrieval.QUERIES[0]:
            time.sleep(0.06)

    found = asyncio.run(async_retrieval.measure(blocking, 1, idle_seconds=0))
    assert min(found["in_sequence_blocked_ms"] + found["blocked_ms"]) >= 50
    assert len(set(async_retrieval.QUERIES)) == 32


def test_turned_pictures_are_compared_with_upright_ones(monkeypatch):
    from benchmarks.quality import turned_pictures
    from metaembed_rag.pages import ocr

    image = Image.new("RGB", (30, 20))
    texts = {(30, 20): "two words", (20, 30): "two"}
    monkeypatch.setattr(ocr, "read_text", lambda picture: texts[picture.size])
    monkeypatch.setattr(ocr, "_read", lambda picture: [ocr.Line("two", 0, 0, 9, 9, 0.75)])
    found = turned_pictures.measure(image)
    assert [found[str(angle)]["words"] for angle in (180, 90, 270)] == [1.0, 0.5, 0.5]
    assert (found["words"], found["confidence"]) == (2, 0.75)
