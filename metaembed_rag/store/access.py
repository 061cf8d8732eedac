"""Who asks a Chroma server: tenant, database, credentials, and how its certificate is checked.

No secret is in what is shown of it: not in its ``repr``, in messages, or in names of folders.
"""

from __future__ import annotations

import base64
import math
import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from chromadb.config import DEFAULT_DATABASE, DEFAULT_TENANT

from metaembed_rag.errors import StoreError, kind_of_value
from metaembed_rag.store.places import is_cloud, is_server

TOKEN, AUTH, HEADERS = (
    "METAEMBED_CHROMA_TOKEN",
    "METAEMBED_CHROMA_AUTH",
    "METAEMBED_CHROMA_HEADERS",
)
"""Environment variables of what a Chroma server wants to see, where the caller says nothing."""
CLOUD_KEY, CLOUD_TENANT, CLOUD_DATABASE = "CHROMA_API_KEY", "CHROMA_TENANT", "CHROMA_DATABASE"
"""Those that Chroma's own client of Chroma Cloud reads."""

_AUTHORIZATION, _CHROMA_TOKEN = "authorization", "x-chroma-token"
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NO_SECRETS = frozenset(
    {"accept", "accept-encoding", "connection", "content-type", "user-agent", "host"}
)
"""Headers whose values may be shown."""
_SHORTEST_SECRET = 4
"""Characters; to hide what is shorter would hide words of sentences."""


@dataclass(frozen=True)
class ServerAccess:
    """How a server is asked, beside its address.

    Args:
        tenant: Chroma's tenant; its default one without.
        database: The tenant's database; the default one without.
        headers: HTTP headers of each request.
        token: Sent as ``Authorization: Bearer …``.
        auth: User and password, sent as ``Authorization: Basic …``.
        verify: Check the server's certificate against the authorities that are trusted here, or
            against those of a PEM file; False does not check it.
        timeout: Seconds that the server may keep silent; the usual ones without.
        client: An open client of Chroma on a database in memory, instead of a server.

    Raises:
        StoreError: One of them has no meaning, or two say the same.
    """

    tenant: str | None = None
    database: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    token: str | None = field(default=None, repr=False)
    auth: tuple[str, str] | None = field(default=None, repr=False)
    verify: bool | str | os.PathLike[str] = True
    timeout: float | None = None
    client: Any = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for name in ("tenant", "database"):
            _check_name(name, getattr(self, name))
        for name, value in self.headers.items():
            _check_header(name, value)
        _check_token(self.token)
        _check_auth(self.auth)
        named = {name.lower() for name in self.headers} & {_AUTHORIZATION}
        if bool(self.token) + bool(self.auth) + len(named) > 1:
            raise StoreError(
                "token=, auth= and a header Authorization say the same: give one of them"
            )
        if self.timeout is not None and not 0 < self.timeout < math.inf:
            raise StoreError(f"timeout must be a number of seconds over 0, not {self.timeout!r}")
        if not isinstance(self.verify, bool) and not Path(self.verify).is_file():
            raise StoreError(
                f"verify={os.fspath(self.verify)!r} is no file; name the PEM file of the "
                f"certificate or of its authority"
            )

    @property
    def is_plain(self) -> bool:
        """Whether it says nothing but headers and a timeout, which places without one ignore."""
        named = (self.tenant, self.database, self.token, self.auth)
        return named == (None,) * 4 and self.verify is True

    def at(self, where: str) -> ServerAccess:
        """What counts for a place: with the environment's credentials where none are given.

        Raises:
            StoreError: It is no server and tenant, database or credentials are given; Chroma Cloud
                without a key; variables without a meaning.
        """
        if not is_server(where):
            if not self.is_plain:
                raise StoreError(
                    f"tenant, database, token, auth and verify are of a Chroma server, and "
                    f"{where!r} is none; leave them out, or open http://host:8000"
                )
            return self
        known = _of_cloud(self) if is_cloud(where) else self
        return replace(known, headers=known._all_headers(where), token=None, auth=None)

    @property
    def context(self) -> ssl.SSLContext | bool:
        """How ``httpx`` checks the server's certificate."""
        if isinstance(self.verify, bool):
            return self.verify
        try:
            return ssl.create_default_context(cafile=os.fspath(self.verify))
        except (OSError, ssl.SSLError) as error:
            raise StoreError(
                f"{os.fspath(self.verify)} cannot be read as certificates ({error}); give a PEM "
                f"file"
            ) from error

    def hidden(self, text: str) -> str:
        """A text for messages, in which no secret of this access is left."""
        for secret in sorted(self._secrets(), key=len, reverse=True):
            text = text.replace(secret, "…")
        return text

    def _all_headers(self, where: str) -> dict[str, str]:
        """Those that are sent: the given ones, a token or a password as a header, the variables."""
        headers = {**_headers_in(os.environ.get(HEADERS, "")), **self.headers}
        there = {name.lower() for name in headers}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        elif self.auth is not None:
            headers["Authorization"] = _basic(self.auth)
        elif not there & {_AUTHORIZATION, _CHROMA_TOKEN}:
            headers |= _cloud_key() if is_cloud(where) else _credentials_of_environment()
        if is_cloud(where) and not {name.lower() for name in headers} & {_CHROMA_TOKEN}:
            raise StoreError(
                f"Chroma Cloud wants an API key: make one at https://www.trychroma.com and put it "
                f"into the environment variable {CLOUD_KEY}"
            )
        return headers

    def _secrets(self) -> set[str]:
        values = {v for name, v in self.headers.items() if name.lower() not in _NO_SECRETS}
        values |= {value.rpartition(" ")[2] for value in values}
        values |= {_password_in(value) for value in values}
        values |= {self.token or "", *(self.auth or ())}
        return {value for value in values if len(value) >= _SHORTEST_SECRET}


