"""The command line, with a fake encoder in place of the shipped one."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import metaembed_rag.model
from metaembed_rag import cli
from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.index import PageIndex
from metaembed_rag.testing import FakeEncoder
from tests.support.photos import save_photo
from tests.support.servers import ChatServer


class FakeLoader:
    """Stands where MetaEmbedEncoder is loaded by name."""

    loaded: list[str]

    def __init__(self) -> None:
        self.loaded = []

    def from_pretrained(self, name, *, device=None):
        self.loaded.append(name)
        encoder = FakeEncoder(seed=len(name))
        encoder.name = name
        return encoder


@pytest.fixture(autouse=True)
def loader(monkeypatch):
    loader = FakeLoader()
    monkeypatch.setattr(metaembed_rag.model, "MetaEmbedEncoder", loader, raising=False)
    return loader


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "a.txt").write_text("red apples grow")
    (folder / "b.txt").write_text("blue whales swim")
    Image.new("RGB", (20, 20), "red").save(folder / "c.png")
    return folder


@pytest.fixture
def index(tmp_path, files, run):
    place = tmp_path / "index"
    run("index", files, "--index", place)
    return place


def test_index_prints_what_it_did_as_json(tmp_path, files, run):
    out, err = run("index", files, "--index", tmp_path / "i", "--json")
    report = json.loads(out)
    assert {key: report[key] for key in ("added", "unchanged", "removed", "pages", "model")} == {
        "added": 3,
        "unchanged": 0,
        "removed": 0,
        "pages": 3,
        "model": "mini",
    }
    assert report["skipped"] == []
    again = json.loads(run("index", files, "--index", tmp_path / "i", "--json")[0])
    assert (again["added"], again["unchanged"]) == (0, 3)


def test_search_json_is_the_contract(index, files, run):
    out, err = run("search", "whales swim", "--index", index, "--json", "--budget", "4,8", "-k", 2)
    answer = json.loads(out)
    alone, _ = run("search", "whales swim", "--index", index, "--json", "--no-hybrid")
    assert list(json.loads(alone)) == ["query", "budget", "seconds", "hits"]
    assert list(answer) == ["query", "budget", "seconds", "scoring", "words", "hits"]
    assert list(answer["hits"][0])[-2:] == ["maxsim", "bm25"]
    for hit in answer["hits"]:
        del hit["maxsim"], hit["bm25"]
    assert (answer["query"], answer["budget"]) == ("whales swim", [4, 8])
    assert list(answer["hits"][0]) == ["rank", "score", "id", "source", "page", "text", "image"]
    first = answer["hits"][0]
    assert (first["rank"], first["page"], first["text"]) == (1, 1, "blue whales swim")
    assert first["source"] == (files / "b.txt").resolve().as_posix()
    assert first["id"] == first["source"] + "#1"
    assert first["image"] is None
    assert err == ""


def test_search_prints_for_people(index, run):
    out, _ = run("search", "whales", "--index", index)
    assert "budget (16,64), with BM25, 3 of 3 pages" in out
    assert re.search(r"1\. 1\.000  .*b\.txt  page 1  \(vectors \d\.\d{3}, words \d\.\d\d\)", out)
    assert "blue whales swim" in out
    alone, _ = run("search", "whales", "--index", index, "--no-hybrid")
    assert "budget (16,64), 3 of 3 pages" in alone
    assert "(vectors" not in alone


def test_search_says_why_words_do_not_count(index, run, monkeypatch):
    zebra, _ = run("search", "zebra", "--index", index)
    assert "budget (16,64), vectors alone: no page that may be found has a word of" in zebra
    monkeypatch.setitem(sys.modules, "bm25s", None)
    out, _ = run("search", "whales", "--index", index)
    assert "vectors alone: this needs the optional package 'bm25s': pip install" in out
    answer = json.loads(run("search", "whales", "--index", index, "--json")[0])
    assert list(answer) == ["query", "budget", "seconds", "words", "hits"]
    assert ".[hybrid]" in run("search", "x", "--index", index, "--hybrid", code=1)[1]
    run("search", "x", "--index", index, "--hybrid", "--no-hybrid", code=2)


@pytest.mark.parametrize("budget", ["fast", "balanced", "full", "1,1", "2,4", "16,64"])
@pytest.mark.parametrize("way", [[], ["--exhaustive"], ["--candidates", "5"]])
def test_every_budget_and_way_of_searching_finds_the_page(index, run, budget, way):
    out, _ = run("search", "whales", "--index", index, "--budget", budget, "--json", *way)
    assert json.loads(out)["hits"][0]["text"] == "blue whales swim"


def test_every_option_of_a_search_reaches_the_index(index, run, monkeypatch):
    search, seen = PageIndex.search, []

    def watched(self, query, k, **keywords):
        seen.append((query, k, keywords))
        return search(self, query, k, **keywords)

    monkeypatch.setattr(PageIndex, "search", watched)
    options = ["-k", 2, "--budget", "2,4", "--candidates", 3, "--hybrid", "--where", "page=1"]
    run("search", "whales", "--index", index, *options)
    run("search", "whales", "--index", index, "--exhaustive", "--no-hybrid")
    run("search", "x", "--index", index, "--max-ms", 9, "--min-recall", 0.5, code=1)
    run("search", "x", "--index", index, "--min-confidence", 0.9, code=1)
    nothing = {"budget": None, "candidates": None, "where": None, "exhaustive": False}
    nothing |= {"hybrid": None, "max_ms": None, "min_recall": None, "min_confidence": None}
    page = {"$or": [{"page": "1"}, {"page": 1}]}
    named = {"budget": RetrievalBudget(2, 4), "candidates": 3, "hybrid": True, "where": page}
    assert seen == [
        ("whales", 2, {**nothing, **named}),
        ("whales", 5, {**nothing, "exhaustive": True, "hybrid": False}),
        ("x", 5, {**nothing, "max_ms": 9.0, "min_recall": 0.5}),
        ("x", 5, {**nothing, "min_confidence": 0.9}),
    ]


def test_an_image_is_a_query_alone_and_with_text(index, files, run):
    image = files / "c.png"
    alone, _ = run("search", "--image", image, "--index", index, "--json", "-k", 1)
    assert json.loads(alone)["hits"][0]["source"].endswith("c.png")
    both, _ = run("search", "whales", "--image", image, "--index", index, "--json", "-k", 3)
    assert json.loads(both)["query"] == "whales [image]"


def test_the_query_can_come_from_standard_input(index, run, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("whales\n"))
    assert json.loads(run("search", "-", "--index", index, "--json")[0])["query"] == "whales"


def test_where_filters_by_field_number_and_file(index, files, run, monkeypatch):
    def sources(*where):
        options = [part for one in where for part in ("--where", one)]
        hits = json.loads(run("search", "x", "--index", index, "--json", *options)[0])["hits"]
        return sorted(Path(hit["source"]).name for hit in hits)

    assert sources("page=1") == ["a.txt", "b.txt", "c.png"]
    assert sources("page=2") == []
    assert sources(f"source={files / 'a.txt'}") == ["a.txt"]
    assert sources(f"source={files / 'a.txt'}", "page=1") == ["a.txt"]
    monkeypatch.chdir(files)
    assert sources("source=a.txt") == ["a.txt"]


def test_html_shows_pictures_scores_and_budget(index, tmp_path, run):
    page = tmp_path / "hits.html"
    out, err = run("search", "<b>whales</b>", "--index", index, "--html", page, "--budget", "2,4")
    html = page.read_text()
    assert "budget (2,4)" in html
    assert "data:image/jpeg;base64," in html
    assert "&lt;b&gt;whales" in html
    assert "<b>whales" not in html
    assert str(page) in err


def test_explain_says_which_passage_and_words_matched(index, files, tmp_path, run):
    (files / "d.txt").write_text("Annual report\n" * 40 + "the zebra sleeps\n" + "More\n" * 40)
    run("index", files, "--index", index)
    out, _ = run("search", "zebra sleeps", "--index", index, "--explain", "-k", 1)
    assert "the zebra sleeps" in out
    assert re.search(r"^   \d\.\d{3}  .*the zebra sleeps", out, re.MULTILINE)
    assert re.search(r"   words: .*zebra \d\.\d\d", out)
    plain, _ = run("search", "zebra sleeps", "--index", index, "-k", 1)
    assert "the zebra sleeps" not in plain


def test_explain_adds_to_the_json_and_draws_the_html(index, tmp_path, run):
    page = tmp_path / "why.html"
    asked = ("search", "<b>whales</b>", "--index", index, "--explain", "--budget", "2,4")
    answer = json.loads(run(*asked, "--json", "--html", page)[0])
    for hit in answer["hits"]:
        assert hit["explanation"]["id"] == hit["id"]
        assert hit["explanation"]["budget"] == [2, 4]
        assert hit["snippet"] in hit["text"]
    html = page.read_text()
    assert html.count('<div class="why">') == 3
    assert "&lt;b&gt;whales" in html
    assert "<b>whales" not in html


def test_info_says_model_pages_and_bytes(index, run):
    info = json.loads(run("info", "--index", index, "--json")[0])
    assert (info["model"], info["pages"], info["vectors_per_page"]) == ("mini", 3, 64)
    assert info["bytes_per_page"] == 64 * 66
    assert "bytes per page" in run("info", "--index", index)[0]


def test_an_index_remembers_the_language_of_its_words_until_another_is_named(index, files, run):
    def language() -> str:
        return json.loads(run("info", "--index", index, "--json")[0])["language"]

    assert language() == "english"
    run("index", str(files), "--index", index, "--language", "de")
    assert language() == "german"
    run("search", "apples", "--index", index, "--language", "none")
    assert language() == "german"
    run("index", str(files), "--index", index)
    assert language() == "german"


def test_delete_of_all_pages_has_an_option_of_its_own(index, run):
    out, _ = run("delete", "--index", index, "--all", "--json")
    assert json.loads(out)["pages"] == 0
    assert json.loads(out)["deleted"] > 0
    run("delete", "--index", index, "--all", "--id", "x", code=2)


def test_pages_of_a_folder_that_is_not_mounted_are_kept_and_listed(tmp_path, run):
    (tmp_path / "files" / "disk").mkdir(parents=True)
    (tmp_path / "files" / "a.txt").write_text("red apples")
    (tmp_path / "files" / "disk" / "b.txt").write_text("blue whales")
    (tmp_path / "b.txt").write_text("blue whales")
    (tmp_path / "files" / "link.txt").symlink_to(tmp_path / "b.txt")
    command = ("index", tmp_path / "files", "--index", tmp_path / "i", "--model", "mini")
    _, err = run(*command, code=1)
    assert "link.txt: is a link that leads out of the folder" in err
    run(*command, "--follow-links")
    (tmp_path / "files" / "link.txt").unlink()
    (tmp_path / "files" / "disk" / "b.txt").unlink()
    out, err = run(*command, "--json", code=1)
    assert json.loads(out)["removed"] == 0
    assert [Path(one["source"]).name for one in json.loads(out)["unpruned"]] == ["disk"]
    assert "this folder is empty, and 1 page of files in it" in err
    out, _ = run(*command, "--prune", "--json")
    assert (json.loads(out)["removed"], json.loads(out)["unpruned"]) == (1, [])


def test_delete_by_source_and_id(index, files, run):
    out, _ = run("delete", "--index", index, "--source", files / "a.txt", "--json")
    assert json.loads(out)["deleted"] == 1
    id = (files / "b.txt").resolve().as_posix() + "#1"
    assert "1 page deleted: 1 page in" in run("delete", "--index", index, "--id", id)[0]
    _, err = run("delete", "--index", index, "--id", id, code=1)
    assert "nothing in the index matches" in err


def test_fault_16_compact_says_what_lay_on_the_disk_and_what_lies_there_now(index, files, run):
    run("delete", "--index", index, "--source", files / "a.txt")
    out, _ = run("compact", "--index", index, "--json")
    found = json.loads(out)
    assert set(found) == {"index", "before", "after", "stray_pictures"}
    assert found["after"]["total"] < found["before"]["total"]
    assert found["after"]["total"] == sum(p.stat().st_size for p in index.rglob("*") if p.is_file())
    out, _ = run("compact", "--index", index)
    assert "on disk" in out
    assert "cache and words" in out
    assert not [p for p in index.rglob("*") if p.is_file() and b"red apples" in p.read_bytes()]


def test_an_index_keeps_its_model(tmp_path, files, run, loader):
    place = tmp_path / "i"
    run("index", files, "--index", place, "--model", "other")
    run("search", "whales", "--index", place)
    run("index", files, "--index", place)
    assert set(loader.loaded) == {"other"}
    _, err = run("index", files, "--index", place, "--model", "mini", code=1)
    assert "made with the model 'other'" in err


def test_unreadable_files_are_listed_and_the_exit_code_is_one(tmp_path, files, run):
    (files / "broken.pdf").write_bytes(b"%PDF-1.7")
    (files / "empty.txt").write_bytes(b"")
    (files / "data.bin").write_bytes(b"?")
    out, err = run("index", files, "--index", tmp_path / "i", "--json", code=1)
    report = json.loads(out)
    assert report["added"] == 3
    assert {Path(one["source"]).name for one in report["skipped"]} == {"broken.pdf", "empty.txt"}
    assert "2 could not be read" in err
    assert "1 file is of kinds that are not read, and left out:\n" in err
    assert f"  {(files / 'data.bin').resolve().as_posix()}\n" in err
    assert err.count("data.bin") == 1
    assert [Path(one).name for one in report["ignored"]] == ["data.bin"]


def test_failures_that_are_allowed_are_listed_and_the_exit_code_is_zero(tmp_path, files, run):
    (files / "broken.pdf").write_bytes(b"%PDF-1.7")
    out, err = run("index", files, "--index", tmp_path / "i", "--json", "--allow-failures")
    assert [Path(one["source"]).name for one in json.loads(out)["skipped"]] == ["broken.pdf"]
    assert "1 could not be read" in err and "broken.pdf: is damaged" in err
    run("index", files, "--index", tmp_path / "i", code=1)


def test_many_files_of_other_kinds_are_named_up_to_twenty_and_counted(tmp_path, files, run):
    for number in range(23):
        (files / f"{number:02}.bin").write_bytes(b"?")
    out, err = run("index", files, "--index", tmp_path / "i", "--json")
    assert "23 files are of kinds that are not read" in err
    assert "19.bin" in err and "20.bin" not in err and "and 3 more (--json names all)" in err
    assert len(json.loads(out)["ignored"]) == 23


def test_fault_19_blank_pages_are_named_and_the_exit_code_is_zero(tmp_path, files, run):
    blank = files / "blank.txt"
    blank.write_text(" \n")
    for _ in range(2):
        out, err = run("index", files, "--index", tmp_path / "i", "--json")
        report = json.loads(out)
        assert (report["blank"], report["skipped"]) == ([f"{blank.resolve().as_posix()}#1"], [])
        assert "1 page has nothing to read" in err
        assert str(blank.resolve()) in err
    out, _ = run("index", files, "--index", tmp_path / "i")
    assert "3 unchanged, 0 removed, 0 skipped, 1 blank" in out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["search", "x", "--index", "nowhere"], "no index at nowhere"),
        (["index", ".", "--index", "i", "--language", "klingon"], "no language 'klingon'"),
        (["info", "--index", "nowhere"], "no index at nowhere"),
        (["index", "nothing.pdf", "--index", "i"], "there is no such file"),
        (["search", "x", "--index", "http://127.0.0.1:9"], "Chroma at http://127.0.0.1:9"),
        (["evaluate", "nowhere"], "nowhere"),
    ],
)
def test_a_failure_is_one_sentence_and_exit_code_one(
    arguments, sentence, run, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    out, err = run(*arguments, code=1)
    assert out == ""
    assert sentence in err
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["search", "x"],
        ["search", "x", "--index", "i", "--budget", "0,1"],
        ["search", "x", "--index", "i", "--budget", "many"],
        ["search", "x", "--index", "i", "-k", "0"],
        ["search", "x", "--index", "i", "--exhaustive", "--candidates", "5"],
        ["index", "--index", "i"],
        ["index", "x", "--index", "i", "--mode", "video"],
        ["index", "x", "--index", "i", "--describe", "llava"],
        ["index", "x", "--index", "i", "--describe", "http://host:1"],
        ["index", "x", "--index", "i", "--describe", "http://me:secret@host:1#llava"],
        ["index", "x", "--index", "i", "--describe", "http://host:1#llava?max_tokens=0"],
        ["delete", "--index", "i"],
        ["delete", "--index", "i", "--id", "a", "--source", "b"],
        ["nonsense"],
    ],
)
def test_wrong_usage_is_exit_code_two(arguments, run):
    out, err = run(*arguments, code=2)
    assert out == ""
    assert "usage:" in err
    assert "secret" not in err


@pytest.mark.parametrize(
    ("arguments", "sentence"), [([], "give a query"), (["x", "--where", "lang"], "KEY=VALUE")]
)
def test_wrong_usage_that_only_the_command_sees(index, run, arguments, sentence):
    _, err = run("search", *arguments, "--index", index, code=2)
    assert sentence in err


@pytest.mark.parametrize("condition", ["title>=M", "title<x"])
def test_fault_17_where_refuses_comparisons_instead_of_finding_nothing(index, run, condition):
    _, err = run("search", "x", "--where", condition, "--index", index, code=2)
    assert "only numbers and dates" in err


def test_fault_17_the_note_of_a_filter_shows_no_filter_that_nobody_typed(index, run):
    _, err = run("search", "x", "--where", "page=99", "--index", index)
    assert "metaembed: no page passes the filter; page is 1\n" in err


def test_fault_17_an_empty_path_is_refused(tmp_path, monkeypatch, files, run):
    monkeypatch.chdir(files)
    _, err = run("index", "", "--index", tmp_path / "i", code=2)
    assert "an empty PATH names no file and no folder" in err
    assert not (tmp_path / "i").exists()


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("--max-memory", "99999999999999", "is over 1,073,741,824 MiB"),
        ("--max-page-seconds", "1e9", "is over 1,000,000 seconds"),
        ("--timeout", "1e400", "is too large"),
    ],
)
def test_fault_17_a_value_beyond_reason_is_refused_by_its_options_name(
    tmp_path, files, run, option, value, sentence
):
    _, err = run("index", files, "--index", tmp_path / "i", option, value, code=2)
    assert f"argument {option}: '{value}' {sentence}" in err


def test_fault_17_the_hint_of_a_missing_collection_makes_that_collection(index, run):
    _, err = run("search", "x", "--index", index, "--collection", "nothere", code=1)
    assert f"`metaembed index PATH --index {index} --collection nothere`" in err


def test_a_budget_beyond_the_index_is_refused(tmp_path, files, run):
    run("index", files, "--index", tmp_path / "i", "--vectors", "8")
    _, err = run("search", "x", "--index", tmp_path / "i", "--budget", "full", code=1)
    assert "at most 16,8" in err
    out, _ = run("search", "x", "--index", tmp_path / "i", "--json")
    assert json.loads(out)["budget"] == [16, 8]  # without a budget, all that is stored


def test_environment_variables_are_defaults(index, run, monkeypatch):
    monkeypatch.setenv("METAEMBED_INDEX", str(index))
    monkeypatch.setenv("METAEMBED_BUDGET", "fast")
    assert json.loads(run("search", "whales", "--json")[0])["budget"] == [1, 1]


@pytest.fixture
def llava():
    server = ChatServer()
    yield server
    server.close()


def test_pictures_are_described_in_words(tmp_path, run, llava, monkeypatch):
    photo = Image.new("RGB", (60, 40), "blue")
    photo.paste("gray", (20, 20, 40, 30))
    photo.save(tmp_path / "1.png")
    address = f"{llava.address}#llava?tries=1"
    given = ("index", tmp_path / "1.png", "--index", tmp_path / "i", "--json")
    out, _ = run(*given, "--describe", address)
    report = json.loads(out)
    assert (report["added"], report["notes"]) == (1, [])
    assert report["seconds"]["describe"] > 0
    out, _ = run("search", "blue kite", "--index", tmp_path / "i", "--json")
    assert "A blue kite above a hill." in json.loads(out)["hits"][0]["text"]
    monkeypatch.setenv("METAEMBED_DESCRIBE", address.replace("llava", "moondream"))
    run(*given)
    assert [request["model"] for request in llava.requests] == ["llava", "moondream"]
    llava.refuses = {"blue": (401, {}, "")}
    out, err = run(*given, "--describe", f"{llava.address}#other", code=1)
    assert (out, "put its key in METAEMBED_DESCRIBE_KEY" in err) == ("", True)


def test_an_empty_environment_variable_is_none(index, run, monkeypatch):
    for name in ("METAEMBED_INDEX", "METAEMBED_BUDGET", "METAEMBED_MODEL", "METAEMBED_DESCRIBE"):
        monkeypatch.setenv(name, "")
    out, _ = run("search", "whales", "--index", index, "--json")
    assert json.loads(out)["budget"] == [16, 64]
    run("search", "whales", code=2)


def test_the_device_reaches_the_model_of_an_index_that_is_there(index, run, monkeypatch):
    devices = []

    def load(name, *, device=None):
        devices.append(device)
        return FakeEncoder(seed=len(name))

    monkeypatch.setattr(metaembed_rag.model.MetaEmbedEncoder, "from_pretrained", load)
    run("search", "whales", "--index", index, "--device", "cuda:1")
    assert devices == ["cuda:1"]


def test_text_that_is_no_unicode_is_refused(index, run, monkeypatch):
    _, err = run("search", "\udcff", "--index", index, code=1)
    assert "not valid Unicode" in err


def test_a_folder_is_no_query_picture(index, files, run):
    _, err = run("search", "--image", files, "--index", index, code=1)
    assert "is a folder" in err


def test_each_name_that_matches_nothing_is_told(index, files, run):
    given = ["--source", files / "a.txt", "--source", "nope.txt"]
    out, err = run("delete", "--index", index, *given, "--json", code=1)
    assert json.loads(out)["deleted"] == 1
    assert "nope.txt" in err
    assert "a.txt" not in err


@pytest.mark.parametrize("arguments", [["--help"], *([name, "--help"] for name in cli.COMMANDS)])
def test_the_help_loads_nothing_heavy(arguments):
    code = "import sys, atexit; from metaembed_rag.cli import main; "
    code += "atexit.register(lambda: print(*sys.modules, file=sys.stderr)); main(sys.argv[1:])"
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage: metaembed")
    assert not {"torch", "chromadb", "numpy", "PIL", "tqdm"} & set(done.stderr.split())


def test_debug_shows_the_traceback(tmp_path):
    with pytest.raises(Exception, match="no index"):
        cli.main(["info", "--index", str(tmp_path / "none"), "--debug"])


def test_evaluate_json_is_the_contract(tmp_path, run):
    (tmp_path / "qrels").mkdir()
    (tmp_path / "corpus.jsonl").write_text(
        '{"_id": "1", "text": "red apples"}\n{"_id": "2", "text": "blue whales"}\n'
    )
    (tmp_path / "queries.jsonl").write_text('{"_id": "q", "text": "whales"}\n')
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\t2\t1\n")
    out, _ = run("evaluate", tmp_path, "--json", "--budget", "1,1", "--budget", "full", "--quiet")
    report = json.loads(out)
    assert list(report) == ["dataset", "model", "mode", "queries", "pages", "results"]
    assert [result["budget"] for result in report["results"]] == [[1, 1], [16, 64]]
    assert list(report["results"][0]) == [
        "budget",
        "ndcg@5",
        "ndcg@10",
        "recall@10",
        "mrr@10",
        "precision@1",
        "query_ms",
        "bytes_per_page",
    ]
    assert report["results"][1]["ndcg@5"] == 1.0
    assert "ndcg@5" in run("evaluate", tmp_path, "--quiet")[0]
    given = [["--hybrid", tmp_path], [tmp_path, "--hybrid"], ["--hybrid-auto", tmp_path]]
    for options, name in zip(given, ("minmax", "minmax", "auto"), strict=True):
        out, _ = run("evaluate", *options, "--json", "--quiet")
        assert json.loads(out)["hybrid"] == name
    run("evaluate", tmp_path, "--hybrid", "--hybrid-auto", code=2)


def test_hybrid_search_shows_both_scores(index, run):
    answer = json.loads(run("search", "whales", "--index", index, "--json", "--hybrid")[0])
    assert list(answer) == ["query", "budget", "seconds", "scoring", "words", "hits"]
    first = answer["hits"][0]
    assert list(first)[-2:] == ["maxsim", "bm25"]
    assert (first["text"], first["score"], answer["scoring"]) == ("blue whales swim", 1.0, "hybrid")
    assert first["bm25"] > 0
    assert (
        "budget (16,64), with BM25, 3 of 3" in run("search", "x", "--index", index, "--hybrid")[0]
    )


SCANNED = Path(__file__).parents[1] / "fixtures/odd_files/pdf/scan_under_digital_header.pdf"


@pytest.fixture
def text_model(monkeypatch):
    encoder = FakeEncoder(modalities=["text"])
    monkeypatch.setattr(FakeLoader, "from_pretrained", lambda self, name, *, device=None: encoder)
    monkeypatch.setattr("metaembed_rag.pages.ocr.read_text", lambda image: "the boiler")


def test_a_language_of_ocr_that_is_not_there_is_a_sentence_before_anything_is_read(
    tmp_path, files, run, monkeypatch
):
    monkeypatch.setenv("METAEMBED_OCR_LANGUAGE", "")
    monkeypatch.delenv("METAEMBED_OCR_MODELS", raising=False)
    place = tmp_path / "i"
    _, err = run("index", files, "--index", place, "--ocr-language", "cyrillic", code=1)
    assert "needs a model" in err and "METAEMBED_OCR_MODELS" in err


def test_files_that_are_read_again_and_have_nothing_more_stay_as_they_are(index, files, run):
    out, _ = run("index", files, "--index", index, "--reread", "--json")
    report = json.loads(out)
    assert (report["added"], report["updated"], report["unchanged"]) == (0, 0, 3)


@pytest.mark.parametrize("options", [["--ocr", "never"], ["--no-ocr"]])
def test_fault_03_a_scan_that_is_not_read_is_listed_and_is_no_failure(
    tmp_path, run, text_model, options
):
    out, err = run("index", SCANNED, "--index", tmp_path / "i", "--json", *options)
    (note,) = json.loads(out)["notes"]
    assert Path(note["source"]).name == "scan_under_digital_header.pdf#1"
    assert "OCR is off" in note["reason"]
    assert "1 page is in the index, but not with all that it shows" in err


@pytest.mark.parametrize("options", [[], ["--ocr", "auto"], ["--ocr", "always"]])
def test_fault_03_a_scan_is_read_from_the_command_line(tmp_path, run, text_model, options):
    out, _ = run("index", SCANNED, "--index", tmp_path / "i", "--json", *options)
    assert json.loads(out)["notes"] == []
    found = json.loads(run("search", "boiler", "--index", tmp_path / "i", "--json")[0])
    assert found["hits"][0]["text"] == "ACME Ltd Case 2024-117 Page 1\nthe boiler"


def test_fault_18_a_password_for_a_folder_is_used_where_it_is_needed(tmp_path, run, text_model):
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("owneronly_AES-256.pdf", "owneronly_RC4-128.pdf"):
        (folder / name).write_bytes((SCANNED.parent / name).read_bytes())
    out, _ = run("index", folder, "--index", tmp_path / "i", "--json", "--password", "sesame")
    assert json.loads(out)["added"] == 2


def test_fault_10_a_filter_that_no_page_passes_is_told(index, run):
    out, err = run("search", "whales", "--index", index, "--where", "autor=x", "--json")
    assert json.loads(out)["hits"] == []
    assert "metaembed: no page passes the filter; no page has a metadata key 'autor'" in err
    assert "autor" in json.loads(out)["note"]


def test_fault_10_pages_are_filtered_by_their_text(index, run):
    def found(*texts: str) -> list[str]:
        where = [part for text in texts for part in ("--where-text", text)]
        out, _ = run("search", "apples", "--index", index, "--json", *where)
        return [Path(hit["source"]).name for hit in json.loads(out)["hits"]]

    assert found("blue whales") == ["b.txt"]
    assert found("red", "grow") == ["a.txt"]
    assert found("red", "whales") == []
    assert (
        "--where-text takes some words"
        in run("search", "x", "--index", index, "--where-text", "", code=2)[1]
    )


@pytest.mark.parametrize("value", ["9" * 30, "9" * 400, "-" + "9" * 20, "~nobody-here/a.pdf"])
def test_fault_10_a_value_that_no_page_can_have_is_looked_for_as_text(index, run, value):
    out, _ = run("search", "x", "--index", index, "--where", f"source={value}", "--json")
    assert json.loads(out)["hits"] == []


ARROWS = "red → blue “grün” 😀"


def printing(encoding: str, errors: str = "strict") -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors=errors, write_through=True)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8", "utf-16"])
@pytest.mark.parametrize("command", ["search", "index", "info", "delete"])
def test_fault_18_every_command_prints_in_every_encoding(
    tmp_path, monkeypatch, run, encoding, command
):
    files = tmp_path / "grün →"
    files.mkdir()
    (files / "a.txt").write_text(ARROWS, encoding="utf-8")
    place = tmp_path / "index 😀"
    run("index", files, "--index", place)
    more = {"search": ["red"], "index": [str(files)], "delete": ["--source", str(files / "a.txt")]}
    arguments = [command, *more.get(command, []), "--index", str(place)]
    for form in (["--json"], []):
        out = printing(encoding)
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", printing(encoding))
            assert cli.main([*arguments, *form]) == (1 if command == "delete" and not form else 0)
        text = out.buffer.getvalue().decode(encoding)
        if form and command != "search":
            assert json.loads(text)["index"] == str(place)
        elif form:
            assert json.loads(text)["hits"][0]["text"] == ARROWS
        elif command == "search":
            assert "red" in text


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_fault_18_every_help_prints_in_ascii(monkeypatch, command):
    out = printing("ascii")
    monkeypatch.setattr(sys, "stdout", out)
    with pytest.raises(SystemExit, match="0"):
        cli.main([command, "--help"])
    assert out.buffer.getvalue().startswith(b"usage: metaembed")


def test_fault_18_the_query_on_standard_input_may_be_of_another_encoding(index, run, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"gr\xfcn"), encoding="utf-8"))
    assert "is not text in utf-8" in run("search", "-", "--index", index, code=2)[1]


PROGRAM = """
import sys
import metaembed_rag.model
from types import SimpleNamespace
from metaembed_rag.testing import FakeEncoder
def load(name, *, device=None):
    encoder = FakeEncoder(seed=len(name))
    encoder.name = name
    return encoder
