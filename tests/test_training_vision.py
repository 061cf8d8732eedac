"""The image path: words with boxes, shards, the tower, the losses, resuming, one checkpoint."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from files import pdf_bytes
from PIL import Image

from metaembed_rag.errors import DatasetError, TrainingError, UnreadableFileError
from metaembed_rag.training.batches import tokenise
from metaembed_rag.training.corpora import TexPage, TextSources
from metaembed_rag.training.functional_init import build_model, functional_init
from metaembed_rag.training.tokenizer import save_pretrained_tokenizer, train_tokenizer
from metaembed_rag.training.trainer import TrainSettings
from metaembed_rag.training.vision.__main__ import UNFINISHED, main
from metaembed_rag.training.vision.batches import PAPER, Drawer, Windows, cell_tokens, stretch
from metaembed_rag.training.vision.dense import DenseSettings, dense_loss
from metaembed_rag.training.vision.drawing import Canvas, Face, find_fonts
from metaembed_rag.training.vision.generated import Passage, draw_page
from metaembed_rag.training.vision.join import check_join, join
from metaembed_rag.training.vision.layer import TextLayer, join_words, token_boxes
from metaembed_rag.training.vision.pages import agreement
from metaembed_rag.training.vision.pdf_words import layer_of, read_pages
from metaembed_rag.training.vision.prepare import (
    Preparation,
    PrepareSettings,
    vocabulary_hash,
    write_manifest,
)
from metaembed_rag.training.vision.quality import measure
from metaembed_rag.training.vision.run import (
    DenseStage,
    PagesStage,
    RunSettings,
    run_stage,
    token_rows,
)
from metaembed_rag.training.vision.shards import (
    PageSample,
    PageSet,
    Shard,
    digest_picture,
    pack_picture,
    unpack_picture,
    write_shards,
)
from metaembed_rag.training.vision.start import start_tower
from metaembed_rag.training.vision.state import load_tensors, save_tensors
from metaembed_rag.training.vision.text import train_text, trained_dimensions
from metaembed_rag.training.vision.tower import (
    TowerSize,
    build_tower,
    load_text_model,
    page_cells,
    page_vectors,
    trained,
    window_cells,
)

SIZE = TowerSize(side=96, patch=8, shuffle=2, hidden=64, layers=2, heads=4)
TEXTS = [
    "the kettle boils water for tea",
    "a bicycle has two wheels and a bell",
    "grapes grow on hills in the sun",
    "snow falls on the roof at night",
]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TEXTS * 3, 360)


@pytest.fixture(scope="module")
def text_folder(tokenizer, tmp_path_factory) -> Path:
    """A text checkpoint of one layer, initialised from random token vectors."""
    folder = tmp_path_factory.mktemp("text")
    torch.manual_seed(0)
    count = tokenizer.get_vocab_size()
    model = build_model(count, 64, layers=1, intermediate=64)
    functional_init(model, torch.randn(count, 64), torch.ones(count))
    model.save_pretrained(folder)
    save_pretrained_tokenizer(tokenizer, folder, max_length=1024)
    return folder


@pytest.fixture
def tower(text_folder):
    torch.manual_seed(0)
    model = build_tower(load_text_model(text_folder), SIZE)
    start_tower(model)
    return model


@pytest.fixture(scope="module")
def shards(tokenizer, tmp_path_factory) -> Path:
    """Eight drawn pages, four for each split."""
    folder = tmp_path_factory.mktemp("work") / "vision"
    for split in ("train", "validation"):
        samples = [drawn_sample(tokenizer, number) for number in range(4)]
        about = {"part": "drawn", "split": split, "tokenizer": vocabulary_hash(tokenizer)}
        write_shards(samples, folder, **about)
    return folder


def drawn_sample(tokenizer, number: int) -> PageSample:
    canvas = Canvas((96, 96))
    face = Face(find_fonts()[0], 12)
    canvas.paragraph(TEXTS[number], face, left=4, top=4, width=90, bottom=96)
    tokens, boxes = token_boxes(tokenizer, canvas.layer)
    query = np.array(tokenizer.encode(TEXTS[number].split()[1]).ids, np.uint16)
    picture = pack_picture(canvas.image)
    return PageSample("drawn", number + 1, picture, tokens, boxes, [query], canvas.layer.text)


# ------------------------------------------------------------------------------ words and boxes


def test_a_token_has_the_box_around_its_characters(tokenizer):
    word = [(c, (10.0 * i, 5.0, 10.0 * i + 9, 15.0)) for i, c in enumerate("the")]
    ids, boxes = token_boxes(tokenizer, join_words([word]))
    assert tokenizer.decode(ids.tolist()).strip() == "the"
    assert boxes.min(0)[:2].tolist() == [0, 5] and boxes.max(0)[2:].tolist() == [29, 15]


def test_a_token_broken_across_lines_has_the_box_of_its_first_part(tokenizer):
    places = [(0.0, 0.0, 9.0, 10.0), (10.0, 0.0, 19.0, 10.0), (0.0, 20.0, 9.0, 30.0)]
    ids, boxes = token_boxes(tokenizer, join_words([list(zip("the", places, strict=True))]))
    assert len(ids) == 1
    assert boxes.tolist() == [[0, 0, 19, 10]]


def test_a_text_layer_needs_a_box_for_each_character():
    with pytest.raises(ValueError, match="2 characters"):
        TextLayer("ab", np.zeros((1, 4)))


def test_words_of_a_pdf_have_boxes_where_they_were_drawn():
    data = pdf_bytes(
        ["", "Hills and sun"], size=(300, 400)
    )  # drawn 30 from the left, 50 from above
    [(number, image, layer)] = read_pages(data, lambda count: [count], side=800)
    assert number == 2 and image.size == (600, 800) and layer.text == "Hills and sun"
    left, top, right, bottom = layer.boxes[0]
    assert abs(left - 60) < 3 and right > left
    assert 75 < top < bottom <= 103  # two pixels a point: the baseline is at 100
    grey = np.asarray(image)
    assert grey[int(top) : int(bottom), int(left) : int(right) + 1].min() < 100
    assert np.isnan(layer.boxes[5]).all()  # the space


def test_ligatures_and_broken_words_become_whole_words():
    text = "of\ufb01ce ke\x02ttle semi\x02Circle"
    layer = layer_of([ord(c) for c in text], np.tile([0.0, 0, 1, 1], (len(text), 1)))
    assert layer.text == "office kettle semi-Circle"


def test_a_damaged_pdf_is_an_error_with_its_name():
    with pytest.raises(UnreadableFileError, match=r"a\.pdf"):
        list(read_pages(b"no pdf", lambda count: [1], side=100, source="a.pdf"))


def test_a_drawn_page_depends_on_its_seed_alone():
    passages, fonts = [Passage("kettle", TEXTS[0]), Passage("bell", TEXTS[1])], find_fonts()
    one, again, other = (draw_page(passages, fonts, (0, n)) for n in (1, 1, 2))
    assert one.image.tobytes() == again.image.tobytes() and one.queries == again.queries
    assert one.image.tobytes() != other.image.tobytes()


def test_a_drawn_word_has_its_ink_in_its_box():
    page = draw_page([Passage("kettle", TEXTS[0])], find_fonts(), (0, 3))
    grey, letters = np.asarray(page.image), 0
    for character, (left, top, right, bottom) in zip(
        page.layer.text, page.layer.boxes, strict=True
    ):
        if character.isalpha():
            box = grey[int(top) : int(bottom) + 1, int(left) : int(right) + 2]
            assert box.min() < grey.max() - 30
            letters += 1
    assert letters > 10 and set(page.queries) == {"kettle"}


# ----------------------------------------------------------------------------------------- shards


def test_pictures_keep_sixteen_greys():
    ramp = Image.fromarray(np.tile(np.arange(256, dtype=np.uint8), (4, 1)))
    kept = np.asarray(unpack_picture(pack_picture(ramp))).astype(int)
    assert np.abs(kept - np.arange(256)).max() <= 8
    assert len(np.unique(kept)) == 16
    assert digest_picture(pack_picture(ramp)) == digest_picture(pack_picture(ramp))


def test_shards_give_back_what_was_written_in_files_of_the_size_asked_for(tokenizer, tmp_path):
    samples = [drawn_sample(tokenizer, number) for number in range(4)]
    limit = 2**16 + 2 * max(sample.size for sample in samples) + 64
    files = write_shards(samples, tmp_path, part="p", split="train", tokenizer="t", max_bytes=limit)
    assert len(files) > 1 and all(file.stat().st_size <= limit for file in files)
    pages = PageSet.of_split(tmp_path, "train")
    assert [pages.name(i) for i in range(4)] == [f"drawn#{i + 1}" for i in range(4)]
    for i, sample in enumerate(samples):
        assert pages.tokens(i).tolist() == sample.tokens.tolist()
        assert pages.boxes(i).tolist() == sample.boxes.tolist()
        assert pages.queries(i)[0].tolist() == sample.queries[0].tolist()
        assert pages.picture(i).tobytes() == unpack_picture(sample.picture).tobytes()


def test_a_damaged_shard_and_an_empty_folder_are_named(tmp_path):
    (tmp_path / "a-train-00001.safetensors").write_bytes(b"nothing")
    with pytest.raises(DatasetError, match="a-train-00001"):
        PageSet.of_split(tmp_path, "train")
    with pytest.raises(DatasetError, match="prepare"):
        PageSet.of_split(tmp_path, "validation")


def chart_data(folder: Path) -> Path:
    """A data folder with charts, and an evaluation set that asks one of their questions."""
    charts = folder / "opencqa_train"
    charts.mkdir(parents=True)
    Image.new("RGB", (40, 30), "white").save(charts / "1.webp")
    for name, questions in {
        "train": ["Who drinks tea?", "Who rides?"],
        "val": ["How much?"],
    }.items():
        rows = [json.dumps({"image": "1.webp", "text": text, "answer": ""}) for text in questions]
        (charts / f"{name}.jsonl").write_text("\n".join(rows))
    evaluation = folder / "cranfield"
    evaluation.mkdir()
    (evaluation / "corpus.jsonl").write_text(json.dumps({"_id": "1", "text": TEXTS[0]}) + "\n")
    (evaluation / "queries.jsonl").write_text(json.dumps({"_id": "1", "text": "who rides"}) + "\n")
    return folder


def test_preparing_counts_what_it_keeps_out_and_does_nothing_twice(text_folder, tmp_path):
    data = chart_data(tmp_path / "data")
    manifests = [
        Preparation(tmp_path / "work", data, text_folder, PrepareSettings()).run(["opencqa"])
        for _ in range(2)
    ]
    assert manifests[0] == manifests[1]
    assert manifests[0]["train"] == {"pages": 1, "tokens": 0, "queries": 1}
    assert manifests[0]["validation"]["pages"] == 1
    assert manifests[0]["removed"]["evaluation query"] == 1
    other = Preparation(tmp_path / "work", data, text_folder, PrepareSettings(charts=1))
    with pytest.raises(DatasetError, match="other settings"):
        other.run(["opencqa"])


def test_a_manifest_is_refused_where_a_shard_has_changed(text_folder, tmp_path):
    data = chart_data(tmp_path / "data")
    Preparation(tmp_path, data, text_folder, PrepareSettings()).run(["opencqa"])
    shard = tmp_path / "vision" / "opencqa-train-00001.safetensors"
    shard.write_bytes(shard.read_bytes() + b"x")
    with pytest.raises(DatasetError, match="opencqa-train-00001"):
        write_manifest(tmp_path / "vision")


def test_a_page_of_an_evaluation_set_is_left_out(text_folder, tmp_path):
    made = Preparation(
        tmp_path / "work", chart_data(tmp_path / "data"), text_folder, PrepareSettings()
    )
    boxes = np.zeros((len(TEXTS[0]), 4), np.float32)
    page = Image.new("L", (20, 20), 255)
    assert made._sample("d", 1, page, TextLayer(TEXTS[0].upper(), boxes), []) is None
    assert made.removed["evaluation document"] == 1


# ------------------------------------------------------------------------------------ the cells


def test_a_cell_holds_the_tokens_that_lie_there_and_their_parts():
    boxes = np.array([[0, 0, 25, 10], [25, 0, 40, 10], [0, 0, 0, 0]], np.int16)
    tokens, parts = cell_tokens(boxes, (40, 40), grid=4)  # cells of 10 x 10 pixels
    assert tokens[:4, :2].tolist() == [[0, PAPER], [0, PAPER], [0, 1], [1, PAPER]]
    assert parts[:4, 0].tolist() == pytest.approx([10 / 25, 10 / 25, 5 / 25, 10 / 15])
    assert parts[2, 1] == pytest.approx(5 / 15)
    assert (tokens[4:] == PAPER).all() and not parts[4:].any()


def test_windows_depend_on_seed_and_step_alone(shards):
    pages = PageSet.of_split(shards, "train")
    one, again = (Drawer(pages, side=96, cell=16, seed=3, keep=k) for k in (0, 9))
    for step in (0, 5):
        first, second = one.windows(step, 6, 3), again.windows(step, 6, 3)
        assert first.pixels.shape == (6, 48, 48) and first.ids.shape == (6, 9, 6)
        for name in ("pixels", "rows", "columns", "ids", "parts"):
            assert (getattr(first, name) == getattr(second, name)).all()


def test_a_page_is_stretched_as_the_processor_does_it(text_folder):
    from metaembed_rag.training.vision.join import processor_of

    noise = np.random.default_rng(0).integers(0, 256, (120, 70), np.uint8)
    image = Image.fromarray(noise)
    made = processor_of(text_folder, 96, 16).image_processor(
        [[image.convert("RGB")]], return_tensors="np"
    )
    theirs = (made["pixel_values"][0, 0, 0] + 1) * 127.5
    assert np.abs(theirs - np.asarray(stretch(image, 96))).max() < 1.01


# ------------------------------------------------------------------------------------- the tower


def grey_pages(count: int = 2) -> torch.Tensor:
    random = np.random.default_rng(1)
    return torch.from_numpy(random.integers(0, 256, (count, 96, 96), np.uint8))


@torch.no_grad()
def test_the_towers_own_forward_is_the_stock_models(tower):
    pixels = grey_pages()
    cells = page_cells(tower, pixels)
    stock = (pixels.float() / 127.5 - 1)[:, None, None].expand(-1, 1, 3, -1, -1)
    features = tower.get_image_features(stock).pooler_output
    assert torch.allclose(cells, torch.stack(list(features)), atol=1e-4)
    known = tower.config.image_token_id
    row = [2, known + 1, known + 2, *[known] * 36, known + 1, 3, *range(21, 85)]
    out = tower(input_ids=torch.tensor([row] * 2), pixel_values=stock).last_hidden_state[:, -64:]
    ours = page_vectors(tower, cells)
    assert torch.allclose(ours, torch.nn.functional.normalize(out, dim=-1), atol=1e-4)


@torch.no_grad()
def test_a_window_of_a_page_has_the_positions_of_the_page(tower):
    pixels, nothing = grey_pages(1), torch.zeros(1, dtype=torch.long)
    whole = window_cells(tower, pixels, nothing, nothing)
    again = window_cells(tower, pixels[:, :96, :96], nothing, nothing)
    assert torch.equal(whole, again)
    part = pixels[:, 32:64, 48:80]
    here = window_cells(tower, part, nothing + 2, nothing + 3)
    elsewhere = window_cells(tower, part, nothing, nothing)
    assert here.shape == (1, 4, 64) and not torch.allclose(here, elsewhere)


@torch.no_grad()
def test_an_untrained_picture_comes_in_below_every_word(tower):
    cells = tower.text_model.embeddings.norm(page_cells(tower, grey_pages()))
    assert cells[..., 0].max() < token_rows(tower).weight[85:].min()


@torch.no_grad()
def test_heads_begin_by_looking_at_a_neighbour(tower):
    attention = tower.vision_model.encoder.layers[0].self_attn
    states = tower.vision_model.embeddings.position_embedding.weight[None]  # a blank page
    query, key = (
        projection(states).view(144, 4, 16).transpose(0, 1)
        for projection in (attention.q_proj, attention.k_proj)
    )
    best = (query @ key.transpose(1, 2)).argmax(-1)  # (heads, patches)
    middle = 5 * 12 + 6  # row 5, column 6 of 12
    assert best[:, middle].tolist() == [middle - 1, middle + 1, middle - 12, middle + 12]


def test_colours_are_seen_as_their_grey(tower):
    weight = tower.vision_model.embeddings.patch_embedding.weight
    assert torch.equal(weight[:, 0], weight[:, 1]) and torch.equal(weight[:, 0], weight[:, 2])


def test_only_the_vision_part_is_trained(tower):
    names = set(trained(tower))
    assert names and all(not name.startswith("text_model") for name in names)
    assert not any(p.requires_grad for p in tower.text_model.parameters())


def cells_of(ids: list[list[int]], parts: list[list[float]]) -> Windows:
    """One window whose cells hold these tokens."""
    held = np.full((1, len(ids), 6), PAPER)
    share = np.zeros((1, len(ids), 6), np.float32)
    for cell, (some, there) in enumerate(zip(ids, parts, strict=True)):
        held[0, cell, : len(some)], share[0, cell, : len(some)] = some, there
    return Windows(*(np.zeros(1),) * 3, held, share)


def test_the_dense_loss_is_nearly_nothing_where_cells_are_their_tokens(tower):
    rows = token_rows(tower)
    windows = cells_of([[90], [91], [], [92]], [[1], [1], [], [1]])
    table = tower.text_model.embeddings.tok_embeddings.weight
    features = table[torch.tensor([[90, 91, 3, 92]])].clone()
    features[0, 2] = 0
    features[0, 2, 0] = -1.0  # paper
    right = dense_loss(tower.text_model, features, windows, rows, DenseSettings(), 0)
    assert right.right == 1 and right.weight < 0.01 and right.paper < 1e-6
    wrong = dense_loss(tower.text_model, features.roll(1, 1), windows, rows, DenseSettings(), 0)
    assert wrong.right == 0 and wrong.total > right.total + 1


def test_a_token_in_two_cells_weighs_in_each_what_lies_there(tower):
    rows, settings = token_rows(tower), DenseSettings()
    features = tower.text_model.embeddings.tok_embeddings.weight[torch.tensor([[90]])]
    whole, half = (
        dense_loss(tower.text_model, features, cells_of([[90]], [[part]]), rows, settings, 0)
        for part in (1.0, 0.5)
    )
    over = math.log(2)  # the cell's weight is that of the whole token
    assert half.weight - whole.weight == pytest.approx(over**2 / 2, abs=1e-3)


def test_sets_of_vectors_agree_in_any_order_of_a_budgets_prefix():
    one = torch.nn.functional.normalize(torch.randn(2, 4, 8), dim=-1)
    assert agreement(one, one.flip(1), [(1, 4)]) == pytest.approx(1.0, abs=1e-5)
    assert agreement(one, one.flip(1), [(1, 1), (1, 4)]) < 0.999


# -------------------------------------------------------------------------------------- the runs


def settings(**more) -> RunSettings:
    return RunSettings(**{"steps": 6, "batch": 4, "window": 4, "learning_rate": 3e-3, **more})


def stage(kind, tower, shards, chosen):
    drawer = Drawer(PageSet.of_split(shards, "train"), side=96, cell=16, seed=0)
    return kind(drawer, token_rows(tower), chosen)


@pytest.mark.parametrize("kind", [DenseStage, PagesStage])
def test_a_run_that_was_stopped_goes_on_exactly(kind, text_folder, shards, tmp_path):
    chosen, results = settings(), []
    for limits in ([math.inf], [0.0] * 2 + [math.inf]):  # no minutes: one step a call
        folder = tmp_path / str(len(limits))
        for minutes in limits:
            model = build_tower(load_text_model(text_folder), SIZE)
            start_tower(model)
            finished = run_stage(
                model, stage(kind, model, shards, chosen), chosen, folder, minutes=minutes
            )
            assert finished == (minutes > 0)
        results.append(trained(model))
    assert all(torch.equal(value, results[1][name]) for name, value in results[0].items())


def test_a_run_with_other_settings_is_refused(tower, shards, tmp_path):
    run_stage(tower, stage(DenseStage, tower, shards, settings()), settings(), tmp_path, minutes=0)
    other = settings(learning_rate=1e-4)
    with pytest.raises(TrainingError, match="other settings"):
        run_stage(tower, stage(DenseStage, tower, shards, other), other, tmp_path)


def test_training_teaches_the_cells_of_four_pages(tower, shards, tmp_path):
    chosen, seen = settings(steps=60, batch=4, window=6, learning_rate=5e-3), []
    run_stage(
        tower,
        stage(DenseStage, tower, shards, chosen),
        chosen,
        tmp_path,
        report_every=10,
        on_progress=lambda progress: seen.append(progress.measures["right"]),
    )
    assert seen[0] < 0.4 and seen[-1] > 0.8
    quality = measure(tower, PageSet.of_split(shards, "validation"))  # the same four pages
    assert quality.token_right > 0.8 > 0.5 > quality.token_chance
    assert quality.pages == 4 and 0 < quality.chance < 1
    assert quality.agreement > quality.agreement_of_others


def test_tensors_come_back_from_small_files(tmp_path):
    tensors = {"a": torch.randn(100, 300), "b": torch.tensor(3.0), "c": torch.randn(7)}
    files = save_tensors(tensors, tmp_path, "weights", max_bytes=2**16 + 40_000)
    assert len(files) >= 3 and all(f.stat().st_size <= 2**16 + 40_000 for f in files)
    back = load_tensors(tmp_path, "weights")
    assert all(torch.equal(back[name], value) for name, value in tensors.items())
    with pytest.raises(TrainingError, match="row"):
        save_tensors({"a": torch.zeros(1, 10**6)}, tmp_path, "weights", max_bytes=2**17)


# -------------------------------------------------------------------------------- one checkpoint


def test_the_joined_checkpoint_reads_text_as_before_and_pictures_as_in_training(
    tower, text_folder, shards, tmp_path
):
    from metaembed_rag import MetaEmbedEncoder, Page, PageIndex

    join(tower, text_folder, tmp_path / "seeing")
    pages = PageSet.of_split(shards, "validation")
    images = [pages.picture(i).convert("RGB") for i in range(4)]
    assert check_join(tower, tmp_path / "seeing", images[:2]) < 0.01
    seeing = MetaEmbedEncoder.from_pretrained(tmp_path / "seeing", device="cpu")
    assert seeing.modalities == {"text", "image", "fused"}
    blind = MetaEmbedEncoder.from_backbone(
        text_folder, device="cpu", max_query_tokens=64, max_document_tokens=512
    )
    text = TEXTS[0] + "\n" + TEXTS[1]
    # The text checkpoint here is in float32, the joined one in fp16.
    assert np.abs(seeing.encode_document([text]) - blind.encode_document([text])).max() < 0.01
    index = PageIndex.open(tmp_path / "index", seeing)
    index.add([Page(f"{i}.png", image=image) for i, image in enumerate(images)], mode="image")
    hits = index.search("kettle", k=4)
    assert {hit.page.source for hit in hits} == {f"{i}.png" for i in range(4)}


def test_commands_train_in_pieces_measure_and_join(text_folder, shards, tmp_path, capsys):
    common = ["--shards", str(shards), "--run", str(tmp_path / "run")]
    common += ["--text-model", str(text_folder), "--device", "cpu", "--threads", "1"]
    sizes = "--side 96 --patch 8 --hidden 64 --layers 1 --heads 4 --dense-steps 3 --pages-steps 2"
    train = ["train", *common, *sizes.split(), *["--windows", "4", "--pages", "2", "--window", "4"]]
    assert main([*train, "--minutes", "0"]) == UNFINISHED
    assert main([*train, "--learning-rate", "1"]) == 1  # other settings
    assert main([*train, "--layers", "2"]) == 1  # other sizes
    assert main(train) == 0
    assert main(["evaluate", *common]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert measured["pages"] == 4 and set(measured["image"]) == set(measured["text"])
    assert main(["join", *common, "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "metaembed.json").exists()
    assert main(["evaluate", *common[:2], *common[4:], "--run", str(tmp_path / "none")]) == 1


def test_a_text_model_is_trained_in_pieces(tokenizer, tmp_path):
    torch.manual_seed(0)
    pairs = [(text.split()[1], text) for text in TEXTS]
    pages = [TexPage("a.pdf", n, (q,), t) for n, (q, t) in enumerate(pairs)]
    tokenise(TextSources(pages, pairs, pairs, pairs), tokenizer).save(tmp_path / "sources.npz")
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    torch.save(torch.randn(tokenizer.get_vocab_size(), 64), tmp_path / "bag.pt")
    calls = [
        train_text(
            tmp_path,
            tmp_path / "text",
            TrainSettings(steps=51, shapes=((4, 16),)),
            layers=2,
            intermediate=64,
            minutes=minutes,
            device="cpu",
        )
        for minutes in (0.0, 9.0)
    ]
    assert calls == [False, True]
    assert load_text_model(tmp_path / "text").config.num_hidden_layers == 2
    assert trained_dimensions(256) == (256, 128, 64) and trained_dimensions(64) == (64,)


def test_the_window_and_page_counts_of_a_shard_are_in_its_names(shards):
    shard = Shard(next(iter(sorted(shards.glob("*-train-*")))))
    assert len(shard) == 4 and shard.names[0] == ("drawn", 1)
