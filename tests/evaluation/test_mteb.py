"""mteb judges the encoder and the index as this package's own evaluation does."""

import importlib
import inspect
import json
import math
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sentence_transformers.sentence_transformer.evaluation import NanoBEIREvaluator

from metaembed_rag import MetaEmbedEncoder
from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.errors import BudgetError, MissingExtraError, ModelError, StoreError
from metaembed_rag.evaluation import Dataset, Query, evaluate
from metaembed_rag.model.checkpoints import shipped_checkpoints
from metaembed_rag.pages import Page
from metaembed_rag.testing import FakeEncoder
from tests.support import tiny_backbones

mteb = pytest.importorskip("mteb", reason="needs the extra mteb")

from metaembed_rag.evaluation.mteb import MTEBEncoder, MTEBIndex, as_task  # noqa: E402

pytestmark = pytest.mark.integration

SECOND = 1 / math.log2(3)
"""nDCG where the only relevant page stands in the second place."""

TEXTS = Dataset(
    "texts",
    (
        Page("a.txt", text="lift and drag of a wing", id="a"),
        Page("b.txt", text="heat conduction in slabs", id="b"),
        Page("c.txt", text="shock waves over cones", id="c"),
    ),
    (Query("1", "drag"), Query("2", "heat"), Query("3", "heat conduction drag")),
    {"1": {"a": 1}, "2": {"b": 1}, "3": {"a": 1}},  # the third shares two words with b, one with a
)


class SeesColours(FakeEncoder):
    """To it a picture is the name of its colour."""

    def _words(self, item):
        words = item.text.split()
        if item.image is not None:
            words.append(["red", "green", "blue"][int(np.argmax(item.image.getpixel((0, 0))))])
        return words


@pytest.fixture
def pictures(tmp_path):
    """Two red pages and a green one, each with a word beside its picture."""
    pages = []
    for id, colour, text in [("rs", "red", "sales"), ("rc", "red", "costs"), ("g", "lime", "tax")]:
        path = tmp_path / f"{id}.png"
        Image.new("RGB", (8, 8), colour).save(path)
        pages.append(Page(str(path), text=text, id=id, image_path=str(path)))
    queries = (Query("1", "red sales"), Query("2", "green"), Query("3", "red costs"))
    qrels = {"1": {"rs": 1}, "2": {"g": 1}, "3": {"rs": 1}}
    return Dataset("pictures", tuple(pages), queries, qrels)


def exhaustive_index(encoder, **options):
    return MTEBIndex(encoder, exhaustive=True, **options)


every_way = pytest.mark.parametrize("way", [MTEBEncoder, MTEBIndex, exhaustive_index])


def judged(model, task):
    """mteb's scores of the only split."""
    result = mteb.evaluate(model, task, cache=None, co2_tracker=False, show_progress_bar=False)
    return result.task_results[0].scores["test"][0]


def found(model, dataset, **options):
    """Query id -> page id -> score, as mteb's retrieval tasks would get them."""
    task = as_task(dataset)
    split = task.dataset["default"]["test"]
    about = {"task_metadata": task.metadata, "hf_split": "test", "hf_subset": "default"}
    about |= {"encode_kwargs": {"show_progress_bar": False}, "num_proc": None}
    if isinstance(model, MTEBEncoder):
        model = importlib.import_module("mteb.models").SearchEncoderWrapper(model)
    model.index(split["corpus"], **about)
    return model.search(split["queries"], **about, **{"top_k": 10} | options)


@every_way
def test_a_text_task_gets_the_ndcg_that_a_pencil_gives(way):
    scores = judged(way(FakeEncoder()), as_task(TEXTS))
    assert scores["ndcg_at_10"] == pytest.approx((1 + 1 + SECOND) / 3, abs=1e-5)
    assert scores["recall_at_10"] == 1
    assert scores["main_score"] == scores["ndcg_at_10"]


@every_way
def test_a_task_of_pictures_gets_the_ndcg_that_a_pencil_gives(way, pictures):
    scores = judged(way(SeesColours()), as_task(pictures))
    assert scores["ndcg_at_5"] == pytest.approx((1 + 1 + SECOND) / 3, abs=1e-5)


