"""Promise 5: what fails around an index ends in an error of ours, in time, and loses nothing."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from metaembed_rag import Page, PageIndex
from metaembed_rag.errors import StoreError
from metaembed_rag.model.memory import in_halves, is_out_of_memory
from metaembed_rag.testing import FakeEncoder
from tests.soak import faults
from tests.soak.children import run
from tests.soak.state import opened, pages_of, problems

QUICK = (
    faults.a_mark_that_is_a_link,
    faults.locks_and_marks_that_are_folders,
    faults.locks_and_marks_that_are_garbage,
    faults.deleted_while_open,
    faults.unmounted_while_open,
    faults.pictures_gone,
    faults.no_memory_in_the_encoder,
    faults.a_clock_that_is_set_back,
)


@pytest.mark.parametrize("scenario", QUICK, ids=lambda one: one.__name__)
def test_the_quick_scenarios(tmp_path, scenario, caplog):
    caplog.set_level(logging.CRITICAL)
    scenario(tmp_path)


@pytest.mark.integration
@pytest.mark.parametrize("name", ["full_disk_now", "full_disk_at_the_database", "full_disk_soon"])
def test_once_a_full_disk_has_room_again_the_index_goes_on(tmp_path, name):
    done = run(faults._scenario, name, tmp_path, seconds=120)
    assert (done.value, done.error, done.hung) == (None, "", False)


@pytest.mark.parametrize("name", [".metaembed.mark", ".metaembed.writing"])
def test_a_mark_that_is_a_folder_is_named(tmp_path, name):
    with opened(tmp_path / "i") as index:
        index.add(pages_of(range(3), 1))
        (tmp_path / "i" / name).unlink(missing_ok=True)
        (tmp_path / "i" / name).mkdir()
        with pytest.raises(StoreError, match=rf"{name} cannot be written .* delete it"):
            index.add(pages_of(range(3, 6), 1))
        (tmp_path / "i" / name).rmdir()
        index.add(pages_of(range(3, 6), 1))
        assert len(index) == 6
        assert problems(index) == []


def test_too_much_for_the_memory_is_computed_in_halves():
    asked = []

    def compute(some):
        asked.append(len(some))
        if len(some) > 2:
            raise MemoryError
        return [one * 10 for one in some]

    assert in_halves(compute, [1, 2, 3, 4, 5]) == [10, 20, 30, 40, 50]
    assert asked == [5, 2, 3, 1, 2]


def test_a_single_input_that_is_too_much_is_an_error_and_others_pass():
    def no_memory(_):
        raise MemoryError

    def broken(_):
        raise RuntimeError("shapes differ")

    with pytest.raises(MemoryError, match="a single input"):
        in_halves(no_memory, [1, 2])
    with pytest.raises(RuntimeError, match="shapes differ"):
        in_halves(broken, [1, 2])


def test_what_torch_says_of_memory_is_known():
    torch = pytest.importorskip("torch")
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes"))
    assert not is_out_of_memory(RuntimeError("shapes differ"))


def test_a_batch_that_is_too_much_gives_the_same_vectors():
    class Narrow(FakeEncoder):
        def _encode_batch(self, items, side, count):
            if len(items) > 2:
                raise MemoryError
            return super()._encode_batch(items, side, count)

    texts = [f"text {number}" for number in range(7)]
    for encode in ("encode_query", "encode_document"):
        halved, whole = (getattr(one, encode)(texts) for one in (Narrow(), FakeEncoder()))
        np.testing.assert_array_equal(halved, whole)


def test_an_encoder_of_ones_own_is_asked_for_halves_and_one_page_costs_itself(monkeypatch):
    encoder = FakeEncoder()
    real = encoder.encode_document

    def narrow(inputs):
        if len(inputs) > 3 or "huge" in inputs:
            raise MemoryError
        return real(inputs)

    monkeypatch.setattr(encoder, "encode_document", narrow)
    with PageIndex.open(":memory:", encoder) as index:
        pages = [Page(name, text=f"{name} fox") for name in "abcdefg"]
        report = index.add([*pages, Page("huge", text="huge")])
        assert index.ids() == [page.id for page in pages]
        assert [error.source for error in report.skipped] == ["huge#1"]
        assert report.acknowledged == [page.id for page in pages]
