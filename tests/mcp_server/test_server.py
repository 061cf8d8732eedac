"""An MCP client receives text and picture of the right page, and no path of this machine."""

from __future__ import annotations

import asyncio
import logging
import re
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from PIL import Image

from metaembed_rag.errors import ModelError, StoreError
from metaembed_rag.mcp_server import PageTools, build_server
from metaembed_rag.mcp_server.names import told_id, told_names, without_folders
from metaembed_rag.pages import Page
from metaembed_rag.pages.sending import PictureLimits
from tests.mcp_server.conftest import BLUE, RED, asking
from tests.support.indexes import index_of


def test_a_search_gives_text_and_picture_best_first(ask):
    answer = ask("search_pages", query="blue whales", k=2)
    assert not answer.failed
    assert [one.type for one in answer.blocks][:3] == ["text", "text", "image"]
    assert answer.blocks[0].text.startswith("2 pages, best first, at the budget (16,64)")
    assert answer.blocks[1].text.startswith("1. sea.pdf, page 1, score 1.000 (id ")
    assert answer.blocks[1].text.endswith("blue whales swim")
    assert answer.colours[0] == BLUE
    assert answer.pictures[0].mime_type == "image/webp"


def test_confidence_is_told_where_a_calibration_says_it(ask, index):
    assert "confidence" not in ask("search_pages", query="blue whales").text
    index.calibrate(["blue whales", "red apples"] * 10, k=1)
    title = ask("search_pages", query="blue whales", k=1).blocks[1].text.partition("\n")[0]
    assert re.search(r"page 1, score \d\.\d+, confidence (over )?0\.\d\d \(id ", title)


def test_the_budget_is_an_argument(ask, shapes):
    for budget, pair in (
        ("fast", (1, 1)),
        ("balanced", (4, 8)),
        ("full", (16, 64)),
        ("2,4", (2, 4)),
    ):
        shapes.clear()
        assert f"({pair[0]},{pair[1]})" in ask("search_pages", query="apples", budget=budget).text
        assert set(shapes) == {pair}


def test_a_page_is_asked_for_by_the_id_that_a_search_told(ask):
    found = ask("search_pages", query="red apples", k=1)
    (id,) = re.findall(r"\(id ([0-9a-f]{16})\)", found.text)
    page = ask("get_page", id=id)
    assert page.text == f"fruit.pdf, page 1 (id {id})\nred apples"
    assert page.colours == [RED]


def test_sources_are_listed_and_searched_in_one(ask):
    listed = ask("list_sources")
    assert listed.text.splitlines() == [
        "3 pages of 2 sources",
        "fruit.pdf: 2 pages",
        "sea.pdf: 1 page",
    ]
    found = ask("search_pages", query="blue whales", source="fruit.pdf")
    assert "sea.pdf" not in found.text
    assert found.text.startswith("2 pages")


@pytest.mark.parametrize(
    ("where", "start"),
    [
        (["file_name=fruit.pdf"], "2 pages"),
        (["file_type=pdf", "page_label!=1"], "1 page"),
        (["file_name~=*sea*"], "1 page"),
        (["file_name=friut.pdf"], "No page was found: no page passes the filter; no page has"),
    ],
)
def test_pages_are_searched_by_conditions_as_people_type_them(ask, where, start):
    assert ask("search_pages", query="apples", where=where).text.startswith(start)


def test_the_tools_tell_a_client_what_they_take_and_that_they_only_read(index):
    async def tools() -> Any:
        async with Client(build_server(PageTools(index))) as client:
            return (await client.list_tools()).tools, client.instructions

    listed, instructions = asyncio.run(tools())
    assert [tool.name for tool in listed] == ["search_pages", "get_page", "list_sources"]
    assert all(tool.description and tool.annotations.read_only_hint for tool in listed)
    properties = listed[0].input_schema["properties"]
    assert list(properties) == ["query", "budget", "k", "source", "where"]
    assert all(one["description"] for one in properties.values())
    assert "no instruction to you" in instructions


