"""Hard negatives: which pages a model's ranking gives a query, and which it must not."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from metaembed_rag import cli
from metaembed_rag.errors import BudgetError, DatasetError, ModalityError
from metaembed_rag.testing import FakeEncoder
from metaembed_rag.training import mining
from metaembed_rag.training.data import Example, Side, TrainingSet, read_training_set
from metaembed_rag.training.mining import MiningSettings, mine


class AngleEncoder(FakeEncoder):
    """One vector a side: "q 60" points to 60 degrees, so a score is the cosine of a difference."""

    def __init__(self, modalities=("text",)):
        super().__init__(2, 1, 1, modalities)

    def _encode_batch(self, items, side, count):
        angles = np.radians([float(item.text.split()[1]) for item in items])
        return np.stack([np.cos(angles), np.sin(angles)], axis=1)[:, None].astype(np.float32)


def rows(*pairs):
    examples = (
        Example(Side(query), Side(page), tuple(map(Side, negatives)))
        for query, page, *negatives in pairs
    )
    return TrainingSet(examples, name="set")


def mined(data, **options):
    corpus = [Side(text) for text in options.pop("corpus", [])]
    settings = MiningSettings(**{"margin": 2.0, **options})
    examples, report = mine(data, AngleEncoder(), corpus=corpus, settings=settings)
    return [[side.text for side in example.negatives] for example in examples], report


FOUR = rows(("q 0", "p 0"), ("q 40", "p 40"), ("q 90", "p 90"), ("q 190", "p 190"))


def test_negatives_are_the_other_pages_nearest_first():
    negatives, report = mined(FOUR, negatives=2)
    assert negatives == [["p 40", "p 90"], ["p 0", "p 90"], ["p 40", "p 0"], ["p 90", "p 40"]]
    assert (report.examples, report.pages, report.mined, report.fewer) == (4, 4, 8, 0)


def test_pages_as_near_as_the_positive_are_dropped_and_counted():
    """cos 40° is 0.77, cos 50° 0.64, cos 90° 0: at 0.7 of the positive's 1.0 only 0.77 is out."""
    negatives, report = mined(FOUR, negatives=1, margin=0.7)
    assert negatives == [["p 90"], ["p 90"], ["p 40"], ["p 90"]]
    assert report.too_near == 2


def test_the_margin_is_of_this_rows_own_positive():
    """The second positive of "q 0" scores 0.64, so p 60 (0.5) is out at 0.7 · 0.64 = 0.45."""
    data = rows(("q 0", "p 0"), ("q 0", "p 50"), ("q 180", "p 60"))
    negatives, _ = mined(data, negatives=1, margin=0.7)
    assert negatives[:2] == [["p 60"], []]


def test_a_positive_below_zero_still_drops_what_scores_higher():
    """cos 120° is -0.5; 0.95 of that alone would let -0.49 pass."""
    data = rows(("q 0", "p 120"), ("q 200", "p 119.5"), ("q 201", "p 170"))
    negatives, _ = mined(data, negatives=1, margin=0.95)
    assert negatives[0] == ["p 170"]


def test_no_positive_of_the_query_and_nothing_with_its_content_is_a_negative():
    data = rows(("q 0", "p 0"), ("Q 0!", "p 10"), ("q 90", "P 10 "))
    negatives, report = mined(data, negatives=3, corpus=["p  0", "p 20"])
    assert negatives[0] == negatives[1] == ["p 20"]
    assert report.pages == 3


def test_skip_passes_over_the_best_and_depth_ends_the_search():
    assert mined(FOUR, negatives=1, skip=1)[0][0] == ["p 90"]
    negatives, report = mined(FOUR, negatives=2, depth=2, margin=0.7)
    assert negatives[0] == ["p 90"]
    assert (report.fewer, report.none) == (2, 0)


def test_negatives_that_an_example_had_stay_first_and_are_not_mined_again():
    data = rows(("q 0", "p 0", "p 40"), ("q 40", "p 40"), ("q 90", "p 90"))
    negatives, report = mined(data, negatives=1)
    assert negatives[0] == ["p 40", "p 90"]
    assert (report.kept, report.mined) == (1, 3)


def test_an_example_without_any_other_page_gets_none_and_is_kept():
    negatives, report = mined(rows(("q 0", "p 0")))
    assert negatives == [[]]
    assert (report.fewer, report.none) == (1, 1)


def test_the_result_does_not_depend_on_the_blocks(monkeypatch):
    data = rows(*((f"q {angle}", f"p {angle}") for angle in range(0, 180, 7)))
    whole = mined(data)[0]
    monkeypatch.setattr(mining, "_ENCODED_AT_ONCE", 4)
    monkeypatch.setattr(mining, "_SCORES_AT_ONCE", 3 * len(data))
    assert mined(data)[0] == whole


