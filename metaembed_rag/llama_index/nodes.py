"""Pages as LlamaIndex nodes, and the pictures of anybody's nodes."""

from __future__ import annotations

import hashlib
import io
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
from PIL import Image, ImageOps

from metaembed_rag.errors import UnreadableFileError
from metaembed_rag.pages import Page
from metaembed_rag.pages.pictures import DAMAGE, FORMATS, to_rgb

logger = logging.getLogger(__name__)

NOT_FOR_MODELS = ["score", "content_hash", "image_path", "page_count", "text_from_ocr"]
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

    The node's id is the page's id, its source node the page's source. Its metadata are the page's
    own, then ``source``, ``page`` (counts from 1), ``content_hash`` and, where known,
    ``page_count``, ``image_path``, ``text_from_ocr`` and ``score``; of the page's own, one that has
    such a name is renamed to ``user_<name>``. The LLM is shown the page's own metadata, ``source``
    and ``page``.

    Args:
        page: From an index: a picture that is only in memory has no path that a node could keep.
        score: MaxSim / r_q, in [-1, 1].
    """
    fields: dict[str, Any] = {
        "id_": page.id,
        "text": page.text,
        "metadata": _metadata(page, score),
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


def open_image(value: str | Path | bytes | io.BytesIO | Image.Image) -> Image.Image:
    """What LlamaIndex calls an image (a path, bytes, an open file or a PIL image) as RGB.

    Raises:
        UnreadableFileError: It is missing, damaged or of another format.
    """
    if isinstance(value, Image.Image):
        return to_rgb(value)
    try:
        file = io.BytesIO(value) if isinstance(value, bytes) else value
        with Image.open(file, formats=FORMATS) as image:
            return to_rgb(ImageOps.exif_transpose(image))
    except (*DAMAGE, Image.DecompressionBombError) as error:
        name = str(value) if isinstance(value, str | Path) else "an image given as bytes"
        raise UnreadableFileError(name, f"cannot be opened as a picture ({error})") from error


def _image_block(node: BaseNode) -> ImageBlock | None:
    if isinstance(node, ImageNode) and not (node.image or node.image_path or node.image_url):
        return None  # its content blocks would raise
    blocks = node.get_content_blocks(MetadataMode.NONE)
    return next((block for block in blocks if isinstance(block, ImageBlock)), None)


def _metadata(page: Page, score: float | None) -> dict[str, Any]:
    ours: dict[str, Any] = {
        "source": page.source,
        "page": page.number,
        "page_count": page.page_count,
        "content_hash": content_hash(page),
        "image_path": page.image_path,
        "text_from_ocr": page.text_from_ocr or None,
        "score": score,
    }
    theirs = {f"user_{key}" if key in ours else key: value for key, value in page.metadata.items()}
    return theirs | {key: value for key, value in ours.items() if value is not None}


def content_hash(page: Page) -> str:
    """Hexadecimal digits that change when the page's text or picture does.

    A kept picture is not opened for it: the name of its file depends on the content.
    """
    if page.image_path is None:
        return page.content_hash()
    parts = f"{page.content_hash()}/{Path(page.image_path).name}"
    return hashlib.blake2b(parts.encode(), digest_size=16).hexdigest()
