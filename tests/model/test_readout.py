"""A readout: how its backbone reads the parts of texts."""

import pytest
import torch
from transformers import BertConfig

from metaembed_rag.model import readout

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
