"""Pictures in a folder that the user gave, in which several indexes keep theirs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from metaembed_rag import Page, PageIndex
from metaembed_rag.store.given_pictures import ABOUT, GivenPictures
from metaembed_rag.testing import FakeEncoder


def _pages() -> list[Page]:
    return [
        Page("deck", n, f"page {n} fox", image=Image.new("RGB", (60, 40), "navy")) for n in (1, 2)
    ]


def _open(folder: Path, **settings: object) -> PageIndex:
    return PageIndex.open(folder, FakeEncoder(), **settings)  # type: ignore[arg-type]


def _shown(index: PageIndex) -> list[bool]:
    paths = [hit.page.image_path for hit in index.search("fox", hybrid=False)]
    return [path is not None and Path(path).is_file() for path in paths]


def test_two_indexes_in_one_folder_delete_none_of_the_others_pictures(tmp_path):
    given = tmp_path / "pictures"
    first, second = (_open(tmp_path / name, pictures=given) for name in ("a", "b"))
    for index in (first, second):
        index.add(_pages())
    second.delete(everything=True)
    assert _shown(first) == [True, True]
    second.add(_pages())
    first.delete(everything=True)
    assert _shown(second) == [True, True]
    assert json.loads((given / ABOUT).read_text())["id"] == first._store.collection_id


def test_a_folder_that_was_named_once_is_remembered(tmp_path):
    given = tmp_path / "pictures"
    _open(tmp_path / "a", pictures=given).add(_pages())
    again = _open(tmp_path / "a")
    assert _shown(again) == [True, True]
    assert again.info()["pictures"] == str(given)
    again.delete(everything=True)
    assert list(given.glob("??/*")) == []


def test_a_folder_that_has_gone_is_told_and_pages_are_found(tmp_path, caplog):
    given = tmp_path / "pictures"
    _open(tmp_path / "a", pictures=given).add(_pages())
    shutil.move(given, tmp_path / "moved")
    assert _shown(_open(tmp_path / "a")) == [False, False]
    assert f"were kept in {given}, which is not there" in caplog.text
    assert _shown(_open(tmp_path / "a", pictures=tmp_path / "moved")) == [True, True]
    assert _shown(_open(tmp_path / "a")) == [True, True]


def test_the_folder_beside_the_index_can_be_named_to_go_back(tmp_path):
    usual = _open(tmp_path / "a").info()["pictures"]
    _open(tmp_path / "a", pictures=tmp_path / "elsewhere")
    index = _open(tmp_path / "a", pictures=usual)
    index.add(_pages())
    assert _open(tmp_path / "a").info()["pictures"] == usual
    assert not (Path(usual) / ABOUT).exists()


@pytest.mark.parametrize("owner", ["somebody", "not JSON"])
def test_pictures_of_before_are_shown_and_never_deleted_from_anothers_folder(tmp_path, owner):
    given = tmp_path / "pictures"
    index = _open(tmp_path / "a", pictures=given)
    index.add(_pages())
    (given / ABOUT).write_text(json.dumps({"id": owner}) if owner == "somebody" else owner)
    index = _open(tmp_path / "a", pictures=given)
    assert _shown(index) == [True, True]
    index.delete(everything=True)
    assert len(list(given.glob("??/*"))) == 2


def test_no_id_that_a_server_answers_leads_out_of_the_folder(tmp_path):
    given = tmp_path / "pictures"
    GivenPictures(given, "first").save(Image.new("RGB", (9, 9)), "a#1", "0" * 32)
    strange = GivenPictures(given, "../../elsewhere")
    strange.save(Image.new("RGB", (9, 9)), "a#1", "0" * 32)
    assert strange.folder.parent == given
    assert not (tmp_path.parent / "elsewhere").exists()
