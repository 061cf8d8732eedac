"""The tables of a checkpoint at toy sizes; what they measure is in results/."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from benchmarks.comparison.training import forward
from benchmarks.quality import checkpoint, encoded, latency
from benchmarks.quality import report as report_tables
from metaembed_rag import MetaEmbedEncoder
from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.evaluation import top_pages
from metaembed_rag.pages import ocr
from metaembed_rag.testing import FakeEncoder
from metaembed_rag.vectors.formats import FORMATS
from metaembed_rag.vectors.maxsim import maxsim_batch

RED, BLUE = (
    {"_id": f"{name}_p1", "image": f"{name}.png", "text": f"{name} things of one colour"}
    for name in ("red", "blue")
)
PLAIN = [{"_id": "a", "text": "the lift of wings"}, {"_id": "b", "text": "sales by region"}]


def write_set(folder, pages, queries):
    """A BEIR folder; ``queries`` is text -> id of the right page."""
    (folder / "qrels").mkdir(parents=True)
    for page in pages:
        if "image" in page:
            colour = page["image"].removesuffix(".png")
            Image.new("RGB", (8, 8), colour).save(folder / page["image"])
    asked = [{"_id": str(n), "text": text} for n, text in enumerate(queries)]
    judged = [f"{n}\t{page}\t1" for n, page in enumerate(queries.values())]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, pages)))
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, asked)))
    (folder / "qrels" / "test.tsv").write_text("\n".join(["query\tpage\tscore", *judged]))
    return folder


@pytest.fixture
def text_set(tmp_path):
    return write_set(tmp_path / "plain", PLAIN, {"wings": "a", "region": "b", "sales": "b"})


@pytest.fixture
def page_set(tmp_path, monkeypatch):
    """Two pages with pictures; OCR reads a picture's colour, as red or blue."""
    name = {(255, 0, 0): "a red thing", (0, 0, 255): "a blue thing"}
    monkeypatch.setattr(ocr, "read_text", lambda image: name[image.getpixel((0, 0))])
    return write_set(tmp_path / "pages", [RED, BLUE], {"red": "red_p1", "blue": "blue_p1"})


def unit(*shape):
    vectors = np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


# -- reading a set ---------------------------------------------------------------------------


def test_modes_that_give_a_model_the_same_inputs_are_one_set(page_set, tmp_path):
    read = encoded.read_sets
    (text, image), refused = read(page_set, FakeEncoder(modalities=["text"]), tmp_path / "ocr")
    assert (text.modes, image.modes, refused) == (("text", "fused"), ("image",), [])
    assert (text.label, image.label) == ("pages, text = fused", "pages, image by OCR")
    assert image.inputs == image.texts == ["a red thing", "a blue thing"]
    assert text.texts == ["red things of one colour", "blue things of one colour"]


def test_a_model_that_reads_pictures_has_a_set_for_each_mode(page_set, tmp_path):
    sets, _ = encoded.read_sets(page_set, FakeEncoder(), tmp_path / "ocr")
    assert [one.label for one in sets] == ["pages, text", "pages, image", "pages, fused"]
    assert len({one.digest for one in sets}) == 3


def test_icons_without_text_are_refused_for_a_model_that_reads_text(tmp_path, monkeypatch):
    monkeypatch.setattr(ocr, "read_text", lambda image: "")
    icons = [{"_id": "1", "image": "red.png"}, {"_id": "2", "image": "blue.png"}]
    folder = write_set(tmp_path / "icons", icons, {"rose": "1"})
    sets, refused = encoded.read_sets(folder, FakeEncoder(modalities=["text"]), tmp_path / "ocr")
    assert sets == []
    assert refused == [
        "icons, image: refused, since fake reads text only and OCR found text on 0 of 2 pictures "
        "tried"
    ]


def test_what_is_kept_depends_on_queries_and_judgements_too(text_set, tmp_path):
    read, encoder = encoded.read_sets, FakeEncoder()
    (whole,), _ = read(text_set, encoder, tmp_path)
    (first,), _ = read(text_set, encoder, tmp_path, limit=1)
    assert whole.inputs_digest == first.inputs_digest
    assert whole.digest != first.digest


def test_what_is_kept_is_made_once(tmp_path):
    kept = encoded.kept
    assert [kept(tmp_path / "a" / "b.json", lambda n=n: [n]) for n in (1, 2)] == [[1], [1]]
    kept_array = encoded.kept_array
    made = [kept_array(tmp_path / "c" / "d.npy", lambda n=n: np.array([n])) for n in (1, 2)]
    assert [one.tolist() for one in made] == [[1], [1]]


# -- scoring ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["fp32", "int8", "bits"])
def test_scoring_in_two_steps_ranks_as_float32_over_all_pages_does(name):
    budgets = RetrievalBudget.paper()
    queries, pages = unit(7, 16, 32), unit(150, 64, 32)
    stored = FORMATS["int8" if name == "fp32" else name].encode(pages)
    held = pages if name == "fp32" else stored.decode()
    found = encoded.scores_in_float32(queries, held, encoded.rough_scores(queries, stored, budgets))
    ids = [f"{n:03}" for n in range(150)]
    for budget in budgets:
        exact = maxsim_batch(queries, held, budget)
        assert top_pages(found[budget], ids) == top_pages(exact, ids)


