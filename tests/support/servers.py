"""Servers that a test starts in a thread."""

from __future__ import annotations

import base64
import io
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image, ImageColor

Answer = tuple[int, dict[str, str], bytes]
"""Status, headers and body."""


class FakeServer:
    """Answers /v1/models and /pooling; a token's vector depends on the token alone."""

    def __init__(self) -> None:
        self.models = [{"id": "colbert", "root": "/models/colbert"}]
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.asked: list[str] = []
        """Method and path of whatever came, and the key that came with it."""
        self.failures: list[tuple[int, dict[str, str], str]] = []
        """Answered first, one a request: status, headers, body."""
        self.answer: dict[str, Any] | None = None
        self.reverse = False
        self.window: int | None = None
        """Tokens of a text that it reads."""
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._note()
                self._send(owner.get())

            def do_POST(self) -> None:
                self._note()
                length = int(self.headers["Content-Length"])
                body = json.loads(self.rfile.read(length))
                owner.keys.append(self.headers.get("Authorization"))
                self._send(owner.post(self.path, body))

            def _note(self) -> None:
                key = self.headers.get("Authorization", "")
                owner.asked.append(f"{self.command} {self.path} {key}".strip())

            def _send(self, what: tuple[int, dict[str, str], str]) -> None:
                status, headers, text = what
                data = text.encode()
                self.send_response(status)
                for key, value in {"Content-Length": str(len(data)), **headers}.items():
                    self.send_header(key, value)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                """Tests stay quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.005,), daemon=True).start()
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def get(self) -> tuple[int, dict[str, str], str]:
        if self.failures:
            return self.failures.pop(0)
        return 200, {}, json.dumps({"object": "list", "data": self.models})

    def post(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, str], str]:
        self.requests.append({"path": path, **body})
        if self.failures:
            return self.failures.pop(0)
        if self.answer is not None:
            return 200, {}, json.dumps(self.answer)
        texts = body.get("input") or [body["messages"][0]["content"][1]["text"] + " image"]
        data = [
            {"index": i, "object": "pooling", "data": token_vectors(text)[: self.window].tolist()}
            for i, text in enumerate(texts)
        ]
        return 200, {}, json.dumps({"data": data[::-1] if self.reverse else data})


class ChatServer(FakeServer):
    """Answers /chat/completions: it describes a picture by the colour of its first pixel."""

    def __init__(self) -> None:
        self.pictures: list[Image.Image] = []
        """Those that came, in their order."""
        self.refuses: dict[str, tuple[int, dict[str, str], str]] = {}
        """Answered about pictures of that colour."""
        self.seconds = 0.0
        """What an answer takes."""
        self.most_at_once = 0
        self._now, self._lock = 0, threading.Lock()
        super().__init__()

    def post(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, str], str]:
        with self._lock:
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        time.sleep(self.seconds)
        with self._lock:
            self._now -= 1
        self.requests.append({"path": path, **body})
        if self.failures:
            return self.failures.pop(0)
        picture = picture_of_message(body["messages"][0])
        self.pictures.append(picture)
        colour = colour_of(picture)
        if colour in self.refuses:
            return self.refuses[colour]
        return 200, {}, json.dumps(self.answer or chat_answer(f"A {colour} kite above a hill."))


def chat_answer(content: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": content}
    return {"object": "chat.completion", "choices": [{"index": 0, "message": message}]}


def picture_of_message(message: dict[str, Any]) -> Image.Image:
    (url,) = [part["image_url"]["url"] for part in message["content"] if "image_url" in part]
    kind, _, data = url.partition(";base64,")
    assert kind == "data:image/jpeg"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def colour_of(picture: Image.Image) -> str:
    names = ("red", "green", "blue", "white", "black", "yellow")
    first = picture.convert("RGB").getpixel((1, 1))

    def distance(name: str) -> int:
        return sum(abs(a - b) for a, b in zip(ImageColor.getrgb(name), first, strict=True))

    return min(names, key=distance)


def token_vectors(text: str) -> np.ndarray:
    rows = [np.random.default_rng(sum(word.encode())).standard_normal(8) for word in text.split()]
    return np.array(rows, np.float32)


class Proxy:
    """A server that answers what it is told to, and else hands requests on to another one."""

    def __init__(self, target: str = "", certificate: Path | None = None) -> None:
        self.failures: list[Answer] = []
        """Answered first, one a request."""
        self.always: Answer | None = None
        self.at: dict[str, Answer] = {}
        """Answered to requests whose path ends so."""
        self.most = 2**62
        """Bytes of a body that are taken."""
        self.silent = threading.Event()
        self.seen: list[tuple[str, dict[str, str], int]] = []
        """Path, headers and length of each request."""
        owner, client = self, httpx.Client(timeout=30)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                owner.seen.append((self.path, dict(self.headers.items()), len(body)))
                if owner.silent.is_set():
                    owner._go_on.wait(20)
                    self.close_connection = True
                    return
                self._send(*owner._answer(self.path, len(body)) or self._handed_on(body))

            do_POST = do_DELETE = do_GET

            def _handed_on(self, body: bytes) -> Answer:
                kind = {"Content-Type": "application/json"}
                got = client.request(self.command, target + self.path, content=body, headers=kind)
                return got.status_code, kind, got.content

            def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
                self.send_response(status)
                for key, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(key, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Tests stay quiet."""

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                """A client that gives up is no news."""

        self._go_on, self._client = threading.Event(), client
        self._server = Server(("127.0.0.1", 0), Handler)
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, args=(0.005,), daemon=True).start()
        self.port = self._server.server_port
        self.address = f"http{'s' if certificate else ''}://127.0.0.1:{self.port}"

    def _answer(self, path: str, length: int) -> Answer | tuple[()]:
        name = path.rpartition("/")[2]
        if name in self.at:
            return self.at[name]
        if self.failures:
            return self.failures.pop(0)
        if length > self.most:
            return 413, {}, b"<html>413 Request Entity Too Large</html>"
        return self.always or ()

    def close(self) -> None:
        self._go_on.set()
        self._server.shutdown()
        self._server.server_close()
        self._client.close()


@contextmanager
def proxy(target: str = "", certificate: Path | None = None) -> Iterator[Proxy]:
    made = Proxy(target, certificate)
    try:
        yield made
    finally:
        made.close()


@contextmanager
def silence() -> Iterator[str]:
    """The address of a server that takes connections and never says a word."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(50)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
