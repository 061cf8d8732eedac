"""The recipes can be read, and hold the paper's numbers where they say so."""

from pathlib import Path

import pytest

config = pytest.importorskip("metaembed_rag.training.config")

RECIPES = sorted((Path(__file__).resolve().parents[2] / "recipes").glob("*.toml"))
LARGE = [path for path in RECIPES if not path.stem.startswith("mini")]
PIXELS_OF_A_TOKEN = {"qwen2.5-vl": 28 * 28, "qwen3-vl": 32 * 32}


def test_there_is_a_recipe_for_each_backbone_of_the_paper_and_for_a_laptop():
    names = " ".join(path.stem for path in RECIPES)
    for backbone in ("qwen2.5-vl-3b", "qwen2.5-vl-7b", "llama-3.2-vision-11b", "paligemma-3b"):
        assert backbone in names
    assert "qwen3-vl" in names and "mini" in names


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_a_run_with_a_folder_of_its_own(path):
    assert config.read_config(path).out == f"runs/{path.stem}"


@pytest.mark.parametrize("path", LARGE, ids=lambda path: path.stem)
def test_a_large_recipe_has_the_numbers_of_the_paper(path):
    run = config.read_config(path)
    assert (run.lora.rank, run.lora.alpha, run.lora.dropout) == (32, 32, 0.1)
    assert run.lora.targets == "all-linear"
    assert (run.model.r_q, run.model.r_c, run.model.dtype) == (16, 64, "bfloat16")
    assert run.loss.groups == ((1, 1), (2, 4), (4, 8), (8, 16), (16, 64))
    assert run.loss.weights == (1, 1, 1, 1, 1)
    assert (run.loss.temperatures, run.loss.score) == (0.03, "sum")
    assert (run.train.steps, run.train.warm_up, run.train.batch_size) == (4000, 500, 32)
    assert (run.train.learning_rate, run.train.meta_learning_rate) == (1e-4, 1e-4)
    assert (run.train.precision, run.train.gradient_checkpointing) == ("bf16", True)
    assert run.train.negatives == 1


@pytest.mark.parametrize("family", PIXELS_OF_A_TOKEN)
def test_a_picture_has_at_most_1024_visual_tokens(family):
    paths = [path for path in RECIPES if path.stem.startswith(family)]
    assert paths
    for path in paths:
        assert config.read_config(path).model.max_pixels == 1024 * PIXELS_OF_A_TOKEN[family]


@pytest.mark.parametrize("path", LARGE, ids=lambda path: path.stem)
def test_every_number_of_a_large_recipe_says_whose_it_is(path):
    table = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        table = line.strip("[] ").partition("]")[0] if line.startswith("[") else table
        key = line.partition(" = ")[0]
        if table in ("model", "lora", "loss", "train") and key.isidentifier() and key != "device":
            assert "[paper]" in line or "[ours]" in line, line


def test_the_page_of_the_recipes_names_every_file():
    folder = Path(__file__).resolve().parents[2] / "recipes"
    told = (folder / "README.md").read_text(encoding="utf-8")
    files = [path for kind in ("*.py", "*.toml") for path in folder.rglob(kind)]
    assert not [path.name for path in files if path.name != "__init__.py" and path.name not in told]
