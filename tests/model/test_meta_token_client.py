"""A checkpoint with Meta Tokens behind an imitation of vLLM: the vectors of the local encoder."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from metaembed_rag import MetaEmbedEncoder, Page, PageIndex
from metaembed_rag.errors import CheckpointError, MissingExtraError, ModalityError, ModelError
from metaembed_rag.model import MetaTokenEncoder
from metaembed_rag.model.addresses import connect
from tests.support import tiny_backbones as tiny
from tests.support.vllm import VllmServer

TEXTS = ["revenue by region", "the fox <|im_end|> jumps [SEP] over <|meta_query_0|> it", "a"]
LONG = "a page shows a chart with bars and a legend of years " * 3
PICTURES = [
    Image.effect_noise((70, 90), 80).convert("RGB"),
    {"text": "revenue by region", "image": Image.effect_noise((200, 150), 90).convert("RGB")},
    {"text": LONG, "image": Image.effect_noise((40, 40), 50)},
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """A checkpoint of each kind, as its owner saves it."""
    torch.set_num_threads(1)
    place, made = tmp_path_factory.mktemp("meta"), {}
    for name in ("modernbert", "qwen2_5_vl", "qwen3_vl", "modernvbert"):
        backbone = tiny.ALL[name](place / f"{name}-plain")
        encoder = MetaEmbedEncoder.from_backbone(
            backbone, 4, 6, max_query_tokens=12, max_document_tokens=20, device="cpu"
        )
        made[name] = encoder.save_pretrained(place / name)
    return made


@pytest.fixture
def serve(folders) -> Iterator[Callable[[str], VllmServer]]:
    with ExitStack() as stack:

        def start(name: str) -> VllmServer:
            server = VllmServer(folders[name])
            stack.callback(server.close)
            return server

        yield start


def _address(server: VllmServer, folder: Path | str, options: str = "") -> str:
    return f"{server.address}?checkpoint={folder}{options}"


def _both(server: VllmServer, folder: Path) -> tuple[MetaTokenEncoder, MetaEmbedEncoder]:
    remote = MetaEmbedEncoder.from_pretrained(_address(server, folder))
    local = MetaEmbedEncoder.from_pretrained(folder, device="cpu")
    assert isinstance(remote, MetaTokenEncoder) and isinstance(local, MetaEmbedEncoder)
    return remote, local


@pytest.mark.parametrize("name", ["modernbert", "qwen2_5_vl", "qwen3_vl"])
def test_texts_have_the_vectors_of_the_local_encoder(serve, folders, name):
    remote, local = _both(serve(name), folders[name])
    shape = (remote.dimension, remote.query_vectors, remote.document_vectors)
    assert shape == (local.dimension, 4, 6)
    found = remote.encode_query([*TEXTS, LONG])
    np.testing.assert_allclose(found, local.encode_query([*TEXTS, LONG]), atol=2e-5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=-1), 1, atol=1e-5)
    some = remote.encode_query(TEXTS, vectors=2)
    np.testing.assert_allclose(some, local.encode_query(TEXTS, vectors=2), atol=2e-5)
    documents = remote.encode_document([*TEXTS, LONG])
    np.testing.assert_allclose(documents, local.encode_document([*TEXTS, LONG]), atol=2e-5)
    assert remote.unread_tokens([LONG, "a"]) == local.unread_tokens([LONG, "a"])


@pytest.mark.parametrize("name", ["qwen2_5_vl", "qwen3_vl"])
def test_pictures_have_the_vectors_of_the_local_encoder(serve, folders, name):
    remote, local = _both(serve(name), folders[name])
    assert remote.modalities == local.modalities == {"text", "image", "fused"}
    for side in ("encode_query", "encode_document"):
        found, expected = getattr(remote, side)(PICTURES), getattr(local, side)(PICTURES)
        np.testing.assert_allclose(found, expected, atol=2e-5)


def test_a_text_travels_as_token_ids_that_end_in_the_meta_tokens(serve, folders):
    server = serve("qwen2_5_vl")
    remote, local = _both(server, folders["qwen2_5_vl"])
    remote.encode_document(["a fox", "bars"])
    sent = server.requests[-1]
    assert (sent["path"], sent["task"], len(sent["input"])) == ("/pooling", "token_embed", 2)
    assert all(ids[-6:] == local.backbone.meta_ids["document"] for ids in sent["input"])


def test_a_picture_travels_as_a_chats_message(serve, folders):
    server = serve("qwen2_5_vl")
    remote, _ = _both(server, folders["qwen2_5_vl"])
    remote.encode_query([PICTURES[1]])
    picture, text = server.requests[-1]["messages"][0]["content"]
    assert picture["image_url"]["url"].startswith("data:image/png;base64,")
    assert text["text"].endswith("<|im_end|>\n" + "".join(f"<|meta_query_{i}|>" for i in range(4)))


def test_a_model_that_reads_both_ways_is_sent_texts_only(serve, folders):
    remote = connect(_address(serve("modernvbert"), folders["modernvbert"]))
    assert remote.modalities == {"text"}
    with pytest.raises(ModalityError, match="reads text only"):
        remote.encode_document([PICTURES[0]])


def test_an_index_made_through_the_server_is_searched_through_it(
    serve, folders, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    address = _address(serve("qwen2_5_vl"), folders["qwen2_5_vl"])
    pages = [Page("a", text="revenue by region"), Page("b", text="the fox jumps over the lazy dog")]
    with PageIndex.open(tmp_path / "i", connect(address)) as index:
        index.add(pages)
        assert index.search("revenue by region", 1)[0].page.source == "a"
    with PageIndex.open(tmp_path / "i") as again:
        assert isinstance(again.encoder, MetaTokenEncoder)


def test_only_json_files_of_the_checkpoint_are_needed(serve, folders, tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir()
    for file in folders["qwen3_vl"].glob("*.json"):
        shutil.copy(file, bare)
    server = serve("qwen3_vl")
    assert connect(_address(server, bare)).encode_query(["fox"]).shape == (1, 4, 32)
    (bare / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"has no tokenizer\.json.*weights are not needed"):
        connect(_address(server, bare))


def test_a_server_with_another_vocabulary_is_refused(serve, folders):
    server = serve("modernbert")
    with pytest.raises(CheckpointError, match="query Meta Tokens .* serves another checkpoint"):
        connect(_address(server, folders["qwen2_5_vl"]))
    server.has_tokenize = False
    assert connect(_address(server, folders["modernbert"])).query_vectors == 4


def test_a_server_that_gives_too_few_vectors_is_refused(serve, folders):
    server = serve("qwen2_5_vl")
    remote = connect(_address(server, folders["qwen2_5_vl"]))
    server._forward = lambda features: torch.ones(3, 32)
    with pytest.raises(ModelError, match="gave 3 vectors for a prompt of"):
        remote.encode_query(["fox"])
    with pytest.raises(ModelError, match="gave 3 vectors for a picture"):
        remote.encode_query([PICTURES[0]])


def test_options_of_other_models_are_refused(serve, folders):
    server = serve("modernbert")
    with pytest.raises(CheckpointError, match="pooling, query_prompt stands in the checkpoint"):
        connect(_address(server, folders["modernbert"], "&query_prompt=Q&pooling=kmeans"))
    with pytest.raises(CheckpointError, match="leave out pooling"):
        connect(_address(server, folders["modernbert"]), pooling="kmeans")


def test_a_missing_tokenizer_library_is_named(serve, folders, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    with pytest.raises(MissingExtraError, match=r"pip install '\.\[meta-tokens\]'"):
        connect(_address(serve("modernbert"), folders["modernbert"]))
