"""Meta Tokens that read windows of a sentence encoder's states."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import BertConfig

from metaembed_rag import MetaEmbedEncoder
from metaembed_rag.errors import CheckpointError
from metaembed_rag.model import readout
from metaembed_rag.model.readout import divide
from metaembed_rag.model.readout_config import DOCUMENT_BLOCKS, QUERY_BLOCKS
from metaembed_rag.model.window_reader import windows
from recipes.minilm.start import start, with_windows
from tests.support.tiny_bert import bert

SHORT, LONG = "a page shows a chart", "the quick fox jumps over the lazy dog " * 60


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture
def encoder(plain):
    return with_windows(plain)


def states_of(encoder, text):
    ids = encoder.backbone.tokenizer(text, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        return encoder.backbone.model.text(input_ids=ids).last_hidden_state[0, 1:-1]


def test_the_first_vector_is_the_mean_of_the_tokens_states_at_the_start(encoder):
    mean = states_of(encoder, SHORT).mean(0)
    first = encoder.encode_document([SHORT])[0, 0]
    assert np.allclose(first, (mean / mean.norm()).numpy(), atol=1e-3)


def test_a_batch_gives_what_its_texts_give_one_by_one(encoder):
    together = encoder.encode_document([SHORT, LONG, "fox"])
    for vectors, text in zip(together, [SHORT, LONG, "fox"], strict=True):
        assert np.allclose(vectors, encoder.encode_document([text])[0], atol=1e-5)


def test_texts_longer_than_the_window_are_divided_into_equal_parts():
    parts = divide(torch.tensor([5, 254, 600]), 254)
    assert parts.rows.tolist() == [0, 1, 2, 2, 2]
    assert (parts.ends - parts.starts).tolist() == [5, 254, 200, 200, 200]


@pytest.mark.parametrize("blocks", [QUERY_BLOCKS, DOCUMENT_BLOCKS])
def test_every_block_of_windows_covers_the_text(blocks):
    found = windows(blocks)
    for count in blocks:
        block, found = found[:count], found[count:]
        spans = sorted((centre - half, centre + half) for centre, half in block)
        assert spans[0][0] <= 1e-9 and spans[-1][1] >= 1 - 1e-9
        assert all(a[1] == pytest.approx(b[0]) for a, b in zip(spans, spans[1:], strict=False))
    assert not found


def test_a_text_without_tokens_has_vectors(encoder):
    assert np.isfinite(encoder.encode_document(["\u200b"])).all()


def test_a_checkpoint_loads_with_the_same_vectors_and_in_float16_with_near_ones(encoder, tmp_path):
    vectors = encoder.encode_document([SHORT])
    encoder.save_pretrained(tmp_path / "whole")
    loaded = MetaEmbedEncoder.from_pretrained(tmp_path / "whole", device="cpu")
    assert loaded.fingerprint == encoder.fingerprint
    assert np.array_equal(loaded.encode_document([SHORT]), vectors)
    encoder.save_pretrained(tmp_path / "half", dtype="float16")
    half = MetaEmbedEncoder.from_pretrained(tmp_path / "half", device="cpu")
    assert np.allclose(half.encode_document([SHORT]), vectors, atol=5e-3)


def test_a_frozen_bert_remembers_what_it_reads(encoder):
    vectors = encoder.encode_document([SHORT, LONG])
    encoder.backbone.model.freeze_text()
    for _ in range(2):
        assert np.allclose(encoder.encode_document([SHORT, LONG]), vectors, atol=5e-3)
    assert encoder.backbone.model._remembered


def test_other_numbers_of_vectors_than_windows_are_refused(encoder):
    backbone = encoder.backbone
    settings = replace(backbone.settings, document_vectors=8)
    with pytest.raises(CheckpointError, match="r_q=16 and r_c=64"):
        type(backbone)(backbone.model, backbone.processor, settings)


def test_the_start_turns_vectors_onto_their_principal_axes(plain, tmp_path):
    start(plain, tmp_path / "a", pages=[SHORT, LONG])
    found = MetaEmbedEncoder.from_pretrained(tmp_path / "a", device="cpu")
    reader = found.backbone.model.reader
    assert torch.equal(reader.lexical.weight, 2 * torch.eye(64))
    lengths = (found.encode_document([SHORT, LONG]).reshape(-1, 64) ** 2).sum(0)
    assert (np.diff(lengths) <= 1e-3).all()


SMALL = BertConfig(
    vocab_size=50,
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=32,
    max_position_embeddings=16,
)


@pytest.mark.parametrize("at_once", [1, 2, 100])
def test_a_text_has_the_same_states_alone_and_beside_others(monkeypatch, at_once):
    monkeypatch.setattr(readout, "_PARTS_AT_ONCE", at_once)
    torch.manual_seed(0)
    model = readout.ReadoutModel(readout.ReadoutConfig(SMALL.to_dict(), window=10)).eval()
    lengths = torch.tensor([3, 25, 10, 12])  # 1, 3, 1 and 2 parts
    ids = torch.randint(1, 50, (4, 30))
    with torch.inference_mode():
        together = model._read(ids, lengths)
        for row, length in enumerate(lengths.tolist()):
            parts = readout.divide(lengths[row : row + 1], 10)
            ends = zip(parts.starts.tolist(), parts.ends.tolist(), strict=True)
            own, last = ids[row], ids[row, length + 1]
            alone = [
                model.text(input_ids=torch.cat([own[:1], own[1 + a : 1 + b], last[None]])[None])
                for a, b in ends
            ]
            states = torch.cat([one.last_hidden_state[0, 1:-1] for one in alone])
            torch.testing.assert_close(together[row, :length], states)
            assert not together[row, length:].any()