metaembed_rag.model.MetaEmbedEncoder = SimpleNamespace(from_pretrained=load)
from metaembed_rag.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.integration
@pytest.mark.parametrize(
    ("redirect", "code", "message"),
    [
        ("| head -c 0", 0, ""),
        (">&-", 0, ""),
        ("2>&-", 0, ""),
        ("> /dev/full", 1, "metaembed: the system: No space left on device\n"),
    ],
)
def test_fault_18_an_output_that_takes_nothing_is_no_traceback(index, redirect, code, message):
    words = [sys.executable, "-c", PROGRAM, "search", "whales", "--index", str(index)]
    line = f"set -o pipefail; {shlex.join(words)} {redirect}"
    buffered = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    command = ["bash", "-c", line]
    done = subprocess.run(command, env=buffered, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, message)


def test_fault_01_index_says_which_pages_are_longer_than_the_model_reads(
    tmp_path, files, run, monkeypatch
):
    def unread_tokens(encoder, documents):
        return [7000 * ("whales" in str(one)) // encoder.max_passes for one in documents]

    monkeypatch.setattr(FakeEncoder, "unread_tokens", unread_tokens)
    output, said = run("index", files, "--index", tmp_path / "i", "--max-passes", 2)
    assert "0 skipped, 1 cut" in output
    assert "1 page is longer than what the model reads" in said
    assert "b.txt#1: 3,500 tokens were not read" in said
    output, _ = run("index", files, "--index", tmp_path / "j", "--model", "large", "--json")
    (cut,) = json.loads(output)["cut"]
    assert cut["id"].endswith("b.txt#1")
    assert cut["unread_tokens"] == 437


def test_photos_without_letters_are_found_by_their_names_and_others_are_listed_with_what_would_help(
    tmp_path, run, loader, monkeypatch
):
    monkeypatch.setenv("METAEMBED_VISUAL_WORDS", "never")  # by names alone
    monkeypatch.setattr("metaembed_rag.pages.ocr.read_text", lambda image: "")
    texts_only = FakeEncoder(modalities=["text"])
    texts_only.name = "mini"
    monkeypatch.setattr(loader, "from_pretrained", lambda name, *, device=None: texts_only)
    folder = tmp_path / "photos"
    save_photo(folder / "Corsica" / "red_kite.jpg")
    nameless = save_photo(folder / "IMG_2041.jpg", 1)
    out, err = run("index", folder, "--index", tmp_path / "i", "--json")
    report = json.loads(out)
    assert (report["added"], report["skipped"]) == (1, [])
    assert report["blank"] == [f"{nameless.resolve().as_posix()}#1"]
    assert "a picture is found by a file name or a caption that says what it shows" in err
    out, _ = run("search", "red kite", "--index", tmp_path / "i", "--json")
    (hit,) = json.loads(out)["hits"]
    assert Path(hit["source"]).name == "red_kite.jpg"
    assert (hit["text"], hit["text_from"]) == ("red kite\nCorsica", "file name, folder")


# -- budgets side by side --------------------------------------------------------------------


def test_compare_prints_ranks_and_cost_at_the_papers_five_budgets(index, run):
    lines = run("search", "whales", "--index", index, "--compare", "-k", "2")[0].splitlines()
    assert lines[0].startswith('"whales": ranks by budget')
    assert lines[2].split() == ["(1,1)", "(2,4)", "(4,8)", "(8,16)", "(16,64)"]
    assert lines[-1].startswith("bytes of vectors read")


def test_compare_takes_the_budgets_that_are_named_and_prints_them_as_json(index, run):
    budgets = ("--budget", "1,1", "--budget", "full", "--json")
    found = json.loads(run("search", "whales", "--index", index, "--compare", *budgets)[0])
    assert [one["budget"] for one in found["budgets"]] == [[1, 1], [16, 64]]
    assert found["pages"][0]["ranks"]["16,64"] == 1


def test_compare_writes_a_page_with_a_column_a_budget(index, run, tmp_path):
    page = tmp_path / "hits.html"
    run("search", "whales", "--index", index, "--compare", "--budget", "4,8", "--html", page)
    assert page.read_text(encoding="utf-8").count("<b>budget (") == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--budget", "1,1", "--budget", "2,4"], "side by side with --compare"),
        (["--compare", "--max-ms", "5"], "--max-ms does not go with --compare"),
        (["--compare", "--explain"], "--explain does not go with --compare"),
        (["--compare", "--budget", "auto"], "leave out --budget auto"),
        (["--compare", "--index", "j"], "--compare is for one index"),
    ],
)
def test_what_does_not_go_with_compare_is_wrong_usage(options, said, run):
    assert said in run("search", "x", "--index", "i", *options, code=2)[1]
