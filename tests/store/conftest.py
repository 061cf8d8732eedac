"""What tests of the store share."""

from __future__ import annotations

from uuid import uuid4

import chromadb
import pytest
from chromadb.config import Settings


@pytest.fixture
def acme(server) -> tuple[str, str]:
    """A tenant with a database of its own on the server."""
    host, port = server.removeprefix("http://").split(":")
    settings = Settings(
        chroma_api_impl="chromadb.api.fastapi.FastAPI",
        chroma_server_host=host,
        chroma_server_http_port=int(port),
    )
    admin, tenant = chromadb.AdminClient(settings), f"acme-{uuid4().hex[:6]}"
    admin.create_tenant(tenant)
    admin.create_database("reports", tenant)
    return tenant, "reports"
