"""Nodes that any retriever found, ranked by late interaction with the question.

    python rerank_nodes.py

The model is the one that comes with metaembed-rag; nothing is downloaded.
"""

from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.postprocessor.metaembed_rerank import MetaEmbedRerank

NOTES = (
    "A printer without coloured ink draws each column with a pattern of its own.",
    "Journeys by train are booked by the office, those by car are paid by the mile.",
    "Backups run every night at two and are kept for thirty days.",
)
QUESTION = "how long are copies of our data kept?"


def main() -> None:
    """Print the two best of three nodes."""
    nodes = [NodeWithScore(node=TextNode(text=text), score=0.5) for text in NOTES]
    rerank = MetaEmbedRerank(encoder="small", top_n=2)
    for found in rerank.postprocess_nodes(nodes, query_str=QUESTION):
        print(f"{found.score:.2f}  {found.node.get_content()}")


if __name__ == "__main__":
    main()
