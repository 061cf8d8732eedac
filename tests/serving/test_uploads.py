"""What uploads may be called, and where they end up."""

from __future__ import annotations

import os

import pytest

from metaembed_rag.errors import IndexLockedError, PageError
from metaembed_rag.serving.uploads import UploadFolder, safe_name


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("report.pdf", "report.pdf"),
        ("Zahlen für 2024.PDF", "Zahlen für 2024.PDF"),
        ("../../etc/cron.d/x.txt", "x.txt"),
        ("C:\\Windows\\system32\\a.png", "a.png"),
        ("/absolute/b.md", "b.md"),
        ("....a.txt", "a.txt"),
        ("a\x00b\x1b[31m.txt", "ab[31m.txt"),
        ("invoice\u202efdp.txt", "invoicefdp.txt"),
        ("a:b*c?.txt", "a_b_c_.txt"),
        ("<img src=x onerror=alert(1)>.txt", "_img src=x onerror=alert(1)_.txt"),
        ("con.txt", "_con.txt"),
        ("LPT1.pdf", "_LPT1.pdf"),
        ("a\n\rb.txt", "ab.txt"),
        ("ü" * 300 + ".pdf", "ü" * 58 + ".pdf"),
        ("e\u0301.txt", "é.txt"),
    ],
)
def test_a_name_is_made_harmless_and_stays_readable(given, kept):
    assert safe_name(given) == kept


@pytest.mark.parametrize(
    "given",
    [
        None,
        "",
        ".",
        "..",
        "/",
        "a",
        ".txt",
        "   .txt",
        "a.exe",
        "a.htaccess",
        "a.svg",
        "..\\..",
        "a.txt/",
    ],
)
def test_what_is_no_name_of_a_file_that_is_read_is_refused(given):
    with pytest.raises(PageError, match=r"no name of a file|no kind that is read"):
        safe_name(given)


def test_hostile_names_stay_in_the_folder_and_others_files_stay_as_they_are(client, tmp_path):
    victim = tmp_path / "victim.txt"
    victim.write_text("untouched")
    http = client()
    for name in ("../victim.txt", "..\\victim.txt", str(victim), "uploads/../../victim.txt"):
        assert http.post("/pages", files=[("files", (name, b"taken over"))]).status_code == 200
    assert victim.read_text() == "untouched"
    assert sorted(p.name for p in (tmp_path / "uploads").iterdir() if p.is_file()) == ["victim.txt"]


def test_a_link_in_the_folder_is_replaced_and_not_written_through(client, tmp_path):
    victim = tmp_path / "victim.txt"
    victim.write_text("untouched")
    (tmp_path / "uploads").mkdir()
    (tmp_path / "uploads" / "a.txt").symlink_to(victim)
    assert client().post("/pages", files=[("files", ("a.txt", b"new"))]).status_code == 200
    assert victim.read_text() == "untouched"
    assert (tmp_path / "uploads" / "a.txt").read_text() == "new"


def test_html_in_names_and_texts_is_text(client):
    text = b"<script>alert(1)</script> apples"
    http = client()
    http.post("/pages", files=[("files", ("<b>x.txt", text))])
    answer = http.post("/search", json={"query": "alert apples script", "k": 1})
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["hits"][0]["text"] == text.decode()


def test_what_a_killed_server_left_is_tidied_and_what_is_young_is_not(tmp_path):
    folder = UploadFolder(tmp_path)
    (tmp_path / ".arriving").mkdir()
    for name in (".arriving/half.pdf", ".a.txt.before", ".b.txt.before"):
        (tmp_path / name).write_text(f"old {name}")
        os.utime(tmp_path / name, (1, 1))
    (tmp_path / ".arriving" / "now.pdf").write_text("now")
    (tmp_path / "b.txt").write_text("new b")
    folder.tidy()
    files = {path.name: path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {"a.txt": "old .a.txt.before", "b.txt": "new b", "now.pdf": "now"}


def test_an_upload_that_could_not_be_stored_leaves_what_was_there(client, served, tmp_path):
    http = client()
    http.post("/pages", files=[("files", ("a.txt", b"old"))])
    real = served.sync

    def locked(*args, **keywords):
        raise IndexLockedError("another process is writing")

    served.sync = locked
    for name in ("a.txt", "b.txt"):
        answer = http.post("/pages", files=[("files", (name, b"new"))])
        assert answer.status_code == 503 and answer.headers["retry-after"]
    served.sync = real
    files = [path for path in (tmp_path / "uploads").rglob("*") if path.is_file()]
    assert [(path.name, path.read_text()) for path in files] == [("a.txt", "old")]
