from __future__ import annotations

import asyncio
import json
import textwrap
import threading
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llama_index.core import SimpleDirectoryReader, StorageContext, VectorStoreIndex
from llama_index.core.base.llms.types import ImageBlock, TextBlock
from llama_index.core.indices.vector_store.retrievers import VectorIndexRetriever
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import (
    BaseNode,
    Document,
    ImageDocument,
    ImageNode,
    IndexNode,
    MediaResource,
    MetadataMode,
    Node,
    NodeRelationship,
    NodeWithScore,
    RelatedNodeInfo,
    TextNode,
)
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.vector_stores import FilterOperator, MetadataFilter, MetadataFilters
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    VectorStoreQuery,
    VectorStoreQueryMode,
)
from PIL import Image

from metaembed_rag.errors import (
    BudgetError,
    MetadataError,
    ResourceLimitError,
    StoreError,
    UnreadableFileError,
)
from metaembed_rag.index import PageIndex
from metaembed_rag.llama_index import (
    MetaEmbedEmbedding,
    MetaEmbedReader,
    MetaEmbedRerank,
    MetaEmbedVectorStore,
    PageNode,
    StoreSideEmbedding,
    node_to_page,
    page_to_document,
)
from metaembed_rag.pages import Page
from metaembed_rag.testing import FakeEncoder
from tests.support import bombs
from tests.support.files import make_pdf
from tests.support.processes import program

pytestmark = pytest.mark.integration

RED, BLUE = Image.new("RGB", (40, 30), "red"), Image.new("RGB", (40, 30), "blue")


@pytest.fixture
def store(encoder) -> MetaEmbedVectorStore:
    return MetaEmbedVectorStore(PageIndex.open(":memory:", encoder))


@pytest.fixture
def red(tmp_path) -> str:
    RED.save(tmp_path / "red.png")
    return str(tmp_path / "red.png")


def of_document(id: str, text: str, document: str, **metadata: Any) -> TextNode:
    source = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id=document)}
    return TextNode(id_=id, text=text, metadata=metadata, relationships=source)


def fruit_and_sea() -> list[BaseNode]:
    return [
        of_document("a", "red apples", "fruit", year=1),
        of_document("b", "green pears", "fruit", year=2),
        of_document("c", "blue whales swim", "sea", year=2),
    ]


def equal(key: str, value: Any) -> MetadataFilters:
    return MetadataFilters(filters=[MetadataFilter(key=key, value=value)])


def ids_of(nodes: Any) -> list[str]:
    return [one.node_id for one in nodes]


def asked(store: MetaEmbedVectorStore, text: str, k: int = 5, **fields: Any) -> list[str]:
    return store.query(VectorStoreQuery(query_str=text, similarity_top_k=k, **fields)).ids or []


# -- the store itself ----------------------------------------------------------------------


def test_it_is_a_vector_store_that_needs_no_query_embedding(store):
    assert BasePydanticVectorStore in MetaEmbedVectorStore.__mro__
    assert (store.stores_text, store.is_embedding_query) == (True, False)


def test_nodes_come_back_as_they_were(store):
    nodes = fruit_and_sea()
    nodes[0].relationships[NodeRelationship.NEXT] = RelatedNodeInfo(node_id="b")
    nodes[0].excluded_llm_metadata_keys = ["year"]
    nodes[1].metadata["not for Chroma"] = {"deep": [1, None]}
    assert store.add(nodes) == ["a", "b", "c"]
    assert store.get_nodes(["c", "a", "b"]) == [nodes[2], nodes[0], nodes[1]]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_fault_08_nodes_and_ids_may_come_from_generators(store, asynchronous):
    nodes = fruit_and_sea()
    if asynchronous:
        assert asyncio.run(store.async_add(node for node in nodes)) == ["a", "b", "c"]
    else:
        assert store.add(node for node in nodes) == ["a", "b", "c"]
    assert ids_of(store.get_nodes(id for id in ["c", "a"])) == ["c", "a"]
    retriever = store.as_retriever(node_ids=(id for id in ["a", "b"]))
    assert [len(retriever.retrieve("apples")) for _ in range(2)] == [2, 2]
    retriever = store.as_retriever(doc_ids=(node.ref_doc_id for node in nodes[:2]))
    assert len(retriever.retrieve("apples")) == len(retriever.retrieve("apples")) > 0
    store.delete_nodes(id for id in ["a", "b"])
    assert store.index.ids() == ["c"]


def test_fault_08_the_steps_of_a_pipeline_take_generators(store, encoder, red):
    def nodes() -> list[BaseNode]:
        return [TextNode(text="red apples"), ImageNode(text="a kite", image_path=red)]

    for model in (MetaEmbedEmbedding(encoder), store.embed_model):
        given, lists = nodes(), nodes()
        made = model(node for node in given)
        assert [one.embedding for one in made] == [one.embedding for one in model(lists)]
        assert [one.embedding for one in given] == [one.embedding for one in lists]
        assert len(asyncio.run(model.acall(node for node in nodes()))) == 2
    found = [NodeWithScore(node=node) for node in nodes()]
    rerank = MetaEmbedRerank(encoder=encoder)
    assert len(rerank.postprocess_nodes((one for one in found), query_str="apples")) == 2


