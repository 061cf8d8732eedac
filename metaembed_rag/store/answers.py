"""Whether an answer is one that Chroma's HTTP API gives, seen before Chroma's client reads it.

That client takes whatever is JSON, and fails somewhere inside on what another program, another
version or a proxy has answered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

_COLUMNS = ("metadatas", "documents", "embeddings", "uris", "distances")
_IDENTITY = {"user_id", "tenant", "databases", "attributes"}


def is_answer(path: str, answer: Any, method: str = "get") -> bool:
    """Whether an answer has the shape that is read of it.

    Args:
        path: Of the request, after the version of the API; paths that are not asked pass.
        answer: What its JSON holds.
        method: Of the request; what is deleted or changed gives no answer, nor a new database.
    """
    words = path.strip("/").split("/")
    if method in ("delete", "put") or (method == "post" and words[-1] == "databases"):
        return isinstance(answer, dict)
    if words[0] == "tenants":  # /tenants/NAME/databases/NAME, whatever these are called
        words = words[4:]
        if not words:
            return isinstance(answer, dict) and answer.keys() >= {"id", "name", "tenant"}
    if "collections" not in words:
        fits = _OTHERS.get(words[-1])
    else:
        below = words[words.index("collections") + 1 :]
        fits = _OF_COLLECTIONS.get(below[-1]) if len(below) > 1 else _is_collection
        if not below and isinstance(answer, list):  # all of them
            return all(map(_is_collection, answer))
    return fits is None or fits(answer)


def _is_object(answer: Any) -> bool:
    return isinstance(answer, dict)


def _is_collection(answer: Any) -> bool:
    if not isinstance(answer, dict):
        return False
    named = all(isinstance(answer.get(key), str) for key in ("id", "name", "tenant", "database"))
    held = isinstance(answer.get("configuration_json"), dict)
    return named and held and _is_uuid(answer["id"]) and _is_mapping_or_none(answer, "metadata")


def _is_mapping_or_none(answer: Mapping[str, Any], key: str) -> bool:
    return isinstance(answer.get(key), dict | None)


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _are_records(answer: Any) -> bool:
    """Ids, and beside them columns as long as they are."""
    return isinstance(answer, dict) and _are_columns(answer, answer.get("ids"))


def _are_columns(answer: Mapping[str, Any], ids: Any) -> bool:
    if not isinstance(ids, list) or not all(isinstance(id, str) for id in ids):
        return False
    columns = [answer[name] for name in _COLUMNS if answer.get(name) is not None]
    if not all(isinstance(column, list) and len(column) == len(ids) for column in columns):
        return False
    return all(isinstance(one, dict | None) for one in answer.get("metadatas") or ())


def _are_found(answer: Any) -> bool:
    """Records, a list of each column for each query."""
    if not isinstance(answer, dict) or not isinstance(answer.get("ids"), list):
        return False
    columns = {name: answer[name] for name in _COLUMNS if answer.get(name) is not None}
    count = len(answer["ids"])
    if not all(isinstance(one, list) and len(one) == count for one in columns.values()):
        return False
    return all(
        _are_columns({name: one[query] for name, one in columns.items()}, answer["ids"][query])
        for query in range(count)
    )


def _is_count(answer: Any) -> bool:
    return isinstance(answer, int) and not isinstance(answer, bool)


def _are_limits(answer: Any) -> bool:
    return isinstance(answer, dict) and _is_count(answer.get("max_batch_size", 0))


def _is_identity(answer: Any) -> bool:
    return isinstance(answer, dict) and "user_id" in answer and answer.keys() <= _IDENTITY


_OTHERS: dict[str, Callable[[Any], bool]] = {
    "pre-flight-checks": _are_limits,
    "identity": _is_identity,
}
_OF_COLLECTIONS: dict[str, Callable[[Any], bool]] = {
    "get": _are_records,
    "query": _are_found,
    "count": _is_count,
    "delete": _is_object,
    "upsert": _is_object,
    "update": _is_object,
}
"""What is asked below a collection."""