def test_pages_outside_the_shortlist_never_come_before_those_inside():
    budget = RetrievalBudget(1, 1)
    rough = {budget: np.linspace(9, 10, 100, dtype=np.float32)[None]}  # far too high
    found = encoded.scores_in_float32(unit(1, 1, 8), unit(100, 1, 8), rough)[budget][0]
    chosen = encoded.shortlist(rough)[0]
    assert chosen.sum() == encoded.SHORTLIST
    assert found[~chosen].max() <= found[chosen].min()


# -- the whole of it -------------------------------------------------------------------------


class TokenEncoder(FakeEncoder):
    """One vector a word, as late interaction has."""

    def encode_tokens(self, inputs, side):
        return [self.encode_document(one.split())[:, 0] for one in inputs]


def ends(values):
    """In place of a bootstrap interval, which takes 2,000 resamplings."""
    return values.min(), values.max()


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """Run the command with fake models under the names that it is given."""
    monkeypatch.setattr(report_tables, "bootstrap_interval", ends)
    models = {"mini": FakeEncoder(modalities=["text"]), "one": FakeEncoder(seed=1)}
    models |= {"tokens": TokenEncoder(), "short": FakeEncoder(128, dimensions=(64, 128))}
    monkeypatch.setattr(
        MetaEmbedEncoder, "from_pretrained", lambda name, **options: models[str(name)]
    )

    def command(*arguments):
        kept = ("--cache", tmp_path / "kept", "--ocr-cache", tmp_path / "ocr", "--no-latency")
        monkeypatch.setattr("sys.argv", ["checkpoint.py", *map(str, (*arguments, *kept))])
        code = checkpoint.main()
        return code, capsys.readouterr(), models

    return command


def rows_of(text):
    """First cell -> the other cells of each row, of the first table."""
    first = next(part for part in text.split("\n\n") if part.startswith("| system"))
    rows = [line.strip("| ").split(" | ") for line in first.splitlines()[2:]]
    return {row[0]: row[1:] for row in rows}


def test_the_table_has_every_system_beside_the_checkpoint(run, text_set, tmp_path):
    code, out, _ = run("mini", text_set, "--tokens", "tokens", "--single", "one")
    rows = rows_of(out.out)
    assert code == 0
    assert rows["BM25 plain"] == ["–", "100.0 [100.0, 100.0]"]
    budgets = ["(1,1)", "(2,4)", "(4,8)", "(8,16)", "(16,64)"]
    pooled = [f"{name} pooling to {n}" for name in ("Ward", "coverage") for n in (1, 4, 16, 64)]
    expected = ["BM25 plain", "BM25 stemmed", "one vector (1,1)"]
    expected += [f"`mini` {b}" for b in budgets]
    expected += [f"{name} {b}" for name in ("hybrid", "auto") for b in budgets] + pooled
    assert list(rows) == expected
    # 64 int8 values and a scale a vector: as many bytes for pooling as for Meta Tokens.
    assert rows["`mini` (8,16)"][0] == rows["Ward pooling to 16"][0] == f"{16 * 66:,}"
    assert rows["`mini` (16,64)"][1] == "100.0 [100.0, 100.0]"


def test_a_second_run_encodes_nothing_and_says_the_same(run, text_set, tmp_path):
    arguments = ("mini", text_set, "--json", tmp_path / "out.json")
    _, first, models = run(*arguments)
    models["mini"].encoded.clear()
    _, second, _ = run(*arguments)
    assert (first.out, models["mini"].encoded) == (second.out, [])
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["fingerprint"] == models["mini"].fingerprint
    assert found["numbers"]["sets"][0]["rows"][0]["ndcg@5"] == 1
    assert {"target", "set"} <= set(re.findall(r"\w+", second.out))


def test_fewer_dimensions_are_tried_where_the_checkpoint_lists_them(run, text_set):
    variants = checkpoint.variants
    assert [name for name, _ in variants(FakeEncoder())] == ["fp32", *FORMATS]
    assert variants(FakeEncoder(128, dimensions=(64, 128)))[-2:] == [("int8", 64), ("int4", 64)]
    _, out, _ = run("short", text_set)
    # 64 vectors of 64 values as int4: 34 bytes each.
    assert f"| int4, 64 values (16,64) | {64 * 34:,} |" in out.out


def test_an_encoder_of_ordered_vectors_cannot_be_the_token_model(run, text_set):
    with pytest.raises(SystemExit, match="--tokens takes a token model"):
        run("mini", text_set, "--tokens", "one")


def test_a_set_that_is_not_there_is_one_sentence(run, tmp_path):
    code, out, _ = run("mini", tmp_path / "nowhere")
    assert (code, out.out) == (1, "")
    assert "no such folder; give a folder in BEIR layout" in out.err


