"""The benchmark of the dense door, on a set and a model that the test makes."""

import json

import pytest

from benchmarks import dense, tables
from metaembed_rag import MetaEmbedEncoder
from metaembed_rag.evaluation import read_dataset
from tests.support import tiny_dense

TEXTS = ["revenue by region", "the lazy fox jumps", "a chart with bars"]


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "toy"
    (place / "qrels").mkdir(parents=True)
    records = [json.dumps({"_id": str(i), "text": text}) for i, text in enumerate(TEXTS)]
    for file in ("corpus.jsonl", "queries.jsonl"):
        (place / file).write_text("\n".join(records))
    judged = "\n".join(f"{i}\t{i}\t1" for i in range(3))
    (place / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}\n")
    return place


def test_a_set_is_measured_at_one_and_all_query_vectors_with_pages_encoded_once(folder, tmp_path):
    encoder = MetaEmbedEncoder.from_pretrained(tiny_dense.bert(tmp_path / "bert"), device="cpu")
    found = dense.measured(read_dataset(folder), encoder, tmp_path / "cache")
    assert [row["budget"] for row in found["rows"]] == [
        [r_q, r_c] for r_q in (1, 16) for r_c in (1, 3, 7, 15, 31, 63, 64)
    ]
    assert found["rows"][0]["ndcg@5"] == 1  # each text is its own query
    assert found["rows"][6]["bytes_per_page"] == 64 * (tiny_dense.WIDTH + 2)
    encoder.encode_document = None  # type: ignore[method-assign]
    assert dense.measured(read_dataset(folder), encoder, tmp_path / "cache") == found


def test_the_table_has_a_row_for_each_set_and_number_of_query_vectors():
    rows = [
        {"budget": [r_q, r_c], "bytes_per_page": 10 * r_c, "ndcg@5": r_c / 100}
        for r_q in (1, 16)
        for r_c in (1, 64)
    ]
    record = {"numbers": {"model": {"name": "m"}, "sets": [{"set": "toy", "rows": rows}]}}
    assert tables.dense_door(record) == [
        "| nDCG@5 | r_q | r_c = 1 | r_c = 64 |",
        "|---|---|---|---|",
        "| toy | 1 | 1.0 | 64.0 |",
        "| toy | 16 | 1.0 | 64.0 |",
        "| bytes a page |  | 10 | 640 |",
    ]
    assert (
        tables.HEADLINES["dense_door"](record) == "m at (1,1), (1,64), (16,64): toy 1.0, 64.0, 64.0"
    )
