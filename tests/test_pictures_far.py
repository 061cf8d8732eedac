"""Frameworks, servers, agents and commands show pages whose pictures lie in an object store."""

from __future__ import annotations

import json
from pathlib import Path

import fsspec
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from metaembed_rag import Page, PageIndex
from metaembed_rag.langchain import MetaEmbedRetriever as LangChainRetriever
from metaembed_rag.langchain import content_blocks
from metaembed_rag.llama_index import MetaEmbedRetriever as LlamaIndexRetriever
from metaembed_rag.mcp_server import PageTools
from metaembed_rag.serving import ServerSettings, create_app
from metaembed_rag.store import named_models, picture_cache
from metaembed_rag.testing import FakeEncoder

URL = "memory://bucket/pictures"


@pytest.fixture(autouse=True)
def memory(monkeypatch, tmp_path):
    for module in (picture_cache, named_models):
        monkeypatch.setattr(module, "user_folder", lambda *parts: tmp_path.joinpath("u", *parts))
    files = fsspec.filesystem("memory")
    files.store.clear()
    yield files
    files.store.clear()


@pytest.fixture(params=["there", "away"])
def index(request, tmp_path, memory, monkeypatch):
    """An index of one page, whose store has its picture or is away; and whether it is there."""
    picture = Image.new("RGB", (60, 40), "red")
    with PageIndex.open(tmp_path / "index", FakeEncoder(), pictures=URL) as index:
        index.add([Page(source="a.pdf", text="red apples", image=picture)])
        if request.param == "away":

            def refuses(*_, **__):
                raise PermissionError("no")

            monkeypatch.setattr(type(memory), "cat_file", refuses)
        yield index, request.param == "there"


def warned_once(caplog) -> bool:
    return caplog.text.count("without pictures") == 1


def test_langchain_has_the_text_and_the_picture_where_it_can_be_had(index, caplog):
    index, is_there = index
    retriever = LangChainRetriever(index=index, k=1)
    for _ in range(2):
        (document,) = retriever.invoke("apples")
        assert document.page_content == "red apples"
        assert ("image_path" in document.metadata) is is_there
    kinds = [block["type"] for block in content_blocks([document])]
    assert kinds == (["text", "image"] if is_there else ["text"])
    assert warned_once(caplog) is not is_there


def test_llama_index_has_the_text_and_the_picture_where_it_can_be_had(index, caplog):
    index, is_there = index
    retriever = LlamaIndexRetriever(index=index, similarity_top_k=1)
    for _ in range(2):
        (found,) = retriever.retrieve("apples")
        assert found.node.get_content() == "red apples"
        assert (getattr(found.node, "image_path", None) is not None) is is_there
    assert warned_once(caplog) is not is_there


def test_a_server_shows_the_picture_or_says_that_there_is_none(index, tmp_path, caplog):
    index, is_there = index
    app = create_app(index, ServerSettings(uploads=tmp_path / "uploads"))
    with TestClient(app, base_url="http://127.0.0.1:8000", client=("127.0.0.1", 50_000)) as http:
        hit = http.post("/search", json={"query": "apples"}).json()["hits"][0]
        assert (hit["image"] is not None) is is_there
        if is_there:
            assert http.get(hit["image"]).content[:4] == b"RIFF"
    assert warned_once(caplog) is not is_there


def test_an_agent_gets_the_text_and_the_picture_where_it_can_be_had(index, caplog):
    index, is_there = index
    blocks = PageTools(index).search("apples", None, 1, None)
    assert "red apples" in blocks[1].text
    assert [block.type for block in blocks] == ["text", "text", *["image"] * is_there]
    assert warned_once(caplog) is not is_there


def test_html_shows_the_page_either_way(index):
    index, is_there = index
    shown = index.search("apples")._repr_html_()
    assert ("data:image/jpeg" in shown) is is_there
    assert "a.pdf" in shown


def test_pages_without_pictures_are_read_without_asking_the_store(tmp_path, memory, monkeypatch):
    with PageIndex.open(tmp_path / "index", FakeEncoder(), pictures=URL) as index:
        index.add([Page(source="a.pdf", text="red apples", image=Image.new("RGB", (60, 40)))])
        monkeypatch.setattr(type(memory), "cat_file", lambda *_, **__: pytest.fail("was asked"))
        assert [one.image_path for one in index.get(["a.pdf#1"], pictures=False)] == [None]


# -- the command line ----------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["option", "environment"])
def test_commands_take_the_address_and_remember_it(how, tmp_path, memory, monkeypatch, run):
    picture = tmp_path / "red boats.png"
    Image.effect_noise((80, 60), 40).convert("RGB").save(picture)
    index = ("--index", tmp_path / "index")
    options = ["--pictures", URL] if how == "option" else []
    if how == "environment":
        monkeypatch.setenv("METAEMBED_PICTURES", URL)
    run("index", picture, *index, "--model", "mini", "--no-ocr", "--quiet", *options)
    monkeypatch.delenv("METAEMBED_PICTURES", raising=False)
    hit = json.loads(run("search", "red boats", *index, "--json")[0])["hits"][0]
    assert Path(hit["image"]).is_file()
    assert json.loads(run("info", *index, "--json")[0])["pictures"] == URL
    run("delete", "--all", *index)
    assert not [path for path in memory.find("/") if path.endswith(".webp")]


def test_a_command_indexes_a_folder_of_a_store(tmp_path, memory, run):
    memory.pipe_file("/bucket/docs/a.txt", b"red apples")
    out, _ = run(
        "index", "memory://bucket/docs/", "--index", tmp_path / "index", "--model", "mini", "--json"
    )
    assert json.loads(out)["acknowledged"] == ["memory://bucket/docs/a.txt#1"]


def test_an_address_that_cannot_be_used_is_one_sentence(tmp_path, run):
    _, err = run(
        *("index", tmp_path, "--index", tmp_path / "i", "--model", "mini"),
        *("--pictures", "s3://me:hunter2@bucket/x"),
        code=1,
    )
    assert "credentials into the environment" in err
    assert "hunter2" not in err


def test_a_server_is_asked_with_its_own_store(monkeypatch, run):
    _, err = run("search", "x", "--server", "http://127.0.0.1:9", "--pictures", URL, code=2)
    assert "--pictures does not go with --server" in err
    monkeypatch.setenv("METAEMBED_PICTURES", URL)
    _, err = run("search", "x", "--server", "http://127.0.0.1:9", code=1)
    assert "--pictures" not in err
