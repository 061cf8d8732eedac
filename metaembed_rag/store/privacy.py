"""Who may read the files of an index: its user, unless the user has allowed others.

A new index belongs to its user alone: its folder, where it is made here (0700), its database (0600)
and all folders inside. So do the folders in the user's cache folder. What was there before keeps
its permissions, and an index whose database others may read (``chmod -R``, an older version's) gets
folders with the permissions of its own folder.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from itertools import takewhile
from pathlib import Path

from metaembed_rag.store.places import DATABASE

PRIVATE_FOLDER, PRIVATE_FILE = 0o700, 0o600
_OF_OTHERS = 0o077
_DEEPEST = 4
"""Folders between the folder of an index and the innermost one inside, and one more."""


def make_folder(folder: Path) -> None:
    """Make a folder of an index or of the user's cache, and those above it that are missing.

    Raises:
        OSError: It cannot be made.
    """
    missing = list(takewhile(lambda path: not path.exists(), (folder, *folder.parents)))
    if missing:
        mode = _mode_below(missing[-1].parent)
        for path in reversed(missing):
            path.mkdir(mode=mode, exist_ok=True)
    elif not folder.is_dir():
        raise NotADirectoryError(20, os.strerror(20), str(folder))


def make_database_private(index: Path) -> None:
    """Let nobody else read a new database; what SQLite puts beside it follows it."""
    with suppress(OSError):  # a file system without permissions
        (index / DATABASE).chmod(PRIVATE_FILE)


def keep_private(index: Path) -> None:
    """Let nobody else into folders that Chroma has made in a private index.

    Only where the folder of the index lets others in: it was there before the index.
    """
    with suppress(OSError):
        if not _others_may(index) or _others_may(index / DATABASE):
            return
        for entry in index.iterdir():
            if not entry.is_symlink() and entry.is_dir() and _others_may(entry):
                entry.chmod(PRIVATE_FOLDER)


def _mode_below(folder: Path) -> int:
    """Permissions of a new folder inside one that is there."""
    for index in (folder, *folder.parents)[:_DEEPEST]:
        if (index / DATABASE).exists():
            return _mode(index) if _others_may(index / DATABASE) else PRIVATE_FOLDER
    return PRIVATE_FOLDER


def _others_may(path: Path) -> bool:
    """Whether anybody but the owner may do anything with it."""
    return bool(_mode(path) & _OF_OTHERS)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)
