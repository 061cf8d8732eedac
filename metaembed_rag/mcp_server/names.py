"""Ids of pages and names of files as strangers are told them: without the folders of this machine.

The id of a page begins with the whole path of its file. An agent's host may send what a tool says
anywhere, so it is told a hash of the id, and of a path as many of its last parts as tell it from
the others.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

_FOLDERS = re.compile(r"(?<![\w:/.])(?:/|~/|[A-Za-z]:\\)(?:[^\s/\\'\"<>|;,()]+[/\\])*(?=[^\s/\\])")
_DIGITS = 16
"""Hexadecimal ones of an id: of a million pages, two meet with a chance of 1 to 40 million."""


def told_id(page_id: str) -> str:
    """What stands for the id of a page, 16 hexadecimal digits."""
    data = page_id.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(data, digest_size=_DIGITS // 2).hexdigest()


def without_folders(message: str) -> str:
    """A message in which a path is only its last part; addresses of servers stay as they are."""
    return _FOLDERS.sub("", message)


def told_names(sources: Iterable[str]) -> Mapping[str, str]:
    """A name for each source, all different: its last part, and folders only where two share it.

    Args:
        sources: Paths, or whatever else pages name as their source.
    """
    parts = {source: PurePosixPath(source).parts or (source,) for source in sources}
    names: dict[str, str] = {}
    waiting = list(parts)
    length = 1
    while waiting:
        asked = {source: "/".join(parts[source][-length:]) for source in waiting}
        shared = Counter(asked.values())
        whole = {source for source in waiting if length >= len(parts[source])}
        done = [source for source in waiting if shared[asked[source]] == 1 or source in whole]
        names |= {source: asked[source].lstrip("/") or source for source in done}
        waiting = [source for source in waiting if source not in names]
        length += 1
    return names
