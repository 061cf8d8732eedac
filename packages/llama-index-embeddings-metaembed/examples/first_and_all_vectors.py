"""The one vector that LlamaIndex takes, and the ordered ones behind it.

    python first_and_all_vectors.py

The model is the one that comes with metaembed-rag; nothing is downloaded.
"""

from llama_index.embeddings.metaembed import MetaEmbedEmbedding

QUESTION = "how long are copies of our data kept?"
TEXTS = (
    "Backups run every night at two and are kept for thirty days.",
    "Journeys by train are booked by the office, those by car are paid by the mile.",
)


def main() -> None:
    """Print how near each text is to the question, and how many vectors there are."""
    model = MetaEmbedEmbedding("small")
    query = model.get_query_embedding(QUESTION)
    for text in TEXTS:
        near = model.similarity(query, model.get_text_embedding(text))
        print(f"{near:.2f}  {text}")
    print("all vectors of the question:", model.get_query_vectors([QUESTION]).shape)
    print("four of them:", model.get_query_vectors([QUESTION], budget="4,8").shape)


if __name__ == "__main__":
    main()
