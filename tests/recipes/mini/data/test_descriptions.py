"""Debian's package descriptions as pairs."""

from __future__ import annotations

import shutil

import pytest

from metaembed_rag.errors import DatasetError
from recipes.mini.data import descriptions
from recipes.mini.data.descriptions import distinct_pairs, parse_descriptions, read_descriptions

LONG = "This tool does one thing and does it well, for everybody who needs that thing to be done."
TRANSLATION = f"""Package: tool
Description-md5: 0
Description-en: does one thing
 {LONG}
 .
 It has a second paragraph.

Package: tool-data
Description-md5: 1
Description-en: does one thing (data)
 {LONG}
 .
 This package has the data.

Package: empty
Description-md5: 2
Description-en: nothing
 Too short.
"""


def test_descriptions_are_joined_and_packages_that_begin_alike_count_once():
    pairs = list(parse_descriptions(TRANSLATION))
    assert pairs[0] == ("does one thing", f"{LONG} It has a second paragraph.")
    assert pairs[2] == ("nothing", "Too short.")
    assert distinct_pairs(pairs) == pairs[:1]


@pytest.mark.skipif(shutil.which("apt-get") is None, reason="apt is not installed")
def test_the_lists_of_the_machine_are_read_where_they_hold_descriptions(tmp_path):
    (tmp_path / "mirror_main_i18n_Translation-en").write_text(TRANSLATION)
    assert read_descriptions(tmp_path / "unused", tmp_path) == [
        ("does one thing", f"{LONG} It has a second paragraph.")
    ]
    assert not (tmp_path / "unused").exists()


def test_a_machine_without_apt_is_told_so(tmp_path, monkeypatch):
    monkeypatch.setattr(descriptions.shutil, "which", lambda name: None)
    with pytest.raises(DatasetError, match="run this on Debian"):
        read_descriptions(tmp_path)
