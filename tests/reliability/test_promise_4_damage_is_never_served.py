"""Promise 4: damage of what is derived is noticed, and made again from the records."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.soak.state import opened, pages_of, problems


def flip(path: Path) -> None:
    """One bit of the middle."""
    changed = bytearray(path.read_bytes())
    changed[len(changed) // 2] ^= 4
    path.write_bytes(changed)


DAMAGE = {
    "gone": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "shorter": lambda path: os.truncate(path, path.stat().st_size * 2 // 3),
    "flipped": flip,
    "zeroed": lambda path: path.write_bytes(bytes(path.stat().st_size)),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
@pytest.mark.parametrize("derived", ["cache", "lexical"])
def test_a_damaged_file_of_what_is_derived_changes_no_hit(tmp_path, derived, damage):
    with opened(tmp_path / "i") as index:
        index.add(pages_of(range(12), 1))
        index.search("apple", hybrid=True)
    shutil.copytree(tmp_path / "i" / derived, tmp_path / "whole")
    names = [path.relative_to(tmp_path / "whole") for path in (tmp_path / "whole").rglob("*")]
    for name in names:
        path = tmp_path / "i" / derived / name
        if (
            not (tmp_path / "whole" / name).is_file()
            or not (tmp_path / "whole" / name).stat().st_size
        ):
            continue
        shutil.rmtree(tmp_path / "i" / derived)
        shutil.copytree(tmp_path / "whole", tmp_path / "i" / derived)
        damage(path)
        with opened(tmp_path / "i") as index:
            assert problems(index) == [], name
            assert index.search("apple", hybrid=True)[0].bm25 > 0
