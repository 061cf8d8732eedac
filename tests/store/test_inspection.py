"""Chroma is asked nothing where its graph would end the process; see also tests/maintenance."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from metaembed_rag import Page, PageIndex
from metaembed_rag.cli import main
from metaembed_rag.errors import StoreError
from metaembed_rag.store import inspection
from metaembed_rag.store.places import WRITING
from metaembed_rag.testing import FakeEncoder

ENCODER = FakeEncoder(dimension=32, document_vectors=2)
PAGES = 1_200
"""Chroma saves a graph after 1,000 writes."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "index"
    with PageIndex.open(folder, ENCODER) as index:
        index.add([Page(f"{n}.txt", text=f"word{n} common") for n in range(PAGES)])
        index.search("word7", 1)
    return folder


@pytest.fixture
def folder(tmp_path: Path, made: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An index whose graph holds garbage."""
    monkeypatch.setattr(inspection, "_PAUSE", 0.01)
    shutil.copytree(made, tmp_path / "index")
    [path] = tmp_path.glob("index/*/data_level0.bin")
    path.write_bytes(b"\x07" * path.stat().st_size)
    return tmp_path / "index"


@pytest.mark.integration
def test_fault_31_whatever_is_asked_of_a_damaged_graph_names_the_repair(folder: Path) -> None:
    with PageIndex.open(folder, ENCODER, create=False) as index:
        for ask in (
            lambda: index.search("word7", 1),
            lambda: index.search("word7", 1, candidates=5),
            lambda: len(index),
            lambda: index.ids(),
            lambda: index.get(["7.txt#1"]),
            lambda: index.add([Page("new.txt", text="new")]),
            lambda: index.delete("7.txt#1"),
            lambda: index.compact(),
            lambda: index.export(folder.parent / "index.export"),
        ):
            with pytest.raises(StoreError, match=r"is damaged: .*`metaembed repair --index"):
                ask()


@pytest.mark.integration
def test_fault_31_the_command_that_is_named_mends_it(folder: Path, capsys) -> None:
    assert main(["delete", "--id", "7.txt#1", "--index", str(folder)]) == 1
    assert "metaembed repair" in capsys.readouterr().err
    assert main(["repair", "--dry-run", "--index", str(folder), "--quiet"]) == 0
    assert main(["repair", "--index", str(folder), "--quiet"]) == 0
    with PageIndex.open(folder, ENCODER) as index:
        assert len(index) == PAGES
        assert index.search("word7", 1, candidates=5)[0].page.id == "7.txt#1"


def test_a_graph_that_is_being_saved_is_looked_at_again(folder: Path, monkeypatch) -> None:
    said = iter(["its graph of neighbours was cut off"])
    monkeypatch.setattr(inspection, "graph_problem", lambda folder: next(said, ""))
    inspection.GraphWatch(folder, "pages").check()


def test_a_graph_that_a_child_of_an_ended_writer_still_saves_is_no_finding(
    made: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "index"
    shutil.copytree(made, folder)
    [path] = folder.glob("*/header.bin")
    whole = path.read_bytes()
    path.write_bytes(b"")
    (folder / WRITING).touch()
    child = threading.Timer(2.5, path.write_bytes, [whole])
    child.start()
    assert inspection.inspect(folder, "pages").graph == ""
    child.join()


def test_the_graph_of_another_collection_stops_nobody(folder: Path) -> None:
    inspection.GraphWatch(folder, "another").check()


def test_a_graph_in_order_is_read_again_only_when_its_files_change(made: Path, monkeypatch) -> None:
    looks: list[Path] = []
    look = inspection.graph_problem
    monkeypatch.setattr(inspection, "graph_problem", lambda one: (looks.append(one), look(one))[1])
    watch = inspection.GraphWatch(made, "pages")
    for _ in range(3):
        watch.check()
    assert len(looks) == 1
    [path] = made.glob("*/header.bin")
    path.touch()
    watch.check()
    assert len(looks) == 2


@pytest.mark.integration
def test_a_graph_whose_saving_a_full_disk_cut_off_names_the_repair_that_mends_it(
    made: Path, tmp_path: Path
) -> None:
    """Chroma refuses it itself, where it has it not in memory; see also promise 5."""
    folder = tmp_path / "index"
    shutil.copytree(made, folder)
    [path] = folder.glob("*/header.bin")
    path.write_bytes(b"")
    inspection.GraphWatch(folder, "pages").check()
    with (
        PageIndex.open(folder, ENCODER, create=False) as index,
        pytest.raises(StoreError, match="metaembed repair"),
    ):
        index.search("word7", 1)
    assert main(["repair", "--index", str(folder), "--quiet"]) == 0
    with PageIndex.open(folder, ENCODER) as index:
        assert index.search("word7", 1)[0].page.id == "7.txt#1"
