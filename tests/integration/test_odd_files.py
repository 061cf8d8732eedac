"""A folder of files that broke a reader once, from the files to the search."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from metaembed_rag import cli
from metaembed_rag.model import MetaEmbedEncoder
from metaembed_rag.testing import FakeEncoder

pytestmark = pytest.mark.integration

ODD_FILES = Path(__file__).parents[1] / "fixtures" / "odd_files"
REASONS = {
    "html_error.png": "is damaged, or no PNG",
    "truncated.png": "image file is truncated",
    "umlaut.pdf": "it is encrypted",
    "user_AES-256.pdf": "it is encrypted",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    encoder = FakeEncoder()
    monkeypatch.setattr(MetaEmbedEncoder, "from_pretrained", lambda *given, **options: encoder)
    shutil.copytree(ODD_FILES, tmp_path / "files")
    return tmp_path / "files"


def test_odd_files_are_stored_or_listed_with_the_reason(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["index", str(folder), "--index", str(folder.parent / "index"), "--json"]
    kinds = {".pdf", ".png", ".jpg", ".tif", ".webp", ".txt", ".md"}
    count = sum(path.suffix in kinds for path in folder.rglob("*")) - len(REASONS)

    assert cli.main(command) == 1
    first = json.loads(capsys.readouterr().out)
    assert cli.main(command) == 1
    second = json.loads(capsys.readouterr().out)

    reasons = {Path(one["source"]).name: one["reason"] for one in first["skipped"]}
    assert reasons.keys() == REASONS.keys()
    assert all(REASONS[name] in reason for name, reason in reasons.items())
    sources = {Path(one.rpartition("#")[0]).name for one in first["blank"]}
    assert first["added"] >= count - len(sources)
    assert (second["added"], second["updated"]) == (0, 0)
    assert second["unchanged"] == first["added"] == first["pages"]


def test_without_the_four_that_cannot_be_read_the_exit_code_is_0(folder: Path) -> None:
    for path in list(folder.rglob("*")):
        if path.name in REASONS:
            path.unlink()
    assert cli.main(["index", str(folder), "--index", str(folder.parent / "index")]) == 0
