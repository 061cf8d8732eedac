"""A planted copy of evaluation or validation text is found in finished pairs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from metaembed_rag.errors import DatasetError
from metaembed_rag.training.data import Example, Side, write_training_set
from recipes.mini.data.leaks import LeakCheck
from recipes.minilm.data.finished import PairCheck, check_pairs
from tests.recipes.builders import jsonl

WING = "The lift of a slender wing grows with the angle until the flow over its edges breaks down."
TRAY = "The tray of the printer holds the paper, and it is filled from the front while no job runs."
OWN = "A spooler keeps the jobs in a folder and sends them to the printer in the order they came."
HARMLESS = Example(Side("Who waits?"), Side("The jobs wait."), (Side("The cat sleeps."),))


@pytest.fixture
def folders(tmp_path):
    """Pairs with their validation set, and one evaluation set."""
    jsonl(tmp_path / "data/cranfield/corpus.jsonl", [{"_id": "1", "title": "", "text": WING}])
    jsonl(tmp_path / "data/cranfield/queries.jsonl", [{"_id": "q", "text": "What is lift?"}])
    held = tmp_path / "pairs/validation/questions"
    jsonl(held / "corpus.jsonl", [{"_id": "p", "text": TRAY}])
    jsonl(held / "queries.jsonl", [{"_id": "q", "text": "where goes the paper"}])
    write_training_set(tmp_path / "pairs/faq.jsonl", [HARMLESS])
    return tmp_path / "pairs", tmp_path / "data"


def test_pairs_without_a_leak_pass(folders):
    check_pairs(*folders)


PLANTED = [
    (Example(Side("what is LIFT"), Side(OWN)), "query of cranfield/q"),
    (Example(Side("a wing"), Side(f"5.1 {WING}")), "near-duplicate of cranfield/1"),
    (Example(Side("a wing"), Side(WING.upper())), "document of cranfield/1"),
    (Example(Side("jobs"), Side(OWN), (Side("other"), Side(WING))), "document of cranfield/1"),
    (Example(Side("Where goes the paper?"), Side(OWN)), "query of questions/q"),
    (Example(Side("paper"), Side(OWN), (Side(TRAY),)), "document of questions/p"),
]


@pytest.mark.parametrize("planted, found", PLANTED, ids=[found for _, found in PLANTED])
def test_a_planted_leak_is_found_on_its_line(folders, planted, found):
    pairs, data = folders
    write_training_set(pairs / "section.jsonl", [HARMLESS, planted])
    with pytest.raises(DatasetError) as raised:
        check_pairs(pairs, data)
    assert f"section.jsonl, line 2: {found}" in str(raised.value)
    assert "1 training pairs" in str(raised.value)


def test_pairs_that_leak_are_left_out_and_of_negatives_only_these():
    check = PairCheck([LeakCheck({"set/1": WING}, {}), LeakCheck({}, {"own/q": "where is it"})])
    given = [
        Example(Side("wings"), Side(WING)),
        Example(Side("Where is it?"), Side(OWN)),
        Example(Side("jobs"), Side(OWN), (Side(WING), Side(TRAY))),
        HARMLESS,
    ]
    assert check.fair(given) == [Example(Side("jobs"), Side(OWN), (Side(TRAY),)), HARMLESS]


def test_without_pairs_or_evaluation_sets_nothing_passes(folders, tmp_path):
    pairs, data = folders
    with pytest.raises(DatasetError, match=r"holds no pairs; make them: python -m recipes\.minilm"):
        check_pairs(data, data)
    with pytest.raises(DatasetError, match="holds no evaluation set"):
        check_pairs(pairs, tmp_path)


@pytest.mark.slow
def test_the_finished_pairs_of_small_hold_no_evaluation_text(data):
    """Runs on the work folder of ``python -m recipes.minilm``: METAEMBED_MINILM_WORK."""
    default = Path(__file__).parents[4] / ".data" / "minilm"
    pairs = Path(os.environ.get("METAEMBED_MINILM_WORK", default)) / "pairs"
    if not any(pairs.glob("*.jsonl")):
        pytest.skip(f"no pairs in {pairs}; make them: python -m recipes.minilm prepare pairs")
    check_pairs(pairs, data)
