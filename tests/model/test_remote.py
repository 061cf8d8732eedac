"""The remote encoder against a fake server that answers as vLLM does."""

from __future__ import annotations

import base64
import io
import time
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from metaembed_rag import MetaEmbedEncoder, Page, PageIndex
from metaembed_rag.cli import main
from metaembed_rag.errors import CheckpointError, ModalityError, ModelError
from metaembed_rag.model.model_server import RemoteSettings
from metaembed_rag.model.pooling import Pooling, nested_pooling
from metaembed_rag.model.remote import RemoteEncoder
from tests.support.servers import FakeServer, proxy, silence, token_vectors

SERVER = FakeServer
RED = Image.new("RGB", (8, 6), "red")


@pytest.fixture
def connect(server, pauses):
    def connect(tail: str = "", **options: Any) -> RemoteEncoder:
        return RemoteEncoder.connect(server.address + tail, sleep=pauses.append, **options)

    return connect


def test_the_one_door_answers_an_address_with_a_remote_encoder(server):
    encoder = MetaEmbedEncoder.from_pretrained(f"{server.address}#colbert")
    assert isinstance(encoder, RemoteEncoder)
    assert encoder.name == f"{server.address}#colbert"
    assert (encoder.dimension, encoder.query_vectors, encoder.document_vectors) == (8, 16, 64)


def test_vectors_are_the_servers_tokens_pooled_here(server, connect):
    server.reverse = True
    texts = ["a red fox", "blue", "one two three four"]
    found = connect().encode_document(texts)
    expected = [nested_pooling(token_vectors(text), 64) for text in texts]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert connect().encode_query("a red fox", vectors=2).shape == (1, 2, 8)


def test_texts_travel_in_batches_and_keep_their_order(server, connect):
    texts = [f"text {'x' * i}" for i in range(7)]
    encoder = connect("?batch_size=3&connections=2")
    tokens = encoder.encode_tokens(texts, "document")
    assert sorted(len(request["input"]) for request in server.requests) == [1, 3, 3]
    for text, found in zip(texts, tokens, strict=True):
        np.testing.assert_allclose(found, token_vectors(text), atol=1e-6)


def test_a_request_asks_for_token_vectors_with_the_prompt_of_its_side(server, connect):
    encoder = connect("?query_prompt=Q%20&document_prompt=D%20")
    encoder.encode_query(["fox"])
    encoder.encode_document(["fox"])
    asked, held = server.requests
    assert (asked["input"], held["input"]) == (["Q fox"], ["D fox"])
    assert asked["path"] == "/pooling"
    assert (asked["model"], asked["task"]) == ("colbert", "token_embed")


def test_an_image_travels_as_a_message_of_its_own(server, connect):
    encoder = connect("?modalities=text,image,fused&max_pixels=12")
    encoder.encode_document([RED, {"text": "a chart", "image": RED}])
    contents = [request["messages"][0]["content"] for request in server.requests]
    assert {content[1]["text"] for content in contents} == {"Describe the image.", "a chart"}
    data = base64.b64decode(contents[0][0]["image_url"]["url"].partition("base64,")[2])
    assert Image.open(io.BytesIO(data)).size == (4, 3)
    with pytest.raises(ModalityError, match="document 0 is an image, but colbert reads text"):
        connect().encode_document([RED])


def test_a_busy_server_is_asked_again_with_growing_pauses(server, connect, pauses):
    encoder = connect()
    server.failures = [(503, {}, "starting"), (429, {"Retry-After": "7"}, ""), (500, {}, "")]
    assert encoder.encode_query("fox").shape == (1, 16, 8)
    assert pauses == [0.5, 7.0, 2.0]


def test_after_the_last_try_the_problem_is_told(server, connect, pauses):
    encoder = connect("?tries=2")
    server.failures = [(503, {}, '{"error": {"message": "model is loading"}}')] * 2
    with pytest.raises(ModelError, match=r"no answer in 2 tries \(503 model is loading\)"):
        encoder.encode_query("fox")
    assert pauses == [0.5]


def test_a_server_that_is_not_there_is_named(server):
    server.close()
    with pytest.raises(ModelError, match=rf"{server.address} gave no answer.*check that"):
        RemoteEncoder.connect(f"{server.address}?tries=1")


