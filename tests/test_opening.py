"""What an index is opened with; that models and formats match is tried in ``test_index.py``."""

from __future__ import annotations

import pickle

import pytest

from metaembed_rag.errors import ModelMismatchError, StoreError
from metaembed_rag.index import PageIndex
from metaembed_rag.opening import NamedModel, OpenSettings, portable
from metaembed_rag.testing import FakeEncoder


def test_a_setting_that_there_is_not_is_refused_by_name(tmp_path):
    with pytest.raises(TypeError, match=r"open\(\) got an unexpected keyword argument 'vector'"):
        PageIndex.open(tmp_path / "i", FakeEncoder(), vector=3)
    assert not (tmp_path / "i").exists()


def test_a_setting_of_none_is_the_same_as_one_that_is_left_out(tmp_path):
    settings = OpenSettings(
        vectors=None,
        format=None,
        dimension=None,
        pictures=None,
        headers=None,
        device=None,
        scoring_device=None,
    )
    assert settings.keys() == OpenSettings.__annotations__.keys()
    index = PageIndex.open(tmp_path / "i", FakeEncoder(), **settings)
    assert index.info() == PageIndex.open(tmp_path / "i", FakeEncoder()).info()


def test_fault_17_a_model_that_was_loaded_by_its_name_is_pickled_by_it(tmp_path, loaded, encoder):
    """Whatever the name loads there has to be the same model."""
    encoder.loaded_by_name = True
    named = portable(encoder)
    assert named == NamedModel("fake", encoder.fingerprint)
    assert named.load() is encoder
    with pytest.raises(ModelMismatchError, match="loads another model here"):
        NamedModel("fake", "f" * 32).load()
    with PageIndex.open(tmp_path / "i", encoder) as index:
        again = pickle.loads(pickle.dumps(index))
    assert again.encoder is encoder
    again.close()


def test_fault_17_a_model_without_a_name_says_what_to_do(tmp_path, encoder):
    encoder.loaded_by_name = False
    with (
        PageIndex.open(tmp_path / "i", encoder) as index,
        pytest.raises(StoreError, match="cannot be pickled.*save it and use"),
    ):
        pickle.dumps(index)
    assert portable(None) is None
