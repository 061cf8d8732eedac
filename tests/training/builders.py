"""What tests of training sets are made of: JSON lines, pictures, pairs of texts."""

from __future__ import annotations

import gzip
import json

from PIL import Image

from metaembed_rag.training.examples import Example, Side, TrainingSet


def jsonl(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    return path


def picture(path, colour="red"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 3), colour).save(path)
    return path


def pairs(count, name="set", weight=1.0):
    rows = (Example(Side(f"{name} q{i}"), Side(f"{name} p{i}")) for i in range(count))
    return TrainingSet(rows, name=name, weight=weight)


PAIR = {"query": "a question", "positive": "an answer"}
