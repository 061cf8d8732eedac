"""What the user has named is kept in the cache folder, and nothing leads out of it."""

from __future__ import annotations

import pytest

from metaembed_rag.store.named_models import named_model, remember_model


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_each_collection_has_the_name_that_it_was_given_last():
    remember_model("one", "http://a#m")
    remember_model("two", "someone/ö")
    remember_model("one", "http://b#m")
    assert (named_model("one"), named_model("two"), named_model("three")) == (
        "http://b#m",
        "someone/ö",
        None,
    )


def test_fault_21_the_id_that_a_server_gives_a_collection_leads_nowhere(tmp_path, cache):
    for id in ("../../../outside", "/etc/passwd", "a/b", "\0", "x" * 5000):
        remember_model(id, "model")
        assert named_model(id) == "model"
    assert {path.parent.name for path in tmp_path.rglob("*.txt")} == {"models"}
    assert list(tmp_path.iterdir()) == [cache]


def test_a_cache_folder_that_cannot_be_written_forgets(cache):
    cache.write_text("a file")
    remember_model("one", "model")
    assert named_model("one") is None
