"""Manual pages as pairs: what asks for what, and in which part."""

from __future__ import annotations

from collections import Counter

from metaembed_rag.evaluation import read_dataset
from recipes.mini.data import manuals
from recipes.mini.data.manuals import Manual, as_pair, split_manuals
from tests.recipes.builders import PAGE, manual_page


def test_what_gives_the_answer_away_is_removed_from_the_page():
    pair = as_pair(manual_page(PAGE, "strcpy", "3"))
    assert pair.id == "strcpy.3"
    assert pair.query == "copy or concatenate a string"
    assert pair.text == (
        "Standard C library (libc, -lc) The strcpy() function copies; to —all of it. -n Quiet "
        "cell: one cell two"
    )


def test_a_name_falls_on_one_side_in_all_its_sections():
    names = [f"page{i}" for i in range(400)]
    parts = [Manual(f"{name}.1", "q", "t").part for name in names]
    assert parts == [Manual(f"{name.upper()}.3ssl", "q", "t").part for name in names]
    assert 35 < parts.count("test") < 95  # 40 of 256 of 400 are 62; one standard deviation is 7
    assert 10 < parts.count("dev") < 55  # 20 of 256 of 400 are 31
    assert len(parts) == sum(map(parts.count, ("test", "dev", "train")))


def test_no_description_stands_in_two_parts():
    names = [f"page{i}" for i in range(60)]
    pages = [Manual(f"{name}.1", f"do {i % 20}", f"t{i}") for i, name in enumerate(names)]
    removed = Counter()
    parts = split_manuals(pages, removed)
    asked = {name: {page.query for page in part} for name, part in parts.items()}
    assert parts["test"] == [page for page in pages if page.part == "test"]
    assert not asked["train"] & (asked["test"] | asked["dev"])
    assert not asked["test"] & asked["dev"]
    assert sum(map(len, parts.values())) + removed["asks what a held-out page asks"] == 60


def test_pages_with_the_same_description_answer_the_same_query(tmp_path):
    pages = [Manual("a.1", "Do it", "A"), Manual("b.1", "do it.", "B"), Manual("c.1", "rest", "C")]
    assert manuals.write_test_set(tmp_path, pages) == {"pages": 3, "queries": 2}
    read_back = read_dataset(tmp_path)
    assert read_back.qrels == {"q-a.1": {"a.1": 1, "b.1": 1}, "q-c.1": {"c.1": 1}}
    assert [page.text for page in read_back.pages] == ["A", "B", "C"]