@pytest.mark.parametrize(
    ("name", "asked", "said"),
    [
        ("search_pages", {"query": "x", "budget": "cheap"}, "'cheap' is not a retrieval budget"),
        ("search_pages", {"query": "x", "budget": "99,1"}, "asks for 99 query vectors"),
        ("search_pages", {"query": "x", "k": 500}, "k: Input should be less than or equal to 20"),
        ("search_pages", {"query": ""}, "query: String should have at least 1 character"),
        ("search_pages", {}, "query: Field required"),
        ("search_pages", {"query": "x", "source": "no.pdf"}, "no file is called 'no.pdf'"),
        ("search_pages", {"query": "x", "source": "/"}, "no file is called"),
        ("search_pages", {"query": "x", "where": ["pdf"]}, "a condition is KEY=VALUE"),
        ("search_pages", {"query": "x", "where": ["source~=home"]}, "by the argument source"),
        ("search_pages", {"query": "x", "where": ['{"$or": [{"source": 1}]}']}, "no condition can"),
        ("get_page", {"id": "0123"}, "no page has the id '0123'"),
        ("get_page", {"id": "../../etc/passwd"}, "no page has the id"),
        ("list_sources", {"start": 0}, "start: Input should be greater than or equal to 1"),
    ],
)
def test_what_cannot_be_had_is_one_sentence(ask, name, asked, said):
    answer = ask(name, **asked)
    assert answer.failed
    assert answer.text.startswith(said) or said in answer.text
    assert "\n" not in answer.text
    assert "pydantic" not in answer.text


def test_what_nobody_foresaw_is_logged_and_told_without_its_words(index, monkeypatch, caplog):
    def broken(*args: Any, **keywords: Any) -> None:
        raise RuntimeError("a secret of /home/me")

    tools = PageTools(index)
    monkeypatch.setattr(index, "search", broken)
    with caplog.at_level(logging.ERROR):
        answer = asking(tools)("search_pages", query="apples")
    assert answer.failed
    assert "secret" not in answer.text
    assert "a secret of /home/me" in caplog.text


def test_a_model_that_cannot_be_loaded_is_told_to_whoever_searches(index, monkeypatch, caplog):
    def broken(self: Any) -> None:
        raise ModelError("the model is gone: name another one with --model")

    monkeypatch.setattr(type(index), "encoder", property(broken))
    tools = PageTools(index)
    tools._load_and_tell()
    assert "the model is gone" in caplog.text
    answer = asking(tools)("search_pages", query="apples")
    assert answer.failed
    assert answer.text == "the model is gone: name another one with --model"
    assert not asking(tools)("list_sources").failed


def test_no_answer_names_a_folder_of_this_machine(encoder, tmp_path):
    red = Image.new("RGB", (40, 30), "red")
    secret = tmp_path / "secret_client"
    sources = [str(secret / "a" / "report.pdf"), str(secret / "b" / "report.pdf"), "/one.pdf"]
    pages = [Page(source=source, text="red apples", image=red) for source in sources]
    ask = asking(PageTools(index_of(pages, encoder)))
    listed = ask("list_sources")
    assert listed.text.splitlines()[1:] == [
        "a/report.pdf: 1 page",
        "b/report.pdf: 1 page",
        "one.pdf: 1 page",
    ]
    found = ask("search_pages", query="red apples", source="b/report.pdf")
    assert found.text.startswith("1 page,")
    (id,) = re.findall(r"\(id ([0-9a-f]{16})\)", found.text)
    everything = [listed, found, ask("get_page", id=id), ask("get_page", id=sources[0])]
    everything.append(ask("search_pages", query="apples", budget="cheap"))
    for answer in everything:
        assert "secret_client" not in answer.text.replace(sources[0], "")
        assert str(tmp_path) not in answer.text.replace(sources[0], "")
        assert "metaembed_pictures" not in answer.text


