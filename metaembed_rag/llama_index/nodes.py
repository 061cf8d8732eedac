"""Pages as LlamaIndex nodes and documents, and anybody's nodes as pages.

LlamaIndex loses pictures in several ways without a word: bytes do not survive a store, image
documents come back as text, a splitter drops the picture, a hash looks at the path and not at the
file. Here a picture is a path, a content hash is in the metadata, and the text is always carried.
"""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from llama_index.core.base.llms.types import BaseContentBlock, ImageBlock, TextBlock
from llama_index.core.bridge.pydantic import (
    SerializationInfo,
    SerializerFunctionWrapHandler,
    model_serializer,
)
from llama_index.core.schema import (
    BaseNode,
    Document,
    ImageNode,
    IndexNode,
    MediaResource,
    MetadataMode,
    Node,
    NodeRelationship,
    ObjectType,
    RelatedNodeInfo,
    TextNode,
)
from llama_index.core.vector_stores.utils import metadata_dict_to_node
from PIL import Image
from pydantic import AnyUrl, BaseModel
from pydantic_core import PydanticSerializationError, to_jsonable_python

from metaembed_rag.adapters import (
    OF_ONE_SEARCH,
    PAGE_ID,
    TEXT_FROM,
    is_page_number,
    page_fields,
    search_fields,
    text_from_of,
)
from metaembed_rag.errors import MetadataError
from metaembed_rag.hits import Hit, Hits
from metaembed_rag.llama_index.searching import IS_NODE, REF_DOC_ID
from metaembed_rag.metadata import values
from metaembed_rag.pages import Page
from metaembed_rag.pages.pictures import picture_of
from metaembed_rag.pages.reading import as_unread
from metaembed_rag.store.records import check_metadata

_log = logging.getLogger(__name__)

NOT_FOR_MODELS = [
    *("score", PAGE_ID, "content_hash", "image_path", "mime_type", "page_count", "text_from_ocr"),
    *(TEXT_FROM, "unread"),
    *("file_name", "file_path", "file_type", "page_label", "total_pages"),
]
"""Metadata that programs need and that would only distract an LLM or an embedding."""

_ALMOST_ZERO = 1e-9
NODE, NODE_CLASS = "llama_index:node", "llama_index:class"
"""Metadata of pages that came as nodes: all of the node as JSON, and what class it was."""
KEPT_APART = "llama_index:kept_apart"
"""Metadata: whether `VectorStoreIndex` keeps such a node beside a store, too."""


def _lasting(node: BaseNode) -> dict[str, Any]:
    """A node's metadata without what differs from search to search."""
    return {key: value for key, value in node.metadata.items() if key not in OF_ONE_SEARCH}


class _OfAnySearch:
    """Before a node's class: its hash is that of the same node without score and plan.

    `QueryFusionRetriever` takes nodes of one hash for one node, and adds up their ranks.
    """

    @property
    def hash(self) -> str:
        """As LlamaIndex's own node with the lasting metadata has it."""
        lasting = self.model_copy(update={"metadata": _lasting(self)})  # type: ignore
        return str(super(_OfAnySearch, lasting).hash)  # type: ignore[misc]


class PageTextNode(_OfAnySearch, TextNode):
    """A `TextNode` whose hash does not change with score and plan.

    A document or vector store gives it back as a `TextNode`.
    """


class _FoundIndexNode(_OfAnySearch, IndexNode):
    pass


class _FoundNode(_OfAnySearch, Node):
    pass


_FOUND: Mapping[type[BaseNode], type[BaseNode]] = {
    TextNode: PageTextNode,
    IndexNode: _FoundIndexNode,
    Node: _FoundNode,
}
"""What stands for a node that a search has marked; of other classes, they stay what they are."""


