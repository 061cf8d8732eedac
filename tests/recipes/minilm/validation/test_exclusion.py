"""What training leaves out for the sake of the questions."""

from __future__ import annotations

from metaembed_rag.evaluation import Dataset, Query
from metaembed_rag.pages import Page
from recipes.mini.data.corpora import TexPage, TextSources
from recipes.minilm.validation import (
    is_validation,
    read_documents,
    validation_documents,
    without_validation,
)

WRAPFIG = "/usr/share/doc/texlive-doc/latex/wrapfig/"
SEARCHED = "a page of the task that holds more than eight words so that shingles can tell it apart"
OTHER = "quite a different text with nothing in common but also long enough to be told apart"


def test_every_document_of_the_task_is_excluded():
    assert {one.path for one in read_documents()} <= validation_documents()


def test_the_rest_of_a_tex_package_is_excluded_too():
    assert is_validation(WRAPFIG + "wrapfig-doc.pdf")
    assert is_validation(WRAPFIG + "another.pdf")
    assert is_validation(WRAPFIG.replace("/latex/", "/latex-dev/") + "wrapfig-doc.pdf")
    assert not is_validation("/usr/share/doc/texlive-doc/latex/booktabs/booktabs.pdf")


def test_a_handbook_beside_one_of_the_task_stays():
    faq = "/usr/share/doc/nut-doc/html/FAQ/ar01s01.html"
    assert is_validation(faq)
    assert not is_validation(faq.replace("ar01s01", "ar01s02"))
    assert not is_validation("/usr/share/doc/wrapfig/index.html")


def test_a_description_of_the_task_is_excluded_by_the_name_of_its_package():
    assert is_validation("gdebi")
    assert not is_validation("0ad")


def test_sources_lose_documents_near_duplicates_and_questions():
    task = Dataset(
        "task", (Page("a", text=SEARCHED),), (Query("q001", "Why?"),), {"q001": {"a#1": 1}}
    )
    sources = TextSources(
        tex=[TexPage(WRAPFIG + "more.pdf", 1, (), OTHER), TexPage("x.pdf", 1, (), OTHER)],
        debian=[("a copy", SEARCHED.upper()), ("another", OTHER)],
        opencqa=[("why", OTHER), ("how", OTHER)],
        wordnet=[],
        handbooks=[TexPage("y.html", 1, (), f"before {SEARCHED} after")],
    )
    kept = without_validation(sources, task)
    assert [page.path for page in kept.tex] == ["x.pdf"]
    assert kept.debian == [("another", OTHER)]
    assert kept.opencqa == [("how", OTHER)]
    assert kept.handbooks == []
