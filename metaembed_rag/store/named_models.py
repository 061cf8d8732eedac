"""The models that this user has named for indexes, kept on this machine and never in an index.

A model that only its user may name (on a server, on a hub) has to be named once for a collection:
the name is then kept in the user's cache folder, under Chroma's id of the collection. What an index
says of itself is no such name, wherever it comes from.
"""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

from metaembed_rag.store.places import replace_file, user_folder
from metaembed_rag.store.privacy import make_folder


def remember_model(collection_id: str, name: str) -> None:
    """Keep the name that the user gave a collection's model.

    Where it cannot be kept, the next process asks for it again.
    """
    path = _path(collection_id)
    if named_model(collection_id) == name:
        return
    with contextlib.suppress(OSError):
        make_folder(path.parent)
        replace_file(path, name)


def named_model(collection_id: str) -> str | None:
    """The name that this user gave a collection's model on this machine, or None."""
    try:
        return _path(collection_id).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None


def _path(collection_id: str) -> Path:
    # A server may answer with any text as the id of a collection.
    digest = hashlib.blake2b(collection_id.encode(), digest_size=16).hexdigest()
    return user_folder("models") / f"{digest}.txt"
