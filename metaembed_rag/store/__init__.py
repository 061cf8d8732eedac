"""Pages and their ordered multi-vectors in Chroma, one record a page.

Chroma comes with the extra ``local``, or as its client alone with the extra ``client``: then an
index is on a server.
"""

from __future__ import annotations

from metaembed_rag.errors import MissingExtraError, install_line, is_installed

if not is_installed("chromadb"):
    raise MissingExtraError(
        f"an index needs Chroma: {install_line('local')}; or {install_line('client')} where models "
        f"and indexes are on servers"
    )
