"""Connections to Chroma: on a folder, on a server or in memory; what goes wrong as a sentence."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import httpx
from chromadb.config import Settings
from chromadb.errors import ChromaError
from filelock import FileLock, Timeout

from metaembed_rag.errors import IndexNotFoundError, StoreError
from metaembed_rag.store.access import AUTH, CLOUD_KEY, PLAIN, TOKEN, ServerAccess
from metaembed_rag.store.given import GivenClient, place_of_client
from metaembed_rag.store.places import (
    CLOUD,
    CLOUD_SCHEME,
    DATABASE,
    LOCK,
    MARK,
    MEMORY,
    OURS,
    is_new,
    is_server,
)
from metaembed_rag.store.privacy import PRIVATE_FOLDER, make_database_private
from metaembed_rag.store.server import TIMEOUT, ServerClient
from metaembed_rag.store.systems import folder_client, memory_client
from metaembed_rag.web import UsualTimeout, chosen_timeout, has_password, without_password

# Chroma logs an exception of its telemetry and a hint for every embedding function.
logging.getLogger("chromadb").setLevel(logging.ERROR)

_PATIENCE = 30.0
"""Seconds to wait for another process that makes the same index."""


def one_spelling(where: str | os.PathLike[str]) -> str:
    """A folder, a server's address or ``":memory:"`` in one spelling.

    Raises:
        StoreError: It is none of these, or an address with more than scheme, host and port.
    """
    if not isinstance(where, str | os.PathLike):
        return place_of_client(where)[0]
    where = os.fspath(where)
    if not isinstance(where, str) or not where.strip() or "\0" in where:
        raise StoreError(
            f"{_shown(where)!r} names no folder; write a folder, http://host:8000 or {MEMORY!r}"
        )
    scheme, mark, rest = where.partition("://")
    if not mark:
        if re.fullmatch(r"[\w.-]{2,}:\d+", where) and is_new_folder(where):
            raise StoreError(f"{where} names no server; write http://{where} (a folder: ./{where})")
        return where
    scheme = scheme.lower()
    if scheme == CLOUD_SCHEME:
        _tenant_and_database(where)  # refused here, too
        return CLOUD
    if scheme not in ("http", "https"):
        raise StoreError(f"{_bare(where)} is no folder and no http:// or https:// address")
    address = _checked_address(f"{scheme}://{rest.rstrip('/')}")
    return CLOUD if address.removesuffix(":443") == CLOUD else address


def one_place(
    where: str | os.PathLike[str] | Any, access: ServerAccess
) -> tuple[str, ServerAccess]:
    """A place in one spelling, and how it is asked: what a client or an address says of that, too.

    Args:
        where: A folder, an address, ``":memory:"`` or an open client of Chroma.
        access: What the caller says beside it.

    Raises:
        StoreError: It is no place; or it says what ``access`` says otherwise.
    """
    if not isinstance(where, str | os.PathLike):
        place, of_client = place_of_client(where)
        if not access.is_plain or access.headers:
            raise StoreError(
                "a client of Chroma knows its tenant, database and credentials itself; leave out "
                "tenant, database, headers, token, auth and verify, or give the address instead"
            )
        return one_spelling(place), replace(of_client, timeout=access.timeout)
    place = one_spelling(where)
    if place == CLOUD and os.fspath(where).lower().startswith(f"{CLOUD_SCHEME}://"):
        tenant, database = _tenant_and_database(os.fspath(where))
        for name, said, other in (
            ("tenant", tenant, access.tenant),
            ("database", database, access.database),
        ):
            if said and other and said != other:
                raise StoreError(f"{where} names another {name} than {name}={other!r}: say it once")
        tenant, database = tenant or access.tenant, database or access.database
        access = replace(access, tenant=tenant, database=database)
    access.at(place)  # what cannot be said there is refused before anything is made
    return place, access


def _tenant_and_database(where: str) -> tuple[str | None, str | None]:
    """What ``chroma-cloud://[tenant/database]`` names.

    Raises:
        StoreError: It is something else.
    """
    if has_password(where) or "?" in where or "#" in where:
        raise StoreError(
            f"{_bare(where)}: keys have no place in an address; write "
            f"{CLOUD_SCHEME}://tenant/database and put the key into {CLOUD_KEY}"
        )
    tenant, slash, database = where.partition("://")[2].rstrip("/").partition("/")
    if "/" in database or (tenant and not (slash and database)):
        raise StoreError(
            f"{where} is not written {CLOUD_SCHEME}://tenant/database, nor {CLOUD_SCHEME}:// for "
            f"those of the key"
        )
    return unquote(tenant) or None, unquote(database) or None


def _bare(where: str) -> str:
    """An address without a password and without what follows ``?`` or ``#``."""
    return re.split(r"[?#]", without_password(where))[0]


