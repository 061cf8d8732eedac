"""Questions and answers out of HTML, plain text and manual pages."""

from __future__ import annotations

import gzip

import pytest

from recipes.mini.data.manuals import Manual
from recipes.minilm.data import faq
from recipes.minilm.data.faq import clean_question, html_answers, read_faqs, text_answers
from tests.recipes.builders import deb, dpkg

ANSWER = "Open the settings, choose the tray that holds the paper, and print a page to test it."
OTHER = "It is slow because the drive is nearly full; remove files that nobody has read for a year."


def asked(pairs):
    return {clean_question(question): answer for question, answer in pairs if answer}


@pytest.mark.parametrize(
    "page",
    [
        f"<h1>FAQ</h1><h2>1.2. How do I print a page?</h2><p>{ANSWER}</p><h2>Other</h2><p>No.</p>",
        f"<h1>FAQ</h1><dl><dt><a name='x'>How do I print a page?</a></dt><dd>{ANSWER}</dd></dl>",
        f"<h1>FAQ</h1><p><strong>Q: How do I print a page?</strong></p><p>{ANSWER}</p>",
        '<h1>FAQ</h1><table><tr class="question"><td>3.1</td><td>How do I print a page?</td></tr>'
        f"<tr><td>{ANSWER}</td></tr></table>",
        f"<H2\n>How do I print a page?<a href='#how'>¶</a></H2\n><p>{ANSWER}</p>",
    ],
)
def test_html(page):
    found = asked(html_answers(page))
    assert found["How do I print a page?"].strip() == ANSWER


def test_a_page_without_a_question_is_not_read():
    assert list(html_answers(f"<h2>Printing</h2><p>{ANSWER} Why?</p>")) == []


def test_plain_text():
    text = (
        f"1. PRINTING\n\n1.1) How do I print\n   a page?\n\nA: {ANSWER}\n\n2) Why is it slow?\n\n"
    )
    found = asked(text_answers(f"{text}{OTHER}\n\n{ANSWER}\n"))
    assert found["How do I print a page?"] == ANSWER
    assert found["Why is it slow?"] == f"{OTHER} {ANSWER}"


@pytest.mark.parametrize(
    ("heading", "question"),
    [
        ("Q12. Can I use it?", "Can I use it?"),
        ("2.3.1 What is a spool?", "What is a spool?"),
        ("(FAQ 1a) Why is it slow?", "Why is it slow?"),
        ("How to print a page", "How to print a page"),
        ("Printing", None),
        ("Why?", None),
        ("Wie drucke ich eine Seite für Größe?", None),
    ],
)
def test_a_question_stands_without_its_number(heading, question):
    assert clean_question(heading) == question


@dpkg
def test_a_package(tmp_path):
    name = next(f"perlfaq{i}" for i in range(10) if Manual(f"perlfaq{i}.1", "", "").part == "train")
    held = next(f"perlfaq{i}" for i in range(10) if Manual(f"perlfaq{i}.1", "", "").part != "train")
    page = (
        f'.TH P 1\n.SH NAME\nperlfaq \\- questions\n.SH DESCRIPTION\nNone.\n.SS "{{}}"\n{OTHER}\n'
    )
    package = deb(
        tmp_path,
        "shelf-doc",
        {
            "usr/share/doc/shelf/faq.html": f"<h2>How do I print a page?</h2><p>{ANSWER}</p>",
            "usr/share/doc/shelf/fr/faq.html": f"<h2>What is French here?</h2><p>{ANSWER}</p>",
            "usr/share/doc/shelf/FAQ.gz": gzip.compress(f"Is it slow today?\n\n{OTHER}".encode()),
            "usr/share/doc/shelf/short.html": "<h2>Is it short?</h2><p>Yes.</p>",
            f"usr/share/man/man1/{name}.1.gz": gzip.compress(page.format("Is it Perl?").encode()),
            f"usr/share/man/man1/{held}.1.gz": gzip.compress(page.format("Am I held?").encode()),
        },
    )
    found = {one.question: one.answer for one in read_faqs([package])}
    assert found == {
        "How do I print a page?": ANSWER,
        "Is it slow today?": OTHER,
        "Is it Perl?": OTHER,
    }


def test_no_name_of_a_package_is_given_twice():
    assert len(set(faq.PACKAGES)) == len(faq.PACKAGES)
