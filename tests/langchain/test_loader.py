"""The loader: files, bytes and uploads as documents."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from metaembed_rag.langchain import MetaEmbedLoader


def png(path: Path) -> bytes:
    Image.new("RGB", (20, 10), "red").save(path)
    return path.read_bytes()


def test_fault_17_the_loader_takes_bytes_and_open_files(tmp_path):
    data = png(tmp_path / "a.png")
    upload = io.BytesIO(b"whales swim")
    upload.name = "notes.txt"
    loader = MetaEmbedLoader([data, upload], pictures=tmp_path / "kept")
    for _ in range(2):  # it can be rewound
        picture, text = loader.load()
        assert (text.page_content, text.id) == ("whales swim", "notes.txt#1")
        assert picture.metadata["source"].startswith("upload-")
    assert len(MetaEmbedLoader(data, pictures=tmp_path / "kept").load()) == 1


def test_fault_17_an_upload_does_not_pass_for_the_file_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    png(tmp_path / "secret.png")
    upload = io.BytesIO(png(tmp_path / "b.png"))
    upload.name = str(tmp_path / "secret.png")
    (document,) = MetaEmbedLoader(upload, pictures=tmp_path / "kept").load()
    assert document.metadata["source"] == "secret.png"
    assert Path(document.metadata["image_path"]).is_relative_to(tmp_path / "kept")


def test_a_picture_file_is_its_own_picture(tmp_path):
    png(tmp_path / "a.png")
    (document,) = MetaEmbedLoader(tmp_path / "a.png", pictures=tmp_path / "kept").load()
    assert document.metadata["image_path"] == str((tmp_path / "a.png").resolve())