def _shown(where: object) -> str:
    """What was given, without a password in it."""
    return without_password(str(where))


def _checked_address(where: str) -> str:
    """Refuse what would be ignored, or be shown in messages and in names of folders."""
    if has_password(where):
        raise StoreError(
            f"{_bare(where)} has a user or a password in it, which would be shown "
            f"wherever the address is; pass it as a parameter: PageIndex.open('http://host:8000', "
            f"auth=('user', 'password')), token='…' or headers={{…}}; on the command line by the "
            f"environment variable {AUTH}=user:password or {TOKEN}"
        )
    try:
        url = urlsplit(where)
        _ = url.port  # read, and so checked, when it is asked for
        httpx.URL(where)
    except (ValueError, httpx.InvalidURL):  # whose text may show what was meant as a password
        raise StoreError(f"{_bare(where)} cannot be read; write http://host:8000") from None
    if "?" in where or "#" in where:
        raise StoreError(_of_query(where))
    if url.path.strip("/"):
        raise StoreError(
            f"{where} has a path; write http://host:8000 and name the collection by --collection "
            f"(collection= in Python)"
        )
    return where


_PARAMETERS = {
    "tenant": "tenant='…' (--tenant)",
    "database": "database='…' (--database)",
    "collection": "collection='…' (--collection)",
    "timeout": "timeout=… (--timeout)",
    "ssl_verify": "verify='ca.pem' (--ca-file)",
    "verify": "verify='ca.pem' (--ca-file)",
    "token": f"token='…' ({TOKEN})",
    "api_key": f"token='…' ({TOKEN})",
}
"""What to write instead of a part of a query."""


def _of_query(where: str) -> str:
    """What to write instead of a query or a fragment, whose values may be secrets."""
    names = [name for name, _ in parse_qsl(urlsplit(where).query, keep_blank_values=True)]
    known = [_PARAMETERS[name.lower()] for name in names if name.lower() in _PARAMETERS]
    instead = ", ".join(dict.fromkeys(known)) or (
        "collection='…' (--collection), tenant='…' (--tenant), database='…' (--database)"
    )
    return (
        f"{_bare(where)}: what follows ? or # would be ignored; pass it as a parameter of "
        f"PageIndex.open or an option of the command: {instead}; keys by token=, auth= or headers="
    )


def is_new_folder(where: str) -> bool:
    """Whether it is a folder in which no database lies yet."""
    return where != MEMORY and not is_server(where) and not (Path(where) / DATABASE).exists()


def connect(where: str, *, create: bool, access: ServerAccess = PLAIN) -> Any:
    """A client of Chroma that has seen everything that is stored.

    Args:
        where: In one spelling.
        create: Make a folder that is not there.
        access: How a server is asked; with its ``timeout``, by default
            :data:`~metaembed_rag.store.server.TIMEOUT`.

    Raises:
        IndexNotFoundError: There is no such folder, and none is to be made.
        StoreError: A new folder cannot be made, or holds other files; an address names no host.
    """
    if access.client is not None:
        return GivenClient(access.client)
    access = access.at(where)
    if where == MEMORY:
        return memory_client()
    if is_server(where):
        timeout = UsualTimeout(TIMEOUT) if access.timeout is None else access.timeout
        access = replace(access, timeout=chosen_timeout(timeout))
        return ServerClient(where, access, Settings(anonymized_telemetry=False))
    folder = Path(where)
    if not (folder / DATABASE).exists():
        _check_new_folder(folder, create)
    return folder_client(folder.resolve())


