"""Many clients at once, with writes in between: no error, no wrong result."""

from __future__ import annotations

import pytest

from benchmarks.search.serving import crowd, expected, made_up_text
from metaembed_rag.federation.client import Server
from metaembed_rag.index import PageIndex
from metaembed_rag.pages import Page
from metaembed_rag.testing import FakeEncoder
from tests.support.serving import running

pytestmark = pytest.mark.integration


def test_many_clients_and_writes_between_see_no_error_and_no_wrong_result(tmp_path):
    pages = [Page(f"page{n}", 1, made_up_text(n)) for n in range(60)]
    questions = [made_up_text(10**6 + n, 8) for n in range(160)]
    with PageIndex.open(tmp_path / "index", FakeEncoder()) as index:
        index.add(pages)
        answers, _ = expected(index, questions, "4,8")
        with running(index, uploads=tmp_path / "uploads") as address:
            seen = crowd(lambda: Server(address), answers, "4,8", clients=32, write_every=20)
        assert (seen.errors, seen.wrong) == ([], [])
        assert len(seen.milliseconds) == 160 and seen.writes == 16
        assert len(index) == 60


def test_a_wrong_result_would_be_noticed(tmp_path):
    with PageIndex.open(tmp_path / "index", FakeEncoder()) as index:
        index.add([Page(f"page{n}", 1, made_up_text(n)) for n in range(20)])
        answers, _ = expected(index, [made_up_text(7, 8)], "4,8")
        ((question, right),) = answers.items()
        with running(index) as address:
            seen = crowd(lambda: Server(address), {question: right[1:]}, "4,8", clients=1)
    assert seen.wrong == [question]