class PageNode(ImageNode):
    """An `ImageNode` that hands its text *and* its picture to a chat LLM.

    LlamaIndex's own image nodes leave their text out of ``get_content_blocks`` and come back from
    a store without it. This one is written in the form of LlamaIndex's generic ``Node``, whose
    blocks hold both, so every document or vector store gives back a ``Node`` with text, picture
    path and metadata.
    """

    @classmethod
    def get_type(cls) -> str:
        """``MULTIMODAL``: document stores read it back as a ``Node``."""
        return ObjectType.MULTIMODAL

    @classmethod
    def class_name(cls) -> str:
        """``"Node"``: vector stores read it back as one."""
        return str(Node.class_name())

    def as_related_node_info(self) -> RelatedNodeInfo:
        """As a text node's: what is of another type, `VectorStoreIndex` exchanges for its own copy.

        That copy is the image node as it was inserted, whose blocks leave out the text.
        """
        info = super().as_related_node_info()
        return info.model_copy(update={"node_type": ObjectType.TEXT})

    @property
    def hash(self) -> str:
        """Changes with text, picture and metadata, but not with score and plan.

        It is the hash of the ``Node`` that a store gives back.
        """
        text = self.text.encode(errors="surrogatepass").decode(errors="replace")
        fields: dict[str, Any] = {
            "text_resource": MediaResource(text=text),
            "image_resource": self._picture(),
            "metadata": _lasting(self),
            "metadata_template": self.metadata_template,
            "metadata_separator": self.metadata_separator,
        }
        return str(Node(**fields).hash)

    def get_content_blocks(
        self, metadata_mode: MetadataMode = MetadataMode.NONE
    ) -> list[BaseContentBlock]:
        """Metadata, text and picture. A picture that has been deleted is left out, and logged."""
        blocks = self.get_metadata_content_blocks(metadata_mode)
        if self.text:
            blocks.append(TextBlock(text=self.text))
        if self.image_path is not None and Path(self.image_path).is_file():
            blocks.append(
                ImageBlock(path=Path(self.image_path), image_mimetype=self.image_mimetype)
            )
        elif self.image_path is not None:
            _log.warning("%s: its picture %s is gone", self.node_id, self.image_path)
        return blocks

    @model_serializer(mode="wrap")
    def custom_model_dump(
        self, handler: SerializerFunctionWrapHandler, info: SerializationInfo
    ) -> dict[str, Any]:
        """The fields of an ``ImageNode`` and, beside them, those of a ``Node``."""
        data: dict[str, Any] = super().custom_model_dump(handler, info)
        data["text_resource"] = MediaResource(text=self.text).model_dump(mode="json")
        data["image_resource"] = self._picture().model_dump(mode="json")
        return data

    def _picture(self) -> MediaResource:
        path = None if self.image_path is None else Path(self.image_path)
        return MediaResource(path=path, mimetype=self.image_mimetype)


def page_to_node(page: Page, score: float | None = None) -> BaseNode:
    """A page as a node: a `PageNode` where the page has a kept picture, else a `PageTextNode`.

    The node's id is the page's id, its source node the page's source, its metadata are
    :func:`metaembed_rag.adapters.page_fields`. The LLM is shown the page's own metadata,
    ``source`` and ``page``. A page that came as a node (:func:`node_to_page`) becomes that node
    again, with its own metadata, its picture being the one that was indexed.

    Args:
        page: From an index: a picture that is only in memory has no path that a node could keep.
        score: MaxSim / r_q, in [-1, 1].
    """
    if NODE in page.metadata:
        return _node_again(page)
    # Chroma gives them in any order, and LlamaIndex's hash depends on it.
    page = replace(page, metadata=dict(sorted(page.metadata.items())))
    source = RelatedNodeInfo(node_id=page.source)
    fields = {**_fields(page, score), "relationships": {NodeRelationship.SOURCE: source}}
    if page.image_path is None:
        return PageTextNode(**fields, text=page.text)
    return PageNode(**fields, text=page.text, image_path=page.image_path)


def hit_to_node(hits: Hits, hit: Hit, *, scored: bool = False) -> BaseNode:
    """A hit as a node, with what :func:`metaembed_rag.adapters.search_fields` adds.

    That is not shown to models.

    Args:
        hits: What a search found.
        hit: One of them.
        scored: Whether the score goes into the metadata too, as by :func:`page_to_node`.
    """
    node, said = page_to_node(hit.page, hit.score if scored else None), search_fields(hits, hit)
    return marked(node, said) if said else node


