"""The routes of a server that encodes and holds no index."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel

from metaembed_rag import __version__
from metaembed_rag.model import OrderedEncoder
from metaembed_rag.serving import answers
from metaembed_rag.serving.access import Access
from metaembed_rag.serving.encoding import EncoderService
from metaembed_rag.serving.encoding_requests import EncodingRequest, PoolingRequest
from metaembed_rag.serving.failures import sentence_of
from metaembed_rag.serving.forms import read_json
from metaembed_rag.serving.handlers import add_failures
from metaembed_rag.serving.settings import ServerSettings
from metaembed_rag.serving.work import Threads

_Asked = TypeVar("_Asked", bound=BaseModel)


class EncoderServer:
    """One encoder behind HTTP.

    Args:
        encoder: Loaded.
        settings: What is allowed; what is about an index does not count.

    Attributes:
        service: Answers without HTTP.
        app: What an ASGI server such as uvicorn runs.
    """

    def __init__(self, encoder: OrderedEncoder, settings: ServerSettings) -> None:
        self.service = EncoderService(encoder)
        self._threads = Threads("metaembed-encode", settings.threads, settings.waiting)
        routes = FastAPI(
            title="metaembed encoder",
            summary="Texts and pictures into ordered unit vectors.",
            version=__version__,
            docs_url=None,
            redoc_url=None,
            lifespan=self._lifespan,
        )
        self._add_routes(routes)
        add_failures(routes, lambda error: sentence_of(error, ()))
        self.app = Access(routes, settings)

    def stop(self) -> None:
        """The process is about to end: nothing is written here that could be lost."""

    @asynccontextmanager
    async def _lifespan(self, routes: FastAPI) -> AsyncIterator[None]:
        try:
            yield
        finally:
            self._threads.close()

    def _add_routes(self, routes: FastAPI) -> None:
        service = self.service

        @routes.get("/health", summary="Whether the server answers; needs no token")
        async def health() -> answers.HealthAnswer:
            return answers.HealthAnswer(status="ok")

        @routes.get("/v1/models", summary="The model: fingerprint, dimension, vectors a side, …")
        async def models(request: Request) -> Response:
            card = await self._threads.run(request.is_disconnected, service.card)
            return JSONResponse({"object": "list", "data": [card]})

        @routes.post("/pooling", summary="Ordered vectors of queries or documents")
        async def pooling(request: Request) -> Response:
            return await self._answer(request, PoolingRequest, service.pooling)

        @routes.post("/v1/embeddings", summary="One vector an input, as OpenAI's API gives it")
        async def embeddings(request: Request) -> Response:
            return await self._answer(request, EncodingRequest, service.embeddings)

        @routes.post("/unread_tokens", summary="How much of each document no vector sees")
        async def unread(request: Request) -> Response:
            return await self._answer(request, EncodingRequest, service.unread)

    async def _answer(self, request: Request, kind: type[_Asked], answer: Any) -> Response:
        """What the service says; JSON is written in the thread, for it may be megabytes."""
        asked = await read_json(request, kind)
        return await self._threads.run(request.is_disconnected, lambda: JSONResponse(answer(asked)))


def create_encoder_app(encoder: OrderedEncoder, settings: ServerSettings | None = None) -> Access:
    """What an ASGI server runs: one encoder, without an index.

    Args:
        encoder: Loaded.
        settings: By default for loopback.
    """
    return EncoderServer(encoder, settings or ServerSettings()).app