def test_a_vision_language_model_is_given_the_pictures(tmp_path, pictures):
    torch.set_num_threads(1)
    encoder = MetaEmbedEncoder.from_backbone(tiny_backbones.qwen2_5_vl(tmp_path / "tiny"), 2, 4)
    images = [Image.open(page.image_path) for page in pictures.pages]
    texts = [page.text for page in pictures.pages]
    both = [{"text": text, "image": image} for text, image in zip(texts, images, strict=True)]
    for mode, inputs in [("image", images), ("text", texts), ("fused", both)]:
        model = MTEBEncoder(encoder, mode=mode, budget="1,2")
        vectors = model.encode(
            [{"image": images, "text": texts}],
            task_metadata=as_task(pictures).metadata,
            hf_split="test",
            hf_subset="default",
            prompt_type="document",
        )
        assert np.allclose(vectors, encoder.encode_document(inputs)[:, :2], atol=1e-6)
    weights = encoder.backbone.model.parameters()
    assert model.mteb_model_meta.n_parameters == sum(weight.numel() for weight in weights)


@every_way
@pytest.mark.parametrize("budget", ["1,1", "4,8"])
def test_mteb_and_this_package_agree_at_every_budget(way, budget, pictures):
    for dataset, mode in [(TEXTS, "text"), (pictures, "fused"), (pictures, "text")]:
        ours = evaluate(dataset, SeesColours(), mode=mode, budgets=[budget]).results[0]
        theirs = judged(way(SeesColours(), mode=mode, budget=budget), as_task(dataset))
        assert theirs["ndcg_at_10"] == pytest.approx(ours.mean("ndcg@10"), abs=1e-5)


def test_pictures_and_fused_queries_are_questions_too(pictures):
    queries = (Query("1", "costs", pictures.pages[0].image_path),)
    dataset = Dataset("fused", pictures.pages, queries, {"1": {"rc": 1}})
    assert as_task(dataset).metadata.category == "it2it"
    for way in (MTEBEncoder, MTEBIndex):
        scores = found(way(SeesColours()), dataset)["1"]
        assert max(scores, key=scores.get) == "rc"


def test_in_image_mode_the_text_is_not_read(pictures):
    for way in (MTEBEncoder, MTEBIndex):
        scores = found(way(SeesColours(), mode="image"), pictures)["1"]
        assert scores["rs"] == pytest.approx(scores["rc"], abs=1e-6)


@every_way
def test_a_page_without_anything_to_read_is_reported_and_comes_last(way):
    empty = Page("d.txt", text=" ", id="d")
    dataset = Dataset("gap", (empty, *TEXTS.pages), TEXTS.queries, TEXTS.qrels)
    with pytest.warns(UserWarning, match="1 documents could not be read.*d: the page has neither"):
        scores = found(way(FakeEncoder()), dataset)
    for ranked in scores.values():
        assert set(ranked) >= {"a", "b", "c"}
        assert all(ranked.get("d", -99) < ranked[id] for id in "abc")


@every_way
def test_reranking_orders_the_given_pages_only(way):
    given = {"1": ["c", "a"], "2": ["c", "a"]}
    scores = found(way(FakeEncoder()), TEXTS, top_ranked=given)
    assert {id: set(ranked) for id, ranked in scores.items()} == {
        "1": {"a", "c"},
        "2": {"a", "c"},
        "3": set(),
    }
    assert scores["1"]["a"] > scores["1"]["c"]


def test_candidates_bound_what_the_index_finds():
    scores = found(MTEBIndex(FakeEncoder(), candidates=1), TEXTS)
    assert {id: list(ranked) for id, ranked in scores.items()} == {
        "1": ["a"],
        "2": ["b"],
        "3": ["b"],
    }


def test_a_kept_index_encodes_only_pages_that_have_changed(tmp_path):
    encoder = FakeEncoder()
    found(MTEBIndex(encoder, folder=tmp_path), TEXTS)
    assert len(encoder.encoded) == 3
    pages = (*TEXTS.pages[:2], replace(TEXTS.pages[2], text="drag"))
    again = MTEBIndex(encoder, budget="1,1", folder=tmp_path)
    scores = found(again, replace(TEXTS, pages=pages))
    assert encoder.encoded[3:] == ["drag"]
    assert max(scores["1"], key=scores["1"].get) == "c"


