"""Asks for descriptions of pictures: OpenAI's API (``/chat/completions``), or a function."""

from __future__ import annotations

import base64
import io
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import httpx
from PIL import Image

from metaembed_rag.errors import CheckpointError, MetaEmbedError, ModelError, kind_of_value
from metaembed_rag.model.describing import KEY_VARIABLE, Describer
from metaembed_rag.model.model_server import reason_of
from metaembed_rag.pages import Page, bounded
from metaembed_rag.web import BUSY, Patience, chosen_timeout, explained, time_limit

OPENAI_HOST, OPENAI_KEY = "api.openai.com", "OPENAI_API_KEY"
"""OpenAI's own key is sent to OpenAI only."""

_BUSY_HERE = BUSY | {408, 425, 500}
_FOR_ALL = frozenset({301, 302, 303, 307, 308, 401, 403, 404, 405})
"""Refusals that do not depend on the picture."""
_THOUGHTS = re.compile(r"^\s*<think>.*?</think>", re.DOTALL)
_RENAMED = {"max_tokens": "max_completion_tokens"}
"""Parameters that some of OpenAI's models know by another name; others are left out."""
_PARAMETERS = frozenset({"max_tokens", "max_completion_tokens", "temperature"})

Described = tuple[str, str | MetaEmbedError]
"""A page's id, and its description or why there is none."""


class _NobodyError(ModelError):
    """There is no model that describes anything at that address."""


