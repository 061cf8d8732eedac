"""The parts around a retriever: loader, reranker, content blocks."""

from __future__ import annotations

import asyncio
import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.messages import HumanMessage
from langchain_core.messages.block_translators.openai import convert_to_openai_data_block
from langchain_core.vectorstores import InMemoryVectorStore
from PIL import Image

from metaembed_rag import adapters
from metaembed_rag.errors import (
    BudgetError,
    EncryptedFileError,
    MissingExtraError,
    NothingToReadError,
    ResourceLimitError,
    UnreadableFileError,
)
from metaembed_rag.index import PageIndex
from metaembed_rag.langchain import (
    MetaEmbedEmbeddings,
    MetaEmbedLoader,
    MetaEmbedReranker,
    MetaEmbedRetriever,
    MetaEmbedVectorStore,
    content_blocks,
    message_content,
)
from metaembed_rag.pages import load_pages
from metaembed_rag.testing import FakeEncoder
from tests.support import bombs
from tests.support.files import encrypt, make_pdf, pdf_bytes


@pytest.fixture
def store(encoder) -> MetaEmbedVectorStore:
    store = MetaEmbedVectorStore(PageIndex.open(":memory:", encoder))
    store.add_texts(["red apples", "green pears", "blue whales swim"], ids=["a", "p", "w"])
    encoder.encoded.clear()
    return store


def picture(path: Path, colour: str, size: tuple[int, int] = (40, 30)) -> str:
    Image.new("RGB", size, colour).save(path)
    return str(path)


def noise(path: Path, side: int) -> str:
    """A picture that compresses badly: about 3 bytes a pixel as PNG."""
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return str(path)


def ids(documents: Any) -> list[str | None]:
    return [document.id for document in documents]


def run(coroutine: Any) -> Any:
    return asyncio.run(coroutine)


# -- the reranker --------------------------------------------------------------------------


def test_stored_documents_are_ranked_without_encoding_them(store, encoder):
    documents = store.get_by_ids(["p", "w", "a"])
    reranker = MetaEmbedReranker(index=store.index, top_n=2)
    ranked = reranker.compress_documents(documents, "red apples")
    hits = store.index.search("red apples", k=2, hybrid=False)
    assert encoder.encoded == []
    assert ids(ranked) == [hit.page.id for hit in hits]
    assert [d.metadata["score"] for d in ranked] == pytest.approx([h.score for h in hits])
    for document in ranked:
        assert document.metadata["relevance_score"] == (document.metadata["score"] + 1) / 2
    again = run(reranker.acompress_documents(documents, "red apples"))
    assert [(d.id, dict(d.metadata)) for d in again] == [(d.id, dict(d.metadata)) for d in ranked]


def test_only_what_is_not_stored_is_encoded(store, encoder):
    documents = [
        *store.get_by_ids(["a", "w"]),
        Document("red apples again"),
        Document("yellow figs", id="a"),  # another retriever's "a"
    ]
    ranked = MetaEmbedReranker(index=store.index).compress_documents(documents, "yellow figs")
    assert encoder.encoded == ["red apples again", "yellow figs"]
    assert ranked[0].page_content == "yellow figs"
    assert len(ranked) == 4
    assert len(store.index) == 3


def test_a_document_scores_the_same_stored_or_not(store):
    stored, foreign = store.get_by_ids(["a"])[0], Document("red apples")
    ranked = MetaEmbedReranker(index=store.index).compress_documents([foreign, stored], "apples")
    assert ids(ranked) == [None, "a"]  # ties keep their order
    assert ranked[0].metadata["score"] == ranked[1].metadata["score"]


def test_a_changed_picture_is_not_taken_for_the_stored_one(store, encoder, tmp_path):
    red, blue = (picture(tmp_path / f"{name}.png", name) for name in ("red", "blue"))
    store.add_documents([Document("", metadata={"image_path": red}, id="kite")])
    stored = store.get_by_ids(["kite"])[0]
    (changed,) = MetaEmbedLoader(blue).load()
    changed = changed.model_copy(update={"id": "kite"})
    encoder.encoded.clear()
    reranker = MetaEmbedReranker(index=store.index)
    ranked = reranker.compress_documents([stored, changed], {"image": blue})
    assert len(encoder.encoded) == 1
    assert ranked[0].metadata["source"] == blue