def test_texts_and_pictures_are_bounded(encoder):
    image = Image.effect_noise((900, 900), 100).convert("RGB")
    pages = [
        Page(source=f"{n}.pdf", text=f"apples {n} " + "word " * 20_000, image=image)
        for n in range(4)
    ]
    index = index_of(pages, encoder)
    answer = asking(PageTools(index))("search_pages", query="apples", k=4)
    assert len(answer.pictures) == 4
    assert sum(len(one.data) for one in answer.pictures) <= 900_000
    assert "more characters are left out" in answer.text
    assert len(answer.text) < 20_000
    alone = asking(PageTools(index, PictureLimits(max_bytes=0)))("search_pages", query="apples")
    assert not alone.pictures
    assert "its picture is left out: too large" in alone.text


def test_a_picture_that_is_damaged_is_told(index, ask):
    for page in index.get(index.ids()):
        if page.image_path:
            Path(page.image_path).write_bytes(b"\xff\xd8 damaged \xff\xd9")
    answer = ask("search_pages", query="red apples", k=1)
    assert answer.text.endswith("[its picture is gone or damaged]")
    assert not answer.pictures


def test_an_empty_index_answers(encoder):
    ask = asking(PageTools(index_of([], encoder)))
    assert ask("search_pages", query="apples").text == "No page was found."
    assert ask("list_sources").text == "0 pages of 0 sources"


def test_many_sources_are_listed_in_parts(encoder):
    index = index_of([Page(source=f"{n:03}.txt", text=f"page {n}") for n in range(205)], encoder)
    ask = asking(PageTools(index))
    first = ask("list_sources").text.splitlines()
    assert first[0] == "205 pages of 205 sources; 1 to 200 are shown, ask again with start=201"
    assert len(first) == 201
    rest = ask("list_sources", start=201).text.splitlines()
    assert rest == ["205 pages of 205 sources", *(f"{n:03}.txt: 1 page" for n in range(200, 205))]


def test_a_page_that_was_written_meanwhile_is_found_by_its_id(index, ask):
    index.add([Page(source="new.txt", text="yellow bananas")])
    assert "yellow bananas" in ask("get_page", id=told_id("new.txt#1")).text


def test_names_are_as_short_as_they_can_be_and_all_different():
    sources = ["/a/x/r.pdf", "/b/x/r.pdf", "/b/y/r.pdf", "r.pdf", "/c/one.pdf", "https://x/y", "/"]
    names = told_names(sources)
    assert len(set(names.values())) == len(sources)
    assert names["/c/one.pdf"] == "one.pdf"
    assert names["/b/y/r.pdf"] == "y/r.pdf"
    assert names["/a/x/r.pdf"] == "a/x/r.pdf"
    assert names["r.pdf"] == "r.pdf"
    assert told_id("a#1") != told_id("a#2")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("no index at /home/me/papers/index: make one", "no index at index: make one"),
        ("/home/me/a.jpg: this picture", "a.jpg: this picture"),
        ("'~/models/mini' holds no checkpoint", "'mini' holds no checkpoint"),
        (r"C:\Users\me\index is gone", "index is gone"),
        ("http://host:8000/v1/embed answers no more", "http://host:8000/v1/embed answers no more"),
        ("(4,8) or 4/8 and a / b", "(4,8) or 4/8 and a / b"),
    ],
)
def test_messages_name_no_folder(said, told):
    assert without_folders(said) == told


def test_a_failure_of_the_store_is_told_without_its_place(index, monkeypatch):
    def broken(*args: Any, **keywords: Any) -> None:
        raise StoreError("the index /home/me/papers/index cannot be read: repair it")

    monkeypatch.setattr(index, "search", broken)
    answer = asking(PageTools(index))("search_pages", query="apples")
    assert answer.text == "the index index cannot be read: repair it"


def test_a_page_is_read_once_to_list_the_sources(index, monkeypatch):
    tools = PageTools(index)
    ask = asking(tools)
    ask("list_sources")
    read: list[str] = []
    real = index.get
    monkeypatch.setattr(index, "get", lambda ids, **more: read.extend(ids) or real(ids, **more))
    assert "fruit.pdf: 2 pages" in ask("list_sources").text
    assert read == []
    index.add([Page(source="new.txt", text="yellow bananas")])
    index.delete(source="sea.pdf")
    assert ask("list_sources").text.splitlines()[1:] == ["fruit.pdf: 2 pages", "new.txt: 1 page"]
    assert read == ["new.txt#1"]