class Descriptions:
    """Asks one describer; keeps connections open until :meth:`close`.

    Args:
        describer: Who is asked.
        client: Of httpx; the default sends the key in the environment.
        sleep: Waits between two tries.
    """

    def __init__(
        self,
        describer: Describer,
        *,
        client: httpx.Client | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._describer, self._sleep = describer, sleep
        self._key = _key(describer.url)
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        self._is_ours = client is None
        self._seconds = chosen_timeout(describer.timeout)
        self._client = client or httpx.Client(timeout=time_limit(self._seconds), headers=headers)
        self._names = {"max_tokens": "max_tokens", "temperature": "temperature"}
        self._has_answered = False
        self._in_a_row = 0
        """Requests that got no answer in all their tries, since the last that got one."""

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def of(self, pages: Sequence[Page]) -> Iterator[Described]:
        """The descriptions of pages' pictures, each as soon as it is there.

        The first one is asked for alone: a wrong address or key costs one request.

        Raises:
            ModelError: Nothing was described yet, and nothing will be: no server answers, it wants
                another key, or does not know the model.
        """
        rest = list(pages)
        if rest and not self._has_answered:
            yield self._described(rest.pop(0))
        at_once = self._describer.connections if isinstance(self._describer.model, str) else 1
        pool = ThreadPoolExecutor(at_once, thread_name_prefix="metaembed-describe")
        try:
            for done in as_completed([pool.submit(self._described, page) for page in rest]):
                yield done.result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _described(self, page: Page) -> Described:
        try:
            image = page.load_image()
            text = "" if image is None else self._describe(image)
        except _NobodyError as error:
            if not self._has_answered:
                raise
            return page.id, error
        except MetaEmbedError as error:
            return page.id, error
        self._has_answered = True
        return page.id, text

    def _describe(self, image: Image.Image) -> str:
        """The description of a picture, as text that can be stored.

        Raises:
            ModelError: There is none.
        """
        model = self._describer.model
        text = self._asked(image) if isinstance(model, str) else _called(model, image)
        text = _THOUGHTS.sub("", text).replace("\0", "").encode("utf-8", "replace").decode()
        if not text.strip():
            raise ModelError(f"{self._describer.name} described the picture with no word")
        return self._without_key(text.strip())

    def _asked(self, image: Image.Image) -> str:
        """What the server says of a picture."""
        body = self._body(image)
        answer = self._post(body)
        while (
            answer.status_code == 400
            and (refused := _parameter(answer)) in _PARAMETERS & body.keys()
        ):
            self._ask_without(refused)
            body = self._body(image)
            answer = self._post(body)
        if answer.is_success:
            return _content(answer)
        problem = f"{answer.status_code} {self._without_key(reason_of(answer))}".strip()
        kind = _NobodyError if answer.status_code in _FOR_ALL else ModelError
        raise kind(f"{self._describer.url} refuses: {problem}{self._advice(answer)}")

    def _post(self, body: dict[str, Any]) -> httpx.Response:
        """Send a request, again where that may help; once while the server is down.

        A server that never answered is not waited for: its address is likely wrong.
        """
        is_down = self._in_a_row > self._describer.connections
        tries = 1 if is_down else self._describer.tries
        patience = Patience(
            tries, self._seconds, busy=_BUSY_HERE, reconnects=self._has_answered, sleep=self._sleep
        )
        url, usual = self._describer.url, httpx.USE_CLIENT_DEFAULT  # of a client of the caller's
        try:
            answer = patience.send(
                lambda: self._client.post(
                    url, json=body, timeout=patience.left if self._is_ours else usual
                )
            )
        except httpx.HTTPError as error:
            self._in_a_row += 1
            why = f"{url} gave no answer in {patience.spoken}: {explained(error, url)}"
            raise _NobodyError(why) from error
        self._in_a_row = self._in_a_row + 1 if answer.status_code in _BUSY_HERE else 0
        return answer

    def _body(self, image: Image.Image) -> dict[str, Any]:
        asked = self._describer
        file = io.BytesIO()
        picture = bounded(image, asked.max_side)
        picture.save(file, "JPEG", quality=92, subsampling=0)  # letters keep their edges
        url = "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
        content = [
            {"type": "text", "text": asked.prompt},
            {"type": "image_url", "image_url": {"url": url}},
        ]
        body = {"model": asked.name, "messages": [{"role": "user", "content": content}]}
        names = dict(self._names).items()
        return body | {sent: getattr(asked, own) for own, sent in names if sent}

    def _ask_without(self, refused: str) -> None:
        """Name a parameter otherwise from now on, or leave it out."""
        for own, sent in dict(self._names).items():
            if sent == refused:
                self._names[own] = _RENAMED.get(sent, "")

    def _advice(self, answer: httpx.Response) -> str:
        status = answer.status_code
        if status in (401, 403):
            is_openai = urlsplit(self._describer.url).hostname == OPENAI_HOST
            name = f"{KEY_VARIABLE} or {OPENAI_KEY}" if is_openai else KEY_VARIABLE
            is_wrong = "authorization" in answer.request.headers
            return f"; the key in {name} is not its key" if is_wrong else f"; put its key in {name}"
        if status == 404:
            return f"; check the address, and that it has the model {self._describer.name!r}"
        if answer.is_redirect:
            return f"; it sends requests on to {answer.headers.get('location')}: name that server"
        return ""

    def _without_key(self, text: str) -> str:
        """A server's words; some repeat the key that they refuse."""
        return text.replace(self._key, "…") if self._key else text


def _key(url: str) -> str:
    """The key in the environment for a server.

    Raises:
        CheckpointError: It has signs that no key has.
    """
    names = [KEY_VARIABLE]
    if urlsplit(url).hostname == OPENAI_HOST and url.startswith("https:"):
        names.append(OPENAI_KEY)
    found = [(name, key) for name in names if (key := os.environ.get(name, "").strip())]
    for name, key in found[:1]:
        if not key.isascii() or not key.isprintable():
            raise CheckpointError(f"what is in the environment variable {name} is no key")
        return key
    return ""


def _called(function: Callable[[Image.Image], str], image: Image.Image) -> str:
    """What a function says of a picture; trouble with files or a network costs one page."""
    try:
        text = function(image)
    except OSError as error:
        raise ModelError(f"{type(error).__name__}: {error}") from error
    if not isinstance(text, str):
        raise _NobodyError(f"describe= must give text, not {kind_of_value(text)}")
    return text


def _content(answer: httpx.Response) -> str:
    """The words of an answer.

    Raises:
        ModelError: There are none; or it is no answer of this API.
    """
    with suppress(ValueError, LookupError, TypeError, AttributeError):
        message = answer.json()["choices"][0]["message"]
        content = message.get("content")
        if isinstance(content, list):  # parts
            content = "\n".join(part["text"] for part in content if part.get("type") == "text")
        if content is None and message.get("refusal"):
            raise ModelError(
                f"the model refuses: {' '.join(str(message['refusal']).split())[:300]}"
            )
        if content is None or isinstance(content, str):
            return content or ""
    raise _NobodyError(f"{answer.url} does not answer as OpenAI's chat completions do")


def _parameter(answer: httpx.Response) -> str:
    """The parameter that a server refuses; ``""`` where it does not say."""
    with suppress(ValueError, LookupError, TypeError, AttributeError):
        return str(answer.json()["error"]["param"] or "")
    return ""