def test_fault_09_metadata_that_cannot_be_stored_do_not_keep_a_document_from_being_ranked(store):
    odd = {"source": "a.pdf", "page": np.int64(2), "object": object()}
    documents = [Document("blue whales", metadata=odd), Document("yellow figs", metadata=odd)]
    ranked = MetaEmbedReranker(index=store.index).compress_documents(documents, "yellow figs")
    assert [document.page_content for document in ranked] == ["yellow figs", "blue whales"]
    assert ranked[0].metadata["object"] is odd["object"]


def test_the_documents_given_stay_as_they_are(store):
    given = Document("red apples", metadata={"score": "mine"})
    ranked = MetaEmbedReranker(index=store.index).compress_documents([given], "apples")
    assert given == Document("red apples", metadata={"score": "mine"})
    assert isinstance(ranked[0].metadata["score"], float)


def test_the_rerankers_budget_changes_the_ranking(store):
    """One vector is the mixture of all words, so the page of one right word wins; more vectors
    find both words on the longer page."""
    documents = [Document("red apples grow beside an old stone bridge", id="l"), Document("red")]
    cheap = MetaEmbedReranker(index=store.index, r_q=1, r_c=1)
    assert ids(cheap.compress_documents(documents, "red apples")) == [None, "l"]
    full = MetaEmbedReranker(index=store.index, budget="full")
    assert ids(full.compress_documents(documents, "red apples")) == ["l", None]
    with pytest.raises(BudgetError, match="use a budget of at most 16,64"):
        MetaEmbedReranker(index=store.index, r_c=65).compress_documents(documents, "apples")


def test_the_environments_budget_reaches_the_reranker(store, monkeypatch):
    documents = [Document("red apples grow beside an old stone bridge", id="l"), Document("red")]
    monkeypatch.setenv("METAEMBED_BUDGET", "fast")
    ranked = MetaEmbedReranker(index=store.index).compress_documents(documents, "red apples")
    assert ids(ranked) == [None, "l"]


def test_what_cannot_be_encoded_is_reported_and_comes_last(store):
    documents = [Document(" ", id="blank"), Document("apples", id="new")]
    with pytest.raises(NothingToReadError, match="blank"):
        MetaEmbedReranker(index=store.index).compress_documents(documents, "apples")
    skipped: list[Any] = []
    patient = MetaEmbedReranker(index=store.index, on_skip=skipped.append)
    ranked = patient.compress_documents(documents, "apples")
    assert ids(ranked) == ["new", "blank"]
    assert "score" not in ranked[1].metadata
    assert [error.source for error in skipped] == ["blank"]
    assert patient.compress_documents([], "apples") == []


def test_the_reranker_works_in_a_contextual_compression_retriever(store):
    retrievers = pytest.importorskip(
        "langchain_classic.retrievers", reason="langchain-classic is not installed"
    )
    retriever = retrievers.ContextualCompressionRetriever(
        base_retriever=store.as_retriever(k=3, r_q=1, r_c=1),
        base_compressor=MetaEmbedReranker(index=store.index, top_n=1),
    )
    assert ids(retriever.invoke("blue whales")) == ["w"]
    assert ids(run(retriever.ainvoke("blue whales"))) == ["w"]


# -- the loader ----------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    make_pdf(folder / "report.pdf", ["apples", "pears"], title="Fruit")
    picture(folder / "kite.png", "red")
    Image.new("RGB", (40, 30), "red").save(
        folder / "scan.tiff", save_all=True, append_images=[Image.new("RGB", (40, 30), "blue")]
    )
    (folder / "notes.txt").write_text("plums")
    return folder