def test_a_reference_to_another_object_survives(store):
    store.add([IndexNode(id_="i", text="see the other table", index_id="table 2")])
    node = store.get_nodes(["i"])[0]
    assert (type(node), node.index_id) == (IndexNode, "table 2")


def base64_of(image: Image.Image) -> str:
    import base64
    import io

    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def pictured(path: str) -> list[BaseNode]:
    """Each way in which LlamaIndex lets a node have a picture."""
    data = base64_of(RED)
    return [
        ImageNode(text="apples", image_path=path),
        ImageNode(text="apples", image=data),
        ImageDocument(text="apples", image_path=path),
        ImageDocument(text="apples", image=data),
        Node(
            text_resource=MediaResource(text="apples"),
            image_resource=MediaResource(data=data.encode()),
        ),
        Document(
            text_resource=MediaResource(text="apples"),
            image_resource=MediaResource(path=Path(path)),
        ),
        PageNode(text="apples", image_path=path),
    ]


@pytest.mark.parametrize("kind", range(7))
def test_a_picture_survives_the_store_with_its_text(store, encoder, red, kind):
    """LlamaIndex loses bytes, makes image documents texts, and leaves out an image's text."""
    node = pictured(red)[kind]
    store.add([node])
    Path(red).unlink()  # what was indexed is kept
    fused = encoder.encoded[-1]
    assert (fused["text"], fused["image"].size) == ("apples", (40, 30))
    back = store.query(VectorStoreQuery(query_str="apples")).nodes[0]
    texts, pictures = (
        [block for block in back.get_content_blocks(MetadataMode.NONE) if isinstance(block, kind)]
        for kind in (TextBlock, ImageBlock)
    )
    assert [block.text for block in texts] == ["apples"]
    assert Image.open(pictures[0].resolve_image()).getpixel((5, 5))[0] > 200
    assert back.node_id == node.node_id


def test_no_picture_is_stored_as_base64(store):
    node = ImageNode(text="apples", image=base64_of(RED))
    store.add([node])
    assert "iVBOR" not in json.dumps(dict(store.index.get([node.node_id])[0].metadata))


def test_a_picture_without_text_is_read_as_a_picture(encoder, red, monkeypatch):
    """Its metadata would pass for its text, and the picture would never be looked at."""
    from metaembed_rag.pages import ocr

    monkeypatch.setattr(ocr, "read_text", lambda image: "seen by ocr")
    reads_text = FakeEncoder(modalities=["text"])
    store = MetaEmbedVectorStore(PageIndex.open(":memory:", reads_text))
    store.add([ImageNode(id_="p", image_path=red, metadata={"title": "a chart"})])
    assert reads_text.encoded == ["seen by ocr"]
    assert store.get_nodes(["p"])[0].get_content() == "seen by ocr"


def test_an_image_node_without_an_image_is_a_text(store, encoder):
    """LlamaIndex's content blocks of it raise."""
    store.add([ImageNode(id_="n", text="apples")])
    assert encoder.encoded == ["apples"]
    assert store.get_nodes(["n"])[0].get_content() == "apples"


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("through", ["retriever", "index"])
def test_the_object_behind_a_node_of_score_zero_keeps_that_score(store, asynchronous, through):
    """LlamaIndex would say 1.0, better than anything. In a hybrid search the worst page has 0."""
    store.add([TextNode(id_="best", text="apples"), IndexNode(id_="i", text="x", index_id="table")])
    objects = [IndexNode(text="x", index_id="table", obj=TextNode(id_="behind", text="a table"))]
    if through == "retriever":
        retriever = store.as_retriever(hybrid=True, objects=objects)
    else:
        index = VectorStoreIndex.from_vector_store(store, embed_model=store.embed_model)
        retriever = VectorIndexRetriever(
            index, vector_store_query_mode="hybrid", object_map={"table": objects[0].obj}
        )
    ask = retriever.aretrieve("apples") if asynchronous else None
    found = asyncio.run(ask) if ask is not None else retriever.retrieve("apples")
    assert ids_of(found) == ["best", "behind"]
    assert found[1].score == pytest.approx(0, abs=1e-6)


def test_metadata_go_with_the_text_as_llama_index_embeds_it(store, encoder):
    node = TextNode(text="apples", metadata={"title": "fruit", "hidden": 1})
    node.excluded_embed_metadata_keys = ["hidden"]
    store.add([node])
    assert encoder.encoded == ["title: fruit\n\napples"]


