"""The program that reads letters in a process of its own, started as a module by `ocr`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image

from metaembed_rag.pages.lines import lines_of, turn_of
from metaembed_rag.pages.ocr import read_here
from metaembed_rag.pages.ocr_languages import OcrLanguage
from metaembed_rag.pages.worker_program import Server, serve


def _read(server: Server, data: bytes, arguments: dict[str, Any]) -> None:
    image = Image.frombytes("RGB", tuple(arguments["size"]), data)
    model = Path(arguments["model"]) if arguments.get("model") else None
    text = read_here(image, OcrLanguage(arguments.get("language", ""), model))
    server.say({"text": text, "lines": lines_of(text), "turn": turn_of(text)})
    server.go_on()


if __name__ == "__main__":
    serve({"read": _read})
