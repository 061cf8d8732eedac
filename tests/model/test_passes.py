"""Texts longer than the model's window: read in passes, whose vectors are one ordered set."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from metaembed_rag import MetaEmbedEncoder, Page, PageIndex
from metaembed_rag.adapters import document_vectors
from metaembed_rag.errors import CheckpointError, ModalityError
from metaembed_rag.model.base import PooledEncoder
from metaembed_rag.model.inputs import Item
from metaembed_rag.model.passes import Passes, interleaved, split_item
from metaembed_rag.model.pooling import Pooling
from metaembed_rag.model.protocol import unread_tokens
from metaembed_rag.testing import FakeEncoder
from tests.support import tiny_backbones

WINDOW = 32
RED = Image.new("RGB", (56, 28), "red")
LONG = " ".join(f"fox{i} and dog{i}" for i in range(60))  # some 400 tokens, 14 windows


def letters(text, **_):
    """A tokenizer with a token a letter."""
    return {"offset_mapping": [(i, i + 1) for i in range(len(text))]}


letters.is_fast = True


def unit(*rows):
    array = np.array(rows, np.float32)
    return array / np.linalg.norm(array, axis=-1, keepdims=True)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> MetaEmbedEncoder:
    torch.set_num_threads(1)
    folder = tiny_backbones.modernbert(tmp_path_factory.mktemp("plain") / "bert")
    return MetaEmbedEncoder.from_backbone(folder, 4, 32, max_document_tokens=WINDOW, device="cpu")


@pytest.fixture
def limited(encoder: MetaEmbedEncoder):
    encoder.max_passes = 3
    yield encoder
    encoder.max_passes = 16


def test_fault_01_a_word_beyond_the_first_window_changes_the_vectors(encoder) -> None:
    other = LONG.replace("fox58", "whale")
    first, second = encoder.encode_document([LONG, other])
    assert np.abs(first - second).max() > 0.01


@pytest.mark.parametrize("place", [0, 1, 2])
def test_fault_01_every_prefix_covers_all_passes(encoder, place: int) -> None:
    parts = ["fox " * 20, "dog " * 20, "red " * 20]
    first = encoder.encode_document([" ".join(parts)])
    parts[place] = "lazy " * 20
    second = encoder.encode_document([" ".join(parts)])
    for prefix in (1, 4, 8, 32):
        assert np.abs(first[:, :prefix] - second[:, :prefix]).max() > 0.001


def test_fault_01_a_text_of_one_pass_has_the_vectors_that_the_model_gives(encoder) -> None:
    texts = ["the fox", "and dog " * 3, " a [SEP] b "]
    whole = encoder.encode_document(texts)
    backbone = encoder.backbone
    for text, vectors in zip(texts, whole, strict=True):
        with torch.inference_mode():
            given = backbone.preprocess([text], task="document")
            found = encoder.model(given, task="document")["token_embeddings"][0]
        assert np.abs(found.numpy() - vectors).max() <= 1e-5
    assert encoder.unread_tokens(texts) == [0, 0, 0]


def test_fault_01_what_the_bound_leaves_out_is_counted(limited, encoder) -> None:
    tokens = len(encoder.backbone.tokenizer(LONG, add_special_tokens=False)["input_ids"])
    read = 3 * (WINDOW - 2)
    assert encoder.unread_tokens([LONG, "fox"]) == [tokens - read, 0]
    assert np.array_equal(
        encoder.encode_document([LONG]), encoder.encode_document([LONG + " and a tail"])
    )
    limited.max_passes = 1
    assert encoder.unread_tokens(LONG) == [tokens - WINDOW]
    alone = limited.encode_document([LONG])
    assert np.abs(alone - limited.encode_document([LONG[:200]])).max() <= 1e-5


def test_fault_01_an_index_says_which_pages_were_cut(limited) -> None:
    index = PageIndex.open(":memory:", limited)
    report = index.add([Page("a.txt", text=LONG), Page("b.txt", text="a fox")])
    assert report.cut == dict(zip(["a.txt#1"], limited.unread_tokens([LONG]), strict=True))
    assert str(report).endswith("0 skipped, 1 cut")
    again = index.add([Page("a.txt", text=LONG)])
    assert (again.unchanged, again.cut) == (1, {})


def test_fault_01_what_gives_vectors_only_logs_what_was_cut(limited, caplog) -> None:
    with caplog.at_level(logging.WARNING):
        document_vectors(limited, ["a fox"], 8, None)
        assert not caplog.records
        document_vectors(limited, ["a fox", LONG], 8, None)
    assert "1 of 2 texts are longer than" in caplog.text


def test_queries_are_as_they_were(encoder) -> None:
    assert encoder.encode_query([LONG * 3, LONG]).shape == (2, 4, 32)
    assert np.array_equal(*encoder.encode_query([LONG * 3, LONG * 2]))


def test_results_depend_neither_on_neighbours_nor_on_the_number_asked_for(encoder) -> None:
    texts = ["fox", LONG, LONG[:150], "a dog"]
    every = encoder.encode_document(texts)
    for i, text in enumerate(texts):
        assert np.abs(encoder.encode_document([text], batch_size=2)[0] - every[i]).max() <= 1e-5
    for count in (1, 5, 20):
        some = encoder.encode_document(texts, vectors=count)
        assert np.abs(some - every[:, :count]).max() <= 1e-5


def test_neither_name_nor_fingerprint_knows_of_passes(limited, encoder, tmp_path: Path) -> None:
    saved = limited.save_pretrained(tmp_path / "saved")
    loaded = MetaEmbedEncoder.from_pretrained(saved, device="cpu", max_passes=2)
    assert (loaded.max_passes, limited.max_passes) == (2, 3)
    assert loaded.fingerprint == limited.fingerprint
    for wrong in (0, 1.5, True):
        with pytest.raises(CheckpointError, match="max_passes must be a whole number"):
            loaded.max_passes = wrong


def test_fault_01_a_picture_is_in_the_first_pass_only(tmp_path: Path) -> None:
    folder = tiny_backbones.qwen2_5_vl(tmp_path / "qwen")
    seeing = MetaEmbedEncoder.from_backbone(
        folder, 4, 16, max_document_tokens=WINDOW, max_pixels=28 * 28 * 4, device="cpu"
    )
    passes = seeing.backbone.passes(Item(LONG, RED), 16).items
    assert [item.modality for item in passes] == ["fused", *["text"] * (len(passes) - 1)]
    assert "".join(item.text for item in passes) == LONG
    fused = {"text": LONG, "image": RED}
    other = {"text": LONG.replace("fox58", "whale"), "image": RED}
    first, second = seeing.encode_document([fused, other])
    assert np.abs(first - second).max() > 0.001


# -- the parts of a text ---------------------------------------------------------------------


def texts(passes: Passes) -> list[str]:
    return [item.text for item in passes.items]


def test_parts_are_of_equal_length_and_end_with_a_word() -> None:
    item = Item("one two three four five six seven eight", None)  # 39 letters
    assert texts(split_item(item, letters, 39, 9)) == [item.text]
    assert texts(split_item(item, letters, 24, 9)) == [
        "one two three four ",
        "five six seven eight",
    ]
    assert split_item(item, letters, 24, 1) == Passes((item,), 39 - 24)


def test_a_text_without_spaces_is_divided_all_the_same() -> None:
    assert texts(split_item(Item("字" * 50, None), letters, 20, 9)) == [
        "字" * 16,
        "字" * 17,
        "字" * 17,
    ]


def test_a_slow_tokenizer_divides_nothing() -> None:
    slow = SimpleNamespace(is_fast=False)
    assert len(split_item(Item("a " * 99, None), slow, 10, 9).items) == 1


def test_a_beginning_of_white_space_takes_no_pass() -> None:
    item = Item(" " * 40 + "word", None)
    assert texts(split_item(item, letters, 20, 9))[0].strip() == "word"
    nothing = split_item(item, letters, 20, 2)
    assert (texts(nothing), nothing.unread) == ([item.text], 8)


@given(st.text("ab \n字", min_size=1, max_size=200), st.integers(1, 40), st.integers(1, 6))
def test_parts_fit_and_lose_nothing_but_what_is_counted(text: str, window: int, most: int) -> None:
    found = split_item(Item(text, None), letters, window, most)
    assert 1 <= len(found.items) <= most
    if len(found.items) > 1:
        assert all(len(part) <= window for part in texts(found))
        read = text[: len(text) - found.unread]
        assert "".join("".join(texts(found)).split()) == "".join(read.split())


# -- one order -------------------------------------------------------------------------------


def test_passes_take_turns_after_the_mean_of_their_first_vectors() -> None:
    first, second = unit([1, 0], [0.6, 0.8], [0, 1]), unit([0, 1], [0.8, 0.6], [1, 0])
    found = interleaved([first, second], 5, 5)
    mean = [0.5**0.5, 0.5**0.5]
    np.testing.assert_allclose(found, [mean, first[0], second[0], first[1], second[1]], atol=1e-6)


def test_more_passes_than_vectors_share_a_place() -> None:
    passes = [unit([1, 0], [1, 0]), unit([0, 1], [1, 0]), unit([-1, 0], [1, 0])]
    found = interleaved(passes, 2, 2)
    np.testing.assert_allclose(found, [[0, 1], [0, 1]], atol=1e-6)
    assert interleaved(passes, 1, 1).tolist() == [[0, 1]]
    opposite = interleaved([unit([1, 0]), unit([-1, 0])], 1, 1)
    assert opposite.tolist() == [[1, 0]]  # a mean of nothing: the first


class Letters(PooledEncoder):
    """A token a letter, 4 letters a pass."""

    name, fingerprint, dimension = "letters", "2", 3
    modalities = frozenset({"text"})
    settings = Pooling("ward", query_vectors=2, document_vectors=3)

    def _passes(self, item):
        return split_item(item, letters, 4, self.max_passes)

    def _tokens(self, items, side):
        scored = [[x for x in item.text if x in "abc"] for item in items]
        return [np.eye(3, dtype=np.float32)[["abc".index(x) for x in some]] for some in scored]


def test_fault_01_tokens_of_all_passes_are_pooled_together() -> None:
    model = Letters()
    assert [len(one) for one in model.encode_tokens(["aaaaaabbbbbc", "ab"], "document")] == [12, 2]
    found = model.encode_document(["aaaaaabbbbbc"])[0]
    assert found.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert len(model.encode_tokens(["aaaaaabbbbbc"], "query")[0]) == 12


def test_a_pass_may_have_nothing_that_is_scored_but_not_a_whole_document() -> None:
    model = Letters()
    assert model.encode_document(["ab??" + "?" * 8])[0].tolist() == [
        [1, 0, 0],
        [0, 1, 0],
        [1, 0, 0],
    ]
    with pytest.raises(ModalityError, match="document 1 has no token that letters scores"):
        model.encode_document(["ab", "?" * 12])


def test_an_encoder_that_does_not_say_what_it_reads_reads_everything() -> None:
    assert unread_tokens(FakeEncoder(), ["a " * 9999]) == [0]
    assert unread_tokens(object(), ["a", "b"]) == [0, 0]  # type: ignore[arg-type]
