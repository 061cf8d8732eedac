"""The program that decodes pictures in a process of its own, started as a module by `image_client`.

Another process than that of PDFs: what one library has done to its process costs the other nothing.
"""

from __future__ import annotations

from typing import Any

from metaembed_rag.pages.frames import parts_of
from metaembed_rag.pages.images import read_image
from metaembed_rag.pages.worker_program import Server, serve


def _pages(server: Server, data: bytes, arguments: dict[str, Any]) -> None:
    names = parts_of(arguments.pop("names"))
    server.pages(read_image(data, names=names, opened=server.opened, **arguments))


if __name__ == "__main__":
    serve({"pages": _pages})