def test_every_kind_of_file_becomes_documents(folder, tmp_path):
    loader = MetaEmbedLoader(folder, pictures=tmp_path / "pictures")
    found = {document.id: document for document in loader.load()}
    names = ["kite.png#1", "notes.txt#1", "report.pdf#1", "report.pdf#2", "scan.tiff#1"]
    assert sorted(found) == [f"{folder}/{name}" for name in [*names, "scan.tiff#2"]]
    page = found[f"{folder}/report.pdf#2"]
    assert page.page_content.strip() == "pears"
    assert page.metadata["source"] == f"{folder}/report.pdf"
    assert (page.metadata["page"], page.metadata["title"]) == (2, "Fruit")
    with Image.open(page.metadata["image_path"]) as kept:
        assert kept.format == "WEBP"
    assert page.metadata["mime_type"] == "image/webp"
    assert found[f"{folder}/kite.png#1"].metadata["image_path"] == f"{folder}/kite.png"
    assert found[f"{folder}/kite.png#1"].metadata["mime_type"] == "image/png"
    with Image.open(found[f"{folder}/scan.tiff#2"].metadata["image_path"]) as frame:
        assert frame.getpixel((0, 0))[2] > 200
    assert "image_path" not in found[f"{folder}/notes.txt#1"].metadata
    assert run(loader.aload()) == loader.load()


def test_loading_again_gives_the_same_documents(folder, tmp_path):
    """Also the same paths of drawn pages: they are part of what the indexing API compares."""
    first = MetaEmbedLoader(folder, pictures=tmp_path / "pictures").load()
    assert MetaEmbedLoader([folder], pictures=tmp_path / "pictures").load() == first
    make_pdf(folder / "report.pdf", ["apples", "pears", "figs"], title="Fruit")
    again = MetaEmbedLoader(folder, pictures=tmp_path / "pictures").load()
    assert [document for document in again if document not in first] == [
        document for document in again if document.id == f"{folder}/report.pdf#3"
    ]


def test_pages_are_loaded_one_at_a_time(folder, tmp_path):
    pictures = tmp_path / "pictures"
    documents = MetaEmbedLoader(folder / "report.pdf", pictures=pictures).lazy_load()
    assert not pictures.exists()
    next(documents)
    assert len(list(pictures.rglob("*.webp"))) == 1


def test_files_that_cannot_be_read_are_never_passed_over_silently(folder, tmp_path):
    (folder / "locked.pdf").write_bytes(encrypt(pdf_bytes(["secret"]), "word"))
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / "film.mp4").write_bytes(b"film")
    with pytest.raises(UnreadableFileError, match=r"broken\.png"):
        MetaEmbedLoader(folder, pictures=tmp_path / "pictures").load()
    seen: list[Any] = []
    loader = MetaEmbedLoader(folder, pictures=tmp_path / "pictures", on_skip=seen.append)
    assert len(loader.load()) == 6
    assert [type(error) for error in seen] == [UnreadableFileError, EncryptedFileError]
    assert loader.skipped == seen
    assert [path.name for path in loader.ignored] == ["film.mp4"]
    loader.load()
    assert len(loader.skipped) == 2  # of the last run
    (open_,) = MetaEmbedLoader(
        folder / "locked.pdf", pictures=tmp_path / "pictures", password="word"
    ).load()
    assert open_.page_content.strip() == "secret"


def test_fault_22_the_limits_of_the_loader_end_a_bomb_and_the_rest_is_loaded(folder, tmp_path):
    (folder / "bomb.pdf").write_bytes((bombs.FOLDER / "nested_4g.pdf").read_bytes())
    seen: list[Any] = []
    loader = MetaEmbedLoader(folder, pictures=tmp_path, on_skip=seen.append, limits=bombs.SMALL)
    assert len(loader.load()) == 6
    assert [(type(error), Path(error.source).name) for error in seen] == [
        (ResourceLimitError, "bomb.pdf#1")
    ]


def test_drawn_pages_go_to_the_users_cache_by_default(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / "cache" / name))
    first = MetaEmbedLoader(folder / "report.pdf").load()[0]
    assert Path(first.metadata["image_path"]).is_relative_to(tmp_path / "cache" / "metaembed_rag")


