"""Promise 3: while others write, a search sees whole pages, and what was acknowledged before."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.soak import crowds
from tests.soak.tally import Share

pytestmark = pytest.mark.integration


def test_eight_readers_beside_a_writer_find_what_an_exhaustive_reading_finds():
    tally = crowds.read_beside_a_writer(Share(seed=3, cases=160, seconds=20))
    assert tally.is_good, tally.failures
    assert tally.faults  # it has written meanwhile


def test_threads_and_tasks_share_one_index():
    tally = crowds.share_one_index(Share(seed=3, cases=300, seconds=20))
    assert tally.is_good, tally.failures


def test_openings_and_searches_leave_nothing_behind():
    program = (
        "from tests.soak import crowds; from tests.soak.tally import Share;"
        "print(*crowds.open_and_close(Share(seed=3, cases=420, seconds=40)).failures)"
    )
    done = subprocess.run(  # in a process whose threads and files are its own
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""
