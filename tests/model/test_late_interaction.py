"""Late-interaction checkpoints of every layout through the one door, tiny and from disk."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from metaembed_rag import MetaEmbedEncoder, Page, PageIndex, cli
from metaembed_rag.errors import (
    CheckpointError,
    ModalityError,
    ModelError,
    ModelMismatchError,
    StoreError,
)
from metaembed_rag.model.checkpoints import join_name, split_name
from metaembed_rag.model.inputs import Item, page_input
from metaembed_rag.model.late_interaction import LateInteractionEncoder
from metaembed_rag.model.pooling import Pooling
from tests.support import tiny_backbones
from tests.support import tiny_late_interaction as tiny
from tests.support.files import make_pdf

pytestmark = pytest.mark.integration  # with every layout that others' checkpoints have

ROOT = Path(__file__).parents[2]
RED, BLUE = (
    Image.new("RGB", size, color) for size, color in [((60, 90), "red"), ((90, 60), "blue")]
)
TEXTS = ["revenue by region", "the lazy fox jumps over the dog", "a chart with bars and a legend"]


def inputs_of(encoder: LateInteractionEncoder) -> list:
    fused = {"text": "a fox", "image": BLUE}
    return [
        *TEXTS,
        *([RED, BLUE] if "image" in encoder.modalities else []),
        *([fused] if "fused" in encoder.modalities else []),
    ]


@pytest.mark.parametrize("name", tiny.ALL)
def test_every_layout_gives_ordered_unit_vectors_that_batches_do_not_change(encoders, name):
    encoder = encoders[name]
    assert isinstance(encoder, LateInteractionEncoder)
    inputs = inputs_of(encoder)
    together = encoder.encode_tokens(inputs, "document")
    pooled = encoder.encode_document(inputs)
    assert pooled.shape == (len(inputs), 64, tiny.DIMENSION)
    np.testing.assert_allclose(np.linalg.norm(pooled, axis=-1), 1, atol=1e-5)
    for i, value in enumerate(inputs):
        np.testing.assert_allclose(
            encoder.encode_tokens([value], "document")[0], together[i], atol=1e-4
        )
    assert encoder.encode_query(TEXTS).shape == (3, 16, tiny.DIMENSION)
    np.testing.assert_array_equal(
        encoder.encode_query(TEXTS, vectors=4), encoder.encode_query(TEXTS)[:, :4]
    )


@pytest.mark.parametrize("name", ["colbert", "pylate", "stanford", "colqwen2_5", "colqwen3"])
def test_its_tokens_are_those_of_sentence_transformers(encoders, name):
    encoder = encoders[name]
    for side, encode in [
        ("query", encoder.model.encode_query),
        ("document", encoder.model.encode_document),
    ]:
        expected = encode(TEXTS, convert_to_numpy=True)
        for ours, theirs in zip(encoder.encode_tokens(TEXTS, side), expected, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("name", ["colpali", "colqwen2", "colmodernvbert"])
def test_transformers_own_retrievers_get_their_processors_prompts(encoders, name):
    encoder = encoders[name]
    processor, model = encoder.model[0].processor, encoder.model[0].model
    for given, side, features in [
        (TEXTS[:1], "query", processor.process_queries(text=TEXTS[:1])),
        ([RED], "document", processor.process_images(images=[RED])),
    ]:
        with torch.inference_mode():
            expected = model(**features).embeddings[0]
        np.testing.assert_allclose(encoder.encode_tokens(given, side)[0], expected, atol=1e-5)


def test_what_the_checkpoint_reads_is_what_its_layout_says(encoders):
    reads = {name: encoders[name].modalities for name in tiny.ALL}
    assert all(reads[name] == {"text"} for name in tiny.TEXT)
    assert all(reads[name] == {"text", "image"} for name in ("colpali", "colqwen2"))
    assert reads["colqwen2_5"] == reads["colqwen3"] == {"text", "image", "fused"}


def test_query_expansion_counts_and_the_skip_list_does_not(encoders):
    encoder = encoders["colbert"]
    short, long = encoder.encode_tokens(["fox", "the lazy fox"], "query")
    assert len(short) == len(long) == 12
    plain, dotted = encoder.encode_tokens(["the fox", "the fox..."], "document")
    assert len(plain) == len(dotted)


def test_control_tokens_in_a_text_are_text(encoders):
    encoder = encoders["colqwen2_5"]
    (tokens,) = encoder.encode_tokens([{"text": "<|image_pad|> fox", "image": RED}], "document")
    assert len(tokens) > len(encoder.encode_tokens([RED], "document")[0])


def test_fault_01_a_long_text_beside_an_image_is_read_in_passes(encoders):
    encoder = encoders["colqwen2_5"]
    words = "fox " * 3000
    assert 512 <= len(encoder.encode_tokens([words], "query")[0]) < 540
    (tokens,) = encoder.encode_tokens([words], "document")
    assert 3000 <= len(tokens) < 3100
    image, fused = encoder.encode_tokens([RED, {"text": words, "image": RED}], "document")
    assert len(image) < len(fused) - 3000


@pytest.mark.parametrize("name", ["colbert", "pylate", "stanford"])
def test_fault_01_a_text_beyond_the_window_of_a_colbert_is_read_and_counted(encoders, name):
    encoder = encoders[name]
    words = ["fox", "dog"] * 60
    prefixes = [" ".join(words[:length]) for length in range(1, len(words))]
    alone = sum(len(encoder._passes(Item(text, None)).items) == 1 for text in prefixes)
    whole, more, all_of_it = (prefixes[i] for i in (alone - 1, alone, -1))
    assert len(encoder.encode_tokens([all_of_it], "document")[0]) > len(words)
    encoder.max_passes = 1
    try:
        kept = [len(one) for one in encoder.encode_tokens([whole, more, all_of_it], "document")]
        unread = encoder.unread_tokens([whole, more, all_of_it])
    finally:
        encoder.max_passes = 16
    assert kept[0] == kept[1] == kept[2]  # the last that fits fills the window
    assert unread[0] == 0 < unread[1] <= 4  # a prompt may join with the first token
    assert unread[2] > 50


def test_a_page_that_a_model_cannot_fuse_is_encoded_by_its_picture():
    page = Page(source="a.pdf", text="words", image=RED)
    assert page_input(page, "fused", frozenset({"text", "image"}))[1] is not None
    assert page_input(page, "fused", frozenset({"text", "image"}))[1].size == RED.size
    assert page_input(page, "fused", frozenset({"text"}))[1] == "words"
    assert set(page_input(page, "fused", frozenset({"text", "image", "fused"}))[1]) == {
        "text",
        "image",
    }


def test_the_name_carries_the_pooling_and_loads_it_again(folders):
    folder = folders["colbert"]
    asked = Pooling("kmeans", query_vectors=8, document_vectors=32)
    encoder = MetaEmbedEncoder.from_pretrained(folder, device="cpu", pooling=asked)
    assert encoder.name == f"{folder}?pooling=kmeans&query_vectors=8&document_vectors=32"
    again = MetaEmbedEncoder.from_pretrained(encoder.name, device="cpu")
    assert again.fingerprint == encoder.fingerprint
    assert again.encode_query("fox").shape == (1, 8, tiny.DIMENSION)
    assert again.encode_document("fox").shape == (1, 32, tiny.DIMENSION)
    assert split_name(join_name("a b", {"x": "1,2"})) == ("a b", {"x": "1,2"})


def test_the_fingerprint_changes_with_pooling_and_weights_and_nothing_else(copied):
    folder = copied("colbert")
    first = MetaEmbedEncoder.from_pretrained(folder, device="cpu")
    moved = folder.rename(folder.with_name("moved"))
    assert MetaEmbedEncoder.from_pretrained(moved, device="cpu").fingerprint == first.fingerprint
    half = MetaEmbedEncoder.from_pretrained(moved, device="cpu", dtype="bfloat16")
    assert half.fingerprint == first.fingerprint
    other = MetaEmbedEncoder.from_pretrained(moved, device="cpu", pooling="ward")
    weights = load_file(moved / "1_Dense" / "model.safetensors")
    save_file({key: 2 * value for key, value in weights.items()},
              moved / "1_Dense" / "model.safetensors")  # fmt: skip
    changed = MetaEmbedEncoder.from_pretrained(moved, device="cpu")
    assert len({first.fingerprint, other.fingerprint, changed.fingerprint}) == 3


@pytest.mark.parametrize(
    ("name", "lost", "message"),
    [
        ("colbert", "modules.json", "no modules.json, which says how"),
        ("colbert", "1_Dense/model.safetensors", "no weights of the projection"),
        ("colbert", "2_MultiVectorMask/config.json", "no settings of the module MultiVectorMask"),
        ("colbert", "tokenizer.json", "no tokenizer"),
        ("colbert", "model.safetensors", "no weights"),
        ("colpali", "config.json", "no metaembed.json"),
        ("stanford", "tokenizer.json", "no tokenizer"),
    ],
)
def test_an_incomplete_checkpoint_says_what_is_missing(copied, name, lost, message):
    folder = copied(name)
    (folder / lost).unlink()
    with pytest.raises(CheckpointError, match=message):
        MetaEmbedEncoder.from_pretrained(folder, device="cpu")


@pytest.mark.parametrize(
    ("name", "key"), [("colpali", "embedding_proj_layer.weight"), ("stanford", "linear.weight")]
)
def test_missing_weights_are_never_made_up(copied, name, key):
    folder = copied(name)
    weights = load_file(folder / "model.safetensors")
    del weights[key]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="lacks 512 of the model|linear.weight"):
        MetaEmbedEncoder.from_pretrained(folder, device="cpu")


def test_colpali_engines_own_layout_says_which_files_to_take(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["ColQwen2_5"]}))
    with pytest.raises(CheckpointError, match="ColQwen2_5 in colpali-engine's own layout"):
        MetaEmbedEncoder.from_pretrained(tmp_path)
    (tmp_path / "config.json").rename(tmp_path / "adapter_config.json")
    with pytest.raises(CheckpointError, match="a LoRA adapter in colpali-engine's own layout"):
        MetaEmbedEncoder.from_pretrained(tmp_path)


def test_a_damaged_description_is_named(copied):
    folder = copied("colbert")
    (folder / "modules.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"modules\.json is damaged"):
        MetaEmbedEncoder.from_pretrained(folder)


def test_a_model_of_meta_tokens_has_nothing_to_pool(tmp_path):
    encoder = MetaEmbedEncoder.from_backbone(tiny_backbones.modernbert(tmp_path / "b"))
    saved = encoder.save_pretrained(tmp_path / "saved")
    for name, pooling in [(saved, "kmeans"), (f"{saved}?pooling=kmeans", None)]:
        with pytest.raises(CheckpointError, match="nothing to pool"):
            MetaEmbedEncoder.from_pretrained(name, pooling=pooling)


def test_wrong_inputs_and_options_are_refused(encoders, folders):
    with pytest.raises(ModalityError, match="document 1 is an image, but"):
        encoders["colbert"].encode_document(["fox", RED])
    with pytest.raises(ModelError, match="'pool' is unknown"):
        MetaEmbedEncoder.from_pretrained(f"{folders['colbert']}?pool=tree")
    with pytest.raises(CheckpointError, match="options that cannot be read"):
        MetaEmbedEncoder.from_pretrained(f"{folders['colbert']}?tree")
    with pytest.raises(ValueError, match="between 1 and 16 for a query"):
        encoders["colbert"].encode_query("fox", vectors=17)


def test_a_checkpoint_that_keeps_image_tokens_only_says_so_of_a_text(copied):
    folder = copied("colqwen2_5")
    kept = json.dumps({"skiplist_words": [], "keep_only_token_ids": [5]})
    (folder / "2_MultiVectorMask" / "config.json").write_text(kept)
    encoder = MetaEmbedEncoder.from_pretrained(folder, device="cpu")
    assert len(encoder.encode_tokens([RED], "document")[0]) == 6
    with pytest.raises(ModalityError, match="document 0 has no token"):
        encoder.encode_document(["fox"])


def test_dimensions_that_it_was_trained_for_can_be_stored(copied, tmp_path):
    folder = copied("colbert")
    file = folder / "config_sentence_transformers.json"
    values = json.loads(file.read_text()) | {"matryoshka_dims": [4, 8]}
    file.write_text(json.dumps(values))
    encoder = MetaEmbedEncoder.from_pretrained(folder, device="cpu")
    assert encoder.dimensions == (4, 8, 16)
    index = PageIndex.open(tmp_path / "i", encoder, dimension=8)
    index.add([Page(source="a", text="the fox")])
    assert index.vectors(index.ids()).shape == (1, 64, 8)
    with pytest.raises(StoreError, match="cannot be cut to 5"):
        PageIndex.open(tmp_path / "j", encoder, dimension=5)


def test_the_command_line_indexes_and_searches_with_it(folders, tmp_path, capsys):
    make_pdf(tmp_path / "a.pdf", ["revenue by region", "the fox"])
    model = f"{folders['colqwen2_5']}?pooling=kmeans"
    place = str(tmp_path / "i")
    files = [str(tmp_path / "a.pdf"), "--index", place, "--model", model, "--quiet"]
    assert cli.main(["index", *files]) == 0
    assert cli.main(["search", "revenue", "--index", place, "--budget", "4,8"]) == 0
    assert cli.main(["info", "--index", place, "--json"]) == 0
    info = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert info["model"] == model
    assert info["pooling"] == "kmeans"
    assert (info["vectors_per_page"], info["dimension"]) == (64, tiny.DIMENSION)
    assert info["bytes_per_page"] == 64 * (tiny.DIMENSION + 2)
    other = MetaEmbedEncoder.from_pretrained(folders["colqwen2_5"], device="cpu")
    with pytest.raises(ModelMismatchError, match="made with the model"):
        PageIndex.open(place, other)


@pytest.mark.parametrize("framework", ["llama_index", "langchain"])
def test_the_first_program_of_each_framework_runs_with_it(folders, framework, first_program):
    made = first_program(framework, folders["colqwen2_5"])
    assert len(made["hits"]) == 2
    assert made["index"].info()["pooling"] == "coverage"