def parse_header(line: str) -> tuple[str, str]:
    """A header that is written ``Name: value``.

    Raises:
        StoreError: It is none; the value is not shown.
    """
    name, colon, value = line.partition(":")
    if not colon or not _HEADER_NAME.fullmatch(name.strip()):
        raise StoreError("a header is written 'Name: value'")
    return name.strip(), value.strip()


def namespace_of(tenant: str, database: str) -> str:
    """What tells a tenant's database from others in names of files; ``""`` for Chroma's default."""
    is_default = (tenant, database) == (DEFAULT_TENANT, DEFAULT_DATABASE)
    return "" if is_default else f"{tenant}/{database}"


def _of_cloud(access: ServerAccess) -> ServerAccess:
    """With the tenant and the database that Chroma's variables name, where none are given."""
    return replace(
        access,
        tenant=access.tenant or os.environ.get(CLOUD_TENANT) or None,
        database=access.database or os.environ.get(CLOUD_DATABASE) or None,
    )


def _cloud_key() -> dict[str, str]:
    key = os.environ.get(CLOUD_KEY, "").strip()
    _check_header("X-Chroma-Token", key)
    return {"X-Chroma-Token": key} if key else {}


def _credentials_of_environment() -> dict[str, str]:
    token, auth = os.environ.get(TOKEN, "").strip(), os.environ.get(AUTH, "").strip()
    if token and auth:
        raise StoreError(f"{TOKEN} and {AUTH} are both set; leave one of them out")
    if token:
        _check_token(token)
        return {"Authorization": f"Bearer {token}"}
    if auth:
        user, colon, password = auth.partition(":")
        if not colon:
            raise StoreError(f"the environment variable {AUTH} is not written user:password")
        return {"Authorization": _basic((user, password))}
    return {}


def _headers_in(lines: str) -> dict[str, str]:
    try:
        found = dict(parse_header(line) for line in lines.splitlines() if line.strip())
    except StoreError as error:
        raise StoreError(
            f"the environment variable {HEADERS} holds a line that is no header: {error}, one a "
            f"line"
        ) from error
    for name, value in found.items():
        _check_header(name, value)
    return found


def _basic(auth: tuple[str, str]) -> str:
    return "Basic " + base64.b64encode(":".join(auth).encode()).decode()


def _password_in(value: str) -> str:
    """The password of a header value for Basic authentication; ``""`` where it is none."""
    try:
        decoded = base64.b64decode(value, validate=True).decode()
    except ValueError:
        return ""
    return decoded.partition(":")[2]


def _check_name(what: str, name: object) -> None:
    """Refuse what cannot stand in an address of Chroma's API."""
    if name is None:
        return
    if not isinstance(name, str):
        raise StoreError(f"{what}= is a name, not {kind_of_value(name)}")
    if not name.strip() or name in (".", "..") or not name.isprintable() or "/" in name:
        raise StoreError(f"{what}={name!r} is no name: it is not empty and has no / in it")


def _check_header(name: object, value: object) -> None:
    """Refuse a header that cannot be sent, without showing its value."""
    if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
        raise StoreError(f"{name!r} is no name of an HTTP header")
    if not isinstance(value, str):
        raise StoreError(f"the value of the header {name!r} is text, not {kind_of_value(value)}")
    if not value.isascii() or not (value.isprintable() or not value):
        raise StoreError(f"the value of the header {name!r} holds signs that cannot be sent")


def _check_token(token: object) -> None:
    if token is None:
        return
    if not isinstance(token, str):
        raise StoreError(f"token= is text, not {kind_of_value(token)}")
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise StoreError("the token is empty or holds signs that cannot be sent, such as a space")


def _check_auth(auth: object) -> None:
    if auth is None:
        return
    pair = isinstance(auth, tuple | list) and len(auth) == 2
    if not pair or not all(isinstance(one, str) for one in auth):  # type: ignore[attr-defined]
        raise StoreError("auth= is a user and a password: auth=('user', 'password')")
    if ":" in auth[0]:  # type: ignore[index]
        raise StoreError("the user in auth= has a colon in it, which HTTP does not allow")


PLAIN = ServerAccess()
"""The default tenant, with nothing but what the environment says."""
