"""The shipped checkpoint's folder."""

from __future__ import annotations

import json
from pathlib import Path

import metaembed_rag
from recipes.mini.tokenizer import SPECIAL_TOKENS

MINI = Path(metaembed_rag.__file__).parent / "checkpoints" / "mini"
MEGABYTE = 1_000_000


def test_the_checkpoint_stays_under_25_megabytes_and_has_its_card():
    files = [path for path in MINI.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 25 * MEGABYTE
    card = (MINI / "README.md").read_text(encoding="utf-8")
    assert "Apache-2.0" in card and "reads text" in card


def test_its_meta_tokens_have_the_ids_that_training_used():
    added = json.loads((MINI / "tokenizer.json").read_text(encoding="utf-8"))["added_tokens"]
    ids = {token["content"]: token["id"] for token in added}
    assert [ids[name] for name in SPECIAL_TOKENS] == list(range(len(SPECIAL_TOKENS)))
