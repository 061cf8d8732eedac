"""What a route answers where something went wrong."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from metaembed_rag.errors import MetaEmbedError
from metaembed_rag.serving.access import Refusal
from metaembed_rag.serving.failures import status_of


def add_failures(routes: FastAPI, sentence: Callable[[BaseException], str]) -> None:
    """Answer failures with a status and a sentence.

    Args:
        routes: Of the server.
        sentence: What an answer says of an error.
    """

    @routes.exception_handler(MetaEmbedError)
    @routes.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        status = status_of(error)
        headers = {"retry-after": "2"} if status == 503 else None
        return _said(status, sentence(error), headers)

    @routes.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        return _said(error.status_code, str(error.detail), dict(error.headers or {}))

    @routes.exception_handler(Refusal)
    async def limited(request: Request, error: Refusal) -> Response:
        return _said(error.status, error.why, {"connection": "close"})

    @routes.exception_handler(RequestValidationError)
    async def malformed(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return _said(400, f"{first['loc'][-1]}: {first['msg']}"[:300])


def _said(status: int, sentence: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": sentence}, status, headers)
