"""Pages as LlamaIndex nodes, and the pictures of anybody's nodes."""

from __future__ import annotations

import hashlib
import logging
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
    ImageNode,
    MediaResource,
    MetadataMode,
    Node,
    NodeRelationship,
    ObjectType,
    RelatedNodeInfo,
    TextNode,
)
from PIL import Image

from metaembed_rag.adapters import open_image, page_fields
from metaembed_rag.pages import Page

logger = logging.getLogger(__name__)

NOT_FOR_MODELS = [
    "score",
    "content_hash",
    "image_path",
    "mime_type",
    "page_count",
    "text_from_ocr",
]
"""Metadata that programs need and that would only distract an LLM or an embedding."""


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

    @property
    def hash(self) -> str:
        """Changes with text, picture content and metadata, but not with the score."""
        lasting = {key: value for key, value in self.metadata.items() if key != "score"}
        return hashlib.sha256(f"{self.text}\0{lasting}".encode(errors="surrogatepass")).hexdigest()

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
            logger.warning("%s: its picture %s is gone", self.node_id, self.image_path)
        return blocks

    @model_serializer(mode="wrap")
    def custom_model_dump(
        self, handler: SerializerFunctionWrapHandler, info: SerializationInfo
    ) -> dict[str, Any]:
        """The fields of an ``ImageNode`` and, beside them, those of a ``Node``."""
        data: dict[str, Any] = super().custom_model_dump(handler, info)
        path = None if self.image_path is None else Path(self.image_path)
        picture = MediaResource(path=path, mimetype=self.image_mimetype)
        data["text_resource"] = MediaResource(text=self.text).model_dump(mode="json")
        data["image_resource"] = picture.model_dump(mode="json")
        return data


def page_to_node(page: Page, score: float | None = None) -> TextNode:
    """A page as a node: a `PageNode` where the page has a kept picture, else a plain `TextNode`.

    The node's id is the page's id, its source node the page's source, its metadata are
    :func:`metaembed_rag.adapters.page_fields`. The LLM is shown the page's own metadata,
    ``source`` and ``page``.

    Args:
        page: From an index: a picture that is only in memory has no path that a node could keep.
        score: MaxSim / r_q, in [-1, 1].
    """
    fields: dict[str, Any] = {
        "id_": page.id,
        "text": page.text,
        "metadata": page_fields(page, score),
        "excluded_llm_metadata_keys": NOT_FOR_MODELS,
        "excluded_embed_metadata_keys": [*NOT_FOR_MODELS, "source", "page"],
        "relationships": {NodeRelationship.SOURCE: RelatedNodeInfo(node_id=page.source)},
    }
    if page.image_path is None:
        return TextNode(**fields)
    return PageNode(**fields, image_path=page.image_path)


def has_picture(node: BaseNode) -> bool:
    """Whether a node of any class has a picture that can be looked for."""
    return _image_block(node) is not None


def node_picture(node: BaseNode) -> Image.Image | None:
    """The picture of a node of any class, RGB; None where it has none.

    Raises:
        UnreadableFileError: It is damaged.
    """
    block = _image_block(node)
    return None if block is None else open_image(block.resolve_image().read())


def _image_block(node: BaseNode) -> ImageBlock | None:
    if isinstance(node, ImageNode) and not (node.image or node.image_path or node.image_url):
        return None  # its content blocks would raise
    blocks = node.get_content_blocks(MetadataMode.NONE)
    return next((block for block in blocks if isinstance(block, ImageBlock)), None)
