"""What the training text may hold, and what it must never hold."""

from __future__ import annotations

import os
from itertools import product
from pathlib import Path
from string import ascii_lowercase

import pytest

from metaembed_rag.errors import DatasetError
from recipes.mini.data import corpora
from recipes.mini.data.corpora import (
    Outlines,
    in_validation,
    read_sources,
    read_wordnet,
    tex_package,
    without_leaks,
)
from recipes.mini.data.debian import deb_files
from recipes.mini.data.leaks import EVALUATION_SETS, EvaluationText
from recipes.mini.data.rows import read_jsonl, write_jsonl
from recipes.mini.data.validation import validation_sets
from tests.recipes.builders import deb, dpkg, jsonl

TEX = "/usr/share/doc/texlive-doc/latex/{}/{}.pdf"
REAL = Path(os.environ.get("METAEMBED_DATA", Path(__file__).parents[5] / "shared" / "data"))
WORDNET_LINE = (
    "02084071 05 n 03 dog 0 domestic_dog 0 Canis_familiaris 0 000 | a member of the genus Canis\n"
)


def beir(folder, documents, queries):
    jsonl(folder / "corpus.jsonl", [{"_id": k, "text": v} for k, v in documents.items()])
    jsonl(folder / "queries.jsonl", [{"_id": k, "text": v} for k, v in queries.items()])


@pytest.fixture
def data(tmp_path):
    """One held-out TeX package, one evaluation document and query of each text set."""
    data = tmp_path / "data"
    beir(data / "texdoc_pages", {"p": "An evaluation page."}, {"q": "Adaptable Macros"})
    beir(data / "debian_packages", {"d": "A tool to test tools."}, {"q": "Testing tool"})
    tex = data / "texdoc_pages"
    jsonl(
        tex / "tex_train_pairs.jsonl.gz",
        [{"path": TEX.format("alpha", "alpha"), "page": 2, "text": "Usage"}],
    )
    jsonl(
        tex / "tex_heldout_pairs.jsonl.gz",
        [{"path": TEX.format("limap", "limap-doc"), "page": 1, "text": "Maps"}],
    )
    jsonl(
        data / "debian_packages" / "train_pairs.jsonl.gz",
        [
            {
                "id": f"{first}{second}tool",
                "query": f"Do {first}{second}",
                "text": f"As {first}{second}",
            }
            for first, second in product(ascii_lowercase, "abcdefgh")
        ]
        + [
            {"id": "copy", "query": "Another query", "text": "a tool, to TEST tools"},
            {"id": "asked", "query": "testing  tool", "text": "Something new."},
        ],
    )
    for split in ("train", "val"):
        jsonl(data / "opencqa_train" / f"{split}.jsonl", [{"text": f"{split}?", "answer": split}])
    return data


@pytest.fixture
def work(tmp_path, monkeypatch):
    """Extracted pages of 150 packages; WordNet is left out."""
    folder = tmp_path / "work"
    rows = [
        {
            "path": TEX.format(f"package{i}", "manual"),
            "page": 1,
            "titles": ["Adaptable macros!", f"Title {i}"],
            "text": f"Page of package {i}. Title {i} is here.",
        }
        for i in range(150)
    ]
    rows.append({**rows[0], "titles": [], "text": "an EVALUATION page"})
    for package in corpora.TEX_PACKAGES:
        jsonl(folder / "tex" / f"{package}.jsonl", rows if package.endswith("extra-doc") else [])
    jsonl(folder / "handbooks" / "some-doc.jsonl", [{**row, "path": "/book"} for row in rows])
    monkeypatch.setattr(corpora, "download", lambda package, folder: folder)
    monkeypatch.setattr(corpora, "read_wordnet", lambda deb: [("dog", "an animal")])
    return folder


def test_the_package_of_a_document_is_read_from_its_path():
    assert tex_package(TEX.format("limap", "limap-doc")) == "latex/limap"
    assert tex_package("/usr/share/doc/other/manual.pdf") == "/usr/share/doc/other"


def test_an_evaluation_text_is_known_in_any_case_and_punctuation(data):
    leaks = EvaluationText(data)
    assert leaks.sets == ["texdoc_pages", "debian_packages"]
    assert leaks.holds_document("a tool,  to test TOOLS")
    assert leaks.holds_query("adaptable macros!")
    assert not leaks.holds_document("Something else.")
    assert not leaks.holds_document("")


