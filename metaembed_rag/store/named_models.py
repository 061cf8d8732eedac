"""What this user has named for indexes, kept on this machine and never in an index.

A model that only its user may name (on a server, on a hub) has to be named once for a collection:
the name is then kept in the user's cache folder, under Chroma's id of the collection. What an index
says of itself is no such name, wherever it comes from. So it is with stores of pictures, which an
index in a folder may name to have somebody else's bucket asked.
"""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

from metaembed_rag.store.places import replace_file, user_folder
from metaembed_rag.store.privacy import make_folder

_MODELS, _PICTURES = "models", "picture_stores"


def remember_model(collection_id: str, name: str) -> None:
    """Keep the name that the user gave a collection's model.

    Where it cannot be kept, the next process asks for it again.
    """
    _remember(_MODELS, collection_id, name)


def named_model(collection_id: str) -> str | None:
    """The name that this user gave a collection's model on this machine, or None."""
    return _named(_MODELS, collection_id)


def remember_pictures(collection_id: str, url: str) -> None:
    """Keep the store that the user named for a collection's pictures."""
    _remember(_PICTURES, collection_id, url)


def named_pictures(collection_id: str) -> str | None:
    """The store that this user named for a collection's pictures on this machine, or None."""
    return _named(_PICTURES, collection_id)


def _remember(kind: str, collection_id: str, name: str) -> None:
    path = _path(kind, collection_id)
    if _named(kind, collection_id) == name:
        return
    with contextlib.suppress(OSError):
        make_folder(path.parent)
        replace_file(path, name)


def _named(kind: str, collection_id: str) -> str | None:
    try:
        return _path(kind, collection_id).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None


def _path(kind: str, collection_id: str) -> Path:
    # A server may answer with any text as the id of a collection.
    digest = hashlib.blake2b(collection_id.encode(), digest_size=16).hexdigest()
    return user_folder(kind) / f"{digest}.txt"
