"""Make an evaluation folder in BEIR layout from OpenCQA validation charts.

    python -m benchmarks.data.opencqa ../shared/data/opencqa_train opencqa50

draws 50 charts (always the same for one seed) and takes every human question about each of them.
The charts have no text beside them, so a checkpoint that reads only text finds them through OCR:

    metaembed evaluate opencqa50 --mode image --json

Only the chart that a question was written for counts as relevant. OpenCQA (Kantharaj et al.,
EMNLP 2022) is GPL-3.0; the charts are Pew Research Center's own pictures.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
from collections import defaultdict
from pathlib import Path


def make_opencqa(
    source: Path, out: Path, *, charts: int = 50, seed: int = 0, copy: bool = False
) -> tuple[int, int]:
    """Write ``corpus.jsonl``, ``queries.jsonl``, ``qrels/test.tsv`` and ``images/`` to ``out``.

    Args:
        source: The folder with ``val.jsonl`` and ``images/``.
        out: A folder that does not exist yet, or is empty.
        charts: How many charts to draw; all where there are fewer.
        seed: The same seed draws the same charts.
        copy: Copy the pictures instead of linking to them.

    Returns:
        The numbers of charts and of questions.

    Raises:
        FileExistsError: ``out`` holds something.
    """
    if out.exists() and any(out.iterdir()):
        raise FileExistsError(f"{out} is not empty; name a new folder")
    questions = _questions(source / "val.jsonl")
    drawn = random.Random(seed).sample(sorted(questions), min(charts, len(questions)))
    (out / "images").mkdir(parents=True, exist_ok=True)
    (out / "qrels").mkdir(exist_ok=True)
    corpus, queries, qrels = [], [], ["query-id\tcorpus-id\tscore"]
    for image in drawn:
        chart = Path(image).stem
        _place(source / image, out / "images" / Path(image).name, copy)
        corpus.append({"_id": chart, "image": f"images/{Path(image).name}"})
        for number, question in enumerate(questions[image]):
            queries.append({"_id": f"{chart}@{number}", "text": question})
            qrels.append(f"{chart}@{number}\t{chart}\t1")
    _write(out / "corpus.jsonl", [json.dumps(line, ensure_ascii=False) for line in corpus])
    _write(out / "queries.jsonl", [json.dumps(line, ensure_ascii=False) for line in queries])
    _write(out / "qrels" / "test.tsv", qrels)
    return len(corpus), len(queries)


def _questions(path: Path) -> dict[str, list[str]]:
    """Chart -> its questions, in the order of the file."""
    questions: dict[str, list[str]] = defaultdict(list)
    with path.open(encoding="utf-8") as file:
        for line in file:
            record = json.loads(line)
            questions[record["image"]].append(record["text"])
    return questions


def _place(source: Path, target: Path, copy: bool) -> None:
    if copy:
        shutil.copyfile(source, target)
    else:
        target.symlink_to(source.resolve())


def _write(path: Path, lines: list[str]) -> None:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    """Read the command line and make the folder."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("source", type=Path, help="the folder with val.jsonl and images/")
    parser.add_argument("out", type=Path, help="the folder to make")
    parser.add_argument("--charts", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--copy", action="store_true", help="copy the pictures, do not link")
    args = parser.parse_args()
    charts, questions = make_opencqa(
        args.source, args.out, charts=args.charts, seed=args.seed, copy=args.copy
    )
    print(f"{args.out}: {charts} charts, {questions} questions", file=sys.stderr)


if __name__ == "__main__":
    main()
