"""The program that reads letters in a process of its own, started as a module by `ocr`."""

from __future__ import annotations

from typing import Any

from PIL import Image

from metaembed_rag.pages.lines import lines_of, turn_of
from metaembed_rag.pages.ocr import read_here
from metaembed_rag.pages.worker_program import Server, serve


def _read(server: Server, data: bytes, arguments: dict[str, Any]) -> None:
    image = Image.frombytes("RGB", tuple(arguments["size"]), data)
    text = read_here(image)
    server.say({"text": text, "lines": lines_of(text), "turn": turn_of(text)})
    server.go_on()


if __name__ == "__main__":
    serve({"read": _read})
