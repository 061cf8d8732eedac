"""Pages for agents by the Model Context Protocol: text and picture of each, at a budget.

::

    names.py      page ids and names of files that say nothing of the disk
    pages.py      PageTools: what an agent can ask, as content blocks
    server.py     build_server: the tools as a server of the official SDK
    http.py       the same over HTTP: on loopback, or with a token

Needs the extra ``mcp``.
"""

from metaembed_rag.errors import require

require("mcp")

from metaembed_rag.mcp_server.http import HttpPlace, serve_http  # noqa: E402
from metaembed_rag.mcp_server.pages import PageTools  # noqa: E402
from metaembed_rag.mcp_server.server import build_server, serve_stdio  # noqa: E402

__all__ = ["HttpPlace", "PageTools", "build_server", "serve_http", "serve_stdio"]
