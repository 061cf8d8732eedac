"""The server's routes: HTTP around one :class:`IndexService`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any, BinaryIO, ParamSpec, TypeVar

from fastapi import FastAPI, Path, Query, Request
from fastapi.responses import FileResponse, HTMLResponse, Response, StreamingResponse
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException

from metaembed_rag import __version__
from metaembed_rag.errors import PageError, ServerError
from metaembed_rag.index import PageIndex
from metaembed_rag.serving import answers
from metaembed_rag.serving.access import Access
from metaembed_rag.serving.failures import sentence_of, status_of
from metaembed_rag.serving.forms import EXPLAIN_BODY, FILES_BODY, SEARCH_BODY, read_question
from metaembed_rag.serving.handlers import add_failures
from metaembed_rag.serving.html_pages import html_page
from metaembed_rag.serving.requests import ExplainRequest, SearchRequest
from metaembed_rag.serving.service import IndexService
from metaembed_rag.serving.settings import ServerSettings
from metaembed_rag.serving.uploads import Received, UploadFolder, check_files
from metaembed_rag.serving.work import Job, Threads, WriteQueue
from metaembed_rag.store.picture_format import MEDIA_TYPES

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")

_READERS, _WAITING_READERS = 2, 256
"""Threads for pages and pictures, which do not wait behind searches."""
_WEEK = 7 * 24 * 3600
_KEPT = {"cache-control": f"private, max-age={_WEEK}, immutable"}
"""Of pictures: the hash of the content is part of their address."""
_STREAM = "text/event-stream"
_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": answers.ErrorAnswer, "description": what}
    for status, what in {
        400: "something makes no sense; the sentence says what",
        401: "no token, or a wrong one",
        413: "too large",
        429: "too many requests of this client",
        503: "too many wait, another process writes, or the server is shutting down",
    }.items()
}
_MISSING: dict[int | str, dict[str, Any]] = {
    404: {"model": answers.ErrorAnswer, "description": "no such page or file"}
}
PageId = Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="as a search names the page")]
Shown = Annotated[int, Query(ge=1, le=1_000)]


class Server:
    """One index behind HTTP: threads for searches and reading, one writer, and the routes.

    Args:
        index: Open; closing it is left to the caller.
        settings: What is allowed.

    Attributes:
        service: Answers without HTTP.
        app: What an ASGI server such as uvicorn runs.
    """

    def __init__(self, index: PageIndex, settings: ServerSettings) -> None:
        self.settings = settings
        self.service = IndexService(index, settings)
        self._searches = Threads("metaembed-search", settings.threads, settings.waiting)
        self._reads = Threads("metaembed-read", _READERS, _WAITING_READERS)
        self._writes = WriteQueue(settings.waiting_writes)
        routes = FastAPI(
            title="metaembed",
            summary="Pages that answer, at the budget you choose.",
            version=__version__,
            docs_url=None,
            redoc_url=None,
            lifespan=self._lifespan,
            responses=_ERRORS,
        )
        self._add_pages(routes)
        self._add_reading(routes)
        self._add_asking(routes)
        self._add_writing(routes)
        add_failures(routes, self._sentence)
        self.app = Access(routes, settings)

    def stop(self) -> None:
        """End what is being written after its batch: the process is about to end."""
        self._writes.stop()

    @asynccontextmanager
    async def _lifespan(self, routes: FastAPI) -> AsyncIterator[None]:
        try:
            yield
        finally:
            self._writes.close()
            self._searches.close()
            self._reads.close()

    # -- routes ----------------------------------------------------------------------------

    def _add_pages(self, routes: FastAPI) -> None:
        @routes.get("/", include_in_schema=False)
        async def search_page() -> Response:
            return _html("search.html")

        @routes.get("/docs", include_in_schema=False)
        async def docs_page() -> Response:
            return _html("docs.html")

        @routes.get("/health", summary="Whether the server answers; needs no token")
        async def health() -> answers.HealthAnswer:
            return answers.HealthAnswer(status="ok")

    def _add_reading(self, routes: FastAPI) -> None:
        service = self.service

        @routes.get("/info", summary="What is served, and what each budget costs")
        async def info(request: Request) -> answers.InfoAnswer:
            return await self._read(request, service.info)

        @routes.get("/sources", summary="The files of the index")
        async def sources(
            request: Request,
            offset: Annotated[int, Query(ge=0)] = 0,
            limit: Shown = 200,
            containing: Annotated[str, Query(max_length=200)] = "",
        ) -> answers.SourcesAnswer:
            return await self._read(request, service.sources, offset, limit, containing)

        @routes.get("/pages/{id}", summary="A page and its neighbours", responses=_MISSING)
        async def page(request: Request, id: PageId) -> answers.PageAnswer:
            return await self._read(request, service.page, id)

        @routes.get(
            "/pages/{id}/picture",
            summary="The picture of a page (WebP, or JPEG of an older index)",
            responses={**_MISSING, 200: {"content": {kind: {} for kind in MEDIA_TYPES.values()}}},
            response_class=FileResponse,
        )
        async def picture(request: Request, id: PageId) -> Response:
            path = await self._read(request, service.picture, id)
            kind = MEDIA_TYPES.get(path.suffix, "image/jpeg")
            return FileResponse(path, media_type=kind, headers=_KEPT)

    def _add_asking(self, routes: FastAPI) -> None:
        @routes.post(
            "/search", summary="Search by text, picture or both", openapi_extra=SEARCH_BODY
        )
        async def search(request: Request) -> answers.SearchAnswer:
            asked, picture = await read_question(request, SearchRequest)
            gone = request.is_disconnected
            return await self._searches.run(gone, self.service.search, asked, picture)

        @routes.post(
            "/explain",
            summary="Why a page has its score",
            openapi_extra=EXPLAIN_BODY,
            responses=_MISSING,
        )
        async def explain(request: Request) -> dict[str, Any]:
            asked, picture = await read_question(request, ExplainRequest)
            _check_id(asked.id)
            gone = request.is_disconnected
            return await self._searches.run(gone, self.service.explain, asked, picture)

    def _add_writing(self, routes: FastAPI) -> None:
        @routes.post(
            "/pages",
            summary="Upload files and index them",
            description="With `Accept: text/event-stream` the answer is server-sent events: "
            "`file`, `progress` after each batch that is stored, and `done` or `error`.",
            openapi_extra=FILES_BODY,
            response_model=answers.UploadAnswer,
        )
        async def upload(request: Request) -> Any:
            folder = self.service.upload_folder()
            self._writes.check()
            received, refused = await self._receive(request, folder)
            check = self._writes.check_stopping
            job = self._writes.submit(
                lambda job: self.service.index_received(job, received, refused, check)
            )
            if _STREAM in request.headers.get("accept", ""):
                return StreamingResponse(self._events(job), media_type=_STREAM)
            return await job.result

        @routes.delete("/pages/{id}", summary="Delete a page", responses=_MISSING)
        async def delete_page(id: PageId) -> answers.DeleteAnswer:
            return await self._delete([id], None)

        @routes.delete("/pages", summary="Delete all pages of a file", responses=_MISSING)
        async def delete_source(
            source: Annotated[str, Query(max_length=5_000)],
        ) -> answers.DeleteAnswer:
            return await self._delete([], source)

    # -- parts -----------------------------------------------------------------------------

    async def _read(
        self,
        request: Request,
        call: Callable[_Parameters, _Result],
        *args: _Parameters.args,
        **kwargs: _Parameters.kwargs,
    ) -> _Result:
        return await self._reads.run(request.is_disconnected, call, *args, **kwargs)

    async def _delete(self, ids: list[str], source: str | None) -> answers.DeleteAnswer:
        self.service.check_writable()
        job = self._writes.submit(lambda job: self.service.delete(ids, source))
        found: answers.DeleteAnswer = await job.result
        return found

    async def _receive(
        self, request: Request, folder: UploadFolder
    ) -> tuple[list[Received], list[PageError]]:
        """The files of a request, on the disk; and those that were not taken, with the reason."""
        received: list[Received] = []
        refused: list[PageError] = []
        try:
            async with request.form(max_files=201, max_fields=10) as form:
                files = [one for one in form.getlist("files") if isinstance(one, UploadFile)]
                check_files([one.filename for one in files])
                for one in files:
                    try:
                        received.append(await self._kept(request, folder, one.filename, one.file))
                    except PageError as error:
                        refused.append(error)
        except (MultiPartException, UnicodeDecodeError, AssertionError) as error:
            raise ServerError(f"the form cannot be read: {error}"[:300]) from error
        if not received and refused:
            raise refused[0]
        return received, refused

    async def _kept(
        self, request: Request, folder: UploadFolder, name: str | None, file: BinaryIO
    ) -> Received:
        return await self._read(request, folder.receive, name, file)

    async def _events(self, job: Job) -> AsyncIterator[str]:
        """What happens to an upload, as server-sent events; its end is the last one."""
        async for name, data in job.events():
            yield _event(name, data)
        error = job.result.exception()
        if error is None:
            yield _event("done", job.result.result().model_dump())
        else:
            yield _event("error", {"error": self._sentence(error), "status": status_of(error)})

    def _sentence(self, error: BaseException) -> str:
        folder = self.service.uploads
        return sentence_of(error, [] if folder is None else [folder.folder])


def create_app(index: PageIndex, settings: ServerSettings | None = None) -> Access:
    """What an ASGI server runs: one index, the page at ``/`` and the API behind it.

    Args:
        index: Open; it is closed by whoever opened it, after the server has ended.
        settings: By default for loopback, without uploads.
    """
    return Server(index, settings or ServerSettings()).app


def _check_id(id: str) -> None:
    """Raises ServerError: It is no id that this server gives."""
    if len(id) != 32 or not all(c in "0123456789abcdef" for c in id):
        raise ServerError("id: 32 hexadecimal digits, as a search names the page")


def _html(name: str) -> Response:
    page = html_page(name)
    return HTMLResponse(page.text, headers={"content-security-policy": page.policy})


def _event(name: str, data: Any) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"