def test_a_request_that_takes_too_long_is_given_up(pauses):
    def slow(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("too slow", request=request)

    client = httpx.Client(transport=httpx.MockTransport(slow))
    with pytest.raises(ModelError, match="ReadTimeout: too slow.*timeout="):
        RemoteEncoder.connect("http://far?tries=3", client=client, sleep=pauses.append)
    assert pauses == [0.5, 1.0]


@pytest.mark.parametrize(
    ("status", "message"),
    [(400, r"refuses: 400 too long$"), (401, "METAEMBED_API_KEY"), (404, "--runner pooling")],
)
def test_a_refusal_is_told_at_once_in_the_servers_words(server, connect, pauses, status, message):
    encoder = connect()
    server.failures = [(status, {}, '{"error": {"message": "too long"}}')]
    with pytest.raises(ModelError, match=message):
        encoder.encode_query("fox")
    assert pauses == []


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"data": []}, "another number of inputs than the 1 sent"),
        ({"data": [{"data": [0.1, 0.2]}]}, "no vector for each token"),
        ({"data": [{"embedding": [0.1]}]}, "no vector for each token"),
        ({"data": [{"data": [[1.0], [1.0, 2.0]]}]}, "no vector for each token"),
        ({"data": [{"data": [[None, 1.0]]}]}, "not finite"),
    ],
)
def test_an_answer_that_holds_no_token_vectors_is_refused(server, connect, answer, message):
    encoder = connect()
    server.answer = answer
    with pytest.raises(ModelError, match=message):
        encoder.encode_query("fox")


def test_the_model_must_be_on_the_server(server, connect):
    server.models.append({"id": "colpali", "root": "colpali"})
    with pytest.raises(CheckpointError, match="serves colbert, colpali, not just one model"):
        connect()
    with pytest.raises(CheckpointError, match="not colqwen; name one"):
        connect("#colqwen")
    assert connect("#colpali").model == "colpali"


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("http://", "no address of a model"),
        ("http://me:secret@host", "METAEMBED_API_KEY"),
        ("http://host?tries", "options that cannot be read"),
        ("http://host?tries=many", "tries must be a number"),
        ("http://host?tries=0", "tries must be more than 0"),
        ("http://host?modalities=image", "always with text"),
    ],
)
def test_an_address_that_makes_no_sense_is_refused_without_its_secrets(address, message):
    with pytest.raises(CheckpointError, match=message) as caught:
        RemoteEncoder.connect(address)
    assert "secret" not in str(caught.value)


def test_an_unknown_option_is_refused(server):
    with pytest.raises(ModelError, match="'retries' is unknown"):
        RemoteEncoder.connect(f"{server.address}?retries=3")


def test_the_key_of_the_environment_is_sent_and_never_written_down(server, connect, monkeypatch):
    monkeypatch.setenv("METAEMBED_API_KEY", "secret")
    encoder = connect()
    encoder.encode_query("fox")
    assert server.keys == ["Bearer secret"]
    assert "secret" not in encoder.name + repr(encoder)