def marked(node: BaseNode, marks: Mapping[str, Any]) -> BaseNode:
    """A copy of a node with metadata of one search, which neither models nor its hash see."""
    fields = {
        "metadata": {**node.metadata, **marks},
        "excluded_llm_metadata_keys": [*node.excluded_llm_metadata_keys, *marks],
        "excluded_embed_metadata_keys": [*node.excluded_embed_metadata_keys, *marks],
    }
    found = _FOUND.get(type(node))
    return node.model_copy(update=fields) if found is None else found(**{**dict(node), **fields})


def page_to_document(page: Page) -> Document:
    """A page as a document with text and picture, for pipelines and indices of LlamaIndex.

    Every page is a document of its own: its id is the page's id, so that a pipeline sees which
    pages are new, changed or gone. Its hash covers the content hash in its metadata, so it
    changes with the picture's pixels.

    Args:
        page: With ``image_path`` where it has a picture, as :class:`MetaEmbedReader` makes it.
    """
    fields = _fields(page, None)
    del fields["metadata"][PAGE_ID]  # which is the document's own id
    if page.image_path is not None:
        fields["image_resource"] = MediaResource(path=Path(page.image_path))
    return Document(**fields, text_resource=MediaResource(text=page.text))


def node_to_page(node: BaseNode) -> Page:
    """Anybody's node as a page with its text, its picture and, in the metadata, all of the node.

    The page's text is the node's text with the metadata that the node shows to embeddings, as
    LlamaIndex embeds it; a node without text has none. The node's flat metadata can be filtered
    by; what Chroma cannot hold (None, dictionaries, mixed lists) is kept inside the node alone.

    Raises:
        MetadataError: Its metadata have no form that can be stored.
        UnreadableFileError: Its picture is missing or damaged.
    """
    metadata = plain_metadata(node)
    data = node.model_copy(update={"metadata": metadata}).model_dump(mode="json")
    data.update({"embedding": None, **({"image": None} if "image" in data else {})})
    flat = {key: value for key, value in metadata.items() if _can_be_filtered(key, value)}
    source, number = metadata.get("source"), metadata.get("page")
    return Page(
        id=node.node_id,
        source=source if isinstance(source, str) and source else node.ref_doc_id or node.node_id,
        number=number if is_page_number(number) else 1,
        text=_text_to_encode(node),
        image=node_picture(node),
        unread=as_unread(node.metadata.get("unread")),
        metadata={
            **flat,
            IS_NODE: True,
            KEPT_APART: isinstance(node, ImageNode | IndexNode),
            REF_DOC_ID: node.ref_doc_id or node.node_id,
            NODE: json.dumps(data, ensure_ascii=False),
            NODE_CLASS: type(node).class_name(),
        },
    )


def plain_metadata(node: BaseNode) -> dict[str, Any]:
    """A node's metadata in types that JSON knows, converted as those of every page.

    Nothing, dictionaries, models of pydantic and lists that hold them come back, and cannot be
    filtered by; all else that :mod:`metaembed_rag.metadata.values` refuses is refused here too.

    Raises:
        MetadataError: It names the node and the key.
    """
    found: dict[str, Any] = {}
    for key, value in node.metadata.items():
        try:
            found[key] = _plain(value)
        except (ValueError, PydanticSerializationError) as error:
            raise MetadataError(f"node {node.node_id!r}: metadata key {key!r} {error}") from error
    return found


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, Mapping | BaseModel):
        return to_jsonable_python(value)
    plain = values.plain(value)
    if isinstance(plain, float):
        values.scalar(plain)  # a number that is none cannot be found again
    return plain


def _fields(page: Page, score: float | None) -> dict[str, Any]:
    """What nodes and documents of a page have in common.

    Only the text is embedded, as an index embeds a page. A page without text shows source and
    page to embeddings, because `VectorStoreIndex` leaves out nodes that show them nothing.
    """
    metadata = page_fields(page, score)
    shown = () if page.text.strip() else ("source", "page")
    return {
        "id_": page.id,
        "metadata": metadata,
        "excluded_llm_metadata_keys": NOT_FOR_MODELS,
        "excluded_embed_metadata_keys": [
            key for key in {**metadata, **dict.fromkeys(NOT_FOR_MODELS)} if key not in shown
        ],
    }