def test_a_node_with_nothing_to_read_is_named_in_the_log(store, caplog):
    assert store.add([TextNode(id_="full", text="x"), TextNode(id_="empty", text=" ")]) == [
        "full",
        "empty",
    ]
    assert store.index.ids() == ["full"]
    assert "this node was not stored: empty" in caplog.text


def test_a_missing_picture_is_named(store):
    node = ImageNode(text="apples", image_path="nowhere.png")
    with pytest.raises(UnreadableFileError, match=r"nowhere\.png: cannot be opened"):
        store.add([node])


def test_only_what_changed_is_encoded_again(store, encoder):
    store.add(fruit_and_sea())
    changed = fruit_and_sea()
    changed[1].text = "yellow pears"
    changed[2].excluded_embed_metadata_keys = ["year"]
    count = len(encoder.encoded)
    store.add(changed[:2])
    assert encoder.encoded[count:] == ["year: 2\n\nyellow pears"]


# -- deleting ------------------------------------------------------------------------------


def test_delete_by_document(store):
    store.add([*fruit_and_sea(), Document(id_="own", text="its own document")])
    store.delete("fruit")
    assert store.index.ids() == ["c", "own"]
    store.delete("own")  # a document without a splitter is its own node
    assert store.index.ids() == ["c"]


def test_a_document_is_not_taken_for_a_file_of_that_name(store):
    store.add([of_document("n", "pears", "doc", source="fruit")])
    store.index.add([Page(source="fruit", text="apples")])
    store.delete("fruit")
    assert store.index.ids() == ["n"]


def test_delete_nodes_by_id_and_filter(store):
    store.add(fruit_and_sea())
    store.delete_nodes(["a", "c"], equal("year", 2))
    assert store.index.ids() == ["a", "b"]
    store.delete_nodes(filters=equal("year", 2))
    assert store.index.ids() == ["a"]
    with pytest.raises(StoreError, match=r"clear\(\) deletes all"):
        store.delete_nodes()
    store.clear()
    assert store.get_nodes() == []


def test_async_twins(store):
    async def life() -> list[Any]:
        seen: list[Any] = [await store.async_add(fruit_and_sea())]
        seen.append(ids_of(await store.aget_nodes(filters=equal("year", 2))))
        result = await store.aquery(VectorStoreQuery(query_str="red apples"), r_q=1, r_c=1)
        seen.append(result.ids)
        await store.adelete("sea")
        await store.adelete_nodes(["a"])
        seen.append(ids_of(await store.aget_nodes()))
        await store.aclear()
        seen.append(len(store.index))
        return seen

    assert asyncio.run(life()) == [["a", "b", "c"], ["b", "c"], ["a"], ["b"], 0]


def test_no_async_method_works_on_the_event_loop(store, encoder, red, monkeypatch):
    """LlamaIndex's defaults call the sync methods there."""
    threads: set[threading.Thread] = set()
    for name in ("encode_query", "encode_document"):
        real = getattr(encoder, name)

        def recorded(inputs, real=real, **options):
            threads.add(threading.current_thread())
            return real(inputs)

        monkeypatch.setattr(encoder, name, recorded)
    embedding = MetaEmbedEmbedding(encoder)

    async def everything() -> int:
        done = [
            await store.async_add([TextNode(text="apples")]),
            await store.aquery(VectorStoreQuery(query_str="apples")),
            await store.as_retriever().aretrieve("apples"),
            await MetaEmbedRerank(encoder=encoder).apostprocess_nodes(
                [NodeWithScore(node=TextNode(text="apples"))], query_str="apples"
            ),
            await embedding.acall([TextNode(text="apples")]),
            await embedding.aget_query_embedding("apples"),
            await embedding.aget_text_embedding("apples"),
            await embedding.aget_text_embedding_batch(["apples"]),
            await embedding.aget_image_embedding(red),
            await embedding.aget_image_embedding_batch([red]),
            await embedding.aget_query_vectors(["apples"]),
            await embedding.aget_document_vectors(["apples"]),
        ]
        return len(done)

    assert asyncio.run(everything()) == 12
    assert threads
    assert threading.main_thread() not in threads


# -- queries -------------------------------------------------------------------------------


def test_a_query_gives_nodes_scores_and_ids(store):
    store.add(fruit_and_sea())
    result = store.query(VectorStoreQuery(query_str="red apples", similarity_top_k=2))
    hits = store.index.search("red apples", k=2)
    assert result.ids == ids_of(result.nodes) == [hit.page.id for hit in hits]
    assert result.similarities == [hit.score for hit in hits]


def test_filters_documents_and_nodes_restrict_a_query(store):
    store.add(fruit_and_sea())
    assert sorted(asked(store, "apples", filters=equal("year", 2))) == ["b", "c"]
    assert asked(store, "whales", doc_ids=["fruit"], k=1) in (["a"], ["b"])
    assert asked(store, "whales", doc_ids=[]) == []
    assert asked(store, "whales", node_ids=["b"]) == ["b"]
    over = MetadataFilter(key="year", value=1, operator=FilterOperator.GT)
    assert asked(store, "whales", filters=MetadataFilters(filters=[over]))[0] == "c"


