"""What clients ask of a server that encodes: as OpenAI and vLLM name it, and a little more."""

from __future__ import annotations

import base64
import binascii
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from metaembed_rag.errors import ServerError
from metaembed_rag.model import Input
from metaembed_rag.pages import load_pages

MOST_INPUTS = 256
"""Of one request."""
MOST_PASSES = 64
"""Of one document: what a client may ask for."""
_MOST_SIDE = 16_384
"""Pixels: a client has scaled its picture down already, and no pixel is to change here."""


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")


class PictureUrl(_Asked):
    """Where a picture is: in a data URL, since this server fetches nothing."""

    url: str
    detail: str | None = None


class Part(_Asked):
    """A text or a picture of a message."""

    type: Literal["text", "image_url"]
    text: str | None = None
    image_url: PictureUrl | None = None


class Content(_Asked):
    """Texts and at most one picture, which are encoded together."""

    content: str | list[Part]

    def read(self) -> Input:
        """What an encoder is given.

        Raises:
            ServerError: More than one picture, or one that is not in a data URL.
            PageError: A picture cannot be read.
        """
        if isinstance(self.content, str):
            return self.content
        texts = [part.text for part in self.content if part.type == "text" and part.text]
        urls = [part.image_url.url for part in self.content if part.image_url is not None]
        if len(urls) > 1:
            raise ServerError("an input has at most one picture")
        text = "\n".join(texts)
        if not urls:
            return text
        picture = _picture(urls[0])
        return {"text": text, "image": picture} if text else picture


class Message(Content):
    """What a user says."""

    role: Literal["user"]


class EncodingRequest(_Asked):
    """Inputs of one side.

    Attributes:
        input: A text, or several inputs: texts, or objects with ``content`` as a message has it.
        messages: One message of a user, in place of ``input``.
        input_type: The side; vectors of queries and of documents differ.
        dimensions: Leading values of each vector, where the model was trained so.
        max_passes: The most passes over the text of one document.
    """

    model: str | None = None
    user: str | None = None
    input: str | list[str | Content] | None = None
    messages: list[Message] | None = Field(default=None, min_length=1, max_length=1)
    input_type: Literal["query", "document"] = "document"
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(default=None, ge=1)
    max_passes: int | None = Field(default=None, ge=1, le=MOST_PASSES)

    @model_validator(mode="after")
    def _one_way(self) -> EncodingRequest:
        if (self.input is None) == (self.messages is None):
            raise ValueError("give input, or messages")
        if isinstance(self.input, list) and not 1 <= len(self.input) <= MOST_INPUTS:
            raise ValueError(f"a request has 1 to {MOST_INPUTS} inputs, not {len(self.input)}")
        return self

    def inputs(self) -> list[Input]:
        """What an encoder is given.

        Raises:
            ServerError: A picture is not in a data URL.
            PageError: A picture cannot be read.
        """
        if self.messages is not None:
            return [message.read() for message in self.messages]
        given = [self.input] if isinstance(self.input, str) else self.input or []
        return [one if isinstance(one, str) else one.read() for one in given]


class PoolingRequest(EncodingRequest):
    """As vLLM's ``/pooling``; ``vectors`` asks for the first ones only.

    ``embed`` gives one vector an input, ``token_embed`` all that are asked for. Nothing is cut
    that ``truncate_prompt_tokens`` could allow to be cut, so it changes nothing.
    """

    task: Literal["token_embed", "embed"] = "token_embed"
    vectors: int | None = Field(default=None, ge=1)
    truncate_prompt_tokens: int | None = None


def _picture(url: str) -> Any:
    """The picture of a data URL, read as any file of a stranger: in a process with limits.

    Raises:
        ServerError: It is no data URL.
        PageError: It is no picture.
    """
    head, mark, data = url.partition(";base64,")
    if not mark or not head.startswith("data:image/"):
        raise ServerError(
            "a picture comes as data:image/png;base64,… (or jpeg, webp, …); this server fetches "
            "nothing"
        )
    try:
        found = base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise ServerError(f"a picture's data URL is no base64: {error}") from error
    page = next(iter(load_pages(found, source="the picture", max_side=_MOST_SIDE)), None)
    if page is None or page.image is None:
        raise ServerError("a picture cannot be read: it is none")
    return page.image
