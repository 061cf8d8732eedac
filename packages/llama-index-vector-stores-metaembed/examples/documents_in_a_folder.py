"""Documents go into a folder through LlamaIndex, and are found again by the budget of a query.

    python documents_in_a_folder.py

The model is the one that comes with metaembed-rag; nothing is downloaded.
"""

import tempfile

from llama_index.core import Document, StorageContext, VectorStoreIndex
from llama_index.vector_stores.metaembed import MetaEmbedVectorStore

from metaembed_rag import MetaEmbedEncoder

NOTES = {
    "printing": "A printer without coloured ink draws each column with a pattern of its own.",
    "backups": "Backups run every night at two and are kept for thirty days.",
    "travel": "Journeys by train are booked by the office, those by car are paid by the mile.",
}
QUESTION = "how long are copies of our data kept?"


def main() -> None:
    """Store three notes, and print the best at the budget (4, 8)."""
    with tempfile.TemporaryDirectory() as folder:
        store = MetaEmbedVectorStore(
            where=folder, encoder=MetaEmbedEncoder.from_pretrained("small"), budget="4,8"
        )
        index = VectorStoreIndex.from_documents(
            [Document(text=text, metadata={"topic": topic}) for topic, text in NOTES.items()],
            storage_context=StorageContext.from_defaults(vector_store=store),
            embed_model=store.embed_model,  # the store makes all vectors itself
        )
        for found in index.as_retriever(similarity_top_k=1).retrieve(QUESTION):
            print(f"{found.score:.2f}  {found.metadata['topic']}: {found.node.get_content()}")


if __name__ == "__main__":
    main()
