"""Synonyms and base forms."""

from __future__ import annotations

import pytest

from recipes.minilm.data.wordnet import Words, read_words
from tests.recipes.builders import dpkg
from tests.recipes.minilm.data.builders import wordnet_deb


@dpkg
def test_the_words_of_the_commonest_sense_are_synonyms(tmp_path):
    words = read_words(wordnet_deb(tmp_path))
    assert words.synonyms("folder") == ("directory",)
    assert words.synonyms("remove") == ("take away",)
    assert words.synonyms("unknown") == ()
    assert words.is_verb("remove") and not words.is_verb("folder")


@dpkg
def test_a_word_that_is_noun_and_verb_takes_the_synonyms_of_neither_or_the_greater(tmp_path):
    words = read_words(wordnet_deb(tmp_path))
    assert words.synonyms("file") == ("remove", "take away")  # three of four senses are the verb's


def test_a_plural_has_the_synonyms_of_its_singular():
    assert Words({"folder": ("pamphlet", "directory")}, []).synonyms("folders") == ("pamphlets",)


@pytest.mark.parametrize(
    ("word", "base"),
    [
        ("installing", "install"),
        ("running", "run"),
        ("using", "use"),
        ("writing", "write"),
        ("setting", "set"),
        ("king", None),
        ("printer", None),
        ("flooing", None),
    ],
)
def test_base_form(word, base):
    assert Words({}, ["install", "run", "use", "write", "set"]).base_form(word) == base