def test_the_name_with_all_options_connects_again(connect, server, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    encoder = connect("#colbert?pooling=kmeans&query_prompt=Q%20&document_vectors=4")
    index = PageIndex.open(tmp_path / "i", encoder)
    index.add([Page(source="a", text="a red fox"), Page(source="b", text="blue whales swim")])
    assert index.search("red fox", budget="2,4")[0].page.source == "a"
    again = PageIndex.open(tmp_path / "i")
    assert again.search("red fox")[0].page.source == "a"
    assert again.info()["pooling"] == "kmeans"
    assert again.info()["model"] == encoder.name
    assert RemoteEncoder.connect(encoder.name).fingerprint == encoder.fingerprint


def test_the_fingerprint_tells_models_prompts_and_pooling_apart(server, connect):
    prints = {connect().fingerprint, connect("?query_prompt=Q").fingerprint}
    prints.add(connect(pooling=Pooling("kmeans")).fingerprint)
    server.models = [{"id": "colbert", "root": "/models/other"}]
    prints.add(connect().fingerprint)
    assert len(prints) == 4
    assert connect("?timeout=5&tries=2").fingerprint in prints


def test_settings_refuse_what_reads_no_text():
    with pytest.raises(CheckpointError, match="always with text"):
        RemoteSettings(modalities=("image",))


# -- servers that do not do what they should -----------------------------------------------------


def test_fault_15_a_silent_model_server_ends_in_time():
    with silence() as address:
        start = time.monotonic()
        with pytest.raises(ModelError, match=r"no answer in 1 try \(it keeps silent"):
            RemoteEncoder.connect(f"{address}?timeout=0.3")
        assert time.monotonic() - start < 3


def test_fault_31_the_setting_for_all_servers_is_heeded(monkeypatch):
    with silence() as address:
        monkeypatch.setenv("METAEMBED_TIMEOUT", "0.3")
        start = time.monotonic()
        with pytest.raises(ModelError, match=r"no answer in 1 try \(it keeps silent"):
            RemoteEncoder.connect(address)
        monkeypatch.setenv("METAEMBED_TIMEOUT", "300")
        with pytest.raises(ModelError, match=r"no answer in 1 try \(it keeps silent"):
            RemoteEncoder.connect(f"{address}?timeout=0.3")
        assert time.monotonic() - start < 6


def test_fault_31_the_command_lines_timeout_is_that_of_the_model_server(capsys, tmp_path):
    with silence() as address:
        start = time.monotonic()
        named = ["--model", address, "--timeout", "0.3", "--index", str(tmp_path / "i")]
        (tmp_path / "a.txt").write_text("fox")
        assert main(["index", str(tmp_path / "a.txt"), *named, "--quiet"]) == 1
        assert "it keeps silent" in capsys.readouterr().err
        assert time.monotonic() - start < 5.5


def test_fault_15_pauses_end_when_the_time_is_over(server, connect, pauses):
    encoder = connect("?timeout=20")
    server.failures = [(503, {"Retry-After": "25"}, "busy")] * 3
    with pytest.raises(ModelError, match=r"no answer in 1 try \(503 busy\)"):
        encoder.encode_query("fox")
    assert pauses == []


def test_fault_15_texts_that_are_too_large_for_one_request_go_in_halves(server, connect):
    encoder = connect()
    server.failures = [(413, {}, "too large"), (413, {}, "too large")]
    texts = ["a red fox", "blue", "one two three", "green pears", "four"]
    tokens = encoder.encode_tokens(texts, "document")
    for text, found in zip(texts, tokens, strict=True):
        np.testing.assert_allclose(found, token_vectors(text), atol=1e-6)
    assert [len(request["input"]) for request in server.requests] == [5, 2, 1, 1, 3]
    server.failures = [(413, {}, "too large")]
    with pytest.raises(ModelError, match="413 too large.*batch_size= or max_pixels="):
        encoder.encode_query("fox")


def test_fault_15_a_refused_key_is_told_from_a_missing_one(server, connect, monkeypatch):
    server.failures = [(401, {}, "no"), (401, {}, "no")]
    with pytest.raises(ModelError, match="401 no; put its key into .* METAEMBED_API_KEY"):
        connect()
    monkeypatch.setenv("METAEMBED_API_KEY", "secret")
    with pytest.raises(ModelError, match="401 no; the key in .* METAEMBED_API_KEY is not") as error:
        connect()
    assert "secret" not in str(error.value)


def test_fault_15_a_redirect_is_not_followed_but_named(server, connect, monkeypatch):
    monkeypatch.setenv("METAEMBED_API_KEY", "secret")
    server.failures = [(302, {"Location": "http://elsewhere/login"}, "")]
    with pytest.raises(ModelError, match="sends requests on to http://elsewhere/login"):
        connect()


@pytest.mark.parametrize(
    "address",
    [
        "HTTP://me:secret@host",
        "https://me:secret@host:8000#model",
        "http://me:secret@[host",
        "http://me:sec/ret@host",
        "ftp://me:secret@host",
        "http://host:many",
    ],
)
def test_fault_15_an_address_with_a_password_is_refused_without_showing_it(address):
    with pytest.raises(
        CheckpointError, match="a user or a password|no address|no checkpoint"
    ) as caught:
        MetaEmbedEncoder.from_pretrained(address)
    told = "has a user or a password" in str(caught.value)
    assert told == address.lower().startswith(("http://me", "https://me"))
    assert "secret" not in str(caught.value) and "ret@" not in str(caught.value)


def test_fault_15_tls_that_fails_is_named_and_not_tried_again(pauses):
    with proxy() as plain, pytest.raises(ModelError, match="in 1 try .*speaks no TLS"):
        address = plain.address.replace("http://", "https://")
        RemoteEncoder.connect(address, sleep=pauses.append)
    assert pauses == []


@pytest.fixture
def narrow(server):
    """A server whose model reads 4 tokens."""
    server.window = 4
    server.models[0]["max_model_len"] = 4
    return server


def test_fault_01_a_document_that_fills_the_servers_window_is_read_in_halves(narrow, connect):
    text = "one two three four five six seven eight nine ten"
    encoder = connect()
    (tokens, short) = encoder.encode_tokens([text, "a fox"], "document")
    np.testing.assert_allclose(tokens, token_vectors(text), atol=1e-6)
    assert len(short) == 2
    assert len(encoder.encode_tokens([text], "query")[0]) == 4


def test_fault_01_what_a_server_cuts_all_the_same_is_logged(narrow, connect, caplog):
    encoder = connect()
    encoder.max_passes = 2
    (tokens,) = encoder.encode_tokens(["a b c d e f g h i j k l m n o"], "document")
    assert len(tokens) == 8
    assert "document 0 is longer than colbert reads: its end is cut" in caplog.text


def test_fault_01_a_picture_stays_with_the_first_half(narrow, connect):
    narrow.window = narrow.models[0]["max_model_len"] = 5
    encoder = connect("#colbert?modalities=text,image,fused")
    (tokens,) = encoder.encode_tokens([{"text": "a b c d e f", "image": RED}], "document")
    assert [request.get("input") for request in narrow.requests] == [None, None, [" d e f"]]
    assert len(tokens) == 7