@pytest.mark.parametrize(
    ("of_store", "of_query", "expected"),
    [
        ({}, {}, (16, 64)),
        ({"budget": "4,8"}, {}, (4, 8)),
        ({"budget": "4,8", "r_c": 2}, {}, (4, 2)),
        ({"budget": "4,8"}, {"r_q": 2}, (2, 8)),
        ({"r_q": 1, "r_c": 1}, {"r_q": 4, "r_c": 8}, (4, 8)),
        ({"r_q": 1}, {"budget": "8,16"}, (8, 16)),
    ],
)
def test_the_budget_comes_from_the_store_or_the_query(
    encoder, shapes, of_store, of_query, expected
):
    store = MetaEmbedVectorStore(PageIndex.open(":memory:", encoder), **of_store)
    store.add(fruit_and_sea())
    index = VectorStoreIndex.from_vector_store(store, embed_model=store.embed_model)
    retriever = index.as_retriever(similarity_top_k=1, vector_store_kwargs=of_query)
    assert ids_of(retriever.retrieve("red apples")) == ["a"]
    assert ids_of(asyncio.run(retriever.aretrieve("red apples"))) == ["a"]
    assert shapes == [expected] * 2


def test_the_environment_gives_the_default_budget(store, shapes, monkeypatch):
    store.add(fruit_and_sea())
    monkeypatch.setenv("METAEMBED_BUDGET", "fast")
    asked(store, "apples")
    store.as_retriever().retrieve("apples")
    assert shapes == [(1, 1)] * 2


def test_more_vectors_than_stored_and_unknown_keywords_are_refused(store):
    store.add(fruit_and_sea())
    query = VectorStoreQuery(query_str="apples")
    with pytest.raises(BudgetError, match="use a budget of at most 16,64"):
        store.query(query, r_c=65)
    with pytest.raises(StoreError, match="unknown vector_store_kwargs: rq"):
        store.query(query, rq=4)
    with pytest.raises(StoreError, match="query mode 'mmr' is not supported"):
        asked(store, "apples", mode=VectorStoreQueryMode.MMR)


def test_a_query_by_embedding_is_a_query_of_one_vector(store, encoder):
    store.add(fruit_and_sea())
    one = encoder.encode_query(["red apples"])[0, 0].tolist()
    result = store.query(VectorStoreQuery(query_embedding=one), r_c=1)
    assert result.ids == ["a"]
    assert (
        result.similarities[0]
        == store.index.search("red apples", budget="1,1", hybrid=False)[0].score
    )
    with pytest.raises(StoreError, match="has 3 numbers, the index stores vectors of 64"):
        store.query(VectorStoreQuery(query_embedding=[0.1, 0.2, 0.3]))
    with pytest.raises(StoreError, match="neither a text nor an embedding"):
        store.query(VectorStoreQuery())


def test_the_mode_hybrid_lets_words_count(store):
    store.add(fruit_and_sea())
    hybrid = VectorStoreQueryMode.HYBRID
    assert asked(store, "pears", mode=hybrid)[0] == "b"
    assert asked(store, "pears", mode=hybrid, alpha=0.5)[0] == "b"
    with pytest.raises(StoreError, match=r"alpha is 1\.0: give a number"):
        asked(store, "pears", mode=hybrid, alpha=1.0)


def test_a_picture_is_a_query(store, red):
    store.add([ImageNode(id_="p", image_path=red), TextNode(id_="t", text="apples")])
    assert store.query(VectorStoreQuery(), image=red).ids == ["p"]


# -- VectorStoreIndex ----------------------------------------------------------------------


def test_an_index_encodes_each_node_once(store, encoder):
    context = StorageContext.from_defaults(vector_store=store)
    index = VectorStoreIndex(
        fruit_and_sea(), storage_context=context, embed_model=store.embed_model
    )
    assert len(encoder.encoded) == 3
    assert ids_of(index.as_retriever(similarity_top_k=1).retrieve("whales")) == ["c"]
    index.delete_ref_doc("fruit")
    assert store.index.ids() == ["c"]
    index.insert(Document(id_="d", text="grey seals", metadata={"year": 3}))
    assert len(asked(store, "seals")) == 2


@pytest.mark.parametrize("kind", [ImageNode, PageNode])
def test_text_nodes_are_found_beside_image_nodes(store, red, kind):
    """VectorStoreIndex names its image nodes in every query, which would leave out all others."""
    nodes = [*fruit_and_sea(), kind(id_="p", text="a red square", image_path=red)]
    context = StorageContext.from_defaults(vector_store=store)
    index = VectorStoreIndex(nodes, storage_context=context, embed_model=store.embed_model)
    found = index.as_retriever(similarity_top_k=4).retrieve("red apples")
    assert sorted(ids_of(found)) == ["a", "b", "c", "p"]
    (square,) = (one.node for one in found if one.node_id == "p")
    blocks = square.get_content_blocks(MetadataMode.LLM)
    assert [type(block) for block in blocks] == [TextBlock, ImageBlock]
    only = VectorIndexRetriever(index, node_ids=["b"]).retrieve("red apples")
    assert ids_of(only) == ["b"]


