"""``Describer``: who writes in words what is on a picture, and how it is asked.

A vision-language model behind an address, or any function. Its words are encoded as text is, so a
model that reads text only finds pictures by what they show (SERVAL, Nguyen, Lei, Ju and Yates,
2025, reached 63.4 nDCG@5 on ViDoRe v2 this way, without training).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from PIL import Image

from metaembed_rag.errors import CheckpointError, kind_of_value
from metaembed_rag.model.model_server import split_address
from metaembed_rag.pages import Page
from metaembed_rag.web import UsualTimeout

KEY_VARIABLE = "METAEMBED_DESCRIBE_KEY"
"""The environment variable of the server's key."""

PROMPT = (
    "Describe this picture for a search engine, in plain sentences: what it shows, who or what is "
    "on it, where, what happens, colours; of a chart, table or diagram its subject, labels, values "
    "and trend; then any text on it. Answer with the description only."
)

DescribedPages = Literal["auto", "all"]
"""Which pages are described: ``auto``, picture files, pages without text and those whose text is
not all that they show (`Page.unread`); ``all``, every page with a picture."""


@dataclass(frozen=True)
class Describer:
    """Who describes pictures, and how it is asked.

    Args:
        model: ``http(s)://host:port#model`` of a server with OpenAI's API, with or without
            ``/v1``; or a function that is given a PIL image (RGB) and gives its description. A
            function is called from one thread, one picture at a time.
        prompt: What the model is asked. A function knows for itself.
        pages: Which pages are described, as :data:`DescribedPages` explains.
        max_tokens: Of a description at most.
        temperature: 0 gives the likeliest description.
        max_side: Longest side in pixels of what is sent; larger pictures are scaled down.
        timeout: Seconds that the server may keep silent; by default 120, or what METAEMBED_TIMEOUT
            or ``--timeout`` says for all servers.
        connections: Pictures asked about at a time.
        tries: How often a request is sent at most, with growing pauses between.

    Raises:
        CheckpointError: The address or a number makes no sense; or there is a key in the address,
            which belongs into the environment variable METAEMBED_DESCRIBE_KEY.
    """

    model: str | Callable[[Image.Image], str]
    prompt: str = PROMPT
    pages: DescribedPages = "auto"
    max_tokens: int = 500
    temperature: float = 0.0
    max_side: int = 1024
    timeout: float = UsualTimeout(120.0)
    connections: int = 4
    tries: int = 5

    def __post_init__(self) -> None:
        if self.pages not in get_args(DescribedPages):
            raise CheckpointError(f"pages {self.pages!r} is not one of auto, all")
        for name in ("max_tokens", "max_side", "timeout", "connections", "tries"):
            if not getattr(self, name) > 0:
                raise CheckpointError(f"{name} must be more than 0, not {getattr(self, name)}")
        if not self.temperature >= 0:
            raise CheckpointError(f"temperature must be at least 0, not {self.temperature}")
        if isinstance(self.model, str):
            _check_address(self.model)
        elif not callable(self.model):
            raise CheckpointError(f"describe= {_WANTED}, not {kind_of_value(self.model)}")

    @classmethod
    def of(cls, value: DescribeLike | None) -> Describer | None:
        """What an option ``describe`` names.

        Args:
            value: A describer; a function; or an address, which may have options:
                ``http://host:port#model?pages=all&max_tokens=300``. None describes nothing.

        Raises:
            CheckpointError: It is nothing of that, or an option makes no sense.
        """
        if value is None or isinstance(value, Describer):
            return value
        if not isinstance(value, str):
            return cls(value)
        base, model, options = split_address(value, KEY_VARIABLE)
        return replace(cls(f"{base}#{model}"), **_typed(options))

    @property
    def name(self) -> str:
        """The model's name on its server, or that of the function."""
        if isinstance(self.model, str):
            return self.model.partition("#")[2]
        named = getattr(self.model, "__qualname__", type(self.model).__qualname__)
        return f"{getattr(self.model, '__module__', '')}.{named}"

    @property
    def url(self) -> str:
        """Where requests go; ``""`` for a function."""
        if not isinstance(self.model, str):
            return ""
        base = self.model.partition("#")[0].removesuffix("/chat/completions").rstrip("/")
        return f"{base}{'' if urlsplit(base).path else '/v1'}/chat/completions"

    @property
    def by(self) -> str:
        """Who describes, as 16 hexadecimal digits: another model or prompt says something else.

        Where the server is does not count, nor do the weights, which it does not show.
        """
        asked = [self.name, self.prompt, self.max_tokens, self.temperature, self.max_side]
        return hashlib.blake2b(json.dumps(asked).encode(), digest_size=8).hexdigest()

    @property
    def way(self) -> str:
        """Who describes which pages: what a page that was looked at carries."""
        return f"{self.by} {self.pages}"

    def wants(self, page: Page) -> bool:
        """Whether a page is to be described: it has a picture with something on it."""
        if page.image is None and page.image_path is None:
            return False
        if self.pages == "auto" and page.text.strip() and not (page.unread or page.is_picture_file):
            return False
        return page.image is None or not _is_one_colour(page.image)


DescribeLike = str | Callable[[Image.Image], str] | Describer
"""What :meth:`Describer.of` takes."""

_WANTED = (
    "takes the address of a model (http://host:port#model), a function of a picture, or a Describer"
)
_OPTIONS = tuple(field.name for field in fields(Describer) if field.name != "model")


def _check_address(address: str) -> None:
    """Refuse what is no address of a model.

    Raises:
        CheckpointError: It says what is wrong.
    """
    base, model, options = split_address(address, KEY_VARIABLE)
    if urlsplit(base).scheme not in ("http", "https"):
        raise CheckpointError(f"{base} is no address of a server: write http://host:port#model")
    if options:
        raise CheckpointError(f"{base}#{model} has options: give them to Describer by their names")
    if not model:
        raise CheckpointError(f"{base} names no model; write {base}#MODEL, such as #llava")


def _typed(options: dict[str, str]) -> dict[str, Any]:
    """The options of an address, as what they are; no value is shown, it may be a key.

    Raises:
        CheckpointError: There is no such option, or its value is no number where one is needed.
    """
    if unknown := sorted(options.keys() - set(_OPTIONS)):
        raise CheckpointError(
            f"{', '.join(unknown)}: no such option; there are {', '.join(_OPTIONS)}, and a key "
            f"belongs into the environment variable {KEY_VARIABLE}"
        )
    found: dict[str, Any] = {}
    for name, value in options.items():
        try:
            default = getattr(Describer, name)
            found[name] = (float if isinstance(default, float) else type(default))(value)
        except ValueError:
            raise CheckpointError(f"{name} must be a number, not {value!r}") from None
    return found


def _is_one_colour(image: Image.Image) -> bool:
    """Whether there is nothing on an RGB picture, as on an empty page."""
    return all(low == high for low, high in image.getextrema())  # type: ignore[misc]
