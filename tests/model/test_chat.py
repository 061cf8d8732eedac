"""Descriptions from a server that the test starts, and from functions."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest
from PIL import Image, ImageChops

from metaembed_rag import Page
from metaembed_rag.errors import CheckpointError, MetaEmbedError, ModelError
from metaembed_rag.model import Describer
from metaembed_rag.model.chat import Descriptions
from tests.support.servers import ChatServer, chat_answer, silence

SERVER = ChatServer
KEY = "sk-test-1234567890"
Ask = Callable[..., dict[str, Any]]


def photo(colour: str, number: int = 1) -> Page:
    image = Image.new("RGB", (64, 48), colour)
    image.paste("white", (20, 20, 40, 30))
    return Page(f"{colour}.png", number=number, image=image)


@pytest.fixture
def ask(server: ChatServer, pauses: list[float]) -> Ask:
    def ask(pages: list[Page], **options: Any) -> dict[str, str | MetaEmbedError]:
        describer = replace(Describer(f"{server.address}#llava"), **options)
        asked = Descriptions(describer, sleep=pauses.append)
        try:
            return dict(asked.of(pages))
        finally:
            asked.close()

    return ask


def test_the_server_is_given_the_picture_the_prompt_and_the_models_name(
    server: ChatServer, ask: Ask
) -> None:
    page = photo("red")
    assert ask([page], prompt="What is it?") == {"red.png#1": "A red kite above a hill."}
    (request,), (picture,) = server.requests, server.pictures
    assert (request["path"], request["model"]) == ("/v1/chat/completions", "llava")
    assert (request["max_tokens"], request["temperature"]) == (500, 0.0)
    assert request["messages"][0]["role"] == "user"
    assert request["messages"][0]["content"][0] == {"type": "text", "text": "What is it?"}
    assert page.image is not None
    far = ImageChops.difference(page.image, picture.convert("RGB")).getextrema()
    assert max(high for _, high in far) < 16  # JPEG
    assert server.keys == [None]


def test_a_large_picture_is_made_smaller(server: ChatServer, ask: Ask) -> None:
    ask([photo("red")], max_side=32)
    assert server.pictures[0].size == (32, 24)


def test_the_key_of_the_environment_is_sent_and_openais_only_to_openai(
    server: ChatServer, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    ask([photo("red")])
    monkeypatch.setenv("METAEMBED_DESCRIBE_KEY", f" {KEY}\n")
    ask([photo("red")])
    assert server.keys == [None, f"Bearer {KEY}"]
    seen: list[str | None] = []

    def openai(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("authorization"))
        return httpx.Response(200, json=chat_answer("a kite"))

    monkeypatch.delenv("METAEMBED_DESCRIBE_KEY")
    asked = Descriptions(Describer("https://api.openai.com#gpt-4o-mini"))
    headers = asked._client.headers
    assert headers["authorization"] == "Bearer sk-openai"
    client = httpx.Client(transport=httpx.MockTransport(openai), headers=headers)
    asked.close()
    again = Descriptions(Describer("https://api.openai.com#gpt-4o-mini"), client=client)
    assert dict(again.of([photo("red")])) == {"red.png#1": "a kite"}
    assert seen == ["Bearer sk-openai"]
    again.close()


def test_a_key_is_in_no_message_and_no_log(
    server: ChatServer, ask: Ask, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("METAEMBED_DESCRIBE_KEY", KEY)
    server.failures = [(401, {}, f'{{"error": {{"message": "bad key {KEY}"}}}}')]
    with pytest.raises(ModelError, match=r"401 bad key …; the key in METAEMBED_DESCRIBE_KEY is"):
        ask([photo("red")])
    server.answer = chat_answer(f"your key is {KEY}")
    assert ask([photo("red")]) == {"red.png#1": "your key is …"}
    assert KEY not in caplog.text
    monkeypatch.setenv("METAEMBED_DESCRIBE_KEY", "schlüssel")
    with pytest.raises(CheckpointError, match=r"METAEMBED_DESCRIBE_KEY is no key$"):
        ask([photo("red")])


def test_a_busy_server_is_asked_again_as_it_asks(
    server: ChatServer, ask: Ask, pauses: list[float]
) -> None:
    server.failures = [(429, {"Retry-After": "7"}, ""), (500, {}, ""), (503, {}, "")]
    assert ask([photo("red")]) == {"red.png#1": "A red kite above a hill."}
    assert pauses == [7.0, 1.0, 2.0]


def test_what_one_picture_cannot_be_described_for_costs_that_one(
    server: ChatServer, ask: Ask
) -> None:
    server.refuses["green"] = (500, {}, '{"error": {"message": "out of memory"}}')
    server.refuses["blue"] = (400, {}, '{"error": {"message": "not allowed"}}')
    found = ask([photo("green"), photo("red"), photo("blue"), photo("black")], tries=2)
    assert "500 out of memory" in str(found["green.png#1"])
    assert "400 not allowed" in str(found["blue.png#1"])
    assert found["red.png#1"] == "A red kite above a hill."
    assert found["black.png#1"] == "A black kite above a hill."


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        ((401, {}, ""), r"refuses: 401; put its key in METAEMBED_DESCRIBE_KEY$"),
        ((404, {}, '{"error": {"message": "no llava"}}'), "404 no llava; check.*model 'llava'"),
        ((301, {"Location": "https://there"}, ""), "301; it sends requests on to https://there"),
        ((200, {}, "<html>welcome"), "does not answer as OpenAI's chat completions do"),
        ((200, {}, '{"choices": []}'), "does not answer as OpenAI's chat completions do"),
        ((200, {}, "[1]"), "does not answer as OpenAI's chat completions do"),
    ],
)
def test_what_fails_for_every_picture_is_raised_at_the_first_and_noted_later(
    server: ChatServer, ask: Ask, failure: tuple[int, dict[str, str], str], message: str
) -> None:
    pages = [photo("red"), photo("green")]
    server.refuses = {"red": failure}
    with pytest.raises(ModelError, match=message):
        ask(pages)
    assert len(server.requests) == 1
    found = ask(pages[::-1])
    assert found["green.png#1"] == "A green kite above a hill."
    assert isinstance(found["red.png#1"], ModelError)


def test_a_server_that_is_not_there_is_named_at_once(
    server: ChatServer, ask: Ask, pauses: list[float]
) -> None:
    server.close()
    with pytest.raises(ModelError, match=r"/v1/chat/completions gave no answer in 1 try: Could no"):
        ask([photo("red")])
    assert pauses == []


def test_a_server_that_keeps_silent_is_given_up(ask: Ask) -> None:
    with silence() as address, pytest.raises(ModelError, match="it keeps silent"):
        ask([photo("red")], model=f"{address}#llava", timeout=0.1)


def test_a_server_that_goes_away_is_tried_with_patience_a_few_times_only(
    server: ChatServer, ask: Ask, pauses: list[float]
) -> None:
    server.refuses["green"] = (503, {}, "")
    pages = [photo("red"), *(photo("green", number) for number in range(1, 21))]
    found = ask(pages, tries=3, connections=1)
    assert sum(isinstance(text, ModelError) for text in found.values()) == 20
    assert len(pauses) == 2 * 2  # of two pictures, then each once


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (" a kite \n", "a kite"),
        ("<think>\nhm\n</think>\n\na kite", "a kite"),
        ([{"type": "text", "text": "a kite"}, {"type": "other"}], "a kite"),
        ("a\0 \ud800 kite", "a ? kite"),
    ],
)
def test_an_answer_is_read_as_text_that_can_be_stored(
    server: ChatServer, ask: Ask, content: Any, expected: str
) -> None:
    server.answer = chat_answer(content)
    assert ask([photo("red")]) == {"red.png#1": expected}


@pytest.mark.parametrize("content", ["", " \n", None, "<think>hm</think>", []])
def test_an_empty_answer_is_no_description(server: ChatServer, ask: Ask, content: Any) -> None:
    server.answer = chat_answer(content)
    found = ask([photo("red")])
    assert str(found["red.png#1"]) == "llava described the picture with no word"


def test_a_refusal_is_told_in_the_models_words(server: ChatServer, ask: Ask) -> None:
    server.answer = chat_answer(None)
    server.answer["choices"][0]["message"]["refusal"] = "I would rather not"
    assert str(ask([photo("red")])["red.png#1"]) == "the model refuses: I would rather not"


def test_a_model_that_takes_other_parameters_is_asked_with_these(
    server: ChatServer, ask: Ask
) -> None:
    server.failures = [
        (400, {}, '{"error": {"param": "max_tokens"}}'),
        (400, {}, '{"error": {"param": "temperature"}}'),
    ]
    assert len(ask([photo("red"), photo("green")])) == 2
    last = server.requests[-1]
    assert (last["max_completion_tokens"], "max_tokens" in last) == (500, False)
    assert "temperature" not in last
    assert len(server.requests) == 4
    server.failures = [(400, {}, '{"error": {"param": "temperature"}}')] * 3
    assert isinstance(ask([photo("red")])["red.png#1"], ModelError)


def test_only_so_many_pictures_are_asked_about_at_a_time(server: ChatServer, ask: Ask) -> None:
    server.seconds = 0.03
    pages = [photo("red", number) for number in range(1, 10)]
    assert len(ask(pages, connections=3)) == 9
    assert server.most_at_once == 3


def test_a_function_describes_one_picture_at_a_time_and_may_fail_for_one(ask: Ask) -> None:
    def size(image: Image.Image) -> str:
        if image.getpixel((0, 0)) == (0, 0, 255):
            raise ConnectionError("no network")
        return f"{image.mode} {image.size}"

    found = ask([photo("red"), photo("blue"), photo("green")], model=size)
    assert found["red.png#1"] == found["green.png#1"] == "RGB (64, 48)"
    assert str(found["blue.png#1"]) == "ConnectionError: no network"
    with pytest.raises(ModelError, match="must give text, not None"):
        ask([photo("red")], model=lambda image: None)
    with pytest.raises(ZeroDivisionError):  # a mistake of one's own is seen
        ask([photo("red")], model=lambda image: str(1 / 0))