@pytest.fixture
def looks(monkeypatch) -> list[Image.Image]:
    """Pictures that OCR looked at: it reads "seen by ocr" on all but blue ones."""
    from metaembed_rag.pages import ocr

    seen: list[Image.Image] = []

    def read_text(image: Image.Image) -> str:
        seen.append(image)
        return "" if image.getpixel((5, 5))[2] > 200 else "seen by ocr"

    monkeypatch.setattr(ocr, "read_text", read_text)
    return seen


def test_fault_08_pictures_have_the_text_that_the_retriever_gives(folder, tmp_path, looks):
    loader = MetaEmbedLoader(folder, pictures=tmp_path / "pictures")
    loaded = {document.id: document for document in loader.load()}
    index = PageIndex.open(":memory:", FakeEncoder(modalities=["text"]))
    index.add(load_pages(folder))
    found = {one.id: one for one in MetaEmbedRetriever(index=index, k=9).invoke("seen by ocr")}
    blue = f"{folder}/scan.tiff#2"
    assert set(found) == set(loaded) - {blue}  # of which a model of texts can read nothing
    for id, document in found.items():
        assert loaded[id].page_content == document.page_content != ""
        for name in ("text_from_ocr", "content_hash"):
            assert loaded[id].metadata.get(name) == document.metadata.get(name)
    assert loaded[f"{folder}/kite.png#1"].page_content == "seen by ocr"
    assert loaded[blue].page_content == ""
    assert "text_from_ocr" not in loaded[blue].metadata


@pytest.mark.parametrize("model", [None, FakeEncoder(modalities=["text"])])
def test_fault_08_other_stores_take_a_batch_with_pictures(folder, tmp_path, looks, model):
    """Of which one, without text on it, is a document without text."""
    documents = MetaEmbedLoader(folder, pictures=tmp_path / "pictures").load()
    assert sum(not document.page_content for document in documents) == 1
    embeddings = MetaEmbedEmbeddings(model) if model else DeterministicFakeEmbedding(size=4)
    other = InMemoryVectorStore(embeddings)
    assert len(other.add_documents(documents)) == 6
    if model:
        found = {one.metadata["page_id"] for one in other.similarity_search("seen by ocr", k=2)}
        assert found == {f"{folder}/kite.png#1", f"{folder}/scan.tiff#1"}


def test_fault_08_no_picture_is_read_twice(folder, tmp_path, looks):
    for _ in range(2):
        MetaEmbedLoader(folder, pictures=tmp_path / "pictures").load()
    assert len(looks) == 2  # two of the three are the same
    MetaEmbedLoader(folder, pictures=tmp_path / "others", ocr=False).load()
    assert len(looks) == 2
    picture(folder / "kite.png", "green")
    MetaEmbedLoader(folder, pictures=tmp_path / "pictures").load()
    assert len(looks) == 3


def test_fault_08_without_ocr_pictures_are_documents_without_text(
    folder, tmp_path, monkeypatch, caplog
):
    from metaembed_rag.pages import ocr

    def read_text(image: Image.Image) -> str:
        raise MissingExtraError("pip install '.[ocr]'")

    monkeypatch.setattr(ocr, "read_text", read_text)
    adapters._warn_once.cache_clear()
    documents = MetaEmbedLoader(folder, pictures=tmp_path / "pictures").load()
    assert sum(not document.page_content for document in documents) == 3
    assert caplog.text.count("pip install") == 1


def test_fault_08_a_store_takes_what_was_read_for_no_content_of_its_own(folder, tmp_path, looks):
    encoder = FakeEncoder(modalities=["text"])
    store = MetaEmbedVectorStore(PageIndex.open(":memory:", encoder), on_skip=lambda error: None)
    for ocr in (False, True):  # read by the store, then by the loader
        store.add_documents(MetaEmbedLoader(folder, pictures=tmp_path / "p", ocr=ocr).load())
    # Not encoded again; and of two pictures that are the same one takes the other's vectors.
    assert encoder.encoded.count("seen by ocr") == 1
    assert len(store.index.ids()) == 5


# -- content blocks ------------------------------------------------------------------------


