"""Models of one vector an input through the one door, tiny and from disk."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from metaembed_rag import MetaEmbedEncoder, Page, PageIndex, cli
from metaembed_rag.errors import CheckpointError, ModalityError, ModelError, ModelMismatchError
from metaembed_rag.evaluation import evaluate
from metaembed_rag.model import DenseEncoder
from metaembed_rag.model.dense import picture_parts
from metaembed_rag.model.pooling import Pooling, window_means
from tests.support import tiny_backbones
from tests.support import tiny_dense as tiny
from tests.support.files import make_pdf

pytestmark = pytest.mark.integration  # with every layout that others' models have

ROOT = Path(__file__).parents[2]
TEXTS = ["revenue by region", "the lazy fox jumps over the dog", "a chart with bars and a legend"]
LONG = "the fox jumps over the lazy dog while costs fell and revenue grew " * 12
PICTURE = Image.effect_noise((300, 200), 80).convert("RGB")


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def own(encoder: DenseEncoder, inputs: list, side: str) -> np.ndarray:
    """What sentence-transformers itself gives, with the prompt of the side."""
    prompt = encoder._prompt(side)
    return unit(encoder.model.encode(inputs, prompt=prompt))


# -- vectors ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", tiny.ALL)
def test_the_first_vector_of_each_side_is_the_models_own(encoders, name):
    encoder = encoders[name]
    assert isinstance(encoder, DenseEncoder)
    pages, queries = encoder.encode_document(TEXTS), encoder.encode_query(TEXTS)
    np.testing.assert_allclose(pages[:, 0], own(encoder, TEXTS, "document"), atol=1e-5)
    np.testing.assert_allclose(queries[:, 0], own(encoder, TEXTS, "query"), atol=1e-5)


@pytest.mark.parametrize("name", tiny.ALL)
def test_vectors_are_of_length_one_nested_and_independent_of_the_batch(encoders, name):
    encoder = encoders[name]
    inputs = [*TEXTS, LONG]
    pages = encoder.encode_document(inputs)
    assert pages.shape == (4, 64, encoder.dimension)
    assert encoder.encode_query(TEXTS).shape == (3, 16, encoder.dimension)
    np.testing.assert_allclose(np.linalg.norm(pages, axis=-1), 1, atol=1e-5)
    np.testing.assert_allclose(encoder.encode_document(inputs, vectors=7), pages[:, :7], atol=1e-5)
    np.testing.assert_allclose(
        encoder.encode_query(TEXTS, vectors=3), encoder.encode_query(TEXTS)[:, :3], atol=1e-5
    )
    for i, one in enumerate(inputs):
        np.testing.assert_allclose(encoder.encode_document([one])[0], pages[i], atol=1e-4)


def test_windows_of_a_mean_pooling_model_are_means_of_its_token_outputs(encoders):
    encoder = encoders["bert"]
    text = TEXTS[1]
    pages = encoder.encode_document([text])[0]
    outputs = encoder.model.encode([text], output_value="token_embeddings")[0].numpy()
    inner = outputs[1:-1]  # between [CLS] and [SEP]
    moved = inner + outputs.mean(0) - inner.mean(0)
    half = len(inner) / 2
    np.testing.assert_allclose(pages[1], unit(moved[: int(np.ceil(half))].mean(0)), atol=1e-5)
    np.testing.assert_allclose(pages[2], unit(moved[int(half) :].mean(0)), atol=1e-5)


def test_windows_go_through_the_modules_after_the_pooling(encoders):
    encoder = encoders["cls_bert"]
    assert encoder.dimension == tiny.PROJECTED
    tokens = encoder.encode_tokens(TEXTS, "document")
    assert {one.shape[1] for one in tokens} == {tiny.PROJECTED}
    pages = encoder.encode_document(TEXTS)
    for page, some in zip(pages, tokens, strict=True):
        last = page[62]  # the last of 32 windows: the last token
        np.testing.assert_allclose(last, some[-1], atol=1e-5)


def test_window_means_are_the_page_its_halves_and_its_quarters():
    tokens = np.arange(8, dtype=np.float32)[:, None]
    expected = [3.5, 1.5, 5.5, 0.5, 2.5, 4.5, 6.5, *range(8), 0]
    np.testing.assert_allclose(window_means(tokens, 16)[:, 0], expected)
    np.testing.assert_allclose(window_means(tokens[:1], 7), 0)
    np.testing.assert_allclose(window_means(tokens[:3], 3)[:, 0], [1, 0.5, 1.5])


@pytest.mark.parametrize("name", ["bert", "cls_bert", "decoder", "clip"])
def test_a_long_page_is_read_whole_in_passes_and_what_is_left_out_is_counted(encoders, name):
    encoder = encoders[name]
    assert encoder.unread_tokens([LONG]) == [0]
    other = LONG + "revenue revenue revenue region region region chart chart"
    first, second = encoder.encode_document([LONG, other])
    assert not np.allclose(first[0], second[0], atol=1e-4)  # the end takes part
    assert encoder.unread_tokens(["fox " * 3000])[0] > 0


@pytest.mark.parametrize("name", ["bert", "cls_bert", "decoder"])
def test_the_first_vector_of_a_long_page_is_the_mean_of_its_passes(encoders, name):
    encoder = encoders[name]
    tokens = encoder._checked_tokens(encoder._passes(encoder._read([LONG], "document")[0]).items,
                                     "document")  # fmt: skip
    assert len(tokens) > 1
    mean = np.concatenate(tokens).mean(0, keepdims=True)
    np.testing.assert_allclose(
        encoder.encode_document([LONG])[0, 0], encoder._finished(mean)[0], atol=1e-5
    )


def test_prompts_are_the_models_and_stand_in_no_window(encoders):
    plain, prompted = encoders["bert"], encoders["decoder"]
    text = "fox dog"
    inner = len(prompted.encode_tokens([f" {text}"], "document")[0])
    assert len(prompted.encode_tokens([text], "query")[0]) == inner
    query, page = (encode([text])[0, 0] for encode in (prompted.encode_query,
                                                       prompted.encode_document))  # fmt: skip
    assert not np.allclose(query, page, atol=1e-4)
    np.testing.assert_allclose(
        plain.encode_query([text])[0, 0], plain.encode_document([text])[0, 0]
    )


def test_prompts_that_the_files_lack_are_given_in_the_name(folders):
    name = f"{folders['bert']}?query_prompt=query: &document_prompt=passage: "
    encoder = MetaEmbedEncoder.from_pretrained(name, device="cpu")
    expected = unit(encoder.model.encode(["query: fox"], prompt=""))
    np.testing.assert_allclose(encoder.encode_query("fox")[:, 0], expected, atol=1e-5)
    expected = unit(encoder.model.encode(["passage: fox"], prompt=""))
    np.testing.assert_allclose(encoder.encode_document("fox")[:, 0], expected, atol=1e-5)
    again = MetaEmbedEncoder.from_pretrained(encoder.name, device="cpu")
    assert (again.name, again.fingerprint) == (encoder.name, encoder.fingerprint)
    plain = MetaEmbedEncoder.from_pretrained(folders["bert"], device="cpu")
    assert plain.fingerprint != encoder.fingerprint


# -- pictures --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", tiny.TWO_TOWERS)
def test_a_picture_is_itself_then_its_parts(encoders, name):
    encoder = encoders[name]
    assert encoder.modalities == {"text", "image"}
    pages = encoder.encode_document([PICTURE])[0]
    np.testing.assert_allclose(pages[0], own(encoder, [PICTURE], "document")[0], atol=1e-5)
    left = PICTURE.crop((0, 0, 150, 200))
    np.testing.assert_allclose(pages[1], own(encoder, [left], "document")[0], atol=1e-5)
    np.testing.assert_allclose(pages[15:30], pages[:15])
    query = encoder.encode_query([PICTURE])[0]
    np.testing.assert_allclose(query, np.repeat(pages[:1], 16, 0), atol=1e-5)


def test_parts_of_a_picture_halve_the_longer_side_and_stay_legible():
    sizes = [part.size for part in picture_parts(Image.new("RGB", (400, 200)), 15)]
    assert sizes == [(400, 200), *[(200, 200)] * 2, *[(100, 200)] * 4, *[(100, 100)] * 8]
    assert len(picture_parts(Image.new("RGB", (100, 100)), 15)) == 1
    assert len(picture_parts(Image.new("RGB", (4000, 4000)), 4)) == 4


def test_a_vision_language_model_makes_windows_of_a_pictures_tokens(encoders):
    encoder = encoders["vision_language"]
    assert encoder.modalities == {"text", "image", "fused"}
    fused = {"text": "the fox", "image": PICTURE}
    pages = encoder.encode_document([PICTURE, fused])
    np.testing.assert_allclose(pages[0, 0], own(encoder, [PICTURE], "document")[0], atol=1e-4)
    assert len(np.unique(pages[0].round(4), axis=0)) > 8


def test_a_text_model_refuses_pictures(encoders):
    with pytest.raises(ModalityError, match="document 0 is an image, but"):
        encoders["bert"].encode_document([PICTURE])


# -- names, fingerprints, files --------------------------------------------------------------


def test_the_name_carries_how_the_vectors_are_made(folders):
    asked = Pooling("windows", query_vectors=4, document_vectors=15)
    encoder = MetaEmbedEncoder.from_pretrained(folders["bert"], device="cpu", pooling=asked)
    end = "?pooling=windows&query_vectors=4&document_vectors=15"
    assert encoder.name == f"{folders['bert']}{end}"
    again = MetaEmbedEncoder.from_pretrained(f"{folders['bert']}{end}", device="cpu")
    assert again.fingerprint == encoder.fingerprint
    assert again.encode_document("fox").shape == (1, 15, tiny.WIDTH)
    short = MetaEmbedEncoder.from_pretrained(f"{folders['bert']}?document_vectors=15", device="cpu")
    assert short.pooling == "windows"


def test_other_methods_and_unknown_options_are_refused(folders):
    with pytest.raises(CheckpointError, match="by windows, not by 'coverage'"):
        MetaEmbedEncoder.from_pretrained(folders["bert"], pooling="coverage")
    with pytest.raises(ModelError, match="'pool' is unknown"):
        MetaEmbedEncoder.from_pretrained(f"{folders['bert']}?pool=windows")


def test_the_fingerprint_changes_with_pooling_and_weights_and_not_with_the_place(copied):
    folder = copied("cls_bert")
    first = MetaEmbedEncoder.from_pretrained(folder, device="cpu")
    moved = folder.rename(folder.with_name("moved"))
    assert MetaEmbedEncoder.from_pretrained(moved, device="cpu").fingerprint == first.fingerprint
    fewer = MetaEmbedEncoder.from_pretrained(f"{moved}?document_vectors=7", device="cpu")
    weights = load_file(moved / "2_Dense" / "model.safetensors")
    doubled = {key: 2 * value for key, value in weights.items()}
    save_file(doubled, moved / "2_Dense" / "model.safetensors")
    changed = MetaEmbedEncoder.from_pretrained(moved, device="cpu")
    assert len({first.fingerprint, fewer.fingerprint, changed.fingerprint}) == 3


def test_a_pooler_that_the_files_lack_changes_no_fingerprint(copied):
    folder = copied("bert")
    weights = load_file(folder / "model.safetensors")
    kept = {key: one for key, one in weights.items() if "pooler" not in key}
    assert len(kept) < len(weights)
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    one, other = (MetaEmbedEncoder.from_pretrained(folder, device="cpu") for _ in range(2))
    assert one.fingerprint == other.fingerprint


@pytest.mark.parametrize(
    ("name", "lost", "message"),
    [
        ("bert", "modules.json", "no modules.json, so it holds no embedding model"),
        ("bert", "1_Pooling/config.json", "no settings of the module Pooling"),
        ("cls_bert", "2_Dense/model.safetensors", "no weights of the projection"),
        ("bert", "tokenizer.json", "no tokenizer"),
        ("bert", "model.safetensors", "no weights"),
        ("siglip", "model.safetensors", "no weights"),
    ],
)
def test_an_incomplete_model_says_what_is_missing(copied, name, lost, message):
    folder = copied(name)
    (folder / lost).unlink()
    with pytest.raises(CheckpointError, match=message):
        MetaEmbedEncoder.from_pretrained(folder, device="cpu")


def test_missing_weights_are_never_made_up(copied):
    folder = copied("bert")
    weights = load_file(folder / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="lacks 480 of the model"):
        MetaEmbedEncoder.from_pretrained(folder, device="cpu")


def test_a_model_without_token_outputs_is_refused(tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    tokenizer = tiny_backbones.tokenizer(["[PAD]"], pad_token="[PAD]")
    module = StaticEmbedding(tokenizer, embedding_dim=8)
    SentenceTransformer(modules=[module], device="cpu").save_pretrained(str(tmp_path))
    with pytest.raises(
        CheckpointError, match=r"no (config|tokenizer)|StaticEmbedding, which gives no"
    ):
        MetaEmbedEncoder.from_pretrained(tmp_path)


@pytest.mark.parametrize("kind", ["SparseEncoder", "CrossEncoder"])
def test_models_of_other_kinds_are_called_by_their_name(copied, kind):
    folder = copied("bert")
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"model_type": kind}))
    with pytest.raises(CheckpointError, match=f"holds a {kind} of sentence-transformers"):
        MetaEmbedEncoder.from_pretrained(folder)


def test_a_plain_backbone_is_no_embedding_model_and_takes_no_options(tmp_path):
    folder = tiny_backbones.modernbert(tmp_path / "b")
    with pytest.raises(CheckpointError, match="use MetaEmbedEncoder.from_backbone"):
        MetaEmbedEncoder.from_pretrained(folder)
    with pytest.raises(CheckpointError, match="leave out what stands after the question mark"):
        MetaEmbedEncoder.from_backbone(f"{folder}?pooling=windows")


def test_a_dense_model_can_be_the_backbone_of_meta_tokens(folders):
    encoder = MetaEmbedEncoder.from_backbone(folders["bert"], 2, 4, max_document_tokens=16,
                                             max_query_tokens=16, device="cpu")  # fmt: skip
    assert encoder.encode_document("fox").shape == (1, 4, tiny.WIDTH)


def test_dimensions_that_it_was_trained_for_can_be_stored(copied, tmp_path):
    folder = copied("bert")
    file = folder / "config_sentence_transformers.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"matryoshka_dims": [8, 16]}))
    encoder = MetaEmbedEncoder.from_pretrained(folder, device="cpu")
    assert encoder.dimensions == (8, 16, 32)
    index = PageIndex.open(tmp_path / "i", encoder, dimension=8)
    index.add([Page(source="a", text="the fox")])
    assert index.vectors(index.ids()).shape == (1, 64, 8)


# -- everything above the encoder ------------------------------------------------------------


@pytest.mark.parametrize("form", ["int8", "int4", "bits", "fp16"])
def test_an_index_is_made_searched_at_every_budget_and_opened_again(folders, tmp_path, form):
    encoder = MetaEmbedEncoder.from_pretrained(folders["bert"], device="cpu")
    pages = [Page(source=f"{i}.txt", text=text) for i, text in enumerate([*TEXTS, LONG])]
    index = PageIndex.open(tmp_path / "i", encoder, format=form)
    index.add(pages)
    for budget in ("1,1", "1,7", "4,8", "16,64"):
        hits = index.search(TEXTS[0], k=2, budget=budget)
        assert len(hits) == 2
        if form != "bits":  # 32 of them tell little of random weights
            assert hits[0].page.source == "0.txt"
    index.close()
    again = PageIndex.open(tmp_path / "i")  # without a model: the name leads to it
    assert again.info()["pooling"] == "windows"
    assert again.info()["model"] == f"{folders['bert'].resolve()}?pooling=windows"
    assert again.search(TEXTS[0], budget="16,64")[0].score == pytest.approx(hits[0].score)
    again.close()
    other = MetaEmbedEncoder.from_pretrained(f"{folders['bert']}?document_vectors=7", device="cpu")
    with pytest.raises(ModelMismatchError, match="made with the model"):
        PageIndex.open(tmp_path / "i", other)


def test_photos_are_found_by_a_picture_and_by_words(encoders, tmp_path):
    encoder = encoders["clip"]
    other = Image.linear_gradient("L").convert("RGB")
    index = PageIndex.open(tmp_path / "i", encoder)
    index.add([Page(source="a.png", image=PICTURE), Page(source="b.png", image=other)])
    assert index.search(other, budget="1,7")[0].page.source == "b.png"
    assert len(index.search("a chart", budget="16,64")) == 2


def test_a_data_set_is_evaluated(encoders, tmp_path):
    (tmp_path / "qrels").mkdir()
    corpus = [{"_id": str(i), "text": text} for i, text in enumerate(TEXTS)]
    (tmp_path / "corpus.jsonl").write_text("\n".join(map(json.dumps, corpus)))
    (tmp_path / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": TEXTS[1]}))
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\t1\t1\n")
    report = evaluate(tmp_path, encoders["bert"], budgets=["1,1", "16,64"], mode="text")
    assert [one["ndcg@5"] for one in report.to_dict()["results"]] == [1, 1]


def test_the_command_line_indexes_searches_and_tells_how_vectors_were_made(
    folders, tmp_path, capsys
):
    make_pdf(tmp_path / "a.pdf", ["revenue by region", "the fox"])
    place, model = str(tmp_path / "i"), str(folders["decoder"])
    files = [str(tmp_path / "a.pdf"), "--index", place, "--model", model, "--quiet"]
    assert cli.main(["index", *files]) == 0
    assert cli.main(["search", "revenue by region", "--index", place, "--budget", "4,8"]) == 0
    assert cli.main(["info", "--index", place, "--json"]) == 0
    info = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert info["model"] == f"{folders['decoder'].resolve()}?pooling=windows"
    assert info["pooling"] == "windows"


@pytest.mark.parametrize("framework", ["llama_index", "langchain"])
def test_the_first_program_of_each_framework_runs_with_it(folders, framework, first_program):
    made = first_program(framework, folders["bert"])
    assert len(made["hits"]) == 2
    assert made["index"].info()["pooling"] == "windows"
