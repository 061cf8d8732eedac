"""One index, asked at two budgets through a LlamaIndex retriever.

    python budget_of_a_question.py

The model is the one that comes with metaembed-rag; nothing is downloaded.
"""

from llama_index.retrievers.metaembed import MetaEmbedQueryBundle, MetaEmbedRetriever

from metaembed_rag import MetaEmbedEncoder, Page, PageIndex

NOTES = {
    "printing": "A printer without coloured ink draws each column with a pattern of its own.",
    "backups": "Backups run every night at two and are kept for thirty days.",
    "travel": "Journeys by train are booked by the office, those by car are paid by the mile.",
}
QUESTION = "how long are copies of our data kept?"


def main() -> None:
    """Print the best note at a small and at the full budget."""
    index = PageIndex.open(":memory:", MetaEmbedEncoder.from_pretrained("small"))
    index.add(Page(source=topic, text=text) for topic, text in NOTES.items())
    retriever = MetaEmbedRetriever(index, similarity_top_k=1)
    for budget in ("1,1", "16,64"):
        (best,) = retriever.retrieve(MetaEmbedQueryBundle(QUESTION, budget=budget))
        print(f"budget ({budget}): {best.metadata['source']}, score {best.score:.2f}")


if __name__ == "__main__":
    main()
