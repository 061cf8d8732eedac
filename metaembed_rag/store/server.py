"""A Chroma server: requests with a time limit, sent again where that helps, failures by name.

Chroma's own client waits for ever, for its first requests too. So its HTTP API is used without that
client: what this package asks of a server is the same after a failure as before, and may be sent
again (an upsert writes by id, a deletion deletes what is there).
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import httpx
from chromadb.api.fastapi import FastAPI
from chromadb.api.models.Collection import Collection
from chromadb.auth.utils import maybe_set_tenant_and_database
from chromadb.config import DEFAULT_DATABASE, DEFAULT_TENANT, Settings, System
from chromadb.errors import InvalidArgumentError, NotFoundError, error_types

from metaembed_rag.errors import StoreError
from metaembed_rag.store.access import AUTH, CLOUD_KEY, HEADERS, TOKEN, ServerAccess, namespace_of
from metaembed_rag.store.answers import is_answer
from metaembed_rag.store.places import CLOUD_SCHEME, is_cloud
from metaembed_rag.store.quotas import QuotaCollection, quotas_at
from metaembed_rag.web import (
    TOO_LARGE,
    Patience,
    asked_pause,
    explained,
    time_limit,
    without_password,
)

TIMEOUT = 60.0
"""Seconds that a server may keep silent, where nobody names others."""
UNLIMITED = 2**31
"""More records than any request has."""
_TRIES = 5
_RECORDS = 1000
"""Records in a request where the server tells no limit."""
_STRANGE = "what answers there is no Chroma, or of another version: its answer cannot be read"
_PORTS = {"http": 8000, "https": 443}
_TRUST = "; or name that file for this server alone: verify='ca.pem' (--ca-file ca.pem)"
_HOW_TO_MAKE = (
    "; Chroma makes none by itself: chromadb.AdminClient(…).create_tenant(name), and then "
    ".create_database(name, tenant)"
)

_log = logging.getLogger(__name__)


class RequestTooLargeError(StoreError):
    """A server or the proxy before it takes no request of that size; a smaller one may pass."""


def send_halving(part: slice, send: Callable[[slice], None], ids: Sequence[str]) -> int:
    """Send the records of a slice, in halves where they are too large for one request.

    Returns:
        How many records fit into one request, as far as a refusal has shown it.

    Raises:
        StoreError: One record alone is too large, or something else fails.
    """
    most, waiting = UNLIMITED, [part]
    while waiting:
        now = waiting.pop()
        try:
            if now.stop - now.start <= most:
                send(now)
                continue
        except RequestTooLargeError as error:
            if now.stop - now.start == 1:
                raise StoreError(
                    f"{error}, and {ids[now.start]!r} makes one alone; raise that limit (nginx: "
                    f"client_max_body_size), or index into a new collection with fewer vectors= "
                    f"or a smaller format="
                ) from error
            most = (now.stop - now.start) // 2
        middle = (now.start + now.stop) // 2
        waiting += [slice(middle, now.stop), slice(now.start, middle)]
    return most


class ServerClient:
    """What the store needs of ``chromadb.Client``, on a server.

    Args:
        where: ``http(s)://host:port``, in one spelling.
        access: How it is asked, with a time limit.
        settings: Chroma's.

    Attributes:
        tenant: Chroma's tenant that is asked.
        database: The tenant's database.
        quotas: What the server takes; None where that is not known to be limited.

    Raises:
        StoreError: The address names no host, or there is no such tenant or database.
    """

    def __init__(self, where: str, access: ServerAccess, settings: Settings) -> None:
        url = urlsplit(where)
        if not url.hostname:
            raise StoreError(f"{where!r} names no host; write it as http://host:8000")
        settings.chroma_api_impl = "chromadb.api.fastapi.FastAPI"
        settings.chroma_server_host = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
        settings.chroma_server_http_port = url.port or _PORTS[url.scheme]
        settings.chroma_server_ssl_enabled = url.scheme == "https"
        settings.chroma_server_headers = dict(access.headers)
        self._where, self.quotas = where, quotas_at(where)
        self._system = System(settings)
        self._api: Any = self._system.instance(_Api)
        self._api.where = where
        self._session = _Session(where, access, self._api)
        self.tenant, self.database = self._tenant_and_database(access, settings)
        self._place = {"tenant": self.tenant, "database": self.database}
        if self.namespace:
            self._check_database()

    @property
    def namespace(self) -> str:
        """``tenant/database``; ``""`` for Chroma's default ones."""
        return namespace_of(self.tenant, self.database)

    def get_collection(self, name: str, embedding_function: None = None) -> Any:
        """A collection that is there; embeddings are given and never made by Chroma."""
        return self._collection(self._api.get_collection(name=name, **self._place))

    def get_or_create_collection(
        self, name: str, *, embedding_function: None, **settings: Any
    ) -> Any:
        """A collection, made with ``metadata`` and ``configuration`` where it is not there.

        Raises:
            StoreError: It would not be within the server's quotas.
        """
        if self.quotas is not None:
            self.quotas.check_collection(name, settings.get("metadata") or {})
        found = self._api.get_or_create_collection(name=name, **settings, **self._place)
        return self._collection(found)

    def collection_names(self) -> list[str]:
        """Of all collections of the database."""
        return [str(found.name) for found in self._api.list_collections(**self._place)]

    def get_max_batch_size(self) -> int:
        """Records in one request at most."""
        if self.quotas is not None:
            return self.quotas.records
        told = int(self._api.get_max_batch_size())
        return told if told > 0 else _RECORDS

    def close(self) -> None:
        """Close the connections."""
        self._session.close()
        self._system.stop()

    def _collection(self, model: Any) -> Any:
        found = Collection(client=self._api, model=model, embedding_function=None)
        return found if self.quotas is None else QuotaCollection(found, self.quotas)

    def _tenant_and_database(self, access: ServerAccess, settings: Settings) -> tuple[str, str]:
        """Those that are named; else those of the key where they are asked for, or the default.

        Raises:
            StoreError: The key is of several, and none is named.
        """
        tenant, database = access.tenant, access.database
        if not is_cloud(self._where):
            tenant, database = tenant or DEFAULT_TENANT, database or DEFAULT_DATABASE
            if not settings.chroma_overwrite_singleton_tenant_database_access_from_auth:
                return tenant, database
        if not tenant or not database or not is_cloud(self._where):
            identity = self._api.get_user_identity()
            tenant, database = maybe_set_tenant_and_database(identity, True, tenant, database)
        if not tenant or not database:
            raise StoreError(
                f"the key for {self._where} is of several databases: name one, "
                f"{CLOUD_SCHEME}://tenant/database, or tenant= and database= (--tenant, --database)"
            )
        return tenant, database

    def _check_database(self) -> None:
        """See that there is such a tenant and such a database, which Chroma makes for nobody.

        Raises:
            StoreError: There is none, or not for whoever asks.
        """
        try:
            self._api.get_database(self.database, tenant=self.tenant)
        except (NotFoundError, InvalidArgumentError) as error:
            host = "" if is_cloud(self._where) else _HOW_TO_MAKE
            raise StoreError(
                f"there is no database {self.database!r} of a tenant {self.tenant!r} at "
                f"{self._where}, or not for this key ({error}): see tenant= and database= "
                f"(--tenant, --database){host}"
            ) from error