def test_encoding_is_timed_alone_and_in_batches():
    found = latency.encoding_times(FakeEncoder(), ["a page", "a"], ["why"], repeats=2)
    ms = ("query_ms", "query_of_a_whole_page_ms", "page_ms", "longest_page_ms")
    assert set(found) == {*ms, *(f"{one}_cpu" for one in ms)} | {
        "pages_per_second",
        "pages_per_second_cpu",
    }
    assert found["pages_per_second"] > 0


# -- targets ---------------------------------------------------------------------------------


@pytest.fixture
def report():
    """A report of one set of two queries, given nDCG of each system and size."""

    def made(latency=None, **systems):
        rows = {
            (system.replace("_", " "), size): report_tables.Row(
                system, size, 100, {"ndcg@5": [value] * 2, "ndcg@10": [value] * 2}
            )
            for system, sizes in systems.items()
            for size, value in sizes.items()
        }
        rows.setdefault(
            ("BM25", "plain"), report_tables.Row("BM25", "plain", None, {"ndcg@5": [0.5] * 2})
        )
        rows.setdefault(
            ("BM25", "stemmed"), report_tables.Row("BM25", "stemmed", None, {"ndcg@5": [0.4] * 2})
        )
        one = report_tables.SetResult(
            "cranfield, text", "cranfield", ("text",), False, 2, 3, [], rows
        )
        return report_tables.Report(
            "mini", "f" * 8, 256, False, [one], ["icons: refused"], latency or {}
        )

    return made


def met(module, report, kind="cpu"):
    return {target.name: target.met for target in module.targets(report, kind)}


GOOD = {"(1,1)": 0.25, "(2,4)": 0.26, "(8,16)": 0.27, "(16,64)": 0.28}


def test_targets_are_met_where_the_numbers_say_so(report):
    ward = {"1": 0.2, "4": 0.2, "16": 0.2, "64": 0.28}
    good = report(fp32=GOOD, int8=GOOD, Ward=ward, hybrid={"(16,64)": 0.5})
    found = met(report_tables, good)
    assert len(found) == 10
    assert all(found.values())


@pytest.mark.parametrize(
    ("changed", "missed"),
    [
        ({"int8": {**GOOD, "(16,64)": 0.266}}, "(16,64) at least 0.27"),
        ({"int8": {**GOOD, "(1,1)": 0.265}}, "(16,64) above (1,1) by 0.02"),
        ({"int8": {**GOOD, "(2,4)": 0.24}}, "no budget below a smaller one by over 0.005"),
        ({"fp32": {**GOOD, "(8,16)": 0.28}}, "int8 within 0.005 of float32"),
        ({"Ward": {"16": 0.27}}, "(8,16) ahead of Ward 16"),
        ({"Ward": {"64": 0.29}}, "(16,64) not behind Ward 64"),
        ({"hybrid": {"(16,64)": 0.49}}, "hybrid not below the better BM25"),
        (
            {"int8": {size: 0.9 * value for size, value in GOOD.items()}},
            "at most 4.5 KiB a page with nDCG@10 within 1% of float32",
        ),
    ],
)
def test_a_target_is_missed_where_one_number_is_worse(report, changed, missed):
    found = met(report_tables, report(**{"fp32": GOOD, "int8": GOOD, **changed}))
    assert not found[missed]


def test_speed_is_held_against_its_targets(report):
    slow = {"loading_seconds": 2.5, "query_ms": 10.0, "query_of_a_whole_page_ms": 70.0}
    slow |= {"longest_page_ms": 100.0}
    slow |= {f"{name}_cpu": value / 2 for name, value in slow.items()} | {"bytes": 15e6}
    found = list(report_tables._of_speed(slow))
    assert [target.met for target in found] == [False, True, False, True, True]
    assert found[0].numbers == "2.50 (1.25) s"


# -- an arm of the comparison ----------------------------------------------------------------


def test_the_state_of_an_arm_becomes_a_checkpoint_once(tmp_path):
    torch = pytest.importorskip("torch")
    from recipes.mini.functional_init import build_model
    from recipes.mini.tokenizer import FIRST_TEXT_ID, encode, train_tokenizer

    texts = ["the lift of wings", "sales by region"]
    tokenizer = train_tokenizer(texts, FIRST_TEXT_ID + 300)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    torch.manual_seed(0)
    model = build_model(tokenizer.get_vocab_size(), 64, layers=2, intermediate=48).eval()
    arm = tmp_path / "last-seed0"
    arm.mkdir()
    torch.save({"model": model.state_dict(), "step": 1}, arm / "train.pt")
    load = checkpoint.load_single
    encode_tokens = forward.encode_tokens
    first = load(arm, tmp_path, tmp_path / "kept")
    (arm / "train.pt").write_bytes(b"no longer read")
    again = load(arm, tmp_path, tmp_path / "kept")
    assert first.fingerprint == again.fingerprint
    [exported] = (tmp_path / "kept" / "exported").iterdir()
    tokens, encoder = encode(tokenizer, texts), MetaEmbedEncoder.from_pretrained(exported)
    pages = encode_tokens(model, tokens, query=False, max_tokens=768).numpy()
    assert abs(encoder.encode_document(texts) - pages).max() < 0.005
