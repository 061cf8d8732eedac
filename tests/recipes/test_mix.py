"""The training mix is made again from ordinary sources, and says what it is made of."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from metaembed_rag.errors import DatasetError
from metaembed_rag.evaluation import read_dataset
from metaembed_rag.training.data import Example, Side, read_training_set
from recipes import mix
from recipes.mini import corpora, descriptions, manuals
from recipes.mini.descriptions import (
    distinct_pairs,
    parse_descriptions,
    read_descriptions,
)
from recipes.mini.manuals import Manual, as_pair, split_manuals
from recipes.mini.roff import read_manual_page
from recipes.mix import build_mix, draw, title_page

dpkg = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is not installed")

PAGE = r"""'\" t
.\" a comment
.ie \n(.g .ds Aq \(aq
.el       .ds Aq '
.TH STRCPY 3 2023\-02\-05 "Linux man-pages 6.03"
.SH NAME
strcpy, stpcpy \- copy or
concatenate a string
.SH LIBRARY
Standard C library
.RI ( libc ", " \-lc )
.SH DESCRIPTION
The
.BR strcpy ()
function \fIcopies\fP; to copy or concatenate a \fBstring\fR\(emall of it\&.
.\" hidden
.TP
.B \-n
Quiet\c
.if t .B not shown
.TS
tab(:);
l l.
T{
cell: one
T}:cell\~two
.TE
.SH "SEE ALSO"
.BR memcpy (3)
.SH AUTHORS
Somebody.
"""


def read(source, name="page", section="1"):
    return read_manual_page(source, name=name, section=section)


def text_of(body):
    page = read(".SH NAME\nx \\- y\n.SH BODY\n" + body)
    return dict(page.sections)["BODY"]


# -- roff ----------------------------------------------------------------------------------


def test_a_manual_page_is_names_a_description_and_sections():
    page = read(PAGE, "strcpy", "3")
    assert page.names == ("strcpy", "stpcpy")
    assert page.description == "copy or concatenate a string"
    assert page.sections == (
        ("LIBRARY", "Standard C library (libc, -lc)"),
        (
            "DESCRIPTION",
            "The strcpy() function copies; to copy or concatenate a string—all of it. -n Quiet "
            "cell: one cell two",
        ),
        ("SEE ALSO", "memcpy(3)"),
        ("AUTHORS", "Somebody."),
    )


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (r"\f(CWmono\fR \f[B]bold\f[] \s-2small\s0 \s+1big\s0", "mono bold small big"),
        (r"\(lqquoted\(rq " + r'\*(L"also\*(R" \*(C+ \*(Aqs', '“quoted” "also" C++ \'s'),
        (r"back\eslash \[u00E9] \(co \[unknown]end", "back\\slash é © end"),
        (r"a\h'3n'b\v'1'c\w'xx'd \n(.l", "abcd"),
        (".B one two\n.BR three four\n", "one two threefour"),
        ('.BI "open " name " ""x"""', 'open name "x"'),
        (".IP \\(bu 2\nitem", "• item"),
        (".de Vb\nhidden\n..\nshown", "shown"),
        (".if \\n(.g \\{\\\n.ds x y\nhidden\n.\\}\nshown", "shown"),
        (".ie n .IP tag 4\n.el .IP other 4\nbody", "tag body"),
        ("one \\\ntwo", "one two"),
        (".nf\ncode  here\n.fi\n.sp 2\n.unknown macro", "code here"),
        (".EQ\nx over y\n.EN\nafter", "after"),
        ('.SS "A subsection"\ntext', "A subsection text"),
        (".TS\ntab(:);\nl l\nl l.\na:b\n_\n.T&\nl l.\nT{\nc:\nT}:T{\nd\nT}\n.TE", "a b c: d"),
    ],
)
def test_roff_becomes_text(body, text):
    assert text_of(body) == text


@pytest.mark.parametrize(
    "source",
    [
        ".so man3/strcpy.3\n",
        ".Dd June 1\n.Dt LS 1\n.Sh NAME\n.Nm ls\n.Nd list\n",
        ".SH NAME\nno dash here\n",
        ".SH SYNOPSIS\nx \\- y\n",
        "",
    ],
)
def test_what_is_no_manual_page_of_its_own_is_refused(source):
    assert read(source) is None


def test_a_heading_may_stand_on_the_next_line():
    assert read(".SH\nNAME\nx \\- y\n.SH\nBODY\ntext").sections == (("BODY", "text"),)


# -- manual pages as pairs -----------------------------------------------------------------


def test_what_gives_the_answer_away_is_removed_from_the_page():
    pair = as_pair(read(PAGE, "strcpy", "3"))
    assert pair.id == "strcpy.3"
    assert pair.query == "copy or concatenate a string"
    assert pair.text == (
        "Standard C library (libc, -lc) The strcpy() function copies; to —all of it. -n Quiet "
        "cell: one cell two"
    )


def test_a_name_falls_on_one_side_in_all_its_sections():
    names = [f"page{i}" for i in range(400)]
    parts = [Manual(f"{name}.1", "q", "t").part for name in names]
    assert parts == [Manual(f"{name.upper()}.3ssl", "q", "t").part for name in names]
    assert 35 < parts.count("test") < 95  # 40 of 256 of 400 are 62; one standard deviation is 7
    assert 10 < parts.count("dev") < 55  # 20 of 256 of 400 are 31
    assert len(parts) == sum(map(parts.count, ("test", "dev", "train")))


def test_no_description_stands_in_two_parts():
    names = [f"page{i}" for i in range(60)]
    pages = [Manual(f"{name}.1", f"do {i % 20}", f"t{i}") for i, name in enumerate(names)]
    removed = Counter()
    parts = split_manuals(pages, removed)
    asked = {name: {page.query for page in part} for name, part in parts.items()}
    assert parts["test"] == [page for page in pages if page.part == "test"]
    assert not asked["train"] & (asked["test"] | asked["dev"])
    assert not asked["test"] & asked["dev"]
    assert sum(map(len, parts.values())) + removed["asks what a held-out page asks"] == 60


def test_pages_with_the_same_description_answer_the_same_query(tmp_path):
    pages = [Manual("a.1", "Do it", "A"), Manual("b.1", "do it.", "B"), Manual("c.1", "rest", "C")]
    assert manuals.write_test_set(tmp_path, pages) == {"pages": 3, "queries": 2}
    read_back = read_dataset(tmp_path)
    assert read_back.qrels == {"q-a.1": {"a.1": 1, "b.1": 1}, "q-c.1": {"c.1": 1}}
    assert [page.text for page in read_back.pages] == ["A", "B", "C"]


# -- Debian --------------------------------------------------------------------------------

LONG = "This tool does one thing and does it well, for everybody who needs that thing to be done."
TRANSLATION = f"""Package: tool
Description-md5: 0
Description-en: does one thing
 {LONG}
 .
 It has a second paragraph.

Package: tool-data
Description-md5: 1
Description-en: does one thing (data)
 {LONG}
 .
 This package has the data.

Package: empty
Description-md5: 2
Description-en: nothing
 Too short.
"""


def test_descriptions_are_joined_and_packages_that_begin_alike_count_once():
    pairs = list(parse_descriptions(TRANSLATION))
    assert pairs[0] == ("does one thing", f"{LONG} It has a second paragraph.")
    assert pairs[2] == ("nothing", "Too short.")
    assert distinct_pairs(pairs) == pairs[:1]


@pytest.mark.skipif(shutil.which("apt-get") is None, reason="apt is not installed")
def test_the_lists_of_the_machine_are_read_where_they_hold_descriptions(tmp_path):
    (tmp_path / "mirror_main_i18n_Translation-en").write_text(TRANSLATION)
    assert read_descriptions(tmp_path / "unused", tmp_path) == [
        ("does one thing", f"{LONG} It has a second paragraph.")
    ]
    assert not (tmp_path / "unused").exists()


def test_a_machine_without_apt_is_told_so(tmp_path, monkeypatch):
    monkeypatch.setattr(descriptions.shutil, "which", lambda name: None)
    with pytest.raises(DatasetError, match="run this on Debian"):
        read_descriptions(tmp_path)


# -- the mix -------------------------------------------------------------------------------


def deb(folder: Path, name: str, files: dict[str, bytes]) -> Path:
    root = folder / name
    (root / "DEBIAN").mkdir(parents=True)
    (root / "DEBIAN" / "control").write_text(
        f"Package: {name}\nVersion: 1\nArchitecture: all\n"
        "Maintainer: m <m@example.org>\nDescription: d\n"
    )
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    folder.mkdir(exist_ok=True)
    target = folder / f"{name}_1_all.deb"
    subprocess.run(["dpkg-deb", "-b", root, target], check=True, capture_output=True)
    return target


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
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "wt") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
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
    real = corpora.download

    def download(package, folder):
        if package == "absent":
            raise DatasetError("apt-get download absent failed")
        return real(package, folder)

    monkeypatch.setattr(corpora, "download", download)
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


def test_a_third_of_the_titles_is_removed_from_their_page():
    pages = [title_page(f"On Macros {i}", f"{i}. On  macros {i} are useful") for i in range(500)]
    without = [page for page in pages if page.endswith(". are useful")]
    assert 115 < len(without) < 190  # 77 of 256 of 500 are 150; one standard deviation is 10
    assert title_page("All", "All") == "All"
