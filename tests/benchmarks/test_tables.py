"""Every number in the documents comes out of results/*.json, and is of the shipped checkpoint."""

import json
import re
from pathlib import Path

import pytest

from benchmarks import results, tables

RECORDS = sorted(results.FOLDER.glob("*.json"))
DOCUMENTS = tables.pages()


def test_pages_show_what_the_records_say(capsys):
    assert tables.main(["--check"]) == 0, capsys.readouterr().out


def test_every_record_is_a_claim_with_a_row_in_results():
    assert {path.stem for path in RECORDS} == set(tables.HEADLINES)
    told = (results.CHECKOUT / "RESULTS.md").read_text()
    for path in RECORDS:
        assert f"](results/{path.name})" in told
    assert len(told.splitlines()) <= 120


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_a_record_says_how_it_was_made_and_names_no_place_of_a_machine(path):
    text = path.read_text()
    record = json.loads(text)
    assert {"claim", "command", "measured", "commit", "machine", "numbers"} <= record.keys()
    assert re.fullmatch(r"2\d{3}-\d\d-\d\d", record["measured"])
    assert re.fullmatch(r"[0-9a-f]{7}\+?", record["commit"])
    assert not re.search(r"/(home|root|tmp|work|usr)/", text)


def test_every_record_of_quality_is_of_the_shipped_checkpoint():
    from metaembed_rag import MetaEmbedEncoder

    shipped = {
        name: MetaEmbedEncoder.from_pretrained(name, device="cpu").fingerprint
        for name in ("mini", "small")
    }
    records = {path.stem: json.loads(path.read_text()) for path in RECORDS}
    of_quality = {
        name for name, one in records.items() if re.search(r"ndcg|recall@10", json.dumps(one))
    } - {"peers", *tables.OTHERS}  # random vectors; of other models, below
    assert of_quality
    assert {name for name, one in records.items() if "fingerprint" in one} >= of_quality
    for name, one in records.items():
        if "fingerprint" in one:
            assert one["fingerprint"] == shipped[tables.checkpoint_of(one)], name


@pytest.mark.parametrize("name", tables.OTHERS)
def test_a_record_of_another_model_names_it_and_is_not_taken_for_the_shipped_one(name):
    record = results.read(name)
    assert "fingerprint" not in record
    assert record["numbers"]["model"].keys() >= {"name", "fingerprint", "dimension"}


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: page.relative_to(results.CHECKOUT))
def test_a_table_of_measured_numbers_stands_between_marks(page):
    text = re.sub(r"<!-- table: \w+ -->.*?<!-- end -->", "", page.read_text(), flags=re.DOTALL)
    measured = re.compile(r"\|\s*\*{0,2}[-+]?\d[\d,]*\.\d+\*{0,2}( [\[(/].*?)?\s*(?=\|)")
    assert not [line for line in text.splitlines() if measured.search(line)]


def test_a_table_of_quality_names_the_checkpoint():
    for page in DOCUMENTS:
        for name, body in re.findall(
            r"<!-- table: (\w+) -->(.*?)<!-- end -->", page.read_text(), flags=re.DOTALL
        ):
            if name in tables.OTHERS:
                model = results.read(name)["numbers"]["model"]
                assert f"`{model['name']}` `" in body.strip().splitlines()[-1]
            elif "nDCG" in body and name != "claims":
                assert re.search("`(mini|small)` `", body.strip().splitlines()[-1]), (
                    page.name,
                    name,
                )


# -- the generator ---------------------------------------------------------------------------


def test_what_stands_between_the_marks_is_replaced_and_nothing_else(monkeypatch):
    made = tables.Table(lambda: ["| a |", "|---|"], ())
    monkeypatch.setitem(tables.TABLES, "toy", made)
    before = "before\n\n<!-- table: toy -->\nold\n<!-- end -->\n\nafter\n"
    once = tables.filled(before, Path("page.md"))
    assert once.startswith("before\n\n<!-- table: toy -->\n\n| a |\n|---|\n")
    assert once.endswith("<!-- end -->\n\nafter\n")
    assert "old" not in once
    assert tables.filled(once, Path("page.md")) == once


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<!-- table: nothing -->\n<!-- end -->", "page.md: no table 'nothing'; there are budgets"),
        ("<!-- table: budgets -->\n", "page.md: each <!-- table: NAME --> needs an <!-- end -->"),
    ],
)
def test_a_wrong_mark_is_an_error_that_names_the_page(text, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        tables.filled(text, Path("page.md"))


def test_a_record_holds_the_command_without_places_of_this_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "DATA", tmp_path / "data")
    given = ["benchmark.py", str(tmp_path / "data" / "cranfield"), str(tmp_path / "pdfs"), "--k=3"]
    monkeypatch.setattr("sys.argv", given)
    results.write(tmp_path / "r" / "toy.json", "A toy.", {"ms": 1.5}, fingerprint="f" * 32)
    record = json.loads((tmp_path / "r" / "toy.json").read_text())
    assert record["command"].endswith(" ../shared/data/cranfield pdfs --k=3")
    assert (record["claim"], record["numbers"]) == ("A toy.", {"ms": 1.5})
    assert record["machine"]["cores"] >= 1
