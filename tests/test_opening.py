"""What an index is opened with; that models and formats match is tried in ``test_index.py``."""

from __future__ import annotations

import pytest

from metaembed_rag.index import PageIndex
from metaembed_rag.opening import OpenSettings
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
