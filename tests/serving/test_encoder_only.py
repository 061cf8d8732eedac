"""A server of a model without an index, and the encoder that asks it."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from metaembed_rag import MetaEmbedEncoder, Page, PageIndex
from metaembed_rag.cli import main
from metaembed_rag.errors import CheckpointError, ModalityError, ModelError, ModelMismatchError
from metaembed_rag.model import ServedEncoder
from metaembed_rag.model.addresses import connect
from metaembed_rag.model.remote import RemoteEncoder
from metaembed_rag.testing import FakeEncoder
from tests.support.servers import FakeServer
from tests.support.serving import encoding

NOISE = Image.effect_noise((60, 40), 80)
INPUTS = ["a red fox", NOISE, {"text": "a chart", "image": NOISE.convert("RGB")}, "blue"]
TOKEN = "a-token-that-is-long-enough"


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    with ExitStack() as stack:
        yield lambda *encoder, **settings: stack.enter_context(
            encoding(*(encoder or (FakeEncoder(),)), **settings)
        )


def test_vectors_fingerprint_and_shapes_are_those_of_the_encoder_there(serve):
    here = FakeEncoder(dimensions=(16, 64))
    remote = MetaEmbedEncoder.from_pretrained(serve(here))
    assert isinstance(remote, ServedEncoder)
    for name in ("fingerprint", "dimension", "dimensions", "query_vectors", "document_vectors"):
        assert getattr(remote, name) == getattr(here, name), name
    assert remote.modalities == here.modalities
    assert np.array_equal(remote.encode_query(INPUTS), here.encode_query(INPUTS))
    assert np.array_equal(remote.encode_document(INPUTS), here.encode_document(INPUTS))
    few = remote.encode_document(INPUTS, vectors=3)
    assert np.array_equal(few, here.encode_document(INPUTS, vectors=3))


def test_the_shipped_checkpoint_gives_the_same_through_its_server(serve):
    here = MetaEmbedEncoder.from_pretrained("mini", device="cpu")
    remote = connect(serve(here))
    long = "legend of the chart " * 2_000
    assert remote.fingerprint == here.fingerprint and remote.name.endswith("#mini")
    assert remote.pass_tokens == here.pass_tokens
    np.testing.assert_allclose(
        remote.encode_query(["legend"]), here.encode_query(["legend"]), atol=1e-6
    )
    remote.max_passes = here.max_passes = 2
    np.testing.assert_allclose(
        remote.encode_document([long]), here.encode_document([long]), atol=1e-5
    )
    assert remote.unread_tokens([long, "a"]) == here.unread_tokens([long, "a"])
    assert remote.unread_tokens([long])[0] > 0


def test_an_index_is_made_with_the_model_here_and_searched_through_its_server(
    serve, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with PageIndex.open(tmp_path / "i", FakeEncoder()) as index:
        index.add([Page("a", text="a red fox"), Page("b", text="blue whales swim")])
    remote = connect(serve())
    with PageIndex.open(tmp_path / "i", remote) as index:
        assert index.search("red fox", 1)[0].page.source == "a"
        index.add([Page("c", text="green pears", image=NOISE)])
        assert index.search("green pears", 1)[0].page.source == "c"


def test_the_server_of_another_checkpoint_is_refused_in_a_sentence(serve, tmp_path):
    PageIndex.open(tmp_path / "i", FakeEncoder()).close()
    with pytest.raises(ModelMismatchError, match="was made with the model 'fake'.*open it with"):
        PageIndex.open(tmp_path / "i", connect(serve(FakeEncoder(seed=1))))


def test_a_server_that_changes_its_checkpoint_is_noticed(serve):
    remote = connect(serve())
    remote.about = replace(remote.about, fingerprint=FakeEncoder(seed=1).fingerprint)
    with pytest.raises(ModelError, match="another checkpoint by now.*connect again"):
        remote.encode_query(["fox"])


def test_the_commands_index_and_search_take_the_servers_address(
    serve, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "fox.txt").write_text("a red fox")
    place = ["--index", str(tmp_path / "i"), "--model", serve()]
    assert main(["index", str(tmp_path / "fox.txt"), *place, "--quiet"]) == 0
    assert main(["search", "fox", *place, "--json"]) == 0
    assert '"fox.txt' in capsys.readouterr().out.replace(str(tmp_path) + "/", "")


def test_the_key_is_the_servers_token(serve, monkeypatch):
    address = serve(token=TOKEN)
    with pytest.raises(ModelError, match="401.*METAEMBED_API_KEY"):
        connect(address)
    monkeypatch.setenv("METAEMBED_API_KEY", TOKEN)
    assert connect(address).encode_query(["fox"]).shape == (1, 16, 64)
    assert httpx.get(f"{address}/health").json() == {"status": "ok"}


def test_requests_over_the_limit_go_in_smaller_ones(serve):
    address = serve(max_upload_bytes=1, threads=1)  # of JSON 1 MiB
    remote = connect(address)
    texts = [f"{number} " + "x" * 200_000 for number in range(9)]
    assert np.array_equal(remote.encode_document(texts), FakeEncoder().encode_document(texts))
    with pytest.raises(ModelError, match="413.*larger than 1,048,576 bytes"):
        remote.encode_document(["x" * 2_000_000])


def test_where_too_many_wait_a_client_is_told_to_come_again(serve):
    go_on, inside = threading.Event(), threading.Event()

    class Slow(FakeEncoder):
        def encode_query(self, queries: Any, **options: Any) -> Any:
            inside.set()
            go_on.wait(20)
            return super().encode_query(queries, **options)

    address, tells = serve(Slow(), threads=1, waiting=1), []
    body = {"input": "slow", "input_type": "query"}

    def ask() -> None:
        answer = httpx.post(f"{address}/pooling", json=body, timeout=20)
        if answer.status_code != 200:
            go_on.set()
        tells.append((answer.status_code, answer.headers.get("retry-after"), answer.text))

    asking = [threading.Thread(target=ask) for _ in range(3)]
    for one in asking:
        one.start()
    for one in asking:
        one.join()
    assert inside.is_set() and [told[0] for told in sorted(tells)] == [200, 200, 503]
    assert "too many requests are waiting" in sorted(tells)[-1][2] and sorted(tells)[-1][1] == "2"


def test_any_client_of_vllms_pooling_api_gets_vectors_in_order(serve):
    address, here = serve(), FakeEncoder()
    body = {"model": "fake", "task": "token_embed", "input": ["a red fox", "blue"]}
    told = httpx.post(f"{address}/pooling", json=body).json()
    assert [one["index"] for one in told["data"]] == [0, 1] and told["object"] == "list"
    found = [one["data"] for one in told["data"]]
    np.testing.assert_allclose(found, here.encode_document(["a red fox", "blue"]), atol=1e-6)
    one = httpx.post(f"{address}/pooling", json={**body, "task": "embed"}).json()["data"][0]["data"]
    np.testing.assert_allclose(one, found[0][0], atol=1e-6)
    url = "data:image/png;base64," + base64.b64encode(_png()).decode()
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "a chart"}]
    message = {"role": "user", "content": parts}
    told = httpx.post(f"{address}/pooling", json={"messages": [message]}).json()
    expected = here.encode_document([{"text": "a chart", "image": NOISE}])
    np.testing.assert_allclose([told["data"][0]["data"]], expected, atol=1e-6)


def test_openais_embeddings_are_first_vectors_as_long_as_asked(serve):
    address, here = serve(FakeEncoder(dimensions=(16, 64))), FakeEncoder()
    first = here.encode_query(["a red fox"])[0, 0]
    body = {"model": "fake", "input": "a red fox", "input_type": "query"}
    told = httpx.post(f"{address}/v1/embeddings", json=body).json()["data"]
    assert told[0]["object"] == "embedding"
    np.testing.assert_allclose(told[0]["embedding"], first, atol=1e-6)
    packed = {**body, "encoding_format": "base64", "dimensions": 16}
    told = httpx.post(f"{address}/v1/embeddings", json=packed).json()["data"]
    found = np.frombuffer(base64.b64decode(told[0]["embedding"]), "<f4")
    np.testing.assert_allclose(found, first[:16] / np.linalg.norm(first[:16]), atol=1e-6)


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        ({}, 400, "give input, or messages"),
        ({"input": "a", "messages": [{"role": "user", "content": "b"}]}, 400, "give input, or"),
        ({"input": []}, 400, "1 to 256 inputs"),
        ({"input": ["a"] * 257}, 400, "1 to 256 inputs, not 257"),
        ({"input": "a", "colour": "red"}, 400, "colour"),
        ({"input": "a", "vectors": 65}, 400, "makes 64 vectors of a document"),
        ({"input": "a", "dimensions": 9}, 400, "trained for 64, not 9"),
        ({"input": "a", "model": "other"}, 404, "has the model 'fake' only"),
        ({"input": " "}, 400, "neither text nor an image"),
        ({"input": [{"content": [{"type": "image_url", "image_url": {"url": "http://x/y"}}]}]},
         400, "this server fetches nothing"),
        ({"input": [{"content": [{"type": "image_url", "image_url": {
            "url": "data:image/png;base64,AAAA"}}]}]}, 422, "the picture: "),
        ({"input": [{"content": [{"type": "image_url", "image_url": {
            "url": "data:image/png;base64,A-"}}]}]}, 400, "is no base64"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_in_a_sentence(serve, body, status, sentence):
    told = httpx.post(f"{serve()}/pooling", json=body)
    assert (told.status_code, sentence in told.json()["error"]) == (status, True), told.text


def test_a_model_that_reads_text_only_takes_no_pictures(serve):
    remote = connect(serve(FakeEncoder(modalities=("text",))))
    with pytest.raises(ModalityError, match="reads text only"):
        remote.encode_document([NOISE])


def test_what_is_the_servers_to_choose_is_refused_in_an_address(serve):
    address = serve()
    with pytest.raises(CheckpointError, match="chooses query_prompt itself"):
        connect(f"{address}#fake?query_prompt=Q")
    with pytest.raises(CheckpointError, match="leave out pooling"):
        connect(address, pooling="kmeans")
    with pytest.raises(CheckpointError, match="no tokens to pool"):
        RemoteEncoder.connect(address)
    assert connect(f"{address}#fake?tries=2").name == f"{address}#fake?tries=2"


def test_a_server_of_another_version_is_told(monkeypatch):
    server = FakeServer()
    server.models = [{"id": "m", "metaembed": {"fingerprint": "x", "dimension": 8}}]
    with pytest.raises(ModelError, match="another version of metaembed-rag: use the same"):
        connect(server.address)
    server.close()


def test_the_command_serves_a_model_or_an_index(run, monkeypatch):
    monkeypatch.delenv("METAEMBED_INDEX", raising=False)
    assert "--encoder-only" in run("serve", code=2)[1]
    assert "serves no index" in run("serve", "--encoder-only", "--index", "i", code=2)[1]
    named = ("--model", "no-such-model", "--port", 0)
    assert "no checkpoint 'no-such-model'" in run("serve", "--encoder-only", *named, code=1)[1]


@pytest.mark.parametrize(
    "option",
    [
        ("--collection", "c"),
        ("--pictures", "s3://b/f"),
        ("--tenant", "t"),
        ("--database", "d"),
        ("--header", "a: b"),
        ("--ca-file", "f.pem"),
        ("--insecure",),
        ("--uploads", "up"),
    ],
    ids=lambda option: option[0],
)
def test_what_is_said_of_an_index_is_refused_where_a_model_is_served_alone(run, option):
    _, err = run("serve", "--encoder-only", *option, code=2)
    assert f"{option[0]} does not go with --encoder-only, which serves no index" in err


def _png() -> bytes:
    import io

    file = io.BytesIO()
    NOISE.save(file, "PNG")
    return file.getvalue()
