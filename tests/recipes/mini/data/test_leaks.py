"""What the check for leaks finds: copies of evaluation text, whole, cut or inside other text."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from recipes.mini.data import corpora
from recipes.mini.data.leaks import BOILERPLATE, THRESHOLD, Leak, LeakCheck, find_leaks, shingles


def words(count, start=0):
    return " ".join(f"w{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(start, start + count))


DOCUMENT = words(40)
CHECK = LeakCheck({"set/1": DOCUMENT, "set/2": words(40, 100)}, {"set/q": "What is a wing?"})


def test_a_text_of_n_words_has_n_minus_seven_shingles():
    assert [len(shingles(words(n))) for n in (0, 7, 8, 20)] == [0, 0, 1, 13]


def test_shingles_do_not_see_case_punctuation_and_numbers():
    assert np.array_equal(shingles(words(10)), shingles(words(10).upper().replace(" ", ", 12 - ")))


def test_shingles_depend_on_the_order_of_the_words():
    backwards = " ".join(reversed(words(10).split()))
    assert not np.intersect1d(shingles(words(10)), shingles(backwards)).size


def test_an_equal_text_is_found_up_to_case_and_punctuation():
    assert CHECK.text(DOCUMENT.upper() + ".") == Leak("document", "set/1", 1.0)


def test_an_equal_query_is_found_and_another_is_not():
    assert CHECK.query("what is a WING") == Leak("query", "set/q", 1.0)
    assert CHECK.query("what is a plane") is None


def test_a_copy_inside_a_longer_text_is_found():
    text = f"{words(60, 300)} {DOCUMENT} {words(60, 400)}"
    assert CHECK.text(text) == Leak("near-duplicate", "set/1", 1.0)


def test_a_cut_copy_is_found():
    assert CHECK.text(words(20)) == Leak("near-duplicate", "set/1", 1.0)


def test_the_share_counts_common_shingles_of_the_shorter_text():
    # 30 words in common have 23 shingles; both texts have 40 - 7 = 33.
    assert CHECK.nearest(f"{words(30)} {words(10, 200)}") == Leak(
        "near-duplicate", "set/1", 23 / 33
    )


def test_texts_that_share_half_or_less_are_no_leak():
    text = f"{words(23)} {words(17, 200)}"
    assert CHECK.nearest(text).share == 16 / 33 < THRESHOLD
    assert CHECK.text(text) is None


def test_one_common_phrase_of_a_short_text_is_no_copy():
    assert CHECK.text(words(9)) is None


def test_boilerplate_of_many_documents_is_not_counted():
    phrase = words(20, 300)
    many = {f"d{i}": f"{phrase} {words(9, 20 * i)}" for i in range(BOILERPLATE + 1)}
    assert LeakCheck(many, {}).text(f"{phrase} {words(9, 200)}") is None
    few = dict(list(many.items())[:BOILERPLATE])
    assert LeakCheck(few, {}).text(f"{phrase} {words(9, 200)}") is not None


def test_empty_evaluation_text_is_equal_to_nothing():
    check = LeakCheck({"set/image": ""}, {"set/untitled": ""})
    assert check.text("") is None
    assert check.query("...") is None


def test_leaks_of_pairs_are_found_by_position():
    pairs = [("", "harmless"), ("What is a wing", DOCUMENT), ("another", "text")]
    found = [(position, leak.kind) for position, leak in find_leaks(CHECK, pairs)]
    assert found == [(1, "query"), (1, "document")]


def test_sets_are_read_with_their_titles(tmp_path):
    folder = tmp_path / "wings"
    folder.mkdir()
    row = {"_id": "1", "title": "On wings", "text": DOCUMENT}
    (folder / "corpus.jsonl").write_text(json.dumps(row) + "\n")
    (folder / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": "Why?"}) + "\n")
    check = LeakCheck.of_sets(tmp_path, ["wings", "absent"])
    assert check.text(DOCUMENT).of == "wings/1"
    assert check.query("on wings").of == "wings/1 (title)"
    assert check.query("why").of == "wings/q"


@pytest.mark.slow
def test_the_training_text_of_mini_holds_no_evaluation_text(data):
    """Runs on the work folder of ``python -m recipes.mini``: METAEMBED_MINI_WORK."""
    work = os.environ.get("METAEMBED_MINI_WORK")
    if not work:
        pytest.skip("METAEMBED_MINI_WORK does not name a prepared work folder")
    check, kept = LeakCheck.of_sets(data), corpora.read_training_text(Path(work), data)
    pages = [(title, page.text) for page in (*kept.tex, *kept.handbooks) for title in page.titles]
    pairs = [*kept.debian, *kept.opencqa, *kept.wordnet]
    assert list(find_leaks(check, [*pages, *pairs])) == []
