"""Records of a plain Chroma collection as pages, as the adapters of this package would store them.

What ``langchain-chroma`` wrote becomes the page that our LangChain vector store makes of the same
document; what ``llama-index-vector-stores-chroma`` wrote, the page that our LlamaIndex vector store
makes of the same node, with its relations to other nodes and to its document. So the texts are
found by :class:`metaembed_rag.PageIndex` and come back from either framework as they went in.
Neither framework is needed for it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeGuard

from metaembed_rag.errors import MetadataError
from metaembed_rag.metadata import values
from metaembed_rag.pages import Page
from metaembed_rag.store import records
from metaembed_rag.store.plain import PlainRecord

_NODE_CONTENT, _NODE_TYPE = "_node_content", "_node_type"
_REF_IDS = ("document_id", "doc_id", "ref_doc_id")
_OF_LLAMA_INDEX = frozenset({_NODE_CONTENT, _NODE_TYPE, *_REF_IDS})
"""What LlamaIndex writes beside a node's own metadata; the three ids are one, or ``"None"``."""
_KEPT_APART = frozenset({"ImageNode", "IndexNode"})
_SOURCE_OF_NODE = "1"
"""The relationship of a node to its document, in LlamaIndex's JSON."""

# Of the adapters, whose tests hold these to theirs.
_DOCUMENT, _UNSOURCED, _UNPAGED = "langchain", ":unsourced", ":unpaged"
_OWN_PAGE, _REST = "langchain:page", "langchain:rest"
_IS_NODE, _KEPT, _REF_DOC = (
    "llama_index:is_node",
    "llama_index:kept_apart",
    "llama_index:ref_doc_id",
)
_NODE, _CLASS = "llama_index:node", "llama_index:class"


def page_of(record: PlainRecord) -> Page:
    """A record as a page of text: its id, its text and its metadata.

    Raises:
        PageError: It has no form that can be stored.
    """
    node = _node_in(record.metadata)
    return _of_document(record) if node is None else _of_node(record, node)


def _of_document(record: PlainRecord) -> Page:
    """As a document of LangChain."""
    metadata, settings = dict(record.metadata), _DOCUMENT
    source, number = record.id, 1
    if isinstance(metadata.get("source"), str) and metadata["source"]:
        source = metadata.pop("source")
    else:
        settings += _UNSOURCED
    if _is_page_number(metadata.get("page")):
        number = metadata.pop("page")
    else:
        settings += _UNPAGED
    return Page(
        source=source,
        number=number,
        text=record.text,
        metadata=_storable(metadata),
        id=record.id,
        settings=settings,
    )


def _of_node(record: PlainRecord, node: dict[str, Any]) -> Page:
    """As a node of LlamaIndex, whose text its store keeps apart from it."""
    own = node.get("metadata") or {}
    later = {key: v for key, v in record.metadata.items() if key not in {*_OF_LLAMA_INDEX, *own}}
    metadata = {**own, **later}
    data = {**_with_text(node, record.text), "metadata": metadata, "embedding": None}
    ref_doc = _ref_doc(node, record.metadata)
    source, number = metadata.get("source"), metadata.get("page")
    kind = str(record.metadata.get(_NODE_TYPE) or "TextNode")
    return Page(
        id=record.id,
        source=source if isinstance(source, str) and source else ref_doc or record.id,
        number=number if _is_page_number(number) else 1,
        text=_embedded_text(node, metadata, record.text),
        metadata={
            **{key: value for key, value in metadata.items() if _can_be_filtered(key, value)},
            _IS_NODE: True,
            _KEPT: kind in _KEPT_APART,
            _REF_DOC: ref_doc or record.id,
            _NODE: json.dumps(data, ensure_ascii=False),
            _CLASS: kind,
        },
    )


def _node_in(metadata: Mapping[str, Any]) -> dict[str, Any] | None:
    """The node that LlamaIndex wrote; None where there is none that can be read."""
    content = metadata.get(_NODE_CONTENT)
    if not isinstance(content, str):
        return None
    try:
        node = json.loads(content)
    except (ValueError, RecursionError):
        return None
    known = isinstance(node, dict) and isinstance(node.get("metadata", {}), dict | None)
    return node if known else None


def _with_text(node: dict[str, Any], text: str) -> dict[str, Any]:
    """The node with its text, in the field in which its class has it."""
    if "text" in node:
        return {**node, "text": text}
    return {**node, "text_resource": {"text": text}}


def _ref_doc(node: Mapping[str, Any], metadata: Mapping[str, Any]) -> str:
    """The id of the node's document; ``""`` where it is of none."""
    relation = (node.get("relationships") or {}).get(_SOURCE_OF_NODE)
    if isinstance(relation, dict) and isinstance(relation.get("node_id"), str):
        return str(relation["node_id"])
    named = [metadata.get(key) for key in _REF_IDS]
    return next((id for id in named if isinstance(id, str) and id not in ("", "None")), "")


def _embedded_text(node: Mapping[str, Any], metadata: Mapping[str, Any], text: str) -> str:
    """The text with the metadata that the node shows to embeddings, as LlamaIndex embeds it."""
    hidden = set(node.get("excluded_embed_metadata_keys") or ())
    line = str(node.get("metadata_template") or "{key}: {value}")
    lines = [
        line.replace("{key}", str(key)).replace("{value}", str(value))
        for key, value in metadata.items()
        if key not in hidden
    ]
    shown = str(node.get("metadata_separator") or "\n").join(lines)
    if not text.strip() or not shown:
        return text
    whole = str(node.get("text_template") or "{metadata_str}\n\n{content}")
    return whole.replace("{metadata_str}", shown).replace("{content}", text).strip()


def _storable(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata that a page can have, and the rest as JSON: keys that are reserved here."""
    stored: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    for key, value in metadata.items():
        name = _OWN_PAGE if key == "page" else key
        if value is not None and _can_be_filtered(name, value):
            stored[name] = values.plain(value)
        else:
            rest[key] = value
    return {**stored, _REST: json.dumps(rest, sort_keys=True)} if rest else stored


def _can_be_filtered(key: str, value: Any) -> bool:
    try:
        records.check_metadata({key: value}, "")
    except MetadataError:
        return False
    return True


def _is_page_number(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
