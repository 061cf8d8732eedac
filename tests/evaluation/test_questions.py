"""Questions of a user's own: every row means one page of the index, or is refused by its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from metaembed_rag.errors import DatasetError
from metaembed_rag.evaluation.questions import of_index, read_rows

PAGES = {
    ("/papers/a/report.pdf", 1): "a1",
    ("/papers/a/report.pdf", 2): "a2",
    ("/papers/b/report.pdf", 1): "b1",
    ("/papers/chart.png", 1): "chart",
    ("notes", 3): "notes3",
}


@pytest.fixture
def write(tmp_path):
    def write(text: str, encoding: str = "utf-8") -> Path:
        path: Path = tmp_path / "q.csv"
        path.write_bytes(text.encode(encoding))
        return path

    return write


def asked(path: Path) -> dict[str, tuple[str, ...]]:
    found = of_index(read_rows(path), PAGES, path)
    return dict(zip(found.texts, found.answers, strict=True))


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_what_spreadsheets_write_is_read(write, separator, encoding):
    rows = [
        ["Page", " QUESTION ", "file", "by"],
        ["2", "how much?", "a/report.pdf", "me"],
        ["", "", "", ""],
        ["1", '"red, or ""blue"";\tor both"', "/papers/chart.png", ""],
    ]
    path = write("\r\n".join(separator.join(row) for row in rows), encoding)
    assert asked(path) == {"how much?": ("a2",), 'red, or "blue";\tor both': ("chart",)}
    assert [row.line for row in read_rows(path)] == [2, 4]


def test_what_stands_above_the_names_is_passed_over(write):
    rows = read_rows(write("sep=;\n\nquestion;file;page\nhow, so?;a.pdf;2\n"))
    assert [(row.question, row.page, row.line) for row in rows] == [("how, so?", 2, 4)]


def test_a_separator_without_quotes_is_told_by_what_it_does(write):
    with pytest.raises(DatasetError, match="line 2: it has more fields than .* double quotes"):
        read_rows(write("question,file,page\nwhat, then?,a.pdf,2\n"))
    assert len(read_rows(write("question,file,page\nwhat?,a.pdf,2,,\n"))) == 1


def test_several_rows_of_one_question_name_several_right_pages(write):
    path = write(
        "question,file,page\nx,a/report.pdf,1\ny,notes,3\nx,b/report.pdf,1\nx,b/report.pdf,1"
    )
    assert asked(path) == {"x": ("a1", "b1"), "y": ("notes3",)}


def test_a_file_of_one_page_needs_no_page(write):
    assert asked(write("question,file,page\nx,chart.png,\ny,b/report.pdf")) == {
        "x": ("chart",),
        "y": ("b1",),
    }


def test_a_path_may_be_relative_to_the_file_or_to_the_working_folder(write, tmp_path, monkeypatch):
    path = write("question,file,page\nx,sub/one.pdf,1\n")
    pages = {
        ((tmp_path / "sub" / "one.pdf").as_posix(), 1): "one",
        ("/other/sub/one.pdf", 1): "two",
    }
    assert of_index(read_rows(path), pages, path).answers == (("one",),)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    pages = {((tmp_path / "elsewhere" / "sub" / "one.pdf").as_posix(), 1): "here"}
    assert of_index(read_rows(path), pages, path).answers == (("here",),)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no column question, file, page; .* names nothing"),
        ("question,page\nx,1", "no column file; .* names question, page"),
        ("question,file,page\n", "no questions"),
        ("question,file,page\n,a,1", "line 2: its question is empty"),
        ("question,file,page\nx,,1", "line 2: its file is empty"),
        ("question,file,page\nx,a,one", "line 2: a page is a whole number from 1, not 'one'"),
        ("question,file,page\nx,a,0", "line 2: a page is a whole number"),
        ("question,file,page\nx,a,²", "line 2: a page is a whole number"),
        ("question,file,page\nx,a," + "9" * 5_000, "line 2: a page is a whole number"),
        ('question,file,page\n"x' + "y" * 200_000, "not CSV"),
    ],
)
def test_a_malformed_file_is_refused_by_its_line(write, text, said):
    with pytest.raises(DatasetError, match=said):
        read_rows(write(text))


def test_a_file_that_cannot_be_read_is_a_sentence(write, tmp_path):
    with pytest.raises(DatasetError, match="no such file"):
        read_rows(tmp_path / "none.csv")
    with pytest.raises(DatasetError, match="cannot be read"):
        read_rows(tmp_path)
    with pytest.raises(DatasetError, match="cannot be read as UTF-8"):
        read_rows(write("question,file,page\nä,b,1", "latin-1"))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("x,none.pdf,1", "line 2: the index holds no file 'none.pdf'"),
        ("x,eport.pdf,1", "line 2: the index holds no file"),
        ("x,/,1", "line 2: the index holds no file"),
        (f"x,{'n' * 5_000},1", "line 2: the index holds no file"),
        (
            "x,report.pdf,1",
            "may be /papers/a/report.pdf or /papers/b/report.pdf: write more of its path",
        ),
        ("x,a/report.pdf,7", "line 2: no page 7 of 'a/report.pdf'; .* 2 pages of it, up to 2"),
        ("x,a/report.pdf,", "line 2: say which page of 'a/report.pdf' it is"),
    ],
)
def test_what_the_index_does_not_hold_is_named(write, row, said):
    with pytest.raises(DatasetError, match="1 row names what the index does not hold") as refused:
        asked(write(f"question,file,page\n{row}"))
    assert refused.match(said)


def test_all_rows_that_are_wrong_are_told_at_once(write):
    path = write("question,file,page\n" + "".join(f"q{n},no{n}.pdf,1\n" for n in range(12)))
    with pytest.raises(DatasetError, match="12 rows name") as refused:
        asked(path)
    assert "line 2: " in str(refused.value)
    assert "line 11: " in str(refused.value)
    assert str(refused.value).endswith("  and 2 more")