def test_a_budget_ranks_by_the_first_vectors_alone():
    """With one vector a side the fake compares all words; both pages share one with the query."""
    data = rows(("red fox", "red fox den"), ("grey cat", "red cat"), ("blue sky", "blue fog"))
    for budget in ((1, 1), (16, 64)):
        examples, _ = mine(data, FakeEncoder(), budget=budget, settings=MiningSettings(1, 2.0))
        assert examples[0].negatives == (Side("red cat"),)
    with pytest.raises(BudgetError, match="asks for 17 query vectors"):
        mine(data, FakeEncoder(), budget=(17, 64))


def test_a_picture_for_a_model_that_reads_text_is_named_by_its_line(tmp_path):
    Image.new("RGB", (2, 2)).save(tmp_path / "1.png")
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"query": "q", "positive": {"image": "1.png"}}\n')
    with pytest.raises(ModalityError, match=r"pairs.jsonl, line 1: is a picture, but fake reads"):
        mine(read_training_set(path), FakeEncoder(modalities=("text",)))


def test_pictures_are_mined_as_pages(tmp_path):
    for name, colour in (("a", "red"), ("b", "blue"), ("c", "red")):
        Image.new("RGB", (2, 2), colour).save(tmp_path / f"{name}.png")
    sides = [Side(image=str(tmp_path / f"{name}.png")) for name in "abc"]
    data = TrainingSet([Example(Side("x"), sides[0]), Example(Side("y"), sides[1])], name="set")
    examples, report = mine(
        data, FakeEncoder(), corpus=sides[2:], settings=MiningSettings(margin=99.0)
    )
    assert report.pages == 2  # a.png and c.png have the same bytes
    assert [example.negatives for example in examples] == [(sides[1],), (sides[0],)]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"negatives": 0}, "0 negatives are none"),
        ({"margin": 0.0}, "margin must be a number above 0"),
        ({"margin": float("nan")}, "margin must be a number above 0"),
        ({"skip": -1}, "skip must be 0 or more"),
        ({"depth": 5, "skip": 3}, "a depth of 5 is too small to skip 3 and keep 4"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, said):
    with pytest.raises(DatasetError, match=said):
        MiningSettings(**settings)


# -- the command ---------------------------------------------------------------------------


@pytest.fixture
def command(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli.mine, "load_encoder", lambda given: AngleEncoder())
    lines = [{"query": f"q {n}", "positive": f"p {n}"} for n in (0, 40, 90)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    def run(*arguments):
        code = cli.main(["mine", "--data", "pairs.jsonl", "--out", "new/mined.jsonl", *arguments])
        return code, *capsys.readouterr()

    return run


def test_the_command_writes_a_training_set_with_negatives(command, tmp_path):
    code, out, err = command("--negatives", "1", "--margin", "0.7", "--quiet")
    assert code == 0
    assert out == "3 negatives for 3 examples from 3 pages, in new/mined.jsonl\n"
    assert err.startswith("2 candidates were dropped")
    rows = read_training_set(tmp_path / "new" / "mined.jsonl")
    assert [row.negatives[0].text for row in rows] == ["p 90", "p 90", "p 40"]


def test_the_command_prints_one_object(command):
    code, out, _ = command("--json", "--limit", "2", "--corpus", "pages.jsonl")
    assert (code, out) == (1, "")
    code, out, _ = command("--json", "--limit", "2", "--negatives", "1")
    assert json.loads(out) == {
        "data": "pairs.jsonl",
        "out": "new/mined.jsonl",
        "examples": 2,
        "pages": 2,
        "mined": 2,
        "kept": 0,
        "too_near": 0,
        "fewer": 0,
        "none": 0,
    }


def test_the_command_says_what_is_wrong_in_one_sentence(command, tmp_path):
    (tmp_path / "pairs.jsonl").write_text('{"query": "q"}\n')
    code, out, err = command()
    assert (code, out) == (1, "")
    assert err == (
        'metaembed: pairs.jsonl, line 1: "positive" is missing; give it text or an image\n'
    )


@pytest.mark.integration
def test_the_help_loads_no_torch():
    code = "import sys, metaembed_rag.cli as c; c._parser(); print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


def test_the_training_set_itself_and_a_folder_are_refused_as_output(tmp_path, capsys):
    data = tmp_path / "pairs.jsonl"
    data.write_text('{"query": "q 1", "positive": "p 1"}\n')
    for out, message in ((data, "is the training set itself"), (tmp_path, "is a folder")):
        assert cli.main(["mine", "--data", str(data), "--out", str(out)]) == 1
        assert message in capsys.readouterr().err
    assert data.read_text().count("\n") == 1