def test_another_corpus_has_an_index_of_its_own():
    index = MTEBIndex(FakeEncoder())
    assert set(found(index, TEXTS)["1"]) == {"a", "b", "c"}
    assert set(found(index, replace(TEXTS, pages=TEXTS.pages[:2]))["1"]) == {"a", "b"}
    assert set(found(index, TEXTS)["1"]) == {"a", "b", "c"}
    assert len(index.encoder.encoded) == 5


def test_similarity_is_maxsim_by_its_definition():
    generator = np.random.default_rng(0)
    queries, pages = generator.normal(size=(2, 3, 4)), generator.normal(size=(5, 6, 4))
    model = MTEBEncoder(FakeEncoder())
    slow = [[sum(max(q @ p for p in page) for q in query) for page in pages] for query in queries]
    assert np.allclose(model.similarity(queries, pages), slow, atol=1e-5)
    pairs = model.similarity_pairwise(queries, pages[:2])
    assert np.allclose(pairs, [slow[0][0], slow[1][1]], atol=1e-5)
    single = model.similarity(queries[:, 0], pages[:, 0])
    assert np.allclose(single, queries[:, 0] @ pages[:, 0].T, atol=1e-5)


def test_both_are_what_mteb_calls_an_encoder_and_a_search():
    encoder, index = MTEBEncoder(FakeEncoder()), MTEBIndex(FakeEncoder())
    assert isinstance(encoder, mteb.EncoderProtocol)
    assert not isinstance(encoder, mteb.SearchProtocol)
    assert isinstance(index, mteb.SearchProtocol)
    assert not isinstance(index, mteb.EncoderProtocol)


@pytest.mark.filterwarnings("ignore")
def test_tasks_that_need_single_vectors_get_the_first_of_the_candidate_side():
    encoder = FakeEncoder()
    about = {"task_metadata": as_task(TEXTS).metadata, "hf_split": "test", "hf_subset": "default"}
    vectors = MTEBEncoder(encoder).encode([{"text": ["heat", "drag"]}], **about)
    assert np.array_equal(vectors, encoder.encode_document(["heat", "drag"])[:, 0])
    mocks = importlib.import_module("mteb.mocks.mock_tasks")
    assert 0 <= judged(MTEBEncoder(encoder), mocks.MockClassificationTask())["main_score"] <= 1


def test_what_mteb_records_is_true_and_keeps_runs_apart(tmp_path):
    encoder = FakeEncoder()
    encoder.name = str(tmp_path / "my-model")
    runs = [
        MTEBEncoder(encoder),
        MTEBEncoder(encoder, budget="1,1"),
        MTEBEncoder(encoder, mode="text"),
        MTEBIndex(encoder),
        MTEBIndex(encoder, candidates=50),
        MTEBIndex(encoder, exhaustive=True),
        MTEBIndex(encoder, hybrid=True),
        MTEBIndex(encoder, vectors=16, budget="16,16"),
    ]
    metas = [run.mteb_model_meta for run in runs]
    assert len({meta.experiment_name for meta in metas}) == len(metas)
    assert {meta.name for meta in metas} == {"metaembed_rag/my-model"}
    assert {meta.revision for meta in metas} == {encoder.fingerprint}
    assert metas[0].license is None and metas[0].training_datasets is None
    told = MTEBEncoder(encoder, about={"license": "apache-2.0"}).mteb_model_meta
    assert told.license == "apache-2.0" and told.open_license


def test_a_hub_id_stays_the_name():
    encoder = FakeEncoder()
    encoder.name = "owner/model"
    assert MTEBEncoder(encoder).mteb_model_meta.name == "owner/model"


def test_a_model_that_reads_text_only_says_so_when_ocr_is_off(pictures):
    scans = tuple(replace(page, text="") for page in pictures.pages)
    model = MTEBEncoder(FakeEncoder(modalities=("text",)), ocr=False)
    assert model.mteb_model_meta.modalities == ["text"]
    with pytest.raises(ValueError, match="none overlap"):
        judged(model, as_task(replace(pictures, pages=scans)))


