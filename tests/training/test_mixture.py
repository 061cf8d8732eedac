"""Which rows of which set make up the batch of a step."""

from __future__ import annotations

from collections import Counter

import pytest

from metaembed_rag.errors import DatasetError
from metaembed_rag.training.examples import Example, Side, TrainingSet
from metaembed_rag.training.mixture import Mixture
from tests.training.builders import pairs, picture


def test_the_batch_of_a_step_is_the_same_on_every_machine():
    """Written down once: numpy keeps the raw bits of PCG64 (NEP 19), so these never change."""
    mixture = Mixture([pairs(6, "a"), pairs(5, "b", weight=2.0)], 4, seed=7)
    assert [mixture.batch(step) for step in range(4)] == [
        (1, [1, 3, 2]),
        (1, [4, 0]),
        (1, [2, 4, 1]),
        (0, [3, 4, 0]),
    ]


def test_a_step_does_not_depend_on_which_steps_were_asked_before():
    sets = [pairs(50, "a"), pairs(31, "b", weight=0.5)]
    in_order = Mixture(sets, 8, seed=1)
    batches = [in_order.batch(step) for step in range(2100)]
    jumping = Mixture(sets, 8, seed=1)
    for step in (2099, 3, 1024, 1023, 0):
        assert jumping.batch(step) == batches[step]


def test_another_seed_is_another_order():
    assert Mixture([pairs(50)], 50, 0).batch(0) != Mixture([pairs(50)], 50, 1).batch(0)


def test_every_row_is_used_once_an_epoch_and_epochs_differ():
    mixture = Mixture([pairs(33)], 32, seed=0)
    batches = [mixture.batch(step)[1] for step in range(4)]
    assert [len(rows) for rows in batches] == [17, 16, 17, 16]
    assert sorted(batches[0] + batches[1]) == sorted(batches[2] + batches[3]) == list(range(33))
    assert batches[0] != batches[2]
    assert mixture.epoch_batches(0) == 2


def test_a_set_smaller_than_a_batch_is_one_batch():
    assert sorted(Mixture([pairs(5)], 32, seed=0).batch(9)[1]) == [0, 1, 2, 3, 4]


def test_sets_are_drawn_by_their_weights():
    mixture = Mixture([pairs(9, "a"), pairs(9, "b", weight=3.0)], 3, seed=0)
    drawn = Counter(mixture.batch(step)[0] for step in range(4000))
    # One standard deviation of 4,000 draws at 3/4 is 27.
    assert abs(drawn[1] - 3000) < 110


def test_a_page_and_a_query_never_stand_twice_in_a_batch():
    rows = [Example(Side(f"q{i % 7}"), Side(f"p{i % 5}")) for i in range(35)]
    mixture = Mixture([TrainingSet(rows, name="crossed")], 8, seed=0)
    batches = [mixture.batch(step)[1] for step in range(mixture.epoch_batches(0))]
    assert sorted(row for batch in batches for row in batch) == list(range(35))
    for batch in batches:
        assert len({row % 7 for row in batch}) == len({row % 5 for row in batch}) == len(batch)


def test_a_page_never_stands_beside_a_query_that_it_answers_in_another_row():
    """Rows 0 and 2 share nothing, but row 1 says that row 2's page answers row 0's query."""
    rows = [
        Example(Side("q0"), Side("p0")),
        Example(Side("q0"), Side("p1")),
        Example(Side("q1"), Side("p1")),
    ]
    mixture = Mixture([TrainingSet(rows, name="known")], 3, seed=0)
    assert mixture.epoch_batches(0) == 3


def test_the_same_picture_under_two_names_never_stands_twice_in_a_batch(tmp_path):
    names = ["a.png", "b.png"]
    rows = [Example(Side(n), Side(image=str(picture(tmp_path / n)))) for n in names]
    mixture = Mixture([TrainingSet(rows, name="pictures")], 2, seed=0)
    assert [len(mixture.batch(step)[1]) for step in range(2)] == [1, 1]


def test_a_page_that_most_rows_share_makes_small_batches_but_loses_no_row():
    rows = [Example(Side(f"q{i}"), Side("shared" if i % 2 else f"p{i}")) for i in range(600)]
    mixture = Mixture([TrainingSet(rows, name="shared")], 16, seed=0)
    batches = [mixture.batch(step)[1] for step in range(mixture.epoch_batches(0))]
    assert sorted(row for batch in batches for row in batch) == list(range(600))
    assert max(sum(row % 2 for row in batch) for batch in batches) == 1


@pytest.mark.parametrize(
    ("sets", "batch_size", "seed", "said"),
    [
        (0, 4, 0, "there are no training sets"),
        (1, 0, 0, "a batch size of 0"),
        (1, 4, -1, "the seed must be 0 or more"),
    ],
)
def test_a_mixture_of_nothing_is_refused(sets, batch_size, seed, said):
    with pytest.raises(DatasetError, match=said):
        Mixture([pairs(3)] * sets, batch_size, seed)
