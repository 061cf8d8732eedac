"""The program that reads PDFs in a process of its own, started as a module by `pdf_client`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from metaembed_rag.pages import pdf
from metaembed_rag.pages.worker_program import Server, serve


def _count(server: Server, data: bytes, arguments: dict[str, Any]) -> None:
    server.say({"opened": pdf.count_pdf(Path(arguments["path"]))})


def _texts(server: Server, data: bytes, arguments: dict[str, Any]) -> None:
    def choose(count: int) -> Iterable[int]:
        server.opened(count)
        chosen = server.asked()
        return [] if chosen is None else chosen["numbers"]

    for number, text in pdf.read_texts(data, choose, **arguments):
        server.say({"number": number, "text": text})
        server.go_on()


def _pages(server: Server, data: bytes, arguments: dict[str, Any]) -> None:
    server.pages(pdf.read_pdf(data, opened=server.opened, **arguments))


if __name__ == "__main__":
    serve({"count": _count, "texts": _texts, "pages": _pages})
