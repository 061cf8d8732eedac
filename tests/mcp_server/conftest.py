"""A client of the official SDK, connected to a server of ours."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import Callable
from typing import Any

import pytest
from mcp import Client
from PIL import Image

from metaembed_rag.mcp_server import PageTools, build_server

RED, BLUE = (255, 0, 0), (0, 0, 255)
"""As JPEG keeps them."""


class Answer:
    """What a tool said."""

    def __init__(self, result: Any) -> None:
        self.failed: bool = result.is_error
        self.blocks = result.content
        self.text = "\n".join(one.text for one in self.blocks if one.type == "text")
        self.pictures = [one for one in self.blocks if one.type == "image"]

    @property
    def colours(self) -> list[Any]:
        opened = [Image.open(io.BytesIO(base64.b64decode(one.data))) for one in self.pictures]
        return [image.getpixel((20, 15)) for image in opened]


Ask = Callable[..., Answer]


@pytest.fixture
def ask(index) -> Ask:
    """Call a tool over the index of two files: ``ask("search_pages", query="apples")``."""
    return asking(PageTools(index))


def asking(tools: PageTools) -> Ask:
    """What calls a tool by a client in this process."""

    async def asked(name: str, arguments: dict[str, Any]) -> Answer:
        async with Client(build_server(tools)) as client:
            return Answer(await client.call_tool(name, arguments))

    return lambda name, **arguments: asyncio.run(asked(name, arguments))
