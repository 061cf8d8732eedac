"""What tests of encoders from others' layouts share, and tests of encoders behind an address."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch

from metaembed_rag import MetaEmbedEncoder
from metaembed_rag.model.base import OrderedEncoder
from tests.support.files import make_pdf
from tests.support.servers import FakeServer

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def folders(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """A model of every layout in the module's ``tiny.ALL``, on the disk, by the layout's name."""
    torch.set_num_threads(1)
    makers: dict[str, Callable[[Path], Path]] = request.module.tiny.ALL
    place = tmp_path_factory.mktemp("layouts")
    return {name: make(place / name) for name, make in makers.items()}


@pytest.fixture(scope="module")
def encoders(folders: dict[str, Path]) -> dict[str, OrderedEncoder]:
    return {
        name: MetaEmbedEncoder.from_pretrained(folder, device="cpu")
        for name, folder in folders.items()
    }


@pytest.fixture
def copied(folders: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """Gives a copy of a model's folder, to be changed."""

    def copy(name: str) -> Path:
        return Path(shutil.copytree(folders[name], tmp_path / name))

    return copy


@pytest.fixture
def first_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, Path], dict[str, Any]]:
    """Runs the first program of a framework's document with another model, in a folder of PDFs."""

    def run(framework: str, model: Path) -> dict[str, Any]:
        pytest.importorskip({"langchain": "langchain_core"}.get(framework, framework))
        monkeypatch.chdir(tmp_path)
        (tmp_path / "papers").mkdir()
        for place in ("report.pdf", "papers/report.pdf"):
            make_pdf(tmp_path / place, ["how to add a legend", "the lazy fox"])
        text = (DOCS / f"{framework}.md").read_text(encoding="utf-8")
        program = re.search(r"```python\n(.*?)```", text, re.DOTALL)
        assert program is not None and '"small"' in program[1]
        names: dict[str, Any] = {}
        exec(program[1].replace('"small"', repr(str(model))), names)
        asked = names["retriever"]
        names["hits"] = (asked.invoke if framework == "langchain" else asked.retrieve)("fox")
        return names

    return run


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[FakeServer]:
    """A server of the module's kind, ``SERVER``, in a thread."""
    with closing(request.module.SERVER()) as server:
        yield server


@pytest.fixture
def pauses() -> list[float]:
    """What a client that was given ``sleep=pauses.append`` would have waited, in seconds."""
    return []
