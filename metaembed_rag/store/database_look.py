"""Asks SQLite about Chroma's database; run as a script, so it imports nothing but Python's own.

Arguments are the database's file, the collection's name, and ``all`` or ``graph``. It prints JSON:
``segments``, the names of the folders of the collection's graphs, and with ``all`` also
``problems``, what SQLite finds wrong with its file. Nothing is written.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from contextlib import closing
from urllib.parse import quote

_CHECK = "PRAGMA integrity_check(20)"
_SEGMENTS = (
    "SELECT segments.id FROM segments JOIN collections ON segments.collection = collections.id "
    "WHERE collections.name = ? AND segments.scope = 'VECTOR'"
)
_PATIENCE = 60.0
"""Seconds to wait for a writer of the database."""


def look(database: str, collection: str, what: str) -> dict[str, list[str]]:
    """What SQLite says."""
    address = f"file:{quote(database)}?mode=ro"
    with closing(sqlite3.connect(address, timeout=_PATIENCE, uri=True)) as connection:
        said = connection.execute(_CHECK).fetchall() if what == "all" else []
        problems = [line for (line,) in said if line != "ok"]
        segments = [name for (name,) in connection.execute(_SEGMENTS, [collection])]
    return {"problems": problems, "segments": segments}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(look(*sys.argv[1:])))
