"""A Chroma server: requests with a time limit, sent again where that helps, failures by name.

Chroma's own client waits for ever, for its first requests too. So its HTTP API is used without that
client: what this package asks of a server is the same after a failure as before, and may be sent
again (an upsert writes by id, a deletion deletes what is there).
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import httpx
from chromadb.api.fastapi import FastAPI
from chromadb.api.models.Collection import Collection
from chromadb.auth.utils import maybe_set_tenant_and_database
from chromadb.config import DEFAULT_DATABASE, DEFAULT_TENANT, Settings, System
from chromadb.errors import error_types

from metaembed_rag.errors import StoreError
from metaembed_rag.store.answers import is_answer
from metaembed_rag.web import TOO_LARGE, Patience, asked_pause, explained, time_limit

TIMEOUT = 60.0
"""Seconds that a server may keep silent, where nobody names others."""
UNLIMITED = 2**31
"""More records than any request has."""
_TRIES = 5
_RECORDS = 1000
"""Records in a request where the server tells no limit."""
_STRANGE = "what answers there is no Chroma, or of another version: its answer cannot be read"
_PORTS = {"http": 8000, "https": 443}


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
        headers: Sent with each request.
        timeout: Seconds that the server may keep silent.
        settings: Chroma's.

    Raises:
        StoreError: The address names no host.
    """

    def __init__(
        self, where: str, headers: Mapping[str, str] | None, timeout: float, settings: Settings
    ) -> None:
        url = urlsplit(where)
        if not url.hostname:
            raise StoreError(f"{where!r} names no host; write it as http://host:8000")
        settings.chroma_api_impl = "chromadb.api.fastapi.FastAPI"
        settings.chroma_server_host = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
        settings.chroma_server_http_port = url.port or _PORTS[url.scheme]
        settings.chroma_server_ssl_enabled = url.scheme == "https"
        settings.chroma_server_headers = dict(headers or {})
        self._system = System(settings)
        self._api: Any = self._system.instance(_Api)
        self._api.where = where
        self._session = _Session(where, timeout, self._api)
        self._place = self._tenant_and_database(settings)

    def get_collection(self, name: str, embedding_function: None = None) -> Collection:
        """A collection that is there; embeddings are given and never made by Chroma."""
        return self._collection(self._api.get_collection(name=name, **self._place))

    def get_or_create_collection(
        self, name: str, *, embedding_function: None, **settings: Any
    ) -> Collection:
        """A collection, made with ``metadata`` and ``configuration`` where it is not there."""
        found = self._api.get_or_create_collection(name=name, **settings, **self._place)
        return self._collection(found)

    def get_max_batch_size(self) -> int:
        """Records in one request at most."""
        told = int(self._api.get_max_batch_size())
        return told if told > 0 else _RECORDS

    def close(self) -> None:
        """Close the connections."""
        self._session.close()
        self._system.stop()

    def _collection(self, model: Any) -> Collection:
        return Collection(client=self._api, model=model, embedding_function=None)

    def _tenant_and_database(self, settings: Settings) -> dict[str, str]:
        """Chroma's default ones, or those of the key where its settings say so."""
        place: tuple[str | None, str | None] = (DEFAULT_TENANT, DEFAULT_DATABASE)
        if settings.chroma_overwrite_singleton_tenant_database_access_from_auth:
            place = maybe_set_tenant_and_database(self._api.get_user_identity(), True, *place)
        return {"tenant": place[0] or DEFAULT_TENANT, "database": place[1] or DEFAULT_DATABASE}


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

    def __init__(self, where: str, timeout: float, api: Any) -> None:
        verify = api.get_settings().chroma_server_ssl_verify
        super().__init__(
            timeout=time_limit(timeout),
            limits=api.http_limits,
            headers=api.get_request_headers(),
            verify=True if verify is None else verify,
        )
        self._where, self._seconds = where, timeout
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
            raise StoreError(
                f"Chroma at {self._where}: {explained(error, self._where)} ({patience.spoken}, "
                f"timeout {self._seconds:g} s)"
            ) from error
        self._has_answered = True
        if problem := _problem(answer, patience.spoken):
            kind = RequestTooLargeError if answer.status_code == TOO_LARGE else StoreError
            raise kind(f"Chroma at {self._where}: {problem}")
        return answer


def _problem(answer: httpx.Response, tries: str) -> str:
    """What is wrong with an answer that Chroma's client would not understand; empty otherwise."""
    status = f"{answer.status_code} {answer.reason_phrase}".strip()
    if answer.is_success:
        return "" if _is_json(answer) else "what answers there is no Chroma, it speaks no JSON"
    if answer.status_code in (401, 403):
        return (
            f"refused ({status}): the server or a proxy before it wants another key or password; "
            f"pass what it wants as a header: PageIndex.open(…, headers={{'Authorization': …}})"
        )
    if answer.status_code == TOO_LARGE:
        return f"the server takes no request of {len(answer.request.content):,} bytes ({status})"
    if answer.is_redirect:
        place = answer.headers.get("location", "somewhere else")
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
