"""The training mix is made again from ordinary sources, and says what it is made of."""

from __future__ import annotations

import gzip
import json

import pytest

from metaembed_rag.errors import DatasetError
from metaembed_rag.evaluation import read_dataset
from metaembed_rag.training.data import Example, Side, read_training_set
from recipes import mix
from recipes.mini.data import debian, manuals
from recipes.mix import build_mix, draw
from tests.recipes.builders import deb, dpkg, jsonl


def manual(number: int) -> bytes:
    body = " ".join(f"word{number}x{i}" for i in range(40))
    return gzip.compress(
        f".SH NAME\np{number} \\- do thing {number}\n.SH DESCRIPTION\n{body}\n".encode()
    )


@pytest.fixture
def data(tmp_path):
    """A data folder with one evaluation set, Debian pairs and charts, but no TeX lists."""
    folder = tmp_path / "data"
    for name, rows in {
        "debian_packages/corpus.jsonl": [{"_id": "d", "text": "A tool to test tools."}],
        "debian_packages/queries.jsonl": [{"_id": "q", "text": "Testing tool"}],
        "debian_packages/train_pairs.jsonl.gz": [
            {"query": f"Do {i}", "text": f"Does {i}", "id": f"t{i}"} for i in range(30)
        ]
        + [
            {"query": "testing TOOL", "text": "leaks by its query", "id": "a"},
            {"query": "leaks by its text", "text": "a tool, to test tools", "id": "b"},
            {"query": "do 1", "text": "Does: 1", "id": "c"},
            {"query": "...", "text": "no words", "id": "d"},
        ],
        "opencqa_train/train.jsonl": [
            {"image": "images/1.webp", "text": "How many?", "answer": "Seven."}
        ],
    }.items():
        jsonl(folder / name, rows)
    (folder / "opencqa_train" / "images").mkdir()
    (folder / "opencqa_train" / "images" / "1.webp").write_bytes(b"picture")
    return folder


def test_every_set_is_without_evaluation_text_and_each_pair_stands_once(tmp_path, data):
    manifest = build_mix(tmp_path / "mix", data=data, only=["debian"])
    rows = read_training_set(tmp_path / "mix" / "debian.jsonl")
    assert [row.query.text for row in rows] == [f"Do {i}" for i in range(30)]
    assert manifest == json.loads((tmp_path / "mix" / "manifest.json").read_text())
    made = manifest["sets"]["debian"]
    assert made["left_out"] == {
        "part of an evaluation set": 2,
        "a pair like another": 1,
        "a side without words": 1,
    }
    assert (made["examples"], made["digest"]) == (30, rows.digest)
    assert made["without_evaluation_sets"] == ["debian_packages"]
    assert made["licence"]


def test_the_same_seed_makes_the_same_bytes_and_another_seed_others(tmp_path, data):
    def build(name, seed):
        build_mix(tmp_path / name, data=data, only=["debian"], limit=5, seed=seed)
        return (tmp_path / name / "debian.jsonl").read_bytes()

    assert build("a", 0) == build("b", 0) != build("c", 1)
    assert build("a", 0).count(b"\n") == 5


def test_a_drawn_part_keeps_the_order():
    rows = [Example(Side(f"q{i}"), Side("p")) for i in range(50)]
    some = draw(rows, 10, "seed")
    assert len(some) == 10
    assert some == [row for row in rows if row in some]


def test_charts_stay_where_they_are(tmp_path, data):
    build_mix(tmp_path / "mix", data=data, only=["charts", "answers"])
    chart = read_training_set(tmp_path / "mix" / "charts.jsonl")[0]
    assert chart.positive.image == (data / "opencqa_train" / "images" / "1.webp").as_posix()
    assert read_training_set(tmp_path / "mix" / "answers.jsonl")[0].positive.text == "Seven."


def test_a_source_that_is_not_there_is_listed_and_the_others_are_made(tmp_path, data):
    manifest = build_mix(tmp_path / "mix", data=data, only=["tex", "debian"])
    assert list(manifest["sets"]) == ["debian"]
    assert "tex_train_pairs.jsonl.gz is missing" in manifest["missing"]["tex"]
    arguments = ["--out", str(tmp_path / "mix"), "--data", str(data), "--only"]
    assert mix.main([*arguments, "tex,debian"]) == 1
    assert mix.main([*arguments, "debian", "charts"]) == 0
    manifest = json.loads((tmp_path / "mix" / "manifest.json").read_text())
    assert sorted(manifest["sets"]) == ["charts", "debian"]
    assert list(manifest["missing"]) == ["tex"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"only": ["debain"]}, "no source 'debain'; there are debian, manpages"),
        ({"limit": 0}, "a limit of 0"),
    ],
)
def test_a_mix_that_makes_no_sense_is_refused(tmp_path, options, said):
    with pytest.raises(DatasetError, match=said):
        build_mix(tmp_path, data=tmp_path, **options)


def test_a_manifest_that_is_none_is_named(tmp_path, data):
    (tmp_path / "manifest.json").write_text("[]")
    with pytest.raises(DatasetError, match=r"manifest.json: not a manifest"):
        build_mix(tmp_path, data=data, only=["debian"])


@dpkg
def test_manual_pages_are_read_out_of_packages_and_split(tmp_path, data, monkeypatch):
    pages = {f"usr/share/man/man1/p{i}.1.gz": manual(i) for i in range(40)}
    pages |= {
        "usr/share/man/man1/alias.1.gz": gzip.compress(b".so man1/p1.1\n"),
        "usr/share/man/man1/copy.1.gz": manual(1),
        "usr/share/man/man1/small.1.gz": gzip.compress(b".SH NAME\nsmall \\- do little\n"),
        "usr/share/man/de/man1/p1.1.gz": manual(99),
    }
    deb(tmp_path / "work" / "debs", "manuals", pages)
    monkeypatch.setattr(manuals, "PACKAGES", ("manuals", "absent"))
    real = debian.download

    def download(package, folder):
        if package == "absent":
            raise DatasetError("apt-get download absent failed")
        return real(package, folder)

    monkeypatch.setattr(debian, "download", download)
    manifest = build_mix(tmp_path / "mix", data=data, work=tmp_path / "work", only=["manpages"])
    made = manifest["sets"]["manpages"]
    test = read_dataset(tmp_path / "mix" / "manpages_test")
    train = read_training_set(tmp_path / "mix" / "manpages.jsonl")
    dev = read_dataset(tmp_path / "mix" / "manpages_dev")
    assert made["held_out"] == {
        "manpages_test": {"pages": len(test.pages), "queries": len(test.queries)},
        "manpages_dev": {"pages": len(dev.pages), "queries": len(dev.queries)},
    }
    assert len(train) + len(test.pages) + len(dev.pages) == 40
    held_out = {page.text for page in [*test.pages, *dev.pages]}
    assert not {row.positive.text for row in train} & held_out
    assert made["left_out"] == {
        "no page of its own in man(7)": 1,
        "a page like another": 1,
        "too short": 1,
        "asks what a held-out page asks": 0,
    }
    assert made["missing_packages"] == {"absent": "apt-get download absent failed"}
    assert made["origin"] == ["manuals_1_all.deb"]


@dpkg
def test_a_damaged_download_is_a_source_that_is_missing(tmp_path, data):
    debs = tmp_path / "work" / "debs"
    debs.mkdir(parents=True)
    (debs / "wordnet-base_1_all.deb").write_bytes(b"half a download")
    manifest = build_mix(tmp_path, data=data, work=tmp_path / "work", only=["wordnet"])
    assert "a download is damaged" in manifest["missing"]["wordnet"]
