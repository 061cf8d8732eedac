"""Choose a retrieval budget: the same questions at the paper's five budgets.

    python examples/choose_a_budget.py

A budget (r_q, r_c) compares the first r_q vectors of the question with the first r_c vectors of
each page. A small one is cheap and a large one is precise; how much a question needs is best
measured on questions whose right pages you know, as here. Put your own in QUESTIONS.
"""

from pathlib import Path

from metaembed_rag import Hits, MetaEmbedEncoder, PageIndex, RetrievalBudget, load_pages

FILES = Path(__file__).parent / "files"

QUESTIONS = {
    "which packages must be installed first": "bardiag.pdf#1",
    "how to add a legend to the diagram": "bardiag.pdf#4",
    "bars as cylinders or other 3D shapes": "bardiag.pdf#7",
    "patterns for black and white documents": "bardiag.pdf#9",
    "carbon dioxide in the air": "co2_chart.png#1",
    "how many vectors does a page have": "retrieval_notes.md#2",
    "what happens to scans without a text layer": "retrieval_notes.md#3",
    "which folder must be kept safe": "retrieval_notes.md#4",
}
"""A question and the page that answers it."""


def rank_of(right: str, hits: Hits) -> int | None:
    """The rank of the right page, None where it was not found."""
    return next((hit.rank for hit in hits if hit.page.id.endswith(f"/{right}")), None)


def main() -> None:
    """Print a table with one row a budget."""
    encoder = MetaEmbedEncoder.from_pretrained("small")
    index = PageIndex.open(":memory:", encoder)
    report = index.add(load_pages(FILES))
    print(f"{FILES.name}: {report}; {len(QUESTIONS)} questions\n")
    for error in report.skipped:
        print(f"  skipped {error}")
    index.search("a first search, so that loading is not timed below")

    print("budget   right page first   in the first 3   ms a search   bytes read a page")
    for budget in RetrievalBudget.paper():
        searches = [index.search(one, k=3, budget=budget, hybrid=False) for one in QUESTIONS]
        ranks = list(map(rank_of, QUESTIONS.values(), searches))
        milliseconds = 1000 * sum(hits.seconds for hits in searches) / len(searches)
        size = budget.r_c * (encoder.dimension + 2)  # int8 values and a scale of 2 bytes a vector
        found = len(ranks) - ranks.count(None)
        print(f"{budget!s:8} {ranks.count(1):16} {found:16} {milliseconds:13.1f} {size:19,}")
    recall = index.recall(list(QUESTIONS), k=3)
    print(f"\nThe default search found {recall:.0%} of what an exhaustive one finds.")


if __name__ == "__main__":
    main()
