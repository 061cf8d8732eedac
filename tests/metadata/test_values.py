"""What a value of metadata means, and what is refused because it means nothing certain."""

from __future__ import annotations

import datetime
import enum
import math
from decimal import Decimal
from pathlib import PurePosixPath, PureWindowsPath
from uuid import UUID

import numpy as np
import pytest

from metaembed_rag.metadata.values import plain, scalar, storable


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


MEANS = [
    ((1, 2), [1, 2]),
    ([1, 2.5], [1.0, 2.5]),
    (np.array(["a", "b"]), ["a", "b"]),
    (np.int64(3), 3),
    (np.float32(0.5), 0.5),
    (np.longdouble(0.5), 0.5),
    (np.bool_(True), True),
    (np.str_("x"), "x"),
    (np.datetime64("2024-02-01"), "2024-02-01"),
    (datetime.date(2024, 2, 1), "2024-02-01"),
    (datetime.datetime(2024, 2, 1, 9, 30), "2024-02-01T09:30:00"),
    (datetime.datetime(2024, 2, 1, tzinfo=datetime.UTC), "2024-02-01T00:00:00+00:00"),
    (datetime.time(9, 30), "09:30:00"),
    (PurePosixPath("/a/b.pdf"), "/a/b.pdf"),
    (PureWindowsPath("a\\b.pdf"), "a/b.pdf"),
    (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (Decimal("1.50"), 1.5),
    (Colour.RED, "red"),
    (Level.HIGH, 3),
    ([Colour.RED, "blue"], ["red", "blue"]),
]


@pytest.mark.parametrize(("value", "meant"), MEANS, ids=lambda value: repr(value)[:40])
def test_fault_09_a_value_of_one_meaning_is_stored_as_that(value, meant):
    found = storable(value)
    assert found == meant
    items = found if isinstance(found, list) else [found]
    assert {type(item) for item in items} <= {str, int, float, bool}


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (object(), "is an object"),
        ({"a"}, "is a set"),
        (b"x", "is bytes"),
        (1j, "is a complex"),
        (datetime.timedelta(1), "is a timedelta"),
        (np.datetime64("NaT"), "is no date"),
        (np.array(1), "without a dimension"),
        (Decimal("0.1234567890123456789"), "more digits"),
        (Decimal("NaN"), "only finite numbers"),
        (np.float64(math.inf), "only finite numbers"),
        (np.uint64(2**64 - 1), "beyond 64 bits"),
        ([[1]], "is a list"),
        ([True, 2], "several types"),
    ],
)
def test_fault_09_what_has_several_meanings_or_none_is_refused(value, problem):
    with pytest.raises(ValueError, match=problem):
        storable(value)


def test_json_keeps_what_chroma_cannot_hold():
    when = datetime.date(2024, 2, 1)
    assert plain({"a": None, "b": [{"when": when}]}) == {"a": None, "b": [{"when": "2024-02-01"}]}


def test_a_single_value_is_no_list():
    with pytest.raises(ValueError, match="is a list"):
        scalar([1])
