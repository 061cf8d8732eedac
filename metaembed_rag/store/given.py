"""An open client of Chroma in the place of an address: where it leads, and what it may do there.

A client of a folder or of a server says where that is, and the store connects there itself: with
its lock and marks, its time limit and its tries. A client of a database in memory is used as it is,
because nobody else reaches that database.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from chromadb.api import AdminAPI, AsyncClientAPI, ClientAPI
from chromadb.api.models.Collection import Collection
from chromadb.config import Settings

from metaembed_rag.errors import StoreError, kind_of_value
from metaembed_rag.store.access import ServerAccess, namespace_of
from metaembed_rag.store.places import MEMORY

ChromaClient = ClientAPI
"""What ``EphemeralClient``, ``PersistentClient``, ``HttpClient`` and ``CloudClient`` give."""

_INSTEAD = f"write 'my_index', 'http://host:8000' or {MEMORY!r}"
_NOT_OURS = frozenset(
    {"content-type", "user-agent", "accept", "accept-encoding", "connection", "host"}
)
"""Headers that every client sends of itself."""


class GivenClient:
    """What a store asks of a client of Chroma in memory that its caller opened, and closes.

    Attributes:
        is_shared: The caller and other indexes may write by way of it, so nothing is known of what
            it holds without asking.
        identity: None, as of all memory.
    """

    is_shared = True
    identity = None

    def __init__(self, client: Any) -> None:
        self._client = client

    def get_collection(self, name: str, embedding_function: None = None) -> Any:
        """A collection that is there; raises Chroma's NotFoundError."""
        return self._client.get_collection(name, embedding_function=None)

    def get_or_create_collection(
        self, name: str, *, embedding_function: None = None, **settings: Any
    ) -> Any:
        """A collection, made with ``metadata`` and ``configuration`` where it is not there."""
        return self._client.get_or_create_collection(name, embedding_function=None, **settings)

    def collection_names(self) -> list[str]:
        """Of all collections of the database."""
        return [str(found.name) for found in self._client.list_collections()]

    def get_max_batch_size(self) -> int:
        """Records that one request may write."""
        return int(self._client.get_max_batch_size())

    def close(self) -> None:
        """Nothing: it is the caller's."""


def place_of_client(given: object) -> tuple[str, ServerAccess]:
    """Where a client of Chroma leads, in one spelling, and how it is asked there.

    Raises:
        StoreError: It is no such client, or one that cannot be used.
    """
    if not isinstance(given, ClientAPI):
        raise StoreError(_no_client(given))
    settings = given.get_settings()
    if settings.chroma_server_host:
        return _address(settings), _access(given, settings)
    if not settings.is_persistent:
        return MEMORY, ServerAccess(client=given)
    if namespace_of(given.tenant, given.database):
        raise StoreError(
            f"this client is of the database {given.database!r} of the tenant {given.tenant!r} in "
            f"a folder, and in a folder only Chroma's default ones are opened: name a collection "
            f"of its own by collection=, or run `chroma run --path {settings.persist_directory}` "
            f"and open that server with tenant= and database="
        )
    return str(settings.persist_directory), ServerAccess()


def _no_client(given: object) -> str:
    """What to write instead of something that names no place."""
    begin = "an index is opened by a folder, an address or a client of Chroma, "
    if isinstance(given, Collection):
        return f"{begin}not by a collection: PageIndex.open(client, collection={given.name!r})"
    if isinstance(given, AsyncClientAPI) or hasattr(given, "__await__"):
        return f"{begin}not by an asynchronous client: PageIndex.open(chromadb.HttpClient(…))"
    if isinstance(given, AdminAPI):
        return f"{begin}not by an admin client: PageIndex.open(chromadb.HttpClient(…))"
    return f"{begin}not by {kind_of_value(given)}; {_INSTEAD}"


def _address(settings: Settings) -> str:
    """The address of a client's server; what its host says of scheme, port and path counts too."""
    secure = bool(settings.chroma_server_ssl_enabled)
    host = str(settings.chroma_server_host)
    if "://" in host:
        url = urlsplit(host)
        if url.port or url.path.strip("/"):
            return host
        secure, host = url.scheme == "https", url.netloc
    port = int(settings.chroma_server_http_port or 8000)
    return f"https://{host}" if secure and port == 443 else f"http{'s' * secure}://{host}:{port}"


def _access(client: Any, settings: Settings) -> ServerAccess:
    """Its headers, with the key that its provider of credentials makes, its tenant and database."""
    headers: Mapping[str, str] = client._server.get_request_headers()
    verify = settings.chroma_server_ssl_verify
    return ServerAccess(
        tenant=client.tenant,
        database=client.database,
        headers={name: value for name, value in headers.items() if name.lower() not in _NOT_OURS},
        verify=True if verify is None else verify,
    )