def test_pages_without_text_reach_the_store(store, tmp_path):
    """VectorStoreIndex leaves out nodes that show embeddings nothing."""
    RED.save(tmp_path / "scan.png")
    documents = MetaEmbedReader(pictures=tmp_path / "kept").load_data(tmp_path / "scan.png")
    context = StorageContext.from_defaults(vector_store=store)
    VectorStoreIndex(documents, storage_context=context, embed_model=store.embed_model)
    assert len(store.index) == 1


def test_the_embedding_of_the_store_side_computes_nothing(store):
    model = store.embed_model
    assert isinstance(model, StoreSideEmbedding)
    assert model.get_text_embedding("x") == model.get_query_embedding("x") == []
    assert asyncio.run(model.aget_query_embedding("x")) == []


def test_it_is_serialised_by_its_place(encoder, tmp_path, monkeypatch):
    monkeypatch.setattr("metaembed_rag.opening.load_encoder", lambda *given: encoder)
    store = MetaEmbedVectorStore(where=str(tmp_path / "index"), encoder=encoder, budget="4,8")
    store.add(fruit_and_sea())
    data = json.loads(json.dumps(store.to_dict()))
    back = MetaEmbedVectorStore.from_dict(data)
    assert data["class_name"] == "MetaEmbedVectorStore"
    assert (back.budget, asked(back, "red apples")[0]) == ("4,8", "a")
    with pytest.raises(StoreError, match="give the index, or where it is"):
        MetaEmbedVectorStore()


def test_fault_17_settings_open_the_place_from_any_folder_and_no_empty_memory(
    encoder, tmp_path, monkeypatch
):
    monkeypatch.setattr("metaembed_rag.opening.load_encoder", lambda *given: encoder)
    monkeypatch.chdir(tmp_path)
    store = MetaEmbedVectorStore(where="index", encoder=encoder)
    store.add(fruit_and_sea())
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert len(MetaEmbedVectorStore.from_dict(store.to_dict()).index) == 3
    memory = MetaEmbedVectorStore(PageIndex.open(":memory:", encoder), budget="fast")
    with pytest.raises(StoreError, match="was in memory"):
        MetaEmbedVectorStore.from_dict(memory.to_dict())
    back = MetaEmbedVectorStore.from_dict(memory.to_dict(), index=memory.index)
    assert (back.index, back.budget) == (memory.index, "1,1")


_SECOND_PROCESS = """
    import json, sys
    from llama_index.core import StorageContext, VectorStoreIndex, load_index_from_storage
    from metaembed_rag.llama_index import MetaEmbedVectorStore
    from metaembed_rag.testing import FakeEncoder

    store = MetaEmbedVectorStore(where=sys.argv[1], encoder=FakeEncoder())
    fresh = VectorStoreIndex.from_vector_store(store, embed_model=store.embed_model)
    context = StorageContext.from_defaults(persist_dir=sys.argv[2], vector_store=store)
    loaded = load_index_from_storage(context, embed_model=store.embed_model)
    found = [
        [(one.node_id, one.score, one.node.image_path) for one in found]
        for index in (fresh, loaded)
        for found in [index.as_retriever(similarity_top_k=1).retrieve("a red square")]
    ]
    print(json.dumps(found))
"""


@pytest.mark.integration
def test_another_process_goes_on_where_this_one_stopped(encoder, tmp_path, red):
    store = MetaEmbedVectorStore(where=str(tmp_path / "index"), encoder=encoder)
    context = StorageContext.from_defaults(vector_store=store)
    nodes = [*fruit_and_sea(), ImageNode(id_="p", text="a red square", image_path=red)]
    VectorStoreIndex(nodes, storage_context=context, embed_model=store.embed_model)
    context.persist(str(tmp_path / "context"))
    score = store.index.search("a red square", k=1)[0].score
    places = [str(tmp_path / "index"), str(tmp_path / "context")]
    printed = program(textwrap.dedent(_SECOND_PROCESS), *places)
    for (found,) in json.loads(printed.splitlines()[-1]):
        assert found[:2] == ["p", score]
        assert Path(found[2]).is_file()


# -- pipelines -----------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    RED.save(folder / "square.png")
    make_pdf(folder / "report.pdf", ["apples in spring", "pears in autumn"])
    return folder


@pytest.fixture
def reader(tmp_path) -> MetaEmbedReader:
    return MetaEmbedReader(pictures=tmp_path / "kept")


