"""What a training set may hold, and which of its rows make up the batch of a step."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest

from metaembed_rag.errors import DatasetError
from metaembed_rag.training.data import (
    Example,
    Side,
    read_corpus,
    read_training_set,
    write_training_set,
)
from tests.training.builders import PAIR, jsonl, pairs, picture

# -- reading -------------------------------------------------------------------------------


def test_a_line_is_a_query_a_positive_and_any_negatives(tmp_path):
    picture(tmp_path / "charts" / "1.png")
    chart = {"text": "growth", "image": "charts/1.png"}
    rows = read_training_set(
        jsonl(
            tmp_path / "pairs.jsonl",
            PAIR,
            "",
            {"query": chart, "positive": "p", "negatives": ["n"]},
        )
    )
    image = (tmp_path / "charts" / "1.png").as_posix()
    assert list(rows) == [
        Example(Side("a question"), Side("an answer")),
        Example(Side("growth", image), Side("p"), (Side("n"),)),
    ]
    assert [row.where for row in rows] == [f"{tmp_path}/pairs.jsonl, line {n}" for n in (1, 3)]
    assert rows.name == "pairs"


def test_a_compressed_file_reads_the_same_and_has_the_same_digest(tmp_path):
    plain = read_training_set(jsonl(tmp_path / "a" / "pairs.jsonl", PAIR))
    packed = read_training_set(jsonl(tmp_path / "b" / "pairs.jsonl.gz", PAIR))
    assert list(plain) == list(packed)
    assert plain.digest == packed.digest
    assert packed.name == "pairs"


def test_the_digest_changes_with_a_text_and_with_a_picture_but_not_with_the_folder(tmp_path):
    def digest(folder, text="p", colour="red"):
        picture(tmp_path / folder / "1.png", colour)
        row = {"query": text, "positive": {"image": "1.png"}}
        return read_training_set(jsonl(tmp_path / folder / "x.jsonl", row)).digest

    first = digest("a")
    assert digest("b") == first
    assert digest("c", text="other") != first
    (tmp_path / "b" / "1.png").write_bytes(b"another length")
    assert read_training_set(tmp_path / "b" / "x.jsonl").digest != first


def test_a_limit_reads_no_further_than_it_says(tmp_path):
    path = jsonl(tmp_path / "pairs.jsonl", PAIR, "{broken")
    assert len(read_training_set(path, limit=1)) == 1


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"query": "q", ', "not JSON"),
        ('["q", "p"]', "not a JSON object"),
        ({"query": "q", "positive": "p", "hard": []}, "unknown key 'hard'"),
        ({"positive": "p"}, '"query" is missing'),
        ({"query": "q"}, '"positive" is missing'),
        ({"query": "  ", "positive": "p"}, '"query" is empty'),
        ({"query": "q", "positive": {"text": ""}}, '"positive" is empty'),
        (
            {"query": "q", "positive": {"txt": "p"}},
            '"positive" must be text, or "text" and "image"',
        ),
        ({"query": "q", "positive": 7}, '"positive" must be text'),
        ({"query": "q", "positive": {"text": 7}}, '"positive": text must be a string, not int'),
        ({"query": "q", "positive": "p", "negatives": "n"}, '"negatives" must be a list'),
        ({"query": "q", "positive": "p", "negatives": ["n", ""]}, "negative 2 is empty"),
        ({"query": "q", "positive": "p", "negatives": ["p"]}, "the positive is also a negative"),
        ({"query": "q", "positive": {"image": "no.png"}}, "no image at"),
        ({"query": "q", "positive": {"image": "empty.png"}}, "has no bytes"),
        ('{"query": "\\ud800", "positive": "p"}', "half a character"),
    ],
)
def test_bad_lines_are_named(tmp_path, line, said):
    (tmp_path / "empty.png").touch()
    path = jsonl(tmp_path / "pairs.jsonl", PAIR, line)
    with pytest.raises(DatasetError) as error:
        read_training_set(path)
    assert f"{path}, line 2: " in str(error.value)
    assert said in str(error.value)


def test_files_that_are_missing_empty_damaged_or_no_text_are_named(tmp_path):
    (tmp_path / "damaged.jsonl.gz").write_bytes(gzip.compress(b"x" * 999)[:-12])
    (tmp_path / "latin.jsonl").write_bytes(b'{"query": "\xe9"}')
    (tmp_path / "empty.jsonl").write_text("\n\n")
    said = {
        "absent.jsonl": "no such training set",
        "empty.jsonl": "no training examples",
        "damaged.jsonl.gz": "cannot be read",
        "latin.jsonl": "cannot be read as UTF-8 text",
    }
    for name, words in said.items():
        with pytest.raises(DatasetError, match=f"{name}: {words}"):
            read_training_set(tmp_path / name)


@pytest.mark.parametrize("weight", [0, -1, float("nan"), float("inf")])
def test_a_weight_is_a_number_above_zero(weight):
    with pytest.raises(DatasetError, match="weight must be a number above 0"):
        pairs(1, weight=weight)


def test_a_limit_below_one_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="a limit of 0"):
        read_training_set(jsonl(tmp_path / "pairs.jsonl", PAIR), limit=0)


# -- folders in BEIR layout ----------------------------------------------------------------


def beir(folder, qrels="train", lines=("q1\tb\t2", "q1\ta\t1", "q1\tc\t0", "q2\tc\t1")):
    picture(folder / "c.png")
    jsonl(
        folder / "corpus.jsonl",
        {"_id": "a", "title": "Title", "text": "page a"},
        {"_id": "b", "text": "page b"},
        {"_id": "c", "image": "c.png"},
        {"_id": "d", "text": ""},
    )
    jsonl(folder / "queries.jsonl", {"_id": "q1", "text": "one"}, {"_id": "q2", "text": "two"})
    (folder / "qrels").mkdir(exist_ok=True)
    (folder / "qrels" / f"{qrels}.tsv").write_text("\n".join(["q\tp\tscore", *lines]) + "\n")
    return folder


def test_every_relevant_page_of_a_folder_makes_an_example_with_grade_0_as_negatives(tmp_path):
    rows = read_training_set(beir(tmp_path / "set"))
    chart = Side(image=(tmp_path / "set" / "c.png").as_posix())
    assert list(rows) == [
        Example(Side("one"), Side("page b"), (chart,)),
        Example(Side("one"), Side("Title page a"), (chart,)),
        Example(Side("two"), chart),
    ]
    assert rows[0].where == f"{tmp_path}/set/qrels/train.tsv, query 'q1'"
    assert rows.name == "set"


def test_the_only_judgements_are_read_whatever_their_name_and_of_several_none(tmp_path):
    assert len(read_training_set(beir(tmp_path, qrels="test"))) == 3
    beir(tmp_path, qrels="dev", lines=["q2\tc\t1"])
    with pytest.raises(DatasetError, match=r"train.tsv: missing, and there are dev.tsv, test.tsv"):
        read_training_set(tmp_path)
    assert len(read_training_set(tmp_path, split="dev")) == 1


def test_an_empty_page_that_is_judged_is_named_by_its_line(tmp_path):
    with pytest.raises(DatasetError, match=r"corpus.jsonl, line 4: page 'd' is empty but judged"):
        read_training_set(beir(tmp_path, lines=["q1\td\t1"]))


def test_a_folder_without_judgements_says_what_is_missing(tmp_path):
    (beir(tmp_path) / "qrels" / "train.tsv").unlink()
    with pytest.raises(DatasetError, match=r"qrels/train.tsv: missing"):
        read_training_set(tmp_path)


def test_a_corpus_is_read_without_questions(tmp_path):
    jsonl(tmp_path / "corpus.jsonl", {"_id": "a", "title": "Title", "text": "a"}, {"text": "b"})
    assert read_corpus(tmp_path) == [Side("Title a"), Side("b")]
    assert read_corpus(tmp_path / "corpus.jsonl") == [Side("Title a"), Side("b")]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (PAIR, "unknown key 'positive'"),
        ({"_id": "a", "text": ""}, "the page is empty"),
        ({"_id": "a", "text": 7}, "the page: text must be a string, not int"),
        ({"_id": "a", "image": "no.png"}, "no image at"),
    ],
)
def test_bad_lines_of_a_corpus_are_named(tmp_path, line, said):
    with pytest.raises(DatasetError) as error:
        read_corpus(jsonl(tmp_path / "corpus.jsonl", line))
    assert f"{tmp_path}/corpus.jsonl, line 1: {said}" in str(error.value)


# -- pictures ------------------------------------------------------------------------------


def test_a_side_loads_text_a_picture_or_both(tmp_path):
    path = str(picture(tmp_path / "1.png"))
    assert Side("t").load() == "t"
    assert Side(image=path).load().size == (4, 3)
    both = Side("t", path).load()
    assert both["text"] == "t"
    assert both["image"].getpixel((0, 0)) == (255, 0, 0)
    assert [Side("t").modality, Side("", path).modality, Side("t", path).modality] == [
        "text",
        "image",
        "fused",
    ]


def test_a_damaged_picture_is_found_when_it_is_loaded_and_its_line_is_named(tmp_path):
    (tmp_path / "1.png").write_bytes(b"no picture")
    row = {"query": "q", "positive": {"image": "1.png"}}
    rows = read_training_set(jsonl(tmp_path / "pairs.jsonl", row))
    with pytest.raises(DatasetError, match=r"pairs.jsonl, line 1: the picture .*/1.png cannot be"):
        rows[0].positive.load()


def test_pictures_with_the_same_bytes_are_the_same_content(tmp_path):
    names = ["a.png", "b.png", "c.png"]
    for name, colour in zip(names, ["red", "red", "blue"], strict=True):
        picture(tmp_path / name, colour)
    rows = [{"query": name, "positive": {"image": name}} for name in names]
    rows = read_training_set(jsonl(tmp_path / "pairs.jsonl", *rows))
    a, b, c = (rows.content(row.positive) for row in rows)
    assert a == b != c


# -- writing -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz"])
def test_what_is_written_is_read_again_with_pictures_found_from_the_new_folder(tmp_path, name):
    path = str(picture(tmp_path / "in" / "1.png"))
    rows = [
        Example(Side("é question"), Side(image=path), (Side("n"), Side("m", path))),
        Example(Side("q"), Side("p")),
    ]
    write_training_set(tmp_path / "new" / name, rows)
    assert list(read_training_set(tmp_path / "new" / name)) == rows
    first = (tmp_path / "new" / name).read_bytes()
    write_training_set(tmp_path / "new" / name, rows)
    assert (tmp_path / "new" / name).read_bytes() == first
    assert [file.name for file in (tmp_path / "new").iterdir()] == [name]


def test_a_failed_write_leaves_what_was_there(tmp_path):
    def broken():
        yield Example(Side("q"), Side("p"))
        raise DatasetError("no more")

    path = jsonl(tmp_path / "out.jsonl", PAIR)
    for rows in (broken(), []):
        with pytest.raises(DatasetError):
            write_training_set(path, rows)
    assert path.read_text() == json.dumps(PAIR) + "\n"
    assert list(tmp_path.iterdir()) == [path]


# -- the documentation ---------------------------------------------------------------------


def blocks(language):
    text = (Path(__file__).parents[2] / "docs" / "training_data.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_the_lines_of_the_documentation_are_a_training_set(tmp_path):
    for number, colour in {3: "red", 4: "blue", 17: "lime", 18: "gold"}.items():
        picture(tmp_path / "charts" / f"{number}.png", colour)
    (tmp_path / "pairs.jsonl").write_text(blocks("json")[0])
    rows = read_training_set(tmp_path / "pairs.jsonl")
    assert [row.positive.modality for row in rows] == ["text", "image", "fused"]


def test_the_program_of_the_documentation_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(blocks("python")[0], {})


def test_a_damaged_compressed_file_is_named(tmp_path):
    packed = bytearray(gzip.compress("\n".join([json.dumps(PAIR)] * 50).encode()))
    packed[10:20] = b"\xff" * 10  # right behind the header: no block of such a type exists
    (tmp_path / "pairs.jsonl.gz").write_bytes(packed)
    with pytest.raises(DatasetError, match=r"pairs\.jsonl\.gz: cannot be read"):
        read_training_set(tmp_path / "pairs.jsonl.gz")
    (tmp_path / "pairs.jsonl.gz").write_bytes(gzip.compress(b"{}")[:-4])
    with pytest.raises(DatasetError, match="is the file whole"):
        read_training_set(tmp_path / "pairs.jsonl.gz")


def test_a_negative_that_answers_the_query_in_another_line_is_refused(tmp_path):
    path = jsonl(
        tmp_path / "pairs.jsonl",
        {"query": "q", "positive": "a", "negatives": ["x", "b"]},
        {"query": "q", "positive": "b"},
        {"query": "other", "positive": "x"},
    )
    with pytest.raises(DatasetError, match=r"line 1: negative 2 answers .* line 2;"):
        read_training_set(path)