class _Api(FastAPI):
    """Chroma's HTTP API, which here refuses answers that are none of Chroma's."""

    where = ""

    def _make_request(self, method: str, path: str, **kwargs: Any) -> Any:
        try:
            answer = super()._make_request(method, path, **kwargs)
        except (ValueError, RecursionError) as error:  # of its reader of JSON
            raise StoreError(f"Chroma at {self.where}: {_STRANGE} ({error})") from error
        if not is_answer(path, answer, method):
            raise StoreError(f"Chroma at {self.where}: {_STRANGE} (to {path.rpartition('/')[2]})")
        return answer

    _make_request.__override__ = True  # type: ignore[attr-defined]  # Chroma's classes ask for it


class _Session(httpx.Client):
    """Takes the place of the session of Chroma's HTTP API, with its headers.

    It raises a StoreError for whatever is no answer of Chroma's.
    """

    def __init__(self, where: str, access: ServerAccess, api: Any) -> None:
        timeout = TIMEOUT if access.timeout is None else access.timeout
        # What the caller says goes before what Chroma's own variables say.
        headers = {**_lower(api.get_request_headers()), **_lower(access.headers)}
        super().__init__(
            timeout=time_limit(timeout),
            limits=api.http_limits,
            headers=headers,
            verify=access.context,
        )
        if access.verify is False and where.startswith("https:"):
            _log.warning("the certificate of %s is not checked, as was asked for", where)
        self._where, self._seconds = where, timeout
        self._hidden = replace(access, headers=headers, token=None, auth=None).hidden
        self._has_answered = False
        api._session.close()
        api._session = self
        weakref.finalize(api, self.close)  # also where nobody closes what was opened

    def request(self, method: str, url: httpx.URL | str, **options: Any) -> httpx.Response:
        """Send a request, again while the server is busy or the connection breaks.

        A server that never answered is not waited for: its address is likely wrong.

        Raises:
            RequestTooLargeError: It takes none of that size.
            StoreError: It gives no answer, or none of Chroma's.
        """
        patience = Patience(_TRIES, self._seconds, reconnects=self._has_answered)
        send = super().request
        try:
            answer = patience.send(lambda: send(method, url, timeout=patience.left, **options))
        except httpx.HTTPError as error:
            said = explained(error, self._where)
            more = _TRUST if "not trusted" in said else ""
            raise StoreError(
                f"Chroma at {self._where}: {said}{more} ({patience.spoken}, "
                f"timeout {self._seconds:g} s)"
            ) from error
        self._has_answered = True
        if problem := _problem(answer, patience.spoken):
            kind = RequestTooLargeError if answer.status_code == TOO_LARGE else StoreError
            raise kind(f"Chroma at {self._where}: {self._hidden(problem)}")
        return answer


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers by their names in lower case, in which one name is one header."""
    return {name.lower(): value for name, value in headers.items()}


def _problem(answer: httpx.Response, tries: str) -> str:
    """What is wrong with an answer that Chroma's client would not understand; empty otherwise."""
    status = f"{answer.status_code} {answer.reason_phrase}".strip()
    if answer.is_success:
        return "" if _is_json(answer) else "what answers there is no Chroma, it speaks no JSON"
    if answer.status_code in (401, 403):
        return (
            f"refused ({status}): the server or a proxy before it wants another key or password, "
            f"or lets this one not in here; pass what it wants: PageIndex.open(…, token='…'), "
            f"auth=('user', 'password') or headers={{'Authorization': …}}; on the command line by "
            f"the environment variable {TOKEN}, {AUTH} (user:password) or {HEADERS}, for Chroma "
            f"Cloud {CLOUD_KEY}"
        )
    if answer.status_code == TOO_LARGE:
        return f"the server takes no request of {len(answer.request.content):,} bytes ({status})"
    if answer.is_redirect:
        place = without_password(answer.headers.get("location", "somewhere else"))
        return f"the server sends requests on to {place} ({status}); name the one that is meant"
    if _is_of_chroma(answer):
        return ""
    if answer.status_code == 404:
        return (
            f"what answers there is no Chroma, or of another version: it does not know "
            f"{answer.url.path} ({status})"
        )
    pause = asked_pause(answer)
    later = "" if pause is None else f"; it asks to wait {pause:g} s"
    said = " ".join(str(_body(answer).get("message", answer.text)).split())[:200]
    return f"the server fails ({status}, {tries}{later}): {said or 'it says nothing more'}"


def _is_json(answer: httpx.Response) -> bool:
    """Whether it may be JSON; the pages of other servers and of proxies begin with ``<``."""
    return answer.content.lstrip()[:1] not in (b"", b"<")


def _is_of_chroma(answer: httpx.Response) -> bool:
    """Whether it is an error that Chroma's client turns into one of its own by its name."""
    body = _body(answer)
    told = isinstance(body.get("message"), str) and isinstance(body.get("error"), str)
    return told and body["error"] in error_types.keys() - {"ChromaError"}


def _body(answer: httpx.Response) -> dict[str, Any]:
    try:
        body = answer.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
