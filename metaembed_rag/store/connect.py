"""Connections to Chroma: on a folder, on a server or in memory; what goes wrong as a sentence."""

from __future__ import annotations

import logging
import os
import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import chromadb
import httpx
from chromadb.api import ClientAPI
from chromadb.api.shared_system_client import SharedSystemClient
from chromadb.config import Settings
from chromadb.errors import ChromaError

from metaembed_rag.errors import IndexNotFoundError, StoreError
from metaembed_rag.store.places import DATABASE, MEMORY, OURS, is_server
from metaembed_rag.store.server import TIMEOUT, ServerClient
from metaembed_rag.web import has_password, without_password

# Chroma logs an exception of its telemetry and a hint for every embedding function.
logging.getLogger("chromadb").setLevel(logging.ERROR)


def one_spelling(where: str | os.PathLike[str]) -> str:
    """A folder, a server's address or ``":memory:"`` in one spelling.

    Raises:
        StoreError: It is none of these, or an address with more than scheme, host and port.
    """
    if not isinstance(where, str | os.PathLike):
        raise StoreError(f"an index is opened by a folder or an address, {_instead_of(where)}")
    where = os.fspath(where)
    if not isinstance(where, str) or not where.strip() or "\0" in where:
        raise StoreError(
            f"{where!r} names no folder; write a folder, http://host:8000 or {MEMORY!r}"
        )
    scheme, mark, rest = where.partition("://")
    if not mark:
        return where
    scheme = scheme.lower()
    if scheme not in ("http", "https"):
        raise StoreError(
            f"{without_password(where)} is no folder and no http:// or https:// address"
        )
    return _checked_address(f"{scheme}://{rest.rstrip('/')}")


def _checked_address(where: str) -> str:
    """Refuse what would be ignored, or be shown in messages and in names of folders."""
    shown = without_password(where)
    if has_password(where):
        raise StoreError(
            f"{shown} has a user or a password in it, which would be shown wherever the address "
            f"is; pass it as a header: PageIndex.open('http://host:8000', headers="
            f"{{'Authorization': 'Basic ' + base64.b64encode(b'user:password').decode()}})"
        )
    try:
        url = urlsplit(where)
        _ = url.port  # read, and so checked, when it is asked for
    except ValueError:  # whose text may show what was meant as a password
        raise StoreError(f"{shown} cannot be read; write http://host:8000") from None
    if "?" in where or "#" in where:
        raise StoreError(
            f"{shown}: what follows ? or # would be ignored; name the collection by collection=, "
            f"keys by headers=; other tenants and databases than Chroma's default are not opened"
        )
    if url.path.strip("/"):
        raise StoreError(
            f"{where} has a path; write http://host:8000 and name the collection by collection="
        )
    return where


def _instead_of(given: object) -> str:
    """What to write instead of something that names no place, such as a client of Chroma."""
    settings = given.get_settings() if isinstance(given, ClientAPI) else None
    if settings is None:
        return f"not by {type(given).__name__}; write 'my_index', 'http://host:8000' or {MEMORY!r}"
    if settings.chroma_server_host:
        secure, port = settings.chroma_server_ssl_enabled, settings.chroma_server_http_port
        scheme = "https" if secure else "http"
        place = repr(f"{scheme}://{settings.chroma_server_host}:{port}") + ", headers=…"
    else:
        place = repr(settings.persist_directory if settings.is_persistent else MEMORY)
    return f"not by a client of Chroma, because it connects itself; write PageIndex.open({place})"


def is_new_folder(where: str) -> bool:
    """Whether it is a folder in which no database lies yet."""
    return where != MEMORY and not is_server(where) and not (Path(where) / DATABASE).exists()


def connect(
    where: str,
    *,
    create: bool,
    headers: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> Any:
    """A client of Chroma that has seen everything that is stored.

    Args:
        where: In one spelling.
        create: Make a folder that is not there.
        headers: HTTP headers for a server.
        timeout: Seconds that a server may keep silent; :data:`~metaembed_rag.store.server.TIMEOUT`
            by default.

    Raises:
        IndexNotFoundError: There is no such folder, and none is to be made.
        StoreError: A new folder cannot be made, or holds other files; an address names no host.
    """
    settings = Settings(anonymized_telemetry=False)
    if where == MEMORY:  # a database of its own: Chroma's clients in memory share one by default
        settings.is_persistent = False
        database = uuid.uuid4().hex
        chromadb.AdminClient(settings).create_database(database)
        return chromadb.EphemeralClient(settings=settings, database=database)
    if is_server(where):
        return ServerClient(where, headers, TIMEOUT if timeout is None else timeout, settings)
    folder = Path(where)
    if not (folder / DATABASE).exists():
        if re.fullmatch(r"[\w.-]{2,}:\d+", where):
            raise StoreError(f"{where} names no server; write http://{where} (a folder: ./{where})")
        _check_new_folder(folder, create)
    # Chroma shares one database among clients of a process by the spelling of its path; a shared
    # one may not have seen what other processes wrote. Clients in use keep the one they have.
    path = str(folder.resolve())
    systems = getattr(SharedSystemClient, "_identifier_to_system", None)
    if systems is None:
        SharedSystemClient.clear_system_cache()
    else:
        systems.pop(path, None)
    return chromadb.PersistentClient(path=path, settings=settings)


def _check_new_folder(folder: Path, create: bool) -> None:
    """Make the folder of a new index, but never in the middle of somebody's files."""
    if not create:
        raise IndexNotFoundError(
            f"no index at {folder}; make one with `metaembed index PATH --index {folder}`"
        )
    if folder.exists() and not folder.is_dir():
        raise StoreError(f"{folder} is a file; name a folder for the index")
    if folder.exists() and {path.name for path in folder.iterdir()} - OURS:
        raise StoreError(
            f"{folder} holds other files and no index; name a new or an empty folder for the index"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"the index folder {folder} cannot be made: {error.strerror}") from error


@contextmanager
def chroma_errors(where: str) -> Iterator[None]:
    """Turn what Chroma raises into a sentence of ours.

    Raises:
        StoreError: Chroma failed, or refused what it was asked.
    """
    try:
        yield
    except ChromaError as error:
        raise StoreError(f"Chroma at {where}: {_advice(error.message())}") from error
    except httpx.HTTPError as error:
        raise StoreError(f"the Chroma server at {where} does not answer: {error}") from error
    except ValueError as error:
        # Its client's checks (of a filter, of a server's address) raise plain ValueErrors.
        raise StoreError(f"Chroma at {where}: {error}") from error


def _advice(message: str) -> str:
    """What Chroma said, and what to do where that is known."""
    low = message.lower()
    if "readonly" in low or "read-only" in low:
        return f"{message}; Chroma writes when it opens: make the folder writable, or copy it"
    if "not a database" in low or "malformed" in low:
        return f"{message}; the index is damaged: index the files again into a new folder"
    if "pickle" in low or "hnsw" in low or "deserializ" in low:
        return (
            f"{message}; the search graph is damaged: delete the folder with a long hexadecimal "
            f"name inside the index (it is made again), or index into a new folder"
        )
    return message