def test_the_revision_of_a_task_follows_its_contents():
    changed = Dataset("texts", TEXTS.pages, TEXTS.queries, TEXTS.qrels | {"3": {"b": 1}})
    assert as_task(TEXTS).metadata.revision == as_task(TEXTS).metadata.revision
    assert as_task(changed).metadata.revision != as_task(TEXTS).metadata.revision


@every_way
def test_an_empty_query_is_refused(way):
    dataset = Dataset("empty", TEXTS.pages, (Query("1", " "),), {"1": {"a": 1}})
    with pytest.raises(ModelError, match="query is empty"):
        found(way(FakeEncoder()), dataset)


def test_a_budget_that_the_model_cannot_pay_is_refused():
    for way in (MTEBEncoder, MTEBIndex):
        with pytest.raises(BudgetError, match="model makes 4"):
            way(FakeEncoder(query_vectors=4), budget=RetrievalBudget(8, 16))


def test_a_precision_is_not_recorded_without_being_applied():
    task = as_task(TEXTS)
    with pytest.raises(ModelError, match="precision"):
        mteb.evaluate(
            MTEBEncoder(FakeEncoder()), task, cache=None, encode_kwargs={"precision": "int8"}
        )


def test_searching_before_indexing_is_refused():
    task = as_task(TEXTS)
    with pytest.raises(StoreError, match="index"):
        MTEBIndex(FakeEncoder()).search(
            task.dataset["default"]["test"]["queries"],
            task_metadata=task.metadata,
            hf_split="test",
            hf_subset="default",
            top_k=3,
            encode_kwargs={},
        )


def test_without_mteb_the_message_is_the_line_to_type(monkeypatch):
    monkeypatch.setitem(sys.modules, "mteb", None)
    monkeypatch.delitem(sys.modules, "metaembed_rag.evaluation.mteb")
    with pytest.raises(MissingExtraError, match=r"pip install '\.\[mteb\]'"):
        importlib.import_module("metaembed_rag.evaluation.mteb")


PAGE = (Path(__file__).parents[2] / "docs" / "mteb.md").read_text(encoding="utf-8")


@pytest.mark.filterwarnings("ignore")
def test_every_benchmark_and_task_that_the_documentation_names_exists():
    for name, tasks in re.findall(r"^\| `([^`]+)` \| (\d+) \|", PAGE, re.MULTILINE):
        assert len(mteb.get_benchmark(name).tasks) == int(tasks), name
    names = re.findall(r'"(\w+Retrieval)"', PAGE)
    assert len(names) == 15
    assert {task.metadata.name for task in mteb.get_tasks(tasks=names)} == set(names)


def test_the_evaluators_of_sentence_transformers_take_the_model_of_an_encoder(tmp_path):
    plain = tiny_backbones.modernbert(tmp_path / "bert")
    encoder = MetaEmbedEncoder.from_backbone(plain, device="cpu")
    [line] = re.findall(r"^from (sentence_transformers\S+) import (\w+)$", PAGE, re.MULTILINE)
    nano = getattr(importlib.import_module(line[0]), line[1])
    assert not {"show_progress_bar", "dataset_names"} - set(
        inspect.signature(NanoBEIREvaluator).parameters
    )
    judge = nano.information_retrieval_class(  # what it makes of each of its sets
        {q.id: q.text for q in TEXTS.queries},
        {page.id: page.text for page in TEXTS.pages},
        {id: set(pages) for id, pages in TEXTS.qrels.items()},
        write_csv=False,
    )
    expected = evaluate(TEXTS, encoder, budgets=["full"]).results[0].mean("ndcg@10")
    assert judge(encoder.model)[judge.primary_metric] == pytest.approx(expected, abs=0.05)


@pytest.mark.skipif("small" not in shipped_checkpoints(), reason="the shipped one is not there")
def test_the_program_of_the_documentation_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "my_pages"
    (folder / "qrels").mkdir(parents=True)
    write_lines(folder / "corpus.jsonl", [{"_id": p.id, "text": p.text} for p in TEXTS.pages])
    write_lines(folder / "queries.jsonl", [{"_id": "1", "text": "heat conduction"}])
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n1\tb\t1\n")
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names = {}
    exec(compile(program, "docs/mteb.md", "exec"), names)
    assert names["scores"] == [1.0, 1.0]


def write_lines(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
