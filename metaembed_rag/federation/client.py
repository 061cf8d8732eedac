"""Asking a running ``metaembed serve``: the standard library alone, so that it starts at once."""

from __future__ import annotations

import http.client
import json
import mimetypes
import ssl
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from metaembed_rag.errors import PageError, ServerError
from metaembed_rag.federation import TOKEN

_SILENCE = 120.0
"""Seconds for which a server may keep silent; an upload tells of each batch."""
_MOST = 512 * 1024**2
"""Bytes of an answer."""
Parts = list[tuple[str, str, bytes]]
"""Of a form: name, name of the file or ``""``, content."""


class Server:
    """A running ``metaembed serve``.

    Args:
        address: ``http://host:port`` or ``https://…``, with a path where it lies below one.
        token: Shown with each request; ``""`` for none.
        silence: Seconds for which it may keep silent.

    Raises:
        ServerError: That is no such address, or the token could be no header.
    """

    def __init__(
        self,
        address: str,
        token: str = "",  # nosec B107
        silence: float = _SILENCE,
    ) -> None:
        try:
            parts = urlsplit(address)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise ServerError(f"{address!r} is no address of a server: {error}") from error
        if parts.scheme not in ("http", "https") or not host:
            raise ServerError(f"{address!r} is no address of a server; write http://host:port")
        if parts.username or parts.password:
            raise ServerError(f"no user and no password in an address; put the token into {TOKEN}")
        if not all("!" <= character <= "~" for character in token):
            raise ServerError(f"{TOKEN} holds more than visible ASCII characters")
        self.address = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        self._host, self._port, self._tls = host, port, parts.scheme == "https"
        self._path = parts.path.rstrip("/")
        self._token, self._silence = token, silence

    def get(self, path: str) -> dict[str, Any]:
        """What is read."""
        return self._json("GET", path)

    def delete(self, path: str) -> dict[str, Any]:
        """What is deleted."""
        return self._json("DELETE", path)

    def post(self, path: str, question: Mapping[str, Any]) -> dict[str, Any]:
        """What is asked, as JSON."""
        body = json.dumps(question).encode()
        return self._json("POST", path, body, {"Content-Type": "application/json"})

    def post_form(self, path: str, parts: Parts) -> dict[str, Any]:
        """What is asked with a picture, as a form."""
        body, kind = _form(parts)
        return self._json("POST", path, body, {"Content-Type": kind})

    def search(
        self, asked: Mapping[str, Any], picture: tuple[str, str, bytes] | None = None
    ) -> dict[str, Any]:
        """What a server finds.

        Args:
            asked: As ``POST /search`` takes it; None and ``""`` stand for what was not said.
            picture: Is asked for, too, as a part of a form.

        Raises:
            ServerError: The server says what is wrong, or does not answer.
        """
        said = {name: _plain(value) for name, value in asked.items() if value not in (None, "")}
        if picture is None:
            return self.post("/search", said)
        parts: Parts = [(name, "", _field(value)) for name, value in said.items()]
        return self.post_form("/search", [*parts, picture])

    def events(self, path: str, parts: Parts) -> Iterator[tuple[str, dict[str, Any]]]:
        """What a server tells while it works: name and data of each event."""
        body, kind = _form(parts)
        headers = {"Content-Type": kind, "Accept": "text/event-stream"}
        with self._answer("POST", path, body, headers) as answer:
            name = ""
            for line in answer:
                field, _, value = line.decode("utf-8").rstrip("\r\n").partition(": ")
                if field == "event":
                    name = value
                elif field == "data":
                    yield name, json.loads(value)

    def picture(self, path: str) -> bytes:
        """The bytes of a picture that an answer names by its path."""
        with self._answer("GET", path, b"", {}) as answer:
            return answer.read(_MOST)

    def absolute(self, path: str | None) -> str | None:
        """The address of something that an answer names by its path."""
        return None if path is None else self.address + path

    def _json(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        with self._answer(method, path, body, headers or {}) as answer:
            found = _read_json(answer)
        if not isinstance(found, dict):
            raise ServerError(f"{self.address} is no `metaembed serve`: its answer is no JSON")
        return found

    @contextmanager
    def _answer(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str]
    ) -> Iterator[http.client.HTTPResponse]:
        """An answer that is no failure.

        Raises:
            ServerError: There is none, or the server says what is wrong.
        """
        connection = self._connection()
        shown = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        agent = {"User-Agent": "metaembed"}
        try:
            connection.request(method, self._path + path, body, {**agent, **shown, **headers})
            answer = connection.getresponse()
            if answer.status != 200:
                raise ServerError(self._refusal(answer))
            yield answer
        except TimeoutError as error:
            raise ServerError(f"{self.address} keeps silent; try again later") from error
        except (BrokenPipeError, ConnectionResetError) as error:
            raise ServerError(
                f"{self.address} broke off; it is shutting down, or takes no {len(body):,} bytes "
                f"at a time (see metaembed serve --max-upload)"
            ) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise ServerError(
                f"{self.address} does not answer ({why}); is `metaembed serve` running there?"
            ) from error
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if not self._tls:
            return http.client.HTTPConnection(self._host, self._port, timeout=self._silence)
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(
            self._host, self._port, timeout=self._silence, context=context
        )

    def _refusal(self, answer: http.client.HTTPResponse) -> str:
        found = _read_json(answer)
        said = found.get("error") if isinstance(found, dict) else None
        if answer.status == 401:
            return f"{self.address} needs its token: put it into the environment variable {TOKEN}"
        if answer.status == 404 and said == "Not Found":  # the words of no route of a server
            return f"{self.address} is no `metaembed serve`: there is no such place"
        return str(said) if said else f"{self.address} answers {answer.status} {answer.reason}"


def file_part(name: str, path: str) -> tuple[str, str, bytes]:
    """A file as a part of a form.

    Raises:
        PageError: It cannot be read.
    """
    try:
        return name, Path(path).name, Path(path).expanduser().read_bytes()
    except OSError as error:
        raise PageError(path, f"cannot be read: {error.strerror or error}") from error


def escaped(text: str) -> str:
    """A text as a part of an address."""
    return quote(text, safe="", errors="surrogatepass")


def _plain(value: Any) -> Any:
    """A budget as a pair, which JSON has."""
    return [value.r_q, value.r_c] if hasattr(value, "r_q") else value


def _field(value: Any) -> bytes:
    """A value as the field of a form."""
    return (value if isinstance(value, str) else json.dumps(value)).encode("utf-8", "replace")


def _form(parts: Parts) -> tuple[bytes, str]:
    """The body of a form, and what it is called."""
    border = uuid.uuid4().hex
    lines: list[bytes] = []
    for name, file, content in parts:
        said = f'Content-Disposition: form-data; name="{name}"'
        if file:
            kind = mimetypes.guess_type(file)[0] or "application/octet-stream"
            clean = file.replace("\\", "_").replace('"', "%22").replace("\r", "").replace("\n", "")
            said += f'; filename="{clean}"\r\nContent-Type: {kind}'
        head = f"--{border}\r\n{said}\r\n\r\n".encode("utf-8", "replace")
        lines += [head, content, b"\r\n"]
    lines.append(f"--{border}--\r\n".encode())
    return b"".join(lines), f"multipart/form-data; boundary={border}"


def _read_json(answer: http.client.HTTPResponse) -> Any:
    try:
        return json.loads(answer.read(_MOST))
    except (ValueError, RecursionError):
        return None
