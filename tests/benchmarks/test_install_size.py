"""What an installation weighs is the sum of the packages that it asks for."""

from __future__ import annotations

from packaging.requirements import Requirement

from benchmarks import install_size, tables


def test_a_choice_is_what_it_asks_for_directly_and_through_others(monkeypatch):
    asked = {
        ("metaembed-rag", ""): ["apple"],
        ("metaembed-rag", "tree"): ["pear[ripe]"],
        ("pear", ""): ["apple"],
        ("pear", "ripe"): ["sun"],
    }

    def needs(name: str, extra: str = "") -> list[Requirement]:
        return [Requirement(line) for line in asked.get((name, extra), [])]

    monkeypatch.setattr(install_size, "needs", needs)
    assert install_size.packages("") == {"metaembed-rag": [], "apple": ["metaembed-rag"]}
    assert install_size.packages("tree") == {
        "metaembed-rag": [],
        "apple": ["metaembed-rag", "pear"],
        "pear": ["metaembed-rag"],
        "sun": ["pear"],
    }


def test_packages_of_another_extra_or_another_system_are_left_out(monkeypatch):
    lines = ["apple", "pear; extra == 'tree'", "plum; extra == 'bush'", "nut; os_name == 'none'"]
    monkeypatch.setattr(install_size.metadata, "requires", lambda _: lines)
    assert [one.name for one in install_size.needs("garden")] == ["apple"]
    assert [one.name for one in install_size.needs("garden", "tree")] == ["pear"]


def test_the_base_is_in_every_choice_and_brings_neither_torch_nor_chroma():
    base = install_size.packages("")
    assert {"metaembed-rag", "numpy", "pillow"} <= set(base)
    assert not {"torch", "chromadb", "transformers"} & set(base)
    chroma = install_size.packages("chroma")
    assert set(base) < set(chroma) and "torch" not in chroma


def test_the_choices_are_of_extras_that_exist():
    import tomllib

    text = (install_size.results.CHECKOUT / "pyproject.toml").read_text(encoding="utf-8")
    extras = tomllib.loads(text)["project"]["optional-dependencies"]
    for chosen in install_size.CHOICES.values():
        assert set(filter(None, chosen.split(","))) <= set(extras)


def test_the_table_adds_the_packages_and_names_the_largest():
    numbers = {
        "choices": {
            "base": {"extras": "", "bytes": {"a": 20_000_000, "b": 1_500_000}},
            "local": {"extras": "local", "bytes": {"a": 20_000_000, "torch": 100_000_000}},
        },
        "unused": {"a": ["torch"]},
    }
    _, _, base, local = tables.install({"numbers": numbers})
    assert base == "| base | `.` | 2 | 22 | a 20, b 1.5 |"
    assert local == "| local | `'.[local]'` | 2 | 120 | torch 100, a 20 |"
    assert tables.install_unused({"numbers": numbers})[2] == "| a | 20 | torch |"