def pipeline(store: MetaEmbedVectorStore, strategy: DocstoreStrategy) -> IngestionPipeline:
    return IngestionPipeline(
        transformations=[store.embed_model],
        vector_store=store,
        docstore=SimpleDocumentStore(),
        docstore_strategy=strategy,
    )


def ingest(line: IngestionPipeline, documents: list[Document], asynchronous: bool) -> None:
    if asynchronous:
        asyncio.run(line.arun(documents=documents))
    else:
        line.run(documents=documents)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_upserts_see_a_changed_file_at_the_same_path(store, encoder, folder, reader, asynchronous):
    """LlamaIndex's own image documents have a hash of the path: they would never be read again."""
    line = pipeline(store, DocstoreStrategy.UPSERTS)
    ingest(line, reader.load_data(folder), asynchronous)
    assert len(encoder.encoded) == len(store.index) == 3
    ingest(line, reader.load_data(folder), asynchronous)
    assert len(encoder.encoded) == 3
    BLUE.save(folder / "square.png")
    ingest(line, reader.load_data(folder), asynchronous)
    assert (len(encoder.encoded), len(store.index)) == (4, 3)
    blue = store.query(VectorStoreQuery(), image=BLUE)
    assert blue.ids == [f"{folder}/square.png#1"]
    assert blue.similarities[0] > 0.99
    with Image.open(blue.nodes[0].image_path) as kept:
        assert kept.getpixel((5, 5))[2] > 200


def test_a_cached_pipeline_sees_changed_pixels_too(store, folder, reader):
    line = IngestionPipeline(transformations=[store.embed_model], vector_store=store)
    line.run(documents=reader.load_data(folder / "square.png"))
    BLUE.save(folder / "square.png")
    line.run(documents=reader.load_data(folder / "square.png"))
    assert store.query(VectorStoreQuery(), image=BLUE).similarities[0] > 0.99


@pytest.mark.parametrize("asynchronous", [False, True])
def test_upserts_and_delete_lose_the_pages_that_a_file_lost(store, folder, reader, asynchronous):
    line = pipeline(store, DocstoreStrategy.UPSERTS_AND_DELETE)
    ingest(line, reader.load_data(folder), asynchronous)
    make_pdf(folder / "report.pdf", ["apples in spring"])
    (folder / "square.png").unlink()
    ingest(line, reader.load_data(folder), asynchronous)
    assert store.index.ids() == [f"{folder}/report.pdf#1"]


def test_a_splitter_does_not_lose_the_picture_of_a_page(store, encoder, folder, reader):
    line = IngestionPipeline(
        transformations=[SentenceSplitter(), store.embed_model], vector_store=store
    )
    line.run(documents=reader.load_data(folder / "report.pdf"))
    assert [sorted(value) for value in encoder.encoded] == [["image", "text"]] * 2
    found = store.query(VectorStoreQuery(query_str="apples"))
    assert Path(found.nodes[0].image_path).is_file()
    assert found.nodes[0].ref_doc_id == f"{folder}/report.pdf#1"
    store.delete(f"{folder}/report.pdf#1")
    assert len(store.index) == 1


# -- the reader ----------------------------------------------------------------------------


def test_a_document_has_text_picture_and_what_the_file_says(tmp_path):
    path = make_pdf(tmp_path / "a.pdf", ["apples", "pears"], title="Fruit", author="Anna")
    documents = MetaEmbedReader(pictures=tmp_path / "kept").load_data(path)
    assert [document.id_ for document in documents] == [f"{path}#1", f"{path}#2"]
    assert [document.text.strip() for document in documents] == ["apples", "pears"]
    second = documents[1]
    with Image.open(second.image_resource.path) as kept:
        assert kept.size[1] == 896
    expected = {"title": "Fruit", "author": "Anna", "source": str(path), "page": 2}
    assert {key: second.metadata[key] for key in expected} == expected
    assert second.ref_doc_id is None  # a pipeline compares documents by their own ids


def test_the_store_ranks_documents_as_an_index_ranks_pages(store, encoder, folder, reader):
    store.add(reader.load_data(folder / "report.pdf"))
    index = PageIndex.open(":memory:", encoder)
    index.sync(folder / "report.pdf")
    found = store.query(VectorStoreQuery(query_str="pears", similarity_top_k=2))
    assert found.ids == [hit.page.id for hit in index.search("pears", k=2)]
    texts = [value["text"] for value in encoder.encoded]
    assert texts[:2] == texts[2:]


def test_modes_leave_out_picture_or_text(folder, tmp_path):
    def read(mode: Any, name: str) -> Document:
        return MetaEmbedReader(mode=mode, pictures=tmp_path / "kept").load_data(folder / name)[0]

    text, image = read("text", "report.pdf"), read("image", "report.pdf")
    assert (text.text.strip(), text.image_resource) == ("apples in spring", None)
    assert (image.text, image.image_resource is not None) == ("", True)
    assert read("text", "square.png").image_resource is not None  # it has nothing else


