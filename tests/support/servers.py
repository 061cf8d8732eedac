"""Servers that a test starts in a thread."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np


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
            {"index": i, "object": "pooling", "data": token_vectors(text).tolist()}
            for i, text in enumerate(texts)
        ]
        return 200, {}, json.dumps({"data": data[::-1] if self.reverse else data})


def token_vectors(text: str) -> np.ndarray:
    rows = [np.random.default_rng(sum(word.encode())).standard_normal(8) for word in text.split()]
    return np.array(rows, np.float32)