def one_maker(where: str, *, create: bool) -> AbstractContextManager[bool]:
    """Let one process or thread at a time make the index of a folder; others wait until it is.

    Two that make Chroma's database at once fail. An index that is there keeps nobody waiting, but
    one from before there were marks is locked for a moment.

    Returns:
        A context that says whether it holds the folder's writer lock.

    Raises:
        IndexNotFoundError: There is no such folder, and none is to be made.
        StoreError: A new folder cannot be made, or holds other files.
    """
    folder = Path(where)
    if where == MEMORY or is_server(where) or not is_new(folder):
        return nullcontext(False)
    return _alone_in(folder, create)


@contextmanager
def _alone_in(folder: Path, create: bool) -> Iterator[bool]:
    if not (folder / DATABASE).exists():
        _check_new_folder(folder, create)
    locked = False
    with ExitStack() as stack:
        with suppress(Timeout, OSError):  # an old index that is written to, or a read-only one
            stack.enter_context(FileLock(folder / LOCK, timeout=_PATIENCE))
            locked = True
        is_first = locked and not (folder / DATABASE).exists()
        if is_first:  # what lies there is of one before
            (folder / MARK).unlink(missing_ok=True)
        yield locked
        if is_first:
            make_database_private(folder)


def _check_new_folder(folder: Path, create: bool) -> None:
    """Make the folder of a new index, but never in the middle of somebody's files."""
    if not create:
        raise IndexNotFoundError(
            f"no index at {folder}; make one with `metaembed index PATH --index {folder}`"
        )
    if folder.exists() and not folder.is_dir():
        raise StoreError(f"{folder} is a file; name a folder for the index")
    try:
        names = {path.name for path in folder.iterdir()} if folder.exists() else set()
    except OSError as error:
        reason = _advice(error.strerror or str(error))
        raise StoreError(f"the index folder {folder} cannot be listed: {reason}") from error
    others = {name for name in names - OURS if not name.startswith("..metaembed.")}
    if DATABASE not in names and others:  # else somebody has just made it
        raise StoreError(
            f"{folder} holds other files and no index; name a new or an empty folder for the index"
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
    except OSError as error:
        reason = _advice(error.strerror or str(error))
        raise StoreError(f"the index folder {folder} cannot be made: {reason}") from error


@contextmanager
def chroma_errors(where: str) -> Iterator[None]:
    """Turn what Chroma raises into a sentence of ours.

    Raises:
        StoreError: Chroma failed, or refused what it was asked.
    """
    try:
        with _Panics(where):
            yield
    except ChromaError as error:
        raise StoreError(f"Chroma at {where}: {_advice(error.message())}") from error
    except httpx.HTTPError as error:
        raise StoreError(f"the Chroma server at {where} does not answer: {error}") from error
    except ValueError as error:
        # Its client's checks (of a filter, of a server's address) raise plain ValueErrors.
        raise StoreError(f"Chroma at {where}: {error}") from error


class _Panics:
    """Turns a panic of Chroma's Rust, which is no ``Exception``, into a sentence of ours."""

    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if kind is not None and kind.__module__ == "pyo3_runtime":
            raise StoreError(f"Chroma at {self._where}: {_advice(str(error))}")


def _advice(message: str) -> str:
    """What Chroma said, and what to do where that is known."""
    low = message.lower()
    if "too many open files" in low or "unable to open database file" in low:
        return (
            f"{message}; where this process has many files open, close indexes that it no longer "
            f"needs (index.close()), or allow it more (ulimit -n)"
        )
    if "failed to apply logs" in low or "disk i/o error" in low or "disk is full" in low:
        return (
            f"{message}; where the disk is full, make room: what was acknowledged is stored, and "
            f"the same call does the rest"
        )
    if "readonly" in low or "read-only" in low:
        return f"{message}; Chroma writes when it opens: make the folder writable, or copy it"
    if "not a database" in low or "malformed" in low:
        return f"{message}; the index is damaged: index the files again into a new folder"
    if "collection" in low and "does not exist" in low:
        return f"{message} It was deleted in the middle of this: try again"
    if "pickle" in low or "hnsw" in low or "deserializ" in low:
        return (
            f"{message}; the search graph is damaged: run `metaembed repair --index …`, which "
            f"makes it again from the records"
        )
    return message