def test_fault_08_documents_of_pictures_have_the_text_on_them(folder, tmp_path, monkeypatch):
    from metaembed_rag.pages import ocr

    looks: list[Image.Image] = []
    monkeypatch.setattr(ocr, "read_text", lambda image: looks.append(image) or "seen by ocr")
    BLUE.save(folder / "other.png")

    def texts(**options: Any) -> list[str]:
        documents = MetaEmbedReader(pictures=tmp_path / "kept", **options).load_data(folder)
        assert len({document.hash for document in documents}) == 4
        assert len({document.metadata["content_hash"] for document in documents}) == 4
        return [document.text.strip() for document in documents if ".png" in document.id_]

    assert texts() == texts(mode="text") == ["seen by ocr"] * 2
    assert texts(ocr=False) == texts(mode="image") == ["", ""]
    assert len(looks) == 2  # one look a picture
    documents = MetaEmbedReader(pictures=tmp_path / "kept").load_data(folder)
    embedding = MetaEmbedEmbedding(FakeEncoder(modalities=["text"]))
    other = VectorStoreIndex.from_documents(documents, embed_model=embedding)
    found = other.as_retriever(similarity_top_k=2).retrieve("seen by ocr")
    assert {Path(one.metadata["source"]).name for one in found} == {"square.png", "other.png"}


def test_nodes_name_their_file(folder, reader):
    nodes = reader.load_nodes(folder / "report.pdf", extra_info={"team": "a"})
    assert [type(node) for node in nodes] == [PageNode, PageNode]
    assert {node.ref_doc_id for node in nodes} == {f"{folder}/report.pdf"}
    assert nodes[0].metadata["team"] == "a"


@pytest.mark.parametrize("asynchronous", [False, True])
def test_it_reads_for_a_simple_directory_reader(store, folder, reader, asynchronous):
    directory = SimpleDirectoryReader(
        str(folder), file_extractor={".pdf": reader, ".png": reader}, raise_on_error=True
    )
    documents = asyncio.run(directory.aload_data()) if asynchronous else directory.load_data()
    assert len(documents) == 3
    assert {document.metadata["file_name"] for document in documents} == {
        "report.pdf",
        "square.png",
    }
    store.add(documents)
    assert asked(store, "pears", k=1) == [f"{folder}/report.pdf#2"]


def test_documents_come_one_by_one(folder, reader):
    lazily = reader.lazy_load_data(folder / "report.pdf")
    assert next(iter(lazily)).metadata["page"] == 1
    assert len(list((reader.pictures and Path(reader.pictures)).rglob("*.webp"))) == 1


def test_what_cannot_be_read_is_named(folder, tmp_path):
    (folder / "bad.pdf").write_bytes(b"nothing")
    with pytest.raises(UnreadableFileError, match=r"bad\.pdf"):
        MetaEmbedReader(pictures=tmp_path / "kept").load_data(folder)
    skipped: list[Any] = []
    reader = MetaEmbedReader(pictures=tmp_path / "kept", on_skip=skipped.append)
    assert len(reader.load_data(folder)) == 3
    assert [Path(error.source).name for error in skipped] == ["bad.pdf"]
    with pytest.raises(UnreadableFileError, match="fs is a file system of fsspec"):
        reader.load_data(folder, fs=object())


def test_fault_22_the_limits_of_the_reader_end_a_bomb_and_the_rest_is_read(folder, tmp_path):
    (folder / "bomb.pdf").write_bytes((bombs.FOLDER / "nested_4g.pdf").read_bytes())
    skipped: list[Any] = []
    reader = MetaEmbedReader(pictures=tmp_path, on_skip=skipped.append, limits=bombs.SMALL)
    assert len(reader.load_data(folder)) == 3
    assert [(type(error), Path(error.source).name) for error in skipped] == [
        (ResourceLimitError, "bomb.pdf#1")
    ]


def test_documents_survive_a_docstore(folder, reader):
    document = reader.load_data(folder / "report.pdf")[0]
    docstore = SimpleDocumentStore()
    docstore.add_documents([document])
    back = SimpleDocumentStore.from_dict(json.loads(json.dumps(docstore.to_dict())))
    restored = back.get_document(document.id_)
    assert restored.hash == document.hash
    assert restored.image_resource.path == document.image_resource.path


def test_reader_and_settings_are_serialised():
    data = MetaEmbedReader(mode="image", max_side=448).to_dict()
    back = MetaEmbedReader.from_dict(data)
    assert (back.mode, back.max_side, data["class_name"]) == ("image", 448, "MetaEmbedReader")


def test_a_page_becomes_a_document_and_a_page_again(red):
    page = Page(source="fruit.pdf", number=2, text="apples", image_path=red, metadata={"year": 1})
    again = node_to_page(page_to_document(page))
    assert (again.id, again.source, again.number, again.text) == (
        "fruit.pdf#2",
        "fruit.pdf",
        2,
        "apples",
    )
    assert again.image.size == (40, 30)
    assert again.metadata["year"] == 1


