"""What the small checkpoint's tokenizer takes for the same text."""

from __future__ import annotations

import pytest

pytest.importorskip("tokenizers")

from recipes.mini.tokenizer import encode, train_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(["the quick brown fox jumps over it"] * 20, 600)


@pytest.mark.parametrize(
    "text",
    [
        "the quick\nbrown fox",
        "  the quick \t brown fox\r\n",
        "The QUICK Brown Fox",
        "the qu\u00adick brown fox",
    ],
)
def test_white_space_case_and_soft_hyphens_make_no_difference(tokenizer, text):
    wanted, found = encode(tokenizer, ["the quick brown fox", text])
    assert found.tolist() == wanted.tolist()


def test_other_words_are_other_tokens(tokenizer):
    first, second = encode(tokenizer, ["the quick fox", "the quick it"])
    assert first.tolist() != second.tolist()
    assert len(encode(tokenizer, ["  \n "])[0]) == 0
