"""WordNet's files become names of classes and the broader terms that people use."""

from __future__ import annotations

import pytest
import torch

from metaembed_rag.errors import DatasetError
from metaembed_rag.model.efficientnet import EfficientNetLite2
from recipes.visual_words.weights import convert
from recipes.visual_words.words import read_nouns, vocabulary

DATA = """\
  1 a licence
00000001 03 n 01 entity 0 000 | all
00000002 05 n 02 animal 0 beast 0 001 @ 00000001 n 0000 | it moves
00000003 05 n 01 canine 0 001 @ 00000002 n 0000 | teeth
00000004 05 n 02 Canis_familiaris 0 dog 1 002 @ 00000003 n 0000 ~ 00000005 n 0000 | barks
00000005 05 n 01 beagle 0 001 @ 00000004 n 0000 | small
"""
COUNTS = "animal%1:05:00:: 1 67\nbeast%1:05:00:: 2 4\ndog%1:05:01:: 1 42\nentity%1:03:00:: 1 11\n"


def test_broader_terms_are_those_in_use_that_say_something() -> None:
    found = vocabulary(read_nouns(DATA, COUNTS), ["n00000005", "n00000003"])
    assert found["labels"] == [["beagle"], ["canine"]]
    assert found["broader"] == [
        {"name": "animal", "classes": [0, 1]},
        {"name": "dog", "classes": [0]},
    ]


def test_another_wordnet_is_refused() -> None:
    with pytest.raises(DatasetError, match=r"no n00000009: take version 3\.0"):
        vocabulary(read_nouns(DATA, COUNTS), ["n00000009"])


def test_normalisation_is_folded_into_the_convolution() -> None:
    published = {"_fc.weight": torch.zeros(1), "_fc.bias": torch.zeros(1)}
    for convolution, normalisation in (("_conv_stem", "_bn0"), ("_conv_head", "_bn1")):
        published[f"{convolution}.weight"] = torch.full((1, 1, 1, 1), 3.0)
        published |= {
            f"{normalisation}.weight": torch.tensor([2.0]),
            f"{normalisation}.bias": torch.tensor([5.0]),
            f"{normalisation}.running_mean": torch.tensor([1.0]),
            f"{normalisation}.running_var": torch.tensor([4.0 - 1e-3]),
        }
    found = convert(published)
    # 2 (3 x - 1) / 2 + 5 = 3 x + 4
    assert (found["stem.weight"].item(), found["stem.bias"].item()) == (3.0, 4.0)
    assert {values.dtype for values in found.values()} == {torch.float16}


def test_the_package_has_a_weight_for_each_layer() -> None:
    from safetensors.torch import load_file

    from metaembed_rag.model.visual_words import VISUAL_WORDS

    stored = load_file(VISUAL_WORDS / "model.safetensors")
    ours = EfficientNetLite2().state_dict()
    assert {name: value.shape for name, value in stored.items()} == {
        name: value.shape for name, value in ours.items()
    }
