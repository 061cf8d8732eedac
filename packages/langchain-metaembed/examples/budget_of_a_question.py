"""One index, asked at two budgets through a LangChain retriever.

    python budget_of_a_question.py

The model is the one that comes with metaembed-rag; nothing is downloaded.
"""

from langchain_core.documents import Document
from langchain_metaembed import MetaEmbedVectorStore

from metaembed_rag import MetaEmbedEncoder, PageIndex

NOTES = {
    "printing": "A printer without coloured ink draws each column with a pattern of its own.",
    "backups": "Backups run every night at two and are kept for thirty days.",
    "travel": "Journeys by train are booked by the office, those by car are paid by the mile.",
}
QUESTION = "how long are copies of our data kept?"


def main() -> None:
    """Print the best note at a small and at the full budget."""
    store = MetaEmbedVectorStore(
        PageIndex.open(":memory:", MetaEmbedEncoder.from_pretrained("small"))
    )
    store.add_documents(
        [Document(text, metadata={"topic": topic}) for topic, text in NOTES.items()]
    )
    retriever = store.as_retriever(search_kwargs={"k": 1})
    for budget in ("1,1", "16,64"):
        (best,) = retriever.invoke(QUESTION, budget=budget)
        print(f"budget ({budget}): {best.metadata['topic']}: {best.page_content}")


if __name__ == "__main__":
    main()
