"""A folder of mixed files as a user has it: indexed whole, moved, renamed, half deleted, restored.

    python -m benchmarks.data.mixed_folder --out .data/mixed
    python -m benchmarks.quality.mixed_folder .data/mixed --work .data/mixed-run \
        --json results/mixed_folder.json

Works on a copy of the folder. The first run is the command itself, whose exit code counts; the
others are ``PageIndex.sync`` with an encoder that counts what it is given. After each, every page
of the index has to be of a file that is there, and every file has to have pages or be named among
those that were left out. Words from the middle of a page ask for its file (``--words``, hybrid
search): that says whether it was read, not how good the search is.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import results
from metaembed_rag import MetaEmbedEncoder, PageIndex
from metaembed_rag.ingest import AddReport
from metaembed_rag.model.protocol import Encoder

CLAIM = "A folder of mixed files: nothing is silently missing, and moves encode nothing twice."
RENAMED = 10
"""Files whose names change."""
FOUND = 3
"""Pages among which the file that was asked for has to be."""


class Counting:
    """An encoder that counts pages.

    Attributes:
        pages: How many it has been given.
    """

    def __init__(self, encoder: Encoder) -> None:
        self._encoder, self.pages = encoder, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)

    def encode_document(self, documents: Sequence[Any], **how: Any) -> Any:
        """As the encoder does."""
        self.pages += len(documents)
        return self._encoder.encode_document(documents, **how)


def first_run(folder: Path, index: Path) -> dict[str, Any]:
    """The command, as a user types it."""
    command = [sys.executable, "-m", "metaembed_rag.cli", "index", str(folder)]
    done = subprocess.run(
        [*command, "--index", str(index), "--json"], capture_output=True, text=True, check=False
    )
    print(done.stderr, file=sys.stderr)
    told = json.loads(done.stdout)
    left_out = {error["source"].rpartition("#")[0] for error in told["skipped"]}
    left_out |= {id.rpartition("#")[0] for id in told["blank"]} | {*told["ignored"]}
    pages = told["acknowledged"]
    files = {path.as_posix() for path in folder.resolve().rglob("*") if path.is_file()}
    unsaid = files - left_out - {id.rpartition("#")[0] for id in pages}
    missing = [os.path.relpath(one, folder) for one in sorted(unsaid)]
    return {
        "step": "indexed",
        "exit_code": done.returncode,
        "files": len(files),
        "pages": len(pages),
        "encoded": told["added"],
        "skipped": len(told["skipped"]),
        "blank": len(told["blank"]),
        "of_kinds_not_read": len(told["ignored"]),
        "silently_missing": missing,
    }


def moved(folder: Path) -> Path:
    """The folder, elsewhere."""
    place = folder.with_name("moved") / "documents"
    place.parent.mkdir()
    return folder.rename(place)


def renamed(folder: Path) -> Path:
    """Some files have other names, and one folder too."""
    files = sorted(path for path in folder.rglob("*.*") if path.suffix in (".pdf", ".docx", ".txt"))
    for path in files[:: len(files) // RENAMED][:RENAMED]:
        path.rename(path.with_name(f"renamed {path.name}"))
    (folder / "letters").rename(folder / "mail")
    return folder


def halved(folder: Path) -> Path:
    """Every other file is gone."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file())[::2]:
        path.unlink()
    return folder


def restored(folder: Path, kept: Path) -> Path:
    """What was deleted is there again, from a copy."""
    shutil.copytree(kept, folder, dirs_exist_ok=True)
    return folder


def synced(
    step: str, folder: Path, index: Path, encoder: Counting, gone: Path, prune: bool = False
) -> dict[str, Any]:
    """Bring the index in line with the folder, and look whether it is."""
    before = encoder.pages
    with PageIndex.open(index, encoder) as opened:
        report: AddReport = opened.sync(folder, prune=prune)
        sources = {page.rpartition("#")[0] for page in opened.ids()}
        pages = len(opened)
    return {
        "step": step,
        "pages": pages,
        "encoded": encoder.pages - before,
        "moved": report.moved,
        "removed": report.removed,
        "skipped": len(report.skipped),
        "kept_of_empty_folders": len(report.unpruned),
        "of_files_that_are_gone": [
            os.path.relpath(one, folder) for one in sorted(sources) if not Path(one).exists()
        ],
        "files": sum(1 for path in folder.rglob("*") if path.is_file()),
        "under_the_old_place": sum(1 for one in sources if Path(one).is_relative_to(gone)),
    }


def found(contents: Path, folder: Path, index: Path, encoder: Counting) -> dict[str, Any]:
    """Ask for each file by words that are in it."""
    asked = [one for one in json.loads(contents.read_text()) if one["words"]]
    missed = []
    with PageIndex.open(index, encoder) as opened:
        for one in asked:
            hits = opened.search(one["words"], k=FOUND)
            wanted = (folder / one["path"]).resolve()
            same = {h["path"] for h in asked if h["words"] == one["words"]}
            right = {(folder / path).resolve().as_posix() for path in same} | {wanted.as_posix()}
            if not right & {hit.page.source for hit in hits}:
                missed.append(one["path"])
    return {"asked": len(asked), "found": len(asked) - len(missed), "missed": missed}


def run(given: argparse.Namespace) -> dict[str, Any]:
    """All steps."""
    shutil.rmtree(given.work, ignore_errors=True)
    work = given.work.resolve()
    folder, index = work / "documents", work / "index"
    shutil.copytree(given.folder, folder)
    steps = [first_run(folder, index)]
    encoder = Counting(MetaEmbedEncoder.from_pretrained(given.model))
    contents = given.folder.with_name(f"{given.folder.name}.json")
    words = found(contents, folder, index, encoder)
    old, kept = folder, work / "kept"
    changes: list[tuple[str, Callable[[Path], Path], bool]] = [
        ("again", lambda same: same, False),
        ("moved", moved, False),
        ("renamed", renamed, False),
        ("half deleted", halved, False),
        ("again, with prune", lambda same: same, True),
        ("restored from a copy", lambda same: restored(same, kept), False),
    ]
    for step, change, prune in changes:
        if change is halved:
            shutil.copytree(folder, kept)
        folder = change(folder)
        gone = old if folder != old else work / "nowhere"
        steps.append(synced(step, folder, index, encoder, gone, prune))
        print(json.dumps(steps[-1], ensure_ascii=False), file=sys.stderr)
    return {"steps": steps, "words": words}


def main() -> None:
    """Read the command line, run, write the record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="of benchmarks.data.mixed_folder")
    parser.add_argument(
        "--work", type=Path, required=True, help="folder for the copy and the index"
    )
    parser.add_argument("--model", default="small")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    told = run(given)
    print(json.dumps(told, ensure_ascii=False, indent=1))
    if given.json:
        results.write(given.json, CLAIM, told)


if __name__ == "__main__":
    main()