def test_empty_filters_delete_nothing(encoder):
    store = MetaEmbedVectorStore(where=":memory:", encoder=encoder)
    store.add(fruit_and_sea())
    before = len(store.get_nodes())
    with pytest.raises(StoreError, match="clear"):
        store.delete_nodes(filters=MetadataFilters(filters=[]))
    negated = MetadataFilter(key="misspelt", value="x", operator=FilterOperator.NE)
    with pytest.raises(StoreError, match="only what pages are not"):
        store.delete_nodes(filters=MetadataFilters(filters=[negated]))
    assert len(store.get_nodes()) == before > 0


# -- metadata of other types, filters by their logic, texts ------------------------------------


def found(store: MetaEmbedVectorStore, *filters: MetadataFilter) -> set[str]:
    return {node.node_id for node in store.get_nodes(filters=MetadataFilters(filters=[*filters]))}


def test_fault_09_metadata_of_other_types_come_back_as_what_they_mean(store):
    odd = {"when": date(2024, 2, 1), "n": np.int64(3), "tags": ("a", "b"), "where": Path("/a")}
    meant = {"when": "2024-02-01", "n": 3, "tags": ["a", "b"], "where": "/a"}
    node = TextNode(id_="a", text="apples", metadata=odd)
    store.add([node])
    assert store.get_nodes(["a"])[0].metadata == meant
    assert found(store, MetadataFilter(key="when", value="2024-02-01")) == {"a"}
    assert found(store, MetadataFilter(key="n", value=3)) == {"a"}
    before = len(store.index.encoder.encoded)
    store.add([node])
    assert len(store.index.encoder.encoded) == before
    assert node.metadata == odd


def test_fault_09_one_odd_node_of_a_hundred_stores_none(store):
    nodes = [TextNode(id_=str(n), text=f"text {n}", metadata={"n": n}) for n in range(100)]
    nodes[99].metadata["bad"] = object()
    with pytest.raises(MetadataError, match="node '99': metadata key 'bad' is an object"):
        store.add(nodes)
    assert len(store.index) == 0


def test_fault_10_nodes_are_filtered_by_their_text(store):
    texts = {"a": "red Apples", "p": "green pears", "w": "blue whales"}
    store.add([TextNode(id_=id, text=text) for id, text in texts.items()])
    match, loose = FilterOperator.TEXT_MATCH, FilterOperator.TEXT_MATCH_INSENSITIVE
    assert found(store, MetadataFilter(key="text", value="Apples", operator=match)) == {"a"}
    assert found(store, MetadataFilter(key="text", value="apples", operator=match)) == set()
    assert found(store, MetadataFilter(key="text", value="apples", operator=loose)) == {"a"}
    for one in ("text", "#document"):
        filters = MetadataFilters(filters=[MetadataFilter(key=one, value="pea", operator=match)])
        answer = store.query(VectorStoreQuery(query_str="x", similarity_top_k=5, filters=filters))
        assert answer.ids == ["p"]


def test_fault_10_filters_of_nodes_mean_what_logic_says(store):
    store.add([TextNode(id_=str(n), text=f"text {n}", metadata={"n": n}) for n in range(3)])
    none = MetadataFilter(key="n", value=[], operator=FilterOperator.IN)
    every = MetadataFilter(key="n", value=[], operator=FilterOperator.NIN)
    nothing = MetadataFilter(key="n", value=[], operator=FilterOperator.ANY)
    one = MetadataFilter(key="n", value=1)
    many = MetadataFilter(key="n", value=list(range(1, 30_000)), operator=FilterOperator.IN)
    assert found(store, none) == found(store, nothing) == found(store, one, none) == set()
    assert found(store, every) == {"0", "1", "2"}
    assert found(store, many) == {"1", "2"}
    either = MetadataFilters(filters=[one, none], condition="or")
    assert {node.node_id for node in store.get_nodes(filters=either)} == {"1"}
    with pytest.raises(StoreError, match=r"clear\(\) deletes all"):
        store.delete_nodes(filters=MetadataFilters(filters=[every]))
    store.delete_nodes(filters=MetadataFilters(filters=[none]))
    assert len(store.index) == 3


def test_fault_01_a_node_that_is_too_long_is_logged_by_store_and_embedding(
    encoder, store, monkeypatch, caplog
):
    monkeypatch.setattr(
        FakeEncoder, "unread_tokens", lambda _, given: [5000 * ("sea" in one) for one in given]
    )
    store.add([of_document("a", "an apple", "d"), of_document("b", "the sea", "d")])
    assert "b is too long: 5,000 tokens at its end were not read" in caplog.text
    MetaEmbedEmbedding(encoder).get_text_embedding("the sea")
    assert "1 of 1 texts are longer than fake reads" in caplog.text
