"""Progress bars of the package: text on standard error; notebooks are in test_notebooks.py."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest

from metaembed_rag.index import PageIndex
from metaembed_rag.pages import Page
from metaembed_rag.progress import PageCounter, page_counter
from metaembed_rag.testing import FakeEncoder

PAGES = [Page(source="book", number=n, text=f"page {n}") for n in range(1, 6)]


@pytest.fixture
def index():
    return PageIndex.open(":memory:", FakeEncoder())


def test_adding_draws_a_bar_that_knows_how_many_pages_a_list_has(index, capsys):
    index.add(PAGES, batch_size=2, show_progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "0/5 [" in err
    assert "5/5 [" in err


def test_adding_lazily_counts_pages_without_a_total(index, capsys):
    index.add(iter(PAGES), show_progress=True)
    assert "5/5 [" in capsys.readouterr().err


def test_nothing_is_drawn_unless_asked_for(index, tmp_path, capsys):
    (tmp_path / "note.txt").write_text("a note")
    index.add(PAGES)
    index.sync(tmp_path)
    assert capsys.readouterr() == ("", "")


def test_syncing_counts_what_files_have_also_when_nothing_changed(index, tmp_path, capsys):
    for name in ("a.txt", "b.txt", "c.txt"):
        (tmp_path / name).write_text(f"the note {name}")
    for _ in range(2):
        index.sync(tmp_path, show_progress=True)
        err = capsys.readouterr().err
        assert "0/3 [" in err
        assert "3/3 [" in err


def test_a_callback_hears_the_same_numbers_beside_a_bar(index, capsys):
    without, beside = [], []
    PageIndex.open(":memory:", FakeEncoder()).add(PAGES, batch_size=2, progress=without.append)
    index.add(PAGES, batch_size=2, progress=beside.append, show_progress=True)
    assert beside == without == [2, 2, 1]


def test_a_total_that_was_too_high_ends_at_what_there_was(capsys):
    with page_counter(None, shown=True, total=lambda: 9) as count:
        count(4)
    assert "4/4 [" in capsys.readouterr().err.rpartition("\r")[2]


def test_a_total_that_was_too_low_rises_with_the_count(capsys):
    with page_counter(None, shown=True, total=lambda: 3) as count:
        count(4)
        raised = capsys.readouterr().err
    assert "4/3" not in raised + capsys.readouterr().err


def test_the_bar_moves_with_each_page_that_is_read_and_counts_none_twice(index):
    drawn, done = [], []
    bar = SimpleNamespace(n=0, total=5)

    def update(pages):
        bar.n += pages
        drawn.append(bar.n)

    bar.update = update
    counter = PageCounter(lambda pages: done.append((pages, bar.n)), bar)
    index.add(PAGES, batch_size=2, progress=counter)
    assert drawn == [
        1,
        2,
        2,
        3,
        4,
        4,
        5,
        5,
    ]  # each page as it is read, and batches as they are done
    assert done == [(2, 2), (2, 4), (1, 5)]
    index.add(PAGES, batch_size=5, progress=counter)  # unchanged, so nothing is read
    assert bar.n == bar.total == 10


def test_an_error_leaves_the_bar_where_it_was(capsys):
    with pytest.raises(KeyError), page_counter(None, shown=True, total=lambda: 9) as count:
        count(4)
        raise KeyError
    assert "4/9 [" in capsys.readouterr().err.rpartition("\r")[2]


IN_A_NOTEBOOK = """
import sys, types, warnings

for name in ("ipykernel.zmqshell", "IPython"):  # as a kernel has loaded them
    sys.modules[name] = types.ModuleType(name)
sys.modules["IPython"].get_ipython = lambda: None
sys.modules["ipywidgets"] = None
warnings.simplefilter("always")
import metaembed_rag.model
import tqdm.auto
"""


@pytest.mark.integration
def test_a_notebook_without_widgets_is_not_told_so():
    done = subprocess.run([sys.executable, "-c", IN_A_NOTEBOOK], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
