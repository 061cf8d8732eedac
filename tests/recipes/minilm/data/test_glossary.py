"""Entries of dictionaries, and what asks for them."""

from __future__ import annotations

import gzip

from recipes.minilm.data.glossary import Entry, entry_pairs, parse_entries, read_entries
from tests.recipes.builders import deb, dpkg
from tests.recipes.minilm.data.builders import WORDS

FOLDOC = """00-database-info
   not an entry
spool

   <operating system> A {folder} in which jobs wait until the printer is free to print them.
   The jobs leave it in the order in which they came. Nobody has to wait for the printer.

   (2014-11-27)

short
   no.
"""
GCIDE = """Feeler \\Feel"er\\, n.
   1. One of the sense organs of certain animals, which are used in testing objects by touch and
      in searching for food; an antenna; a palp; a part that is as good as a hand to an insect.
      [1913 Webster]

Short \\Short\\, a.
   Not long.
"""
ELEMENTS = (
    "argon\nSymbol: Ar\nMonatomic noble gas. Makes up 0.93% of the air. It is\ninert and has no"
    " true compounds at all.\n\nnothing\nSymbol\n"
)
DEVIL = (
    "ACADEMY, n.  A modern school where football is taught to everybody who can pay for it,"
    " and\nto some others.\n"
)


def test_each_dictionary_has_its_own_form():
    (spool,) = parse_entries("foldoc", FOLDOC)
    assert spool.word == "spool" and spool.text.startswith("A folder in which jobs wait")
    (feeler,) = parse_entries("gcide", GCIDE)
    assert feeler.word == "Feeler" and "Webster" not in feeler.text
    (argon,) = parse_entries("elements", ELEMENTS)
    assert argon.word == "argon" and "It is inert" in argon.text
    (academy,) = parse_entries("devil", DEVIL)
    assert academy.word == "academy" and academy.text.startswith("A modern school")


@dpkg
def test_a_package(tmp_path):
    packed = gzip.compress(FOLDOC.encode())
    package = deb(tmp_path, "dict-foldoc", {"usr/share/dictd/foldoc.dict.dz": packed})
    assert [one.word for one in read_entries([package])] == ["spool"]


def test_an_entry_is_asked_for_by_its_word_or_by_its_definition_without_the_word():
    (spool,) = parse_entries("foldoc", FOLDOC)
    made = [
        (query, text)
        for seed in range(60)
        for _, query, text in entry_pairs([spool], WORDS, str(seed))
    ]
    assert made[0] == next(entry_pairs([spool], WORDS, "0"))[1:]
    assert ("what is spool", f"spool: {spool.text}") in made
    assert all(text.startswith("spool: ") for _, text in made)
    described = [query for query, _ in made if "spool" not in query]
    assert any("printer" in query or "jobs" in query for query in described)
    assert any("Nobody" not in text for _, text in made)


def test_an_abbreviation_is_asked_for_as_one():
    entry = Entry("vera", "AAT", "Average Access Time")
    (found,) = entry_pairs([entry], WORDS, "0")
    assert "AAT" in found[1] and found[2] == "AAT: Average Access Time"
