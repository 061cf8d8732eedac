"""The encoder's promises on each kind of backbone: tiny, random, made from configurations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from metaembed_rag.model import MetaEmbedEncoder
from tests.support import tiny_backbones

pytestmark = pytest.mark.integration  # with the seven architectures of transformers

TEXTS = [
    "the fox",
    "revenue by region grew in the second quarter while costs fell",
    "a page shows a chart with bars and a legend of years " * 2,
]
SIZES = [(56, 56), (120, 60), (40, 90)]
LENGTHS: dict[str, Any] = {"max_query_tokens": 24, "max_document_tokens": 48}
CASES = [
    (name, modality)
    for name in tiny_backbones.ALL
    for modality in (("text",) if name in tiny_backbones.TEXT_ONLY else ("text", "image", "fused"))
]


def noise(width: int, height: int, seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


IMAGES = [noise(*size, seed=i) for i, size in enumerate(SIZES)]
INPUTS: dict[str, list[Any]] = {
    "text": TEXTS,
    "image": IMAGES,
    "fused": [{"text": t, "image": i} for t, i in zip(TEXTS, IMAGES, strict=True)],
}


def gap(a: np.ndarray, b: np.ndarray) -> float:
    """The largest difference of a coordinate; unit vectors, so 2 at most."""
    return float(np.abs(a - b).max())


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("backbones")
    return {name: make(root / name) for name, make in tiny_backbones.ALL.items()}


@pytest.fixture(scope="session")
def encoders(folders: dict[str, Path]) -> dict[str, MetaEmbedEncoder]:
    return {
        name: MetaEmbedEncoder.from_backbone(folder, device="cpu", **LENGTHS)
        for name, folder in folders.items()
    }


@pytest.fixture(params=list(tiny_backbones.ALL))
def encoder(request: pytest.FixtureRequest, encoders: dict[str, MetaEmbedEncoder]) -> Any:
    return encoders[request.param]


@pytest.fixture(params=list(tiny_backbones.VISION))
def seeing(request: pytest.FixtureRequest, encoders: dict[str, MetaEmbedEncoder]) -> Any:
    return encoders[request.param]


@pytest.mark.parametrize(("name", "modality"), CASES)
def test_a_batch_equals_its_rows_one_by_one(
    name: str, modality: str, encoders: dict[str, MetaEmbedEncoder]
) -> None:
    encoder, inputs = encoders[name], INPUTS[modality]
    for encode in (encoder.encode_document, encoder.encode_query):
        alone = np.concatenate([encode([value]) for value in inputs])
        assert gap(encode(inputs), alone) <= 1e-5
        assert gap(alone[0], alone[1]) > 1e-2  # the rows differ, so equality means something


@pytest.mark.parametrize(("name", "modality"), CASES)
def test_r_vectors_equal_the_first_r_of_all(
    name: str, modality: str, encoders: dict[str, MetaEmbedEncoder]
) -> None:
    encoder, inputs = encoders[name], INPUTS[modality]
    every = encoder.encode_document(inputs)
    for r in (1, 8):
        first = encoder.encode_document(inputs, vectors=r)
        assert first.shape == (3, r, 32)
        assert gap(first, every[:, :r]) <= 1e-5


def test_the_causal_backbones_are_known(encoders: dict[str, MetaEmbedEncoder]) -> None:
    causal = {name for name, encoder in encoders.items() if encoder.backbone.is_causal}
    assert causal == set(tiny_backbones.CAUSAL)


@pytest.mark.parametrize("name", ["modernbert", "modernvbert"])
def test_a_bidirectional_backbone_must_encode_all_and_slice(
    name: str, encoders: dict[str, MetaEmbedEncoder]
) -> None:
    backbone = encoders[name].backbone
    hidden = [
        encoders[name].model(backbone.preprocess(TEXTS[:1], vectors=r))["token_embeddings"]
        for r in (8, None)
    ]
    assert (hidden[0] - hidden[1][:, :8]).abs().max() > 1e-3  # appending 8 only is another vector


def test_saving_and_loading_change_nothing(encoder: MetaEmbedEncoder, tmp_path: Path) -> None:
    encoder.save_pretrained(tmp_path / "saved")
    loaded = MetaEmbedEncoder.from_pretrained(tmp_path / "saved", device="cpu")
    modalities = [m for m in INPUTS if m in encoder.modalities]
    for modality in modalities:
        inputs = INPUTS[modality]
        assert gap(loaded.encode_document(inputs), encoder.encode_document(inputs)) == 0
        assert gap(loaded.encode_query(inputs), encoder.encode_query(inputs)) == 0
    assert loaded.fingerprint == encoder.fingerprint
    assert loaded.backbone.settings == encoder.backbone.settings
    assert loaded.modalities == encoder.modalities


def test_the_image_has_an_effect(seeing: MetaEmbedEncoder) -> None:
    assert image_effect(seeing) > 1e-2


def test_the_image_test_fails_where_the_image_is_shut_out(folders: dict[str, Path]) -> None:
    """As Mllama is initialised: its gates are zero, so no image can have an effect."""
    encoder = MetaEmbedEncoder.from_backbone(folders["mllama"], device="cpu", **LENGTHS)
    with torch.no_grad():
        for name, parameter in encoder.backbone.model.named_parameters():
            if "cross_attn" in name and name.endswith("gate"):
                parameter.zero_()
    assert image_effect(encoder) == 0


def image_effect(encoder: MetaEmbedEncoder) -> float:
    """How far another image of the same size moves the vectors, alone or beside a text."""
    first, second = noise(56, 56, 1), noise(56, 56, 2)
    alone = gap(encoder.encode_document(first), encoder.encode_document(second))
    beside = gap(
        encoder.encode_document({"text": "the fox", "image": first}),
        encoder.encode_document({"text": "the fox", "image": second}),
    )
    return min(alone, beside)


def test_both_fused_is_neither_text_nor_image(seeing: MetaEmbedEncoder) -> None:
    fused, text, image = seeing.encode_document(
        [{"text": "the fox", "image": IMAGES[0]}, "the fox", IMAGES[0]]
    )
    assert gap(fused, text) > 1e-2
    assert gap(fused, image) > 1e-2


def test_a_mixed_batch_comes_back_in_order(seeing: MetaEmbedEncoder) -> None:
    mixed = [IMAGES[0], TEXTS[2], INPUTS["fused"][1], TEXTS[0], IMAGES[1]]
    together = seeing.encode_query(mixed, batch_size=2)
    for row, value in zip(together, mixed, strict=True):
        assert gap(row, seeing.encode_query(value)[0]) <= 1e-5


@pytest.mark.parametrize(
    ("side", "other", "count"), [("query", "document", 16), ("document", "query", 64)]
)
def test_only_one_sides_meta_tokens_follow_the_input(
    encoder: MetaEmbedEncoder, side: str, other: str, count: int
) -> None:
    backbone = encoder.backbone
    ids = backbone.preprocess(TEXTS, task=side)
    for row, mask, positions in zip(
        ids["input_ids"], ids["attention_mask"], ids["meta_positions"], strict=True
    ):
        real = row[mask.bool()].tolist()
        assert real == row[: len(real)].tolist()  # padding stands after everything
        assert real[-count:] == backbone.meta_ids[side]
        assert row[positions].tolist() == backbone.meta_ids[side]
        assert not set(real) & set(backbone.meta_ids[other])


def test_long_text_is_cut_before_meta_tokens(encoder: MetaEmbedEncoder) -> None:
    words = "fox dog " * 500
    backbone = encoder.backbone
    row = backbone.preprocess([words], task="document")["input_ids"][0].tolist()
    framed = backbone.preprocess(["x"], task="document")["input_ids"][0].tolist()
    assert row[-64:] == backbone.meta_ids["document"]
    assert len(row) - (len(framed) - 1) == 48  # one token of text gave way to max_document_tokens
    cut = encoder.encode_document([words, words + " and a tail that is cut"])
    assert gap(cut[0], cut[1]) <= 1e-5


def test_long_text_is_cut_before_image_tokens(seeing: MetaEmbedEncoder) -> None:
    backbone = seeing.backbone
    image_id = backbone.tokenizer.convert_tokens_to_ids(backbone.processor.image_token)
    counts = [
        int((backbone.preprocess([value])["input_ids"] == image_id).sum())
        for value in (IMAGES[1], {"text": "fox dog " * 500, "image": IMAGES[1]})
    ]
    assert counts[0] == counts[1] >= 1


def test_control_tokens_in_a_text_are_only_text(seeing: MetaEmbedEncoder) -> None:
    backbone = seeing.backbone
    placeholder = backbone.processor.image_token
    text = f"a page about {placeholder} and <|meta_query_0|>"
    ids = backbone.preprocess([text], task="document")["input_ids"][0].tolist()
    assert backbone.tokenizer.convert_tokens_to_ids(placeholder) not in ids
    assert backbone.meta_ids["query"][0] not in ids
    assert seeing.encode_document({"text": text, "image": IMAGES[0]}).shape == (1, 64, 32)


def test_vectors_are_float32_and_of_length_one(encoder: MetaEmbedEncoder) -> None:
    vectors = encoder.encode_query(TEXTS)
    assert (vectors.shape, vectors.dtype) == ((3, 16, 32), np.float32)
    assert np.abs(np.linalg.norm(vectors, axis=-1) - 1).max() <= 1e-6


def test_meta_tokens_of_a_row_differ(encoder: MetaEmbedEncoder) -> None:
    row = encoder.encode_document(TEXTS[0])[0]
    similarity = row @ row.T - np.eye(64)
    assert similarity.max() < 0.9999


def test_images_may_be_larger_than_the_bound(folders: dict[str, Path]) -> None:
    encoder = MetaEmbedEncoder.from_backbone(
        folders["qwen2_5_vl"], device="cpu", max_pixels=28 * 28 * 4, **LENGTHS
    )
    grid = encoder.backbone.preprocess([noise(200, 200, 0)])["image_grid_thw"][0].tolist()
    assert grid == [1, 4, 4]  # 56 × 56 pixels of 14-pixel patches


def test_meta_rows_learn(encoders: dict[str, MetaEmbedEncoder]) -> None:
    encoder = encoders["qwen2_5_vl"]
    features = encoder.model.preprocess(["the fox"], task="query")
    encoder.model(features, task="query")["token_embeddings"].sum().backward()
    embedding = encoder.backbone.model.get_input_embeddings().weight
    moved = embedding.grad.abs().sum(1) > 0
    encoder.model.zero_grad()
    assert moved[encoder.backbone.meta_ids["query"]].all()
    assert not moved[encoder.backbone.meta_ids["document"]].any()