def test_text_and_picture_of_each_document_in_order(tmp_path):
    path = picture(tmp_path / "red.png", "red")
    metadata = {"source": "/far/away/a.pdf", "page": 3, "image_path": path}
    documents = [Document("apples", metadata=metadata), Document("pears", id="p")]
    text, image, other = content_blocks(documents)
    assert text == {"type": "text", "text": "a.pdf, page 3\napples"}
    assert (image["type"], image["mime_type"]) == ("image", "image/png")
    assert base64.b64decode(image["base64"]) == Path(path).read_bytes()
    assert other == {"type": "text", "text": "p\npears"}
    message = HumanMessage(message_content("which fruit?", documents))
    assert [block["type"] for block in message.content_blocks] == ["text", "text", "image", "text"]
    sent = convert_to_openai_data_block(image)
    assert sent["image_url"]["url"].startswith("data:image/png;base64,iVBOR")


def pictures_of(blocks: list[dict[str, Any]]) -> list[Image.Image]:
    data = [base64.b64decode(block["base64"]) for block in blocks if block["type"] == "image"]
    return [Image.open(io.BytesIO(one)) for one in data]


@pytest.mark.parametrize("each", [True, False])
def test_pictures_are_shrunk_to_fit_their_limit(tmp_path, each):
    documents = [Document("", metadata={"image_path": noise(tmp_path / "n.png", 300)})] * 3
    limit = {"max_bytes_each": 20_000} if each else {"max_bytes": 60_000}
    blocks = content_blocks(documents, **limit)
    sizes = [len(block["base64"]) for block in blocks if block["type"] == "image"]
    assert len(sizes) == 3
    assert sum(sizes) <= 60_000
    assert not each or max(sizes) <= 20_000
    for shrunk in pictures_of(blocks):
        assert shrunk.format == "JPEG"
        assert 64 <= shrunk.size[0] == shrunk.size[1] < 300


def test_what_a_small_picture_leaves_is_for_a_large_one(tmp_path):
    small, large = picture(tmp_path / "s.png", "red"), noise(tmp_path / "l.png", 200)
    documents = [Document("", metadata={"image_path": path}) for path in (small, large)]
    needed = -(-Path(large).stat().st_size // 3) * 4
    blocks = content_blocks(documents, max_bytes=needed + 1_000)
    assert [one.size for one in pictures_of(blocks)] == [(40, 30), (200, 200)]


def test_a_picture_that_cannot_fit_is_named_in_the_text(tmp_path):
    metadata = {"image_path": noise(tmp_path / "n.png", 300), "source": "n.png"}
    (block,) = content_blocks([Document("apples", metadata=metadata)], max_bytes=0)
    assert block["text"] == "n.png\napples\n[its picture is left out: too large]"


def test_there_are_no_empty_text_blocks(tmp_path):
    """Hosted models refuse them."""
    path = picture(tmp_path / "red.png", "red")
    blocks = content_blocks([Document("", metadata={"image_path": path}), Document("")])
    assert [block["type"] for block in blocks] == ["image"]


def test_a_side_limit_and_formats_that_models_do_not_read(tmp_path):
    image = Image.new("RGB", (400, 200), "red")
    image.save(tmp_path / "wide.tiff")
    document = Document("", metadata={"image_path": str(tmp_path / "wide.tiff")})
    blocks = content_blocks([document], max_side=100)
    assert [(one.format, one.size) for one in pictures_of(blocks)] == [("JPEG", (100, 50))]
    gone = Document("", metadata={"image_path": str(tmp_path / "gone.png")})
    with pytest.raises(UnreadableFileError, match=r"gone\.png"):
        content_blocks([gone])


def test_documents_of_the_retriever_carry_all_that_blocks_need(store, folder, tmp_path):
    loader = MetaEmbedLoader(folder, pictures=tmp_path / "pictures")
    store.add_documents(loader.load())
    found = MetaEmbedRetriever(index=store.index, k=1).invoke("pears", filter={"page": 2})
    kinds = [block["type"] for block in content_blocks(found)]
    assert kinds == ["text", "image"]
    assert max(len(str(value)) for value in found[0].metadata.values()) < 1_000  # paths, not data
