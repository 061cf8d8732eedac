"""The task as a folder in BEIR layout, from small extracted texts."""

from __future__ import annotations

import gzip
import json

import pytest

from metaembed_rag.errors import DatasetError
from metaembed_rag.evaluation import read_dataset
from recipes.mini.data.rows import write_jsonl
from recipes.minilm.validation import build
from recipes.minilm.validation.questions import DESCRIPTIONS, Document, Question

TEX = "/usr/share/doc/texlive-doc/latex/lamp/lamp.pdf"
TEXTS = {1: "Lamps are bright.", 2: "A lamp is put out by its switch.", 5: "History of the lamp."}


def question(page=2, text=TEXTS[2]):
    name = f"texlive-latex-extra-doc:{TEX}#{page}"
    return Question(
        "q001", "make it dark", "texlive-latex-extra-doc", TEX, page, "Lamps", (name,),
        (build.digest(text),), "how",
    )  # fmt: skip


@pytest.fixture
def folders(tmp_path, monkeypatch):
    rows = [{"path": TEX, "page": page, "titles": [], "text": text} for page, text in TEXTS.items()]
    write_jsonl(tmp_path / "work" / "tex" / "texlive-latex-extra-doc.jsonl", rows)
    packages = tmp_path / "data" / DESCRIPTIONS / "train_pairs.jsonl.gz"
    packages.parent.mkdir(parents=True)
    with gzip.open(packages, "wt") as lines:
        lines.write(json.dumps({"id": "gdebi", "query": "installer", "text": "Installs."}) + "\n")
    documents = [
        Document("texlive-latex-extra-doc", TEX, (1, 2)),
        Document(DESCRIPTIONS, "gdebi", (1,)),
    ]
    monkeypatch.setattr(build, "read_documents", lambda: documents)
    monkeypatch.setattr(build, "read_questions", lambda: [question()])
    return tmp_path / "work", tmp_path / "data"


def test_the_folder_holds_the_listed_pages_and_the_answers(folders, tmp_path):
    work, data = folders
    build.main(["--work", str(work), "--data", str(data), "--out", str(tmp_path / "task")])
    task = read_dataset(tmp_path / "task")
    assert [page.text for page in task.pages] == [TEXTS[1], TEXTS[2], "Installs."]
    assert [query.text for query in task.queries] == ["make it dark"]
    assert task.qrels == {"q001": {f"texlive-latex-extra-doc:{TEX}#2": 1}}


def test_a_text_that_changed_since_the_question_is_refused(folders, monkeypatch):
    monkeypatch.setattr(build, "read_questions", lambda: [question(text="an older text")])
    with pytest.raises(DatasetError, match="another text"):
        build.read_task(*folders)


def test_an_answer_outside_the_corpus_is_refused(folders, monkeypatch):
    monkeypatch.setattr(build, "read_questions", lambda: [question(page=5, text=TEXTS[5])])
    with pytest.raises(DatasetError, match="not in the corpus"):
        build.read_task(*folders)


def test_a_page_that_was_not_extracted_is_named(folders, monkeypatch):
    documents = [Document("texlive-latex-extra-doc", TEX, (1, 2, 9))]
    monkeypatch.setattr(build, "read_documents", lambda: documents)
    with pytest.raises(DatasetError, match=r"lamp\.pdf#9"):
        build.read_task(*folders)
