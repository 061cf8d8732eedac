"""Folders in BEIR layout: what is read, and what is refused with file and line."""

import json

import pytest
from PIL import Image

from metaembed_rag.errors import DatasetError
from metaembed_rag.evaluation import read_dataset

HEADER = "query-id\tcorpus-id\tscore"


@pytest.fixture
def folder(tmp_path):
    """Two pages (text; picture), two queries, one judgement each."""
    (tmp_path / "qrels").mkdir()
    Image.new("RGB", (4, 3), "red").save(tmp_path / "red.png")
    lines(tmp_path / "corpus.jsonl", {"_id": "a", "title": "Wings", "text": "lift and drag"})
    lines(tmp_path / "corpus.jsonl", {"_id": "b", "image": "red.png"})
    lines(tmp_path / "queries.jsonl", {"_id": "1", "text": "drag"}, {"_id": "2", "text": "red"})
    lines(tmp_path / "qrels" / "test.tsv", HEADER, "1\ta\t2", "2\tb\t1")
    return tmp_path


def lines(path, *records):
    with path.open("a", encoding="utf-8") as file:
        for record in records:
            file.write((record if isinstance(record, str) else json.dumps(record)) + "\n")


def test_pages_queries_and_judgements_are_read_in_their_order(folder):
    dataset = read_dataset(folder)
    assert dataset.name == folder.name
    assert [page.id for page in dataset.pages] == ["a", "b"]
    assert [query.id for query in dataset.queries] == ["1", "2"]
    assert dataset.qrels == {"1": {"a": 2}, "2": {"b": 1}}


def test_a_title_is_joined_before_the_text(folder):
    assert read_dataset(folder).pages[0].text == "Wings lift and drag"


def test_a_picture_is_found_relative_to_the_folder_and_opened_late(folder):
    page = read_dataset(folder).pages[1]
    assert page.image is None
    assert page.text == ""
    assert page.load_image().getpixel((0, 0)) == (255, 0, 0)


def test_a_query_is_text_a_picture_or_both(folder):
    lines(folder / "queries.jsonl", {"_id": "3", "image": "red.png"})
    lines(folder / "queries.jsonl", {"_id": "4", "text": "more red", "image": "red.png"})
    lines(folder / "qrels" / "test.tsv", "3\tb\t1", "4\tb\t1")
    text, _, image, both = (query.as_input() for query in read_dataset(folder).queries)
    assert text == "drag"
    assert image.size == (4, 3)
    assert both["text"] == "more red"
    assert both["image"].size == (4, 3)


def test_a_limit_keeps_the_first_queries_and_all_pages(folder):
    first = read_dataset(folder).first(1)
    assert [query.id for query in first.queries] == ["1"]
    assert first.qrels == {"1": {"a": 2}}
    assert len(first.pages) == 2
    assert len(read_dataset(folder).first(99).queries) == 2
    with pytest.raises(DatasetError, match="at least 1"):
        first.first(0)


def test_queries_without_a_relevant_page_are_counted_and_not_used(folder):
    lines(folder / "queries.jsonl", {"_id": "train", "text": "x"}, {"_id": "zero", "text": "y"})
    lines(folder / "qrels" / "test.tsv", "zero\ta\t0")
    dataset = read_dataset(folder)
    assert [query.id for query in dataset.queries] == ["1", "2"]
    assert dataset.unjudged == 2


def test_another_split_is_another_file(folder):
    lines(folder / "qrels" / "dev.tsv", HEADER, "2\ta\t1")
    assert read_dataset(folder, split="dev").qrels == {"2": {"a": 1}}


def test_unicode_line_separators_blank_lines_and_a_byte_order_mark_are_no_trouble(folder):
    old = (folder / "corpus.jsonl").read_text(encoding="utf-8")
    new = json.dumps({"_id": "c", "text": "one\u2028two"}, ensure_ascii=False)
    (folder / "corpus.jsonl").write_text(f"\ufeff{old}\n{new}\n\n", encoding="utf-8")
    assert read_dataset(folder).pages[2].text == "one\u2028two"


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl", "qrels/test.tsv"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(DatasetError, match=f"{name}: missing"):
        read_dataset(folder)


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl"])
def test_an_empty_file_is_named(folder, name):
    (folder / name).write_text("\n")
    with pytest.raises(DatasetError, match=f"{name}: empty"):
        read_dataset(folder)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(DatasetError, match="nowhere: no such folder"):
        read_dataset(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"_id": "c", "text": ', "not JSON"),
        ('["c", "text"]', "not a JSON object"),
        ({"text": "no id"}, 'needs an "_id"'),
        ({"_id": 7, "text": "x"}, 'needs an "_id" that is text, not 7'),
        ({"_id": "a", "text": "x"}, "'a' is already on line 1"),
        ({"_id": "c", "title": "only"}, 'needs "text" or "image"'),
        ({"_id": "c", "text": ["x"]}, '"text" must be text, not list'),
        ({"_id": "c", "text": "x", "title": 3}, '"title" must be text, not int'),
        ({"_id": "c", "image": "gone.png"}, "no image at .*gone.png"),
    ],
)
def test_a_malformed_page_is_named_with_its_line(folder, line, reason):
    lines(folder / "corpus.jsonl", line)
    with pytest.raises(DatasetError, match=f"corpus.jsonl, line 3: .*{reason}"):
        read_dataset(folder)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ({"_id": "3", "text": "  "}, "query '3' is empty"),
        ({"_id": "3", "image": "gone.png"}, "no image at"),
        ("{", "not JSON"),
    ],
)
def test_a_malformed_query_is_named_with_its_line(folder, line, reason):
    lines(folder / "queries.jsonl", line)
    with pytest.raises(DatasetError, match=f"queries.jsonl, line 3: .*{reason}"):
        read_dataset(folder)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("9\ta\t1", "query '9' is not in queries.jsonl"),
        ("1\tz\t1", "page 'z' is not in corpus.jsonl"),
        ("1\tb\thigh", "whole number, not 'high'"),
        ("1\tb\t0.5", "whole number, not '0.5'"),
        ("1 b 1", "three columns"),
        ("1\ta\t1", "judged twice"),
    ],
)
def test_a_malformed_judgement_is_named_with_its_line(folder, line, reason):
    lines(folder / "qrels" / "test.tsv", line)
    with pytest.raises(DatasetError, match=f"test.tsv, line 4: .*{reason}"):
        read_dataset(folder)


def test_judgements_without_a_header_are_refused_instead_of_losing_the_first(folder):
    (folder / "qrels" / "test.tsv").write_text("1\ta\t2\n2\tb\t1\n")
    with pytest.raises(DatasetError, match="line 1: must be the header"):
        read_dataset(folder)


def test_a_set_without_relevant_pages_is_refused(folder):
    (folder / "qrels" / "test.tsv").write_text(f"{HEADER}\n1\ta\t0\n")
    with pytest.raises(DatasetError, match="no query has a relevant page"):
        read_dataset(folder)


def test_a_file_that_is_no_text_is_named(folder):
    (folder / "queries.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DatasetError, match=r"queries\.jsonl: cannot be read as UTF-8"):
        read_dataset(folder)
