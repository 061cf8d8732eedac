"""Manual pages in man(7) source become plain text."""

from __future__ import annotations

import pytest

from tests.recipes.builders import PAGE, manual_page


def text_of(body):
    page = manual_page(".SH NAME\nx \\- y\n.SH BODY\n" + body)
    return dict(page.sections)["BODY"]


def test_a_manual_page_is_names_a_description_and_sections():
    page = manual_page(PAGE, "strcpy", "3")
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
    assert manual_page(source) is None


def test_a_heading_may_stand_on_the_next_line():
    assert manual_page(".SH\nNAME\nx \\- y\n.SH\nBODY\ntext").sections == (("BODY", "text"),)
