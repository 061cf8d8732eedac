"""What a record says of files is not believed: no node leads out of the index."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("llama_index.core")
from llama_index.core.schema import ImageNode, MediaResource, Node

from metaembed_rag import Page, PageIndex
from metaembed_rag.llama_index.nodes import NODE, NODE_CLASS, page_to_node
from metaembed_rag.testing import FakeEncoder


@pytest.mark.parametrize("kind", ["image node", "resource"])
def test_fault_31_a_node_has_no_path_that_only_its_record_names(tmp_path: Path, kind: str) -> None:
    victim = str(tmp_path / "private.png")
    nodes = {
        "image node": ImageNode(text="apples", image_path=victim, metadata={"image_path": victim}),
        "resource": Node(
            text_resource=MediaResource(text="apples"),
            image_resource=MediaResource(path=Path(victim)),
        ),
    }
    node = nodes[kind]
    held = {NODE: node.to_json(), NODE_CLASS: node.class_name()}
    with PageIndex.open(tmp_path / "index", FakeEncoder()) as index:
        index.add([Page("a.txt", text="apples", metadata=held)])
        made = page_to_node(index.search("apples", 1)[0].page)
    assert victim not in made.to_json()
    assert "apples" in made.get_content()