@pytest.mark.parametrize(
    ("package", "file", "held_out"),
    [("limap", "other", True), ("other", "limap-doc", True), ("alpha", "alpha", False)],
)
def test_a_document_is_held_out_by_its_package_or_its_file_name(data, package, file, held_out):
    assert Outlines(data / "texdoc_pages").is_held_out(TEX.format(package, file)) is held_out


def test_no_evaluation_text_or_query_is_left_in_either_part(data, work):
    leaks = EvaluationText(data)
    for part in ("train", "validation"):
        sources = read_sources(work, data, part=part)
        assert sources.tex and sources.debian and bool(sources.handbooks) == (part == "train")
        assert not any(leaks.holds_document(text) for text in sources.texts())
        assert not any(
            leaks.holds_query(title)
            for page in [*sources.tex, *sources.handbooks]
            for title in page.titles
        )
        assert not any(leaks.holds_query(query) for query, _ in sources.debian)


def test_training_and_validation_share_nothing(data, work):
    train, validation = (read_sources(work, data, part=part) for part in ("train", "validation"))
    packages = [{page.package for page in part.tex} for part in (train, validation)]
    assert not packages[0] & packages[1]
    assert not set(train.debian) & set(validation.debian)
    assert not set(train.opencqa) & set(validation.opencqa)
    assert validation.wordnet == []


def test_about_one_name_in_twenty_is_for_validation():
    chosen = sum(in_validation(f"name {i}") for i in range(4000))
    assert 140 < chosen < 270  # 13 / 256 of 4,000 is 203


def test_a_validation_title_that_names_two_pages_is_not_asked(data, work):
    page = corpora.TexPage("a", 1, ("Usage of it", "First words"), "Usage of it. First words")
    other = corpora.TexPage("b", 1, ("Usage of it",), "Usage of it again")
    titles = validation_sets(corpora.TextSources([page, other], [], [], []))[0]
    assert [query.text for query in titles.queries] == ["First words"]
    texts = {page.id: page.text for page in titles.pages}
    assert [texts[id] for id in titles.qrels[titles.queries[0].id]] == [page.text]


def test_missing_files_and_bad_lines_are_named(tmp_path):
    with pytest.raises(DatasetError, match=r"nowhere\.jsonl is missing"):
        list(read_jsonl(tmp_path / "nowhere.jsonl"))
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"a": 1}\nnot json\n')
    with pytest.raises(DatasetError, match=r"bad\.jsonl, line 2"):
        list(read_jsonl(bad))


def test_an_interrupted_extraction_leaves_no_file(tmp_path):
    def rows():
        yield {"a": 1}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_jsonl(tmp_path / "out.jsonl", rows())
    assert not (tmp_path / "out.jsonl").exists()
    write_jsonl(tmp_path / "out.jsonl", [{"a": 1}])
    assert list(read_jsonl(tmp_path / "out.jsonl")) == [{"a": 1}]


@dpkg
def test_wordnet_is_read_out_of_a_debian_package(tmp_path):
    text = "  1 licence text | with a bar\n" + WORDNET_LINE
    deb(tmp_path, "w", {"usr/share/wordnet/data.noun": text})
    assert [path for path, _ in deb_files(tmp_path / "w_1_all.deb", "noun")] == [
        "/usr/share/wordnet/data.noun"
    ]
    assert read_wordnet(tmp_path / "w_1_all.deb") == [
        ("dog, domestic dog, Canis familiaris", "a member of the genus Canis")
    ]


@pytest.mark.integration
@pytest.mark.skipif(not REAL.exists(), reason=f"no data at {REAL}; set METAEMBED_DATA")
def test_the_real_training_lists_share_no_package_and_no_text_with_the_evaluation_sets():
    leaks = EvaluationText(REAL)
    assert leaks.sets == list(EVALUATION_SETS)
    lists = [
        {tex_package(row["path"]) for row in read_jsonl(REAL / "texdoc_pages" / name)}
        for name in ("tex_train_pairs.jsonl.gz", "tex_heldout_pairs.jsonl.gz")
    ]
    assert len(lists[0]) > 1000
    assert not lists[0] & lists[1]
    rows = list(read_jsonl(REAL / "debian_packages" / "train_pairs.jsonl.gz"))
    kept = without_leaks([(row["query"], row["text"]) for row in rows], leaks)
    assert 0.9 * len(rows) < len(kept) <= len(rows)
    assert not any(leaks.holds_document(text) or leaks.holds_query(query) for query, text in kept)
