"""Questions as they arrive: JSON, or a form with a picture."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException

from metaembed_rag.errors import ServerError
from metaembed_rag.serving.requests import ExplainRequest, SearchRequest

Asked = TypeVar("Asked", bound=BaseModel)

_JSON, _FORM = "application/json", "multipart/form-data"
_PICTURE = "image"
_MOST_FIELDS = 1_100
"""A thousand files to search in, and every option."""


async def read_question(request: Request, kind: type[Asked]) -> tuple[Asked, bytes | None]:
    """What is asked, and the bytes of its picture; None where it has none.

    Raises:
        ServerError: It is neither JSON nor a form, or malformed.
    """
    said = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if said == _FORM:
        return await _from_form(request, kind)
    if said != _JSON:
        raise ServerError(f"send {_JSON}, or {_FORM} with a picture under {_PICTURE!r}")
    return await read_json(request, kind), None


async def read_json(request: Request, kind: type[Asked]) -> Asked:
    """What is asked in JSON.

    Raises:
        ServerError: It is none, or malformed.
    """
    try:
        given = json.loads(await request.body())
    except (ValueError, RecursionError) as error:
        raise ServerError("the request is no JSON") from error
    return _validated(kind, given)


def sentence_about(error: ValidationError) -> str:
    """The first thing that is wrong, with its place and without what was given."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(str(part) for part in first["loc"] if isinstance(part, str | int))
    return f"{place}: {first['msg']}"[:300] if place else str(first["msg"])[:300]


def _validated(kind: type[Asked], given: Any) -> Asked:
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise ServerError(sentence_about(error)) from error


async def _from_form(request: Request, kind: type[Asked]) -> tuple[Asked, bytes | None]:
    try:
        async with request.form(max_files=1, max_fields=_MOST_FIELDS) as form:
            picture = form.get(_PICTURE)
            given = _fields(form)
            data = await picture.read() if isinstance(picture, UploadFile) else None
    except (MultiPartException, UnicodeDecodeError, AssertionError) as error:
        raise ServerError(f"the form cannot be read: {error}"[:300]) from error
    if data == b"":
        raise ServerError("the picture is empty (0 bytes)")
    return _validated(kind, given), data


def _fields(form: FormData) -> dict[str, Any]:
    """The fields of a form; those without a value count as not sent."""
    found: dict[str, Any] = {}
    for name in form:
        values = [value for value in form.getlist(name) if isinstance(value, str) and value]
        if values:
            found[name] = values if len(values) > 1 else values[0]
    return found


def _body(kind: type[BaseModel]) -> dict[str, Any]:
    """What OpenAPI says of a body that is JSON or a form."""
    schema = kind.model_json_schema(ref_template="#/components/schemas/{model}")
    picture = {_PICTURE: {"type": "string", "format": "binary", "description": "a picture"}}
    with_picture = {**schema, "properties": {**schema["properties"], **picture}}
    content = {_JSON: {"schema": schema}, _FORM: {"schema": with_picture}}
    return {"requestBody": {"required": True, "content": content}}


SEARCH_BODY, EXPLAIN_BODY = _body(SearchRequest), _body(ExplainRequest)
FILES_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            _FORM: {
                "schema": {
                    "type": "object",
                    "required": ["files"],
                    "properties": {
                        "files": {"type": "array", "items": {"type": "string", "format": "binary"}}
                    },
                }
            }
        },
    }
}
"""What OpenAPI says of the bodies of requests that are read here."""
