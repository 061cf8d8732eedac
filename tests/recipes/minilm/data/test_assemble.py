"""All sources become training sets, and none of it is evaluation or validation text."""

from __future__ import annotations

import pytest

from metaembed_rag.training.data import Example, Side, read_training_set
from recipes.mini.data.corpora import TexPage, TextSources
from recipes.mini.data.leaks import LeakCheck
from recipes.minilm.data import assemble
from recipes.minilm.data.assemble import (
    MAX_CHARACTERS,
    Counts,
    HeldOut,
    Sources,
    bounded,
    training_sets,
)
from recipes.minilm.data.faq import Answered
from recipes.minilm.data.glossary import Entry
from tests.recipes.minilm.data.builders import WORDS
from tests.recipes.minilm.data.test_cloze import PAGE, TEXT

OTHER = TexPage(
    "manual.html",
    2,
    (),
    "The tray of the printer holds the paper. When it is empty, all of the jobs have to wait. It"
    " is filled from the front, and it is closed with the hand.",
)
ENTRY = Entry("foldoc", "spool", "A folder in which jobs wait. They leave it in their order.")


def sources():
    text = TextSources(
        [TexPage("/usr/share/doc/texlive-doc/latex/a/a.pdf", 1, ("Trays",), TEXT[:200])],
        [("a printer", "It prints the pages that it is given.")],
        [("What is the share?", "It is a third of all.")],
        [("dog", "a member of the genus Canis")],
        [PAGE, OTHER],
    )
    return Sources(text, [Answered("faq.html", "Why is it slow?", TEXT)], [ENTRY], WORDS)


def test_every_kind_is_a_set():
    made = training_sets(sources(), Counts())
    assert set(made) == {
        "faq", "title", "section", "span", "passage", "question", "paraphrase", "dictionary",
        "debian", "wordnet", "opencqa",
    }  # fmt: skip
    assert made == training_sets(sources(), Counts())
    assert {one.negatives[0].text for one in made["question"] if one.positive.text == TEXT} == {
        OTHER.text
    }


def test_counts_bound_the_sets():
    few = Counts(question=1, paraphrase=1, section=1)
    made = training_sets(sources(), few)
    assert [len(made[kind]) for kind in ("question", "paraphrase", "section")] == [1, 1, 1]


def test_a_text_is_cut_at_characters_and_at_pieces():
    assert bounded("short text") == "short text"
    assert len(bounded("longwords " * 600)) == MAX_CHARACTERS
    code = bounded("a;b=" * 900)
    assert len(code) == 1000


def test_what_is_held_out_is_in_no_source():
    held = HeldOut(
        lambda path: path.endswith("/held.html"), LeakCheck({"q": TEXT}, {"q": "why is it slow"})
    )
    assert held.holds("/a/held.html", "text")
    assert held.holds("", TEXT) and held.holds("", "other", "Why is it slow?")
    assert not held.holds("/a/other.html", "text", "Is it fast?")
    assert not HeldOut().holds("/a/held.html", TEXT, "Why is it slow?")
    found = sources().text
    kept = assemble._without(found, held)
    assert kept.handbooks == [OTHER] and kept.debian == found.debian


def test_pairs_writes_what_train_reads(tmp_path, monkeypatch):
    monkeypatch.setattr(Sources, "read", classmethod(lambda cls, *given: sources()))
    written = assemble.pairs(tmp_path, tmp_path, tmp_path / "pairs")
    assert written["faq"] == 1
    for kind, count in written.items():
        assert len(read_training_set(tmp_path / "pairs" / f"{kind}.jsonl")) == count
    assert assemble.pairs(tmp_path, tmp_path, tmp_path / "pairs") == written


def test_pairs_that_became_validation_text_are_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(Sources, "read", classmethod(lambda cls, *given: sources()))
    held = HeldOut(check=LeakCheck({}, {"q": "trays"}))
    written = assemble.pairs(tmp_path, tmp_path, tmp_path / "pairs", held_out=held)
    assert "title" not in written and "faq" in written  # its only title is a validation query
    assert not (tmp_path / "pairs" / "title.jsonl").exists()


@pytest.mark.parametrize("mini", [True, False])
def test_sources_are_read_from_one_folder_or_two(tmp_path, monkeypatch, mini):
    guides = [PAGE, OTHER]
    monkeypatch.setattr(assemble.corpora, "read_handbooks", lambda folder, leaks: guides)
    text = TextSources([], [], [], [], [PAGE])
    monkeypatch.setattr(assemble.corpora, "read_training_text", lambda folder, data, tex: text)
    other = tmp_path / "mini" if mini else tmp_path
    check = LeakCheck({}, {})
    found = assemble._texts(tmp_path, tmp_path, other, check)
    assert found.handbooks == ([PAGE, OTHER] if mini else [PAGE])


def test_a_set_holds_no_empty_side_and_no_negative_that_answers():
    rows = [
        Example(Side("where?"), Side("Here."), (Side("There."), Side("Nowhere."))),
        Example(Side("Where"), Side("there")),
        Example(Side(" "), Side("Here.")),
    ]
    kept = assemble.consistent(rows)
    assert [one.query.text for one in kept] == ["where?", "Where"]
    assert kept[0].negatives == (Side("Nowhere."),)