def _node_again(page: Page) -> BaseNode:
    """The node that :func:`node_to_page` was given."""
    content, name = page.metadata[NODE], page.metadata[NODE_CLASS]
    data = json.loads(content)
    if page.image_path is None:
        content = json.dumps(_without_paths(data))
        return metadata_dict_to_node({"_node_content": content, "_node_type": name})
    resource = data.get("text_resource") or {}
    text = page.text if page.text_from_ocr else data.get("text") or resource.get("text") or ""
    ours = {"image_path": page.image_path, "text": text}
    kept = {key: data[key] for key in PageNode.model_fields if key in data}
    if page.text_from_ocr and as_unread(data["metadata"].get("unread")):
        del data["metadata"]["unread"]
    if text_from := text_from_of(page, data["metadata"].get(TEXT_FROM)):
        data["metadata"][TEXT_FROM] = text_from
    metadata = _with_kept_picture(data["metadata"], page.image_path)
    picture_fields = dict.fromkeys(("image", "image_url", "image_mimetype", "text_embedding"))
    return PageNode.from_dict({**kept, **picture_fields, **ours, "metadata": metadata})


def _without_paths(data: Mapping[str, Any]) -> dict[str, Any]:
    """A node's fields without paths of files: a record does not say which of the user's are its."""
    kept = {**data, "metadata": {**(data.get("metadata") or {})}}
    kept["metadata"].pop("image_path", None)
    if "image_path" in kept:
        kept["image_path"] = None
    for name, value in data.items():
        if name.endswith("_resource") and isinstance(value, dict) and value.get("path"):
            kept[name] = {**value, "path": None}
    return kept


def _with_kept_picture(metadata: Mapping[str, Any], path: str) -> dict[str, Any]:
    """The metadata, with the path of the picture that was indexed where they name a picture."""
    named = {"image_path": path} if "image_path" in metadata else {}
    return {**metadata, **named}


def _text_to_encode(node: BaseNode) -> str:
    """Metadata go with a text and never take its place: a picture alone is read as a picture."""
    text = node.get_content(metadata_mode=MetadataMode.NONE)
    return node.get_content(metadata_mode=MetadataMode.EMBED) if text.strip() else ""


def _can_be_filtered(key: str, value: Any) -> bool:
    try:
        check_metadata({key: value}, "")
    except MetadataError:
        return False
    return True


def shown_score(node: BaseNode, score: float) -> float:
    """The score, for a node that stands for another object never exactly 0.

    LlamaIndex hands the score of such a node on to the object, and reads 0.0 as 1.0.
    """
    return score or _ALMOST_ZERO if isinstance(node, IndexNode) else score


def has_picture(node: BaseNode) -> bool:
    """Whether a node of any class has a picture that can be looked for."""
    return picture_source(node) is not None


def node_picture(node: BaseNode) -> Image.Image | None:
    """The picture of a node of any class, RGB; None where it has none.

    A splitter makes text nodes of the documents of :class:`MetaEmbedReader`; they keep the
    metadata, and by these the picture of their page.

    Raises:
        UnreadableFileError: It is missing or damaged.
    """
    source = picture_source(node)
    return None if source is None else picture_of(_downloaded(source))


def picture_source(node: BaseNode) -> bytes | str | AnyUrl | None:
    """Bytes, path or address of a node's picture; LlamaIndex's own look-up raises without one."""
    if isinstance(node, ImageNode):
        parts: tuple[Any, Any, Any] = (
            node.image,
            node.image_path,
            node.image_url and AnyUrl(node.image_url),
        )
    elif isinstance(node, Node) and node.image_resource is not None:
        one = node.image_resource
        parts = (one.data, one.path and str(one.path), one.url)
    else:
        parts = (None, None, None)
    if parts[0]:
        return base64.b64decode(parts[0])
    ours = {"image_path", "content_hash"} <= node.metadata.keys()
    return parts[1] or parts[2] or (node.metadata["image_path"] if ours else None)


def _downloaded(source: bytes | str | AnyUrl) -> bytes | str:
    return (
        source if isinstance(source, bytes | str) else ImageBlock(url=source).resolve_image().read()
    )
